"""Captioning a data set: every clip once, whatever happens in between."""

import json
from pathlib import Path

import pytest

from corpus.records import Record, caption_record
from corpus.scenes import sample_scene, write_clip
from evaluation.caption_files import CaptionFileError, read_pairs
from evaluation.generation import caption_records
from modeling.caption_lines import CaptionSettings
from modeling.captioner import load_captioner
from processing.pipeline_kocap import KoCapPipeline

SETTINGS = CaptionSettings(num_frames=2, max_new_tokens=12, do_sample=False)
IDS = ("가", "깨진", "나", "다")


@pytest.fixture(scope="module")
def captioner() -> KoCapPipeline:
    return load_captioner()


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record]:
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(IDS):
        write_clip(sample_scene(seed), folder / f"{name}.mp4", height=64, width=64, fps=2)
    (folder / "깨진.mp4").write_bytes(b"no video")
    return [caption_record(name, str(folder / f"{name}.mp4"), "바다가 보입니다.") for name in IDS]


@pytest.fixture(scope="module")
def whole(captioner, records, tmp_path_factory) -> Path:
    """What one undisturbed run writes."""
    path = tmp_path_factory.mktemp("whole") / "predictions.jsonl"
    list(caption_records(captioner, records, path, SETTINGS, batch_size=3))
    return path


def read(path: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows), "a clip was captioned twice"
    return {row["id"]: row for row in rows}


def test_every_clip_gets_a_line_and_a_broken_one_its_error(whole):
    rows = read(whole)
    assert tuple(rows) == IDS
    assert rows["깨진"]["error"]["code"] == "E_NOT_VIDEO"
    good = rows["나"]
    assert good["caption"]
    assert good["model"] == "kocap-tiny" and good["revision"].startswith("sha256:")
    assert good["settings"]["num_frames"] == len(good["frame_times_s"]) == 2


@pytest.mark.parametrize("kept_bytes", [0, 1, -1, -40], ids=["nothing", "a byte", "no newline", "half a line"])
def test_a_killed_run_goes_on_to_the_same_file(captioner, records, whole, tmp_path, kept_bytes):
    path = tmp_path / "predictions.jsonl"
    first_two = b"".join(whole.read_bytes().splitlines(keepends=True)[:2])
    path.write_bytes(first_two[:kept_bytes])
    list(caption_records(captioner, records, path, SETTINGS, batch_size=3))
    assert read(path) == read(whole)


def test_a_finished_run_captions_nothing(captioner, records, whole):
    before = whole.read_bytes()
    assert list(caption_records(captioner, records, whole, SETTINGS)) == []
    assert whole.read_bytes() == before


def test_lines_are_on_disk_before_the_next_batch(captioner, records, tmp_path):
    path = tmp_path / "predictions.jsonl"
    run = caption_records(captioner, records, path, SETTINGS, batch_size=1)
    next(run)
    assert tuple(read(path)) == IDS[:1]


@pytest.mark.parametrize(
    "change",
    [{"revision": "sha256:0"}, {"model": "other"}, {"settings": {}}, {"id": None}],
    ids=lambda c: next(iter(c)),
)
def test_captions_of_another_run_are_not_mixed(captioner, records, whole, tmp_path, change):
    path = tmp_path / "predictions.jsonl"
    first, *_ = whole.read_text("utf-8").splitlines()
    row = {name: value for name, value in (json.loads(first) | change).items() if value is not None}
    path.write_text(first + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(CaptionFileError, match=r"predictions.jsonl line 2: .* choose another folder"):
        list(caption_records(captioner, records, path, SETTINGS))
    assert path.read_bytes() == before


def test_the_file_can_be_scored(whole, records, tmp_path):
    path = tmp_path / "val.jsonl"
    path.write_text("".join(json.dumps(record.row()) + "\n" for record in records), encoding="utf-8")
    pairs = read_pairs(whole, path)
    assert list(pairs.predictions) == list(IDS)
    assert pairs.predictions["깨진"] == ""
    assert [note.code for note in pairs.notes] == ["W_NOT_CAPTIONED"]
