"""caption.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.scenes import sample_scene, write_clip

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("영상 모음")
    good, text, empty = folder / "바닷가 'ㄱ'.mp4", folder / "글.mp4", folder / "빈.mp4"
    write_clip(sample_scene(1), good, height=90, width=160, fps=5)
    text.write_text("영상이 아닙니다")
    empty.touch()
    return {"good": good, "text": text, "empty": empty, "missing": folder / "없음.mp4", "folder": folder}


def run_caption(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "caption.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_json_lines_for_good_and_bad_files(files):
    names = ("good", "text", "empty", "missing", "folder")
    done = run_caption(*(files[name] for name in names), "--json", "--frames", "4", "--max-new-tokens", "200")
    assert done.returncode == 1
    records = dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))
    good = records["good"]
    assert good["file"] == str(files["good"])
    assert good["caption"].endswith("니다.")
    assert good["model"] == "kocap-tiny"
    assert good["revision"].startswith("sha256:")
    assert len(good["frame_times_s"]) == 4
    assert good["settings"]["num_frames"] == 4
    codes = [records[name]["error"]["code"] for name in names[1:]]
    assert codes == ["E_NOT_VIDEO", "E_EMPTY", "E_NOT_FOUND", "E_NOT_FILE"]
    assert "파일이 비어 있습니다" in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_caption_and_nothing_else_on_stdout(files):
    done = run_caption(files["good"])
    assert done.returncode == 0
    assert len(done.stdout.strip().splitlines()) == 1
    assert done.stdout.strip().endswith("니다.")


def test_a_missing_model_is_named(files):
    done = run_caption(files["good"], "--model", files["folder"] / "no-model")
    assert done.returncode == 2
    assert "no-model" in done.stderr
    assert "Traceback" not in done.stderr
