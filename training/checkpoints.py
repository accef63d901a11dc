"""Checkpoints one can go on from: complete ones only.

A checkpoint is complete when the list of its files, written last, is there and every file has the size it says. A run
that was killed while it saved leaves none, and is not taken for one.
"""

import json
import logging
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from configuration.disk_writing import force_to_disk
from corpus.report_pages import write_whole

logger = logging.getLogger(__name__)

FILE_LIST = "complete.json"


def mark_complete(checkpoint: Path) -> None:
    """Write the list of a finished checkpoint's files and their sizes in bytes, once all of them are on the disk."""
    for path in _files(checkpoint):
        force_to_disk(path)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in _files(checkpoint)}
    write_whole(checkpoint / FILE_LIST, json.dumps(sizes, indent=1, sort_keys=True).encode())


def missing_files(checkpoint: Path) -> list[str]:
    """What a checkpoint lacks, by name; empty if it is complete."""
    try:
        sizes = json.loads((checkpoint / FILE_LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [FILE_LIST]
    present = {str(path.relative_to(checkpoint)): path.stat().st_size for path in _files(checkpoint)}
    return sorted(name for name, size in sizes.items() if present.get(name) != size)


def find_resumable(run_folder: Path) -> Path | None:
    """The newest complete checkpoint of a run; None if it has none. Incomplete ones are named in a warning."""
    steps = {}
    for path in run_folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if path.is_dir() and step.isdigit():
            steps[int(step)] = path
    for _, path in sorted(steps.items(), reverse=True):
        missing = missing_files(path)
        if not missing:
            return path
        logger.warning("%s is incomplete (%s is missing or cut short); not resuming from it", path, missing[0])
    return None


def step_of(checkpoint: Path | None) -> int:
    """After how many steps a checkpoint was saved; 0 without one."""
    if checkpoint is None:
        return 0
    return json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))["global_step"]


def _files(checkpoint: Path) -> list[Path]:
    ours = (FILE_LIST, f"{FILE_LIST}.partial")
    return [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name not in ours]
