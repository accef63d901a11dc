"""KoCapProcessor and KoCapVideoProcessor: exact placeholders, every kind of input, clear refusals before decoding."""

import io
import pathlib
import wave

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import IMAGE_SIZE, frames_array, frames_pil, qwen_tokenizer, small_processor, vicuna_tokenizer
from test_pipeline import write_clip
from transformers import AutoProcessor, AutoVideoProcessor
from transformers.video_utils import VideoMetadata

from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import FramesError, VideoError
from processing.video_processing_kocap import KoCapVideoProcessor
from processing.vision_tokens_kocap import VICUNA_TEMPLATE, add_vision_tokens, captioning_template, vision_tokens

PAD, START, END = "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"


@pytest.fixture(scope="module")
def processor():
    return small_processor()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "영상.mp4", num_frames=20)


def process(processor, text="<video>설명", videos=None, **kwargs):
    return processor(text=text, videos=videos, return_tensors="pt", **kwargs)


def count(processor, inputs) -> list[int]:
    return (inputs["input_ids"] == processor.video_token_id).sum(1).tolist()


# Placeholders


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3), per_frame=st.integers(1, 9), stamps=st.booleans())
def test_every_real_frame_has_its_placeholders(lengths, per_frame, stamps):
    processor = small_processor(tokenizer=TOKENIZER, tokens_per_frame=per_frame, frame_timestamps=stamps)
    inputs = process(
        processor,
        ["<video>설명"] * len(lengths),
        [frames_array(length, 8, 8) for length in lengths],
        video_metadata=[{"fps": 1.0}] * len(lengths),
        do_sample_frames=False,
        padding=True,
    )
    assert count(processor, inputs) == [length * per_frame for length in lengths]
    sizes = [(length, 8, 8) for length in lengths]
    assert processor._get_num_multimodal_tokens(video_sizes=sizes).num_video_tokens == count(processor, inputs)
    assert inputs["pixel_values_videos"].shape == (len(lengths), max(lengths), 3, IMAGE_SIZE, IMAGE_SIZE)
    if len(set(lengths)) > 1:
        assert inputs["pixel_values_videos_mask"].sum(1).tolist() == lengths
    else:
        assert "pixel_values_videos_mask" not in inputs


TOKENIZER = qwen_tokenizer()


def test_time_stamps_stand_before_each_frame():
    processor = small_processor(frame_timestamps=True, tokens_per_frame=2)
    inputs = process(processor, videos=frames_array(3), video_metadata={"times_s": [0.0, 3.24, 12.06]})
    text = processor.decode(inputs["input_ids"][0])
    assert text == f"{START}<0.0초>{PAD}{PAD}<3.2초>{PAD}{PAD}<12.1초>{PAD}{PAD}{END}설명"
    untimed = process(processor, videos=frames_array(3))  # no times are known, so none are written
    assert processor.decode(untimed["input_ids"][0]) == START + PAD * 6 + END + "설명"


def test_replacement_offsets_point_at_what_was_written():
    processor = small_processor(frame_timestamps=True)
    texts = ["앞 <video> 가운데 <video> 뒤", "그림 <image> 하나"]
    videos = [frames_array(2), frames_array(3)]
    metadata = [{"fps": 1.0}, {"fps": 2.0}]
    inputs = processor(
        text=texts,
        videos=videos,
        images=[frames_pil(1)[0]],
        video_metadata=metadata,
        return_text_replacement_offsets=True,
    )
    offsets = inputs["text_replacement_offsets"]
    assert [[entry["type"] for entry in row] for row in offsets] == [["video", "video"], ["image"]]
    for row, ids in zip(offsets, inputs["input_ids"]):
        written = processor.decode(ids)
        for entry in row:
            assert written[slice(*entry["new_span"])] == entry["replacement"]
    assert offsets[0][1]["replacement"].startswith("<0.0초>") and "<1.0초>" in offsets[0][1]["replacement"]


def test_every_key_returned_is_a_model_input(processor):
    inputs = processor(
        text=["<video>a", "<image>b", "<video>더 길게"],
        images=frames_pil(1),
        videos=[frames_array(2), frames_array(3)],
        padding=True,
        return_tensors="pt",
    )
    assert set(inputs) <= set(processor.model_input_names)
    expected = {"input_ids", "attention_mask", "pixel_values", "pixel_values_videos", "pixel_values_videos_mask"}
    assert expected == set(processor.model_input_names) and set(inputs) == expected


