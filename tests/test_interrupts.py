"""Ctrl-C wherever it comes: no traceback of any process, exit code 130, and what is trained is saved."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from record_files import records_of, write_clips
from small_models import small_pair

from training.checkpoints import missing_files, step_of

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = dict.fromkeys(("caption.py", "prepare.py", "publish.py", "score.py", "serve.py"), "| typer\n")
SCRIPTS |= {"app.py": " numpy\n", "train.py": " numpy\n"}  # what each has imported when Ctrl-C comes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process group")]


def interrupt(seen: str, *command: str | Path, times: int = 1) -> tuple[int, str]:
    """Press Ctrl-C when a script has said something so many times; exit code, and all that it said.

    `-X importtime` makes Python, also in processes that it spawns, say what has just been imported.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "bufsize": 1}
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    lines, left = [], times
    with subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=ROOT, env=env, start_new_session=True, **pipes
    ) as run:
        for line in run.stdout:
            lines.append(line)
            left -= seen in line
            if not left:
                os.killpg(run.pid, signal.SIGINT)
                left = -1
    assert left < 0, "".join(lines)[-3000:]
    return run.returncode, "".join(line for line in lines if not line.startswith("import time:"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_while_a_script_imports(script):
    code, said = interrupt(SCRIPTS[script], "-X", "importtime", script)
    assert "Traceback" not in said and "중단했습니다" in said, said
    assert code == 130, said


def test_while_a_spawned_process_of_scenes_imports(tmp_path):
    command = ("-X", "importtime", "prepare.py", "scenes", tmp_path, "--count", "8", "--workers", "2")
    code, said = interrupt("| typer\n", *command, times=2)
    assert "Traceback" not in said and "이어서" in said, said
    assert code == 130, said


def test_while_scenes_are_drawn(tmp_path):
    code, said = interrupt("1/40", "prepare.py", "scenes", tmp_path, "--count", "40", "--workers", "2")
    assert "Traceback" not in said and "이어서" in said, said
    assert code == 130, said
    assert 0 < len(list((tmp_path / "videos").glob("*.mp4"))) < 40


def test_while_the_engine_of_the_server_starts(tiny_checkpoint):
    command = ("-X", "importtime", "serve.py", "--model", tiny_checkpoint, "--port", "0")
    code, said = interrupt("| typer\n", *command, times=2)
    assert "Traceback" not in said and "중단했습니다" in said, said
    assert code == 130, said


def test_training_saves_as_at_sigterm(tmp_path):
    model, processor = small_pair()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    rows = [str(record.row()).replace("'", '"') + "\n" for record in records_of(write_clips(tmp_path, 4))]
    (tmp_path / "train.jsonl").write_text("".join(rows), encoding="utf-8")
    told = ["--model", tmp_path / "model", "--data", tmp_path / "train.jsonl", "--output", tmp_path / "out"]
    steps = ["--max_steps", "500", "--logging_steps", "1", "--save_steps", "1000", "--watch_every", "0"]
    small = ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "1"]
    code, said = interrupt("'loss'", "train.py", *told, *steps, *small)
    assert "Traceback" not in said and "--resume auto" in said, said[-3000:]
    assert code == 143, said[-3000:]
    (checkpoint,) = (tmp_path / "out" / "align").glob("checkpoint-*")
    assert not missing_files(checkpoint) and 0 < step_of(checkpoint) < 500
