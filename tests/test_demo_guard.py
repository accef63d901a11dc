"""What strangers do to the demo: URLs, floods, uploads that break off, answers that nobody waits for or reads."""

import asyncio
import base64
import importlib.util
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from gradio.utils import get_upload_folder
from launched_demo import launched, launched_page, loaded
from video_fixtures import make_clip

from demo.limits import ConnectionLimits, UploadLimits
from demo.models import Models

needs_mcp = pytest.mark.skipif(not importlib.util.find_spec("mcp"), reason="the MCP server needs gradio[mcp]")
PATIENT_S = 30.0  # for what takes a moment; whatever lasts longer does not end
FILE = {"_type": "gradio.FileData"}
CLIP = make_clip(20)
QUICK = ConnectionLimits(max_json_mb=1, max_silence_s=2.0, max_sending_s=2.0, max_unheard_s=1.5)
STEP_S = 0.02  # a token of the slowed model


def until(is_so: Callable[[], object], timeout_s: float = PATIENT_S) -> bool:
    """Wait for something in this process that no event tells of."""
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def models(tiny_checkpoint: Path) -> Models:
    return loaded(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def url(models) -> Iterator[str]:
    with launched(models, UploadLimits(max_file_mb=1), connections=QUICK) as url:
        yield url


def visitor(url: str) -> httpx.Client:
    return httpx.Client(base_url=f"{url}gradio_api/", timeout=120)


@pytest.fixture
def client(url) -> Iterator[httpx.Client]:
    with visitor(url) as client:
        yield client


@pytest.fixture
def bait(monkeypatch) -> Iterator[tuple[str, list[str]]]:
    """A server of files that Gradio would trust, and who has come for them."""
    visits: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            visits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CLIP)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("gradio.processing_utils.PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])
    yield f"http://127.0.0.1:{server.server_port}/bait.mp4", visits
    server.shutdown()
    server.server_close()


def upload(client: httpx.Client, content: bytes = CLIP, name: str = "a.mp4") -> str:
    (path,) = client.post("upload", files={"files": (name, content, "video/mp4")}).raise_for_status().json()
    return path


def arguments(path: str, max_new_tokens: int = 4) -> list:
    return [{"path": path, "meta": FILE}, 2, "uniform", "long", 0, max_new_tokens]


def ask(client: httpx.Client, data: list) -> str:
    event = client.post("call/describe", json={"data": data}).raise_for_status().json()["event_id"]
    return client.get(f"call/describe/{event}").text


# What a call may name


def test_no_endpoint_opens_a_url(url, client, bait):
    address, visits = bait
    named = {"path": address, "orig_name": "a.mp4", "meta": FILE}
    config = httpx.get(f"{url}config").json()
    videos = {part["id"] for part in config["components"] if part["type"] == "video"}
    chats = {part["id"] for part in config["components"] if part["type"] == "chatbot"}
    told = {}
    for function in config["dependencies"]:
        data = [named if part in videos else None for part in function["inputs"]]
        if not videos & set(function["inputs"]):
            continue
        joined = {"data": data, "fn_index": function["id"], "session_hash": f"s{function['id']}"}
        client.post("queue/join", json=joined).raise_for_status()
        told[function["api_name"]] = client.get("queue/data", params={"session_hash": joined["session_hash"]}).text
        if chats & set(function["inputs"]):  # a file in the conversation is one as well
            said = [{"role": "user", "content": [{"type": "file", "file": named}]}]
            data = [said if part in chats else None for part in function["inputs"]]
            client.post("queue/join", json=joined | {"data": data}).raise_for_status()
            told["chat"] = client.get("queue/data", params={"session_hash": joined["session_hash"]}).text
        client.post(f"run/{function['api_name']}", json=joined)
    assert {"describe", "timeline", "page_describe", "page_ask", "chat"} <= told.keys()
    assert all("[E_FORMAT]" in answer for answer in told.values()), told
    assert visits == []


@needs_mcp
def test_no_mcp_tool_opens_a_url(url, bait):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    address, visits = bait

    async def call() -> str:
        async with streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _), ClientSession(read, write) as s:
            await s.initialize()
            (tool, *_) = (await s.list_tools()).tools
            return str((await s.call_tool(tool.name, {"video": address})).content)

    assert "E_FORMAT" in asyncio.run(call())
    assert visits == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "E_NOT_FILE"),
        ("a.mp4", "E_NOT_FILE"),
        ("../a.mp4", "E_NOT_FILE"),
        ("/tmp/\0.mp4", "E_NOT_FILE"),
        ("data:video/mp4;base64,AAAA", "E_NOT_FILE"),
        ("FILE:///etc/hostname", "E_FORMAT"),
        ("/etc/hostname", "E_REQUEST"),
    ],
)
def test_what_is_no_upload_has_a_code(client, path, code):
    assert f"[{code}]" in ask(client, arguments(path))


