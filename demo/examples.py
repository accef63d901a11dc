"""Example clips: drawn scenes, a second or two to draw each, that no training run has seen."""

import os
from pathlib import Path

from corpus.scenes import sample_scene, write_clip

EXAMPLE_SEEDS = (1_500_000_000, 1_500_000_023, 1_500_000_021)  # held out: training never sees seeds this large


def make_examples(folder: Path) -> list[Path]:
    """Draw the example clips that aren't in the folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene-{seed}.mp4" for seed in EXAMPLE_SEEDS]
    for seed, path in zip(EXAMPLE_SEEDS, paths, strict=True):
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}.part")
            write_clip(sample_scene(seed), unfinished, height=360, width=640, fps=10)
            unfinished.replace(path)
    return paths
