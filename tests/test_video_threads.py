"""Threads and memory of one clip are bounded whatever the machine shows, and running out of them is told as such."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from video_fixtures import make_clip

from processing.video_errors_kocap import VideoError, VideoResourcesError
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_reading_kocap import read_frames
from processing.video_threads_kocap import MAX_THREADS, THREAD_BYTES, decoding_threads, usable_cores

ROOT = Path(__file__).parents[1]
UHD, UHD_2 = (2160, 3840), (4320, 7680)


def large(size: tuple[int, int], codec: str, count: int = 16) -> bytes:
    """A clip of flat pictures, all shades different."""
    pictures = [np.full((*size, 3), 40 + 8 * i, np.uint8) for i in range(count)]
    return make_clip(pictures, codec=codec, container="mp4", gop=12)


def cgroup(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs affinity")
def test_cores_are_those_of_affinity_and_of_processor_quotas(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)))
    membership = tmp_path / "membership"
    assert usable_cores(tmp_path, membership) == 48  # not Linux, or no /proc

    membership.write_text("0::/pod/box\n")
    cgroup(tmp_path / "pod/box", cpu_max="max 100000\n")
    assert usable_cores(tmp_path, membership) == 48
    cgroup(tmp_path / "pod", cpu_max="350000 100000\n")  # an outer group binds, too
    assert usable_cores(tmp_path, membership) == 4
    cgroup(tmp_path / "pod/box", cpu_max="20000 100000\n")
    assert usable_cores(tmp_path, membership) == 1

    membership.write_text("4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n")  # version 1
    cgroup(tmp_path / "cpu,cpuacct", cpu_cfs_quota_us="-1\n", cpu_cfs_period_us="100000\n")
    assert usable_cores(tmp_path, membership) == 48
    cgroup(tmp_path / "cpu,cpuacct", cpu_cfs_quota_us="600000\n", cpu_cfs_period_us="100000\n")
    assert usable_cores(tmp_path, membership) == 6  # the host's path of the group is not seen from within a container


def test_threads_are_few_where_pictures_are_large():
    for picture_bytes in (10_000, 3_000_000, 12_000_000, 50_000_000, 400_000_000):
        for decoders in (1, 2, 16):
            threads = decoding_threads(picture_bytes, most=MAX_THREADS, decoders=decoders)
            assert 1 <= threads <= MAX_THREADS
            assert threads == 1 or threads * decoders <= MAX_THREADS
            assert threads == 1 or threads * decoders * picture_bytes <= THREAD_BYTES
    assert decoding_threads(3_000_000, most=2) == 2  # 1080p on two cores


FAKE_CORES = """
#define _GNU_SOURCE
#include <sched.h>
int sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *cores) {
    for (size_t i = 0; i < bytes; i++) ((unsigned char *)cores)[i] = i < 8 ? 255 : 0;
    return 0;
}
"""
READ = """
import json, os, sys, threading
assert len(os.sched_getaffinity(0)) == 64
from processing.frame_sampling_kocap import Sampling
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_reading_kocap import read_frames
most, done = [0], threading.Event()
def watch():
    while not done.wait(0.002):
        most[0] = max(most[0], len(os.listdir("/proc/self/task")))
threading.Thread(target=watch, daemon=True).start()
shades = []
for path in sys.argv[1:]:
    for read in (read_frames_isolated, read_frames):
        frames = read(path, Sampling(num_frames=8), size=64)
        shades.append([frames.data.mean((1, 2, 3)).round().tolist(), [str(warning) for warning in frames.warnings]])
rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([shades, most[0], int(rows["VmHWM"].split()[0]) >> 10]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not (sys.platform == "linux" and shutil.which("cc")), reason="feigns cores with a C library")
def test_64_cores_read_what_2_cores_read_in_about_the_same_memory(tmp_path):
    (tmp_path / "cores.c").write_text(FAKE_CORES)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "cores.so", tmp_path / "cores.c"], check=True)
    clips = {"4k.mp4": (UHD, "libx264"), "4k hevc.mp4": (UHD, "libx265"), "8k.mp4": (UHD_2, "libx264")}
    for name, (size, codec) in clips.items():
        (tmp_path / name).write_bytes(large(size, codec))
    environment = os.environ | {"LD_PRELOAD": str(tmp_path / "cores.so"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", READ, *(str(tmp_path / name) for name in clips)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read, most_threads, peak_mb = json.loads(done.stdout)
    for name, isolated, own in zip(clips, read[::2], read[1::2], strict=True):
        assert isolated == own
        shades, warnings = own
        assert not warnings
        assert np.abs(np.array(shades) - (48 + 16 * np.arange(8))).max() <= 3, name
    assert most_threads < 4 * MAX_THREADS
    assert peak_mb < 700  # with 64 threads 1.3 GB and more


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_too_little_memory_is_never_a_damaged_file(codec):
    clip, told = large(UHD_2, codec, count=6), []
    expected = read_frames(clip, [0.0, 0.2, 0.5], size=64).data
    for memory_mb in (250, 275, 300, 325, 350, 400, 500, 700, 2048):
        try:
            frames = read_frames_isolated(clip, [0.0, 0.2, 0.5], size=64, memory_bytes=memory_mb << 20)
        except VideoError as error:
            told.append(error)
        else:
            assert not frames.warnings
            assert (frames.data == expected).all()
    assert told
    assert {type(error) for error in told} == {VideoResourcesError}
    assert "부족" in told[0].message_ko and "손상" not in told[0].message_ko
    assert len(told) < 9
