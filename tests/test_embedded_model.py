"""The model in the repository looks at the video."""

import pytest

from corpus.scenes import HELD_OUT_SEED, sample_scene
from evaluation.generation import caption_clips
from evaluation.scene_accuracy import scene_scores
from modeling.captioner import load_captioner
from modeling.checkpoint_names import EMBEDDED_MODEL
from training.scene_clips import draw_clip


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    captioner = load_captioner(EMBEDDED_MODEL)
    scenes = [sample_scene(HELD_OUT_SEED + 50_000 + index) for index in range(30)]
    size = captioner.processor.video_processor.size["height"]
    clips = [draw_clip(scene, num_frames=8, image_size=size)["frames"] for scene in scenes]
    return scene_scores(caption_clips(captioner, clips), scenes)


@pytest.mark.parametrize(("attribute", "least"), [("unique", 0.9), ("place", 0.8), ("time", 0.8), ("weather", 0.7)])
def test_it_names_what_a_held_out_scene_shows(scores, attribute, least):
    assert scores[attribute] >= least


def test_its_captions_fit_only_their_own_videos(scores):
    assert scores["shuffled_place"] < 0.3
    assert scores["shuffled_time"] < 0.55
