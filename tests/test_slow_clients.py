"""Clients that send or read slowly, or not at all: they hold no place and no slot, and others are served."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import gateway_fixtures
import httpx
import pytest
from gateway_fixtures import PATIENT_S, Stage, chat_json, held, play, speak

from serving.gateway import until
from serving.gateway_errors import TooSlowError
from serving.gateway_settings import GatewaySettings
from serving.request_body import RequestBody

ONE_WAITS = {"slots": 1, "queue": 1}


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
            async with asyncio.timeout(60):
                while not stage.gateway.admission.inside:
                    await asyncio.sleep(0)
                # what was not read takes no place and no memory any more
                while stage.gateway.admission.inside or stage.server.server_state.connections:
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
