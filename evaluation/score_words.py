"""Scores in words: what every number is called and how it is written, for the terminal and for the report."""

import math
from collections.abc import Mapping

from .intervals import Comparison
from .scene_accuracy import AttributeMatch
from .scoring import Score

METRICS_KO = {
    "meteor": "meteor (Kiwi 형태소)",
    "meteor_eojeol": "meteor_eojeol (어절)",
    "meteor_evaluate": "meteor_evaluate (evaluate와 같은 낱말)",
    "bleu4": "bleu4 (0 ~ 100)",
    "cider_d": "cider_d (0 ~ 10)",
    "chrf++": "chrf++ (0 ~ 100)",
}
SCORE_HEAD = ("지표", "점수", "95 % 신뢰 구간", "모두 같은 설명", "영상을 뒤섞음")
COMPARISON_HEAD = ("지표", "첫째", "둘째", "차이", "차이의 95 % 신뢰 구간", "p값")
COMPARISON_KO = (
    "첫째는 예측 파일, 둘째는 비교 파일의 점수이고 차이는 첫째 - 둘째입니다."
    " 차이의 신뢰 구간이 0을 포함하면 어느 쪽이 낫다고 할 수 없습니다."
)
ATTRIBUTE_HEAD = ("속성", "재현율", "정밀도", "재현율(영상을 뒤섞음)", "정밀도(영상을 뒤섞음)")
ATTRIBUTES_KO = {
    "place": "장소",
    "time": "시간대",
    "weather": "날씨",
    "season": "계절",
    "camera": "카메라 움직임",
    "thing": "움직이는 것",
    "landmark": "눈에 띄는 것",
    "colour": "색",
    "direction": "방향",
    "speed": "빠르기",
    "position": "위치",
}
SIGNATURES_KO = "점수가 달라지는 조건을 모두 적은 것입니다. 서명이 같은 점수끼리만 견줄 수 있습니다."
DIVERSITY_KO = {
    "unique": "서로 다른 설명의 비율",
    "repetition": "한 설명 안에서 되풀이되는 4-gram의 비율",
    "distinct_4": "전체에서 서로 다른 4-gram의 비율",
    "length_ratio": "글자 수의 비(예측 / 정답)",
    "empty": "빈 설명의 수",
}


def write_number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def write_score(score: Score) -> list[str]:
    """One row under `SCORE_HEAD`."""
    return [
        METRICS_KO.get(score.name, score.name),
        write_number(score.value),
        f"{write_number(score.low)} ~ {write_number(score.high)}",
        write_number(score.constant),
        write_number(score.shuffled),
    ]


def write_comparison(first: Score, second: Score, comparison: Comparison) -> list[str]:
    """One row under `COMPARISON_HEAD`."""
    return [
        METRICS_KO.get(first.name, first.name),
        write_number(first.value),
        write_number(second.value),
        f"{comparison.difference:+.4f}",
        f"{comparison.low:+.4f} ~ {comparison.high:+.4f}",
        f"{comparison.p_value:.3f}",
    ]


def write_attributes(matches: Mapping[str, AttributeMatch]) -> list[list[str]]:
    """Rows under `ATTRIBUTE_HEAD`."""
    return [
        [
            ATTRIBUTES_KO.get(name, name),
            *map(write_number, (match.recall, match.precision, match.shuffled_recall, match.shuffled_precision)),
        ]
        for name, match in matches.items()
    ]


def write_diversity(diversity: Mapping[str, float]) -> list[list[str]]:
    """Rows of a name, the value of the predictions, and that of the references where there is one."""
    return [
        [
            DIVERSITY_KO.get(name, name),
            f"{value:.0f}" if name == "empty" else write_number(value),
            write_number(diversity.get(f"reference_{name}")),
        ]
        for name, value in diversity.items()
        if not name.startswith("reference_")
    ]
