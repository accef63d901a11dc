"""Fetch what an https address names without being led elsewhere.

An address is an order to this server to connect somewhere, so: only hosts and ports on a list; the name is resolved
once, every address it gives must be public, and the connection goes to the very address that was checked (a name that
resolves differently the next time gains nothing); a redirect is a new address, checked again; size and time end while
bytes come in. FFmpeg and the engine never see an address.
"""

import asyncio
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from .gateway_errors import DownloadError, UrlRefusedError
from .gateway_settings import GatewaySettings

MAX_REDIRECTS, MAX_URL_LENGTH = 3, 8192
HTTPS_PORT = 443
REDIRECTS = (301, 302, 303, 307, 308)
IN_MEMORY_BYTES = 1 << 20  # larger files go to disk, without a name

UNICAST = ipaddress.ip_network("2000::/3")

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """All IP addresses of a host, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class MediaFetcher:
    """Fetches files from the hosts that the settings name.

    Args:
        settings: `media_domains`, `media_networks`, `media_timeout_s`, `max_media_bytes`.
        resolve: Host and port to IP addresses.
        trust: Whose certificates are believed. Default: those that Mozilla believes.
    """

    def __init__(self, settings: GatewaySettings, *, resolve: Resolve = resolve, trust: ssl.SSLContext | None = None):
        self._settings, self._resolve = settings, resolve
        # Not a client: that would follow redirects in its own way, keep cookies, and ask the environment for proxies,
        # which resolve names once more, where nobody checks.
        self._transport = httpx.AsyncHTTPTransport(
            verify=trust or True,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),  # hosts of one address must not share a connection
        )

    async def fetch(self, url: str) -> BinaryIO:
        """The file behind an address, at its start. Close it: it is gone then.

        Raises:
            UrlRefusedError: If the address, or one it redirects to, is not allowed; nothing was connected to then.
            DownloadError: If the host does not answer as it should, in time, or the file is too large.
        """
        file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  the caller closes it
        try:
            async with asyncio.timeout(self._settings.media_timeout_s):
                await self._fetch_into(file, url)
        except BaseException as error:
            file.close()
            if isinstance(error, TimeoutError | httpx.HTTPError | OSError):
                raise DownloadError(
                    f"the host did not send the file within {self._settings.media_timeout_s:g} s, or the connection"
                    " failed. Upload the file instead."
                ) from None
            raise
        file.seek(0)
        return file

    async def close(self) -> None:
        await self._transport.aclose()

    async def _fetch_into(self, file: BinaryIO, url: str) -> None:
        for _ in range(MAX_REDIRECTS + 1):
            request = await self._request(url)
            response = await self._transport.handle_async_request(request)
            try:
                if response.status_code not in REDIRECTS:
                    return await self._receive(response, file)
                url = _joined(url, response.headers.get("location", ""))
            finally:
                await response.aclose()
        raise UrlRefusedError(f"the address redirects more than {MAX_REDIRECTS} times. Give the last one.")

    async def _request(self, url: str) -> httpx.Request:
        """A request to the checked IP address that asks, and is answered, in the host's name."""
        parts = self._allowed(url)
        host, port = str(parts.hostname), parts.port or HTTPS_PORT
        address = await self._checked_address(host, port)
        literal = f"[{address}]" if ":" in address else address
        pinned = parts._replace(netloc=f"{literal}:{port}", fragment="").geturl()
        headers = {"Host": host if port == HTTPS_PORT else f"{host}:{port}", "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(self._settings.media_timeout_s).as_dict()
        try:
            return httpx.Request("GET", pinned, headers=headers, extensions={"sni_hostname": host, "timeout": timeout})
        except (httpx.InvalidURL, ValueError):  # ValueError: half a surrogate pair
            raise _malformed() from None

    def _allowed(self, url: str) -> SplitResult:
        if not self._settings.media_domains:
            raise UrlRefusedError("this server fetches no addresses. Upload the file, or send it as data:.")
        if len(url) > MAX_URL_LENGTH:
            raise UrlRefusedError(
                f"the address has {len(url)} characters; the limit is {MAX_URL_LENGTH}. Upload the file instead."
            )
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise _malformed() from None
        if parts.scheme != "https" or parts.username or parts.password:
            raise UrlRefusedError("only https addresses without a password are fetched. Upload the file instead.")
        names = {host, f"{host}:{HTTPS_PORT}"} if port in (None, HTTPS_PORT) else {f"{host}:{port}"}
        if names.isdisjoint(self._settings.media_domains):
            raise UrlRefusedError("the address's host is not on this server's list. Upload the file instead.")
        return parts

    async def _checked_address(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except OSError:
            raise DownloadError("the address's host has no IP address. Check the spelling.") from None
        if not addresses or not all(map(self._reachable, addresses)):
            raise UrlRefusedError("the address's host is not in the public internet. Upload the file instead.")
        return addresses[0]

    def _reachable(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if any(ip in network for network in self._settings.media_networks):
            return True
        if isinstance(ip, ipaddress.IPv6Address) and (ip not in UNICAST or ip.sixtofour or ip.teredo):
            return False  # these carry an IPv4 address that nobody has checked
        return ip.is_global and not ip.is_multicast

    async def _receive(self, response: httpx.Response, file: BinaryIO) -> None:
        if response.status_code != 200:
            raise DownloadError(f"the host answered with status {response.status_code}. Check the address.")
        size, limit = 0, self._settings.max_media_bytes
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > limit:
                raise DownloadError(f"the file is larger than {limit >> 20} MB. Cut it, or encode it smaller.")
            file.write(chunk)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _malformed() from None


def _malformed() -> UrlRefusedError:
    return UrlRefusedError("the address is malformed. Upload the file instead.")
