"""The checkpoint a run stands on: backbones put together, and the projector that stage `align` has trained written in.

A folder appears complete or not at all. Writing weights touches only the shards that hold them, so neither a 4-bit run
nor a machine with little memory ever loads the whole model again to save a projector.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from configuration.disk_writing import DiskError, finish_file, force_to_disk, writing
from configuration.gpu_tiers import GpuTier
from modeling.checkpoint_loading import loading
from modeling.modeling_kocap import KoCapForConditionalGeneration
from processing.processing_kocap import KoCapProcessor


def assemble(
    vision: str,
    text: str,
    folder: Path,
    *,
    tier: GpuTier,
    num_frames: int | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Write a KoCap of pretrained backbones with an untrained projector, unless it is there already.

    Args:
        vision, text: Hub ids or folders.
        tier: Gives precision, pooling, the tower's layer and the number of frames; for its own tower also their size.
        num_frames: In place of the tier's.
        trust_remote_code: Let code of the backbones' repositories run.
    Returns:
        `folder`.
    Raises:
        ModelError: If a backbone cannot be found or loaded.
    """
    if folder.exists():
        return folder
    trust = {"trust_remote_code": trust_remote_code}
    with _appearing(folder) as new, loading(vision, is_backbone=True), loading(text, is_backbone=True):
        model = KoCapForConditionalGeneration.from_backbones(
            vision,
            text,
            dtype=getattr(torch, tier.dtype),
            spatial_pool_stride=tier.spatial_pool_stride,
            vision_feature_layer=tier.vision_feature_layer,
            **trust,
        )
        processor = KoCapProcessor.from_backbones(
            vision, text, tokens_per_frame=1, num_frames=num_frames or tier.num_frames, **trust
        )
        if vision == tier.vision:  # DINOv3 takes frames of any size, and its own default is small
            size = {"height": tier.image_size, "width": tier.image_size}
            processor.image_processor.size = processor.video_processor.size = size
        processor.tokens_per_frame = model.model.count_frame_tokens(processor.video_processor.size["height"])
        with writing(folder.parent, "a model", needed_bytes=model.get_memory_footprint()):
            model.save_pretrained(new)
            processor.save_pretrained(new)
    return folder


def copy_checkpoint(model: str, folder: Path) -> Path:
    """Write a copy of a KoCap checkpoint, folder or Hub id, unless it is there already."""
    if not folder.exists():
        source = Path(model)
        if not source.is_dir():
            with loading(model):
                source = Path(snapshot_download(model))
        with _appearing(folder) as new:
            files = [path for path in source.iterdir() if path.is_file()]
            kept = [path for path in files if not path.name.endswith((".bin", ".pt", ".pth"))]  # safetensors only
            with writing(folder.parent, "a model", needed_bytes=sum(path.stat().st_size for path in kept)):
                for path in kept:
                    shutil.copyfile(path, new / path.name)
    return folder


def write_weights(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Replace weights of a checkpoint, in the precision that it stores; a shard is replaced whole.

    Raises:
        KeyError: If the checkpoint has no weight of such a name.
    """
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    shards = (
        json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if index.is_file()
        else dict.fromkeys(weights, SAFE_WEIGHTS_NAME)
    )
    by_shard: dict[str, list[str]] = {}
    for name in weights:
        by_shard.setdefault(shards[name], []).append(name)
    for shard, names in by_shard.items():
        with safe_open(folder / shard, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            metadata = file.metadata()
        for name in names:
            stored[name] = weights[name].to(stored[name].dtype).contiguous()
        draft = folder / f".{shard}.part"
        try:
            with writing(folder, "weights", needed_bytes=sum(weight.nbytes for weight in stored.values())):
                save_file(stored, draft, metadata=metadata)
                finish_file(draft, folder / shard)
        except DiskError:
            draft.unlink(missing_ok=True)
            raise


@contextmanager
def _appearing(folder: Path):
    """A new folder that gets its name when it is finished."""
    with writing(folder.parent, "a model"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        room = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".assembling-")
    with room as path:
        new = Path(path) / folder.name
        new.mkdir()
        yield new
        with writing(folder.parent, "a model"):
            for file in new.iterdir():
                force_to_disk(file)
            new.rename(folder)
