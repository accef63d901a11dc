"""Captioning a data set: every clip once, whatever happens in between."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from corpus.records import Record, RecordError, caption_record, parse_row
from corpus.scenes import sample_scene, write_clip
from evaluation.caption_files import CaptionFileError, read_pairs
from evaluation.generation import caption_records
from modeling.caption_lines import CaptionSettings
from modeling.captioner import load_captioner
from processing.pipeline_kocap import KoCapPipeline

ROOT = Path(__file__).resolve().parent.parent
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
    assert set(rows) == set(IDS)
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
    with pytest.raises(CaptionFileError, match=r"predictions.jsonl line 2: .* write to another place"):
        list(caption_records(captioner, records, path, SETTINGS))
    assert path.read_bytes() == before


def test_the_file_can_be_scored(whole, records, tmp_path):
    path = tmp_path / "val.jsonl"
    path.write_text("".join(json.dumps(record.row()) + "\n" for record in records), encoding="utf-8")
    pairs = read_pairs(whole, path)
    assert list(pairs.predictions) == list(IDS)
    assert pairs.predictions["깨진"] == ""
    assert [note.code for note in pairs.notes] == ["W_NOT_CAPTIONED"]


@pytest.fixture
def small_memory(captioner, monkeypatch) -> list[int]:
    """Makes room for two clips at once; the sizes of all batches tried."""
    generate, tried = captioner.model.generate, []

    def generate_two(**inputs):
        tried.append(len(inputs["input_ids"]))
        if tried[-1] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return generate(**inputs)

    monkeypatch.setattr(captioner.model, "generate", generate_two)
    return tried


def test_batches_shrink_until_they_fit(captioner, records, whole, small_memory, tmp_path, caplog):
    good = [replace(record, id=f"{record.id}-{turn}") for turn in range(3) for record in records if record.id != "깨진"]
    path = tmp_path / "predictions.jsonl"
    with caplog.at_level(logging.WARNING, "modeling"):
        list(caption_records(captioner, good, path, SETTINGS, batch_size=9))
    assert small_memory == [9, 4, 2, 2, 2, 2, 1]
    assert [record.getMessage().split("(")[0] for record in caplog.records] == [
        "out of memory with 9 clips at once; going on with 4 ",
        "out of memory with 4 clips at once; going on with 2 ",
    ]
    undisturbed = read(whole)
    assert {name: row["caption"] for name, row in read(path).items()} == {
        record.id: undisturbed[record.id[0]]["caption"] for record in good
    }


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError("shapes differ")],
    ids=["memory", "other"],
)
def test_what_a_smaller_batch_does_not_mend_is_raised(captioner, records, tmp_path, monkeypatch, error):
    def fail(**inputs):
        raise error

    monkeypatch.setattr(captioner.model, "generate", fail)
    with pytest.raises(type(error), match=str(error)):
        list(caption_records(captioner, records[:1], tmp_path / "predictions.jsonl", SETTINGS, batch_size=2))


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(tmp_path):
    rows = []
    for seed in range(6):
        write_clip(sample_scene(seed), tmp_path / f"{seed}.mp4", height=64, width=64, fps=2)
        rows.append(json.dumps(caption_record(str(seed), f"{seed}.mp4", "바다가 보입니다.").row()))
    data, output = tmp_path / "val.jsonl", tmp_path / "out"
    data.write_text("\n".join(rows), encoding="utf-8")
    path = output / "predictions.jsonl"
    command = [sys.executable, "score.py", "--model", "checkpoints/kocap-tiny", "--data", data, "--output", output]
    command += ["--batch-size", "1", "--frames", "2", "--max-new-tokens", "40"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as run:
        while run.stderr.read(1):  # the progress bar moves with every clip
            if path.exists() and path.read_bytes().count(b"\n") >= 2:
                run.kill()
                break
    first = path.read_bytes()
    first = first[: first.rfind(b"\n") + 1]
    assert 2 <= first.count(b"\n") < 6, "killed in the middle"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(first)
    assert set(read(path)) == set("012345")
    assert "meteor (Kiwi 형태소)" in done.stdout
    assert (output / "report/report.md").is_file()


def test_images_are_refused_before_anything_is_written(captioner, records, tmp_path):
    image = parse_row({"id": "사진", "image": "a.png", "caption": "바다가 보입니다."})
    with pytest.raises(RecordError, match="사진"):
        list(caption_records(captioner, [*records, image], tmp_path / "predictions.jsonl", SETTINGS))
    assert not (tmp_path / "predictions.jsonl").exists()
