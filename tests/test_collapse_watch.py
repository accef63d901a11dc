"""The collapse watch: what it measures, that it leaves a run alone, and that it warns of the runs it should."""

import dataclasses
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import small_pair
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainerCallback, TrainingArguments

from corpus.scene_captions import describe, describe_briefly
from corpus.scenes import HELD_OUT_SEED, sample_scene
from processing.pipeline_kocap import KoCapPipeline
from processing.vision_tokens_kocap import CAPTION_PROMPT
from training.collapse_signs import Limits, Look, find_signs, persistent_sign
from training.collapse_watch import LOOKS_FILE, CollapseWatch, read_looks
from training.collator import CaptionCollator
from training.held_out_clips import HeldOutClips, mean_similarity, measure_captions, undisturbed, video_dependence
from training.scene_clips import draw_clip

TINY = Path(__file__).resolve().parent.parent / "checkpoints" / "kocap-tiny"
SIZE = {"num_frames": 4, "image_size": 64}


def draw_item(seed: int, write=describe_briefly, **size) -> dict:
    scene = sample_scene(seed)
    messages = [
        {"role": "user", "content": f"<video>{CAPTION_PROMPT}"},
        {"role": "assistant", "content": write(scene)},
    ]
    return {"id": str(seed), "messages": messages, "medium": "video", **draw_clip(scene, **(SIZE | size))}


def as_image(item: dict) -> dict:
    """The same about the clip's first frame alone."""
    turns = [turn | {"content": turn["content"].replace("<video>", "<image>")} for turn in item["messages"]]
    return item | {"medium": "image", "messages": turns, "frames": item["frames"][:1], "times_s": None}


def encode(model, processor, item: dict) -> dict:
    frames = processor.video_processor([item["frames"]], do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        features = model.model.encode_frames(frames["pixel_values_videos"][0])
    return {name: value for name, value in item.items() if name != "frames"} | {"features": features}


ITEMS = [draw_item(HELD_OUT_SEED + index) for index in range(6)]


def held_out(processor, items=ITEMS, **options) -> HeldOutClips:
    defaults = {"max_new_tokens": 6, "batch_size": 4, "num_samples": len(items), "seed": 0}
    return HeldOutClips(items, CaptionCollator(processor), processor.tokenizer, **(defaults | options))


def look_once(model, processor, items=ITEMS, **options) -> Look:
    with undisturbed(model):
        return held_out(processor, items, **options).look(model, step=3, progress=0.5)


def run(model, processor, folder, *, items=ITEMS, steps=4, callbacks=(), **options) -> Trainer:
    defaults = {"logging_steps": 1, "save_strategy": "no", "per_device_train_batch_size": 2, "learning_rate": 1e-3}
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        report_to=[],
        remove_unused_columns=False,
        use_cpu=True,
        disable_tqdm=True,
        **(defaults | options),
    )
    return Trainer(
        model=model,
        args=args,
        train_dataset=items,
        data_collator=CaptionCollator(processor),
        callbacks=list(callbacks),
    )


def watch_for(processor, folder, **options) -> CollapseWatch:
    defaults = {"output": folder / "watch", "every": 2, "max_new_tokens": 6, "batch_size": 6}
    return CollapseWatch(processor, ITEMS, CaptionCollator(processor), **(defaults | options))


def make_blind(model) -> None:
    """The projector says the same of every patch."""
    torch.nn.init.zeros_(model.model.multi_modal_projector[-1].weight)
    model.model.multi_modal_projector.requires_grad_(False)


# What a look measures


def test_dependence_is_the_answers_likelihood_lost_beside_another_video():
    model, processor = small_pair()
    items = [ITEMS[0], *(draw_item(HELD_OUT_SEED + 10 + count, num_frames=count) for count in (2, 3, 5))]
    clips = held_out(processor, items)
    lost, tokens = 0.0, 0
    for row, other in clips.partners.items():
        assert row != other
        moved = items[row] | {name: items[other][name] for name in ("frames", "times_s")}
        own, strange = (CaptionCollator(processor)([item]) for item in (items[row], moved))
        count = int((own["labels"] != -100).sum())
        with torch.no_grad():
            losses = [
                model(**{name: value for name, value in batch.items() if name != "problems"}).loss
                for batch in (own, strange)
            ]
        lost, tokens = lost + count * float(losses[1] - losses[0]), tokens + count
    look = look_once(model, processor, items)
    assert look.dependence == pytest.approx(lost / tokens, abs=1e-4)
    assert look.dependence_low < look.dependence < look.dependence_high
    assert abs(look.dependence) > 1e-3  # this model sees: the comparison is of something


