"""What every request passes before Gradio sees it: host, routes, sizes and pace of bodies, and who still reads."""

import asyncio
import contextlib
import logging
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway_errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    GatewayError,
    HostError,
    InternalError,
    UnknownRouteError,
)

from .limits import ConnectionLimits
from .listeners import ROUTES, Listeners

logger = logging.getLogger(__name__)

UPLOAD = f"{ROUTES}/upload"
# Gradio's routes for what this page does not have. The first runs ffmpeg on what is sent.
CLOSED = re.compile(rf"{ROUTES}/(process_recording|component_server|deep_link|stream|vibe-edit|undo-vibe-edit)\b")
LINGER_S = 1.0
PORT = re.compile(r":\d+$")


class UploadError(GatewayError):
    code = "E_UPLOAD"
    message_ko = "올린 내용에서 파일을 찾지 못했습니다. 이름이 있는 파일을 양식(multipart/form-data)으로 올려 주세요."


class VisitorGuard:
    """ASGI middleware around Gradio's application.

    Args:
        max_upload_bytes: Of the body of an upload, all of its files together.
    """

    def __init__(self, app: ASGIApp, *, limits: ConnectionLimits, max_upload_bytes: int, listeners: Listeners):
        self._app, self._limits, self._listeners = app, limits, listeners
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        is_upload = scope["path"].rstrip("/") == UPLOAD
        limit = self._max_upload_bytes if is_upload else self._limits.max_json_mb << 20
        body = _Body(receive, Headers(scope=scope), limit, self._limits.max_silence_s)
        answer = _Answer(send, body, is_upload=is_upload, max_sending_s=self._limits.max_sending_s)
        try:
            self._check(scope)
            body.check_declared_length()
            with self._listeners.listening(scope):
                await self._app(scope, body.receive, answer.send)
        except GatewayError as error:
            await answer.refuse(error)
        except Exception as error:
            if answer.has_stalled:
                return  # the server closes the connection of an answer that is not complete
            if answer.has_begun:
                raise
            if not (body.error or is_upload):
                logger.error("a request failed", exc_info=error)
            await answer.refuse(body.error or (_bad_upload() if is_upload else InternalError("the demo failed.")))

    def _check(self, scope: Scope) -> None:
        name = PORT.sub("", Headers(scope=scope).get("host", "")).lower()
        if "*" not in self._limits.hosts and name not in self._limits.hosts:
            raise HostError("the demo does not answer under that host name. Use the address it was started with.")
        if CLOSED.match(scope["path"]):
            raise UnknownRouteError("the demo has no such route. See docs/demo.md.")


class _Body:
    """A request's body, held to a size and a pace.

    What is wrong with it is raised as what form parsers expect: they delete the files that they have begun.
    """

    def __init__(self, receive: Receive, headers: Headers, limit: int, max_silence_s: float):
        self._receive, self._limit, self._max_silence_s = receive, limit, max_silence_s
        self._declared = headers.get("content-length", "")
        self._size = 0
        self._is_complete = not (self._declared or headers.get("transfer-encoding"))
        self.error: GatewayError | None = None

    def check_declared_length(self) -> None:
        if self._declared.isdecimal() and int(self._declared) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()  # waits until the client leaves
        try:
            async with asyncio.timeout(self._max_silence_s):
                message = await self._receive()
        except TimeoutError:
            self._fail(BodyTooSlowError(f"nothing came for {self._max_silence_s:g} s. Send it again."))
        if message["type"] == "http.disconnect":
            raise MultiPartException("the client has left")
        self._size += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._size > self._limit:
            self._fail(self._too_large())
        return message

    async def drain(self) -> None:
        """Read for a moment what still comes: a connection closed with bytes unread takes the answer with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._is_complete:
                    message = await self._receive()
                    self._is_complete = not message.get("more_body", False)  # also when the client has left

    def _fail(self, error: GatewayError) -> None:
        self.error = error
        raise MultiPartException(str(error))

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"the body is larger than {self._limit >> 20} MB. Cut the clip, or encode it smaller.")


class _Answer:
    """The answer on its way out: coded where Gradio's is not, and no longer than somebody reads it."""

    def __init__(self, send: Send, body: _Body, *, is_upload: bool, max_sending_s: float):
        self._send, self._body, self._is_upload, self._max_sending_s = send, body, is_upload, max_sending_s
        self.has_begun = self.has_stalled = self._is_refused = False

    async def send(self, message: Message) -> None:
        if self._is_refused:
            return
        if message["type"] == "http.response.start":
            bad_upload = self._is_upload and message["status"] >= 400
            if error := self._body.error or (_bad_upload() if bad_upload else None):
                await self.refuse(error)
                return
            self.has_begun = True
        try:
            async with asyncio.timeout(self._max_sending_s):
                await self._send(message)
        except TimeoutError:
            self.has_stalled = True
            raise

    async def refuse(self, error: GatewayError) -> None:
        """Answer with an error, in both languages, and close the connection."""
        self._is_refused = self.has_begun = True
        text = f"[{error.code}] {error.message_ko}\n{error}\n"
        headers = error.headers() | {"Connection": "close"}
        answer: Any = PlainTextResponse(text, error.status, headers)
        await self._send({"type": "http.response.start", "status": error.status, "headers": answer.raw_headers})
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await self._body.drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _bad_upload() -> UploadError:
    return UploadError("the upload holds no file, or one without a name. Send a form whose files have names.")
