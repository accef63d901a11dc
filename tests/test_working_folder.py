"""The demo's temporary folder is its own, whoever was on the machine first, and does not stay behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
HOLD = "import demo.working_folder as w; print(w.WORKING_FOLDER, flush=True); (w.WORKING_FOLDER / 'a').write_text('a')"


def start(parent: Path, code: str) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"} | {"TMPDIR": str(parent)}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen) -> Path:
    assert process.stdout
    return Path(process.stdout.readline().strip())


def test_it_is_gone_when_the_process_ends(tmp_path):
    process = start(tmp_path, HOLD)
    folder = first_line(process)
    assert folder.parent == tmp_path and process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_demo_left_goes_when_the_next_one_starts_and_nothing_else_does(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "kocap-demo-link").symlink_to(precious)
    (tmp_path / "kocap-demo-file").write_text("a")
    killed, running = (start(tmp_path, f"{HOLD}; input()") for _ in range(2))
    left, held = first_line(killed), first_line(running)
    killed.kill()
    killed.wait(60)
    assert left.is_dir()
    assert start(tmp_path, HOLD).wait(60) == 0
    assert not left.exists() and (held / "a").exists() and precious.is_dir()
    running.communicate("\n", timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "kocap-demo-link", "kocap-demo-file"}


@pytest.mark.slow
def test_the_demo_starts_where_another_user_was_first(tmp_path):
    for name in ("gradio", "kocap-examples"):
        (tmp_path / name).write_text("somebody else's")  # as good as a folder that one may not write into
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"TMPDIR": str(tmp_path), "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": ""}
    demo = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 240
        while not _answers(f"http://127.0.0.1:{port}/"):
            assert demo.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        assert list(tmp_path.glob("kocap-demo-*/examples/*.mp4"))
    finally:
        _interrupt(demo)
    assert not list(tmp_path.glob("kocap-demo-*"))


def _interrupt(demo: subprocess.Popen) -> None:
    """Ctrl-C, again where Python has lost it: what is raised within a finalizer is ignored."""
    for _ in range(10):
        demo.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            demo.wait(10)
            return


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
