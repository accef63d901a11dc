"""One call from a checkpoint to a ready pipeline, as the scripts and the demo use it."""

from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from processing.pipeline_kocap import KoCapPipeline

from . import auto_classes  # noqa: F401
from .checkpoint_names import EMBEDDED_MODEL, model_name, weights_revision


def load_captioner(model: str = EMBEDDED_MODEL) -> KoCapPipeline:
    """Load a KoCap checkpoint, folder or Hub id, on the GPU when there is one.

    KoCap's classes come from this source tree; code in the checkpoint's repository is never run.

    Raises:
        OSError: If there is no such folder or repository.
    """
    on_gpu = torch.cuda.is_available()
    return pipeline(
        "video-text-to-text",
        model=model,
        pipeline_class=KoCapPipeline,
        device=0 if on_gpu else -1,
        dtype="auto" if on_gpu else torch.float32,  # bfloat16 is slow on most CPUs
    )


def describe_captioner(pipe: KoCapPipeline, model: str | None = None) -> dict[str, Any]:
    """What made a caption: the model's name, and what identifies its weights.

    Args:
        model: What `load_captioner` was given; the pipeline itself knows only an adapter's base.
    """
    model = model or pipe.model.name_or_path
    revision = weights_revision(Path(model)) if Path(model).is_dir() else checkpoint_revision(pipe)
    return {"model": model_name(model), "revision": revision}


def checkpoint_revision(pipe: KoCapPipeline) -> str | None:
    """What identifies the weights: the Hub's commit, or `sha256:` of a local folder's weights."""
    commit = getattr(pipe.model.config, "_commit_hash", None)
    return commit or weights_revision(Path(pipe.model.name_or_path))
