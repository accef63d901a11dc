"""The gateway's answers: OpenAI's schema, captions, subtitles; and the same frames as in training."""

import json

import numpy as np
import openai
import pytest
from gateway_fixtures import (
    CLIP,
    MODEL,
    TEXT,
    VIDEO_PROCESSOR,
    WORDS,
    ScriptedEngine,
    Stage,
    chat_json,
    data_url,
    play,
    video_part,
)
from PIL import Image
from video_fixtures import make_clip

from processing.vision_tokens_kocap import CAPTION_PROMPT
from serving.gateway_errors import EngineGoneError

QUESTION = {"type": "text", "text": "무엇이 보이나요?"}


def picture_url() -> str:
    import io

    sink = io.BytesIO()
    Image.fromarray(np.full((30, 50, 3), 200, np.uint8)).save(sink, "PNG")
    return data_url(sink.getvalue(), "image/png")


def test_a_chat_with_a_video_and_a_picture():
    async def scenario(stage: Stage) -> None:
        picture = {"type": "image_url", "image_url": {"url": picture_url()}}
        response = await stage.chat(video_part(), picture, QUESTION, max_tokens=9, temperature=0.5, top_p=0.9)
        body = response.json()
        assert response.status_code == 200, body
        assert body["choices"][0]["message"] == {"role": "assistant", "content": TEXT}
        assert body["choices"][0]["finish_reason"] == "stop"
        assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
        (job,) = stage.engine.jobs
        video, shown, question = job.messages[0]["content"]
        (expected,), (clip,) = VIDEO_PROCESSOR.fetch_videos(CLIP)
        np.testing.assert_array_equal(video["video"], expected.numpy())
        assert job.clips[0].times_s == clip.times_s
        assert (shown["image"].size, shown["image"].mode) == ((50, 30), "RGB")
        assert question == QUESTION
        assert (job.max_new_tokens, job.temperature, job.top_p) == (9, 0.5, 0.9)

    play(scenario)


def test_a_video_without_words_is_captioned_and_looked_at_as_asked():
    async def scenario(stage: Stage) -> None:
        await stage.chat(video_part(), num_frames=2)
        await stage.chat(video_part(), fps=4, follow_scenes=True)
        few, many = stage.engine.jobs
        assert [len(job.messages[0]["content"][0]["video"]) for job in (few, many)] == [2, 8]
        assert few.messages[0]["content"][1] == {"type": "text", "text": CAPTION_PROMPT}

    play(scenario)


def test_a_stream_comes_word_by_word():
    async def scenario(stage: Stage) -> None:
        asked = chat_json(QUESTION, stream=True, stream_options={"include_usage": True})
        stage.engine.permit(1)
        async with stage.client.stream("POST", "/v1/chat/completions", json=asked) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = (line async for line in response.aiter_lines() if line)
            start, word = [json.loads((await anext(lines)).removeprefix("data: ")) for _ in range(2)]
            assert start["choices"][0]["delta"] == {"role": "assistant", "content": ""}
            assert word["choices"][0]["delta"] == {"content": WORDS[0]}  # while the engine waits for the next permit
            stage.engine.permit(len(WORDS) - 1)
            *words, last, usage, done = [line.removeprefix("data: ") async for line in lines]
        assert [json.loads(word)["choices"][0]["delta"]["content"] for word in words] == list(WORDS[1:])
        assert json.loads(last)["choices"][0]["finish_reason"] == "stop"
        assert json.loads(usage)["usage"]["total_tokens"] == 11
        assert done == "[DONE]"

    play(scenario, engine=lambda: ScriptedEngine(permits=0))


