"""Read frames of a video by time: the one a player would show then, upright, in display aspect, already small.

The surface is `probe`, `read_frames` and the two data classes; what happens inside may change.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av.video.frame
import numpy as np
from numpy.typing import ArrayLike

from .video_decoding_kocap import Decoder, TimedFrame, frame_rate, measure_all, measure_tail, promised_end
from .video_errors_kocap import FramesError
from .video_opening_kocap import (
    MAX_PIXELS,
    VideoSource,
    check_pixels,
    find_video_stream,
    open_container,
    open_source,
    source_name,
)
from .video_picture_kocap import Picture

SEEK_AFTER_S = 10.0  # nearer than this, decoding from the start is cheap and cannot go wrong
SAME_TIME_S = 1e-6  # absorbs float rounding between a caller's i / fps and a true PTS
SHORTFALL = 0.05  # share; headers overstate by a frame or two, and sound may outlast the pictures a little


@dataclass(frozen=True)
class VideoFacts:
    """What a clip is, as a player shows it.

    Attributes:
        duration_s: From the first frame shown to the end of the last one, measured rather than read from the header.
        width, height: After rotation and sample aspect ratio.
        rotation_degrees: Clockwise turn that makes stored frames upright: 0, 90, 180 or 270. `read_frames` has done it.
    """

    duration_s: float
    width: int
    height: int
    average_fps: float | None
    rotation_degrees: int
    codec: str


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one clip.

    Attributes:
        data: uint8 `[T, 3, H, W]`, RGB.
        times_s: float64 `[T]`, when each frame is first shown, in seconds after the clip's first frame.
        warnings: What a careful user would like to know, in English; empty when all is well.
    """

    data: np.ndarray
    times_s: np.ndarray
    facts: VideoFacts
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1] != 3 or self.data.dtype != np.uint8 or self.data.size == 0:
            raise FramesError(
                f"data is {self.data.dtype} {list(self.data.shape)}; it must be uint8 [T, 3, H, W] and not empty."
            )
        if self.times_s.shape != self.data.shape[:1] or self.times_s.dtype != np.float64:
            raise FramesError(
                f"times_s is {self.times_s.dtype} {list(self.times_s.shape)}; it must be float64 [{len(self.data)}]."
            )

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        data, times_s = f"uint8 {list(self.data.shape)}", f"{self.times_s[0]:.3f} to {self.times_s[-1]:.3f}"
        return f"Frames(data: {data}, times_s: {times_s}, facts: {self.facts}, warnings: {self.warnings})"


def probe(source: VideoSource, *, max_pixels: int = MAX_PIXELS) -> VideoFacts:
    """Learn what a clip is: one frame is decoded, the rest at most demuxed.

    Raises:
        VideoError: If the source is no video that can be read; see `code`.
    """
    with open_source(source) as file:
        return _Clip(file, source_name(source), max_pixels).facts


