"""Clips and images on disk, and records about them."""

from pathlib import Path

import numpy as np
from PIL import Image
from video_fixtures import bars, make_clip

from corpus.records import Record, caption_record, parse_row


def write_clips(folder: Path, count: int) -> list[Path]:
    """Clips of 12 frames; each begins with another number."""
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(make_clip([bars((5 * number + frame) % 64) for frame in range(12)]))
    return paths


def write_image(path: Path, *, seed: int = 0, width: int = 50, height: int = 40) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def records_of(paths: list[Path]) -> list[Record]:
    """A caption of its own for every file."""
    return [
        parse_row({"id": path.stem, "image": str(path), "caption": f"사진 {path.stem}에 바다가 보입니다."})
        if path.suffix in (".png", ".jpg")
        else caption_record(path.stem, str(path), f"{path.stem}번 파도가 밀려옵니다.")
        for path in paths
    ]
