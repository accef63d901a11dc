"""Two-layer random models and the processors that fit them: the one place where tests build them."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    ConvNextConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ConvNextConfig,
    DINOv3ViTConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from configuration.configuration_kocap import KoCapConfig
from modeling.modeling_kocap import KoCapForConditionalGeneration
from processing.processing_kocap import KoCapProcessor
from processing.video_processing_kocap import KoCapVideoProcessor
from processing.vision_tokens_kocap import add_vision_tokens, captioning_template
from training.tiny_model import train_tokenizer

IMAGE_SIZE = 64
VOCAB_SIZE = 128
IMAGE_TOKEN_ID, VIDEO_TOKEN_ID, PAD_TOKEN_ID = 120, 121, 0
WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE_INIT = {"initializer_range": 0.3}  # large enough that every frame moves the logits
VIT = WIDTH | WIDE_INIT | {"image_size": IMAGE_SIZE, "patch_size": 16}
DINO = {name: value for name, value in VIT.items() if name != "intermediate_size"} | {"layerscale_value": 0.5}
STAGES = {"hidden_sizes": [8, 8, 16, 32], "depths": [1, 1, 1, 1], "layer_scale_init_value": 0.5} | WIDE_INIT
DECODER = (
    WIDTH
    | WIDE_INIT
    | {"num_key_value_heads": 1, "max_position_embeddings": 1024, "vocab_size": VOCAB_SIZE}
    | {"pad_token_id": PAD_TOKEN_ID, "bos_token_id": None, "eos_token_id": None}
)

# google/siglip2-*-patch*-<size> (fixed resolution) are `siglip` checkpoints: the same classes.
TOWERS = {
    "clip": lambda: CLIPVisionConfig(**VIT),
    "siglip": lambda: SiglipVisionConfig(vision_use_head=False, **VIT),
    "dinov2": lambda: Dinov2Config(**DINO),
    "dinov2_with_registers": lambda: Dinov2WithRegistersConfig(num_register_tokens=4, **DINO),
    "dinov3_vit": lambda: DINOv3ViTConfig(num_register_tokens=4, **VIT),
    "convnext": lambda: ConvNextConfig(image_size=IMAGE_SIZE, **STAGES),  # a map [B, D, 2, 2]
    "dinov3_convnext": lambda: DINOv3ConvNextConfig(image_size=IMAGE_SIZE, **STAGES),  # tokens, and no patch_size
}
TEXTS = {
    "qwen3": (Qwen3Config, {"head_dim": 16}),
    "qwen3_moe": (
        Qwen3MoeConfig,
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "qwen2": (Qwen2Config, {}),
    "llama": (LlamaConfig, {}),
}


def text_config(name: str = "qwen3", **kwargs) -> PreTrainedConfig:
    config_class, special = TEXTS[name]
    return config_class(**(DECODER | special | kwargs))


def small_config(tower: str = "siglip", text: str = "qwen3", *, tie: bool = False, **kwargs) -> KoCapConfig:
    defaults = {
        "vision_config": TOWERS[tower](),
        "text_config": text_config(text, tie_word_embeddings=tie),
        "image_token_id": IMAGE_TOKEN_ID,
        "video_token_id": VIDEO_TOKEN_ID,
    }
    return KoCapConfig(**(defaults | kwargs))


def small_model(tower: str = "siglip", text: str = "qwen3", **kwargs) -> KoCapForConditionalGeneration:
    torch.manual_seed(0)
    model = KoCapForConditionalGeneration(small_config(tower, text, **kwargs)).eval()
    if model.config.motion:  # begins as nothing; here it has learned something
        torch.nn.init.normal_(model.model.motion.change.weight, std=0.1)
    return model


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    """Float `[*shape, 3, 64, 64]`, as the processor gives them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def prompt_batch(model: KoCapForConditionalGeneration, rows: Sequence[Sequence], *, seed: int = 0) -> dict:
    """Model inputs for prompts written as parts: `3` is three words, `"image"` one image, `("video", 2)` two frames.

    Rows are padded on the left, clips to the longest one.
    """
    generator = torch.Generator().manual_seed(seed)
    per_frame = model.model.count_frame_tokens(IMAGE_SIZE)
    images, clips, ids = 0, [], []
    for row in rows:
        tokens: list[int] = []
        for part in row:
            if isinstance(part, int):
                tokens += torch.randint(1, 100, (part,), generator=generator).tolist()
            elif part == "image":
                tokens += [IMAGE_TOKEN_ID] * per_frame
                images += 1
            else:
                tokens += [VIDEO_TOKEN_ID] * per_frame * part[1]
                clips.append(part[1])
        ids.append(tokens)
    length = max(len(tokens) for tokens in ids)
    inputs = {
        "input_ids": torch.tensor([[PAD_TOKEN_ID] * (length - len(tokens)) + tokens for tokens in ids]),
        "attention_mask": torch.tensor([[0] * (length - len(tokens)) + [1] * len(tokens) for tokens in ids]),
    }
    if images:
        inputs["pixel_values"] = random_frames(images, seed=seed + 1)
    if clips:
        inputs["pixel_values_videos"] = random_frames(len(clips), max(clips), seed=seed + 2)
        if len(set(clips)) > 1:
            inputs["pixel_values_videos_mask"] = torch.arange(max(clips)) < torch.tensor(clips)[:, None]
    return inputs


TEXT_SAMPLES = ["이 영상은 맑은 날 낮의 해안을 담고 있습니다. 하얀 파도가 밀려옵니다.", "카메라는 고정된 상태입니다."]


def qwen_tokenizer(*, hybrid: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with Qwen3's special tokens; a hybrid one has Qwen3-8B's thinking switch."""
    tokenizer = train_tokenizer(TEXT_SAMPLES)
    if hybrid:
        tokenizer.chat_template = "{% if enable_thinking is defined and enable_thinking is false %}{% endif %}"
    return tokenizer


def vicuna_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as LLaMA's: `<s>`, `</s>`, `<unk>`, a leading BOS, and nothing for vision."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXT_SAMPLES, "USER: ASSISTANT:"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


def small_processor(tokenizer=None, *, tokens_per_frame: int = 4, num_frames: int = 4, **kwargs) -> KoCapProcessor:
    tokenizer = qwen_tokenizer() if tokenizer is None else tokenizer
    add_vision_tokens(tokenizer)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return KoCapProcessor(
        image_processor=SiglipImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=KoCapVideoProcessor(size=size, num_frames=num_frames),
        tokens_per_frame=tokens_per_frame,
        chat_template=captioning_template(tokenizer),
        **kwargs,
    )


def small_pair(**kwargs) -> tuple[KoCapForConditionalGeneration, KoCapProcessor]:
    """A model and the processor that fits it; the tokenizer has a real vocabulary."""
    processor = small_processor(**kwargs)
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    config = KoCapConfig(
        vision_config=TOWERS["siglip"](),
        text_config=text_config(
            vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        ),
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
    )
    return KoCapForConditionalGeneration(config).eval(), processor


def frames_array(num_frames: int = 4, height: int = 48, width: int = 80, *, seed: int = 0) -> np.ndarray:
    """uint8 `[T, H, W, 3]`: frames whose brightness tells them apart."""
    noise = np.random.default_rng(seed).integers(0, 64, (num_frames, height, width, 3))
    steps = np.linspace(0, 191, num_frames).astype(np.int64)[:, None, None, None]
    return (noise + steps).astype(np.uint8)


def frames_pil(num_frames: int = 4, **kwargs) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames_array(num_frames, **kwargs)]
