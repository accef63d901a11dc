"""The launched page, over its API: captions, bad files one after the other, and what must not be reachable."""

import asyncio
import html.parser
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from launched_demo import launched, loaded
from test_video_reading import BAD, GIF_BOMB, NOISE, PNG_BOMB, WHOLE
from video_fixtures import claim_size, make_clip

from demo import markup
from demo.captioners import Captioner
from demo.captioning import Caption
from demo.limits import UploadLimits
from demo.looking import Look
from demo.models import Models
from demo.page import MAX_WAITING, build_page
from demo.settings import USUAL_FRAMES
from demo.texts import TEXTS
from modeling.subtitles import Cue

NUM_FRAMES, NUM_TOKENS = 3, 24
VALUES = {"num_frames": NUM_FRAMES, "max_new_tokens": NUM_TOKENS}
LIMITS = UploadLimits(max_duration_s=30.0, max_width=320, max_height=240)


@pytest.fixture(scope="module")
def models(tiny_checkpoint: Path) -> Models:
    return loaded(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def captioner(models) -> Captioner:
    return models.captioners()[0]


@pytest.fixture(scope="module")
def url(models) -> Iterator[str]:
    with launched(models, LIMITS) as url:
        yield url


@pytest.fixture(scope="module")
def client(url) -> Client:
    return Client(url, verbose=False, analytics_enabled=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "짧은 영상.mp4"
    path.write_bytes(make_clip(20))
    return path


def ask(client: Client, path: Path, **values) -> dict:
    return client.predict(video=handle_file(path), api_name="/describe", **(VALUES | values))


def test_a_caption_comes_with_its_times_and_settings(client, captioner, clip):
    (expected,) = captioner.pipe(
        str(clip), num_frames=NUM_FRAMES, generate_kwargs={"max_new_tokens": NUM_TOKENS, "do_sample": False}
    )
    record = ask(client, clip)
    assert record["caption"] == expected["generated_text"]
    assert record["frame_times_s"] == pytest.approx(expected["frame_times_s"], abs=1e-3)
    assert record["file"] == clip.name and not record["warnings"]
    short = ask(client, clip, detail="short")
    assert expected["generated_text"].startswith(short["caption"])


def test_the_time_line_gives_parts(client, clip):
    record = client.predict(video=handle_file(clip), api_name="/timeline", **VALUES)
    assert [part["start_s"] for part in record["parts"]] == [0]
    assert record["srt"].startswith("1\n00:00:00,000 --> 00:00:02,000\n")


FILES = {name: content for name, (content, _) in BAD.items()} | {
    "gif bomb": GIF_BOMB,
    "png bomb": PNG_BOMB,
    "too large": make_clip([np.zeros((480, 640, 3), np.uint8)] * 3),
    "header lies": claim_size(make_clip([np.zeros((480, 640, 3), np.uint8)] * 3), 160, 120),
    "too long": make_clip(4, times_ms=[0, 10_000, 20_000, 40_000]),
}


def test_bad_files_get_a_code_in_two_languages_and_the_next_one_works(client, clip, tmp_path):
    expected = ask(client, clip)
    told = {}
    for number, (name, content) in enumerate(FILES.items()):
        bad = tmp_path / f"나쁜 'file' {number}.mp4"
        bad.write_bytes(content)
        with pytest.raises(AppError) as raised:
            ask(client, bad)
        told[name] = str(raised.value)
        assert '<span lang="ko">[E_' in told[name], name
        assert '<small lang="en">E_' in told[name], name
        assert str(tmp_path) not in told[name] and "/tmp" not in told[name] and "Traceback" not in told[name], name
    for name, (_, code) in BAD.items():
        assert f"[{code}]" in told[name], name
    assert "[E_TOO_LARGE]" in told["too large"] and "[E_TOO_LARGE]" in told["header lies"]
    assert "[E_TOO_LONG]" in told["too long"]
    assert ask(client, clip) == expected


def test_odd_files_are_captioned_and_what_is_odd_is_told(client, tmp_path):
    cut_short = make_clip(NOISE, muxer={"moov_size": "4000"})
    odd = {name: (make, None) for name, make in WHOLE.items()} | {
        "one frame": (lambda: make_clip(1), None),
        "other rate": (lambda: make_clip(4, times_ms=[0, 100, 900, 1000]), None),
        "turned": (lambda: make_clip(4, turn=(90, True, False)), None),
        "wide pixels": (lambda: make_clip(4, aspect=Fraction(4, 3)), None),
        "no times": (lambda: make_clip(container="h264", codec="libx264"), "no timestamps"),
        "cut short": (lambda: cut_short[: len(cut_short) * 2 // 3], "cut short"),
    }
    for number, (name, (make, warning)) in enumerate(odd.items()):
        path = tmp_path / f"{number}.mp4"  # whatever it holds
        path.write_bytes(make())
        record = ask(client, path)
        assert len(record["frame_times_s"]) == NUM_FRAMES, name
        assert warning is None or warning in str(record["warnings"]), name


def test_settings_out_of_range_are_refused(client, clip):
    with pytest.raises(AppError):
        ask(client, clip, num_frames=10_000)
    with pytest.raises(AppError):
        ask(client, clip, sampling="best")


def test_nobody_may_name_a_file_of_this_machine(url, client, clip, tmp_path):
    (tmp_path / "link.mp4").symlink_to(clip)
    for path in (clip, tmp_path / "link.mp4"):
        named = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        call = f"{url}gradio_api/call/describe"
        data = [named, NUM_FRAMES, "uniform", "long", 0, NUM_TOKENS]
        event = httpx.post(call, json={"data": data}).json()["event_id"]
        assert httpx.get(f"{call}/{event}", timeout=60).text.startswith("event: error")
    for path in (clip, "/etc/hostname", Path(__file__).parents[1] / "app.py"):
        assert httpx.get(f"{url}gradio_api/file={path}").status_code in (403, 404)


def test_clients_see_two_endpoints_and_no_buttons(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert {name for name in named if not name.startswith("/load_example")} == {"/describe", "/timeline"}
    assert [parameter["parameter_name"] for parameter in named["/describe"]["parameters"]] == [
        *("video", "num_frames", "sampling", "detail", "temperature", "max_new_tokens")
    ]


def test_the_page_is_there_before_torch_is():
    script = "import sys, app; sys.exit(' '.join({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_the_queue_has_an_end(models):
    assert build_page(models, [], LIMITS)._queue.max_size == MAX_WAITING


def test_who_comes_before_the_model_waits_for_it(tiny_checkpoint, clip):
    models = Models([str(tiny_checkpoint)])
    with launched(models, LIMITS) as url:
        early = Client(url, verbose=False, analytics_enabled=False)
        asked = early.submit(video=handle_file(clip), api_name="/describe", **VALUES)
        time.sleep(1)
        assert not asked.done()
        models.load()
        assert asked.result(timeout=60)["caption"]


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_the_program(tmp_path):
    env = os.environ | {"KOCAP_MODEL": str(tmp_path / "none")}
    run = subprocess.run(
        [sys.executable, "app.py"], cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 1 and "모델을 불러올 수 없습니다" in run.stderr, run.stderr
    assert "Traceback" not in run.stderr


def test_what_a_client_leaves_out_is_as_the_model_is_used_to(client, captioner, clip):
    record = client.predict(video=handle_file(clip), max_new_tokens=NUM_TOKENS, api_name="/describe")
    assert record["settings"]["num_frames"] == captioner.num_frames != USUAL_FRAMES
    assert len(record["frame_times_s"]) == captioner.num_frames


def test_tools_of_the_mcp_server_describe_their_arguments(url):
    pytest.importorskip("mcp", reason="the MCP server needs gradio[mcp]")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def list_tools():
        async with streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _), ClientSession(read, write) as s:
            await s.initialize()
            return (await s.list_tools()).tools

    tools = asyncio.run(list_tools())
    assert len(tools) == 2
    assert all("Korean" in tool.description for tool in tools)
    for tool in tools:
        properties = tool.inputSchema["properties"]
        assert {"video", "num_frames", "temperature"} <= properties.keys()
        assert all(value.get("description") for value in properties.values()), properties


class _Links(html.parser.HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_names_and_captions_cannot_write_html():
    seen = Look(np.zeros((1, 3, 4, 4), np.uint8), (0.5,), 0.0, 2.0)
    evil = '"><script>alert(1)</script>'
    cue = Cue(0.0, 2.0, evil)
    pages = [
        markup.player(f"/tmp/{evil}.mp4", seen, [cue]),
        markup.downloads(f"/tmp/{evil}.mp4", [cue], {"caption": evil}),
        markup.cue_table([cue]),
        markup.frame_strip(seen),
    ]
    for page in pages:
        assert "script" not in {tag for tag, _ in _Links(page).tags}
    (first, *_) = [attrs for tag, attrs in _Links(pages[1]).tags if tag == "a"]
    assert first["download"] == "script>.srt" or evil in first["download"]


def test_a_caption_without_text_leaves_no_subtitles():
    seen = Look(np.zeros((1, 3, 4, 4), np.uint8), (0.5,), 0.0, 2.0)
    assert Caption(seen, " ").cues == []
    assert [cue.text for cue in Caption(seen, "하나. 둘.").cues] == ["하나.", "둘."]


def test_every_text_is_in_both_languages_with_the_same_blanks():
    for key, (korean, english) in TEXTS.items():
        assert any("가" <= letter <= "힣" for letter in korean), key
        assert english.isascii() or set(english) - set(map(chr, range(128))) <= set("·×"), key
        assert korean.count("{") == english.count("{"), key
