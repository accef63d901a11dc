"""Twenty visitors at once: all are served, one at a time, and memory comes back."""

import ctypes
import gc
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from launched_demo import launched, loaded
from video_fixtures import make_clip

from demo.limits import UploadLimits

pytestmark = pytest.mark.slow

NUM_CLIENTS, ROUNDS = 20, 4
MOST_GROWTH_BYTES = 32 << 20  # of forty visitors after the first forty


def resident_bytes() -> int:
    """Memory in use: what is free within the heap is given back first."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def ask(url: str, content: bytes, number: int) -> dict:
    """One visitor: upload, join the queue, wait for the last answer."""
    with httpx.Client(base_url=f"{url}gradio_api/", timeout=300) as client:
        files = {"files": (f"{number}.mp4", content, "video/mp4")}
        (path,) = client.post("upload", files=files).raise_for_status().json()
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, 2, "uniform", "long", 0, 16]
        event = client.post("call/describe", json={"data": data}).raise_for_status().json()["event_id"]
        *_, last = client.get(f"call/describe/{event}").text.strip().split("\n\n")
        name, said = last.split("\n", 1)
        assert name == "event: complete", last
        return json.loads(said.removeprefix("data: "))[0]


def test_twenty_clients_are_all_served_one_at_a_time_and_memory_is_flat(tiny_checkpoint):
    models = loaded(str(tiny_checkpoint))
    (captioner,) = models.captioners()
    inside, most, lock = 0, 0, threading.Lock()

    def enter(*_):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)

    def leave(*_):
        nonlocal inside
        with lock:
            inside -= 1

    captioner.pipe.model.register_forward_pre_hook(enter)
    captioner.pipe.model.register_forward_hook(leave)
    clip, memory = make_clip(20), []
    with launched(models, UploadLimits()) as url, ThreadPoolExecutor(NUM_CLIENTS) as pool:
        for _ in range(ROUNDS):
            records = list(pool.map(lambda number: ask(url, clip, number), range(NUM_CLIENTS)))
            assert sorted(int(Path(record["file"]).stem) for record in records) == list(range(NUM_CLIENTS))
            assert len({record["caption"] for record in records}) == 1 and records[0]["caption"]
            memory.append(resident_bytes())
    assert most == 1
    assert memory[-1] - memory[1] < MOST_GROWTH_BYTES, memory
