"""Everything that the vision tower's features depend on besides the clip, and a digest of it."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

from processing.processing_kocap import KoCapProcessor

FORMAT = 1  # raise it when features or files change though no setting does
CONFIG_NAMES = (
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "spatial_pool_stride",
    "spatial_pool_mode",
)
# What changes no feature. Whatever is not listed counts: a cache that is filled twice is better than a wrong one.
WITHOUT_EFFECT = {
    *("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "auto_map", "processor_class"),
    *("id2label", "label2id", "problem_type", "output_hidden_states", "output_attentions", "return_dict"),
    *("is_encoder_decoder", "chunk_size_feed_forward", "return_metadata", "isolated", "return_tensors", "device"),
}


def find_encoder(model: nn.Module) -> Any:
    """The part with `encode_frames` and `vision_tower`, whatever is wrapped around it (a head, PEFT).

    Raises:
        ValueError: If there is none.
    """
    for module in model.modules():
        if hasattr(module, "encode_frames"):
            return module
    raise ValueError(f"{type(model).__name__} has no encode_frames; pass a KoCap model.")


def feature_settings(
    model: nn.Module, processor: KoCapProcessor, dtype: torch.dtype, *, weights: str | None = None
) -> dict[str, Any]:
    """What features depend on, as JSON holds it.

    The tower's weights are read to their last byte: call it before FSDP or DeepSpeed share them out.

    Args:
        dtype: What features are stored in.
        weights: The tower's `weights_digest`, where it is known.
    """
    encoder = find_encoder(model)
    config = encoder.config
    return {
        "format": FORMAT,
        "weights": weights or weights_digest(encoder.vision_tower),
        "vision_config": _told(config.vision_config.to_dict()),
        **{name: getattr(config, name) for name in CONFIG_NAMES},
        "video_processor": _told(processor.video_processor.to_dict()),
        "image_processor": _told(processor.image_processor.to_dict()),
        "dtype": str(dtype).removeprefix("torch."),
    }


def settings_digest(settings: dict[str, Any]) -> str:
    """32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def weights_digest(module: nn.Module) -> str:
    """sha256 of a module's weights with their names, types and shapes; where they lie does not matter."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT and value is not None}
    return json.loads(json.dumps(told, default=str))
