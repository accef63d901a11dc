"""The real shapes of the backbones that the tiers name, by Hub id.

A plan of memory and a benchmark of speed need shapes and no weights: with these nothing is downloaded. Only what
differs from the transformers class's defaults is written. Every shape was read in a public copy of the checkpoint's
`config.json`, or in the converter that wrote it, and its number of parameters is the published one
(tests/test_gpu_tiers.py).
"""

from collections.abc import Callable

from transformers import (
    CLIPVisionConfig,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SiglipVisionConfig,
)

VIT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}


def _dinov3(**shape) -> Callable[[], PreTrainedConfig]:
    # Rotary positions: any image whose sides are multiples of the patch will do, and no position is interpolated.
    return lambda: DINOv3ViTConfig(num_register_tokens=4, **shape)


def _qwen3(
    hidden_size: int,
    intermediate_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    *,
    tied: bool = False,
    max_position_embeddings: int = 40_960,
    rope_theta: float = 1e6,
) -> Callable[[], PreTrainedConfig]:
    # Every dense Qwen3 has 8 key-value heads of 128, whatever hidden_size / num_attention_heads would say.
    return lambda: Qwen3Config(
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        num_key_value_heads=8,
        tie_word_embeddings=tied,
        max_position_embeddings=max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
    )


def _qwen3_30b_a3b() -> PreTrainedConfig:
    return Qwen3MoeConfig(
        num_hidden_layers=48,
        head_dim=128,  # the class has no default of its own and would take 2048 / 32
        norm_topk_prob=True,
        max_position_embeddings=262_144,
        rope_parameters={"rope_type": "default", "rope_theta": 1e7},
    )


_SHAPES: dict[str, Callable[[], PreTrainedConfig]] = {
    "openai/clip-vit-large-patch14-336": lambda: CLIPVisionConfig(
        **VIT_LARGE, intermediate_size=4096, image_size=336, patch_size=14, projection_dim=768
    ),
    # SigLIP2 with a fixed resolution is the `siglip` class. Its pooling head is never looked at (`from_backbones`).
    "google/siglip2-base-patch16-224": lambda: SiglipVisionConfig(vision_use_head=False),
    "google/siglip2-so400m-patch14-384": lambda: SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    ),
    "facebook/dinov2-with-registers-large": lambda: Dinov2WithRegistersConfig(
        **VIT_LARGE, image_size=518, patch_size=14
    ),
    "facebook/dinov3-vitl16-pretrain-lvd1689m": _dinov3(**VIT_LARGE, intermediate_size=4096),
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": _dinov3(
        hidden_size=1280,
        num_hidden_layers=32,
        num_attention_heads=20,
        intermediate_size=5120,  # ratio 6, of which SwiGLU takes two thirds
        use_gated_mlp=True,
        hidden_act="silu",
    ),
    "Qwen/Qwen3-0.6B": _qwen3(1024, 3072, 28, 16, tied=True),
    "Qwen/Qwen3-1.7B": _qwen3(2048, 6144, 28, 16, tied=True),
    "Qwen/Qwen3-4B-Instruct-2507": _qwen3(
        2560, 9728, 36, 32, tied=True, max_position_embeddings=262_144, rope_theta=5e6
    ),
    "Qwen/Qwen3-8B": _qwen3(4096, 12288, 36, 32),
    "Qwen/Qwen3-14B": _qwen3(5120, 17408, 40, 40),
    "Qwen/Qwen3-32B": _qwen3(5120, 25600, 64, 64),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": _qwen3_30b_a3b,
    "lmsys/vicuna-7b-v1.5": lambda: LlamaConfig(max_position_embeddings=4096, rms_norm_eps=1e-5, pad_token_id=0),
}


def list_backbones() -> list[str]:
    """Hub ids whose shapes are known."""
    return list(_SHAPES)


def backbone_config(hub_id: str) -> PreTrainedConfig:
    """A fresh config of a backbone's real shape, nothing downloaded.

    Raises:
        ValueError: If the shape is not written here.
    """
    if hub_id not in _SHAPES:
        raise ValueError(
            f"the shape of {hub_id!r} is not known here; known are {', '.join(_SHAPES)}. For any other backbone use"
            " AutoConfig.from_pretrained."
        )
    return _SHAPES[hub_id]()