def read_frames(
    source: VideoSource,
    times_s: ArrayLike | Callable[[VideoFacts], ArrayLike],
    *,
    shortest_edge: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Frames:
    """Read the frame shown at each time.

    That is the last frame whose PTS is at or before the time. Times before the clip give its first frame, times after
    it the last one, so exactly as many frames come back as times went in, some of them perhaps equal.

    Args:
        source: Path, bytes, or seekable binary file object (left open). Never a URL.
        times_s: float `[T]`, ascending seconds after the clip's first frame, or a function that chooses them.
        shortest_edge: Scale down so that the shorter side has this many pixels; smaller clips stay as they are.
        max_pixels: Refuse clips with larger frames.
    Raises:
        VideoError: If the source is no video that can be read; see `code`.
        ValueError: If the times are empty, not finite or not ascending, or `shortest_edge < 1`.
    """
    if shortest_edge is not None and shortest_edge < 1:
        raise ValueError(f"shortest_edge is {shortest_edge}; it must be >= 1, or None to keep the size.")
    with open_source(source) as file:
        clip = _Clip(file, source_name(source), max_pixels)
        wanted = _check_times(times_s(clip.facts) if callable(times_s) else times_s)
        width, height = _shrink(clip.facts.width, clip.facts.height, shortest_edge)
        data = np.empty((len(wanted), 3, height, width), np.uint8)
        shown_s = np.empty(len(wanted))
        for places, time_s, frame in _shown_at(clip.frames_from(wanted[0]), wanted):
            data[places] = clip.picture.render(frame, width, height)  # [3, H, W] to all places at once
            shown_s[places] = time_s
        return Frames(data, shown_s, clip.facts, clip.warnings())


def _check_times(times_s: ArrayLike) -> np.ndarray:
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or times.size == 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(f"times_s is {times}; it must be a list of at least one finite time, in ascending order.")
    return times


def _shrink(width: int, height: int, shortest_edge: int | None) -> tuple[int, int]:
    scale = 1.0 if shortest_edge is None else min(1.0, shortest_edge / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shown_at(
    frames: Iterator[TimedFrame], wanted: np.ndarray
) -> Iterator[tuple[slice, float, av.video.frame.VideoFrame]]:
    """Yield (places in `wanted`, PTS, frame) for every frame shown at a wanted time; stop when all are served."""
    done = 0
    time_s, frame = next(frames)
    for next_time_s, next_frame in frames:
        stop = int(np.searchsorted(wanted, next_time_s - SAME_TIME_S))
        if stop > done:
            yield slice(done, stop), time_s, frame
            done = stop
        if done == len(wanted):
            return
        time_s, frame = next_time_s, next_frame
    yield slice(done, len(wanted)), time_s, frame


class _Clip:
    """One video, measured and with its first frame decoded."""

    def __init__(self, file: BinaryIO, name: str, max_pixels: int):
        self._file, self._name, self._max_pixels = file, name, max_pixels
        self._extent = measure_tail(*self._open()) or measure_all(*self._open())
        container, stream = self._open()  # a fresh one each time: not every demuxer can seek back
        self._decoder = Decoder(container, stream, name)
        self._frames = self._decoder.frames()
        self._first = next(self._frames)
        self._promised_s = promised_end(container, stream)
        self.picture = Picture(self._first[1], stream)
        check_pixels(self.picture.width, self.picture.height, name, max_pixels)
        self.facts = VideoFacts(
            duration_s=self._duration_s(),
            width=self.picture.width,
            height=self.picture.height,
            average_fps=float(stream.average_rate) if stream.average_rate else None,
            rotation_degrees=self.picture.rotation_degrees,
            codec=stream.codec_context.codec.name,
        )

    def _open(self):
        container = open_container(self._file, self._name, self._max_pixels)
        return container, find_video_stream(container, self._name, self._max_pixels)

    def _duration_s(self) -> float:
        step_s, end_s = 1 / frame_rate(self._decoder.stream), self._extent.end_s
        if end_s is None:
            return max(self._extent.num_packets, 1) * step_s
        return round(max(end_s - self._decoder.start_s, step_s), 6)

    def frames_from(self, time_s: float) -> Iterator[TimedFrame]:
        """Frames in order, the first of them shown at or before `time_s`, or the clip's first. Call once."""
        if time_s < SEEK_AFTER_S:
            return itertools.chain([self._first], self._frames)
        sought = self._decoder.seek(time_s)
        first = next(sought, None)
        if first is not None and first[0] <= time_s:
            return itertools.chain([first], sought)
        self._decoder = Decoder(*self._open(), self._name)
        return self._decoder.frames()

    def warnings(self) -> tuple[str, ...]:
        """Check that enough of what was tried decodes, and say what was odd."""
        self._decoder.check()
        found = self._decoder.warnings()
        end_s, promised_s = self._extent.end_s, self._promised_s
        if end_s is not None and promised_s is not None and promised_s - end_s > max(0.25, SHORTFALL * promised_s):
            found.append(
                f"the header promises {promised_s:.1f} s, but pictures end at {end_s:.1f} s; the file may be cut short"
            )
        return tuple(found)
