"""A request's body on its way in: held to a size and a pace."""

import asyncio
import contextlib
import ipaddress
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from .gateway_errors import BodyTooLargeError, BodyTooSlowError, ClientGoneError
from .gateway_settings import GatewaySettings

LINGER_S = 1.0
IPV6_SITE = 64  # bits of an IPv6 address that tell one customer from another


class RequestBody:
    """What a client sends, and how far behind it is.

    Attributes:
        client: Its IP address, or network, for counting.
        complete: Whether all of it is there.
    """

    def __init__(self, receive: Receive, settings: GatewaySettings, scope: Scope):
        headers = Headers(scope=scope)
        self._receive, self._settings = receive, settings
        is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        self._limit = settings.max_upload_bytes if is_form else settings.max_json_bytes
        self._declared = headers.get("content-length", "")
        self._began = time.monotonic()
        self._size = 0
        self._waiting: asyncio.Timeout | None = None
        self._gave_way = False
        self.client = _client(scope)
        self.complete = not (self._declared or headers.get("transfer-encoding"))

    def check_declared_length(self) -> None:
        if self._declared.isdecimal() and int(self._declared) > self._limit:
            raise self._too_large()

    @property
    def behind_s(self) -> float:
        """Seconds by which it is later than the least pace allows while others wait; at most 0 for one in time."""
        if self.complete or self._gave_way or self._waiting is None:
            return 0.0
        due_s = self._settings.body_head_start_s + self._size / self._settings.body_bytes_per_s
        return time.monotonic() - self._began - due_s

    def give_way(self) -> None:
        """End its reading now: somebody else needs the place."""
        assert self._waiting is not None
        self._gave_way = True
        self._waiting.reschedule(asyncio.get_running_loop().time())

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()  # waits until the client leaves
        due = self._began + self._settings.body_grace_s + self._size / self._settings.body_bytes_per_s
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())) as self._waiting:
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            self._waiting = None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if self._gave_way:
            raise self._too_slow()
        self._size += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self._size > self._limit:
            raise self._too_large()
        return message

    async def drain(self) -> None:
        """Read for a while what still comes: a connection closed with bytes unread takes the answer with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.complete:
                    message = await self._receive()
                    self.complete = not message.get("more_body", False)  # also when the client has left

    def _too_slow(self) -> BodyTooSlowError:
        settings = self._settings
        grace_s = settings.body_head_start_s if self._gave_way else settings.body_grace_s
        return BodyTooSlowError(
            f"{self._size} bytes of the body came in {time.monotonic() - self._began:.0f} s; the limit is {grace_s:g} s"
            f"{' while others wait' * self._gave_way} and one more for every {settings.body_bytes_per_s:g} bytes."
            " Send it faster, or make it smaller."
        )

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"the body is larger than {self._limit >> 20} MB. Cut the video, or encode it smaller; forms"
            f" (multipart) may have {self._settings.max_upload_bytes >> 20} MB."
        )


def _client(scope: Scope) -> str:
    """Whose request it is: an IPv4 address, or the network of an IPv6 address, of which one customer has billions."""
    host = (scope.get("client") or ("",))[0]
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address):
            return str(address.ipv4_mapped or ipaddress.ip_network((int(address), IPV6_SITE), strict=False))
    return host
