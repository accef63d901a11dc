"""A collapsed system is called one; a good one is left alone."""

import numpy as np
import pytest

from corpus.scene_captions import describe
from corpus.scenes import sample_scene
from evaluation.floors import derangements
from evaluation.scoring import ScoreSheet, score_captions

CLIPS = 24
REFERENCES = {f"clip-{seed}": describe(sample_scene(seed)) for seed in range(CLIPS)}
METRICS = ("meteor", "bleu4")


def score(predictions: dict[str, str]) -> ScoreSheet:
    return score_captions(predictions, REFERENCES, metrics=METRICS, resamples=200)


def codes(sheet: ScoreSheet) -> set[str]:
    return {alarm.code for alarm in sheet.alarms}


def test_good_captions_raise_no_alarm():
    halved = {name: text[: len(text) * 4 // 5] for name, text in REFERENCES.items()}
    assert codes(score(halved)) == set()


def test_one_caption_for_all_clears_no_floor():
    sheet = score(dict.fromkeys(REFERENCES, REFERENCES["clip-3"]))
    assert codes(sheet) == {"W_COLLAPSE", "W_FLOOR_CONSTANT", "W_FLOOR_SHUFFLED"}
    assert sheet.scores["meteor"].shuffled == pytest.approx(sheet.scores["meteor"].value, abs=0.02)


def test_the_constant_caption_is_the_one_that_does_best_for_others():
    sheet = score(REFERENCES)

    def beside_others(text: str) -> float:
        meteor = score(dict.fromkeys(REFERENCES, text)).scores["meteor"].per_clip
        return float(np.mean([value for name, value in zip(sheet.ids, meteor) if REFERENCES[name] != text]))

    assert sheet.scores["meteor"].constant == pytest.approx(beside_others(sheet.constant_caption))
    assert sheet.scores["meteor"].constant >= max(map(beside_others, list(REFERENCES.values())[:3]))


def test_captions_of_other_videos_do_not_clear_the_shuffle():
    moved = dict(zip(REFERENCES, [*list(REFERENCES.values())[1:], REFERENCES["clip-0"]]))
    assert {"W_FLOOR_CONSTANT", "W_FLOOR_SHUFFLED"} <= codes(score(moved))


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("W_EMPTY", lambda text: "" if "바다" in text or "새벽" in text else text),
        ("W_REPETITION", lambda text: " ".join([text[:60]] * 5)),
        ("W_LENGTH", lambda text: text[:40]),
    ],
)
def test_bad_captions_are_named(code, spoil):
    sheet = score({name: spoil(text) for name, text in REFERENCES.items()})
    assert code in codes(sheet)
    alarm = next(alarm for alarm in sheet.alarms if alarm.code == code)
    assert str(alarm).startswith(code)
    assert alarm.message_ko


def test_references_have_the_variety_of_references():
    measured = score(REFERENCES).diversity
    assert measured["unique"] == measured["length_ratio"] == 1
    assert measured["repetition"] == measured["reference_repetition"]
    assert measured["distinct_4"] == measured["reference_distinct_4"]
    assert measured["empty"] == 0


def test_no_prediction_stays_beside_its_video():
    for clips in (2, 3, 50):
        for order in derangements(clips, seed=0):
            assert sorted(order) == list(range(clips))
            assert not np.any(order == np.arange(clips))
    assert derangements(1, seed=0) == []
