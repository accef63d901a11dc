"""Clips for benchmarks/video_reading.py: made with the ffmpeg program, and known frame by frame."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from tqdm import tqdm

LOOP_S, FPS = 15, 30  # long clips repeat a 15 s one, so they are made by copying packets
ENCODE_TIMEOUT_S = 900.0
REAL_CLIP_FRAMES = 8
THUMBNAIL_HEIGHT = 144
UNLIKE = 12.0  # of 255; right frames in another colour matrix differ by less

# B-frames and reference frames are x264's defaults, though the preset is a fast one: they decide what decoding costs.
# No keyframes at scene changes anywhere, so that "gop250" means 250. x265 keeps its default of open GOPs.
ENCODERS = {
    "h264": "-c:v libx264 -preset veryfast -crf 23 -refs 3 -bf {bframes} -g {gop} -keyint_min {gop} -sc_threshold 0",
    "hevc": "-c:v libx265 -preset ultrafast -crf 26 -tag:v hvc1"
    " -x265-params keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:log-level=error",
    "vp9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -tile-columns 2 -crf 33 -b:v 0"
    " -g {gop} -keyint_min {gop}",
    "av1": "-c:v libsvtav1 -preset 12 -crf 35 -g {gop}",
}
GOPS, HEIGHTS, DURATIONS_S, FRAME_COUNTS = (12, 30, 250, 1), (720, 1080, 2160), (15, 600), (8, 16, 64)


@dataclass(frozen=True)
class Cell:
    """One column of the design: what clip, and how many frames of it. `gop=1` is all-intra."""

    codec: str
    gop: int
    height: int
    duration_s: int
    num_frames: int

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS or self.duration_s % LOOP_S or min(self.gop, self.height, self.num_frames) < 1:
            raise ValueError(f"{self.name} is no cell: codecs are {list(ENCODERS)}, durations multiples of {LOOP_S} s.")

    @property
    def clip_name(self) -> str:
        return f"{self.codec}-gop{self.gop}-{self.height}p-{self.duration_s}s"

    @property
    def name(self) -> str:
        return f"{self.clip_name}-{self.num_frames}f"

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """`h264-gop30-1080p-15s-8f` and so on."""
        try:
            codec, gop, height, duration, frames = name.split("-")
            numbers = int(gop.removeprefix("gop")), int(height[:-1]), int(duration[:-1]), int(frames[:-1])
        except ValueError:
            raise ValueError(f"{name!r} is no cell name; write it like h264-gop30-1080p-15s-8f.") from None
        return cls(codec, *numbers)


# Every level of every factor at least three times, beside several levels of the others.
_DESIGN = """
h264-gop30-1080p-15s-8f   h264-gop250-1080p-15s-8f  h264-gop12-1080p-15s-16f  h264-gop1-1080p-15s-16f
h264-gop30-1080p-15s-64f  h264-gop250-720p-15s-64f  h264-gop12-720p-15s-8f    h264-gop1-720p-15s-64f
hevc-gop30-1080p-15s-16f  hevc-gop250-720p-15s-64f  hevc-gop12-720p-15s-8f    hevc-gop250-1080p-15s-8f
vp9-gop30-720p-15s-8f     vp9-gop250-1080p-15s-16f  vp9-gop12-1080p-15s-64f
av1-gop30-1080p-15s-8f    av1-gop250-720p-15s-16f   av1-gop12-720p-15s-64f
h264-gop30-2160p-15s-8f   h264-gop250-2160p-15s-16f hevc-gop30-2160p-15s-16f
h264-gop30-720p-600s-64f  h264-gop250-1080p-600s-8f h264-gop1-720p-600s-16f
hevc-gop30-1080p-600s-16f vp9-gop250-720p-600s-8f   av1-gop12-720p-600s-64f
"""
DESIGN = tuple(map(Cell.parse, _DESIGN.split()))
MEMORY_DESIGN = tuple(map(Cell.parse, ("h264-gop30-1080p-15s-64f", "h264-gop30-2160p-15s-64f")))


def full_design() -> tuple[Cell, ...]:
    """All combinations: hours of measuring, and an hour of encoding before that."""
    return tuple(itertools.starmap(Cell, itertools.product(ENCODERS, GOPS, HEIGHTS, DURATIONS_S, FRAME_COUNTS)))


@dataclass(frozen=True, eq=False)
class Clip:
    """A video file and the truth about it, from demuxing and decoding all of it in order.

    Attributes:
        times_s: float64 `[N]`, when each frame is shown, seconds after the first, ascending.
        thumbnails: uint8 `[M, 3, h, w]`; frame i of the clip looks like `thumbnails[i % M]`.
    """

    path: Path
    codec: str
    width: int
    height: int
    num_keyframes: int
    times_s: np.ndarray
    thumbnails: np.ndarray

    @property
    def duration_s(self) -> float:
        return float(self.times_s[-1] + np.median(np.diff(self.times_s)))

    @property
    def kilobits_per_s(self) -> int:
        return round(self.path.stat().st_size * 8 / 1000 / self.duration_s)

    def shown_at(self, times_s: np.ndarray) -> np.ndarray:
        """Numbers of the frames a player would show then, int64 `[T]`."""
        return np.searchsorted(self.times_s, times_s + 1e-6, side="right") - 1

    def check(self, frames: torch.Tensor, indices: np.ndarray) -> tuple[int, float]:
        """Are these the frames with these numbers?

        A frame is wrong when it looks clearly more like a neighbour of the one asked for, or like neither. Small steady
        differences, from another resize or colour matrix, are not wrong.

        Returns:
            How many are wrong or missing, and the mean absolute difference from the truth, of 255.
        """
        if len(frames) != len(indices):
            return abs(len(frames) - len(indices)), float("nan")
        near = np.clip(indices[:, None] + np.arange(-2, 3), 0, len(self.times_s) - 1)
        truth = torch.from_numpy(self.thumbnails[near % len(self.thumbnails)])  # [T, 5, 3, h, w]
        small = torch.nn.functional.interpolate(frames.float(), size=truth.shape[-2:], mode="area")
        differences = (small[:, None] - truth).abs().mean(dim=(2, 3, 4))
        asked = differences[:, 2]
        wrong = (asked > 1.25 * differences.amin(dim=1) + 0.25) | (asked > UNLIKE)
        return int(wrong.sum()), float(asked.mean())


def find_clips(
    cells: tuple[Cell, ...], folder: Path, real_clips: Path | None, original: Path | None
) -> dict[str, tuple[Clip, int]]:
    """Clips and how many frames to take, by cell name; made where missing."""
    found = {}
    for cell in tqdm(cells, desc="clips", unit="clip"):
        found[cell.name] = make_clip(cell, folder, original), cell.num_frames
    for path in sorted(real_clips.iterdir()) if real_clips else ():
        try:
            found[path.name] = read_truth(path, folder / "real"), REAL_CLIP_FRAMES
        except (OSError, ValueError) as error:
            print(f"left out {path.name}: {error}")
    return found


def make_clip(cell: Cell, folder: Path, original: Path | None) -> Clip:
    """Make a cell's clip, or find it made.

    Args:
        folder: Where clips are kept between runs.
        original: A real video to scale, cut and repeat; None draws a moving test picture with light noise.
    """
    folder = folder / (original.stem if original else "testsrc2")
    folder.mkdir(parents=True, exist_ok=True)
    base, path = folder / f"{cell.codec}-gop{cell.gop}-{cell.height}p-{LOOP_S}s.mp4", folder / f"{cell.clip_name}.mp4"
    if not base.exists():
        _ffmpeg([*_picture(cell.height, original), "-t", str(LOOP_S), "-an", *_encoder(cell)], base)
    if not path.exists():
        repeats = cell.duration_s // LOOP_S - 1
        _ffmpeg(["-stream_loop", str(repeats), "-i", str(base), "-c", "copy"], path)
    return read_truth(path, folder, repeats=base)


def make_small_clip(folder: Path) -> Path:
    """One second of 128x96, for warming up."""
    path = folder / "warm_up.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _ffmpeg(["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=30", "-t", "1", "-pix_fmt", "yuv420p"], path)
    return path


def read_truth(path: Path, folder: Path, *, repeats: Path | None = None) -> Clip:
    """Demux a clip, and decode it from start to end.

    Args:
        folder: Where its thumbnails are kept for the next time.
        repeats: The shorter clip that this one repeats, decoded in its place.
    Raises:
        OSError, ValueError: If there is no video that can be decoded.
    """
    decoded = repeats or path
    kept, kept_times = folder / f"{decoded.name}.npy", folder / f"{decoded.name}.times.npy"
    if not kept_times.exists():
        folder.mkdir(parents=True, exist_ok=True)
        times, thumbnails = zip(*_decode_small(decoded))
        np.save(kept, np.stack(thumbnails))
        np.save(kept_times, np.array(times))
    times_s, thumbnails = np.load(kept_times), np.load(kept, mmap_mode="r")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
        context, num_keyframes = stream.codec_context, sum(packet.is_keyframe for packet in packets)
        facts = context.codec.name, context.width, context.height, num_keyframes
        if decoded != path:  # we made it, so every packet is a frame
            times_s = np.sort([float(packet.pts * stream.time_base) for packet in packets])
    if len(times_s) < 2 or len(times_s) % len(thumbnails) or (np.diff(times_s) <= 0).any():
        raise ValueError(f"{path} has {len(times_s)} frames, not in order or not whole repeats of {len(thumbnails)}.")
    return Clip(path, *facts, times_s=times_s - times_s[0], thumbnails=thumbnails)


def _decode_small(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path} has no video stream.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            stamp = frame.dts if frame.pts is None else frame.pts
            width = round(frame.width * THUMBNAIL_HEIGHT / frame.height)
            small = frame.reformat(width, THUMBNAIL_HEIGHT, "rgb24", interpolation="AREA")
            yield float((stamp or 0) * stream.time_base), small.to_ndarray().transpose(2, 0, 1)


def _picture(height: int, original: Path | None) -> list[str]:
    if original is not None:
        return ["-stream_loop", "-1", "-i", str(original), "-vf", f"scale=-2:{height},fps={FPS},format=yuv420p"]
    source = f"testsrc2=size={height * 16 // 9}x{height}:rate={FPS},noise=alls=6:allf=t,format=yuv420p"
    return ["-f", "lavfi", "-i", source]


def _encoder(cell: Cell) -> list[str]:
    return ENCODERS[cell.codec].format(gop=cell.gop, bframes=0 if cell.gop == 1 else 3).split()


def _ffmpeg(arguments: list[str], path: Path) -> None:
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        command = ["ffmpeg", "-v", "error", "-y", *arguments, str(part)]
        subprocess.run(command, check=True, timeout=ENCODE_TIMEOUT_S, stdin=subprocess.DEVNULL)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
