"""Parameters are followed, or refused with the reason: from a list of what is known."""

import json

import pytest
from gateway_fixtures import CLIP, MODEL, TEXT, WORDS, ScriptedEngine, Stage, chat_json, data_url, play, video_part

from serving.chat_requests import CaptionRequest, ChatRequest, check
from serving.gateway_errors import GatewayError, UnsupportedError

UNKNOWN = {
    "min_p": 0.1,
    "min_tokens": 5,
    "stop_token_ids": [3],
    "guided_json": {"type": "object"},
    "use_beam_search": True,
    "best_of": 2,
    "echo": True,
    "prediction": {"type": "content", "content": "a"},
    "num_frame": 4,
    "frequency_penalty": 0.5,
    "logprobs": True,
    "tools": [{"type": "function"}],
    "logits_processors": ["a"],
    "가": 1,
}


@pytest.mark.parametrize(("name", "value"), UNKNOWN.items())
def test_what_is_not_followed_is_refused_not_overlooked(name, value):
    with pytest.raises(UnsupportedError, match=name):
        check(ChatRequest, json.dumps(chat_json(**{name: value})).encode())
    with pytest.raises(UnsupportedError, match=name):
        check(CaptionRequest, {"video": "data:", name: value})


def test_a_slip_of_the_pen_is_told_from_the_right_name():
    with pytest.raises(UnsupportedError, match=r"num_frame is not known here; did you mean num_frames\?"):
        check(ChatRequest, json.dumps(chat_json(num_frame=4)).encode())
    with pytest.raises(UnsupportedError) as refused:
        check(ChatRequest, json.dumps(chat_json(**{"\n" + "a" * 100_000: 4})).encode())
    assert len(str(refused.value)) < 200 and "\n" not in str(refused.value)


def test_what_changes_nothing_passes():
    asked = {
        "min_p": 0,
        "best_of": 1,
        "echo": False,
        "stop_token_ids": [],
        "use_beam_search": None,
        "guided_json": None,
    }
    beside = {"user": "someone", "metadata": {"a": "b"}, "chat_template_kwargs": {"enable_thinking": False}}
    assert check(ChatRequest, json.dumps(chat_json(**asked, **beside)).encode()).n is None


NUMBERS = {
    "temperature": (
        [0, 1e-45, 5e-324, 1e-320, 2],
        [True, -1e-45, 2.1, "NaN", float("nan"), float("inf"), 10**400, "x", [1]],
    ),
    "top_p": ([5e-324, 1e-45, 1], [True, 0, 1.1, float("nan"), -float("inf")]),
    "top_k": ([-1, 0, 1, 1 << 20], [True, -2, 1.5, 1 << 40, float("inf"), 10**4200]),
    "repetition_penalty": ([0.1, 1, 10], [True, 0, 5e-324, 1e-45, 11, float("nan")]),
    "seed": ([0, -1, -(1 << 63), (1 << 63) - 1], [True, 1 << 63, 10**4200, 0.5, float("nan")]),
    "num_frames": ([1, 64], [True, 0, -1, 1 << 40, 10**4200, 1.5, float("inf")]),
    "fps": ([0.001, 60], [True, 0, 5e-324, 1e-9, 61, float("nan"), float("inf")]),
}
CHAT_NUMBERS = {
    "max_tokens": ([1, 1 << 20], [True, 0, 1 << 40, 10**4200, float("nan")]),
    "max_completion_tokens": ([1], [True, 0, 10**4200]),
    "n": ([1, 8], [True, 0, 9, 10**4200, float("inf")]),
}


@pytest.mark.parametrize(("name", "values"), (NUMBERS | CHAT_NUMBERS).items(), ids=[*NUMBERS, *CHAT_NUMBERS])
def test_numbers_are_checked_where_they_enter(name, values):
    for good in values[0]:
        assert getattr(check(ChatRequest, json.dumps(chat_json(**{name: good})).encode()), name) == good
    for bad in values[1]:
        with pytest.raises(GatewayError) as refused:
            check(ChatRequest, json.dumps(chat_json(**{name: bad})).encode())
        assert len(str(refused.value)) < 200
        if name in NUMBERS:
            with pytest.raises(GatewayError, match=name):
                check(CaptionRequest, {"video": "data:", name: bad if isinstance(bad, bool) else str(bad)})