def test_settings_out_of_range_have_a_code(client):
    assert "[E_REQUEST]" in ask(client, [*arguments(upload(client))[:4], 99, 4])


# Bodies


def form(*names: str, content: bytes = CLIP) -> tuple[bytes, dict[str, str]]:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="files"{name}\r\nContent-Type: video/mp4\r\n\r\n'.encode()
        + content
        for name in names
    ]
    return b"\r\n".join([*parts, b"--b--\r\n"]), {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("name", ["", '; filename=".."'])
def test_an_upload_without_a_file_name_has_a_code(client, name):
    body, headers = form(name)
    answer = client.post("upload", content=body, headers=headers)
    assert answer.status_code == 400 and answer.text.startswith("[E_UPLOAD]") and "E_UPLOAD: " in answer.text
    assert client.post("upload", content=b"{}", headers={"Content-Type": "text/plain"}).text.startswith("[E_UPLOAD]")
    assert upload(client)


def uploads() -> set[Path]:
    return {path for path in Path(get_upload_folder()).rglob("*") if path.is_file()}


def test_the_limit_holds_for_all_files_of_an_upload_together(client):
    before = uploads()
    half = b"\0" * (600 << 10)
    body, headers = form('; filename="a.mp4"', '; filename="b.mp4"', content=half)
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    for content in (body, pieces):  # with its length declared, and without
        answer = client.post("upload", content=content, headers=headers)
        assert (answer.status_code, answer.text[:13]) == (413, "[E_BODY_SIZE]")
    assert until(lambda: uploads() <= before)
    assert upload(client, half)


@pytest.mark.parametrize(
    "route", ["call/describe", "queue/join", "run/describe", "cancel", pytest.param("mcp/", marks=needs_mcp)]
)
def test_other_bodies_are_small(client, route):
    answer = client.post(route, json={"data": ["x" * (1 << 20)]}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.text[:13]) == (413, "[E_BODY_SIZE]")
    pieces = (b" " * 65536 for _ in range(20))
    answer = client.post(route, content=pieces, headers={"Content-Type": "application/json", "Accept": "*/*"})
    assert (answer.status_code, answer.text[:13]) == (413, "[E_BODY_SIZE]")


@pytest.mark.parametrize("how", ["leaves", "falls silent"])
def test_an_upload_that_breaks_off_leaves_no_file(url, how):
    before, (body, headers) = uploads(), form('; filename="a.mp4"')
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as stranger:
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n"
        stranger.sendall(f"{head}Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body[:-100])
        assert until(lambda: uploads() - before)
        if how == "falls silent":
            stranger.settimeout(PATIENT_S)
            assert b"E_BODY_TIME" in stranger.recv(4096)
    assert until(lambda: uploads() <= before), uploads() - before


# Who is not there


@pytest.fixture
def slow_model(models) -> Iterator[list[int]]:
    """Makes a token take a while; counts them."""
    (captioner,) = models.captioners()
    tokens: list[int] = []

    def wait(*_):
        tokens.append(1)
        threading.Event().wait(STEP_S)

    model = captioner.pipe.model
    ends, model.generation_config.eos_token_id = model.generation_config.eos_token_id, None
    hook = model.register_forward_pre_hook(wait)
    yield tokens
    hook.remove()
    model.generation_config.eos_token_id = ends


MANY = 1024
FEW = 500  # tokens: far from done, and much more than it takes to notice


def running(page) -> int:
    return page._queue.get_active_worker_count() + len(page._queue)


@pytest.mark.slow
def test_a_call_that_nobody_waits_for_ends_and_others_get_their_turn(models, slow_model):
    with launched_page(models, UploadLimits(), connections=QUICK) as (page, url), visitor(url) as client:
        data = arguments(upload(client), MANY)
        posted = [client.post("call/describe", json={"data": data}).json()["event_id"] for _ in range(3)]
        assert '"caption"' in ask(client, arguments(upload(client)))
        assert until(lambda: running(page) == 0)
        assert len(slow_model) < FEW
        assert "[E_UNHEARD]" in client.get(f"call/describe/{posted[0]}").text
        assert '"caption"' in ask(client, arguments(upload(client), 150))  # who listens is not hurried


@pytest.mark.slow
@needs_mcp
def test_a_tool_s_call_ends_when_its_caller_has_left(models, slow_model):
    clip = "data:video/mp4;base64," + base64.b64encode(CLIP).decode()
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"Accept": "application/json, text/event-stream"}
    with launched_page(models, UploadLimits(), connections=QUICK) as (page, url), visitor(url) as client:
        names = re.findall(r'"name":\s*"(\w*describe)"', client.post("mcp/", json=listing, headers=accept).text)
        call = {"name": names[0], "arguments": {"video": clip, "max_new_tokens": MANY}}
        asked = json.dumps(listing | {"method": "tools/call", "params": call}).encode()
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port)) as leaving:
            head = f"POST /gradio_api/mcp/ HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: {accept['Accept']}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
            leaving.sendall(head.encode() + asked)
            assert until(lambda: slow_model)
        assert until(lambda: running(page) == 0)
    assert len(slow_model) < FEW


