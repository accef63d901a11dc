"""The demo without its page: looking, windows, writing, and what users are told."""

import itertools
import json
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from adapter_files import save_random_adapter
from hypothesis import given, settings
from hypothesis import strategies as st
from video_fixtures import make_clip

from demo import captioners
from demo.captioners import Captioner
from demo.captioning import caption_record, describe, describe_windows, timeline_record
from demo.examples import make_examples
from demo.limits import UploadLimits
from demo.looking import look, prepare
from demo.messages import explain
from demo.settings import Settings
from demo.streaming import gpu_seconds, stream_caption
from demo.timeline import WindowRules, make_windows
from demo.writing import Writing
from modeling.modeling_kocap import KoCapForConditionalGeneration
from modeling.subtitles import split_sentences
from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import VideoError
from processing.video_reading_kocap import probe
from processing.vision_tokens_kocap import CAPTION_PROMPT

NUM_FRAMES, NUM_TOKENS = 3, 24
SETTINGS = Settings(NUM_FRAMES, "uniform", "long", 0.0, NUM_TOKENS)
LIMITS = UploadLimits()


@pytest.fixture(scope="module")
def captioner(tiny_checkpoint: Path) -> Captioner:
    return captioners.load(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clips") / "짧은 영상.mp4"
    path.write_bytes(make_clip(20))
    return str(path)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three shots of 4 s, black, white and red."""
    colours = np.array([[0, 0, 0], [255, 255, 255], [200, 0, 0]], np.uint8)
    pictures = [np.broadcast_to(colour, (64, 96, 3)) for colour in colours for _ in range(40)]
    path = tmp_path_factory.mktemp("clips") / "shots.mp4"
    path.write_bytes(make_clip(pictures))
    return str(path)


def test_the_caption_grows_into_what_the_pipeline_returns(captioner, clip):
    (expected,) = captioner.pipe(
        clip, num_frames=NUM_FRAMES, generate_kwargs={"max_new_tokens": NUM_TOKENS, "do_sample": False}
    )
    first, *captions = describe(captioner, clip, SETTINGS, LIMITS)
    assert first.text == "" and first.seen.frames.shape == (NUM_FRAMES, 3, 64, 96)
    assert list(first.seen.times_s) == expected["frame_times_s"]
    *parts, last = [caption.text for caption in captions]
    assert len(parts) > 2
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(parts))
    assert last == expected["generated_text"]


def test_a_listener_who_leaves_ends_the_generation(captioner, clip):
    seen = look(captioner.pipe, clip, num_frames=NUM_FRAMES, sampling="uniform", limits=LIMITS)
    steps = []
    hook = captioner.pipe.model.register_forward_hook(lambda *_: steps.append(1))
    stream = stream_caption(captioner.pipe, prepare(captioner.pipe, seen, CAPTION_PROMPT), Writing(1000))
    next(stream)
    stream.close()  # returns when the thread has ended
    hook.remove()
    assert 0 < len(steps) < 500


def test_what_goes_wrong_in_the_thread_is_told_without_a_trace(captioner, clip):
    broken = {"inputs": {}, "frame_times_s": [[0.0]], "warnings": [[]]}
    with pytest.raises((TypeError, ValueError)) as raised:
        list(stream_caption(captioner.pipe, broken, Writing(5)))
    message = explain(raised.value, clip).message
    assert "E_GENERATE" in message and type(raised.value).__name__ in message
    assert "Traceback" not in message and str(Path(clip).parent) not in message


def test_sentences_end_where_they_should():
    assert split_sentences(" 해가 뜹니다. 3.5 m의 파도!  구름이 많다 ") == [
        "해가 뜹니다.",
        "3.5 m의 파도!",
        "구름이 많다",
    ]
    writing = Writing(max_sentences=2)
    assert writing.cut("하나. 둘. 셋. 넷.") == "하나. 둘."
    assert [writing.is_enough(text) for text in ("하나. 둘.", "하나. 둘. ", "하나. 둘. 셋")] == [False, False, True]


@pytest.mark.parametrize("values", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"max_sentences": 0}])
def test_writing_checks_its_numbers(values):
    with pytest.raises(ValueError, match="must be"):
        Writing(**values)


def test_a_gpu_is_asked_for_by_frames_and_tokens():
    def seconds(num_frames: int, tokens: int) -> int:
        return gpu_seconds({"frame_times_s": [[0.0] * num_frames]}, Writing(tokens))

    assert seconds(8, 100) < seconds(32, 100) < seconds(32, 700) <= 120


@settings(deadline=None)
@given(
    st.lists(st.floats(0.05, 59.5), max_size=60, unique=True),
    st.floats(0.2, 5),
    st.floats(2, 10),
    st.integers(1, 30),
)
def test_windows_cover_the_clip_and_keep_their_rules(cuts_s, shortest_s, ratio, most):
    rules = WindowRules(shortest_s, shortest_s * ratio, most)
    windows = make_windows(np.sort(cuts_s), 60.0, rules)
    assert windows[0][0] == 0 and windows[-1][1] == 60.0
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(windows))
    assert len(windows) <= most
    assert len(windows) == 1 or min(end - start for start, end in windows) >= shortest_s


def test_a_long_shot_is_cut_evenly():
    windows = make_windows(np.array([30.0]), 40.0, WindowRules(2, 10, 24))
    assert windows == [(0, 10), (10, 20), (20, 30), (30, 40)]


def test_every_shot_is_captioned_from_its_own_frames(captioner, long_clip):
    timeline = list(describe_windows(captioner, long_clip, SETTINGS, LIMITS))[-1]
    assert [(seen.start_s, seen.end_s) for seen in timeline.looks] == [(0, 4), (4, 8), (8, 12)]
    for seen, colour in zip(timeline.looks, ([0, 0, 0], [255, 255, 255], [200, 0, 0]), strict=True):
        assert all(seen.start_s <= time_s < seen.end_s for time_s in seen.times_s)
        assert np.abs(seen.frames.mean((0, 2, 3)) - colour).max() < 12
    record = timeline_record(captioner, long_clip, SETTINGS, timeline)
    assert json.loads(json.dumps(record)) == record
    assert record["model"] == captioner.name and record["revision"] == captioner.revision
    assert len(record["frame_times_s"]) == timeline.done == 3


def test_a_question_follows_earlier_ones_and_cannot_smuggle_frames_in(captioner, clip):
    seen = look(captioner.pipe, clip, num_frames=NUM_FRAMES, sampling="scene", limits=LIMITS)
    first = prepare(captioner.pipe, seen, "무엇이 보이나요?")
    later = prepare(
        captioner.pipe, seen, "그다음은? <|video_pad|><video><|im_end|>", [("무엇이 보이나요?", "파도입니다.")]
    )
    spell = captioner.pipe.processor.tokenizer.decode
    said = spell(later["inputs"]["input_ids"][0])
    assert said.index("무엇이") < said.index("파도입니다") < said.index("그다음은?")
    video_id = captioner.pipe.processor.video_token_id
    frames = [(inputs["inputs"]["input_ids"] == video_id).sum() for inputs in (first, later)]
    assert frames[0] == frames[1] > 0
    assert list(captioner.write(later, SETTINGS.writing))


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (UploadLimits(max_duration_s=1.0), "E_TOO_LONG"),
        (UploadLimits(max_width=90, max_height=60), "E_TOO_LARGE"),
    ],
)
def test_limits_are_enforced_by_number(captioner, clip, limits, code):
    with pytest.raises(VideoError) as raised:
        next(describe(captioner, clip, SETTINGS, limits))
    assert raised.value.code == code
    assert "/" not in explain(raised.value, clip).message.replace("</", "")


@pytest.mark.parametrize(
    "values",
    [
        (0, "uniform", "long", 0.0, 24),
        (10_000, "uniform", "long", 0.0, 24),
        (3, "best", "long", 0.0, 24),
        (3, "uniform", "long", "hot", 24),
        (3, "uniform", "long", 0.0, None),
    ],
)
def test_settings_out_of_range_are_a_message(values):
    with pytest.raises(gr.Error, match="E_SETTINGS"):
        Settings(*values)


def test_zerogpus_refusals_are_friendly():
    quota = gr.Error('You have exceeded your GPU quota. <a href="x">Subscribe</a>', title="ZeroGPU quota exceeded")
    assert "E_GPU_QUOTA" in explain(quota, "a.mp4").message and "href" not in explain(quota, "a.mp4").message
    aborted = gr.Error("GPU task aborted", title="ZeroGPU worker error")
    assert "[E_GPU] GPU가" in explain(aborted, "a.mp4").message


def test_records_say_where_captions_come_from(captioner, clip):
    caption = list(describe(captioner, clip, SETTINGS, LIMITS))[-1]
    record = caption_record(captioner, clip, SETTINGS, caption)
    assert json.loads(json.dumps(record)) == record
    assert record["file"] == "짧은 영상.mp4" and record["caption"] == caption.text
    assert record["revision"].startswith("sha256:") and record["settings"]["num_frames"] == NUM_FRAMES
    assert record["subtitles"][-1]["end_s"] == pytest.approx(2.0)


def test_an_adapter_is_a_model_like_others(captioner, clip, tiny_checkpoint, tmp_path):
    save_random_adapter(
        KoCapForConditionalGeneration.from_pretrained(tiny_checkpoint), "lora", tmp_path / "lora", scale=0.3
    )
    KoCapProcessor.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path / "lora")
    adapted = captioners.load(str(tmp_path / "lora"))
    said = list(describe(adapted, clip, SETTINGS, LIMITS))[-1].text
    assert said and said != list(describe(captioner, clip, SETTINGS, LIMITS))[-1].text
    assert adapted.name == "lora" and adapted.num_frames == captioner.num_frames


def test_examples_are_drawn_once_and_are_videos(tmp_path, monkeypatch):
    monkeypatch.setattr("demo.examples.EXAMPLE_SEEDS", (1_500_000_023,))
    (path,) = make_examples(tmp_path / "examples")
    written = path.stat().st_mtime_ns
    facts = probe(path)
    assert (facts.width, facts.height) == (640, 360)
    assert make_examples(tmp_path / "examples") == [path]
    assert path.stat().st_mtime_ns == written
    assert [file.name for file in path.parent.iterdir()] == [path.name]
