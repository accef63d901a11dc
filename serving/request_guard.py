"""What every request passes before the application sees it, and on its way out.

It gets an id, is asked for the key, its body is held to a size and a pace, whatever goes wrong becomes a coded answer,
and one line is logged: how long and how much, never what.
"""

import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .gateway_errors import (
    ClientGoneError,
    GatewayError,
    HostError,
    InternalError,
    UnauthorizedError,
    UnknownRouteError,
)
from .gateway_metrics import GatewayMetrics
from .gateway_settings import GatewaySettings
from .json_log import where
from .request_body import RequestBody

logger = logging.getLogger("kocap.requests")

OPEN_ROUTES = ("/health",)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # others are not repeated in the log
CLIENT_GONE = 499  # nginx's number; nobody is left to read it
LONGEST_ID = 64
PORT = re.compile(r":\d+$")


class RequestGuard:
    """ASGI middleware around the application.

    Args:
        routes: Known paths; all others share one label in the metrics.
    """

    def __init__(self, app: ASGIApp, *, settings: GatewaySettings, metrics: GatewayMetrics, routes: tuple[str, ...]):
        self._app, self._settings, self._metrics, self._routes = app, settings, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        request_id, began = _request_id(headers), time.monotonic()
        facts: dict[str, Any] = {}
        body = RequestBody(receive, self._settings, scope)
        scope["state"] = dict(scope.get("state", {})) | {"request_id": request_id, "facts": facts, "body": body}
        reply = _Reply(send, request_id, body)
        try:
            self._check_host(headers)
            self._check_key(scope["path"], headers)
            body.check_declared_length()
            await self._app(scope, body.receive, reply.send)
        except ClientGoneError:
            reply.status = reply.status or CLIENT_GONE
        except (GatewayError, HTTPException) as error:
            await self._refuse(reply, body, _coded(error), facts)
        except Exception as error:
            facts["failure"] = where(error)
            await self._refuse(reply, body, InternalError("the server failed. Try again later."), facts)
        finally:
            self._record(scope, request_id, reply.status or CLIENT_GONE, time.monotonic() - began, facts)

    def _check_host(self, headers: Headers) -> None:
        name = PORT.sub("", headers.get("host", "")).lower()
        if "*" not in self._settings.hosts and name not in self._settings.hosts:
            raise HostError("this server does not answer under that host name. Use the address it was started with.")

    def _check_key(self, path: str, headers: Headers) -> None:
        if self._settings.api_key is None or path in OPEN_ROUTES:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip() if scheme.lower() == "bearer" else ""
        if not secrets.compare_digest(given.encode(), self._settings.api_key.encode()):
            raise UnauthorizedError("the API key is missing or wrong. Send 'Authorization: Bearer KEY'.")

    async def _refuse(self, reply: "_Reply", body: "RequestBody", error: GatewayError, facts: dict) -> None:
        facts["code"] = error.code
        if reply.status is not None:  # too late for an answer: cut the connection, so that nobody takes half for whole
            raise ConnectionAbortedError(error.code)
        answer = JSONResponse(error.body(reply.request_id), error.status, error.headers())
        await reply.send({"type": "http.response.start", "status": error.status, "headers": answer.raw_headers})
        await reply.send({"type": "http.response.body", "body": bytes(answer.body), "more_body": True})
        await body.drain()
        await reply.send({"type": "http.response.body", "body": b"", "more_body": False})

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float, facts: dict[str, Any]) -> None:
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        method = scope["method"] if scope["method"] in METHODS else "other"
        line = {"request_id": request_id, "method": method, "route": route, "status": status}
        logger.info("request", extra={"facts": line | {"seconds": round(seconds, 4)} | facts})


class _Reply:
    """The answer on its way out: carries the request's id, and closes a connection whose body was not read."""

    def __init__(self, send: Send, request_id: str, body: RequestBody):
        self._send, self.request_id, self._body = send, request_id, body
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            if not self._body.complete:
                headers["Connection"] = "close"
        await self._send(message)


def _request_id(headers: Headers) -> str:
    """The caller's own id if it is a plain short one, or a new one."""
    given = headers.get("x-request-id", "")
    plain = given.replace("-", "").replace("_", "")
    return given if len(given) <= LONGEST_ID and plain.isascii() and plain.isalnum() else f"req_{secrets.token_hex(12)}"


def _coded(error: GatewayError | HTTPException) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if error.status_code in (404, 405):
        return UnknownRouteError("there is no such route and method. See docs/serving.md.")
    return GatewayError("the request cannot be parsed. See docs/serving.md.")
