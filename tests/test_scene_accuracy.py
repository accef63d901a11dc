"""The measure itself: references score full marks, generic and misplaced captions don't."""

import pytest

from corpus.scene_captions import describe
from corpus.scene_values import Place
from corpus.scenes import sample_scene
from evaluation.scene_accuracy import scene_scores

SCENES = [sample_scene(seed) for seed in range(400)]
ATTRIBUTES = ("place", "time", "weather", "season", "camera", "thing", "landmark", "colour", "direction", "speed")


def test_reference_captions_score_one():
    scores = scene_scores([describe(scene) for scene in SCENES], SCENES)
    assert [scores[name] for name in ATTRIBUTES] == pytest.approx([1.0] * len(ATTRIBUTES))


@pytest.mark.parametrize(
    ("attribute", "chance"), [("place", 1 / len(Place)), ("time", 1 / 4), ("weather", 1 / 5), ("camera", 1 / 7)]
)
def test_references_beside_other_videos_score_about_chance(attribute, chance):
    scores = scene_scores([describe(scene) for scene in SCENES], SCENES)
    assert scores[f"shuffled_{attribute}"] == pytest.approx(chance, abs=0.08)


def test_one_caption_for_all_is_seen_through():
    scores = scene_scores([describe(SCENES[0])] * len(SCENES), SCENES)
    assert scores["unique"] == 1 / len(SCENES)
    assert scores["place"] < 0.15
    assert scores["place"] == pytest.approx(scores["shuffled_place"])


def test_naming_everything_names_nothing():
    everything = " ".join(describe(scene) for scene in SCENES[:40])
    assert scene_scores([everything] * len(SCENES), SCENES)["place"] == 0.0
