"""Who listens to which call: one that nobody listens to ends, so that it does not hold the model for others."""

import asyncio
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qs

from gradio.server_messages import ProcessCompletedMessage
from starlette.datastructures import MutableHeaders
from starlette.types import Scope

from .messages import UNHEARD

ROUTES = "/gradio_api"
CALL = re.compile(rf"{ROUTES}/call/(?:v2/)?[^/]+/([^/]+)/?")
MCP_HEADER = "x-kocap-caller"  # Gradio hands the headers of an MCP request on to the call that it makes for it
LOOK_EVERY_S = 1.0


class Listeners:
    """The requests that wait for answers, by the session or the call that they wait for.

    Args:
        patience_s: How long a call goes on without anyone who listens.
    """

    def __init__(self, patience_s: float):
        self._patience_s = patience_s
        self._open: Counter[str] = Counter()
        self._left: dict[str, float] = {}

    @contextmanager
    def listening(self, scope: Scope) -> Iterator[None]:
        """While a request is being answered: a stream of answers, or a call of an MCP tool."""
        key = _awaited(scope)
        if key is None:
            yield
            return
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
                self._left[key] = time.monotonic()

    @asynccontextmanager
    async def watch(self, app: Any) -> AsyncIterator[None]:
        """End calls that nobody listens to, as long as the application runs; its `lifespan`."""
        watching = asyncio.create_task(self._watch(app))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, app: Any) -> None:
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self._patience_s))
            queue, latest = app.get_blocks()._queue, time.monotonic() - self._patience_s
            for event in list(queue.event_ids_to_events.values()):
                if event.alive and not self._is_heard(event) and self._last_heard(event) < latest:
                    queue.send_message(event, _unheard())  # for whoever comes too late
                    await queue.clean_events(event_id=event._id)
            self._left = {key: left for key, left in self._left.items() if left >= latest}

    def _is_heard(self, event: Any) -> bool:
        return any(key in self._open for key in _keys(event))

    def _last_heard(self, event: Any) -> float:
        return max(event.enqueue_time, *(self._left.get(key, 0.0) for key in _keys(event)))


def _awaited(scope: Scope) -> str | None:
    """What a request waits for: a session, a call, or what its own MCP tool does."""
    path = scope["path"]
    if path.startswith(f"{ROUTES}/mcp"):
        MutableHeaders(scope=scope)[MCP_HEADER] = caller = secrets.token_hex()
        return caller
    if path == f"{ROUTES}/queue/data":
        return next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])), None)
    call = CALL.fullmatch(path)
    return call[1] if call and scope["method"] == "GET" else None


def _keys(event: Any) -> tuple[str, ...]:
    """What those who wait for a call may have named; Gradio itself waits for what an MCP tool does."""
    caller = event.request.headers.get(MCP_HEADER)
    return (caller,) if caller else (event.session_hash, event._id)


def _unheard() -> ProcessCompletedMessage:
    return ProcessCompletedMessage(output={"error": UNHEARD}, success=False)
