"""What a score must clear to mean anything: the best constant caption, captions beside the wrong videos, variety.

A caption that fits every video can score well, so no score is given without these.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from configuration.coded_errors_kocap import Notice

from .ngram_counts import Pairing

SHUFFLES = 3
CANDIDATES, CANDIDATE_CLIPS = 64, 500
FLOORS_SIGNATURE = f"const{CANDIDATES}x{CANDIDATE_CLIPS}+shuf{SHUFFLES}"
LEAST_UNIQUE = 0.5
LENGTH_RATIOS = (0.5, 2.0)
MORE_REPETITION = 0.1  # of a caption's 4-grams, above what the references repeat

_FLOORS = (
    (
        "W_FLOOR_CONSTANT",
        "no better than one sentence for every video",
        "모든 영상에 같은 설명을 붙인 것보다 낫다고 할 수 없는 점수",
    ),
    (
        "W_FLOOR_SHUFFLED",
        "no better with the right videos than with the wrong ones",
        "다른 영상의 설명을 붙인 것보다 낫다고 할 수 없는 점수",
    ),
)


class Alarm(Notice):
    """Something that a reader of the scores must know."""


def derangements(clips: int, *, seed: int, shuffles: int = SHUFFLES) -> list[np.ndarray]:
    """Orders that leave no prediction beside its own video; none for a single clip."""
    if clips < 2:
        return []
    rng = np.random.default_rng([seed, 1])
    moved = np.empty((shuffles, clips), np.int64)
    for row in moved:
        order = rng.permutation(clips)
        row[order] = np.roll(order, 1)
    return list(moved)


def best_constant(pairing: Pairing, score: Callable[[Pairing], np.ndarray], *, seed: int) -> int:
    """Find the reference that scores best when every clip gets it as its caption.

    All references against all clips is quadratic: 64 references drawn by seed are tried on 500 clips drawn by seed,
    each without the clip it was written for.

    Args:
        score: Primary metric, a value per clip.

    Returns:
        Row of the caption.
    """
    rng = np.random.default_rng([seed, 2])
    rows = pairing.references[0]
    candidates = rng.permutation(rows)[:CANDIDATES]
    columns = rng.permutation(pairing.clips)[:CANDIDATE_CLIPS]
    clips = pairing.references[:, columns]
    means = []
    for row in candidates:
        trial = Pairing(np.full(len(columns), row), clips)
        means.append(score(trial)[written_for_others(trial)].mean())
    return int(candidates[np.argmax(means)])


def written_for_others(constant: Pairing) -> np.ndarray:
    """Clips whose prediction isn't one of their own references, bool `[clips]`; all, if it is everyone's.

    On its own clip a reference scores full marks, which in a small set would lift the floor.
    """
    others = np.all(constant.references != constant.predictions, axis=0)
    return others if others.any() else ~others


def repetition(four_grams: csr_array, rows: np.ndarray) -> tuple[float, float]:
    """How much captions repeat their own words, and one another's.

    Returns:
        Mean share of a caption's 4-grams that it has already used, and distinct-4: different 4-grams of all captions
        over their number.
    """
    table = four_grams[rows]
    totals, different = table.sum(axis=1), np.diff(table.indptr)
    within = np.where(totals > 0, 1 - different / np.maximum(totals, 1), 0).mean()
    return float(within), len(np.unique(table.indices)) / max(int(totals.sum()), 1)


def diversity(
    predictions: Sequence[str], references: Sequence[str], four_grams: csr_array, pairing: Pairing
) -> dict[str, float]:
    """Variety of the captions beside that of the references.

    Args:
        predictions, references: Texts in NFC, one of each per clip.

    Returns:
        `unique` share of different captions, `repetition` and `distinct_4` (see `repetition`), the same of the
        references as `reference_...`, `length_ratio` in characters, `empty` captions.
    """
    within, distinct = repetition(four_grams, pairing.predictions)
    reference_within, reference_distinct = repetition(four_grams, pairing.references[0])
    return {
        "unique": len(set(predictions)) / len(predictions),
        "reference_unique": len(set(references)) / len(references),
        "repetition": within,
        "reference_repetition": reference_within,
        "distinct_4": distinct,
        "reference_distinct_4": reference_distinct,
        "length_ratio": sum(map(len, predictions)) / sum(map(len, references)),
        "empty": float(sum(not text.strip() for text in predictions)),
    }


def diversity_alarms(measured: Mapping[str, float]) -> list[Alarm]:
    """Say what is wrong with the captions themselves."""
    unique, length, empty = measured["unique"], measured["length_ratio"], int(measured["empty"])
    within, usual = measured["repetition"], measured["reference_repetition"]
    alarms = []
    if empty:
        alarms.append(
            Alarm(
                "W_EMPTY",
                f"{empty} captions are empty and score 0",
                f"빈 설명이 {empty}개 있어 0점으로 계산했습니다.",
            )
        )
    if unique < min(LEAST_UNIQUE, measured["reference_unique"]):
        alarms.append(
            Alarm(
                "W_COLLAPSE",
                f"only {unique:.1%} of the captions are unique: the model has collapsed",
                f"서로 다른 설명이 {unique:.1%}뿐입니다. 모델이 같은 말만 되풀이하고 있습니다.",
            )
        )
    if within > usual + MORE_REPETITION:
        alarms.append(
            Alarm(
                "W_REPETITION",
                f"captions repeat {within:.1%} of their own 4-grams; references repeat {usual:.1%}",
                f"한 설명 안에서 형태소 4-gram의 {within:.1%}가 되풀이됩니다(정답 설명은 {usual:.1%}).",
            )
        )
    if not LENGTH_RATIOS[0] <= length <= LENGTH_RATIOS[1]:
        alarms.append(
            Alarm(
                "W_LENGTH",
                f"captions are {length:.2f} times as long as the references",
                f"설명 길이가 정답 설명의 {length:.2f}배입니다.",
            )
        )
    return alarms


def floor_alarms(floors: Mapping[str, tuple[float, float | None, float | None]]) -> list[Alarm]:
    """Say which scores do not clear their floors: the lower end of an interval must be above them.

    Args:
        floors: By metric: lower end of the interval, the best constant caption's score, the score beside other videos.
    """
    alarms = []
    for place, (code, reason, reason_ko) in enumerate(_FLOORS):
        under = {name: (row[0], row[1 + place]) for name, row in floors.items()}
        told = ", ".join(
            f"{name} {low:.4f} <= {floor:.4f}"
            for name, (low, floor) in under.items()
            if floor is not None and low <= floor
        )
        if told:
            sides, sides_ko = "lower end of the interval <= that floor", "신뢰 구간의 아래 끝 <= 그 점수"
            alarms.append(Alarm(code, f"{reason} ({sides}): {told}", f"{reason_ko}({sides_ko}): {told}"))
    return alarms
