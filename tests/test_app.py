"""The demo's functions called directly, and the launched page through its API."""

import itertools
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from video_fixtures import make_clip, make_sound

from app import MAX_WAITING, build_demo, look, make_describe, make_examples, stream_caption
from modeling.captioner import load_captioner
from processing.pipeline_kocap import KoCapPipeline
from processing.video_reading_kocap import probe

NUM_FRAMES, NUM_TOKENS = 3, 24


@pytest.fixture(scope="module")
def pipe(tiny_checkpoint: Path) -> KoCapPipeline:
    return load_captioner(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clips") / "짧은 영상.mp4"
    path.write_bytes(make_clip(20))
    return str(path)


@pytest.fixture(scope="module")
def expected(pipe: KoCapPipeline, clip: str) -> dict:
    """What the pipeline says about the clip."""
    return pipe(clip, num_frames=NUM_FRAMES, max_new_tokens=NUM_TOKENS)[0]


def test_the_stream_grows_into_what_the_pipeline_returns(pipe, clip, expected):
    inputs, seen = look(pipe, clip, num_frames=NUM_FRAMES)
    *parts, caption = stream_caption(pipe, inputs, max_new_tokens=NUM_TOKENS)
    assert len(parts) > 2
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(parts))
    assert caption == expected["generated_text"]
    assert [time for _, time in seen] == [f"{t:.1f}초" for t in expected["frame_times_s"]]
    assert {(frame.shape, str(frame.dtype)) for frame, _ in seen} == {((64, 96, 3), "uint8")}


def test_a_listener_who_leaves_ends_the_generation(pipe, clip):
    inputs, _ = look(pipe, clip, num_frames=NUM_FRAMES)
    steps = []
    hook = pipe.model.register_forward_hook(lambda *_: steps.append(1))
    stream = stream_caption(pipe, inputs, max_new_tokens=1000)
    next(stream)
    stream.close()  # returns when the thread has ended
    hook.remove()
    assert 0 < len(steps) < 500


@pytest.mark.parametrize(
    ("content", "code", "korean"),
    [
        (b"", "E_EMPTY", "비어 있습니다"),
        (b"no video at all" * 99, "E_NOT_VIDEO", "영상 파일이 아니거나"),
        (make_sound("mp3", "libmp3lame"), "E_NO_VIDEO", "소리만"),
    ],
)
def test_a_bad_file_is_explained_and_the_next_one_works(pipe, clip, expected, tmp_path, content, code, korean):
    bad = tmp_path / "나쁜 'file'.mp4"
    bad.write_bytes(content)
    describe, outputs = make_describe(pipe), []
    with pytest.raises(gr.Error) as raised:
        for output in describe(str(bad), NUM_FRAMES, NUM_TOKENS):
            outputs.append(output)
    error = raised.value
    assert korean in error.message
    assert outputs[-1][2] == error.message  # also on the page, where it stays
    assert f"[{code}]" in error.message
    assert str(tmp_path) not in error.message
    assert bad.name in error.message.replace("\\'", "'")
    assert list(describe(clip, NUM_FRAMES, NUM_TOKENS))[-1][0] == expected["generated_text"]


def test_what_is_odd_about_a_file_stays_on_the_page(pipe, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
    whole = make_clip(list(noise), muxer={"moov_size": "4000"})  # moov first, as in "fast start"
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    caption, seen, notice = list(make_describe(pipe)(str(tmp_path / "half.mp4"), NUM_FRAMES, NUM_TOKENS))[-1]
    assert caption and len(seen) == NUM_FRAMES
    assert "잘렸을 수 있습니다" in notice and "W_CUT_SHORT" in notice


def test_what_goes_wrong_in_the_thread_reaches_the_user(pipe, clip):
    with pytest.raises(gr.Error, match=r"E_GENERATE.*ValueError") as raised:
        list(make_describe(pipe)(clip, NUM_FRAMES, -1))  # generate() refuses to write -1 tokens
    assert "Traceback" not in raised.value.message


def test_no_video_is_a_korean_message(pipe):
    with pytest.raises(gr.Error, match="영상을 올리거나"):
        next(make_describe(pipe)(None, NUM_FRAMES, NUM_TOKENS))


def test_the_page_answers_over_its_api(pipe, clip, expected, tmp_path):
    demo = build_demo(pipe, [])
    assert demo._queue.max_size == MAX_WAITING
    not_video = tmp_path / "note.mp4"
    not_video.write_bytes(b"hello" * 99)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        client = Client(url, verbose=False, analytics_enabled=False)
        with pytest.raises(AppError, match="E_NOT_VIDEO"):
            client.predict(handle_file(not_video), NUM_FRAMES, NUM_TOKENS, api_name="/describe")
        (tmp_path / "link.mp4").symlink_to(clip)
        for path in (clip, tmp_path / "link.mp4"):  # nobody may name a file of this machine that was not uploaded
            named = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
            call = f"{url}gradio_api/call/describe"
            event = httpx.post(call, json={"data": [named, NUM_FRAMES, NUM_TOKENS]}).json()["event_id"]
            assert httpx.get(f"{call}/{event}", timeout=60).text.startswith("event: error")
        caption, seen, notice = client.predict(handle_file(clip), NUM_FRAMES, NUM_TOKENS, api_name="/describe")
    finally:
        demo.close()
    assert caption == expected["generated_text"]
    assert len(seen) == NUM_FRAMES
    assert not notice


def test_examples_are_drawn_once_and_are_videos(tmp_path, monkeypatch):
    monkeypatch.setattr("app.EXAMPLE_SEEDS", (1_500_000_023,))
    (path,) = make_examples(tmp_path / "examples")
    written = path.stat().st_mtime_ns
    facts = probe(path)
    assert (facts.width, facts.height) == (640, 360)
    assert make_examples(tmp_path / "examples") == [path]
    assert path.stat().st_mtime_ns == written
    assert [file.name for file in path.parent.iterdir()] == [path.name]
