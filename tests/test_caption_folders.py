"""caption.py over folders as a user runs it: at full speed, killed, interrupted."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from test_caption import run_caption
from video_fixtures import make_clip

from corpus.scenes import sample_scene, write_clip
from modeling.caption_lines import CaptionSettings, caption_videos
from modeling.captioner import describe_captioner, load_captioner
from modeling.clip_reading import Clip

ROOT = Path(__file__).resolve().parent.parent
END_S = 30  # for processes that are to end by themselves; reached only where a test fails
SHORT = ("--frames", "2", "--max-new-tokens", "40")


def make_clips(folder: Path, count: int) -> list[str]:
    """Clips `0.mp4`, `1.mp4`, ..., and `깨진.mp4`, which is none; their names."""
    folder.mkdir()
    for seed in range(count):
        write_clip(sample_scene(seed), folder / f"{seed}.mp4", height=64, width=64, fps=2)
    (folder / "깨진.mp4").write_text("영상이 아닙니다")
    return sorted(path.name for path in folder.iterdir())


def read(path: Path) -> dict[str, dict]:
    """Lines by the name of their clip; every clip has one."""
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    by_name = {Path(row["file"]).name: row for row in rows}
    assert len(by_name) == len(rows), "a clip was captioned twice"
    return by_name


def test_a_folder_goes_into_a_file_in_it(tmp_path):
    folder = tmp_path / "영상"
    names = make_clips(folder, 2)
    (folder / "메모.txt").write_text("메모")
    (folder / "밖.mp4").symlink_to(ROOT / "docs/media/clip.mp4")
    path = folder / "captions.jsonl"
    done = run_caption(folder, "--out", path, *SHORT, "--subtitles", "vtt")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    rows = read(path)
    assert sorted(rows) == names
    assert rows["깨진.mp4"]["error"]["code"] == "E_NOT_VIDEO"
    good = rows["1.mp4"]
    assert good["caption"] and good["model"] == "kocap-tiny" and good["revision"].startswith("sha256:")
    assert good["settings"]["num_frames"] == len(good["frame_times_s"]) == 2
    assert good["duration_s"] > max(good["frame_times_s"])
    assert sorted(file.name for file in folder.glob("*.vtt")) == ["0.ko.vtt", "1.ko.vtt"]
    assert re.search(r"3/3 \[\d\d:\d\d<\d\d:\d\d, .*clip/s\]", done.stderr), "progress, speed and time left"
    assert "설명 2개, 실패 1개" in done.stderr and "E_NOT_VIDEO 1개" in done.stderr
    assert "밖.mp4: [W_LINK]" in done.stderr
    assert "다른 파일 1개" in done.stderr


def test_clips_read_ahead_in_batches_give_what_each_alone_gives(tmp_path):
    make_clips(tmp_path / "clips", 5)
    (tmp_path / "clips/짧은.mp4").write_bytes(make_clip(3))
    pipe = load_captioner()
    pipe.processor.video_processor.fps = 1.0  # looks longer at longer clips
    job = (pipe, [Clip(str(path)) for path in sorted((tmp_path / "clips").iterdir())])
    job += (CaptionSettings(max_new_tokens=20, do_sample=False), describe_captioner(pipe))
    alone = [captioned.line for captioned in caption_videos(*job)]
    ahead = [captioned.line for captioned in caption_videos(*job, batch_size=3, workers=2)]
    assert sorted(ahead, key=lambda line: line["file"]) == alone
    assert len({len(line["frame_times_s"]) for line in alone if "caption" in line}) > 1, "clips of different lengths"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--out", "captions.jsonl"], "영상 파일이 없습니다"), (["--subtitles", "srt"], "--out")],
    ids=["no clips", "no output"],
)
def test_what_cannot_begin_says_so_at_once(tmp_path, arguments, told):
    done = run_caption(tmp_path, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (ROOT / "captions.jsonl").exists()


def start_until(command: list, path: Path, num_lines: int, **options) -> subprocess.Popen:
    """A run that has written that many lines."""
    options |= {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's `&` has it ignored
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    while run.stderr.read(1):  # the progress bar moves with every line
        if path.exists() and path.read_bytes().count(b"\n") >= num_lines:
            return run
    raise AssertionError(f"ended with {run.wait()} and {path.read_bytes()!r}")


@pytest.mark.slow
def test_kills_and_interrupts_lose_nothing_and_repeat_nothing(tmp_path):
    folder, path, kept = tmp_path / "clips", tmp_path / "captions.jsonl", b""
    names = make_clips(folder, 13)
    command = [sys.executable, "caption.py", folder, "--out", path, "--batch-size", "2", *SHORT, "--subtitles", "srt"]
    for num_lines, how, code in ((1, signal.SIGKILL, -9), (5, signal.SIGINT, 130), (8, signal.SIGKILL, -9)):
        with start_until(command, path, num_lines) as run:
            others = psutil.Process(run.pid).children(recursive=True)
            run.send_signal(how)
            assert "Traceback" not in run.stderr.read().decode()
        assert run.returncode == code
        assert not psutil.wait_procs(others, timeout=END_S)[1], "processes were left behind"
        lines = path.read_bytes()
        assert lines.startswith(kept), "a finished line has changed"
        kept = lines[: lines.rfind(b"\n") + 1]
        assert num_lines <= kept.count(b"\n") < len(names), "stopped in the middle"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert path.read_bytes().startswith(kept)
    assert sorted(read(path)) == names
    assert len(list(folder.glob("*.ko.srt"))) == 13
