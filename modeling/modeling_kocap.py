"""KoCapModel and KoCapForConditionalGeneration: vision tower, projector, language model.

Composes transformers' own models. Follows the conventions of transformers' LLaVA family (`get_image_features`,
`get_video_features`, `pooler_output`) because vLLM's Transformers backend relies on them.
"""

import copy
from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    Cache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils import can_return_tuple, torch_compilable_check

from configuration.configuration_kocap import KoCapConfig
from processing.vision_tokens_kocap import add_vision_tokens

from .adapters_kocap import load_magnitudes
from .projector_kocap import Motion, Projector, ZeroLinear, patch_grid, pool_grid, select_patches
from .revisions_kocap import downloaded_commit, pinned_base_revision

if TYPE_CHECKING:
    # Never runs. save_pretrained on a model that came as remote code copies the files its own file imports, found by a
    # scan for lines like this one; without it the saved config would name a pipeline whose file was left behind.
    from processing.pipeline_kocap import KoCapPipeline  # noqa: F401

# Their Transformers backends name their attention so; tests/test_modeling.py loads a model as they do.
ENGINES_WITH_THEIR_OWN_HEAD = ("vllm", "sglang")

# Quantisers must leave these alone: they are small, and 4-bit weights hurt them most. transformers matches from the
# start of the full name, which has `model.` in front where there is a head.
NOT_QUANTISED = [
    "vision_tower",
    "multi_modal_projector",
    "motion",
    "model.vision_tower",
    "model.multi_modal_projector",
    "model.motion",
    "lm_head",
]

_PASSED_ON = {field.name for field in fields(CausalLMOutputWithPast)}

VISION_INPUTS = {
    "image": ("pixel_values", "image_features"),
    "video": ("pixel_values_videos", "pixel_values_videos_mask", "video_features"),
}


