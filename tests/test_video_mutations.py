"""Thousands of damaged files, each read in a process of its own: every one gives frames or a coded error, in time.

pytest -m slow -s tests/test_video_mutations.py     # prints what came of them
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from video_fixtures import make_clip

from processing import video_isolation_kocap as isolation
from processing.video_errors_kocap import VideoError
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_limits_kocap import Limits

NUM_VARIANTS = 640  # of each clip: 5120 in all
LIMITS = Limits(max_pixels=1_000_000, max_seconds=5.0, max_frames=16)
MARGIN_S = 10.0  # for a busy machine
CLIPS: dict[str, Callable[[], bytes]] = {
    "mp4": lambda: make_clip(12, bframes=2),
    "fragmented mp4": lambda: make_clip(12, gop=4, muxer={"movflags": "frag_keyframe+empty_moov"}),
    "mkv": lambda: make_clip(12, container="matroska", bframes=2),
    "webm": lambda: make_clip(12, container="webm", codec="libvpx"),
    "avi": lambda: make_clip(12, container="avi", codec="mpeg4"),
    "mpegts": lambda: make_clip(12, container="mpegts", bframes=2),
    "flv": lambda: make_clip(12, container="flv", codec="flv"),
    "gif": lambda: make_clip(12, container="gif", codec="gif", pix_fmt="rgb8"),
}


def flip(clip: bytearray, draw: np.random.Generator, begin: int, end: int, most: int) -> bytearray:
    for at in draw.integers(begin, end, draw.integers(1, most + 1)):
        clip[at] = draw.integers(256)
    return clip


def mutate(original: bytes, seed: int) -> bytes:
    """Damage a file in one of eight ways; the same seed gives the same file."""
    draw, clip = np.random.default_rng(seed), bytearray(original)
    size = len(clip)
    begin = int(draw.integers(size))
    end = min(size, begin + int(draw.integers(1, max(2, size // 4))))
    match seed % 8:
        case 0:
            return bytes(flip(clip, draw, 0, size, 300))
        case 1:
            return bytes(flip(clip, draw, 0, size, 3))
        case 2:
            return bytes(flip(clip, draw, 0, min(size, 256), 8))  # where most headers are
        case 3:
            return bytes(flip(clip, draw, max(0, size - 1024), size, 8))  # mp4's moov, avi's and mkv's index
        case 4:
            return bytes(clip[: begin + 1])
        case 5:
            return bytes(clip[:end] + clip[begin:])  # twice
        case 6:
            return bytes(clip[:begin] + clip[end:]) or b"\0"
        case _:
            return bytes(clip[:begin] + bytes(end - begin) + clip[end:])


def read(clip: bytes, seed: int) -> tuple[str, str]:
    """What comes of one variant: a code, and its message."""
    times_s: object = [0.0, 0.45, 1.1] if seed % 3 else (lambda duration_s: np.linspace(0, duration_s, 4))
    began = time.monotonic()
    try:
        frames = read_frames_isolated(mutate(clip, seed), times_s, size=32, limits=LIMITS, cpu_s=10)
    except VideoError as error:
        code, message = error.code, str(error)
    else:
        code, message = ("frames, warned" if frames.warnings else "frames"), ""
        assert len(frames) == (3 if seed % 3 else 4) or frames.mode == "keyframe"
    assert time.monotonic() - began < LIMITS.max_seconds + MARGIN_S
    return code, message


def table(results: dict[str, list[tuple[str, str]]]) -> str:
    counts = {name: Counter(code for code, _ in found) for name, found in results.items()}
    codes = sorted({code for count in counts.values() for code in count})
    widths = [max(len(code), 5) for code in codes]
    rows = [("", codes), *((name, [count[code] for code in codes]) for name, count in counts.items())]
    return "\n".join(
        f"{name:16}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in rows
    )


@pytest.mark.slow
def test_damaged_files_give_frames_or_a_coded_error():
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    began, results = time.monotonic(), {}
    with contextlib.closing(isolation._server), ThreadPoolExecutor(4) as pool:
        for name, make in CLIPS.items():
            clip = make()
            results[name] = list(pool.map(lambda seed, clip=clip: read(clip, seed), range(NUM_VARIANTS)))
    print(f"\n{table(results)}\n{NUM_VARIANTS * len(CLIPS)} files in {time.monotonic() - began:.0f} s")
    crashes = [
        f"{name}, seed {seed}: {message}"
        for name, found in results.items()
        for seed, (code, message) in enumerate(found)
        if code in ("E_DECODER_CRASHED", "E_TIMEOUT")
    ]
    print("\n".join(crashes))
    ours = [crash for crash in crashes if "reading it failed" in crash or "nonsense" in crash]
    assert not ours  # FFmpeg may crash; our own code may not
    if open_before is not None:
        assert len(os.listdir("/proc/self/fd")) <= open_before
