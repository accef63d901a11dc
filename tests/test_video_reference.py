"""Frames are those the ffmpeg program decodes: same picture at the same time, pixel by pixel."""

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.codec.codec import Codec, UnknownCodecError
from video_fixtures import make_clip

from processing.video_reading_kocap import read_frames

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="compares with the ffmpeg program"
)


def moving(width: int = 96, height: int = 64, count: int = 12) -> list[np.ndarray]:
    """Smooth colours that drift, so that neighbouring frames differ everywhere but not by much."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [[np.sin(x / 9 + t), np.sin(y / 7 - t), np.sin((x + y) / 11 + 2 * t)] for t in np.arange(count) * 0.45]
    return [(127 + 100 * np.stack(wave, axis=-1)).astype(np.uint8) for wave in waves]


GOOD = {
    "h264": lambda: make_clip(moving()),
    "h264 with b-frames": lambda: make_clip(moving(), bframes=2),
    "one keyframe": lambda: make_clip(moving(), gop=250, bframes=2),
    "variable frame rate": lambda: make_clip(
        moving(), times_ms=[0, 40, 80, 300, 310, 500, 900, 933, 1000, 1700, 1750, 2000]
    ),
    "h264 in matroska": lambda: make_clip(moving(), container="matroska", bframes=2),
    "h264 in a transport stream": lambda: make_clip(moving(), container="mpegts", bframes=2),
    "late start": lambda: make_clip(moving(), container="mpegts", times_ms=range(70_000, 71_200, 100)),
    "mpeg4 in avi": lambda: make_clip(moving(), container="avi", codec="mpeg4"),
    "hevc": lambda: make_clip(moving(), codec="libx265", bframes=2),
    "vp8": lambda: make_clip(moving(), container="webm", codec="libvpx"),
    "vp9": lambda: make_clip(moving(), container="webm", codec="libvpx-vp9"),
    "av1": lambda: make_clip(moving(), codec="libsvtav1"),
    "10 bits": lambda: make_clip(moving(), pix_fmt="yuv420p10le"),
    "odd size": lambda: make_clip(moving(97, 65), pix_fmt="yuv444p"),
    "turned": lambda: make_clip(moving(), turn=(90, False, False)),
    "pixels that are not square": lambda: make_clip(moving(), aspect=Fraction(4, 3)),
}
NEEDS = {"hevc": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9", "av1": "libsvtav1"}


def decode(path: Path, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Everything the program decodes, upright and `width` wide: uint8 `[N, 3, H, W]` and float64 `[N]` seconds."""
    listing = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time"]
    found = json.loads(subprocess.run([*listing, "-of", "json", path], check=True, capture_output=True).stdout)
    times_s = np.array([float(frame["best_effort_timestamp_time"]) for frame in found["frames"]])
    scale = f"scale={width}:{height}:flags=bicubic+accurate_rnd+full_chroma_int"
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", scale, "-vsync", "passthrough", "-pix_fmt", "rgb24"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3).transpose(0, 3, 1, 2), times_s - times_s[0]


@pytest.mark.parametrize("name", GOOD)
def test_frames_are_those_the_ffmpeg_program_decodes(name, tmp_path):
    if name in NEEDS:
        try:
            Codec(NEEDS[name], "w")
        except UnknownCodecError:
            pytest.skip(f"this PyAV has no {NEEDS[name]}")
    path = tmp_path / "clip"
    path.write_bytes(GOOD[name]())
    facts = read_frames(path, [0.0]).facts
    expected, times_s = decode(path, facts.width, facts.height)
    assert len(expected) == len(times_s) == 12
    frames = read_frames(path, times_s + 1e-3)  # a hair later: containers round to milliseconds or less
    assert np.allclose(frames.times_s, times_s, atol=2e-3)
    distance = np.array(
        [[np.abs(a.astype(int) - b).mean() for b in expected.astype(int)] for a in frames.data]
    )  # [read, expected]
    same = distance.diagonal()
    # 4:4:4 is equal to the bit; in 4:2:0 FFmpeg 5 and 8 put the colour samples a fraction of a pixel apart, which these
    # waves show as 2 of 255. A neighbouring frame differs by 30.
    assert same.max() < 3.0
    assert (distance + np.diag(np.full(12, np.inf))).min() > 5 * same.max() + 5