def test_padding_goes_where_asked(processor):
    for side in ("left", "right"):
        inputs = process(
            processor, ["<video>a", "<video>훨씬 더 긴 설명"], [frames_array(2)] * 2, padding=True, padding_side=side
        )
        assert inputs["attention_mask"][0, 0 if side == "left" else -1] == 0
        assert count(processor, inputs) == [8, 8]


def test_image_and_video_sizes_plan_tokens(processor):
    plan = processor._get_num_multimodal_tokens(video_sizes=[[4, 64, 64], [2, 9, 9]], image_sizes=[(3, 3)])
    assert plan.num_video_tokens == [16, 8] and plan.num_image_tokens == [4] and plan.num_image_patches == [1]


# What a video may be


@pytest.mark.parametrize("kind", ["str", "Path", "bytes", "bytearray", "file", "BytesIO"])
def test_sources(processor, clip, kind):
    data = pathlib.Path(clip).read_bytes()
    with open(clip, "rb") as file:
        video = {
            "str": clip,
            "Path": pathlib.Path(clip),
            "bytes": data,
            "bytearray": bytearray(data),
            "file": file,
            "BytesIO": io.BytesIO(data),
        }[kind]
        inputs = process(processor, videos=video, return_metadata=True)
        assert not file.closed
    assert inputs["pixel_values_videos"].shape == (1, 4, 3, IMAGE_SIZE, IMAGE_SIZE)
    metadata = inputs["video_metadata"][0]
    assert metadata.timestamps == metadata.times_s == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.051)
    assert (metadata.width, metadata.height, metadata.duration) == (96, 64, pytest.approx(2.0, abs=0.11))


def test_frames_in_every_layout_give_the_same_pixels(processor):
    thwc = frames_array(4)
    tchw = thwc.transpose(0, 3, 1, 2)
    expected = process(processor, videos=thwc)["pixel_values_videos"]
    layouts = [tchw, torch.from_numpy(thwc), torch.from_numpy(tchw), frames_pil(4), list(thwc), list(tchw), thwc[None]]
    for layout in [*layouts, [thwc], [[thwc]], [frames_pil(4)], (thwc,)]:
        torch.testing.assert_close(process(processor, videos=layout)["pixel_values_videos"], expected)
    pair = process(processor, "<video><video>", np.stack([thwc, thwc]))["pixel_values_videos"]
    torch.testing.assert_close(pair, expected.repeat(2, 1, 1, 1, 1))


def test_pixels_are_normalised_like_images(processor):
    frame = frames_pil(1)[0]
    image = processor(text="<image>", images=frame, return_tensors="pt")["pixel_values"][0]
    video = process(processor, videos=[frame])["pixel_values_videos"][0, 0]
    torch.testing.assert_close(image, video)


@pytest.mark.parametrize(
    ("metadata", "times"),
    [
        ({"times_s": [0.0, 1.5, 2.0, 9.0]}, [0.0, 1.5, 2.0, 9.0]),
        ({"fps": 2.0}, [0.0, 0.5, 1.0, 1.5]),
        ([{"fps": 4}], [0.0, 0.25, 0.5, 0.75]),
        (VideoMetadata(total_num_frames=4, fps=2.0), [0.0, 0.5, 1.0, 1.5]),
        (
            {
                "fps": 10.0,
                "duration": 4.0,
                "total_num_frames": 40,
                "frames_indices": [0, 10, 20, 30],
                "video_backend": "opencv",
                "do_sample_frames": False,
            },
            [0.0, 1.0, 2.0, 3.0],
        ),
        ([[{"fps": 10.0, "frames_indices": np.array([0, 10, 20, 30])}]], [0.0, 1.0, 2.0, 3.0]),
        (None, None),
    ],
)
def test_metadata_gives_times(processor, metadata, times):
    inputs = process(processor, videos=frames_array(4), video_metadata=metadata, return_metadata=True)
    assert inputs["video_metadata"][0].times_s == times


@pytest.mark.parametrize(
    "metadata", [{"times_s": [0.0]}, {"frames_indices": [0, 1]}, {"fps": 1.0, "frames_indices": [0, 1]}]
)
def test_metadata_of_other_frames_is_refused(processor, metadata):
    with pytest.raises(FramesError, match=r"4 frames came with \d (times_s|frames_indices); give one per frame"):
        process(processor, videos=frames_array(4), video_metadata=metadata)
    with pytest.raises(ValueError, match="1 videos came with 2 video_metadata"):
        process(processor, videos=frames_array(4), video_metadata=[metadata, metadata])