def parts(*content) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": list(content)}]}).encode()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (parts({"type": "input_audio"}), r"messages\.0\.content\.0\.type: .*'video_url'"),
        (parts({"type": "text", "text": "a"}, {"type": "x" * 99_999}), r"messages\.0\.content\.1\.type: "),
        (parts({"video_url": {"url": "data:"}}), r"messages\.0\.content\.0: has no type"),
        (parts({"type": "text"}), r"messages\.0\.content\.0\.text: Field required"),
        (parts({"type": "text", "text": 3}), r"messages\.0\.content\.0\.text: Input should be a valid string"),
        (parts({"type": "image_url", "image_url": "data:"}), r"content\.0\.image_url: should be an object"),
        (parts({"type": "video_url", "video_url": {}}), r"content\.0\.video_url\.url: Field required"),
        (
            parts({"type": "video_url", "video_url": {"url": "data:", "fps": 2}}),
            r"video_url\.fps: this key is not known",
        ),
        (parts({"type": "video_url", "video_url": {"url": "data:"}, "num_frames": 2}), r"0\.num_frames: this key"),
        (parts(3), r"messages\.0\.content\.0: should be an object"),
        (parts(*[{"type": "text", "text": ""}] * 257), r"messages\.0\.content: .*at most 256"),
        (json.dumps(chat_json(stop=[])).replace("[]", '["a", ""]').encode(), r"stop\.1: .*at least 1"),
        (json.dumps(chat_json(stop=["a"] * 5)).encode(), r"stop: .*at most 4"),
        (json.dumps(chat_json(mm_processor_kwargs={"size": 3})).encode(), r"mm_processor_kwargs\.size: this key"),
        (json.dumps(chat_json(mm_processor_kwargs={"fps": 2}, num_frames=2)).encode(), "not both"),
        (json.dumps(chat_json(stream_options={"include": 1})).encode(), r"stream_options\.include: this key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_part_is_said_of_that_part(body, told):
    with pytest.raises(GatewayError, match=told) as refused:
        check(ChatRequest, body)
    assert len(str(refused.value)) < 250


def test_messages_as_openais_client_gives_them_back_pass():
    said = {
        "role": "assistant",
        "content": "네.",
        "refusal": None,
        "audio": None,
        "tool_calls": None,
        "annotations": None,
    }
    picture = {"type": "image_url", "image_url": {"url": "data:", "detail": "high"}}
    messages = [{"role": "user", "content": [picture], "name": "me"}, said, {"role": "user", "content": "왜?"}]
    asked = check(ChatRequest, json.dumps({"model": MODEL, "messages": messages}).encode())
    assert [message.role for message in asked.messages] == ["user", "assistant", "user"]


def test_what_is_followed_reaches_the_engine():
    async def scenario(stage: Stage) -> None:
        how = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "repetition_penalty": 1.1, "seed": 5}
        chat = await stage.chat(video_part(), mm_processor_kwargs={"num_frames": 2}, stop="칩", **how)
        caption = await stage.caption(num_frames=2, **how)
        assert (chat.status_code, caption.status_code) == (200, 200), chat.text
        for job, request in zip(stage.engine.jobs, (chat, caption)):
            assert {name: getattr(job, name) for name in how} == how
            assert len(job.messages[0]["content"][0]["video"]) == 2
            assert job.request_id == request.headers["x-request-id"]
        assert stage.engine.jobs[0].stop == ("칩",)
        assert {name: caption.json()["settings"][name] for name in how} == how

    play(scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_to_one_request(stream):
    async def scenario(stage: Stage) -> None:
        asked = chat_json(video_part(), n=3, seed=5, stream=stream, stream_options={"include_usage": True})
        response = await stage.client.post("/v1/chat/completions", json=asked)
        assert sorted(job.seed for job in stage.engine.jobs) == [5, 6, 7]
        if not stream:
            choices = response.json()["choices"]
            assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [
                (i, TEXT) for i in range(3)
            ]
            assert response.json()["usage"] == {"prompt_tokens": 7, "completion_tokens": 12, "total_tokens": 19}
            return
        *lines, usage, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        assert done == "[DONE]" and json.loads(usage)["usage"]["total_tokens"] == 19
        texts, ends = {}, []
        for (choice,) in (json.loads(line)["choices"] for line in lines):
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["delta"].get("content", "")
            ends += [choice["index"]] if choice["finish_reason"] else []
        assert texts == dict.fromkeys(range(3), TEXT) and sorted(ends) == [0, 1, 2]

    play(scenario, slots=2)  # fewer than answers: they wait for each other, not for ever


def test_who_leaves_several_answers_frees_all_their_slots():
    async def scenario(stage: Stage) -> None:
        stage.engine.permit(1)
        asked = chat_json(n=4, stream=True)
        async with stage.client.stream("POST", "/v1/chat/completions", json=asked) as response:
            await anext(response.aiter_lines())
            await stage.engine.until_writing(4)
        await stage.engine.until_writing(0)
        stage.engine.permit(len(WORDS))
        assert (await stage.chat()).status_code == 200

    play(scenario, engine=lambda: ScriptedEngine(permits=0))


@pytest.mark.parametrize("field", ["prompt", "video", "\\ud800", "format"])
@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7"])
def test_half_a_character_in_a_form_is_a_mistake_of_the_request(field, charset):
    half = {"unicode_escape": "\\ud800", "utf-7": "+2AA-"}[charset]
    head = "--x\r\nContent-Disposition: form-data; name="
    body = f'{head}"{field}"\r\n\r\na{half}b\r\n{head}"file"; filename="a"\r\n\r\n'.encode() + CLIP + b"\r\n--x--\r\n"
    kind = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}

    async def scenario(stage: Stage) -> None:
        response = await stage.client.post("/v1/captions", content=body, headers=kind)
        assert (response.status_code, response.json()["error"]["code"][:2]) == (400, "E_"), response.text
        for text in ("\\ud800", "\\ud800\\ud800", "a\\udfff"):
            content = json.dumps({"video": data_url(CLIP), "prompt": "X"}).replace("X", text)
            response = await stage.client.post("/v1/captions", content=content)
            assert (response.status_code, response.json()["error"]["code"]) == (400, "E_REQUEST")

    play(scenario)
