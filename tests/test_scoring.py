"""A score sheet: what it promises about captions, references, errors and the published baseline."""

import json
import unicodedata

import numpy as np
import pytest

from corpus.scene_captions import describe
from corpus.scenes import sample_scene
from evaluation.scoring import BASELINE_METEOR, METRICS, ScoreError, baseline_comparison, compare, score_captions

REFERENCES = {f"clip-{seed}": describe(sample_scene(seed)) for seed in range(24)}
PREDICTIONS = {  # the first half of the reference, then words about another scene
    f"clip-{seed}": REFERENCES[f"clip-{seed}"][:160] + describe(sample_scene(1000 + seed))[160:] for seed in range(24)
}
BEST = {"meteor": 1, "meteor_eojeol": 1, "meteor_evaluate": 1, "bleu4": 100, "rouge_l": 1, "cider_d": 10, "chrf++": 100}


@pytest.fixture(scope="module")
def sheet():
    return score_captions(PREDICTIONS, REFERENCES, resamples=200)


def values(sheet) -> dict[str, float]:
    return {name: score.value for name, score in sheet.scores.items()}


def test_every_score_has_interval_floors_and_signature(sheet):
    assert tuple(sheet.scores) == METRICS
    for name, score in sheet.scores.items():
        assert score.low < score.value < score.high
        assert score.value > score.constant > 0
        assert score.value > score.shuffled > 0
        assert score.per_clip.shape == (24,)
        assert score.signature.startswith(f"{name}|")
        assert "refs:1|" in score.signature
    assert "kiwi-" in sheet.scores["meteor"].signature
    assert "a0.9 b3 g0.5" in sheet.scores["meteor"].signature


def test_references_score_full_marks():
    scores = values(score_captions(REFERENCES, REFERENCES, resamples=10))
    assert scores == pytest.approx(BEST, abs=1e-4)


def test_an_empty_prediction_scores_zero_and_is_told():
    empty = PREDICTIONS | {"clip-7": "  "}
    sheet = score_captions(empty, REFERENCES, resamples=10)
    place = sheet.ids.index("clip-7")
    assert all(score.per_clip[place] == 0 for score in sheet.scores.values())
    assert "W_EMPTY" in {alarm.code for alarm in sheet.alarms}


def test_nothing_but_empty_predictions_scores_zero():
    sheet = score_captions(dict.fromkeys(REFERENCES, ""), REFERENCES, resamples=10)
    assert set(values(sheet).values()) == {0}


def test_the_order_of_clips_does_not_matter(sheet):
    backwards = dict(reversed(PREDICTIONS.items()))
    assert score_captions(backwards, dict(reversed(REFERENCES.items())), resamples=200).to_json() == sheet.to_json()


def test_composed_and_decomposed_hangul_score_alike(sheet):
    decomposed = {name: unicodedata.normalize("NFD", text) for name, text in PREDICTIONS.items()}
    assert score_captions(decomposed, REFERENCES, resamples=200).to_json() == sheet.to_json()


def test_a_better_reference_only_helps_meteor(sheet):
    both = {name: [text, PREDICTIONS[name]] if name < "clip-2" else [text] for name, text in REFERENCES.items()}
    more = score_captions(PREDICTIONS, both, resamples=10)
    assert np.all(more.scores["meteor"].per_clip >= sheet.scores["meteor"].per_clip)
    assert more.scores["meteor"].per_clip[0] > 0.999
    assert "refs:1-2|" in more.scores["meteor"].signature


def test_a_single_clip_has_no_shuffle():
    score = score_captions({"a": "파도가 칩니다."}, {"a": "파도가 밀려옵니다."}, resamples=10).scores["meteor"]
    assert score.shuffled is None
    assert 0 < score.value < 1


def test_chosen_metrics_only():
    assert tuple(score_captions(PREDICTIONS, REFERENCES, metrics=("chrf++",), resamples=10).scores) == ("chrf++",)


def test_the_sheet_is_json(sheet):
    content = json.loads(json.dumps(sheet.to_json(), ensure_ascii=False))
    assert content["clips"] == 24
    assert set(content["scores"]["meteor"]) == {"value", "low", "high", "constant", "shuffled", "signature"}


def test_comparison_of_a_system_with_itself_and_with_a_better_one(sheet):
    same = compare(sheet, sheet)
    assert {comparison.p_value for comparison in same.values()} == {1}
    better = compare(score_captions(REFERENCES, REFERENCES, resamples=10), sheet, resamples=200)
    for name, comparison in better.items():
        assert comparison.low > 0, name
        assert comparison.p_value < 0.05, name


def test_systems_with_other_references_do_not_compare(sheet):
    other = score_captions(PREDICTIONS, REFERENCES | {"clip-0": "다른 정답입니다."}, resamples=10)
    with pytest.raises(ScoreError, match=r"E_SCORE: .* different clips or references"):
        compare(sheet, other)


@pytest.mark.parametrize(
    ("predictions", "references", "metrics", "message"),
    [
        ({}, {}, METRICS, "no references"),
        ({"a": "가"}, {"a": "가", "b": "나"}, METRICS, "1 clips have no prediction .b.; caption them"),
        ({"a": "가", "c": "나"}, {"a": "가"}, METRICS, "1 predictions have no reference .c."),
        ({"a": "가"}, {"a": " "}, METRICS, "empty reference .a."),
        ({"a": "가"}, {"a": []}, METRICS, "empty reference .a."),
        ({"a": "가"}, {"a": "가"}, ("meteor", "spice"), "unknown metrics spice; choose from meteor,"),
    ],
)
def test_what_cannot_be_scored_says_why(predictions, references, metrics, message):
    with pytest.raises(ScoreError, match=message) as raised:
        score_captions(predictions, references, metrics=metrics)
    assert str(raised.value).startswith("E_SCORE: ")
    assert any("가" <= letter <= "힣" for letter in raised.value.message_ko)


def test_no_win_over_the_published_score_is_claimed(sheet):
    high, _ = baseline_comparison(sheet)
    assert all(sheet.scores[name].low > BASELINE_METEOR for name in METRICS[:3])
    assert "likely better, but not shown" in high
    low, low_ko = baseline_comparison(score_captions(PREDICTIONS, REFERENCES, metrics=("meteor",), resamples=10))
    assert "no comparison is possible" in low
    assert "비교할 수 없습니다" in low_ko
