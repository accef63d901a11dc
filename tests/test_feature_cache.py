"""The feature cache: what comes out is what the tower gives, for these settings and this content, whatever happened."""

import copy
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from record_files import records_of, write_clips, write_image
from safetensors import safe_open
from small_models import small_pair
from video_fixtures import make_clip

from training.feature_cache import FeatureCache
from training.file_digests import FileDigests


@pytest.fixture(scope="module")
def pair():
    return small_pair()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    return write_clips(tmp_path_factory.mktemp("clips"), 5)


def look(model, processor, path: Path) -> tuple[torch.Tensor, list[float]]:
    """What the tower sees in a clip, without any cache."""
    inputs = processor.video_processor(str(path), return_tensors="pt", return_metadata=True)
    with torch.no_grad():
        features = model.model.encode_frames(inputs["pixel_values_videos"][0])
    return features, inputs["video_metadata"][0].times_s


def test_what_comes_out_is_what_the_tower_gives_bit_by_bit(pair, clips, tmp_path):
    cache = FeatureCache.open(tmp_path, *pair)
    assert cache.missing(clips)
    assert cache.fill(clips, batch_size=1, workers=0) == []
    assert cache.missing(clips) == [] and cache.num_clips == len(clips)
    for path in clips:
        features, times_s = look(*pair, path)
        found, found_s = cache.get(path)
        assert path in cache and cache.count_frames(path) == len(features)
        assert torch.equal(found, features) and found_s == times_s


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_that_go_through_the_tower_together_come_out_as_alone(pair, clips, tmp_path, workers):
    """Up to rounding: how matrix products add up may depend on their size."""
    cache, shown = FeatureCache.open(tmp_path, *pair), []
    cache.fill(clips, batch_size=3, workers=workers, progress=lambda todo: shown.append(len(todo)) or todo)
    assert shown[-1] == len(clips)
    for path in clips:
        torch.testing.assert_close(cache.get(path)[0], look(*pair, path)[0])


def test_images_and_videos_of_records(pair, clips, tmp_path):
    model, processor = pair
    image, *videos = records_of([write_image(tmp_path / "산.png"), *clips[:2]])
    cache = FeatureCache.open(tmp_path / "cache", model, processor)
    assert cache.fill([image, *videos], workers=0) == []
    features, times_s = cache.get(image)
    assert features.shape == (1, processor.tokens_per_frame, 32) and times_s is None
    assert image in cache and image.path not in cache  # a path alone is a video
    assert cache.num_clips == 3


def test_a_shard_is_a_plain_safetensors_file_named_as_promised(pair, clips, tmp_path):
    cache = FeatureCache.open(tmp_path, *pair)
    cache.fill(clips[:2], workers=0)
    (path,) = cache.folder.glob("*.safetensors")
    digest = FileDigests(tmp_path / "files.jsonl").digest(clips[0])
    with safe_open(path, framework="pt") as shard:
        assert len(shard.keys()) == 4
        assert torch.equal(shard.get_tensor(digest), cache.get(clips[0])[0])
        assert shard.get_tensor(f"{digest}.times_s").dtype == torch.float64
    assert (cache.folder / "settings.json").read_text().count('"weights"') == 1


def test_a_clip_goes_by_its_content(pair, clips, tmp_path):
    cache = FeatureCache.open(tmp_path / "cache", *pair)
    first, second = (shutil.copy(clips[0], tmp_path / name) for name in ("가.mp4", "나.mp4"))
    cache.fill([first], workers=0)
    assert second in cache and torch.equal(cache.get(second)[0], cache.get(first)[0])
    shutil.copy(clips[1], first)
    assert first not in cache and second in cache
    with pytest.raises(KeyError, match=r"가\.mp4"):
        cache.get(first)


def change_weights(model, processor, part: str) -> None:
    with torch.no_grad():
        next(getattr(model.model, part).parameters())[0] += 1e-3


CHANGES = {
    "tower": lambda model, processor: change_weights(model, processor, "vision_tower"),
    "tower's precision": lambda model, processor: model.model.vision_tower.bfloat16(),
    "layer": lambda model, processor: setattr(model.config, "vision_feature_layer", -2),
    "selection": lambda model, processor: setattr(model.config, "vision_feature_select_strategy", "full"),
    "pooling": lambda model, processor: setattr(model.config, "spatial_pool_stride", 1),
    "pooling's mode": lambda model, processor: setattr(model.config, "spatial_pool_mode", "max"),
    "activation": lambda model, processor: setattr(model.config.vision_config, "hidden_act", "relu"),
    "frames": lambda model, processor: setattr(processor.video_processor, "num_frames", 3),
    "rate": lambda model, processor: setattr(processor.video_processor, "fps", 1.0),
    "shots": lambda model, processor: setattr(processor.video_processor, "follow_scenes", True),
    "reading": lambda model, processor: setattr(processor.video_processor, "read_mode", "keyframe"),
    "size": lambda model, processor: setattr(processor.video_processor, "size", {"height": 32, "width": 32}),
    "mean": lambda model, processor: setattr(processor.video_processor, "image_mean", [0.4, 0.5, 0.5]),
    "images' mean": lambda model, processor: setattr(processor.image_processor, "image_mean", [0.4, 0.5, 0.5]),
}
NO_CHANGES = {
    "projector": lambda model, processor: change_weights(model, processor, "multi_modal_projector"),
    "language model": lambda model, processor: change_weights(model, processor, "language_model"),
    "prompt": lambda model, processor: setattr(processor, "chat_template", "{{ messages }}"),
    "time stamps": lambda model, processor: setattr(processor, "frame_timestamps", True),
    "isolation": lambda model, processor: setattr(processor.video_processor, "isolated", True),
}


