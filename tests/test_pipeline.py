"""pipeline("video-text-to-text"): whatever a user has of a clip goes in, one dict per clip comes out."""

import copy
import pathlib

import av
import pytest
from small_models import frames_array, frames_pil, small_pair
from transformers import pipeline
from transformers.generation import BaseStreamer

from processing.pipeline_kocap import KoCapPipeline
from processing.video_errors_kocap import VideoError

TIMES = pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.051)  # the middle of each half second, or the frame just before


def write_clip(path: pathlib.Path, *, num_frames: int, fps: int = 10) -> str:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in frames_array(num_frames, 64, 96):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    return [write_clip(root / "가.mp4", num_frames=20), write_clip(root / "b.mp4", num_frames=30)]


@pytest.fixture(scope="module")
def pipe():
    model, processor = small_pair()
    return pipeline("video-text-to-text", model=model, processor=processor, max_new_tokens=3)


def user(*parts) -> list[dict]:
    names = {str: "text"}
    return [
        {"role": "user", "content": [p if isinstance(p, dict) else {"type": names[type(p)], "text": p} for p in parts]}
    ]


def texts(results) -> list[str]:
    return [result["generated_text"] for result in results]


@pytest.mark.parametrize("kind", ["path", "Path", "bytes", "file", "list"])
def test_one_clip_however_it_is_given(pipe, clips, kind):
    path = pathlib.Path(clips[0])
    with path.open("rb") as file:
        clip = {"path": clips[0], "Path": path, "bytes": path.read_bytes(), "file": file, "list": [clips[0]]}[kind]
        results = pipe(clip)
    assert len(results) == 1 and set(results[0]) == {"generated_text", "frame_times_s"}
    assert results[0]["frame_times_s"] == TIMES
    assert texts(results) == texts(pipe(clips[0]))


def test_frames_with_and_without_times(pipe):
    assert pipe(frames_array(4))[0]["frame_times_s"] is None
    assert texts(pipe(frames_pil(4))) == texts(pipe(frames_array(4)))
    assert pipe(frames_array(4), video_metadata={"fps": 2.0})[0]["frame_times_s"] == [0.0, 0.5, 1.0, 1.5]
    both = pipe([frames_array(4), frames_pil(2)], batch_size=2, video_metadata=[{"fps": 1.0}, {"times_s": [3.0, 4.5]}])
    assert [result["frame_times_s"] for result in both] == [[0.0, 1.0, 2.0, 3.0], [3.0, 4.5]]


def test_batches_give_what_single_clips_give(pipe, clips):
    given = [clips[0], frames_pil(3), clips[1]]
    questions = ["설명", "무엇이 보이나요? 자세히 말해 주세요.", "색은?"]
    single = pipe(given, text=questions)
    assert pipe(given, text=questions, batch_size=2) == single == pipe(given, text=questions, batch_size=3)
    assert single == [pipe(clip, text=question)[0] for clip, question in zip(given, questions)]
    fixed = pipeline("video-text-to-text", model=pipe.model, processor=pipe.processor, batch_size=2, max_new_tokens=3)
    assert fixed(given, text=questions) == single  # batch_size of the pipeline itself


def test_what_is_asked_changes_the_answer_s_prompt(pipe, clips):
    default = pipe(clips[0])
    assert texts(pipe(clips[0], text="이 영상을 한국어로 상세히 묘사해주세요.")) == texts(default)
    assert len(pipe(clips, text="색은?")) == 2


def test_sampling_options_reach_the_processor(pipe, clips):
    assert len(pipe(clips[0], num_frames=2)[0]["frame_times_s"]) == 2
    assert len(pipe(clips[0], fps=3.0)[0]["frame_times_s"]) == 6
    assert len(pipe(clips[0], fps=3.0, max_frames=5)[0]["frame_times_s"]) == 5
    fixed = pipeline("video-text-to-text", model=pipe.model, processor=pipe.processor, num_frames=3, max_new_tokens=2)
    assert len(fixed(clips[0])[0]["frame_times_s"]) == 3


