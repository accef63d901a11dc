"""A gateway on a loopback port with an engine that writes when the test says so."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
from small_models import small_processor
from video_fixtures import make_clip

from serving.engine import Ending, Job, Piece
from serving.gateway import Gateway, build_gateway
from serving.gateway_server import make_server
from serving.gateway_settings import GatewaySettings
from serving.media_fetching import MediaFetcher

MODEL = "kocap-tiny"
WORDS = ("맑은 ", "날의 ", "해안입니다. ", "파도가 칩니다.")
TEXT = "".join(WORDS)
CLIP = make_clip(20)  # two seconds
PATIENT_S = 300.0  # on a machine that is busy with other things; nothing here takes as long

VIDEO_PROCESSOR = small_processor().video_processor  # four frames


class ScriptedEngine:
    """An engine whose words come one by one, each after a permit, so that a test holds it wherever it wants."""

    def __init__(self, *, permits: int = 1 << 20, failure: Exception | None = None):
        self.ready, self.revision, self.restarts = True, "sha256:0123456789abcdef", 0
        self.jobs: list[Job] = []
        self.writing = 0
        self.changed = asyncio.Condition()
        self.permits = asyncio.Semaphore(permits)
        self._failure = failure

    async def start(self) -> None: ...

    async def answers(self, within_s: float) -> bool:
        return self.ready

    async def close(self) -> None:
        self.ready = False

    async def write(self, job: Job) -> AsyncIterator[Piece | Ending]:
        self.jobs.append(job)
        await self._count(1)
        try:
            for word in WORDS:
                await self.permits.acquire()
                yield Piece(word)
            if self._failure:
                raise self._failure
            yield Ending("stop", 7, len(WORDS))
        finally:
            await self._count(-1)

    async def _count(self, step: int) -> None:
        async with self.changed:
            self.writing += step
            self.changed.notify_all()

    def permit(self, number: int) -> None:
        for _ in range(number):
            self.permits.release()

    async def until_writing(self, number: int) -> None:
        """Return when so many answers are being written."""
        async with asyncio.timeout(PATIENT_S), self.changed:
            await self.changed.wait_for(lambda: self.writing == number)


def held() -> ScriptedEngine:
    """An engine that writes nothing until it is permitted to."""
    return ScriptedEngine(permits=0)


class Stage:
    """The running gateway, its engine, and a client for it."""

    def __init__(self, gateway: Gateway, engine: Any, port: int, client: httpx.AsyncClient, server: Any):
        self.gateway, self.engine, self.port, self.client, self.server = gateway, engine, port, client, server
        self.url = f"http://127.0.0.1:{port}"

    async def caption(self, content: bytes = CLIP, **fields: Any) -> httpx.Response:
        """Upload a file to /v1/captions."""
        return await self.client.post("/v1/captions", files={"file": ("영상.mp4", content)}, data=fields)

    async def chat(self, *parts: dict, **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=chat_json(*parts, **fields))


async def speak(port: int, head: str) -> str:
    """Send the beginning of a request and wait for what the server has to say before it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer.decode()


def video_part(content: bytes = CLIP) -> dict:
    return {"type": "video_url", "video_url": {"url": data_url(content)}}


def data_url(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def chat_json(*parts: dict, **fields: Any) -> dict:
    parts = parts or ({"type": "text", "text": "안녕하세요."},)
    return {"model": MODEL, "messages": [{"role": "user", "content": list(parts)}]} | fields


def play(
    scenario: Callable[[Stage], Awaitable[None]],
    *,
    engine: Callable[[], Any] = ScriptedEngine,
    fetcher: Callable[[GatewaySettings], MediaFetcher] | None = None,
    **settings: Any,
) -> None:
    """Run a scenario against a gateway on a port of its own; afterwards nothing may be left inside it."""

    async def run() -> None:
        limits = GatewaySettings(**settings)
        playing = engine()
        await playing.start()
        gateway = Gateway(playing, MODEL, VIDEO_PROCESSOR, limits, fetcher(limits) if fetcher else None)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            server = make_server(build_gateway(gateway), limits, host="127.0.0.1", port=port)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            limits_of_client = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=PATIENT_S, limits=limits_of_client, trust_env=False
            ) as client:
                try:
                    await scenario(Stage(gateway, playing, port, client, server))
                finally:
                    server.should_exit = True
                    await serving
        assert (gateway.admission.inside, gateway.admission.running) == (0, 0)

    asyncio.run(run())
