"""What the gateway refuses, gives up and survives: tried on a loopback port, with bounded load."""

import asyncio
import json
import logging
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from gateway_fixtures import CLIP, TEXT, ScriptedEngine, Stage, chat_json, data_url, held, play, speak, video_part
from video_fixtures import claim_size, make_clip, make_song_with_cover, make_sound

import processing.video_processing_kocap
from processing import video_isolation_kocap as isolation
from processing.video_isolation_kocap import read_frames_isolated
from serving.gateway_settings import GatewaySettings
from serving.json_log import JsonLines

ONE_WAITS = {"slots": 1, "queue": 1}


LARGE = make_clip([np.zeros((1280, 1280, 3), np.uint8)])
BAD_FILES = {
    "empty": (b"", "E_EMPTY"),
    "text": (b"no video at all" * 99, "E_NOT_VIDEO"),
    "no moov": (CLIP[: len(CLIP) // 4], "E_TRUNCATED"),
    "sound": (make_sound("mp3", "libmp3lame"), "E_NO_VIDEO"),
    "cover": (make_song_with_cover(), "E_NO_VIDEO"),
    "larger than it says": (claim_size(LARGE, 320, 240), "E_TOO_LARGE"),
    "hls": (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "E_FORMAT"),
    "ffconcat": (b"ffconcat version 1.0\nfile /etc/passwd\n", "E_FORMAT"),
    "sdp": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n", "E_FORMAT"),
}


def test_bad_files_among_good_ones_hurt_nobody_else():
    async def scenario(stage: Stage) -> None:
        contents = [content for content, _ in BAD_FILES.values()]
        mixed = [file for bad in contents for file in (bad, CLIP)]
        responses = await asyncio.gather(*(stage.caption(file) for file in mixed))
        for response, (name, (_, code)) in zip(responses[::2], BAD_FILES.items(), strict=True):
            error = response.json().get("error", {})
            assert (name, response.status_code, error.get("code")) == (name, 400, code)
            assert error["message_ko"]
            assert "/tmp" not in response.text and "SpooledTemporaryFile" not in response.text
            assert "영상.mp4" not in response.text
        assert [response.json()["caption"] for response in responses[1::2]] == [TEXT] * len(contents)

    play(scenario, max_pixels=1_000_000)


def test_a_name_is_never_opened(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(CLIP)
    os.mkfifo(tmp_path / "pipe")
    names = [str(tmp_path / "clip.mp4"), f"file://{tmp_path}/clip.mp4", str(tmp_path / "pipe"), "subfile:,,:/etc/hosts"]

    async def scenario(stage: Stage) -> None:
        heard = []
        async with await asyncio.start_server(lambda *peer: heard.append(peer), "127.0.0.1", 0) as trap:
            port = trap.sockets[0].getsockname()[1]
            for name in [*names, f"http://127.0.0.1:{port}/a.mp4", f"https://127.0.0.1:{port}/a.mp4", "concat:a|b"]:
                part = {"type": "video_url", "video_url": {"url": name}}
                response = await stage.chat(part)
                assert (response.status_code, response.json()["error"]["code"]) == (400, "E_URL")
                assert str(tmp_path) not in response.text and str(port) not in response.text
        assert heard == []

    play(scenario)


def test_one_more_than_the_queue_holds_is_asked_to_come_again():
    async def scenario(stage: Stage) -> None:
        running = asyncio.create_task(stage.chat())
        await stage.engine.until_writing(1)
        others = [asyncio.create_task(stage.chat()) for _ in range(3)]
        early, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        stage.engine.permit(1 << 20)
        responses = [await task for task in others]
        refused = [response for response in responses if response.status_code == 429]
        assert len(refused) == 2 and len(early) >= 1
        assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
        assert refused[0].json()["error"]["code"] == "E_BUSY"
        assert [(await running).status_code, *(r.status_code for r in responses)].count(200) == 2

    play(scenario, engine=held, **ONE_WAITS)


def test_who_takes_too_long_is_told_and_frees_the_slot():
    async def scenario(stage: Stage) -> None:
        first, second = await asyncio.gather(stage.chat(), stage.chat())  # the second waits for the slot in vain, too
        assert {first.status_code, second.status_code} == {504}
        assert first.json()["error"]["code"] == "E_DEADLINE"
        await stage.engine.until_writing(0)
        stage.engine.permit(1 << 20)
        assert (await stage.chat()).status_code == 200

    play(scenario, engine=held, request_timeout_s=2.0, **ONE_WAITS)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(stream):
    async def scenario(stage: Stage) -> None:
        if stream:
            stage.engine.permit(1)
            asked = chat_json(stream=True)
            async with stage.client.stream("POST", "/v1/chat/completions", json=asked) as response:
                await anext(response.aiter_lines())
        else:
            leaving = asyncio.create_task(stage.chat())
            await stage.engine.until_writing(1)
            leaving.cancel()
        await stage.engine.until_writing(0)
        stage.engine.permit(1 << 20)
        assert (await stage.chat()).status_code == 200

    play(scenario, engine=held, **ONE_WAITS)


def test_a_client_that_leaves_the_queue_frees_its_place():
    async def scenario(stage: Stage) -> None:
        running = asyncio.create_task(stage.chat())
        await stage.engine.until_writing(1)
        waiting = asyncio.create_task(stage.chat())
        while stage.gateway.admission.inside < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        while stage.gateway.admission.inside > 1:
            await asyncio.sleep(0)
        assert len(stage.engine.jobs) == 1
        stage.engine.permit(1 << 20)
        assert (await running).status_code == 200

    play(scenario, engine=held, **ONE_WAITS)


@pytest.mark.parametrize("kind", ["video_url", "image_url"])
def test_a_client_that_leaves_frees_its_reader(kind):
    read_frames_isolated(CLIP, [0.0])
    server = isolation._server._process.pid

    async def scenario(stage: Stage) -> None:
        threads = stage.gateway.reader._threads
        os.kill(server, signal.SIGSTOP)  # nothing is read until it goes on
        try:
            leaving = asyncio.create_task(stage.chat({"type": kind, kind: {"url": data_url(CLIP)}}))
            while not (threads._threads and threads._work_queue.empty()):
                await asyncio.sleep(0)
            leaving.cancel()
            async with asyncio.timeout(30):
                await asyncio.wrap_future(threads.submit(lambda: None))  # the one reader takes something new
        finally:
            os.kill(server, signal.SIGCONT)
        assert (await stage.caption()).status_code == 200

    play(scenario, readers=1, read_timeout_s=600)


def test_slow_uploads_end_with_408_while_others_are_served():
    async def scenario(stage: Stage) -> None:
        form = "POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\nContent-Type: multipart/form-data;"
        heads = [f"{form} boundary=x\r\n\r\n--x\r\n", "POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-", ""]
        slow = [asyncio.create_task(speak(stage.port, head)) for head in heads * 5]
        assert (await stage.caption()).status_code == 200
        answers = await asyncio.gather(*slow)
        assert {answer.split("\r\n")[0] for answer in answers} == {"HTTP/1.1 408 Request Timeout"}
        assert {"E_BODY_TIME" in answer or "E_HEADER_TIME" in answer for answer in answers} == {True}
        assert stage.gateway.admission.inside == 0

    play(scenario, body_grace_s=1.5, header_timeout_s=1.5)


def test_large_bodies_are_refused_before_and_while_they_come():
    async def scenario(stage: Stage) -> None:
        async def growing_body():
            for _ in range(100):
                yield b" " * 1000

        declared = await stage.caption(b"a" * 20_000)
        growing = await stage.client.post("/v1/captions", content=growing_body())
        for response in (declared, growing):
            assert (response.status_code, response.json()["error"]["code"]) == (413, "E_BODY_SIZE")
        assert (await stage.caption(CLIP[:100])).status_code == 400  # read, and found not to be a video

    play(scenario, max_upload_bytes=10_000, max_json_bytes=5_000)


def test_keys_and_host_names():
    async def scenario(stage: Stage) -> None:
        key = {"Authorization": "Bearer geheim"}
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "geheim2"}):
            response = await stage.client.get("/v1/models", headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "E_AUTH")
        assert (await stage.client.get("/v1/models", headers=key)).status_code == 200
        assert (await stage.client.get("/metrics", headers=key)).status_code == 200
        assert (await stage.client.get("/health")).json() == {"status": "ok"}
        response = await stage.client.get("/v1/models", headers=key | {"Host": "evil.example"})
        assert response.json()["error"]["code"] == "E_HOST"

    play(scenario, api_key="geheim", hosts=("127.0.0.1",))


def test_header_names_and_media_types_are_compared_without_case():
    async def scenario(stage: Stage) -> None:
        for scheme in ("bearer", "BEARER", "Bearer"):
            response = await stage.client.get("/v1/models", headers={"AUTHORIZATION": f"{scheme} geheim"})
            assert response.status_code == 200
        form = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + CLIP + b"\r\n--x--\r\n"
        kinds = ("multipart/form-data; boundary=x", "Multipart/Form-Data; Boundary=x", "MULTIPART/FORM-DATA;boundary=x")
        for kind in kinds:
            headers = {"authorization": "Bearer geheim", "CONTENT-type": kind}
            response = await stage.client.post("/v1/captions", content=form, headers=headers)
            assert (response.status_code, response.json().get("caption")) == (200, TEXT)

    play(scenario, api_key="geheim", max_json_bytes=100)


def test_web_pages_of_allowed_origins_may_call():
    page, ask = {"Origin": "https://app.example"}, {"Access-Control-Request-Method": "POST"}
    ask |= {"Access-Control-Request-Headers": "authorization,content-type"}

    async def allowed(stage: Stage) -> None:
        url = "/v1/chat/completions"
        preflight = await stage.client.options(url, headers=page | ask)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == page["Origin"]
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        answer = await stage.client.post(url, json=chat_json(), headers=page | {"Authorization": "Bearer k"})
        refused = await stage.client.post(url, json=chat_json(), headers=page)
        assert (answer.status_code, refused.status_code) == (200, 401)
        for response in (answer, refused):  # a page must see why
            assert response.headers["access-control-allow-origin"] == page["Origin"]
            assert "x-request-id" in response.headers["access-control-expose-headers"].lower()
        other = {"Origin": "https://evil.example"}
        assert (await stage.client.options(url, headers=other | ask)).status_code == 400
        answer = await stage.client.get("/health", headers=other)
        assert "access-control-allow-origin" not in answer.headers

    async def off(stage: Stage) -> None:
        assert (await stage.client.options("/health", headers=page | ask)).status_code == 404
        assert "access-control-allow-origin" not in (await stage.client.get("/health", headers=page)).headers

    play(allowed, api_key="k", allow_origins=("https://app.example",))
    play(off)


def test_head_is_answered_as_get_without_a_body():
    async def scenario(stage: Stage) -> None:
        for path in ("/health", "/v1/models", "/metrics"):
            response = await stage.client.head(path)
            assert (response.status_code, response.content) == (200, b"")
        stage.engine.ready = False
        assert (await stage.client.head("/health")).status_code == 503

    play(scenario)


def test_an_engine_that_is_not_ready():
    async def scenario(stage: Stage) -> None:
        stage.engine.ready = False
        assert (await stage.client.get("/health")).status_code == 503

    play(scenario)


def test_logs_and_answers_repeat_nothing_of_what_went_wrong_inside(caplog):
    secret = "비밀 /root/secret.txt"

    async def scenario(stage: Stage) -> None:
        question = {"type": "text", "text": secret}
        response = await stage.chat(question, video_part(), stream=False)
        assert (response.status_code, response.json()["error"]["code"]) == (500, "E_INTERNAL")
        assert secret not in response.text and "Traceback" not in response.text
        named = await stage.client.get("/v1/models", headers={"X-Request-Id": "my-id_1"})
        assert named.headers["x-request-id"] == "my-id_1"
        strange = await stage.client.get("/v1/models", headers={"X-Request-Id": "a b\tc"})
        assert strange.headers["x-request-id"].startswith("req_")

    with caplog.at_level(logging.INFO):
        play(scenario, engine=lambda: ScriptedEngine(failure=ZeroDivisionError(secret)))
    lines = [JsonLines().format(record) for record in caplog.records]
    assert not any("비밀" in line or "secret.txt" in line for line in lines)
    requests = [json.loads(line) for line in lines if '"kocap.requests"' in line]
    assert requests[0]["code"] == "E_INTERNAL"
    assert requests[0]["failure"].startswith("ZeroDivisionError at gateway_fixtures.py:")
    assert requests[0]["route"] == "/v1/chat/completions" and requests[0]["read_s"] >= 0
    assert requests[1]["request_id"] == "my-id_1"


def test_metrics_count():
    async def scenario(stage: Stage) -> None:
        await stage.caption()
        await stage.caption(b"")
        await stage.client.get("/favicon.ico")
        text = (await stage.client.get("/metrics")).text
        for line in (
            'kocap_requests_total{route="/v1/captions",status="200"} 1.0',
            'kocap_requests_total{route="/v1/captions",status="400"} 1.0',
            'kocap_requests_total{route="other",status="404"} 1.0',
            'kocap_tokens_total{kind="completion"} 4.0',
            "kocap_engine_up 1.0",
            "kocap_requests_inside 0.0",
        ):
            assert line in text

    play(scenario)


def test_a_stopping_server_finishes_what_runs():
    async def scenario(stage: Stage) -> None:
        asked = chat_json(stream=True)
        stage.engine.permit(1)
        async with stage.client.stream("POST", "/v1/chat/completions", json=asked) as response:
            lines = response.aiter_lines()
            await anext(lines)
            stage.server.should_exit = True
            stage.engine.permit(1 << 20)
            assert [line async for line in lines if line][-1] == "data: [DONE]"

    play(scenario, engine=held)


def test_uploads_leave_no_files_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario(stage: Stage) -> None:
        size = 3 << 20  # more than a form keeps in memory
        large = CLIP + size.to_bytes(4, "big") + b"free" + bytes(size - 8)
        assert (await stage.caption(large)).status_code == 200
        assert (await stage.caption(bytes(3 << 20))).status_code == 400
        leaving = asyncio.create_task(stage.caption(large))
        while stage.gateway.admission.inside == 0:
            await asyncio.sleep(0)
        leaving.cancel()

    play(scenario)
    assert list(Path(tmp_path).iterdir()) == []


def test_settings_are_checked():
    with pytest.raises(ValueError, match="slots is 0"):
        GatewaySettings(slots=0)
    assert GatewaySettings(queue=0).queue == 0


def poor(*arguments, **options):
    return read_frames_isolated(*arguments, **options, memory_bytes=200 << 20)


def test_a_machine_short_of_memory_is_not_the_clients_fault(monkeypatch):
    """A child that may have hardly any memory: the same request is right on another day."""
    monkeypatch.setattr(processing.video_processing_kocap, "read_frames_isolated", poor)
    large = make_clip([np.zeros((2160, 3840, 3), np.uint8)] * 4)

    async def scenario(stage: Stage) -> None:
        answer = await stage.caption(large)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "E_RESOURCES"), answer.text

    play(scenario)