@pytest.mark.parametrize("what", [*CHANGES, *NO_CHANGES])
def test_what_changes_features_changes_the_key_and_nothing_else_does(pair, tmp_path, what):
    model, processor = copy.deepcopy(pair)
    before = FeatureCache.open(tmp_path, model, processor)
    (CHANGES | NO_CHANGES)[what](model, processor)
    after = FeatureCache.open(tmp_path, model, processor)
    assert (before.folder != after.folder) == (what in CHANGES)


def test_the_key_is_the_same_for_a_saved_checkpoint_and_another_for_another_type(pair, tmp_path):
    model, processor = pair
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model"), type(processor).from_pretrained(tmp_path / "model")
    folder = FeatureCache.open(tmp_path, model, processor).folder
    assert FeatureCache.open(tmp_path, *again).folder == folder
    assert FeatureCache.open(tmp_path, again[0].model, again[1]).folder == folder
    assert FeatureCache.open(tmp_path, *pair, dtype=torch.float32).folder == folder
    assert FeatureCache.open(tmp_path, *pair, dtype=torch.bfloat16).folder != folder


def test_features_are_stored_in_the_type_that_is_asked_for(pair, clips, tmp_path):
    cache = FeatureCache.open(tmp_path, *pair, dtype=torch.bfloat16)
    cache.fill(clips[:1], workers=0)
    features = cache.get(clips[0])[0]
    assert torch.equal(features, look(*pair, clips[0])[0].bfloat16())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_clip_among_good_ones_is_told_and_the_others_are_there(pair, clips, tmp_path, workers):
    bad = [tmp_path / name for name in ("빈.mp4", "글.mp4", "없는.mp4", "반.mp4")]
    bad[0].touch()
    bad[1].write_text("no video")
    bad[3].write_bytes(make_clip(20)[:2000])
    cache = FeatureCache.open(tmp_path / "cache", *pair)
    mixed = [clips[0], *bad[:2], clips[1], *bad[2:], clips[2]]
    problems = cache.fill(mixed, workers=workers, batch_size=2)
    assert [problem["path"] for problem in problems] == [str(path) for path in bad]
    assert [problem["code"] for problem in problems] == ["E_EMPTY", "E_NOT_VIDEO", "E_NOT_FOUND", "E_TRUNCATED"]
    assert all(problem["message"].startswith(problem["code"]) and problem["message_ko"] for problem in problems)
    assert all(path in cache for path in clips[:3]) and cache.num_clips == 3
    assert cache.fill(mixed, workers=workers) == problems
    shutil.copy(clips[3], bad[0])  # downloaded again
    assert [problem["path"] for problem in cache.fill(mixed, workers=0)] == [str(path) for path in bad[1:]]
    fresh = FeatureCache.open(tmp_path / "cache", *pair)
    assert len(fresh.fill(bad, workers=0)) == 3  # another run tries them again