def test_openais_own_client_works_unchanged():
    async def scenario(stage: Stage) -> None:
        async with openai.AsyncOpenAI(base_url=stage.url + "/v1", api_key="key", max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == [MODEL]
            assert (await client.models.retrieve(MODEL)).id == MODEL
            chat = {"model": MODEL, "messages": chat_json(video_part(), QUESTION)["messages"]}
            answer = await client.chat.completions.create(**chat, max_tokens=8, extra_body={"num_frames": 2})
            assert answer.choices[0].message.content == TEXT
            stream = await client.chat.completions.create(**chat, stream=True)
            deltas = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert "".join(deltas) == TEXT
            with pytest.raises(openai.BadRequestError) as raised:
                await client.chat.completions.create(**chat | {"messages": chat_json(video_part(b""))["messages"]})
            assert raised.value.code == "E_EMPTY"
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(**chat | {"model": "gpt-5"})
        async with openai.AsyncOpenAI(base_url=stage.url + "/v1", api_key="no", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()

    play(scenario, api_key="key")


def test_a_stream_that_breaks_off_ends_with_an_error():
    async def scenario(stage: Stage) -> None:
        async with openai.AsyncOpenAI(base_url=stage.url + "/v1", api_key="key", max_retries=0) as client:
            stream = await client.chat.completions.create(model=MODEL, messages=chat_json()["messages"], stream=True)
            with pytest.raises(openai.APIError, match="E_ENGINE"):
                _ = [chunk async for chunk in stream]

    play(scenario, engine=lambda: ScriptedEngine(failure=EngineGoneError("gone")))


def test_captions_name_their_frames():
    async def scenario(stage: Stage) -> None:
        uploaded = await stage.caption(num_frames=2, prompt="짧게 묘사해주세요.", max_new_tokens=5)
        sent = await stage.client.post("/v1/captions", json={"video": data_url(CLIP), "num_frames": 2})
        body = uploaded.json()
        assert body["caption"] == sent.json()["caption"] == TEXT
        assert (body["model"], body["revision"]) == (MODEL, stage.engine.revision)
        assert body["frame_times_s"] == sent.json()["frame_times_s"] == pytest.approx([0.5, 1.5], abs=0.06)
        assert body["duration_s"] == pytest.approx(2.0)
        assert body["settings"] == {"num_frames": 2, "prompt": "짧게 묘사해주세요.", "max_new_tokens": 5}
        assert body["warnings"] == []

    play(scenario)


def test_captions_as_subtitles():
    async def scenario(stage: Stage) -> None:
        srt, vtt = [await stage.caption(format=format) for format in ("srt", "vtt")]
        assert srt.text.startswith("1\n00:00:00,000 --> 00:00:01,")
        assert srt.text.endswith("--> 00:00:02,000\n파도가 칩니다.\n")
        assert vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.")
        assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"

    play(scenario)


def test_what_is_odd_about_a_file_is_said():
    async def scenario(stage: Stage) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
        whole = make_clip(list(noise), muxer={"moov_size": "4000"})
        body = (await stage.caption(whole[: len(whole) // 2])).json()
        assert [warning["code"] for warning in body["warnings"]] == ["W_CUT_SHORT"]
        assert "잘렸을 수 있습니다" in body["warnings"][0]["message_ko"]

    play(scenario)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "gpt-5"}, 404, "E_MODEL"),
        ({"n": 9}, 400, "E_REQUEST"),
        ({"tools": [{"type": "function"}]}, 400, "E_UNSUPPORTED"),
        ({"logprobs": True}, 400, "E_UNSUPPORTED"),
        ({"messages": []}, 400, "E_REQUEST"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, "E_REQUEST"),
        ({"temperature": 3}, 400, "E_REQUEST"),
        ({"num_frames": 2, "fps": 1}, 400, "E_REQUEST"),
        ({"messages": chat_json(*[video_part()] * 5)["messages"]}, 400, "E_REQUEST"),
        ({"messages": chat_json(video_part())["messages"], "num_frames": 65}, 400, "E_REQUEST"),
        ({"messages": chat_json({"type": "video_url", "video_url": {"url": "data:,x"}})["messages"]}, 400, "E_REQUEST"),
    ],
)
def test_mistakes_are_explained(change, status, code):
    async def scenario(stage: Stage) -> None:
        response = await stage.chat(**change)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, code)
        assert error["message"].startswith(f"{code}: ")
        assert any("가" <= letter <= "힣" for letter in error["message_ko"])
        assert error["request_id"] == response.headers["x-request-id"]
        assert stage.engine.jobs == []

    play(scenario)


def test_neutral_values_of_unsupported_parameters_pass():
    async def scenario(stage: Stage) -> None:
        response = await stage.chat(n=1, tools=[], frequency_penalty=0, seed=None, user="someone", stream=False)
        assert response.status_code == 200

    play(scenario)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/captions", b"{}", 400),
        ("POST", "/v1/captions", b'{"video": "data:;base64,AA==", "colour": 1}', 400),
        ("GET", "/v1/chat/completions", b"", 404),
        ("GET", "/v1/models/other", b"", 404),
        ("GET", "/../etc/passwd", b"", 404),
    ],
)
def test_other_mistakes(method, path, content, status):
    async def scenario(stage: Stage) -> None:
        response = await stage.client.request(method, path, content=content)
        assert response.status_code == status
        assert response.json()["error"]["code"].startswith("E_")

    play(scenario)


def test_a_form_without_a_file():
    async def scenario(stage: Stage) -> None:
        response = await stage.client.post("/v1/captions", files={"movie": ("a.mp4", CLIP)})
        assert response.status_code == 400
        response = await stage.client.post(
            "/v1/captions", content=b"no form", headers={"content-type": "multipart/form-data"}
        )
        assert response.json()["error"]["code"] == "E_REQUEST"

    play(scenario)
