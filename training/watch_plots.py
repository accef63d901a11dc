"""The curves of a watched run, as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.report_pages import korean_plots, save_plot
from evaluation.score_plots import CONSTANT, OURS, PEOPLE, SHUFFLED

from .collapse_signs import Limits, Look, Sign

WARNED, UNJUDGED = "#c8102e", "#f1f1ee"
ENGLISH = {
    "손실": "loss",
    "학습": "training",
    "평가": "evaluation",
    "보지 않은 영상": "held-out clips",
    "학습률": "learning rate",
    "영상 의존도 (토큰당 nat)": "video dependence (nats per token)",
    "영상 의존도": "video dependence",
    "모두 같은 설명": "one constant caption",
    "영상을 뒤섞음": "shuffled videos",
    "서로 다른 설명의 비율": "share of different captions",
    "되풀이와 서로 비슷한 정도": "repetition and similarity",
    "모델": "model",
    "정답": "references",
    "되풀이": "repetition",
    "비슷한 정도": "similarity",
    "되풀이 (정답)": "repetition (references)",
    "비슷한 정도 (정답)": "similarity (references)",
    "경고 기준": "alarm below",
    "단계": "step",
}


def draw_curves(
    path: Path,
    log_history: Sequence[Mapping[str, Any]],
    looks: Sequence[Look],
    signs: Sequence[Sequence[Sign]],
    limits: Limits,
) -> Path:
    """Draw loss, learning rate and what the looks measured, over steps.

    Args:
        signs: The alarms of every look; serious ones are marked in every curve of the looks.
        limits: Where no alarm is raised yet the background is grey.
    """
    from matplotlib.figure import Figure  # takes a second, and only reports need it

    with korean_plots() as korean:
        words = {word: word if korean else english for word, english in ENGLISH.items()}
        figure = Figure(figsize=(13.5, 7.2), dpi=110)
        (loss, rate, dependence), (meteor, unique, likeness) = figure.subplots(2, 3)
        # A layout engine would draw everything three times, and a look writes this while training waits.
        figure.subplots_adjust(left=0.04, right=0.985, top=0.955, bottom=0.07, wspace=0.16, hspace=0.28)
        _loss(loss, log_history, looks, words)
        _line(rate, log_history, "learning_rate", color=OURS)
        rate.set_title(words["학습률"])
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        _dependence(dependence, looks, limits, words)
        _meteor(meteor, looks, words)
        _unique(unique, looks, limits, words)
        _likeness(likeness, looks, words)
        end = max([look.step for look in looks] + [entry.get("step", 0) for entry in log_history] + [1])
        for axes in (loss, rate, dependence, meteor, unique, likeness):
            axes.set(xlabel=words["단계"], xlim=(0, end * 1.02))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
        for axes in (dependence, meteor, unique, likeness):
            _mark(axes, looks, signs, limits)
            axes.legend(fontsize=8.5, frameon=False, loc="best")
        return save_plot(figure, path)


def _line(axes: Any, entries: Sequence[Mapping[str, Any]], name: str, **style: Any) -> bool:
    points = [(entry["step"], entry[name]) for entry in entries if name in entry and "step" in entry]
    if points:
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None, **style)
    return bool(points)


def _loss(axes: Any, log_history: Sequence[Mapping[str, Any]], looks: Sequence[Look], words: Mapping) -> None:
    _line(axes, log_history, "loss", color=OURS, label=words["학습"])
    _line(axes, log_history, "eval_loss", color=SHUFFLED, label=words["평가"])
    axes.plot(*_curve(looks, "nll"), color=PEOPLE, marker="o", markersize=3, label=words["보지 않은 영상"])
    drawn = [value for line in axes.lines for value in line.get_ydata() if value > 0]
    if drawn and max(drawn) > 10 * min(drawn):
        axes.set_yscale("log")
        axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
        axes.yaxis.set_major_formatter("{x:g}")  # Korean fonts lack the minus sign of powers of ten
        axes.yaxis.set_minor_formatter("")
    axes.set_title(words["손실"])
    axes.legend(fontsize=8.5, frameon=False)


def _dependence(axes: Any, looks: Sequence[Look], limits: Limits, words: Mapping) -> None:
    steps, low = _curve(looks, "dependence_low")
    axes.fill_between(steps, low, _curve(looks, "dependence_high")[1], color=OURS, alpha=0.2, linewidth=0)
    axes.plot(*_curve(looks, "dependence"), color=OURS, marker="o", markersize=4, label=words["영상 의존도"])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(limits.blind, color=WARNED, linestyle="--", linewidth=1, label=words["경고 기준"])
    axes.set_title(words["영상 의존도 (토큰당 nat)"])


def _meteor(axes: Any, looks: Sequence[Look], words: Mapping) -> None:
    steps, low = _curve(looks, "meteor_low")
    axes.fill_between(steps, low, _curve(looks, "meteor_high")[1], color=OURS, alpha=0.2, linewidth=0)
    axes.plot(*_curve(looks, "meteor"), color=OURS, marker="o", markersize=4, label=words["모델"])
    axes.axhline(looks[-1].meteor_constant, color=CONSTANT, linestyle="--", label=words["모두 같은 설명"])
    style = {"color": SHUFFLED, "linestyle": ":", "linewidth": 2, "marker": ".", "markersize": 4}
    axes.plot(*_curve(looks, "meteor_shuffled"), **style, label=words["영상을 뒤섞음"])
    axes.set_ylim(0, 1.3 * max(value for look in looks for value in (look.meteor_high, look.meteor_constant, 0.01)))
    axes.set_title("METEOR")


def _unique(axes: Any, looks: Sequence[Look], limits: Limits, words: Mapping) -> None:
    axes.plot(*_curve(looks, "unique"), color=OURS, marker="o", markersize=4, label=words["모델"])
    axes.axhline(looks[-1].reference_unique, color=PEOPLE, linestyle="--", label=words["정답"])
    axes.axhline(limits.least_unique, color=WARNED, linestyle="--", linewidth=1, label=words["경고 기준"])
    axes.set_ylim(0, 1.05)
    axes.set_title(words["서로 다른 설명의 비율"])


def _likeness(axes: Any, looks: Sequence[Look], words: Mapping) -> None:
    for name, word, colour in (("similarity", "비슷한 정도", OURS), ("repetition", "되풀이", SHUFFLED)):
        axes.plot(*_curve(looks, name), color=colour, marker="o", markersize=4, label=words[word])
        reference = getattr(looks[-1], f"reference_{name}")
        axes.axhline(reference, color=colour, linestyle="--", linewidth=1.2, label=words[f"{word} (정답)"])
    axes.set_ylim(0, 1.05)
    axes.set_title(words["되풀이와 서로 비슷한 정도"])


def _curve(looks: Sequence[Look], name: str) -> tuple[list[int], list[float]]:
    return [look.step for look in looks], [getattr(look, name) for look in looks]


def _mark(axes: Any, looks: Sequence[Look], signs: Sequence[Sequence[Sign]], limits: Limits) -> None:
    """Grey where nothing is judged, a red line where an alarm was serious."""
    progressed = [look.step / look.progress for look in looks if look.progress > 0]
    if progressed:
        axes.axvspan(0, limits.warm_up * progressed[-1], color=UNJUDGED, zorder=0)
    for look, own in zip(looks, signs, strict=True):
        if any(sign.serious for sign in own):
            axes.axvline(look.step, color=WARNED, alpha=0.35, linewidth=4, zorder=0)
