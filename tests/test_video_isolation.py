"""Decoding in a process of its own: the same answers, and nothing that happens there harms this process."""

import contextlib
import importlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from video_fixtures import claim_size, damage, make_clip, make_song_with_cover, make_sound, read_bars

from processing import video_isolation_kocap as isolation
from processing.fork_server_kocap import Child
from processing.video_errors_kocap import DecoderCrashedError, VideoError, VideoResourcesError, VideoTimeoutError
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_limits_kocap import Limits
from processing.video_reading_kocap import read_frames
from serving.hub_bundle import flat_code

CLIP = make_clip(20)
MIDDLES = np.arange(20) / 10 + 0.05
PATIENT_S = 20.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def server_pid() -> int:
    """The server's process, started if need be."""
    read_frames_isolated(CLIP, [0.0])
    return isolation._server._process.pid


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def interrupt(number: signal.Signals) -> Callable[[float], list[float]]:
    """Choose times, and do that to the child while it waits for them."""

    def choose(duration_s: float) -> list[float]:
        os.kill(children(isolation._server._process.pid)[-1], number)
        return [0.0]

    return choose


def outcome(read: Callable, source, times_s, **options) -> tuple:
    if hasattr(source, "seek"):
        source.seek(7)
    try:
        frames = read(source, times_s, **options)
    except (ValueError, TypeError) as error:
        return type(error), str(error)
    return (
        frames.data.tobytes(),
        frames.data.shape,
        frames.times_s.tolist(),
        frames.facts,
        frames.mode,
        frames.warnings,
    )


@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize(
    "clip",
    [
        make_clip(20, bframes=2, turn=(90, False, False)),
        make_clip(20, container="webm", codec="libvpx", piped=True),
        make_clip(20, container="avi", codec="mpeg4"),
        damage(CLIP, 30, seed=0),  # read with warnings
        io.BytesIO(CLIP),
        bytearray(CLIP),
    ],
    ids=["turned mp4", "piped webm", "avi", "damaged mp4", "file object", "bytearray"],
)
def test_frames_are_those_of_read_frames(clip, size):
    expected = outcome(read_frames, clip, MIDDLES, size=size)
    assert len(expected) == 6
    assert outcome(read_frames_isolated, clip, MIDDLES, size=size) == expected


def test_paths_and_functions_of_the_duration(tmp_path):
    path = tmp_path / "한옥 'spring'.mp4"
    path.write_bytes(CLIP)
    asked = []
    frames = read_frames_isolated(path, lambda duration_s: asked.append(duration_s) or np.linspace(0.05, 1.95, 20))
    assert asked == [pytest.approx(2.0)]
    assert read_bars(frames.data) == list(range(20))
    with pytest.raises(ZeroDivisionError):
        read_frames_isolated(path, lambda duration_s: [duration_s / 0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video" * 99,
        CLIP[: len(CLIP) // 4],
        make_clip(20, gop=5, muxer={"movflags": "frag_keyframe+empty_moov"})[:-900],
        make_sound("mp3", "libmp3lame"),
        make_song_with_cover(),
        b"#EXTM3U\nhttp://127.0.0.1/a.ts\n",
        claim_size(CLIP, 9000, 9000),
        damage(CLIP, 3000, seed=0),
    ],
    ids=["empty", "text", "no moov", "cut", "sound", "cover", "playlist", "large", "damaged"],
)
def test_errors_pass_as_they_are(content, tmp_path):
    path = tmp_path / "영상.mp4"
    path.write_bytes(content)
    for source in (content, path, str(path), io.BytesIO(content)):
        assert outcome(read_frames_isolated, source, [0.0]) == outcome(read_frames, source, [0.0])


def test_refused_before_anything_runs(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path, tmp_path / "pipe", tmp_path / "missing.mp4", "http://127.0.0.1/a.mp4", 3, None):
        assert outcome(read_frames_isolated, source, [0.0]) == outcome(read_frames, source, [0.0])


@pytest.mark.parametrize("times_s", [[], [1.0, 0.0], [np.nan], [[0.0]], [np.inf]])
def test_mistakes_in_times_are_value_errors(times_s):
    kind, message = outcome(read_frames, CLIP, times_s)
    assert kind is ValueError
    assert outcome(read_frames_isolated, CLIP, times_s) == (kind, message)
    assert outcome(read_frames_isolated, CLIP, lambda _: times_s) == (kind, message)


def test_other_mistakes_are_value_errors():
    for options in ({"size": 0}, {"mode": "fastest"}):
        kind, message = outcome(read_frames, CLIP, [0.0], **options)
        assert kind is ValueError
        assert outcome(read_frames_isolated, CLIP, [0.0], **options) == (kind, message)
    with pytest.raises(ValueError, match="memory_bytes is 0"):
        read_frames_isolated(CLIP, [0.0], memory_bytes=0)


def test_limits_reach_the_child():
    for limits in (Limits(max_pixels=100), Limits(max_bytes=100), Limits(max_frames=1)):
        expected = outcome(read_frames, CLIP, [0.0, 1.0], limits=limits)
        assert issubclass(expected[0], ValueError)
        assert outcome(read_frames_isolated, CLIP, [0.0, 1.0], limits=limits) == expected


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL])
def test_a_crash_is_an_error_and_the_next_video_is_fine(number):
    pid = server_pid()
    with pytest.raises(DecoderCrashedError, match=number.name) as caught:
        read_frames_isolated(CLIP, interrupt(number))
    assert caught.value.code == "E_DECODER_CRASHED"
    assert len(read_frames_isolated(CLIP, MIDDLES)) == 20
    assert server_pid() == pid


