"""Answers in OpenAI's words: one object, or events as the text grows."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .engine import Ending, Piece
from .gateway_errors import GatewayError, InternalError


def chat_body(model: str, request_id: str, text: str, ending: Ending) -> dict[str, Any]:
    """A `chat.completion`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": ending.finish_reason}
    head = _head(model, request_id, "chat.completion")
    return head | {"choices": [choice], "usage": usage_body(ending)}


def usage_body(ending: Ending) -> dict[str, int]:
    """How many tokens were read and written."""
    counts = {"prompt_tokens": ending.prompt_tokens, "completion_tokens": ending.completion_tokens}
    return counts | {"total_tokens": ending.prompt_tokens + ending.completion_tokens}


async def chat_events(
    model: str, request_id: str, first: Piece | Ending, rest: AsyncIterator[Piece | Ending], *, usage: bool
) -> AsyncIterator[str]:
    """`chat.completion.chunk` events, then `[DONE]`; an error in the middle becomes an event, too."""
    head = _head(model, request_id, "chat.completion.chunk")

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> str:
        return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})

    yield chunk({"role": "assistant", "content": ""})
    item = first
    try:
        while isinstance(item, Piece):
            yield chunk({"content": item.text})
            item = await anext(rest)
    except GatewayError as error:
        yield _event(error.body(request_id))
        return
    except Exception:
        yield _event(InternalError("the answer broke off. Try again later.").body(request_id))
        raise
    yield chunk({}, item.finish_reason)
    if usage:
        yield _event(head | {"choices": [], "usage": usage_body(item)})
    yield "data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Server-sent events that let go of what they hold, whether they were sent to the end or not."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], *, release: AsyncExitStack):
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._release:
            await super().__call__(scope, receive, send)


def _head(model: str, request_id: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": int(time.time()), "model": model}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
