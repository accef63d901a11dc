"""Disks that take no more: one coded error that names the folder, and nothing that was finished is lost."""

import json
from pathlib import Path

import pytest
from aihub_tree import clip, label, put, put_pair, zip_bytes
from record_files import records_of, write_clips
from small_models import small_pair

from corpus.aihub_conversion import AihubSettings, convert
from corpus.clip_probing import probe_clips
from corpus.records import RecordWriter, caption_record, read_records
from corpus.report_pages import write_whole
from modeling.caption_lines import CaptionLine
from modeling.caption_runs import caption_missing
from modeling.clip_reading import Clip
from serving.hub_bundle import bundle
from training.feature_shards import FeatureShards

resource = pytest.importorskip("resource", reason="limits the size of files")
from small_disks import small_files  # noqa: E402
from torch import zeros  # noqa: E402

MADE_BY = {"model": "m", "revision": None, "settings": {}}


def assert_names(error: OSError, place: Path) -> None:
    """The error is E_DISK, in both languages, of that place, and blames no archive."""
    assert getattr(error, "code", None) == "E_DISK", repr(error)
    for told in (str(error), error.message_ko):
        assert str(place) in told, told
    assert "still there" in str(error) and "그대로 있습니다" in error.message_ko
    assert "손상" not in error.message_ko


def test_captions_go_on_where_the_disk_was_full(tmp_path):
    clips = [Clip(f"{number}.mp4") for number in range(6)]
    path = tmp_path / "captions.jsonl"

    def caption(left):
        return (CaptionLine({**one.names(), "caption": "바다 " * 20, **MADE_BY}) for one in left)

    def run() -> list[str]:
        return [captioned.line["file"] for captioned in caption_missing(clips, path, MADE_BY, caption)]

    with small_files(700), pytest.raises(OSError) as caught:
        run()
    assert_names(caught.value, path)
    there = [json.loads(line)["file"] for line in path.read_bytes().splitlines()[:-1]]
    assert 0 < len(there) < len(clips)
    assert run() == [one.path for one in clips if one.path not in there]
    assert [json.loads(line)["file"] for line in path.read_bytes().splitlines()] == [one.path for one in clips]


def test_records_and_probes_and_whole_files(tmp_path):
    path = tmp_path / "train.jsonl"
    with small_files(300), pytest.raises(OSError) as caught, RecordWriter(path) as writer:
        for number in range(9):
            writer.write(caption_record(str(number), "a.mp4", "파도가 밀려옵니다."))
    assert_names(caught.value, path)
    with RecordWriter(path) as writer:
        assert 0 < len(writer.written) < 9
        writer.write(caption_record("9", "a.mp4", "파도가 밀려옵니다."))
    assert [record.id for record in read_records(path)][-1] == "9"
    video, cache = put(tmp_path / "1.mp4", clip(1)), tmp_path / "probes.jsonl"
    with small_files(50), pytest.raises(OSError) as caught:
        list(probe_clips([str(video)], cache, workers=1))
    assert_names(caught.value, cache)
    page = tmp_path / "report.md"
    write_whole(page, b"before")
    with small_files(50), pytest.raises(OSError) as caught:
        write_whole(page, b"x" * 100)
    assert_names(caught.value, page)
    assert page.read_bytes() == b"before"


def test_an_archive_is_not_blamed_for_the_disk(tmp_path):
    video = clip(1)
    put(tmp_path / "in" / "TS.zip", zip_bytes({"1.mp4": video, "1.json": json.dumps(label()).encode()}))
    settings = AihubSettings(tmp_path / "in", tmp_path / "out", workers=1)
    with small_files(len(video) // 2), pytest.raises(OSError) as caught:
        convert(settings)
    assert_names(caught.value, tmp_path / "out/extracted/TS")
    assert f"{len(video)} B" in str(caught.value), "what was needed"
    assert not list((tmp_path / "out").rglob("*.mp4*"))
    assert convert(settings).counts["train"] == 1


def test_a_record_is_not_rejected_for_the_disk(tmp_path):
    put_pair(tmp_path / "in", "1", 1)
    settings = AihubSettings(tmp_path / "in", tmp_path / "out", workers=1, link=False)
    (tmp_path / "out").mkdir()
    list(probe_clips([str(tmp_path / "in/train/videos/1.mp4")], tmp_path / "out/probes.jsonl", workers=1))
    with small_files(1000), pytest.raises(OSError) as caught:
        convert(settings)
    assert_names(caught.value, tmp_path / "out/videos/train/videos")
    assert convert(settings).counts["train"] == 1


def test_features_and_bundles(tiny_checkpoint, tmp_path):
    shards = FeatureShards(tmp_path / "features")
    shards.write({"a": zeros(10)})
    with small_files(1000), pytest.raises(OSError) as caught:
        shards.write({"b": zeros(1000)})
    assert_names(caught.value, tmp_path / "features")
    assert "4000 B" in str(caught.value), "what was needed"
    assert "a" in FeatureShards(tmp_path / "features") and not list((tmp_path / "features").glob("*.part"))
    with small_files(10_000), pytest.raises(OSError) as caught:
        bundle(tiny_checkpoint, tmp_path / "hub" / "bundle")
    assert_names(caught.value, tmp_path / "hub")
    assert not list((tmp_path / "hub").iterdir())


@pytest.mark.slow
def test_a_run_goes_on_from_its_last_whole_checkpoint(tmp_path):
    import train

    model, processor = small_pair()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    rows = [json.dumps(record.row(), ensure_ascii=False) + "\n" for record in records_of(write_clips(tmp_path, 4))]
    (tmp_path / "train.jsonl").write_text("".join(rows), encoding="utf-8")
    stage = tmp_path / "out" / "align"
    told = ["--model", tmp_path / "model", "--data", tmp_path / "train.jsonl", "--output", tmp_path / "out"]
    told += ["--stage", "align", "--watch_every", "0", "--save_steps", "2", "--per_device_train_batch_size", "1"]
    told = [*map(str, told), "--gradient_accumulation_steps", "1"]
    assert train.main([*told, "--max_steps", "2"]) == 0
    (stage / "finished.json").unlink()
    longer = [*told, "--max_steps", "4", "--resume", "auto"]
    with small_files(4000), pytest.raises(OSError) as caught:
        train.main(longer)
    assert_names(caught.value, stage)
    assert [path.name for path in stage.glob("checkpoint-*")] == ["checkpoint-2"]
    assert train.main(longer) == 0
    assert (stage / "checkpoint-4" / "complete.json").is_file()
