"""KoCapConfig: what a KoCap model is made of."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig


@strict
class KoCapConfig(PreTrainedConfig):
    r"""A vision encoder, a projector and a causal language model.

    Only what changes weights or tokens lives here; prompts, sampling and image sizes belong to the processor.

    Args:
        vision_config: Any transformers vision config whose model returns tokens `[B, N, D]` or a map `[B, D, h, w]`.
            Default: SigLIP without its pooling head.
        text_config: Any transformers causal language model config. Default: Qwen3.
        projector_type: `linear`, or `mlp` (linear, GELU, linear; LLaVA-1.5).
        vision_feature_layer: Which layer's tokens to take. `-1` is the tower's own output (with its final norm, where
            it has one); other values index `hidden_states`, so `-2` is the layer before the last (LLaVA).
        vision_feature_select_strategy: `default` drops class and register tokens, `full` keeps them.
        spatial_pool_stride: Every frame's grid is pooled by this factor per side before the projector
            (LLaVA-NeXT-Video pools by 2: 576 -> 144 tokens). `1` keeps every patch.
        spatial_pool_mode: `average`, `max` or `bilinear`.
        motion: Add to every video token what changed at its place since the frame before and since the first frame, so
            that one token shows how things and the camera move. Images have no motion.
        image_token_id: Placeholder that image features replace. Default: Qwen3's `<|image_pad|>`.
        video_token_id: Placeholder that video features replace. Default: Qwen3's `<|video_pad|>`.

    Raises:
        ValueError: If a value breaks a rule; the message names the value, the rule and the way out.
    """

    model_type = "kocap"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}  # pyright: ignore[reportAssignmentType]

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    projector_type: Literal["linear", "mlp"] = "mlp"
    vision_feature_layer: int = -1
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    spatial_pool_stride: int = 2
    spatial_pool_mode: Literal["average", "max", "bilinear"] = "average"
    motion: bool = False
    image_token_id: int = 151655
    video_token_id: int = 151656
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        self.vision_config = _sub_config(self.vision_config, "siglip_vision_model", vision_use_head=False)
        self.text_config = _sub_config(self.text_config, "qwen3")
        self._follow_text_config()
        super().__post_init__(**kwargs)
        self._check()

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        loaded = super().from_dict(config_dict, **kwargs)
        # transformers sets overrides, as of from_pretrained(..., spatial_pool_stride=1), on the finished config.
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        config._follow_text_config()
        config._check()
        return loaded

    def _follow_text_config(self) -> None:
        # The text model's own config says whether its embeddings are tied; both places must agree for tie_weights().
        self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)

    def _check(self) -> None:
        if self.spatial_pool_stride < 1:
            raise ValueError(
                f"spatial_pool_stride is {self.spatial_pool_stride}; it must be >= 1 (1 keeps every patch)."
            )
        if self.vision_feature_select_strategy == "full" and self.spatial_pool_stride > 1:
            raise ValueError(
                f"spatial_pool_stride is {self.spatial_pool_stride} with vision_feature_select_strategy='full'; class"
                " and register tokens have no place in a grid. Use 'default', or spatial_pool_stride=1."
            )
        if self.image_token_id == self.video_token_id:
            raise ValueError(
                f"image_token_id and video_token_id are both {self.image_token_id}; they must differ so that image and"
                " video features find their own places."
            )
        vocab_size = self.text_config.vocab_size
        for name in ("image_token_id", "video_token_id"):
            if not 0 <= getattr(self, name) < vocab_size:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be in [0, {vocab_size}), the text model's vocabulary."
                    " Pass the id your tokenizer gives the placeholder."
                )
        self._check_vision()

    def _check_vision(self) -> None:
        name = self.vision_config.model_type
        if name == "siglip2_vision_model":
            raise ValueError(
                f"vision_config is {name} (SigLIP2 NaFlex), which takes patches of many shapes; it must be an encoder"
                " of square pictures. Use a fixed-resolution SigLIP2 such as google/siglip2-so400m-patch14-384."
            )
        depth, widths = (getattr(self.vision_config, key, None) for key in ("num_hidden_layers", "hidden_sizes"))
        if getattr(self.vision_config, "hidden_size", None) is None and not widths:
            raise ValueError(
                f"vision_config is {name}, which has no hidden_size; it must be a vision encoder's config. For a"
                " two-tower model such as CLIP pass its `.vision_config`."
            )
        # `hidden_states` are the embeddings and every layer's output; of staged encoders only the stages have widths.
        lowest, highest = (-len(widths), -1) if widths else (-(depth + 1), depth) if depth else (-1, -1)
        if not lowest <= self.vision_feature_layer <= highest:
            raise ValueError(
                f"vision_feature_layer is {self.vision_feature_layer}; for this {name} it must be in"
                f" [{lowest}, {highest}]. -1 takes the encoder's own output."
            )

    @property
    def vision_hidden_size(self) -> int:
        """Width of one vision token, before the projector."""
        widths = getattr(self.vision_config, "hidden_sizes", None)  # one per stage: ConvNeXt, ResNet
        return widths[self.vision_feature_layer] if widths else self.vision_config.hidden_size


def _sub_config(config: dict | PreTrainedConfig | None, default_type: str, **defaults) -> PreTrainedConfig:
    if config is None:
        return CONFIG_MAPPING[default_type](**defaults)
    if isinstance(config, dict):
        model_type = config.get("model_type", default_type)
        if model_type not in CONFIG_MAPPING:
            raise ValueError(
                f"model_type {model_type!r} is unknown to this transformers version; it must be one transformers ships."
                " Upgrade transformers, or register the config with AutoConfig.register first."
            )
        return CONFIG_MAPPING[model_type](**config)
    return config


__all__ = ["KoCapConfig"]