def test_a_hanging_child_is_ended_in_time():
    pid = server_pid()
    began = time.monotonic()
    with pytest.raises(VideoTimeoutError, match=r"longer than 0\.5 s"):
        read_frames_isolated(CLIP, interrupt(signal.SIGSTOP), limits=Limits(max_seconds=0.5))
    assert time.monotonic() - began < 10
    wait_until(lambda: children(pid) == [])


def test_a_reading_that_nobody_waits_for_ends_at_once():
    pid = server_pid()
    cancelled = threading.Event()

    def choose(duration_s: float) -> list[float]:
        interrupt(signal.SIGSTOP)(duration_s)
        threading.Timer(0.2, cancelled.set).start()
        return [0.0]

    with pytest.raises(CancelledError):
        read_frames_isolated(CLIP, choose, limits=Limits(max_seconds=600), cancelled=cancelled)
    wait_until(lambda: children(pid) == [])
    with pytest.raises(CancelledError):
        read_frames_isolated(CLIP, [0.0], cancelled=cancelled)


def test_what_libraries_print_about_a_file_reaches_no_log(flat_room, capfd):
    (flat_room / "chatty.py").write_text("import os\ndef work(data, file):\n    os.write(2, b'the user said')\n")
    server = importlib.import_module("flat_room.fork_server_kocap").ForkServer("chatty")
    with open("/etc/hosts") as file, server.child(file.fileno()) as child:
        assert child.exit_code() == 0
    server.close()
    assert "the user said" not in capfd.readouterr().err


def test_too_much_processor_time_is_a_crash():
    long_clip = make_clip([np.zeros((1080, 1920, 3), np.uint8)], container="mjpeg", codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(DecoderCrashedError, match="more than 1 s of processor time"):
        read_frames_isolated(long_clip * 1000, np.arange(1000) / 25, size=32, mode="exact", cpu_s=1)


def test_too_much_memory_is_told_as_such():
    large = make_clip([np.zeros((720, 1280, 3), np.uint8)] * 2)
    times_s = np.zeros(300)  # 0.8 GB
    with pytest.raises(VideoResourcesError, match="raise memory_bytes"):
        read_frames_isolated(large, times_s, memory_bytes=500 << 20)
    assert len(read_frames_isolated(large, times_s[:3], memory_bytes=500 << 20)) == 3


def test_threads_do_not_disturb_each_other():
    clips = [make_clip(number) for number in range(3, 11)]

    def read(task: int) -> None:
        clip = clips[task % 8]
        if task % 5 == 4:
            with pytest.raises(VideoError, match="E_NOT_VIDEO"):
                read_frames_isolated(clip[::-1], [0.0])
        else:
            frames = read_frames_isolated(clip, lambda duration_s: [duration_s])
            assert read_bars(frames.data) == [task % 8 + 2]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(64))) == [None] * 64


