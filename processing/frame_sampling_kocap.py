"""Choose when to look at a clip: one rule for training, serving and frames that were decoded elsewhere.

A clip is cut into T equal segments and looked at in the middle of each. The very first and last moments are left out on
purpose: that is where fades, black frames and cut-off transitions are, and where headers overstate the duration. A clip
of exactly T frames gives each frame once.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .scene_cuts_kocap import allot_frames, find_cuts

DEFAULT_MAX_FRAMES = 64
STRATEGIES = ("uniform", "fps", "scene")

Thumbnails = Callable[[], tuple[np.ndarray, np.ndarray]]  # uint8 [K, 3, h, w] and float64 [K], seconds, ascending


@dataclass(frozen=True)
class Sampling:
    """When to look at a clip, as a setting that can be stored and sent (`dataclasses.asdict`, pickle).

    Attributes:
        strategy: "uniform" takes `num_frames`, "fps" takes `fps` per second, both spread evenly over the clip. "scene"
            takes as many as these would (exactly one of the two is given), but first cuts the clip into shots, and
            looks at each of them at least once while the frames last.
        max_frames: Ceiling for `fps`.
    Raises:
        ValueError: If the strategy is unknown or a number is missing, superfluous, or not positive.
    """

    strategy: Literal["uniform", "fps", "scene"] = "uniform"
    num_frames: int | None = None
    fps: float | None = None
    max_frames: int = DEFAULT_MAX_FRAMES

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy is {self.strategy!r}; it must be one of {', '.join(STRATEGIES)}.")
        if self.strategy == "uniform" and (self.num_frames is None or self.fps is not None):
            raise ValueError(
                f"strategy is 'uniform', num_frames is {self.num_frames} and fps is {self.fps};"
                " give num_frames and no fps, or strategy='fps'."
            )
        if self.strategy == "fps" and (self.fps is None or self.num_frames is not None):
            raise ValueError(
                f"strategy is 'fps', num_frames is {self.num_frames} and fps is {self.fps};"
                " give fps and no num_frames, or strategy='uniform'."
            )
        _whole("max_frames", self.max_frames)
        self._evenly(1.0)  # checks the rest

    def count(self, duration_s: float) -> int:
        """How many frames a clip of this length gives."""
        return len(self._evenly(duration_s))

    def times(self, duration_s: float, thumbnails: Thumbnails | None = None) -> np.ndarray:
        """Choose when to look at a clip of this length; see `sample_times`.

        Args:
            thumbnails: Gives small pictures of the clip, keyframes say, and their times; called by "scene" alone, and
                not if there is only one frame to take.
        Returns:
            float64 `[T]`, seconds, ascending, all in `[0, duration_s)`, T >= 1.
        Raises:
            ValueError: If the duration is not finite and positive, or "scene" gets no thumbnails.
        """
        evenly = self._evenly(duration_s)
        if self.strategy != "scene" or len(evenly) == 1:
            return evenly
        if thumbnails is None:
            raise ValueError("strategy is 'scene' and thumbnails is None; pass thumbnails, or use 'uniform' or 'fps'.")
        cuts_s, changes = find_cuts(*thumbnails(), duration_s)
        if not len(cuts_s):
            return evenly
        starts_s, ends_s, counts = allot_frames(cuts_s, changes, duration_s, len(evenly))
        shots = [
            start_s + sample_times(end_s - start_s, num_frames=int(count))
            for start_s, end_s, count in zip(starts_s, ends_s, counts)
            if count
        ]
        return np.minimum(np.concatenate(shots), np.nextafter(duration_s, 0.0))

    def _evenly(self, duration_s: float) -> np.ndarray:
        return sample_times(duration_s, num_frames=self.num_frames, fps=self.fps, max_frames=self.max_frames)


def sample_times(
    duration_s: float,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    max_frames: int = DEFAULT_MAX_FRAMES,
) -> np.ndarray:
    """Choose when to look at a clip.

    Args:
        duration_s: Length of the clip in seconds, finite and > 0.
        num_frames: How many frames to take; exactly that many are.
        fps: Frames per second to take instead, rounded to a whole number of frames, at least 1.
        max_frames: Ceiling for `fps`; where it binds, `max_frames` are spread over the whole clip.
    Returns:
        float64 `[T]`, seconds, ascending, all in `[0, duration_s)`, T >= 1.
    Raises:
        ValueError: If a number is not positive and finite, or not exactly one of `num_frames` and `fps` is given.
    """
    duration_s = _positive("duration_s", duration_s)
    if (num_frames is None) == (fps is None):
        raise ValueError(f"num_frames is {num_frames} and fps is {fps}; give exactly one of them.")
    if num_frames is not None:
        count = _whole("num_frames", num_frames)
    else:
        wanted = min(
            duration_s * _positive("fps", fps), _whole("max_frames", max_frames)
        )  # before int(): the product may be infinite
        count = max(1, math.floor(wanted + 0.5))
    times = (np.arange(count) + 0.5) * (duration_s / count)
    return np.minimum(times, np.nextafter(duration_s, 0.0))  # rounding must not reach the end


def sample_indices(num_frames_total: int, num_frames: int) -> np.ndarray:
    """Choose which frames of a decoded list to look at, by the rule of `sample_times`.

    Args:
        num_frames_total: Length of the list, >= 1.
        num_frames: How many to take; when there are fewer, some are taken more than once.
    Returns:
        int64 `[num_frames]`, ascending, all in `[0, num_frames_total)`.
    Raises:
        ValueError: If either is not a whole number >= 1.
    """
    total, count = _whole("num_frames_total", num_frames_total), _whole("num_frames", num_frames)
    return (2 * np.arange(count, dtype=np.int64) + 1) * total // (2 * count)


def _whole(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number >= 1.")
    return number


def _positive(name: str, value: float | None) -> float:
    if value is None or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; it must be a finite number > 0.")
    return float(value)
