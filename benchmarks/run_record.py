"""Every benchmark result says when, where and with what it was measured."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def save_result(name: str, result: dict) -> Path:
    """Write `results/{name}.json` with date, command, hardware and versions around `result`."""
    packages = ("torch", "transformers", "av", "numpy", "pillow")
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "hardware": {
            "machine": platform.machine(),
            "cpu_cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "result": result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return path


def load_result(name: str) -> dict:
    """What `save_result` wrote last under this name, without date and hardware."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["result"]