class KoCapPreTrainedModel(PreTrainedModel):
    config_class = KoCapConfig
    base_model_prefix = "model"
    input_modalities = ("image", "video", "text")  # pyright: ignore[reportAssignmentType]
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["cache", "past_key_values"]  # transformers 5.24 renamed the latter
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
        else:
            super()._init_weights(module)

    @classmethod
    def _from_config(cls, config, **kwargs):
        # Engines build AutoModel's class and want the model without a head; users want `.generate()` from AutoModel.
        # AutoModel maps to the generation class, and an engine is known by the attention it asks for.
        attention = kwargs.get("attn_implementation") or config.text_config._attn_implementation
        if cls is KoCapForConditionalGeneration and attention in ENGINES_WITH_THEIR_OWN_HEAD:
            return KoCapModel._from_config(config, **kwargs)
        return super()._from_config(config, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        # A plain BitsAndBytesConfig(load_in_4bit=True) must not quantise the vision tower and the projector.
        quantization_config = kwargs.get("quantization_config")
        if getattr(quantization_config, "llm_int8_skip_modules", ()) is None:
            kwargs["quantization_config"] = copy.copy(quantization_config)  # the caller may load other models with it
            kwargs["quantization_config"].llm_int8_skip_modules = list(NOT_QUANTISED)
        if pinned := pinned_base_revision(kwargs):
            kwargs["revision"] = pinned
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        if commit := downloaded_commit(str(pretrained_model_name_or_path), kwargs):
            model = loaded[0] if isinstance(loaded, tuple) else loaded
            model.config._commit_hash = commit  # transformers no longer says
        return loaded

    def load_adapter(self, peft_model_id=None, adapter_name=None, *args, **kwargs):
        """As transformers' own, which loses DoRA's magnitudes: PEFT saves them under another name than it loads.

        Raises:
            ValueError: If the adapter lacks weights that its configuration asks for.
        """
        adapter_name = adapter_name or "default"
        loaded = super().load_adapter(peft_model_id, adapter_name, *args, **kwargs)
        missing = set(loaded.missing_keys)
        if peft_model_id is not None and any("lora_magnitude_vector" in name for name in missing):
            missing -= load_magnitudes(self, peft_model_id, adapter_name, kwargs.get("adapter_kwargs") or {})
        if missing:
            raise ValueError(
                f"the adapter {peft_model_id} lacks {len(missing)} of its weights, among them {min(missing)}. Load it"
                " with PeftModel.from_pretrained, or merge it into its base."
            )
        return loaded


class KoCapModel(KoCapPreTrainedModel):
    """Vision tower, projector and language model, without a head."""

    def __init__(self, config: KoCapConfig):
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = Projector(
            config.vision_hidden_size, config.text_config.hidden_size, projector_type=config.projector_type
        )
        if config.motion:
            self.motion = Motion(config.vision_hidden_size)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Run the vision tower, select a layer's patches and pool them: what a feature cache stores.

        Args:
            pixel_values: `[F, 3, H, W]`, frames or images, normalised.
        Returns:
            `[F, N, D_vision]`.
        """
        config = self.config
        layer = config.vision_feature_layer
        pixel_values = pixel_values.to(dtype=self.vision_tower.dtype)
        outputs = self.vision_tower(pixel_values, output_hidden_states=layer != -1, return_dict=True)
        tokens = outputs.last_hidden_state if layer == -1 else outputs.hidden_states[layer]
        if tokens.ndim == 4:  # a feature map [F, D, h, w]
            grid = (tokens.shape[2], tokens.shape[3])
            tokens = tokens.flatten(2).transpose(1, 2)
        else:
            grid = patch_grid(tokens, pixel_values, getattr(config.vision_config, "patch_size", None))
        if config.vision_feature_select_strategy == "default":
            tokens = select_patches(tokens, grid)
        tokens = pool_grid(tokens, grid, stride=config.spatial_pool_stride, mode=config.spatial_pool_mode)
        return tokens.contiguous()  # vLLM's kernels for CPUs take nothing else

    @torch.no_grad()
    def count_frame_tokens(self, image_size: int) -> int:
        """How many placeholders one frame of `image_size` x `image_size` pixels needs; measured on a blank frame."""
        frame = torch.zeros(1, 3, image_size, image_size, device=self.vision_tower.device)
        return self.encode_frames(frame).shape[1]

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor | None = None, image_features: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Encode and project images.

        Args:
            pixel_values: `[I, 3, H, W]`, or
            image_features: `[I, N, D_vision]`, precomputed by `encode_frames`.
        Returns:
            `last_hidden_state`: `[I, N, D_vision]`; `pooler_output`: `[I, N, D_text]`.
        """
        if image_features is None:
            image_features = self.encode_frames(pixel_values)
        projected = self.multi_modal_projector(self._to_projector(image_features))
        return BaseModelOutputWithPooling(last_hidden_state=image_features, pooler_output=projected)

    @can_return_tuple
    def get_video_features(
        self,
        pixel_values_videos: torch.Tensor | None = None,
        pixel_values_videos_mask: torch.Tensor | None = None,
        video_features: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Encode and project videos.

        Args:
            pixel_values_videos: `[V, T, 3, H, W]`, or
            video_features: `[V, T, N, D_vision]`, precomputed by `encode_frames`.
            pixel_values_videos_mask: bool `[V, T]`, False for padding frames; absent when every clip has T frames.
        Returns:
            `last_hidden_state`: `[V, T, N, D_vision]`, as a feature cache stores it; `pooler_output`:
            `[V, T*N, D_text]`, or with a mask a list of V tensors `[T_v*N, D_text]`.
        """
        source = pixel_values_videos if video_features is None else video_features
        if source is None or source.ndim != (5 if video_features is None else 4):
            raise ValueError(
                f"videos have shape {None if source is None else tuple(source.shape)}; pixel_values_videos must be"
                " [V, T, 3, H, W] and video_features [V, T, N, D]. Let the processor prepare them."
            )
        if video_features is None:
            video_features = self._encode_clips(source, pixel_values_videos_mask)
        moving = self.motion(self._to_projector(video_features)) if self.config.motion else video_features
        if pixel_values_videos_mask is None:
            projected = self.get_image_features(image_features=moving.flatten(0, 1), return_dict=True).pooler_output
            projected = projected.reshape(len(source), -1, projected.shape[-1])
        else:
            frame_counts = pixel_values_videos_mask.sum(1).tolist()
            real = torch.cat([clip[:count] for clip, count in zip(moving, frame_counts, strict=True)])
            projected = self.get_image_features(image_features=real, return_dict=True).pooler_output
            projected = [clip.flatten(0, 1) for clip in projected.split(frame_counts)]
        return BaseModelOutputWithPooling(last_hidden_state=video_features, pooler_output=projected)

    def _encode_clips(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if mask is None:
            return self.encode_frames(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])
        mask = mask.to(pixel_values.device, torch.bool)
        features = self.encode_frames(pixel_values[mask])  # only the real frames
        clips = features.new_zeros(*mask.shape, *features.shape[1:])
        clips[mask] = features
        return clips

    def _to_projector(self, features: torch.Tensor) -> torch.Tensor:
        weight = self.multi_modal_projector[0].weight
        return features.to(weight.device, weight.dtype)

    def place_features(
        self, inputs_embeds: torch.Tensor, mask: torch.Tensor, features: torch.Tensor | Iterable, *, modality: str
    ) -> torch.Tensor:
        """Write features over their placeholders: the one place where their numbers are compared.

        Args:
            inputs_embeds: `[B, L, D]`.
            mask: bool `[B, L]`, True at this modality's placeholders.
            features: `[..., D]`, or a list of such, in reading order.
        Raises:
            ValueError: If there are more or fewer features than placeholders.
        """
        if not isinstance(features, torch.Tensor):
            features = torch.cat(list(features))
        features = features.reshape(-1, features.shape[-1]).to(inputs_embeds.device, inputs_embeds.dtype)
        torch_compilable_check(
            mask.sum() == features.shape[0],
            lambda: (
                f"the prompt has {int(mask.sum())} {modality} placeholders but the {modality} inputs give"
                f" {features.shape[0]} features; they must be equal. Build the inputs with KoCapProcessor, and do not"
                " truncate them."
            ),
        )
        return inputs_embeds.masked_scatter(mask.unsqueeze(-1).to(inputs_embeds.device), features)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        pixel_values_videos_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        video_features: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Embed text, put image and video features in their places, run the language model.

        Args:
            input_ids: int64 `[B, L]` with placeholders expanded by the processor; or `inputs_embeds` `[B, L, D]`.
            attention_mask: `[B, L]`, 1 for real tokens.
            pixel_values: `[I, 3, H, W]`, all images of the batch in reading order.
            pixel_values_videos: `[V, T, 3, H, W]`, all videos of the batch in reading order.
            pixel_values_videos_mask: bool `[V, T]`, False for padding frames.
            image_features: `[I, N, D_vision]`, precomputed, in place of `pixel_values`.
            video_features: `[V, T, N, D_vision]`, precomputed, in place of `pixel_values_videos`.
        Raises:
            ValueError: If placeholders and features differ in number, or an input is given twice.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds.")
        has_images = pixel_values is not None or image_features is not None
        has_videos = pixel_values_videos is not None or video_features is not None
        if (has_images or has_videos) and input_ids is None:
            raise ValueError(
                "images and videos need input_ids: their placeholders are found there, not in inputs_embeds."
            )
        for pixels, features, name in (
            (pixel_values, image_features, "image_features"),
            (pixel_values_videos, video_features, "video_features"),
        ):
            if pixels is not None and features is not None:
                raise ValueError(f"{name} stands in place of pixel values: give one of them, not both.")

        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if has_images:
            images = self.get_image_features(pixel_values, image_features, return_dict=True).pooler_output
            mask = input_ids == self.config.image_token_id
            inputs_embeds = self.place_features(inputs_embeds, mask, images, modality="image")
        if has_videos:
            videos = self.get_video_features(
                pixel_values_videos, pixel_values_videos_mask, video_features, return_dict=True
            ).pooler_output
            mask = input_ids == self.config.video_token_id
            inputs_embeds = self.place_features(inputs_embeds, mask, videos, modality="video")

        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )


class KoCapForConditionalGeneration(KoCapPreTrainedModel, GenerationMixin):
    """KoCapModel with a language-model head: loss and `generate`."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: KoCapConfig):
        super().__init__(config)
        self.model = KoCapModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_backbones(
        cls,
        vision: str,
        text: str,
        *,
        dtype: torch.dtype | str = "auto",
        trust_remote_code: bool = False,
        **config_kwargs,
    ):
        """Assemble a model from a pretrained vision encoder and language model; the projector starts fresh.

        Args:
            vision: Hub id or folder of a vision encoder (a two-tower model such as CLIP gives its vision half).
            text: Hub id or folder of a causal language model with its tokenizer.
            dtype, trust_remote_code: As in `from_pretrained`.
            **config_kwargs: KoCapConfig's own fields, e.g. `projector_type="linear"`. Placeholder ids default to the
                tokenizer's vision tokens; a tokenizer without them gets `<image>` and `<video>`, and embeddings grow.
        """
        trust = {"trust_remote_code": trust_remote_code}
        vision_config = AutoConfig.from_pretrained(vision, **trust)
        vision_config = getattr(vision_config, "vision_config", vision_config)
        if hasattr(vision_config, "vision_use_head"):
            vision_config.vision_use_head = False  # SigLIP's pooling head is never looked at
        vision_tower = AutoModel.from_pretrained(vision, config=vision_config, dtype=dtype, **trust)
        language_model = AutoModelForCausalLM.from_pretrained(text, dtype=dtype, **trust)
        tokenizer = AutoTokenizer.from_pretrained(text, **trust)
        tokens = add_vision_tokens(tokenizer)
        if len(tokenizer) > language_model.get_input_embeddings().num_embeddings:
            language_model.resize_token_embeddings(len(tokenizer))
        config_kwargs.setdefault("image_token_id", tokenizer.convert_tokens_to_ids(tokens["image_token"]))
        config_kwargs.setdefault("video_token_id", tokenizer.convert_tokens_to_ids(tokens["video_token"]))

        config = cls.config_class(vision_config=vision_tower.config, text_config=language_model.config, **config_kwargs)
        with torch.device("meta"):  # every part is replaced below: allocate nothing
            model = cls(config)
        model.model.vision_tower = vision_tower
        model.model.language_model = language_model.base_model
        model.model.multi_modal_projector = Projector(
            config.vision_hidden_size, config.text_config.hidden_size, projector_type=config.projector_type
        ).to(language_model.device, language_model.dtype)
        if config.motion:
            model.model.motion = Motion(config.vision_hidden_size).to(language_model.device, language_model.dtype)
        model.lm_head = language_model.get_output_embeddings()
        model.config.dtype = language_model.dtype
        model.generation_config = language_model.generation_config
        model.tie_weights()
        return model.eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def get_image_features(self, pixel_values: torch.Tensor | None = None, **kwargs) -> BaseModelOutputWithPooling:
        """See `KoCapModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def get_video_features(
        self, pixel_values_videos: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """See `KoCapModel.get_video_features`."""
        return self.model.get_video_features(pixel_values_videos, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        pixel_values_videos_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        video_features: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """As `KoCapModel.forward`, then the head.

        Args:
            labels: int64 `[B, L]`, -100 where nothing is to be learned.
            logits_to_keep: Compute logits, and with `labels` the loss, for the last so many positions only (0: all), or
                logits for these indices. Logits of video tokens, which nobody asks for, can be half of a training
                step's memory.
            cache, past_key_values: Keys and values of earlier steps, under the name that this transformers has for them
                (`cache` from 5.24 on). `generate` takes a cache or an assistant model only where `forward` names it.
        """
        passed_on = kwargs | {"cache": cache, "past_key_values": past_key_values, "num_items_in_batch": None}
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            pixel_values_videos_mask=pixel_values_videos_mask,
            image_features=image_features,
            video_features=video_features,
            use_cache=use_cache,
            return_dict=True,
            **{name: value for name, value in passed_on.items() if value is not None},
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels[:, keep], vocab_size=self.config.text_config.vocab_size, **kwargs
            )
        # The key-value cache keeps the name that this transformers gives it: `past_key_values`, from 5.24 on `cache`.
        others = {name: value for name, value in outputs.items() if name in _PASSED_ON}
        return CausalLMOutputWithPast(loss=loss, logits=logits, **others)

    def prepare_inputs_for_generation(self, input_ids, is_first_iteration: bool = False, **kwargs):
        """Drop what the prefill has consumed: images and videos are in the cache from the second step on."""
        model_inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in ("pixel_values", "pixel_values_videos", "image_features", "video_features"):
                model_inputs.pop(name, None)
        return model_inputs

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **model_kwargs):
        """Repeat prompts for beams and samples, each with all its images and clips: `[a, b] -> [a, b, a, b]`.

        transformers repeats one by one, `[a, a, b, b]`, which mixes them up where one prompt has several.
        """
        vision = {}
        for modality, names in VISION_INPUTS.items():
            given = {name: model_kwargs.pop(name) for name in names if model_kwargs.get(name) is not None}
            if given and expand_size > 1 and input_ids is not None:
                rows = (input_ids == getattr(self.config, f"{modality}_token_id")).nonzero()[:, 0]
                order = _repeat_by_row(rows, given, expand_size)
                given = {name: value[order.to(value.device)] for name, value in given.items()}
            vision |= given
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **model_kwargs
        )
        return input_ids, model_kwargs | vision


def _repeat_by_row(rows: torch.Tensor, inputs: dict[str, torch.Tensor], times: int) -> torch.Tensor:
    """Indices that repeat the images or clips of one prompt together; `rows` is every placeholder's row."""
    source = next(value for name, value in inputs.items() if not name.endswith("_mask"))
    mask = inputs.get("pixel_values_videos_mask")
    sizes = torch.ones(len(source), dtype=torch.int64) if mask is None else mask.sum(1)
    sizes = sizes.to(rows.device)
    # A clip's last placeholder stands in its owner's row. Where the numbers disagree, `place_features` will say so.
    last = sizes.cumsum(0) * len(rows) // sizes.sum() - 1
    owners = rows[last] if len(rows) else torch.zeros_like(sizes)
    return torch.cat([(owners == row).nonzero()[:, 0].repeat(times) for row in owners.unique()])


__all__ = ["KoCapForConditionalGeneration", "KoCapModel", "KoCapPreTrainedModel"]
