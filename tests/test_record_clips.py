"""Records as a training set: frames as inference sees them, features in their place, and bad samples told."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import records_of, write_clips, write_image
from small_models import small_pair
from transformers import Trainer, TrainingArguments

from corpus.records import Record, RecordError, caption_record
from processing.video_errors_kocap import VideoError
from training.collator import CaptionCollator
from training.feature_cache import FeatureCache
from training.record_clips import RecordClips


@pytest.fixture(scope="module")
def pair():
    return small_pair()


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record]:
    folder = tmp_path_factory.mktemp("media")
    images = [write_image(folder / f"사진{seed}.png", seed=seed, width=40 + 30 * seed) for seed in range(2)]
    videos, first, second = write_clips(folder, 4), *images
    return records_of([videos[0], first, *videos[1:3], second, videos[3]])


def broken_records(folder, good: list[Record], bad: list[int]) -> list[Record]:
    """Good records in order, with files that are no videos at some places."""
    good, records = list(good), []
    for place in range(len(good) + len(bad)):
        if place in bad:
            path = folder / f"나쁨{place}.mp4"
            path.write_bytes(b"no video")
            records += records_of([path])
        else:
            records.append(good.pop(0))
    return records


def test_a_video_is_looked_at_as_in_inference(pair, records):
    _, processor = pair
    clips = RecordClips(records, processor)
    item = clips[0]
    (frames,), (metadata,) = processor.video_processor.fetch_videos(records[0].video)
    assert torch.equal(item["frames"], frames) and item["times_s"] == metadata.times_s
    assert item["id"] == "0" and item["medium"] == "video" and item["messages"] == list(records[0].messages)
    batch = CaptionCollator(processor)([item])
    content = [{"type": "video", "path": records[0].video}, {"type": "text", "text": "?"}]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    seen = processor.apply_chat_template([{"role": "user", "content": content}], **options)
    assert torch.equal(batch["pixel_values_videos"], seen["pixel_values_videos"])


def test_an_image_is_looked_at_as_in_inference(pair, records):
    _, processor = pair
    item = RecordClips(records, processor)[1]
    assert item["medium"] == "image" and item["times_s"] is None
    batch = CaptionCollator(processor)([item])
    content = [{"type": "image", "path": records[1].image}, {"type": "text", "text": "?"}]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    seen = processor.apply_chat_template([{"role": "user", "content": content}], **options)
    assert torch.equal(batch["pixel_values"], seen["pixel_values"])


def test_a_cache_gives_features_in_place_of_frames(pair, records, tmp_path):
    model, processor = pair
    cache = FeatureCache.open(tmp_path, model, processor)
    cache.fill(records, workers=0)
    plain, cached = RecordClips(records, processor), RecordClips(records, processor, cache=cache)
    collate = CaptionCollator(processor)
    frames, features = (collate([clips[i] for i in range(len(clips))]) for clips in (plain, cached))
    assert "pixel_values_videos" not in features and torch.equal(frames["input_ids"], features["input_ids"])
    with torch.no_grad():
        torch.testing.assert_close(model(**features).loss, model(**frames).loss)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_lengths_are_those_of_the_batches(tmp_path_factory, pair, records, draw: random.Random):
    _, processor = pair
    records = [
        caption_record(record.id, record.video, "파도 " * draw.randint(1, 30)) if record.video else record
        for record in records
    ]
    clips = RecordClips(draw.sample(records, draw.randint(1, len(records))), processor)
    collate = CaptionCollator(processor)
    assert clips.lengths == [int(collate([clips[i]])["attention_mask"].sum()) for i in range(len(clips))]


def test_lengths_need_no_videos_and_follow_what_is_known(pair, tmp_path):
    processor = small_pair(num_frames=4)[1]
    records = [
        caption_record(name, str(tmp_path / f"{name}.mp4"), "파도", duration_s=duration_s)
        for name, duration_s in {"a": 2.0, "b": 5.0, "c": 500.0, "d": None}.items()
    ]
    four = RecordClips(records, processor).lengths
    assert len(set(four)) == 1
    processor.video_processor.fps = 1.0
    text = four[0] - 4 * processor.tokens_per_frame
    frames = [(length - text) // processor.tokens_per_frame for length in RecordClips(records, processor).lengths]
    assert frames == [2, 5, 64, 64]


def test_lengths_of_cached_clips_are_exact_whatever_the_sampling(records, tmp_path):
    model, processor = small_pair(frame_timestamps=True)
    processor.video_processor.fps = 3.0
    cache = FeatureCache.open(tmp_path, model, processor)
    cache.fill(records, workers=0)
    clips, collate = RecordClips(records, processor, cache=cache), CaptionCollator(processor)
    assert clips.lengths == [int(collate([clips[i]])["attention_mask"].sum()) for i in range(len(clips))]


@pytest.mark.parametrize("cached", [False, True])
def test_a_bad_sample_is_replaced_by_the_next_good_one_and_told_once(pair, records, tmp_path, caplog, cached):
    model, processor = pair
    mixed = broken_records(tmp_path, records[:3], [1, 2, 5])
    cache = FeatureCache.open(tmp_path / "cache", model, processor) if cached else None
    if cache:
        with pytest.raises(ValueError, match="empty; call its fill"):
            RecordClips(mixed, processor, cache=cache)[0]
        assert len(cache.fill(mixed, workers=0)) == 3
    caplog.clear()
    clips = RecordClips(mixed, processor, cache=cache)
    for _ in range(2):
        items = [clips[i] for i in range(len(clips))]
        assert [item["id"] for item in items] == ["0", "사진0", "사진0", "사진0", "1", "0"]
        problems = {i: item["problem"] for i, item in enumerate(items) if "problem" in item}
        assert list(problems) == [1, 2, 5]
        assert all(problem["code"] == "E_NOT_VIDEO" and problem["message_ko"] for problem in problems.values())
        assert problems[1]["id"] == mixed[1].id
    assert len([record for record in caplog.records if "is replaced" in record.message]) == 3
    assert len(CaptionCollator(processor)(items)["problems"]) == 3


def test_strict_raises_and_so_does_a_set_without_any_good_sample(pair, records, tmp_path):
    mixed = broken_records(tmp_path, records[:1], [1, 2])
    clips = RecordClips(mixed, pair[1], strict=True)
    assert clips[0]["id"] == "0"
    for _ in range(2):
        with pytest.raises(VideoError, match="E_NOT_VIDEO"):
            clips[1]
    with pytest.raises(RecordError, match="none of the 2 records"):
        RecordClips(mixed[1:], pair[1])[1]


def test_a_clip_that_was_never_put_into_the_cache_is_a_problem_of_its_own(pair, records, tmp_path):
    cache = FeatureCache.open(tmp_path, *pair)
    cache.fill(records[:1], workers=0)
    item = RecordClips(records[:2], pair[1], cache=cache)[1]
    assert item["id"] == "0" and item["problem"]["code"] == "E_NOT_CACHED"


def test_a_question_without_an_answer_is_left_out(pair, records):
    turns = [*records[0].messages, {"role": "user", "content": "그리고?"}]
    clips = RecordClips([Record("a", records[0].video, tuple(turns))], pair[1])
    assert clips[0]["messages"] == list(records[0].messages)
    turns = [{"role": "user", "content": "?"}, records[0].messages[1], {"role": "user", "content": "<video>?"}]
    with pytest.raises(RecordError, match="after its last answer"):
        RecordClips([Record("a", records[0].video, tuple(turns))], pair[1])


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_clips_keep_every_text_and_no_video(pair, records, seed):
    twice = [*records, Record("again", records[0].video, records[0].messages)]
    clips = RecordClips(twice, pair[1])
    shuffled = clips.shuffled(seed)
    plain, moved = ([some[i] for i in range(len(some))] for some in (clips, shuffled))
    for a, b in zip(plain, moved, strict=True):
        assert (a["id"], a["messages"], a["medium"]) == (b["id"], b["messages"], b["medium"])
        assert a["frames"].shape != b["frames"].shape or not torch.equal(a["frames"], b["frames"])
    shown = {item["frames"].numpy().tobytes() for item in plain}
    assert shown == {item["frames"].numpy().tobytes() for item in moved}
    assert [clips[i]["frames"].shape for i in range(len(clips))] == [item["frames"].shape for item in plain]
    again = clips.shuffled(seed)
    assert all(torch.equal(again[i]["frames"], item["frames"]) for i, item in enumerate(moved))


def test_a_single_video_cannot_be_shuffled(pair, records):
    with pytest.raises(ValueError, match="at least two"):
        RecordClips([records[0], records[0]], pair[1]).shuffled(0)


class CountingTrainer(Trainer):
    """Takes the problems out of a batch, as whoever trains must."""

    problems: list[dict] = []

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.problems += inputs.pop("problems", [])
        return super().compute_loss(model, inputs, *args, **kwargs)


def test_problems_reach_the_trainer_from_its_workers(pair, records, tmp_path):
    mixed = broken_records(tmp_path, records, [1])
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=1,
        per_device_train_batch_size=4,
        dataloader_num_workers=1,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        use_cpu=True,
        disable_tqdm=True,
    )
    model, processor = small_pair()
    clips, collate = RecordClips(mixed, processor), CaptionCollator(processor)
    trainer = CountingTrainer(model=model, args=arguments, train_dataset=clips, data_collator=collate)
    trainer.train()
    assert [(problem["id"], problem["code"]) for problem in trainer.problems] == [(mixed[1].id, "E_NOT_VIDEO")]


def train(records: list[Record], cache: FeatureCache | None, pair, output) -> tuple[list[float], torch.Tensor]:
    """Six steps of the projector alone: losses, and a weight afterwards."""
    model, processor = pair
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        use_cpu=True,
        seed=3,
        disable_tqdm=True,
    )
    clips = RecordClips(records, processor, cache=cache)
    trainer = Trainer(model=model, args=arguments, train_dataset=clips, data_collator=CaptionCollator(processor))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, model.model.multi_modal_projector[0].weight.detach().clone()


@pytest.mark.parametrize("fill_batch", [1, 3])
def test_training_is_the_same_with_and_without_the_cache(records, tmp_path, fill_batch):
    """Bit by bit where this was written (AVX-512, one thread), losses and weights; asserted to 1e-5.

    The tower sees a batch's frames at once without the cache and `fill_batch` clips' with it, and libraries may add up
    matrix products of different sizes in different orders.
    """
    model, processor = small_pair()
    cache = FeatureCache.open(tmp_path / "cache", model, processor)
    assert cache.fill(records, batch_size=fill_batch, workers=0) == []
    without, weight = train(records, None, small_pair(), tmp_path / "run")
    with_cache, same_weight = train(records, cache, small_pair(), tmp_path / "cached")
    assert len(without) == 6 and abs(without[0] - without[-1]) > 1e-3
    torch.testing.assert_close(with_cache, without, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(same_weight, weight, rtol=1e-5, atol=1e-5)
