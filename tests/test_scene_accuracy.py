"""The measure itself: references score full marks, generic and misplaced captions don't."""

import pytest

from corpus.scene_captions import describe
from corpus.scene_values import Place
from corpus.scenes import sample_scene
from evaluation.scene_accuracy import attribute_matches, named_positions, scene_scores

SCENES = [sample_scene(seed) for seed in range(400)]
REFERENCES = [describe(scene) for scene in SCENES]
ATTRIBUTES = ("place", "time", "weather", "season", "camera", "thing", "landmark", "colour", "direction", "speed")


def test_reference_captions_score_one():
    scores = scene_scores(REFERENCES, SCENES)
    assert [scores[name] for name in (*ATTRIBUTES, "main_thing")] == pytest.approx([1.0] * (len(ATTRIBUTES) + 1))


@pytest.mark.parametrize(
    ("attribute", "chance"), [("place", 1 / len(Place)), ("time", 1 / 4), ("weather", 1 / 5), ("camera", 1 / 7)]
)
def test_references_beside_other_videos_score_about_chance(attribute, chance):
    scores = scene_scores(REFERENCES, SCENES)
    assert scores[f"shuffled_{attribute}"] == pytest.approx(chance, abs=0.08)


def test_one_caption_for_all_is_seen_through():
    scores = scene_scores([describe(SCENES[0])] * len(SCENES), SCENES)
    assert scores["unique"] == 1 / len(SCENES)
    assert scores["place"] < 0.15
    assert scores["place"] == pytest.approx(scores["shuffled_place"])


def test_naming_everything_names_nothing():
    everything = " ".join(describe(scene) for scene in SCENES[:40])
    assert scene_scores([everything] * len(SCENES), SCENES)["place"] == 0.0


def test_recall_and_precision_of_references_are_one():
    matches = attribute_matches(REFERENCES, REFERENCES)
    assert set(matches) == {*ATTRIBUTES, "position"}
    assert all(match.recall == match.precision == 1.0 for match in matches.values())


@pytest.mark.parametrize(
    ("attribute", "chance"),
    [("place", 1 / len(Place)), ("time", 1 / 4), ("weather", 1 / 5), ("camera", 1 / 7), ("position", 0.05)],
)
def test_recall_and_precision_beside_other_videos_are_about_chance(attribute, chance):
    match = attribute_matches(REFERENCES, REFERENCES)[attribute]
    assert match.shuffled_recall == pytest.approx(chance, abs=0.08)
    assert match.shuffled_precision == pytest.approx(chance, abs=0.08)


def test_naming_everything_has_recall_but_no_precision():
    everything = " ".join(describe(scene) for scene in SCENES[:40])
    match = attribute_matches([everything] * len(SCENES), REFERENCES)["place"]
    assert match.recall > 0.5
    assert match.precision < 0.1


def test_positions_are_those_of_the_scene():
    for scene in SCENES:
        truth = {f"{mover.thing} {mover.side}" for mover in scene.movers if mover.side}
        if scene.landmark:
            truth.add(f"{scene.landmark} {'왼쪽' if scene.landmark_at < 0.5 else '오른쪽'}")
        assert named_positions(describe(scene)) == truth, describe(scene)


def test_a_direction_is_no_position():
    assert named_positions("흰 배가 오른쪽에서 왼쪽으로 지나갑니다.") == set()
    assert named_positions("화면 왼쪽에는 정자가 서 있고, 오른쪽으로 새들이 납니다.") == {"정자 왼쪽"}