def test_chats_carry_their_own_videos_and_images(pipe, clips):
    videos = [{"type": "video", "path": clips[0]}, {"type": "video", "video": frames_pil(2)}]
    two = user(*videos, "두 영상을 비교하세요.")
    image = user({"type": "image", "image": frames_pil(1)[0]}, "무엇인가요?")
    words = [{"role": "user", "content": "안녕"}]
    before = copy.deepcopy(two)
    results = pipe([two, image, words], batch_size=3)
    assert len(results) == 3 and two == before  # the caller's messages stay the caller's
    assert (
        results[0]["frame_times_s"] == [TIMES, None]
        and results[1]["frame_times_s"] == results[2]["frame_times_s"] == []
    )
    assert results == [pipe(two)[0], pipe(text=image)[0], pipe(text="안녕")[0]]
    asked = user({"type": "video", "path": clips[0]}, "이 영상을 한국어로 상세히 묘사해주세요.")
    assert pipe(asked) == pipe(clips[0])
    turns = [*asked, {"role": "assistant", "content": "해안입니다."}, {"role": "user", "content": "더 자세히."}]
    assert pipe(turns)[0]["frame_times_s"] == TIMES


def test_several_captions_per_clip(pipe, clips):
    options = {"generate_kwargs": {"num_beams": 2, "num_return_sequences": 2}}
    results = pipe(clips, batch_size=2, **options)
    assert results == pipe(clips, **options) and len(results) == 4
    assert results[0]["frame_times_s"] == results[1]["frame_times_s"] != results[2]["frame_times_s"]


class Counter(BaseStreamer):
    """Counts the new tokens of one caption."""

    def __init__(self):
        self.count = -1  # generate() hands over the prompt first

    def put(self, value):
        self.count += 1

    def end(self):
        pass


def count_tokens(pipe, **options) -> int:
    counter = Counter()
    generate_kwargs = {"streamer": counter, "eos_token_id": -1} | options.pop("generate_kwargs", {})
    pipe(frames_array(2), generate_kwargs=generate_kwargs, **options)
    return counter.count


def test_new_tokens_are_limited_by_the_call_then_the_pipeline(pipe):
    assert count_tokens(pipe) == 3
    assert count_tokens(pipe, max_new_tokens=2) == count_tokens(pipe, generate_kwargs={"max_new_tokens": 2}) == 2


@pytest.mark.slow
def test_a_long_caption_has_room_where_nobody_says_otherwise(pipe):
    plain = pipeline("video-text-to-text", model=pipe.model, processor=pipe.processor)
    assert count_tokens(plain) == 768
    model = copy.deepcopy(pipe.model)
    model.generation_config.max_new_tokens = 5
    assert count_tokens(pipeline("video-text-to-text", model=model, processor=pipe.processor)) == 5


def test_a_saved_folder_gives_the_same(pipe, clips, tmp_path):
    pipe.model.save_pretrained(tmp_path)
    pipe.processor.save_pretrained(tmp_path)
    loaded = pipeline("video-text-to-text", model=str(tmp_path), max_new_tokens=3)
    assert isinstance(loaded, KoCapPipeline) and loaded(clips) == pipe(clips)


def test_no_clips_give_no_captions(pipe):
    assert pipe([]) == []


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "nothing to do"),
        (([b"x"],), {"text": ["a", "b"]}, "1 videos came with 2 texts"),
        ((b"x",), {"text": user("a")}, "a chat carries its own videos"),
        (([b"x", b"y"],), {"video_metadata": [{"fps": 1.0}]}, "2 clips came with 1 video_metadata"),
        ((user({"type": "video"}, "a"),), {}, "1 video placeholders .* 0 videos were given"),
        ((frames_array(3),), {"num_frames": 2, "fps": 1.0}, "num_frames is 2 and fps is 1.0"),
    ],
)
def test_wrong_calls_are_refused(pipe, args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        pipe(*args, **kwargs)


BAD_CLIPS = {"/없음.mp4": "E_NOT_FOUND", b"": "E_EMPTY", b"this is no video": "E_NOT_VIDEO", 3: "E_FRAMES"}


@pytest.mark.parametrize(("clip", "code"), BAD_CLIPS.items())
def test_bad_clips_have_codes(pipe, clip, code):
    with pytest.raises(VideoError) as caught:
        pipe(clip)
    assert caught.value.code == code and caught.value.message_ko
