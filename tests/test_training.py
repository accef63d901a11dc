"""Scenes as a training set, the tiny model, and a real run of train.py."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from small_models import small_processor
from transformers import AutoModelForImageTextToText, AutoProcessor

from corpus.scene_captions import describe, describe_briefly, describe_shortly
from corpus.scene_values import Place
from corpus.scenes import HELD_OUT_SEED, sample_scene
from processing.vision_tokens_kocap import CAPTION_PROMPT
from training.collator import IGNORED, CaptionCollator
from training.loss_curve import plot_run
from training.run_settings import SettingsError
from training.scene_clips import BRIEF_PROMPT, SHORT_PROMPT, SceneClips
from training.tiny_model import SPECIAL_TOKENS, train_tokenizer
from training.tiny_recipe import list_phases, read_recipe
from training.tower_pretraining import SceneFrames, list_facts

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = train_tokenizer([describe(sample_scene(seed)) for seed in range(200)])


def said(clip: dict) -> tuple[str, str]:
    """What is asked about a clip, and the answer."""
    question, answer = clip["messages"]
    assert (question["role"], answer["role"]) == ("user", "assistant") and question["content"].startswith("<video>")
    return question["content"].removeprefix("<video>"), answer["content"]


def test_clips_carry_frames_and_their_own_caption():
    clip = SceneClips(10, num_frames=4, image_size=32)[3]
    assert clip["frames"].shape == (4, 3, 32, 32)
    assert clip["frames"].dtype == np.uint8
    assert len(clip["times_s"]) == 4
    assert said(clip) == (CAPTION_PROMPT, describe(sample_scene(3)))
    assert (clip["id"], clip["seed"], clip["medium"]) == ("3", 3, "video")


def test_clips_are_what_the_collator_takes():
    clips, processor = SceneClips(2, num_frames=2, image_size=32), small_processor()
    batch = CaptionCollator(processor)([clips[0], clips[1]])
    assert batch["pixel_values_videos"].shape[:2] == (2, 2)
    learned = batch["labels"][0][batch["labels"][0] != IGNORED]
    assert processor.tokenizer.decode(learned) == said(clips[0])[1] + processor.tokenizer.eos_token


def test_short_answers_come_first():
    clips = SceneClips(60, num_frames=2, short_frames=1, image_size=8, short_share=(1.0, 0.0))
    prompts = [said(clips[index])[0] for index in range(60)]
    assert prompts[:20].count(CAPTION_PROMPT) + 5 < prompts[-20:].count(CAPTION_PROMPT)
    answers = {CAPTION_PROMPT: describe, BRIEF_PROMPT: describe_briefly, SHORT_PROMPT: describe_shortly}
    for prompt, write in answers.items():
        clip = clips[prompts.index(prompt)]
        assert said(clip)[1] == write(sample_scene(clip["seed"]))
        assert len(clip["frames"]) == len(clip["times_s"]) == (2 if prompt == CAPTION_PROMPT else 1)


def test_no_training_seed_is_held_out():
    clips = SceneClips(HELD_OUT_SEED, num_frames=1, image_size=8)
    assert clips[len(clips) - 1]["seed"] < HELD_OUT_SEED


def test_more_clips_than_training_seeds_are_refused():
    with pytest.raises(ValueError, match="held out"):
        SceneClips(HELD_OUT_SEED, first_seed=1)


@given(st.text(max_size=60))
def test_tokenizer_gives_any_text_back(text):
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    if not any(token in text for token in SPECIAL_TOKENS):
        assert TOKENIZER.decode(ids) == text


def test_tokenizer_packs_korean_well():
    caption = describe(sample_scene(HELD_OUT_SEED))
    assert len(TOKENIZER(caption).input_ids) < len(caption) / 2


def test_plot_run_writes_a_picture(tmp_path):
    history = [{"step": step, "loss": 7.0 / step} for step in range(1, 20)]
    names = ("place", "time", "weather", "camera", "main_thing", "thing", "unique")
    history.append({"step": 10} | {f"watch_{name}": 0.5 for name in names})
    plot_run(history, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "from_nothing", "frames"),
    [([], True, 36_000), ([], False, 0), (["--frames", "0"], True, 0), (["--frames", "32"], False, 32)],
)
def test_a_checkpoint_needs_no_first_frames_unless_they_are_asked_for(given, from_nothing, frames):
    assert read_recipe(given, from_nothing=from_nothing).frames == frames


def test_the_recipe_refuses_what_it_does_not_know():
    with pytest.raises(SettingsError, match=r"--save_steps.*--clips"):
        read_recipe(["--save_steps", "3"], from_nothing=True)


def test_phases_share_no_scene_and_go_on_where_the_frames_ended():
    arguments = [
        "--frames",
        "10",
        "--fact_clips",
        "16",
        "--clips",
        "19",
        "--first_seed",
        "100",
        "--batch_size",
        "2",
    ]
    run = read_recipe(arguments, from_nothing=True)
    phases = list_phases(run, num_frames=2, image_size=8)
    seen = {phase: [clips[index] for index in range(len(clips))] for phase, clips in phases.items()}
    assert [clip["seed"] for clips in seen.values() for clip in clips] == list(range(110, 145))
    asked = {phase: {said(clip)[0] for clip in clips} for phase, clips in seen.items()}
    assert list(asked) == ["facts", "captions"]
    assert asked["facts"] == {BRIEF_PROMPT}
    assert {CAPTION_PROMPT, SHORT_PROMPT} <= asked["captions"]


def test_left_out_places_are_shown_in_no_phase():
    without = ("기찻길", "성곽")
    flags = ["--without_places", "기찻길, 성곽", "--frames", "60", "--fact_clips", "60"]
    run = read_recipe([*flags, "--clips", "50", "--first_seed", "100"], from_nothing=True)
    frames = SceneFrames([], count=60, first_seed=100, image_size=8, without=run.left_out)
    phases = [frames, *list_phases(run, num_frames=2, image_size=8).values()]
    seeds = [seed for clips in phases for seed in clips.seeds]
    # All others from the first seed on, each once: what a phase leaves the next one goes on with.
    others = (seed for seed in range(100, 100 + 2 * len(seeds)) if sample_scene(seed).place not in without)
    assert seeds == list(itertools.islice(others, 170))
    assert {sample_scene(seed).place for seed in seeds} == set(Place).difference(without)
    assert phases[-1][3]["seed"] == phases[-1].seeds[3]
    facts = list_facts(0, 300, 1, without=without)
    assert {fact for fact in facts if fact.startswith("place: ")} == {f"place: {p}" for p in Place if p not in without}


@pytest.mark.parametrize(("places", "named"), [("기찻길,바닷가", "바닷가"), (",".join(Place), "every place")])
def test_places_that_cannot_be_left_out_are_named(places, named):
    with pytest.raises(SettingsError, match=named) as caught:
        read_recipe(["--without_places", places], from_nothing=True)
    assert "장소" in caught.value.message_ko


def test_a_block_of_clips_is_asked_the_same():
    clips = SceneClips(128, num_frames=1, image_size=8, short_share=(0.5, 0.5), block=8)
    prompts = [said(clips[index])[0] for index in range(128)]
    assert all(len(set(prompts[first : first + 8])) == 1 for first in range(0, 128, 8))
    assert len(set(prompts)) == 3


@pytest.mark.slow
def test_train_makes_a_checkpoint_and_goes_on_from_it(tmp_path):
    command = [
        sys.executable,
        "train.py",
        "--preset",
        "tiny",
        "--clips",
        "96",
        "--batch_size",
        "4",
        "--watch_every",
        "0",
        "--workers",
        "0",
    ]
    first, second = tmp_path / "first", tmp_path / "second"
    from_nothing = [*command, "--frames", "32", "--fact_clips", "32", "--output", str(first)]
    subprocess.run(from_nothing, cwd=ROOT, check=True, capture_output=True, timeout=500)
    assert {"model.safetensors", "config.json", "processor_config.json", "training.png"} <= {
        p.name for p in first.iterdir()
    }
    assert (first / "model.safetensors").stat().st_size < 12_000_000

    again = [*command, "--output", str(second), "--model", str(first), "--clips", "8"]
    subprocess.run(again, cwd=ROOT, check=True, capture_output=True, timeout=500)
    before, after = (safe_open(folder / "model.safetensors", "pt") for folder in (first, second))
    moved = {key for key in before.keys() if not before.get_tensor(key).equal(after.get_tensor(key))}  # noqa: SIM118
    assert {key.split(".")[1] for key in moved} == {"vision_tower", "motion", "multi_modal_projector", "language_model"}
    AutoProcessor.from_pretrained(second)
    AutoModelForImageTextToText.from_pretrained(second)
