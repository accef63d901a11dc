"""What the gateway refuses, gives up and survives: tried on a loopback port, with bounded load."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import gateway_fixtures
import httpx
import numpy as np
import pytest
from gateway_fixtures import CLIP, PATIENT_S, TEXT, ScriptedEngine, Stage, chat_json, data_url, play, video_part
from video_fixtures import claim_size, make_clip, make_song_with_cover, make_sound

from processing import video_isolation_kocap as isolation
from processing.video_isolation_kocap import read_frames_isolated
from serving.gateway import until
from serving.gateway_errors import TooSlowError
from serving.gateway_settings import GatewaySettings
from serving.json_log import JsonLines
from serving.request_body import RequestBody

ONE_WAITS = {"slots": 1, "queue": 1}


def held() -> ScriptedEngine:
    """An engine that writes nothing until it is permitted to."""
    return ScriptedEngine(permits=0)


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


async def speak(port: int, head: str) -> str:
    """Send the beginning of a request and wait for what the server has to say before it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer.decode()


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


@contextlib.asynccontextmanager
async def slow_uploads(port: int, number: int, *, drip: bool) -> AsyncIterator[None]:
    """So many requests whose bodies do not come, or byte by byte."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n"

    async def send() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        while drip and not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.2)
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(send()) for _ in range(number)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("drip", [False, True])
@pytest.mark.parametrize("per_client", [58, 48])
def test_requests_without_bodies_keep_nobody_out(drip, per_client):
    async def scenario(stage: Stage) -> None:
        async with slow_uploads(stage.port, per_client, drip=drip), asyncio.timeout(60):
            while stage.gateway.admission.inside < per_client:
                await asyncio.sleep(0.01)
            for _ in range(3):  # refused at first: for two seconds they may still be honest
                while (response := await stage.chat()).status_code == 429:
                    assert int(response.headers["retry-after"]) >= 1
                    await asyncio.sleep(0.1)
                assert response.status_code == 200

    play(scenario, body_grace_s=600.0, per_client=per_client)


def test_an_upload_in_time_keeps_its_place_and_one_that_gives_way_is_told():
    async def scenario(stage: Stage) -> None:
        head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(head + bytes(900_000))
        while not any(body._size == 900_000 for body in stage.gateway.admission._inside):  # which may take 27 s
            await asyncio.sleep(0)
        assert (await stage.chat()).status_code == 429
        writer.close()
        while stage.gateway.admission.inside:
            await asyncio.sleep(0.01)
        slow = asyncio.create_task(speak(stage.port, head.decode()))
        async with asyncio.timeout(60):
            while (await stage.chat()).status_code == 429:
                await asyncio.sleep(0.05)
            answer = await slow
        assert answer.startswith("HTTP/1.1 408") and "E_BODY_TIME" in answer and "while others wait" in answer

    play(scenario, slots=1, queue=0, body_grace_s=600.0, body_head_start_s=0.01)


def test_one_client_leaves_places_for_others():
    async def scenario(stage: Stage) -> None:
        running = [asyncio.create_task(stage.chat()) for _ in range(4)]
        while stage.gateway.admission.inside < 4:
            await asyncio.sleep(0)
        assert (await stage.chat()).status_code == 429
        elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(base_url=stage.url, transport=elsewhere, timeout=PATIENT_S) as other:
            asked = asyncio.create_task(other.post("/v1/chat/completions", json=chat_json()))
            while stage.gateway.admission.inside < 5 and not asked.done():
                await asyncio.sleep(0)
            stage.engine.permit(1 << 20)
            assert (await asked).status_code == 200
        assert {(await task).status_code for task in running} == {200}

    play(scenario, engine=held, slots=1, queue=4)


def test_whose_request_it_is():
    def client(host: str) -> str:
        scope = {"type": "http", "headers": [], "client": (host, 1)}
        return RequestBody(None, GatewaySettings(), scope).client  # type: ignore[arg-type]

    assert client("2001:db8:1:2::1") == client("2001:db8:1:2:ffff::9") != client("2001:db8:1:3::1")
    assert client("::ffff:192.0.2.1") == client("192.0.2.1") != client("192.0.2.2")
    assert client("anything") == "anything"


@contextlib.asynccontextmanager
async def deaf_client(port: int, asked: dict) -> AsyncIterator[socket.socket]:
    """A client that asks and reads nothing of the answer; its own system takes a few kilobytes for it."""
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        await asyncio.get_running_loop().sock_sendall(client, head + body)
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_stops_reading_frees_its_slot(stream, monkeypatch):
    monkeypatch.setattr(gateway_fixtures, "WORDS", ("a" * (8 << 20),) * 20)

    async def scenario(stage: Stage) -> None:
        async with deaf_client(stage.port, chat_json(stream=stream)):
            await stage.engine.until_writing(1)
            async with asyncio.timeout(60):
                await stage.engine.until_writing(0)
                while stage.server.server_state.connections:  # what was not read takes no memory any more
                    await asyncio.sleep(0.05)
        monkeypatch.setattr(gateway_fixtures, "WORDS", ("a", "b"))
        assert (await stage.chat()).status_code == 200

    play(scenario, send_timeout_s=1.0, **ONE_WAITS)


def test_a_client_that_reads_late_gets_its_answer(monkeypatch):
    monkeypatch.setattr(gateway_fixtures, "WORDS", ("a" * (1 << 20),) * 8)

    async def scenario(stage: Stage) -> None:
        async with deaf_client(stage.port, chat_json(stream=True)) as client:
            while not any(connection.flow.write_paused for connection in stage.server.server_state.connections):
                await asyncio.sleep(0.01)
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer = answer[-9:] + await asyncio.get_running_loop().sock_recv(client, 1 << 18)

    play(scenario)


def test_a_stream_that_is_taken_slowly_ends_at_its_deadline():
    async def run() -> None:
        async def ready() -> int:
            return 1

        loop = asyncio.get_running_loop()
        assert await until(loop.time() + 60, ready()) == 1
        with pytest.raises(TooSlowError):
            await until(loop.time() - 1, ready())

    asyncio.run(run())