def test_too_many_frames_are_thinned_evenly_unless_told_otherwise(processor):
    inputs = process(processor, videos=frames_array(8), video_metadata={"fps": 1.0}, return_metadata=True)
    metadata = inputs["video_metadata"][0]
    assert metadata.frames_indices == [1, 3, 5, 7] and metadata.times_s == [1.0, 3.0, 5.0, 7.0]
    kept = process(processor, videos=frames_array(8), do_sample_frames=False)["pixel_values_videos"]
    assert kept.shape[1] == 8
    torch.testing.assert_close(inputs["pixel_values_videos"][0], kept[0, [1, 3, 5, 7]])
    assert process(processor, videos=frames_array(2))["pixel_values_videos"].shape[1] == 2  # none are invented


@pytest.mark.parametrize(
    ("options", "from_file", "from_frames"),
    [
        ({"num_frames": 2}, 2, 2),
        ({"fps": 3.0}, 6, 6),
        ({"fps": 3.0, "max_frames": 5}, 5, 5),
        ({"videos_kwargs": {"num_frames": 3}}, 3, 3),
        ({"num_frames": 30}, 30, 20),
    ],
)
def test_sampling_per_call(processor, clip, options, from_file, from_frames):
    assert process(processor, videos=clip, **options)["pixel_values_videos"].shape[1] == from_file
    metadata = {"video_metadata": {"fps": 10.0}}
    if "videos_kwargs" in options:
        options = {"videos_kwargs": options["videos_kwargs"] | metadata}
    else:
        options = options | metadata
    assert process(processor, videos=frames_array(20), **options)["pixel_values_videos"].shape[1] == from_frames
    assert processor.video_processor.num_frames == 4  # a call leaves no trace


# Chats


def chat(processor, content, **kwargs):
    messages = [{"role": "user", "content": content}]
    return processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True, **kwargs
    )


def test_chat_with_paths_frames_and_images(processor, clip):
    prompt = (
        "<|im_start|>system\n당신은 비디오 캡셔닝 전문가입니다.<|im_end|>\n"
        f"<|im_start|>user\n{START}{PAD * 16}{END}무엇?<|im_end|>\n<|im_start|>assistant\n"
    )
    for video in ({"path": clip}, {"video": clip}, {"video": frames_pil(4)}, {"video": frames_array(9)}):
        inputs = chat(processor, [{"type": "video"} | video, {"type": "text", "text": "무엇?"}])
        assert processor.decode(inputs["input_ids"][0]) == prompt
    image = chat(processor, [{"type": "image", "image": frames_pil(1)[0]}, {"type": "text", "text": "무엇?"}])
    assert (image["input_ids"] == processor.image_token_id).sum() == 4 and image["pixel_values"].shape[0] == 1
    words = chat(processor, "안녕")
    assert "안녕<|im_end|>" in processor.decode(words["input_ids"][0]) and set(words) == {"input_ids", "attention_mask"}


def test_hybrid_models_get_an_empty_thought_and_others_none():
    for hybrid in (True, False):
        processor = small_processor(qwen_tokenizer(hybrid=hybrid))
        prompt = processor.apply_chat_template([{"role": "user", "content": "안녕"}], add_generation_prompt=True)
        ending = "<think>\n\n</think>\n\n" if hybrid else ""
        assert prompt.endswith("<|im_start|>assistant\n" + ending)


def test_vicuna_prompt():
    processor = small_processor(vicuna_tokenizer())
    inputs = chat(processor, [{"type": "video", "video": frames_array(2)}, {"type": "text", "text": "설명"}])
    ids = inputs["input_ids"][0]
    assert processor.decode(ids) == "<s>USER: " + "<video>" * 8 + "\n설명 ASSISTANT:"
    assert (ids == processor.tokenizer.bos_token_id).sum() == 1
    assert process(processor, "USER: <video>설명", frames_array(2))["input_ids"].shape[0] == 1


@pytest.mark.parametrize("tokenizer", [qwen_tokenizer(), qwen_tokenizer(hybrid=True), vicuna_tokenizer()])
def test_assistant_mask_is_exactly_the_answers(tokenizer):
    processor = small_processor(tokenizer, frame_timestamps=True)
    content = [{"type": "video", "video": frames_array(3)}, {"type": "text", "text": "설명"}]
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": "하얀 파도"},
        {"role": "user", "content": "더"},
        {"role": "assistant", "content": [{"type": "text", "text": "맑은 날"}]},
    ]
    inputs = processor.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
        processor_kwargs={"video_metadata": [{"fps": 1.0}]},
    )
    answers = inputs["input_ids"][0][torch.as_tensor(inputs["assistant_masks"])[0].bool()]
    end = tokenizer.eos_token
    assert "".join(processor.decode(answers).split()) == f"하얀파도{end}맑은날{end}"


