"""How sure a score is: bootstrap over clips, for one system and for the difference of two."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """How far the first system is ahead of the second on the same clips.

    Attributes:
        difference: First score minus second.
        low, high: 95 % interval of the difference.
        p_value: How often a difference as large arises between equals, two-sided. Equal systems: 1.
    """

    difference: float
    low: float
    high: float
    p_value: float


def resampled_sums(statistics: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Draw as many clips as there are, with replacement, again and again, and sum their statistics.

    The same seed draws the same clips, whatever is summed: that makes comparisons paired.

    Args:
        statistics: float64 `[clips, k]`.

    Returns:
        float64 `[resamples, k]`.
    """
    clips = len(statistics)
    sums = np.empty((resamples, statistics.shape[1]))
    for place, drawn in enumerate(_draws(clips, resamples, seed)):
        sums[place] = np.bincount(drawn, minlength=clips) @ statistics
    return sums


def _draws(clips: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.integers(clips, size=clips) for _ in range(resamples))


def interval(scores: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled scores (percentile bootstrap)."""
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(scores, [outside, 1 - outside])
    return float(low), float(high)


def bootstrap_mean(values: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of `[clips]` values and its 95 % interval."""
    means = resampled_sums(values[:, None], resamples=resamples, seed=seed)[:, 0] / len(values)
    return float(values.mean()), *interval(means)


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    *,
    score: Callable[[np.ndarray], np.ndarray] = lambda sums: sums[0] / sums[1],
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Test whether two systems differ, on the same clips in the same order.

    Args:
        first, second: float64 `[clips]` scores whose mean counts, or `[clips, k]` statistics for `score`.
        score: From sums of statistics `[k, ...]` to scores `[...]`.

    Raises:
        ValueError: If the shapes differ.

    Source: Koehn (2004). As in sacrebleu the resampled differences are centred; theirs are without sign, ours keep it,
        and a tie counts for chance.
    """
    if first.shape != second.shape:
        raise ValueError(f"the systems have {first.shape} and {second.shape} values; score the same clips with both")
    if first.ndim == 1:
        first, second = (np.stack([values, np.ones(len(values))], axis=1) for values in (first, second))
    sums = resampled_sums(np.concatenate([first, second], axis=1), resamples=resamples, seed=seed).T
    differences = score(sums[: first.shape[1]]) - score(sums[first.shape[1] :])
    value = float(score(first.sum(axis=0)) - score(second.sum(axis=0)))
    by_chance = np.abs(differences - value) >= abs(value)
    return Comparison(value, *interval(differences), float((by_chance.sum() + 1) / (resamples + 1)))