def test_a_model_that_cannot_see_depends_on_nothing():
    model, processor = small_pair()
    make_blind(model)
    look = look_once(model, processor)
    assert abs(look.dependence) < 1e-6
    earlier = dataclasses.replace(look, step=0, progress=0.0)
    assert "W_BLIND" in {sign.code for sign in find_signs([earlier, look])}


def test_captions_are_those_of_the_pipeline():
    model, processor = small_pair()
    said = [sample.caption for sample in look_once(model, processor).samples]
    results = KoCapPipeline(model=model, processor=processor)(
        [item["frames"] for item in ITEMS], generate_kwargs={"max_new_tokens": 6, "do_sample": False}
    )
    assert said == [result["generated_text"] for result in results]
    assert len(set(said)) > 1


def test_features_measure_as_their_frames_do():
    model, processor = small_pair()
    from_frames = look_once(model, processor)
    from_features = look_once(model, processor, [encode(model, processor, item) for item in ITEMS])
    assert from_features.samples == from_frames.samples
    for name, value in from_frames.numbers().items():
        if name != "watch/seconds":
            assert from_features.numbers()[name] == pytest.approx(value, abs=1e-4), name


def test_videos_stand_in_for_videos_and_images_for_images():
    media = ["video", "image", "video", "video", "image"]
    items = [as_image(item) if medium == "image" else item for item, medium in zip(ITEMS, media)]
    model, processor = small_pair()
    partners = held_out(processor, items).partners
    assert sorted(partners) == sorted(partners.values()) == [0, 1, 2, 3, 4]
    assert look_once(model, processor, items).dependence != 0
    assert all(row != other and media[row] == media[other] for row, other in partners.items())


def test_without_two_videos_to_exchange_the_rest_is_measured():
    model, processor = small_pair()
    look = look_once(model, processor, [ITEMS[0], as_image(ITEMS[1])])
    assert math.isnan(look.dependence) and look.nll > 0
    assert "watch/nll" in look.numbers() and "watch/video_dependence" not in look.numbers()


def test_one_sentence_for_all_is_measured_as_such():
    references = [describe(sample_scene(seed)) for seed in range(6)]
    same, right, other = (
        measure_captions(captions, references, seed=0)
        for captions in ([references[0]] * 6, references, references[1:] + references[:1])
    )
    assert same["unique"] == pytest.approx(1 / 6) and right["unique"] == 1.0
    assert right["meteor"] > 0.95 and other["meteor"] < 0.6 and "kiwi" in right["meteor_signature"]
    assert mean_similarity([references[0]] * 6) == pytest.approx(1.0)
    assert 0 < mean_similarity(references) < 0.7
    loop = "파도가 모래 해변으로 밀려오고 " * 12
    assert measure_captions([loop] * 6, references, seed=0)["repetition"] > 0.8


def test_dependence_weighs_tokens_and_is_nan_without_clips():
    value, low, high = video_dependence(np.array([1.0, 0.0]), np.array([1.0, 9.0]), seed=0)
    assert (value, low, high) == (pytest.approx(0.1), 0.0, 1.0)
    assert all(map(math.isnan, video_dependence(np.empty(0), np.empty(0), seed=0)))


@pytest.mark.parametrize("messages", [ITEMS[0]["messages"][:1], [{"role": "assistant", "content": " "}]])
def test_items_without_an_answer_are_refused(messages):
    with pytest.raises(ValueError, match="answer"):
        held_out(small_pair()[1], [ITEMS[0], ITEMS[1] | {"messages": messages}])
    with pytest.raises(ValueError, match="at least 2"):
        held_out(small_pair()[1], ITEMS[:1])


# A watched run


