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


def chat_body(model: str, request_id: str, answers: list[tuple[str, Ending]]) -> dict[str, Any]:
    """A `chat.completion` with a choice for each answer."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": ending.finish_reason}
        for index, (text, ending) in enumerate(answers)
    ]
    head = _head(model, request_id, "chat.completion")
    return head | {"choices": choices, "usage": usage_body([ending for _, ending in answers])}


def usage_body(endings: list[Ending]) -> dict[str, int]:
    """How many tokens were read and written: one prompt, all answers to it."""
    prompt, written = endings[0].prompt_tokens, sum(ending.completion_tokens for ending in endings)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


async def chat_events(
    model: str,
    request_id: str,
    first: tuple[int, Piece | Ending],
    rest: AsyncIterator[tuple[int, Piece | Ending]],
    *,
    choices: int,
    usage: bool,
) -> AsyncIterator[str]:
    """`chat.completion.chunk` events, then `[DONE]`; an error in the middle becomes an event, too."""
    head = _head(model, request_id, "chat.completion.chunk")

    def chunk(index: int, delta: dict[str, str], finish_reason: str | None = None) -> str:
        return _event(head | {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]})

    for index in range(choices):
        yield chunk(index, {"role": "assistant", "content": ""})
    endings: list[Ending] = []
    index, item = first
    try:
        while True:
            if isinstance(item, Ending):
                endings.append(item)
                yield chunk(index, {}, item.finish_reason)
                if len(endings) == choices:
                    break
            else:
                yield chunk(index, {"content": item.text})
            index, item = await anext(rest)
    except GatewayError as error:
        yield _event(error.body(request_id))
        return
    except Exception:
        yield _event(InternalError("the answer broke off. Try again later.").body(request_id))
        raise
    if usage:
        yield _event(head | {"choices": [], "usage": usage_body(endings)})
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
