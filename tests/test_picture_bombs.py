"""Small pictures that would take minutes or gigabytes, sent to a gateway with a real engine."""

import asyncio
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from gateway_fixtures import PATIENT_S, ScriptedEngine, Stage, data_url, play, video_part
from picture_bombs import flat_png, progressive_jpeg
from PIL import Image
from test_serve import real

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LONG_S = 30.0  # an honest request takes a second; 20,000 scans take two minutes


def picture(content: bytes) -> dict:
    return {"type": "image_url", "image_url": {"url": data_url(content, "image/png")}}


def memory_mb(pid: int, what: str) -> float:
    """`VmRSS`: now; `VmHWM`: the most it ever was."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def photo() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(sink, "JPEG")
    return sink.getvalue()


@pytest.mark.slow
def test_a_jpeg_of_20000_scans_blocks_nobody():
    async def scenario(stage: Stage) -> None:
        bomb = progressive_jpeg(6000, 20_000)
        leaving = [asyncio.create_task(stage.chat(picture(bomb))) for _ in range(2)]  # as many as there are readers
        while stage.gateway.admission.inside < 2:
            await asyncio.sleep(0)
        async with asyncio.timeout(LONG_S):
            refused = await asyncio.gather(*leaving)
            assert {response.json()["error"]["code"] for response in refused} == {"E_TOO_LARGE"}
            assert (await stage.chat(picture(photo()))).status_code == 200
            assert (await stage.caption()).status_code == 200

    play(scenario, slots=4)


@pytest.mark.slow
def test_pictures_of_36_megapixels_take_no_memory(tiny_checkpoint):
    async def scenario(stage: Stage) -> None:
        pids = [os.getpid(), stage.engine.pid]
        for _ in range(2):  # what libraries load and keep once
            await asyncio.gather(*(stage.chat(*[picture(photo())] * 4, max_tokens=4) for _ in range(3)))
        before = [memory_mb(pid, "VmRSS") for pid in pids]
        for pid in pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew
        bombs = [picture(flat_png(6000))] * 4
        async with asyncio.timeout(PATIENT_S):
            responses = await asyncio.gather(*(stage.chat(*bombs, max_tokens=4) for _ in range(3)))
        assert {response.status_code for response in responses} == {200}
        for pid, mb in zip(pids, before, strict=True):
            assert memory_mb(pid, "VmRSS") < 1.2 * mb
            assert memory_mb(pid, "VmHWM") < 1.2 * mb

    play(scenario, engine=real(tiny_checkpoint), slots=4)


def test_videos_are_read_a_few_requests_ahead_and_no_more():
    async def scenario(stage: Stage) -> None:
        threads = stage.gateway.reader._threads
        asked = [asyncio.create_task(stage.caption() if i % 2 else stage.chat(video_part())) for i in range(6)]
        while stage.gateway.admission.inside < 6 or not all(body.complete for body in stage.gateway.admission._inside):
            await asyncio.sleep(0)
        await stage.engine.until_writing(1)
        for _ in range(5):  # whatever else was to be read, has been
            await asyncio.wrap_future(threads.submit(lambda: None))
            await stage.client.get("/health")
        read = (await stage.client.get("/metrics")).text.partition("kocap_read_seconds_count ")[2].split()[0]
        stage.engine.permit(1 << 20)
        assert {(await task).status_code for task in asked} == {200}
        assert float(read) <= 2  # one runs, one is ready

    play(scenario, engine=lambda: ScriptedEngine(permits=0), slots=1, readers=1)


def test_pictures_are_read_when_their_request_has_its_slot():
    async def scenario(stage: Stage) -> None:
        running = asyncio.create_task(stage.chat())
        await stage.engine.until_writing(1)
        broken = asyncio.create_task(stage.chat(picture(b"no picture")))
        while stage.gateway.admission.inside < 2:
            await asyncio.sleep(0)
        for _ in range(5):  # each would come after it, had it been read at once
            assert (await stage.caption(b"")).status_code == 400
        early = broken.done()
        stage.engine.permit(1 << 20)
        assert not early
        assert (await running).status_code == 200
        assert (await broken).json()["error"]["code"] == "E_NOT_IMAGE"

    play(scenario, engine=lambda: ScriptedEngine(permits=0), slots=1, readers=1)