def test_a_killed_server_is_replaced():
    first = server_pid()
    os.kill(first, signal.SIGKILL)
    second = server_pid()
    assert second != first
    killed = []

    def kill_once(duration_s: float) -> list[float]:
        if not killed:
            killed.append(isolation._server._process.pid)
            child = children(killed[0])[-1]
            os.kill(killed[0], signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
        return [0.0]

    assert len(read_frames_isolated(CLIP, kill_once)) == 1
    assert killed == [second]
    assert server_pid() != second


def test_nothing_is_left_behind():
    pid = server_pid()

    def count() -> np.ndarray:
        return np.array([len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{pid}/fd"))])

    wait_until(lambda: children(pid) == [])
    before = count()
    for i in range(200):
        source = (CLIP, b"no video" * 99, CLIP[:500])[i % 3]
        times_s = interrupt(signal.SIGSEGV) if i % 20 == 0 else [0.0]
        with contextlib.suppress(VideoError):
            read_frames_isolated(source, times_s)
    wait_until(lambda: children(pid) == [])  # not even zombies
    wait_until(lambda: (count() <= before).all())
    assert server_pid() == pid


LIES = {
    "no JSON": b"hello",
    "a list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "no shape": b"{}",
    "a negative shape": b'{"shape": [-1, -1, 3]}',
    "a huge shape": b'{"shape": [1000000, 1000000, 1000000]}',
    "an infinite shape": b'{"shape": [1e999, 1, 1]}',
    "unknown facts": b'{"shape": [1, 1, 1], "facts": {"evil": 1}, "warnings": []}',
    "warnings of a wrong kind": b'{"shape": [1, 1, 1], "facts": null, "warnings": 3}',
    "an unknown error": b'{"error": "SystemExit", "message": "bye"}',
    "an error of a wrong kind": b'{"error": [[]], "message": {}}',
    "a duration of a wrong kind": b'{"duration_s": "long"}',
    "an long_clip duration": b'{"duration_s": 1e999}',
}


@contextlib.contextmanager
def liar(words: bytes) -> Iterator[Child]:
    """A child that says this, whatever it is asked, and dies."""
    (data, childs), (report, servers) = socket.socketpair(), socket.socketpair()
    with data, report, servers, childs:
        childs.sendall(words)
        childs.shutdown(socket.SHUT_WR)
        servers.sendall(struct.pack("!i", -9))
        yield Child(data, report)


@pytest.mark.parametrize("lie", LIES)
def test_no_answer_harms_the_parent(lie):
    limits = asdict(Limits(max_seconds=5))
    request = {"times_s": None, "size": None, "mode": "auto", "limits": limits, "memory_bytes": 1 << 30, "cpu_s": 1}
    for words in (struct.pack("!I", len(LIES[lie])) + LIES[lie], b"\xff\xff\xff\xff" + LIES[lie], LIES[lie][:3]):
        with liar(words) as child, pytest.raises(DecoderCrashedError):
            isolation._Conversation(child, "<test>", request, threading.Event()).frames(lambda duration_s: [duration_s])


NOSY = """
import os, socket
from .fork_server_kocap import give_up_rights, resource

def work(data, file):
    give_up_rights(max_seconds=60, cpu_s=60, memory_bytes=1 << 30)
    def allowed(deed):
        try:
            deed()
        except (OSError, ValueError, MemoryError):
            return "no"
        return "yes"
    deeds = [
        lambda: file.read(1), lambda: open("/etc/hosts"), lambda: open("/tmp/new", "w"), socket.socket, os.pipe,
        lambda: bytearray(2 << 30), lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
    ]
    if os.getuid() == 0:
        del deeds[-1]  # root may
    data.sendall(" ".join(map(allowed, deeds)).encode())
    os._exit(7)
"""


@pytest.fixture
def flat_room(tmp_path, monkeypatch) -> Iterator[Path]:
    """The files of the Hub in one folder, as package `flat_room`."""
    room = tmp_path / "flat_room"
    room.mkdir()
    (room / "__init__.py").write_text("raise_if_run = 1\n")
    for name, code in flat_code().items():
        (room / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield room
    for name in [name for name in sys.modules if name.startswith("flat_room")]:
        del sys.modules[name]


def test_a_child_can_open_nothing(flat_room):
    (flat_room / "nosy.py").write_text(NOSY)
    server = importlib.import_module("flat_room.fork_server_kocap").ForkServer("nosy")
    with open("/etc/hosts") as file, server.child(file.fileno()) as child:
        answers = b"".join(iter(lambda: child.data.recv(99), b"")).decode().split()
        assert child.exit_code() == 7
    server.close()
    assert answers == ["yes"] + ["no"] * (len(answers) - 1)


def run_elsewhere(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run code in a process without `__main__.__file__` where this project cannot be imported."""
    search = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    root = Path(__file__).parents[1]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(folder), *(part for part in search if Path(part).resolve() != root)]),
        "HF_MODULES_CACHE": str(folder / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    arguments = (sys.executable, "-P", "-c", code, *arguments)
    return subprocess.run(arguments, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_it_works_as_remote_code_and_its_server_stays_small(flat_room, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(CLIP)
    script = """
import importlib.util, json, sys
assert importlib.util.find_spec("processing") is None
from transformers.dynamic_module_utils import get_class_from_dynamic_module
read = get_class_from_dynamic_module("video_isolation_kocap.read_frames_isolated", sys.argv[1])
frames = read("clip.mp4", lambda duration_s: [0.0, duration_s])
pid = sys.modules[read.__module__]._server._process.pid
rows = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
print(json.dumps([read.__module__, len(frames), rows["VmRSS"].split()[0], open(f"/proc/{pid}/maps").read()]))
"""
    done = run_elsewhere(script, tmp_path, str(flat_room))
    assert done.returncode == 0, done.stderr
    module, num_frames, resident_kb, maps = json.loads(done.stdout)
    assert module.startswith("transformers_modules.")
    assert num_frames == 2
    assert int(resident_kb) < 120_000
    assert "libtorch" not in maps


def test_it_ends_with_its_parent_and_forked_parents_get_their_own(flat_room, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(CLIP)
    script = """
import os, signal
from flat_room import video_isolation_kocap as isolation
read = lambda: len(isolation.read_frames_isolated("clip.mp4", [0.0, 1.0])) and isolation._server._process.pid
first = read()
pid = os.fork()
if pid == 0:
    os._exit(0 if read() not in (first, None) and isolation._server.close() is None else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert read() == first
print(first, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_elsewhere(script, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: not is_running(int(done.stdout)))
