"""Adapters on disk: trained at random, and changed by hand."""

import json
import shutil
from pathlib import Path

import torch

from training.adapters import add_adapter


def save_random_adapter(model, kind: str, folder: Path, *, scale: float) -> None:
    """An adapter of rank 2 whose weights have moved by noise of this size."""
    model = add_adapter(model, kind, rank=2)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=scale)
    model.save_pretrained(folder)


def with_settings(adapter: Path, out: Path, **settings) -> Path:
    """A copy with other settings in `adapter_config.json`."""
    shutil.copytree(adapter, out)
    config = json.loads((out / "adapter_config.json").read_text()) | settings
    (out / "adapter_config.json").write_text(json.dumps(config))
    return out
