"""uvicorn, with patience for slow clients that ends."""

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .gateway_settings import GatewaySettings

TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"E_HEADER_TIME: the request's head took too long. Send it at once.\n"
)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 where a request's head must come in time; uvicorn alone would wait for ever."""

    header_timeout_s = 10.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._late is None:
            self._late = self.loop.call_later(self.header_timeout_s, self._too_late)

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(TOO_LATE)
            self.transport.close()


def make_server(app: Any, settings: GatewaySettings, *, host: str, port: int) -> uvicorn.Server:
    """A server that on SIGTERM or Ctrl-C takes no new requests and lets the ones inside finish."""
    protocol = type("_Protocol", (PatientProtocol,), {"header_timeout_s": settings.header_timeout_s})
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=protocol,
            ws="none",
            access_log=False,  # it shows addresses; the guard logs what is needed
            log_config=None,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
        )
    )
