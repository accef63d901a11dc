"""One call from a checkpoint to a ready pipeline, as the scripts and the demo use it."""

from pathlib import Path
from typing import Any

import torch

from processing.pipeline_kocap import KoCapPipeline

from .checkpoint_loading import load_model, load_processor
from .checkpoint_names import EMBEDDED_MODEL, model_name, weights_revision


def load_captioner(model: str = EMBEDDED_MODEL, *, trust_remote_code: bool = False) -> KoCapPipeline:
    """Load a KoCap checkpoint or an adapter, folder or Hub id, on the GPU when there is one.

    KoCap's classes come from this source tree.

    Args:
        trust_remote_code: Run code from the repository of a model that is none of KoCap's.
    Raises:
        ModelError: If there is no such folder or repository, or it cannot be loaded; says which file is at fault.
    """
    on_gpu = torch.cuda.is_available()
    dtype = "auto" if on_gpu else torch.float32  # bfloat16 is slow on most CPUs
    loaded = load_model(model, trust_remote_code=trust_remote_code, dtype=dtype)
    commit = getattr(loaded.config, "_commit_hash", None)  # an adapter's base
    processor = load_processor(loaded.name_or_path, trust_remote_code=trust_remote_code, revision=commit)
    return KoCapPipeline(model=loaded, processor=processor, task="video-text-to-text", device=0 if on_gpu else -1)


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