def test_nothing_of_a_look_is_left_behind():
    model, _ = small_pair()
    model.train()
    model.model.vision_tower.eval()
    modes = [module.training for module in model.modules()]
    seeded = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    with undisturbed(model):
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
        random.random(), np.random.rand(), torch.rand(1)
    assert [module.training for module in model.modules()] == modes
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == seeded


def test_a_watched_run_trains_bit_by_bit_as_an_unwatched_one(tmp_path):
    outcomes = []
    for watched in (False, True):
        model, processor = small_pair()
        for layer in model.model.language_model.layers:
            layer.self_attn.attention_dropout = 0.2  # random numbers matter
        watch = [watch_for(processor, tmp_path, every=3)] if watched else []
        trainer = run(model, processor, tmp_path, callbacks=watch)
        trainer.train()
        losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        outcomes.append((losses, model.state_dict()))
    (losses, weights), (watched_losses, watched_weights) = outcomes
    assert losses == watched_losses and len(losses) == 4
    assert all(torch.equal(weights[name], watched_weights[name]) for name in weights)


class Recorder(TrainerCallback):
    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, *, logs, **kwargs):
        self.logs.append((state.global_step, dict(logs)))


def test_numbers_reach_the_log_and_its_reporters(tmp_path):
    model, processor = small_pair()
    recorder, watch = Recorder(), watch_for(processor, tmp_path)
    trainer = run(model, processor, tmp_path, callbacks=[recorder, watch])
    watch.log = trainer.log
    trainer.train()
    told = [(step, logs) for step, logs in recorder.logs if "watch/unique" in logs]
    kept = [entry for entry in trainer.state.log_history if "watch/unique" in entry]
    assert [step for step, _ in told] == [entry["step"] for entry in kept] == [0, 2, 4]
    wanted = {"unique", "repetition", "similarity", "meteor", "meteor_constant", "meteor_shuffled", "video_dependence"}
    assert {f"watch/{name}" for name in wanted} <= told[0][1].keys()
    assert all(isinstance(value, int | float) for _, logs in told for value in logs.values())
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [1, 2, 3, 4]
    assert (tmp_path / "watch" / "report.md").is_file() and (tmp_path / "watch" / "curves.png").is_file()


def test_a_run_that_goes_on_blind_stops_itself_when_asked(tmp_path, caplog):
    for stop, steps in ((True, 6), (False, 7)):
        model, processor = small_pair()
        make_blind(model)
        watch = watch_for(processor, tmp_path / str(stop), every=3, stop=stop)
        trainer = run(model, processor, tmp_path, steps=7, callbacks=[watch])
        trainer.train()
        assert trainer.state.global_step == steps
        assert watch.signs and watch.looks[-1].step == steps
        assert bool(watch.stopped_for) == stop
    assert "TRAINING STOPS at step 6" in caplog.text and "Likely causes" in caplog.text
    page = (tmp_path / "True" / "watch" / "report.md").read_text("utf-8")
    assert "학습을 멈췄습니다" in page and "W_BLIND" in page


def test_a_resumed_run_remembers_its_looks(tmp_path):
    model, processor = small_pair()
    run(
        model, processor, tmp_path, callbacks=[watch_for(processor, tmp_path)], save_strategy="steps", save_steps=2
    ).train()
    again, watch = small_pair()[0], watch_for(processor, tmp_path)
    (before,) = [look for look in _looks_of(processor, tmp_path) if look.step == 4]
    run(again, processor, tmp_path, callbacks=[watch]).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [look.step for look in watch.looks] == [0, 2, 4]
    assert dataclasses.replace(watch.looks[-1], seconds=0.0) == dataclasses.replace(before, seconds=0.0)


def _looks_of(processor, folder) -> list[Look]:
    return read_looks(folder / "watch" / LOOKS_FILE)