# Refusals


def test_wav_is_sound_only(processor):
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    with pytest.raises(VideoError) as caught:
        process(processor, videos=sound)
    assert caught.value.code == "E_NO_VIDEO"


@pytest.mark.parametrize(
    ("video", "code"),
    [
        ("/없음.mp4", "E_NOT_FOUND"),
        ("/tmp", "E_NOT_FILE"),
        ("https://example.com/a.mp4", "E_FORMAT"),
        (b"", "E_EMPTY"),
        ("글입니다".encode(), "E_NOT_VIDEO"),
        (3, "E_FRAMES"),
        ({"frames": 1}, "E_FRAMES"),
        (np.zeros((4, 3, 8), np.uint8), "E_FRAMES"),
        (np.zeros((2, 4, 8, 8), np.uint8), "E_FRAMES"),
        (np.zeros((2, 3, 8, 8), np.float32), "E_FRAMES"),
        (np.zeros((0, 3, 8, 8), np.uint8), "E_FRAMES"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], "E_FRAMES"),
        ([np.zeros((8, 8), np.uint8)], "E_FRAMES"),
    ],
)
def test_what_is_no_video_has_a_code(processor, video, code):
    with pytest.raises(VideoError) as caught:
        process(processor, videos=video)
    assert caught.value.code == code and str(caught.value).startswith(f"{code}: ") and caught.value.message_ko


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<video><video>", "2 video placeholders .* 1 videos were given"),
        ("설명", "0 video placeholders .* 1 videos were given"),
        (f"<video>{PAD}", "2 video placeholders"),
        ("<video><image>", "1 image placeholders .* 0 images were given"),
        (f"<video>{START}", "stray vision token"),
        (f"{END}<video>", "stray vision token"),
        (f"{START}<video>{END}", "stray vision token"),
        ([], "0 video placeholders"),
        (["<video>", 3], "must be a string or a list of strings"),
    ],
)
def test_wrong_prompts_are_refused_before_anything_is_decoded(processor, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        process(processor, text, "/없음.mp4")  # would be E_NOT_FOUND if it were opened
    assert not isinstance(caught.value, VideoError)


def test_placeholders_without_videos_and_nothing_at_all(processor):
    with pytest.raises(ValueError, match=r"1 video placeholders .* 0 videos were given"):
        process(processor)
    with pytest.raises(ValueError, match="nothing to process"):
        processor()
    with pytest.raises(ValueError, match=r"num_frames is 2 and fps is 1\.0"):
        process(processor, videos=frames_array(4), num_frames=2, fps=1.0)
    with pytest.raises(ValueError, match="num_frames is 0"):
        process(processor, videos=frames_array(4), num_frames=0)
    with pytest.raises(ValueError, match="truncation"):
        process(processor, videos=frames_array(4), truncation=True, max_length=5)


# Tokens and files


def test_tokenizers_keep_their_own_special_tokens():
    tokenizer = vicuna_tokenizer()
    with pytest.raises(ValueError, match=r"no vision tokens.*add_vision_tokens"):
        vision_tokens(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<own>"]})
    assert add_vision_tokens(tokenizer)["video_token"] == "<video>"
    assert {"<own>", "<image>", "<video>"} <= set(tokenizer.all_special_tokens)
    assert tokenizer.decode(tokenizer("<own><video>해안")["input_ids"], skip_special_tokens=True) == "해안"
    size = len(tokenizer)
    add_vision_tokens(tokenizer)
    assert len(tokenizer) == size and captioning_template(tokenizer) == VICUNA_TEMPLATE
    assert add_vision_tokens(qwen_tokenizer())["video_token"] == PAD


@pytest.mark.parametrize("tokenizer", [qwen_tokenizer(), vicuna_tokenizer()])
def test_a_saved_processor_is_the_same_processor(tmp_path, tokenizer):
    processor = small_processor(tokenizer, tokens_per_frame=3, num_frames=2, frame_timestamps=True)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is KoCapProcessor and type(loaded.video_processor) is KoCapVideoProcessor
    assert (loaded.tokens_per_frame, loaded.frame_timestamps, loaded.video_processor.num_frames) == (3, True, 2)
    assert loaded.chat_template == processor.chat_template
    content = [{"type": "video", "video": frames_array(5)}, {"type": "text", "text": "설명"}]
    kwargs = {"processor_kwargs": {"video_metadata": [{"fps": 1.0}]}}
    mine, theirs = chat(processor, content, **kwargs), chat(loaded, content, **kwargs)
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert type(AutoVideoProcessor.from_pretrained(tmp_path)) is KoCapVideoProcessor
