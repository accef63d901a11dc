"""Choose when to look at a clip: one rule for training, serving and frames that were decoded elsewhere.

A clip is cut into T equal segments and looked at in the middle of each. The very first and last moments are left out on
purpose: that is where fades, black frames and cut-off transitions are, and where headers overstate the duration. A clip
of exactly T frames gives each frame once.
"""

import math
import operator

import numpy as np

DEFAULT_MAX_FRAMES = 64


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
