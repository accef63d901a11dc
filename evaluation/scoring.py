"""Score Korean captions: every metric with its signature, its 95 % interval and its floors.

sheet = score_captions({"clip-1": "파도가 밀려옵니다."}, {"clip-1": "하얀 파도가 밀려옵니다."})
sheet.scores["meteor"].value, sheet.alarms
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from unicodedata import normalize

import numpy as np

from configuration.coded_errors_kocap import CodedError

from .caption_files import few
from .caption_metrics import METRICS, SCORES, CaptionMetrics, metric_signature
from .floors import Alarm, best_constant, derangements, diversity, diversity_alarms, floor_alarms, written_for_others
from .intervals import Comparison, interval, paired_bootstrap, resampled_sums
from .ngram_counts import Pairing
from .overlap_metrics import mean_score

BASELINE_METEOR = 0.3052  # AI-Hub's own Korean baseline; tokenizer, METEOR variant and test clips unpublished


class ScoreError(CodedError, ValueError):
    """Captions that cannot be scored."""

    code = "E_SCORE"


@dataclass(frozen=True)
class Score:
    """One metric over all clips.

    Attributes:
        value: In the unit of the metric's library: BLEU and chrF++ 0 to 100, CIDEr-D 0 to 10, others 0 to 1.
        low, high: 95 % interval of `value`.
        signature: Everything that the number depends on.
        per_clip: float64 `[clips]`, in the order of `ScoreSheet.ids`; nan for clips that the metric leaves out.
        constant: What the best constant caption scores on the clips it was not written for.
        shuffled: What the same captions score beside the wrong videos; None for a single clip.
        statistics: float64 `[clips that count, k]`, what `compare` resamples.
    """

    name: str
    value: float
    low: float
    high: float
    signature: str
    per_clip: np.ndarray
    constant: float | None
    shuffled: float | None
    statistics: np.ndarray


@dataclass(frozen=True)
class ScoreSheet:
    """Every score of one system.

    Attributes:
        ids: Ascending.
        diversity: See `floors.diversity`.
        constant_caption: The reference that would do best as everyone's caption.
        reference_digest: Names the references: only systems scored against the same ones compare.
    """

    ids: tuple[str, ...]
    scores: dict[str, Score]
    diversity: dict[str, float]
    constant_caption: str
    reference_digest: str

    @property
    def alarms(self) -> list[Alarm]:
        """What a reader must know, most of all which scores do not clear their floors."""
        floors = {name: (score.low, score.constant, score.shuffled) for name, score in self.scores.items()}
        return [*diversity_alarms(self.diversity), *floor_alarms(floors)]

    def to_json(self) -> dict:
        """Everything but the values per clip."""
        fields = ("value", "low", "high", "constant", "shuffled", "signature")
        return {
            "clips": len(self.ids),
            "scores": {name: {field: getattr(score, field) for field in fields} for name, score in self.scores.items()},
            "diversity": self.diversity,
            "constant_caption": self.constant_caption,
            "alarms": [vars(alarm) for alarm in self.alarms],
            "reference_digest": self.reference_digest,
        }


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, str | Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ScoreSheet:
    """Score captions against one or more references per clip.

    Args:
        predictions: Caption of each clip, by id; an empty one scores 0.
        references: What people wrote about the same clips.
        metrics: Names in `METRICS`.
        resamples: Bootstrap samples for the intervals.
        seed: For the bootstrap, the shuffles and the search for the constant caption.
        progress: Wraps the texts while they are tokenized, which takes most of the time, e.g. `tqdm`.

    Raises:
        ScoreError: If ids differ, a reference is empty, or a metric is unknown.
    """
    listed = {name: [given] if isinstance(given, str) else list(given) for name, given in references.items()}
    _check(predictions, listed, metrics)
    ids = tuple(sorted(listed))
    said = [_clean(predictions[name]) for name in ids]
    written = [[_clean(text) for text in listed[name]] for name in ids]
    texts, actual = _pair(said, written)
    measures = CaptionMetrics(texts, metrics, progress)
    constant = best_constant(actual, measures.primary, seed=seed)
    shuffles = [Pairing(actual.predictions[order], actual.references) for order in derangements(len(ids), seed=seed)]
    everywhere = Pairing(np.full(len(ids), constant), actual.references)
    others = written_for_others(everywhere)
    reference_counts = sorted({len(clip) for clip in written})
    measured = {name: measures.measure(name, [actual, everywhere, *shuffles]) for name in metrics}
    statistics = [own.statistics for own, *_ in measured.values()]
    sums = resampled_sums(np.concatenate(statistics, axis=1), resamples=resamples, seed=seed).T
    ends = np.cumsum([own.shape[1] for own in statistics])
    scores = {}
    for (name, (own, alone, *moved)), resampled in zip(measured.items(), np.split(sums, ends[:-1])):
        scores[name] = Score(
            name,
            own.value,
            *interval(own.score(resampled)),
            metric_signature(name, reference_counts, resamples, seed),
            own.per_clip,
            float(alone.score(alone.statistics[others].sum(axis=0))),
            float(np.mean([other.value for other in moved])) if moved else None,
            own.statistics,
        )
    variety = diversity(said, [clip[0] for clip in written], measures.four_grams, actual)
    digest = sha256(repr([(name, *clip) for name, clip in zip(ids, written)]).encode()).hexdigest()[:16]
    return ScoreSheet(ids, scores, variety, texts[constant], digest)


def compare(first: ScoreSheet, second: ScoreSheet, *, resamples: int = 1000, seed: int = 0) -> dict[str, Comparison]:
    """Paired bootstrap test of two systems, for each metric that both sheets hold; those unknown here are means.

    Raises:
        ScoreError: If the sheets are about other clips or other references.
    """
    if first.reference_digest != second.reference_digest:
        raise ScoreError(
            "the two systems were scored against different clips or references; score both on the same ones",
            "두 시스템이 서로 다른 영상이나 정답으로 채점되었습니다. 같은 정답으로 채점한 뒤 비교해 주세요.",
        )
    options = {"resamples": resamples, "seed": seed}
    return {
        name: paired_bootstrap(
            first.scores[name].statistics, second.scores[name].statistics, score=SCORES.get(name, mean_score), **options
        )
        for name in first.scores
        if name in second.scores
    }


def baseline_comparison(sheet: ScoreSheet) -> tuple[str, str]:
    """Say, in English and in Korean, what can be said about the published METEOR of 0.3052: never that it is beaten.

    Its tokenizer, its METEOR and its test clips are unknown, and the tokenizer alone moves METEOR by a factor of two.
    """
    meteors = {name: sheet.scores[name] for name in METRICS if name.startswith("meteor") and name in sheet.scores}
    values = ", ".join(f"{name} {score.low:.4f} ~ {score.high:.4f}" for name, score in meteors.items())
    unknown = f"AI-Hub's published METEOR of {BASELINE_METEOR} names no tokenizer, METEOR variant or test clips"
    unknown_ko = (
        f"AI-Hub 기준 모델의 METEOR {BASELINE_METEOR}는 토크나이저와 METEOR 종류, 평가 영상이 공개되지 않았습니다"
    )
    if len(meteors) == 3 and all(score.low > BASELINE_METEOR for score in meteors.values()):
        return (
            f"{unknown}. Our intervals are above it under every tokenization ({values}): likely better, but not shown"
            " to be.",
            f"{unknown_ko}. 이 결과의 신뢰 구간은 모든 토큰화 방식에서 그보다 높아({values}) 더 나을 가능성이 크지만, "
            "같은 조건에서 확인된 것은 아닙니다.",
        )
    return (
        f"{unknown}, and our intervals are not above it under all three tokenizations ({values}): no comparison is"
        " possible.",
        f"{unknown_ko}. 이 결과의 신뢰 구간이 세 가지 토큰화 방식 모두에서 그보다 높지는 않으므로({values}) "
        "비교할 수 없습니다.",
    )


def _clean(text: str) -> str:
    return normalize("NFC", text).strip()


def _pair(said: list[str], written: list[list[str]]) -> tuple[list[str], Pairing]:
    """The different texts, each once, and which of them belong to which clip."""
    texts = list(dict.fromkeys([*said, *(text for clip in written for text in clip), ""]))
    row_of = {text: row for row, text in enumerate(texts)}
    most = max(map(len, written))
    references = [[row_of[text] for text in clip] + [row_of[""]] * (most - len(clip)) for clip in written]
    return texts, Pairing(np.array([row_of[text] for text in said]), np.array(references).T)


def _check(predictions: Mapping[str, str], references: Mapping[str, list[str]], metrics: Sequence[str]) -> None:
    if not references:
        raise ScoreError("there are no references; give at least one clip", "정답이 없습니다. 하나 이상 넣어 주세요.")
    if unknown := sorted(set(metrics) - set(METRICS)):
        names = ", ".join(METRICS)
        raise ScoreError(
            f"unknown metrics {', '.join(unknown)}; choose from {names}",
            f"알 수 없는 지표입니다: {', '.join(unknown)}. {names} 가운데서 골라 주세요.",
        )
    if missing := sorted(references.keys() - predictions.keys()):
        raise ScoreError(
            f"{len(missing)} clips have no prediction ({few(missing)}); caption them, or leave out their references",
            f"예측이 없는 영상이 {len(missing)}개 있습니다({few(missing)}). 설명을 만들거나 그 정답을 빼 주세요.",
        )
    if extra := sorted(predictions.keys() - references.keys()):
        raise ScoreError(
            f"{len(extra)} predictions have no reference ({few(extra)}); add references, or leave those out",
            f"정답이 없는 예측이 {len(extra)}개 있습니다({few(extra)}). 정답을 넣거나 그 예측을 빼 주세요.",
        )
    if empty := [name for name, given in references.items() if not all(map(_clean, given or [""]))]:
        raise ScoreError(
            f"{len(empty)} clips have an empty reference ({few(empty)}); write one, or leave these clips out",
            f"정답이 비어 있는 영상이 {len(empty)}개 있습니다({few(empty)}). 정답을 쓰거나 그 영상을 빼 주세요.",
        )
