"""Read frames of a video by time: the one a player would show then, upright, in display aspect, already small.

The surface is `probe`, `read_frames` and the data classes; what happens inside may change. The index says where
keyframes are, a plan says where to seek and how far to decode, and independent parts of the plan are decoded side by
side. A stream that cannot be planned for is decoded from its start.
"""

import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .frame_sampling_kocap import Sampling, sample_times
from .video_decoding_kocap import LostError
from .video_errors_kocap import FramesError, VideoResourcesError, VideoWarning, is_out_of_resources
from .video_index_kocap import frame_rate
from .video_limits_kocap import Limits
from .video_opening_kocap import Opener, VideoSource, check_pixels, open_source, source_name
from .video_readers_kocap import InOrderReader, Mode, PlannedReader, Result

Work = TypeVar("Work")
Times = ArrayLike | Sampling | Callable[[float], ArrayLike]

THUMBNAILS, THUMBNAIL_SIZE = 64, 36  # keyframes and pixels of their shorter side, enough to tell shots apart


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
        mode: How they were read: `exact` or `keyframe`.
        warnings: What a careful user would like to know; empty when all is well.
    """

    data: np.ndarray
    times_s: np.ndarray
    facts: VideoFacts
    mode: str = "exact"
    warnings: tuple[VideoWarning, ...] = ()

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
        facts = f"facts: {self.facts}, mode: {self.mode}, warnings: {self.warnings}"
        return f"Frames(data: {data}, times_s: {times_s}, {facts})"


def probe(source: VideoSource, *, limits: Limits | None = None) -> VideoFacts:
    """Learn what a clip is: one frame is decoded, the rest at most demuxed.

    Raises:
        VideoError: If the source is no video that can be read; see `code`.
    """
    limits = limits or Limits()
    with open_source(source, limits) as file, Opener(file, source_name(source), limits) as opener:
        return _Clip(opener).facts


def read_frames(
    source: VideoSource,
    times_s: Times,
    *,
    size: int | None = None,
    mode: Mode = "auto",
    limits: Limits | None = None,
) -> Frames:
    """Read the frame shown at each time.

    That is the last frame whose PTS is at or before the time. Times before the clip give its first frame, times after
    it the last one, so exactly as many frames come back as times went in, some of them perhaps equal.

    Args:
        source: Path, bytes, or seekable binary file object (left open). Never a URL.
        times_s: float `[T]`, ascending seconds after the clip's first frame; or a `Sampling`, or a function, that
            chooses them from the clip's duration in seconds.
        size: Scale down so that the shorter side has this many pixels; smaller clips stay as they are.
        mode: `exact` gives what a full decode would, bit by bit. `keyframe` gives the keyframes nearest to the times,
            each once, so perhaps fewer frames; `times_s` of the result says which. `auto` is exact, but takes keyframes
            where that would mean to decode more than 10 gigapixels (5000 frames of 1080p).
        limits: Ceilings. Default: `Limits()`.
    Raises:
        VideoError: If the source is no video that can be read; see `code`.
        ValueError: If the times are empty, too many, not finite or not ascending, or `size < 1`.
    """
    limits = limits or Limits()
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; it must be >= 1, or None to keep the clip's own.")
    if mode not in ("exact", "keyframe", "auto"):
        raise ValueError(f"mode is {mode!r}; it must be exact, keyframe or auto.")
    with open_source(source, limits) as file, Opener(file, source_name(source), limits) as opener:
        clip = _Clip(opener)
        if isinstance(times_s, Sampling):
            times_s = times_s.times(clip.facts.duration_s, clip.thumbnails)
        elif callable(times_s):
            times_s = times_s(clip.facts.duration_s)
        return clip.read(_check_times(times_s, limits), size, mode)


def _check_times(times_s: ArrayLike, limits: Limits) -> np.ndarray:
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or times.size == 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(f"times_s is {times}; it must be a list of at least one finite time, in ascending order.")
    if len(times) > limits.max_frames:
        raise ValueError(f"{len(times)} frames are wanted; the limit is {limits.max_frames}. Raise max_frames.")
    return times


class _Clip:
    """One video, opened and measured."""

    def __init__(self, opener: Opener):
        self._opener = opener
        self._reader: PlannedReader | InOrderReader | None = None
        reader = self._frugally(self._open)
        stream, picture = reader.stream, reader.picture
        check_pixels(picture.width, picture.height, opener.name, opener.limits)
        self.facts = VideoFacts(
            duration_s=max(round(max(reader.duration_s, 1 / frame_rate(stream)), 6), 1e-6),
            width=picture.width,
            height=picture.height,
            average_fps=float(stream.average_rate) if stream.average_rate else None,
            rotation_degrees=picture.rotation_degrees,
            codec=stream.codec_context.codec.name,
        )

    def read(self, wanted_s: np.ndarray, size: int | None, mode: Mode) -> Frames:
        """See `read_frames`."""
        width, height = self.facts.width, self.facts.height
        scale = 1.0 if size is None else min(1.0, size / min(width, height))
        shape = max(1, round(width * scale)), max(1, round(height * scale))
        result, odd = self._frugally(lambda: self._read(wanted_s, shape, mode))
        return Frames(result.data, result.times_s, self.facts, result.mode, (*result.warnings, *odd))

    def _open(self) -> PlannedReader | InOrderReader:
        if self._reader is None:
            with contextlib.suppress(LostError):
                self._reader = PlannedReader(self._opener)
        self._reader = self._reader or InOrderReader(self._opener)
        return self._reader

    def _read(self, wanted_s: np.ndarray, shape: tuple[int, int], mode: Mode) -> tuple[Result, list[VideoWarning]]:
        reader = self._open()
        with contextlib.suppress(LostError):
            return reader.read(wanted_s, shape, mode), reader.warnings()
        self._reader = reader = InOrderReader(self._opener)
        return reader.read(wanted_s, shape, mode), reader.warnings()

    def _frugally(self, work: Callable[[], Work]) -> Work:
        """Do it; if memory or threads run out, again with one thread.

        Raises:
            VideoResourcesError: If that is not enough either.
        """
        while True:
            try:
                return work()
            except Exception as error:  # of FFmpeg, numpy or Python
                if not is_out_of_resources(error):
                    raise
                if self._opener.most_threads == 1:
                    raise VideoResourcesError(
                        f"{self._opener.name}: memory or threads ran out ({error!r}); the file may be good. Try again"
                        " when the machine is less busy, ask for fewer or smaller frames, or raise memory_bytes."
                    ) from error
            self._reader = None
            self._opener.close()
            gc.collect()  # decoders and their threads, which refer to their containers
            self._opener.most_threads = 1

    def thumbnails(self) -> tuple[np.ndarray, np.ndarray]:
        """Keyframes from all over the clip, uint8 `[K, 3, h, w]`, and when they are shown, float64 `[K]`."""
        frames = self.read(sample_times(self.facts.duration_s, num_frames=THUMBNAILS), THUMBNAIL_SIZE, "keyframe")
        return frames.data, frames.times_s
