"""Requests that no honest client sends: answered with a code, never with 500, and not repeated in the log."""

import asyncio
import json
import logging

import httpx
import pytest
from gateway_fixtures import CLIP, MODEL, Stage, chat_json, data_url, play

from serving.json_log import JsonLines

HALF = "\\ud800"  # a surrogate pair's first half, as JSON may write it
SECRET = "geheim"


def chat_about(url: str, kind: str = "video_url") -> str:
    return json.dumps(chat_json({"type": kind, kind: {"url": url}})).replace(HALF * 2, HALF)


BODIES = {
    "text": json.dumps(chat_json({"type": "text", "text": "@"})),
    "url": chat_about("https://videos.example/@"),
    "picture's url": chat_about("https://videos.example/@", "image_url"),
    "data": chat_about("data:;base64,@"),
    "picture's data": chat_about("data:;base64,@", "image_url"),
    "model": json.dumps(chat_json(model="@")),
    "name": json.dumps(chat_json() | {"@": 1}),
    "role": json.dumps({"model": MODEL, "messages": [{"role": "@", "content": "a"}]}),
}
CHARSETS = (
    "utf-7",
    "unicode_escape",
    "raw_unicode_escape",
    "utf-16",
    "punycode",
    "idna",
    "base64",
    "undefined",
    "zip",
    "",
)


@pytest.mark.parametrize("strange", [HALF, "\\u0000", HALF + "\\ud800", "\\udfff", "\\u2028", "a" * 70_000])
def test_strange_texts_are_answered_with_a_code(strange):
    async def scenario(stage: Stage) -> None:
        for name, body in BODIES.items():
            response = await stage.client.post("/v1/chat/completions", content=body.replace("@", strange))
            assert (name, response.status_code) in {(name, 200), (name, 400), (name, 404)}
            json.loads(response.text)
        caption = json.dumps({"video": data_url(CLIP), "prompt": "@"}).replace("@", strange)
        assert (await stage.client.post("/v1/captions", content=caption)).status_code in (200, 400)

    play(scenario, media_domains=("videos.example",))


@pytest.mark.parametrize("charset", CHARSETS)
def test_forms_in_strange_charsets_are_answered_with_a_code(charset):
    fields = {"prompt": b"\\ud800 +2AA- \xed\xa0\x80", "video": b"https://videos.example/\\ud800\xed\xa0\x80"}
    part = b'--x\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    form = b"".join(part % (name.encode(), value) for name, value in fields.items()) + b"--x--\r\n"

    async def scenario(stage: Stage) -> None:
        headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
        response = await stage.client.post("/v1/captions", content=form, headers=headers)
        assert response.status_code == 400
        assert response.json()["error"]["code"].startswith("E_")

    play(scenario, media_domains=("videos.example",))


POST = "POST /v1/captions HTTP/1.1\r\nHost: a\r\n"
HEADS = {
    "method": f"{SECRET.upper()} /health HTTP/1.1\r\nHost: a\r\n\r\n",
    "path": f"GET /{SECRET}?{SECRET} HTTP/1.1\r\nHost: a\r\n\r\n",
    "host": f"GET /health HTTP/1.1\r\nHost: {SECRET}\r\n\r\n",
    "user": f"GET /health HTTP/1.1\r\nHost: a\r\nUser-Agent: {SECRET}\r\nX-Forwarded-For: {SECRET}\r\n\r\n",
    "id": f"GET /health HTTP/1.1\r\nHost: a\r\nX-Request-Id: {SECRET} 1\r\n\r\n",
    "upgrade": f"GET /health HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {SECRET}\r\n\r\n",
    "no HTTP": f"{SECRET}\r\n\r\n",
    "no version": f"GET /{SECRET} HTTP/9.9\r\n\r\n",
    "a target": f"GET http://{SECRET}/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a length": f"{POST}Content-Length: {SECRET}\r\n\r\n",
    "a coding": f"{POST}Transfer-Encoding: {SECRET}\r\n\r\n",
    "a type": f"{POST}Content-Length: 1\r\nContent-Type: {SECRET}/a\r\n\r\na",
    "a boundary": f"{POST}Content-Length: 1\r\nContent-Type: multipart/form-data; boundary={SECRET}\r\n\r\na",
}


def test_the_log_holds_nothing_that_a_client_chose(caplog):
    async def scenario(stage: Stage) -> None:
        for head in HEADS.values():
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
            writer.write(head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1).encode())
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer.startswith(b"HTTP/1.1 ") and not answer.startswith(b"HTTP/1.1 5")
            writer.close()

    with caplog.at_level(logging.INFO):
        play(scenario, header_timeout_s=2.0)
    lines = [JsonLines().format(record) for record in caplog.records if record.name != "httpx"]
    assert not any(SECRET in line.lower() for line in lines)
    requests = [entry for entry in map(json.loads, lines) if entry["logger"] == "kocap.requests"]
    assert requests[0]["method"] == "other" and {entry["method"] for entry in requests} == {"other", "GET", "POST"}


def test_every_line_of_the_log_is_json():
    records = [
        logging.LogRecord("asyncio", logging.ERROR, "", 1, f"never retrieved\nfuture: {SECRET}\n{SECRET}", (), None),
        logging.LogRecord("a", logging.ERROR, "", 1, "%s", (httpx.URL("https://a"),), None),
    ]
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        records.append(logging.LogRecord("a", 40, "", 1, "failed\n", (), (ValueError, error, error.__traceback__)))
    for record in records:
        line = JsonLines().format(record)
        assert "\n" not in line and SECRET not in line
        assert json.loads(line)["level"] == "ERROR"
