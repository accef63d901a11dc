"""prepare.py as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest
from aihub_tree import clip, cut, label, put, put_pair, zip_bytes
from click.testing import Result
from typer.testing import CliRunner

import prepare
from corpus.records import read_records

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(prepare.app, [str(argument) for argument in arguments])


def aihub(root: Path, *more: str) -> Result:
    return run("aihub", root / "받은 것", root / "결과", "--workers", "1", *more)


@pytest.fixture
def download(tmp_path) -> Path:
    """A folder with a download of three clips, and one without a video."""
    for seed, split in enumerate(["train", "train", "val"]):
        put_pair(tmp_path / "받은 것", f"영상{seed}", seed, split)
    put(tmp_path / "받은 것/train/labels/홀로.json", label())
    return tmp_path


def test_aihub_counts_and_goes_on(download):
    done = aihub(download)
    assert done.exit_code == 0 and done.stdout == ""
    assert "학습용(train.jsonl): 2\n검증용(val.jsonl): 1\n제외: 1\n" in done.stderr
    report = download / "결과/report.md"
    assert f"보고서: {report}" in done.stderr and report.is_file()
    assert len(list(read_records(download / "결과/train.jsonl", check_videos=True))) == 2
    again = aihub(download)
    assert again.exit_code == 0
    assert "새로 0개" in report.read_text() and "이전 결과 사용 3개" in report.read_text()


def test_a_missing_source_is_named(tmp_path):
    done = aihub(tmp_path)
    assert done.exit_code == 2 and done.stdout == ""
    assert "SOURCE" in done.stderr
    assert not (tmp_path / "결과").exists()


def test_without_captions_the_keys_are_shown_and_nothing_is_written(tmp_path):
    put(tmp_path / "받은 것/1.json", {"annotation": {"문장": "x"}})
    put(tmp_path / "받은 것/1.mp4", clip(1))
    done = aihub(tmp_path)
    assert done.exit_code == 1 and done.stdout == ""
    assert "--caption-key로 지정해 주세요" in done.stderr
    assert "E_NO_CAPTION_KEY" in done.stderr and "annotation.문장" in done.stderr
    assert not [path for path in (tmp_path / "결과").rglob("*") if path.is_file()]
    assert aihub(tmp_path, "--caption-key", "annotation.문장").exit_code == 0


def test_a_missing_part_of_a_zip_is_named(tmp_path):
    parts = cut(zip_bytes({"1.mp4": clip(1), "1.json": b"{}"}), 3)
    for number in (0, 2):
        put(tmp_path / f"받은 것/TS.zip.part{number}", parts[number])
    done = aihub(tmp_path)
    assert done.exit_code == 1 and done.stdout == ""
    assert "빠진 조각을 다시 내려받아 주세요" in done.stderr
    assert "E_ARCHIVE" in done.stderr and "TS.zip" in done.stderr
    assert not (tmp_path / "결과/extracted").exists()


def test_scenes_go_on_where_they_stopped(tmp_path):
    one = [sys.executable, "prepare.py", "scenes", str(tmp_path), "--count", "1", "--seed", "5", "--workers", "1"]
    done = subprocess.run(one, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == ""
    assert "영상 1개를" in done.stderr and "Traceback" not in done.stderr
    more = run("scenes", tmp_path, "--count", "2", "--seed", "5", "--workers", "1")
    assert more.exit_code == 0 and more.stdout == ""
    assert "영상 1개를" in more.stderr
    records = [
        record for name in ("train", "val") for record in read_records(tmp_path / f"{name}.jsonl", check_videos=True)
    ]
    assert {record.id for record in records} == {"scene-5", "scene-6"}
    assert len(records) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["학습 자료를 만듭니다", "AI-Hub 데이터를 학습 자료로", "그려 낸 장면"]),
        (["aihub", "--help"], ["내려받은 폴더", "--caption-key"]),
        (["scenes", "--help"], ["장면 수", "--count"]),
    ],
)
def test_help_is_korean(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 0
    assert all(word in done.output for word in words)