def test_out_of_memory_halves_what_goes_through_the_tower_at_once(pair, clips, tmp_path):
    model, processor = copy.deepcopy(pair)
    tower, seen = model.model.vision_tower, []

    def run_out(module, arguments):
        seen.append(len(arguments[0]))
        if len(arguments[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    tower.register_forward_pre_hook(run_out)
    cache = FeatureCache.open(tmp_path, model, processor)
    assert cache.fill(clips[:4], batch_size=4, workers=0) == []  # 4 frames each
    assert seen == [16, 8, 4] + [2] * 8
    torch.testing.assert_close(cache.get(clips[3])[0], look(*pair, clips[3])[0])


def test_an_error_in_the_tower_is_raised_and_what_was_finished_is_kept(pair, clips, tmp_path):
    model, processor = copy.deepcopy(pair)
    calls = []

    def break_down(module, arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken")

    model.model.vision_tower.register_forward_pre_hook(break_down)
    cache = FeatureCache.open(tmp_path, model, processor)
    with pytest.raises(RuntimeError, match="broken"):
        cache.fill(clips, batch_size=1, workers=0)
    assert [path in cache for path in clips] == [True, True, False, False, False]


def test_a_truncated_shard_is_set_aside_with_a_warning_and_computed_again(pair, clips, tmp_path, caplog):
    FeatureCache.open(tmp_path, *pair).fill(clips, batch_size=1, workers=0, shard_bytes=1)
    first, second, *_ = sorted(tmp_path.glob("*/*.safetensors"))
    first.write_bytes(first.read_bytes()[:-7])
    second.write_bytes(b"")
    cache = FeatureCache.open(tmp_path, *pair)
    assert first.name in caplog.text and second.name in caplog.text
    assert cache.num_clips == len(clips) - 2
    cache.fill(clips, batch_size=1, workers=0)
    for path in clips:
        assert torch.equal(cache.get(path)[0], look(*pair, path)[0])
    assert len(list(cache.folder.glob("*.damaged"))) == 2


def test_opening_reads_no_features(pair, clips, tmp_path):
    """A file of 1 GB with a hole in place of its numbers opens at once; only what is asked for is read."""
    cache = FeatureCache.open(tmp_path, *pair)
    name = FileDigests(tmp_path / "files.jsonl").digest(clips[0])
    size = 1 << 30
    header = f'{{"{name}":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}'.encode()
    with (cache.folder / "0.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    started = time.process_time()
    again = FeatureCache.open(tmp_path, *pair)
    assert clips[0] in again and again.count_frames(clips[0]) == size
    assert time.process_time() - started < 0.5
    assert (cache.folder / "0.safetensors").stat().st_blocks * 512 < size


def test_files_are_not_read_again_to_be_recognised(pair, clips, tmp_path):
    path = Path(shutil.copy(clips[0], tmp_path / "a.mp4"))
    FeatureCache.open(tmp_path / "cache", *pair).fill([path], workers=0)
    state = path.stat()
    path.write_bytes(bytes(state.st_size))  # same size; and the same time, so nothing tells it from before
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path in FeatureCache.open(tmp_path / "cache", *pair)
    os.utime(path)
    assert path not in FeatureCache.open(tmp_path / "cache", *pair)


def test_a_line_that_a_kill_left_unfinished_costs_one_digest(clips, tmp_path):
    memory = tmp_path / "files.jsonl"
    digests = [FileDigests(memory).digest(path) for path in clips[:2]]
    lines = memory.read_bytes()
    memory.write_bytes(lines[: len(lines) - 20])
    again = FileDigests(memory)
    assert [again.digest(path) for path in (*clips[:2], clips[2])][:2] == digests
    assert len([line for line in memory.read_bytes().splitlines() if line.endswith(b"}")]) == 3


def read_elsewhere(cache: FeatureCache, path: Path, results) -> None:
    results.put(cache.get(path)[0].tolist())


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_cache_crosses_to_other_processes_without_the_model(pair, clips, tmp_path, method):
    cache = FeatureCache.open(tmp_path, *pair)
    cache.fill(clips[:1], workers=0)
    expected = cache.get(clips[0])[0]
    there = pickle.loads(pickle.dumps(cache))
    assert torch.equal(there.get(clips[0])[0], expected)
    with pytest.raises(ValueError, match="fill it where it was opened"):
        there.fill(clips[:1])
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    process = context.Process(target=read_elsewhere, args=(cache, clips[0], results))
    process.start()
    assert torch.equal(torch.tensor(results.get()), expected)
    process.join()


FORK = multiprocessing.get_context("fork")  # a fresh process would import torch first


def fill_one_by_one(folder: Path, pair, clips: list[Path], start, finished) -> None:
    start.wait()
    cache = FeatureCache.open(folder, *pair)
    for path in clips:
        assert cache.fill([path], batch_size=1, workers=0, shard_bytes=1) == []
        finished.put(path.name)


@pytest.fixture
def undisturbed(pair, clips):
    def check(folder: Path) -> FeatureCache:
        cache = FeatureCache.open(folder, *pair)
        assert cache.fill(clips, batch_size=1, workers=0) == []
        for path in clips:
            assert torch.equal(cache.get(path)[0], look(*pair, path)[0])
        assert not list(cache.folder.glob("*.damaged"))
        return cache

    return check


def test_a_killed_run_loses_nothing_that_was_finished(pair, clips, tmp_path, undisturbed):
    start, finished = FORK.Barrier(2), FORK.SimpleQueue()
    process = FORK.Process(target=fill_one_by_one, args=(tmp_path, pair, clips, start, finished))
    process.start()
    start.wait()
    assert finished.get() == clips[0].name
    time.sleep(random.random() * 0.05)
    process.kill()
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)
    kept = {path.name for path in tmp_path.glob("*/*.safetensors")}
    count = 1
    while not finished.empty():
        count += finished.get() is not None
    assert len(kept) >= count
    names = {path.name for path in undisturbed(tmp_path).folder.glob("*.safetensors")}
    assert kept <= names and len(names) <= len(clips)  # nothing was computed twice


def test_two_runs_may_fill_a_cache_at_once(pair, clips, tmp_path, undisturbed):
    start, finished = FORK.Barrier(2), FORK.SimpleQueue()
    processes = [FORK.Process(target=fill_one_by_one, args=(tmp_path, pair, clips, start, finished)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert undisturbed(tmp_path).num_clips == len(clips)
