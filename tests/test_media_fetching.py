"""Addresses from strangers, on loopback: what is allowed is fetched, all else is refused without a connection."""

import asyncio
import ipaddress
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.gateway_errors import DownloadError, GatewayError, UrlRefusedError
from serving.gateway_settings import GatewaySettings
from serving.media_fetching import MediaFetcher

HOST, TRAP = "127.0.0.2", "127.0.0.1"  # only the first one is allowed
NAME = "videos.example"
CONTENT = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for NAME, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    made = f"req -x509 -newkey rsa:2048 -nodes -keyout {folder}/key -out {folder}/cert -days 2 -subj /CN={NAME}"
    subprocess.run(["openssl", *made.split(), "-addext", f"subjectAltName=DNS:{NAME}"], check=True, capture_output=True)
    path = folder / "both.pem"
    path.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return path


class Host:
    """An https server on HOST that answers by path, and a trap on the same port of TRAP."""

    def __init__(self, certificate: Path, answers: dict[str, bytes]):
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate)
        self._answers = answers
        self.asked: list[str] = []
        self.trapped = 0

    async def __aenter__(self) -> "Host":
        self._server = await asyncio.start_server(self._answer, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self._trap = await asyncio.start_server(self._spring, TRAP, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self._server, self._trap):
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        answer = self._answers.get(head.split()[1], self._answers["/missing"])
        answer = answer.replace(b"@PORT@", str(self.port).encode())
        writer.write(answer)
        if b"endless" in answer:
            await reader.read()  # until the client hangs up
        writer.close()

    async def _spring(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trapped += 1
        writer.close()


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


ANSWERS = {
    "/good.mp4": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT,
    "/here": moved("/good.mp4"),
    "/loop": moved("/loop"),
    "/to-loopback": moved(f"https://{TRAP}:@PORT@/a"),
    "/to-name-of-loopback": moved("https://trap.example:@PORT@/a"),
    "/to-metadata": moved("https://169.254.169.254/latest/meta-data"),
    "/to-http": moved(f"http://{NAME}:@PORT@/a"),
    "/to-file": moved("file:///etc/passwd"),
    "/to-data": moved("data:video/mp4;base64,AAAA"),
    "/to-nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://[\r\n\r\n",
    "/to-another-port": moved(f"https://{NAME}:8443/a"),
    "/to-latin-1": moved("https://caf\u00e9.example/").replace("\u00e9".encode(), b"\xe9"),
    "/to-much": moved(f"https://{NAME}:@PORT@/{'a' * 20_000}"),
    "/missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "/half": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf",
    "/slow": b"HTTP/1.1 200 OK\r\nX: endless\r\nContent-Length: 99\r\n\r\n",
}


def resolver(*turns: str) -> Callable:
    """Names to addresses: one turn after the other, the last one for ever."""
    left = list(turns)

    async def resolve(host: str, port: int) -> list[str]:
        if host == "trap.example":
            return [TRAP]
        return (left.pop(0) if len(left) > 1 else left[0]).split()

    return resolve


def fetch(certificate: Path, path: str, *turns: str, name: str = NAME, **settings) -> tuple[bytes, Host]:
    """What a fetcher brings, or raises; and the host it asked."""
    usual = {"media_domains": (NAME, "trap.example"), "media_networks": (ipaddress.ip_network(f"{HOST}/32"),)}
    wanted = usual | settings

    async def run() -> tuple[bytes, Host]:
        async with Host(certificate, ANSWERS) as host:
            trust = ssl.create_default_context(cafile=str(certificate))
            wanted["media_domains"] = tuple(f"{domain}:{host.port}" for domain in wanted["media_domains"])
            fetcher = MediaFetcher(GatewaySettings(**wanted), resolve=resolver(*turns or (HOST,)), trust=trust)
            try:
                file = await fetcher.fetch(f"https://{name}:{host.port}{path}")
                with file:
                    return file.read(), host
            except GatewayError as error:
                error.host = host  # type: ignore[attr-defined]
                raise
            finally:
                await fetcher.close()

    return asyncio.run(run())


def test_an_allowed_host_is_asked_under_its_own_name(certificate):
    content, host = fetch(certificate, "/here")
    assert content == CONTENT
    assert [asked.split()[1] for asked in host.asked] == ["/here", "/good.mp4"]
    assert f"Host: {NAME}:{host.port}" in host.asked[0]
    assert "identity" in host.asked[0]


def test_a_name_that_changes_its_address_changes_nothing(certificate):
    content, host = fetch(certificate, "/good.mp4", HOST, TRAP)
    assert content == CONTENT
    assert host.trapped == 0


@pytest.mark.parametrize(
    "addresses",
    [
        TRAP,
        f"{HOST} {TRAP}",  # one bad one among good ones
        "169.254.169.254",
        "10.0.0.1",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_addresses_that_are_not_public_are_refused_without_a_connection(certificate, addresses):
    with pytest.raises(UrlRefusedError, match="not in the public internet") as raised:
        fetch(certificate, "/good.mp4", addresses)
    assert (raised.value.host.asked, raised.value.host.trapped) == ([], 0)
    assert addresses.split()[0] not in str(raised.value)


@pytest.mark.parametrize("path", [path for path in ANSWERS if path.startswith("/to-")])
def test_a_redirect_is_checked_like_any_address(certificate, path):
    with pytest.raises(UrlRefusedError) as raised:
        fetch(certificate, path)
    assert len(raised.value.host.asked) == 1
    assert raised.value.host.trapped == 0
    assert raised.value.status == 400


def test_a_name_that_is_rebound_between_redirects(certificate):
    with pytest.raises(UrlRefusedError) as raised:
        fetch(certificate, "/here", HOST, TRAP)
    assert (len(raised.value.host.asked), raised.value.host.trapped) == (1, 0)


@pytest.mark.parametrize(
    "url",
    [
        "http://videos.example/a.mp4",
        "ftp://videos.example/a.mp4",
        "file:///etc/passwd",
        "https://user:pass@videos.example/a.mp4",
        "https://sub.videos.example/a.mp4",
        "https://videos.example.evil.example/a.mp4",
        "https://videos.example@evil.example/a.mp4",
        "https://127.0.0.1/a.mp4",
        "https://2130706433/a.mp4",
        "https://[::1]/a.mp4",
        "https://videos.example:port/a.mp4",
        "https://[/a.mp4",
        "https://videos.example:8443/a.mp4",  # another service of the same machine
        "https://videos.example:80/a.mp4",
        "https://videos.example:0/a.mp4",
        "https://videos.example/" + "a" * 70_000,
        "/etc/passwd",
        "",
    ],
)
def test_other_addresses_are_refused_before_a_name_is_looked_up(url):
    async def run(domains: tuple[str, ...]) -> None:
        async def resolve(host: str, port: int) -> list[str]:
            raise AssertionError("looked up")

        fetcher = MediaFetcher(GatewaySettings(media_domains=domains), resolve=resolve)
        with pytest.raises(UrlRefusedError):
            await fetcher.fetch(url)
        await fetcher.close()

    for domains in (("videos.example",), ()):
        asyncio.run(run(domains))


def test_what_goes_wrong_on_the_way_is_a_download_error(certificate):
    for path, settings in (
        ("/missing", {}),
        ("/half", {}),
        ("/slow", {"media_timeout_s": 0.5}),
        ("/good.mp4", {"max_media_bytes": len(CONTENT) - 1}),
    ):
        with pytest.raises(DownloadError) as raised:
            fetch(certificate, path, **settings)
        assert HOST not in str(raised.value)
    with pytest.raises(UrlRefusedError, match="more than 3 times"):
        fetch(certificate, "/loop")


def test_a_certificate_of_another_name_is_not_believed(certificate):
    with pytest.raises(DownloadError) as raised:
        fetch(certificate, "/good.mp4", name="other.example", media_domains=("other.example",))
    assert raised.value.host.asked == []


@pytest.mark.parametrize(
    "path", ["a\0b", "a\x7fb", "\ud800", "a\r\nHost: evil", "영상.mp4", "a b", "%zz", "?\0", "#\ud800"]
)
def test_no_path_is_more_than_refused_or_not_found(certificate, path):
    with pytest.raises(GatewayError):
        fetch(certificate, f"/missing/{path}")


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def test_a_host_that_never_answers(silent_port):
    async def run() -> None:
        settings = GatewaySettings(
            media_domains=(f"{NAME}:{silent_port}",),
            media_networks=(ipaddress.ip_network("127.0.0.0/8"),),
            media_timeout_s=0.3,
        )
        fetcher = MediaFetcher(settings, resolve=resolver(HOST))
        with pytest.raises(DownloadError, match=r"within 0\.3 s"):
            await fetcher.fetch(f"https://{NAME}:{silent_port}/a.mp4")
        await fetcher.close()

    asyncio.run(run())
