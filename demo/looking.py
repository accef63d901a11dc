"""A clip to what a model takes, on the CPU: frames decoded in a process of their own, and the prompt around them."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from processing.frame_sampling_kocap import Sampling, sample_times
from processing.video_errors_kocap import VideoWarning
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_limits_kocap import Limits
from processing.video_reading_kocap import Times

from .limits import UploadLimits

if TYPE_CHECKING:
    from processing.pipeline_kocap import KoCapPipeline

SamplingName = Literal["uniform", "scene"]


@dataclass(frozen=True, eq=False)
class Look:
    """The frames of a clip, or of a part of it, that a model will see.

    Attributes:
        frames: uint8 `[T, 3, H, W]`.
        times_s: When each of them is shown, seconds from the clip's start.
        start_s, end_s: The part of the clip that they stand for.
    """

    frames: np.ndarray
    times_s: tuple[float, ...]
    start_s: float
    end_s: float
    warnings: tuple[VideoWarning, ...] = ()


def look(pipe: "KoCapPipeline", video: str, *, num_frames: int, sampling: SamplingName, limits: UploadLimits) -> Look:
    """Look at a whole clip.

    Raises:
        VideoError: If it cannot be read or is over a limit.
    """
    facts = limits.check(video)
    (seen,) = _read(pipe, video, Sampling(sampling, num_frames), [(0.0, facts.duration_s)], limits.reading)
    return seen


def look_at_windows(
    pipe: "KoCapPipeline", video: str, windows: Sequence[tuple[float, float]], *, num_frames: int, limits: Limits
) -> list[Look]:
    """Look at every window, evenly, reading the clip once."""
    times_s = [start + sample_times(end - start, num_frames=num_frames) for start, end in windows]
    return _read(pipe, video, np.concatenate(times_s), windows, limits)


def _read(
    pipe: "KoCapPipeline", video: str, times_s: Times, windows: Sequence[tuple[float, float]], limits: Limits
) -> list[Look]:
    processor: Any = pipe.processor  # typed as optional by transformers
    size = processor.video_processor.size
    read = read_frames_isolated(video, times_s, size=min(size["height"], size["width"]), limits=limits)
    if len(windows) == 1:
        borders = [0, len(read)]
    elif read.mode == "keyframe":  # of a clip with few keyframes: each once, so shared among the windows by time
        borders = [bisect.bisect_left(read.times_s.tolist(), start) for start, _ in windows] + [len(read)]
    else:
        borders = [len(read) * index // len(windows) for index in range(len(windows) + 1)]
    looks = []
    for (start_s, end_s), first, last in zip(windows, borders, borders[1:]):
        chosen = slice(first, last) if last > first else slice(max(first - 1, 0), max(first, 1))  # the nearest before
        times = tuple(float(time_s) for time_s in read.times_s[chosen])
        looks.append(Look(read.data[chosen], times, start_s, end_s, read.warnings))
    return looks


def prepare(pipe: "KoCapPipeline", seen: Look, prompt: str, earlier: Sequence[tuple[str, str]] = ()) -> dict:
    """What `pipe.forward` takes: the frames, earlier questions and answers, and the prompt.

    Args:
        earlier: Questions about this clip and their answers, oldest first.
    """
    turns = [*(turn for pair in earlier for turn in pair), prompt]
    chat = [
        {"role": "assistant" if index % 2 else "user", "content": [{"type": "text", "text": text}]}
        for index, text in enumerate(turns)
    ]
    chat[0]["content"].insert(0, {"type": "video", "video": seen.frames})
    metadata = {
        "times_s": [max(0.0, time_s - seen.start_s) for time_s in seen.times_s],  # a window is a clip of its own
        "duration": seen.end_s - seen.start_s,
        "warnings": seen.warnings,
    }
    return pipe.preprocess({"chats": [chat], "video_metadata": [metadata]}, num_frames=len(seen.frames))