@pytest.mark.slow
def test_an_answer_that_nobody_reads_is_given_up(models):
    with launched_page(models, UploadLimits(), connections=QUICK) as (page, url):
        address = urlsplit(url)
        with visitor(url) as client:
            path = upload(client, b"\0" * (32 << 20))
        requests = page.server.server_state.tasks
        assert until(lambda: not requests)
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stranger.connect((address.hostname, address.port))
            stranger.sendall(f"GET /gradio_api/file={path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            assert until(lambda: requests)
            assert until(lambda: not requests)


# Where it answers


def test_it_answers_under_its_own_names_only(url):
    for host, status in (("evil.example", 421), ("127.0.0.1.evil.example", 421), ("LOCALHOST:7860", 200)):
        answer = httpx.get(url, headers={"Host": host})
        assert answer.status_code == status, host
    assert "[E_HOST]" in httpx.post(f"{url}gradio_api/queue/join", json={}, headers={"Host": "evil.example:80"}).text


def test_hosts_follow_from_how_it_is_started():
    hosts = {name: ConnectionLimits.of_environment(variables).hosts for name, variables in STARTS.items()}
    assert "127.0.0.1" in hosts["alone"] and "*" not in hosts["alone"]
    assert hosts["space"] == hosts["shared"] == ("*",)
    assert "demo.example.org" in hosts["named"] and "127.0.0.1" in hosts["named"] and "*" not in hosts["named"]


STARTS = {
    "alone": {},
    "space": {"GRADIO_SERVER_NAME": "0.0.0.0"},
    "shared": {"GRADIO_SHARE": "True"},
    "named": {"GRADIO_SERVER_NAME": "0.0.0.0", "KOCAP_HOSTS": "Demo.example.org, other.example"},
}


def test_routes_that_the_page_does_not_need_are_closed(client):
    """Gradio's own screen recorder would run ffmpeg on what it is sent."""
    files = {"video": ("a.mp4", CLIP, "video/mp4")}
    assert "[E_ROUTE]" in client.post("process_recording", files=files, data={"zoom_effects": "[]"}).text
    assert "[E_ROUTE]" in client.post("component_server", json={}).text
    assert client.post("run/describe", json={"data": arguments("/a.mp4")}).status_code == 404
