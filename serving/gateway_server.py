"""uvicorn, with patience for slow clients that ends: for those who send slowly, and for those who do not read."""

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
    """HTTP/1.1 where a request's head must come, and what is sent be taken, in time; uvicorn alone waits for ever."""

    header_timeout_s, send_timeout_s = 10.0, 30.0
    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing is paused as soon as the system takes no more
        self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.send_timeout_s, self.transport.abort)  # ends the answer, frees its slot

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._stop_waiting()
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

    def _stop_waiting(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _too_late(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(TOO_LATE)
            self.transport.close()


def make_server(app: Any, settings: GatewaySettings, *, host: str, port: int) -> uvicorn.Server:
    """A server that on SIGTERM or Ctrl-C takes no new requests and lets the ones inside finish."""
    patience = {"header_timeout_s": settings.header_timeout_s, "send_timeout_s": settings.send_timeout_s}
    protocol = type("_Protocol", (PatientProtocol,), patience)
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