def _run_out_above(model, most: int) -> None:
    def hook(module, args, kwargs):
        if not module.training and len(kwargs["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model.register_forward_pre_hook(hook, with_kwargs=True)


def test_memory_that_runs_out_halves_the_batch():
    model, processor = small_pair()
    whole = look_once(model, processor)
    _run_out_above(model, 2)
    clips = held_out(processor, batch_size=6)
    with undisturbed(model):
        halved = clips.look(model, step=3, progress=0.5)
    assert clips.batch_size <= 2
    assert halved.samples == whole.samples and halved.dependence == pytest.approx(whole.dependence, abs=1e-4)


def test_a_look_that_fails_costs_the_look_and_not_the_run(tmp_path, caplog):
    model, processor = small_pair()
    _run_out_above(model, 0)
    watch = watch_for(processor, tmp_path, stop=True)
    trainer = run(model, processor, tmp_path, callbacks=[watch])
    trainer.train()
    assert trainer.state.global_step == 4 and watch.looks == []
    assert "no look at step 2" in caplog.text
    model, processor = small_pair()
    (tmp_path / "file").write_text("in the way")
    trainer = run(model, processor, tmp_path, callbacks=[watch_for(processor, tmp_path, output=tmp_path / "file")])
    trainer.train()
    assert trainer.state.global_step == 4 and "could not be written" in caplog.text


def test_other_errors_are_not_hidden(tmp_path):
    model, processor = small_pair()
    broken = CollapseWatch(processor, ITEMS, lambda items: {}, output=tmp_path, every=1)
    with pytest.raises(KeyError):
        run(model, processor, tmp_path, callbacks=[broken]).train()
    with pytest.raises(ValueError, match="every is 0"):
        watch_for(processor, tmp_path, every=0)


# From measurements to alarms


def measured(step: int, dependence: float = 0.3, error: float = 0.02, **values) -> Look:
    numbers = {
        "unique": 1.0,
        "reference_unique": 1.0,
        "repetition": 0.05,
        "reference_repetition": 0.03,
        "similarity": 0.35,
        "reference_similarity": 0.33,
        "length_ratio": 1.0,
        "meteor": 0.42,
        "meteor_low": 0.4,
        "meteor_high": 0.44,
        "meteor_constant": 0.3,
        "meteor_shuffled": 0.28,
        "meteor_signature": "meteor|...",
        "nll": 0.6,
        "answer_tokens": 400.0,
        "seconds": 9.0,
        "dependence": dependence,
        "dependence_low": dependence - error,
        "dependence_high": dependence + error,
    }
    return Look(step=step, progress=step / 100, clips=32, **(numbers | values))


START = measured(0, 0.0, unique=0.03, meteor=0.05, repetition=0.9)
SAMES = {"unique": 0.1, "similarity": 0.9}
PATTERNS = {
    "healthy": ([START, measured(30)], []),
    "only one look": ([measured(30, 0.0)], []),
    "during the warm-up": ([START, measured(10, 0.0, **SAMES, repetition=0.9)], []),
    "begins to see": ([START, measured(30, 0.004, 0.002), measured(40, 0.012, 0.003)], []),
    "too few clips to tell": ([START, measured(30, 0.06, 0.07)], []),
    "wrong videos": ([START, measured(30, 0.001)], ["W_BLIND"]),
    "against the video": ([START, measured(30, -0.2, 0.05)], ["W_BLIND"]),
    "surely almost nothing": ([measured(0), measured(30, 0.008, 0.003)], ["W_BLIND"]),
    "collapsed": ([START, measured(30, 0.001, **SAMES)], ["W_COLLAPSE", "W_BLIND"]),
    "few captions, but sees": ([START, measured(30, 0.2, **SAMES)], ["W_COLLAPSE"]),
    "references are few, too": ([START, measured(30, reference_unique=0.1, **SAMES)], []),
    "overfits": ([START, measured(30, 0.4), measured(60, 0.1)], ["W_FADING"]),
    "loops": ([START, measured(30, repetition=0.6)], ["W_REPETITION"]),
    "no better than a constant": ([START, measured(60, meteor=0.29)], ["W_FLOOR"]),
    "not yet better than a constant": ([START, measured(30, meteor=0.29)], []),
    "videos cannot be exchanged": ([START, measured(30, math.nan)], []),
    "few captions, dependence unknown": ([START, measured(30, math.nan, **SAMES)], ["W_COLLAPSE"]),
}


@pytest.mark.parametrize(("looks", "codes"), PATTERNS.values(), ids=PATTERNS.keys())
def test_patterns_have_their_alarms(looks, codes):
    signs = find_signs(looks)
    assert [sign.code for sign in signs] == codes
    for sign in signs:
        assert str(looks[-1].step) in sign.message and f"{looks[-1].step}단계" in sign.message_ko
        assert sign.causes and len(sign.causes) == len(sign.causes_ko)
        assert sign.message.isascii() and all(cause.isascii() for cause in sign.causes)
        assert all(any("가" <= letter <= "힣" for letter in cause) for cause in (sign.message_ko, *sign.causes_ko))


def test_causes_follow_the_pattern():
    """Different captions without the video: look at the labels. One caption without the video: at the projector."""
    (shuffled,) = find_signs([START, measured(30, 0.001)])
    collapsed, blind = find_signs([START, measured(30, 0.001, **SAMES)])
    assert "wrong videos" in shuffled.causes[0] and "projector" in blind.causes[0]
    assert collapsed.serious and blind.serious and shuffled.serious
    (destroyed,) = find_signs([measured(0), measured(30, 0.001)])
    assert "0.300" in destroyed.message and "0.300" in destroyed.message_ko
    for value, error in ((0.2, 0.02), (0.015, 0.01)):
        assert not any(sign.serious for sign in find_signs([START, measured(30, value, error, **SAMES)]))


def test_only_a_serious_alarm_that_persists_is_hopeless():
    blind, again = measured(30, 0.001), measured(40, 0.001)
    assert persistent_sign([START, blind]) is None
    assert persistent_sign([START, measured(10, 0.0), blind]) is None  # the first of them was in the warm-up
    assert persistent_sign([START, blind, measured(35), again]) is None
    assert persistent_sign([START, measured(30, repetition=0.6), measured(40, repetition=0.6)]) is None
    assert persistent_sign([START, blind, again]).code == "W_BLIND"
    assert persistent_sign([START, blind], Limits(persistent=1)).code == "W_BLIND"


# The proof


def _tiny_items(model, processor, first_seed: int, count: int) -> list[dict]:
    size = {"num_frames": processor.video_processor.num_frames, "image_size": processor.video_processor.size["height"]}
    items = (draw_item(first_seed + index, describe, **size) for index in range(count))
    return [encode(model, processor, item) for item in items]


def _train_tiny(folder: Path, *, shuffled: bool) -> tuple[Trainer, CollapseWatch]:
    model = AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(TINY)
    model.set_attn_implementation("eager")  # the quickest to train on a CPU
    model.model.vision_tower.requires_grad_(False)
    held, items = _tiny_items(model, processor, HELD_OUT_SEED, 16), _tiny_items(model, processor, 700_000, 96)
    if shuffled:
        features = [item["features"] for item in items]
        items = [item | {"features": features[index - 7]} for index, item in enumerate(items)]
    often = {"every": 8, "stop": True, "batch_size": 16, "max_new_tokens": 200}
    watch = CollapseWatch(processor, held, CaptionCollator(processor), output=folder, **often)
    options = {"learning_rate": 1.5e-3, "warmup_steps": 5, "per_device_train_batch_size": 8}
    trainer = run(model, processor, folder, items=items, steps=40, callbacks=[watch], **options)
    trainer.train()
    return trainer, watch


@pytest.mark.slow
def test_shuffled_videos_trip_the_watch_and_right_ones_do_not(tmp_path):
    outcomes = {name: _train_tiny(tmp_path / name, shuffled=name == "shuffled") for name in ("right", "shuffled")}
    for name, (trainer, watch) in outcomes.items():
        curve = [(look.step, round(look.dependence, 4), round(look.unique, 2)) for look in watch.looks]
        print(name, trainer.state.global_step, curve, [sign.code for sign in watch.signs])
    trainer, watch = outcomes["shuffled"]
    assert watch.stopped_for.code in ("W_BLIND", "W_COLLAPSE")
    assert trainer.state.global_step < trainer.state.max_steps
    trainer, watch = outcomes["right"]
    codes = {sign.code for end in range(len(watch.looks)) for sign in find_signs(watch.looks[: end + 1])}
    assert watch.stopped_for is None
    assert codes <= {"W_REPETITION"}  # kocap-tiny says things twice, as its card tells, and more so at a large rate
    assert trainer.state.global_step == trainer.state.max_steps
    assert min(look.dependence_low for look in watch.looks) > 5 * Limits().blind
