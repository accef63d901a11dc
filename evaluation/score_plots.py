"""The pictures of a score report."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpus.report_pages import korean_plots, new_plot, save_plot

from .score_words import METRICS_KO
from .scoring import Score

OURS, PEOPLE, CONSTANT, SHUFFLED = "#2a6f97", "#8a8d91", "#c8102e", "#e08a00"
SHOWN_CATEGORIES = 20


@dataclass(frozen=True)
class CategoryScore:
    """Mean score of a category and its 95 % interval; NaN where there are too few clips for one."""

    mean: float
    low: float
    high: float
    clips: int


def draw_plots(
    folder: Path,
    score: Score,
    categories: Mapping[str, CategoryScore],
    predictions: Sequence[str],
    references: Sequence[str],
) -> dict[str, Path]:
    """Draw every picture there is something to show for.

    Args:
        predictions, references: One of each per clip, in the order of `score.per_clip`.
    Returns:
        PNG files by what they show: `histogram`, `lengths`, and where it applies `categories` and `repeats`.
    """
    with korean_plots() as korean:
        plots = {
            "histogram": _histogram(score, korean),
            "categories": _categories(score, categories, korean) if len(categories) > 1 else None,
            "repeats": _repeats(score, predictions, korean) if len(set(predictions)) < len(predictions) else None,
            "lengths": _lengths(predictions, references, korean),
        }
        return {name: save_plot(figure, folder / f"{name}.png") for name, figure in plots.items() if figure}


def _histogram(score: Score, korean: bool) -> Any:
    figure, axes = _new(3.2)
    values = score.per_clip
    axes.hist(
        values, bins=np.linspace(min(0, values.min()), max(values.max(), score.value, 0.01) * 1.05, 31), color=OURS
    )
    axes.axvline(score.value, color="black", label=f"{'점수' if korean else 'score'} {score.value:.3f}")
    for floor in _floors(score, korean):
        axes.axvline(**floor)
    _label(figure, axes, _name(score, korean), "영상 수" if korean else "clips")
    axes.yaxis.get_major_locator().set_params(integer=True)
    return figure


def _categories(score: Score, categories: Mapping[str, CategoryScore], korean: bool) -> Any:
    largest = sorted(categories.items(), key=lambda item: -item[1].clips)[:SHOWN_CATEGORIES]
    names, shown = zip(*sorted(largest, key=lambda item: item[1].mean), strict=True)
    rows = [
        f"{name if korean or name.isascii() else f'#{row}'} ({own.clips})"
        for row, (name, own) in enumerate(zip(names, shown, strict=True), 1)
    ]
    means, lows, highs = np.array([(own.mean, own.low, own.high) for own in shown]).T
    figure, axes = _new(1.3 + 0.3 * len(rows))
    axes.barh(rows, means, color=OURS)
    ends = np.maximum([means - lows, highs - means], 0)
    axes.errorbar(means, rows, xerr=ends, fmt="none", ecolor="black", capsize=3)
    for floor in _floors(score, korean):
        axes.axvline(**floor)
    _label(
        figure, axes, f"{_name(score, korean)}{', 선은 95 % 신뢰 구간' if korean else ', lines: 95 % intervals'}", ""
    )
    return figure


def _repeats(score: Score, predictions: Sequence[str], korean: bool) -> Any:
    """One dot for every different caption: how many clips got it, and how it scores there."""
    own = defaultdict(list)
    for caption, value in zip(predictions, score.per_clip, strict=True):
        own[caption].append(value)
    figure, axes = _new(3.2)
    counts, means = zip(*((len(values), np.mean(values)) for values in own.values()), strict=True)
    axes.scatter(counts, means, color=OURS, alpha=0.7, s=40, edgecolors="white")
    for floor in _floors(score, korean):
        axes.axhline(floor["x"], **{key: value for key, value in floor.items() if key != "x"})
    across = "그 설명을 받은 영상 수 (점: 설명)" if korean else "clips with that caption (a dot: a caption)"
    _label(figure, axes, across, _name(score, korean))
    axes.set_xlim(0, max(counts) + 1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _lengths(predictions: Sequence[str], references: Sequence[str], korean: bool) -> Any:
    figure, axes = _new(3.2)
    lengths = [[len(text) for text in texts] for texts in (references, predictions)]
    bins = np.linspace(0, max(1, *map(max, lengths)), 31)
    names = ("정답", "예측") if korean else ("references", "predictions")
    for own, colour, name in zip(lengths, (PEOPLE, OURS), names, strict=True):
        label = f"{name} ({'평균' if korean else 'mean'} {np.mean(own):.0f})"
        axes.hist(own, bins=bins, color=colour, alpha=0.6, label=label)
    _label(
        figure, axes, "설명 하나의 글자 수" if korean else "characters of a caption", "영상 수" if korean else "clips"
    )
    return figure


def _new(height: float) -> tuple[Any, Any]:
    figure, axes = new_plot(7, height)
    figure.set_dpi(120)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _floors(score: Score, korean: bool) -> list[dict[str, Any]]:
    """How to draw the floors as vertical lines."""
    floors = (
        (score.constant, CONSTANT, "--", "모두 같은 설명" if korean else "one constant caption"),
        (score.shuffled, SHUFFLED, ":", "영상을 뒤섞음" if korean else "shuffled videos"),
    )
    return [
        {"x": value, "color": colour, "linestyle": line, "linewidth": 2, "label": f"{name} {value:.3f}"}
        for value, colour, line, name in floors
        if value is not None
    ]


def _name(score: Score, korean: bool) -> str:
    return METRICS_KO.get(score.name, score.name) if korean else score.name


def _label(figure: Any, axes: Any, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
