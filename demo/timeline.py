"""A long clip to windows that are captioned one by one: its shots, the short ones joined and the long ones cut."""

import itertools
from dataclasses import dataclass

import numpy as np

from processing.frame_sampling_kocap import sample_times
from processing.scene_cuts_kocap import find_cuts
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_limits_kocap import Limits
from processing.video_reading_kocap import THUMBNAIL_SIZE, THUMBNAILS


@dataclass(frozen=True)
class WindowRules:
    """How long a window is, and how many there are.

    Args:
        shortest_s: Shots that are shorter are joined with a neighbour: less than that cannot be read as a subtitle.
        longest_s: Longer shots are cut into equal parts.
        most: The shortest windows are joined until no more are left; a caption each takes a while.
    Raises:
        ValueError: If the numbers are not positive, or `longest_s` is under twice `shortest_s`.
    """

    shortest_s: float = 2.0
    longest_s: float = 15.0
    most: int = 24

    def __post_init__(self) -> None:
        if not (0 < self.shortest_s <= self.longest_s / 2 and self.most >= 1):
            raise ValueError(
                f"shortest_s is {self.shortest_s}, longest_s {self.longest_s} and most {self.most};"
                " it must be 0 < shortest_s <= longest_s / 2 and most >= 1."
            )


def make_windows(cuts_s: np.ndarray, duration_s: float, rules: WindowRules) -> list[tuple[float, float]]:
    """Windows that cover the clip without gaps.

    Args:
        cuts_s: Where shots change, ascending, inside `(0, duration_s)`.
    Returns:
        Start and end in seconds, ascending; at least one.
    """
    edges = [0.0]
    for start, end in itertools.pairwise([0.0, *map(float, cuts_s), float(duration_s)]):
        parts = max(1, int(np.ceil((end - start) / rules.longest_s)))
        edges += [start + (end - start) * part / parts for part in range(1, parts)] + [end]
    while len(edges) > 2:
        lengths = np.diff(edges)
        shortest = int(lengths.argmin())
        if lengths[shortest] >= rules.shortest_s and len(lengths) <= rules.most:
            break
        left = lengths[shortest - 1] if shortest > 0 else np.inf
        right = lengths[shortest + 1] if shortest + 1 < len(lengths) else np.inf
        del edges[shortest if left <= right else shortest + 1]
    return list(itertools.pairwise(edges))


def find_windows(
    video: str, duration_s: float, *, limits: Limits, rules: WindowRules | None = None
) -> list[tuple[float, float]]:
    """Windows of a clip from strangers, by its keyframes; they are decoded in a process of their own.

    Raises:
        VideoError: If it cannot be read.
    """
    times_s = sample_times(duration_s, num_frames=THUMBNAILS)
    thumbnails = read_frames_isolated(video, times_s, size=THUMBNAIL_SIZE, mode="keyframe", limits=limits)
    cuts_s, _ = find_cuts(thumbnails.data, thumbnails.times_s, duration_s)
    return make_windows(cuts_s, duration_s, rules or WindowRules())
