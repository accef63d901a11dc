"""Every benchmark result says when, where and with what it was measured."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "av", "numpy", "pillow")


def describe_machine() -> dict[str, Any]:
    """Processor, cores and card."""
    has_gpu = torch.cuda.is_available()
    return {
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "gpu_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 2) if has_gpu else None,
    }


def save_result(name: str, result: dict, *, folder: Path = RESULTS, command: str | None = None) -> Path:
    """Write `{name}.json` with date, command, hardware and versions around `result`, whole or not at all.

    Args:
        command: What repeats it. Default: this process's own.
    """
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command or " ".join(["python", *sys.argv]),
        "hardware": describe_machine(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "result": result,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    draft = path.with_suffix(".partial")
    draft.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def load_result(name: str) -> dict:
    """What `save_result` wrote last under this name, without date and hardware."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["result"]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
