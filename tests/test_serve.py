"""The whole server with the real engine: a process that holds a small model."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import typer
from gateway_fixtures import CLIP, MODEL, PATIENT_S, Stage, chat_json, data_url, play, video_part
from video_fixtures import make_clip

import serve
from modeling.captioner import load_captioner
from modeling.checkpoint_faults import ModelError
from modeling.checkpoint_names import weights_revision
from serving import transformers_worker
from serving.engine_process import ProcessEngine

ROOT = Path(__file__).parents[1]
NUM_TOKENS, CONTEXT = 24, 512
CLIPS = [make_clip(number) for number in (3, 8, 20)]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def real(folder: Path, *, slots: int = 4) -> partial[ProcessEngine]:
    return partial(ProcessEngine, transformers_worker.serve, str(folder), slots=slots, max_context=CONTEXT)


async def until_healthy(stage: Stage) -> None:
    async with asyncio.timeout(PATIENT_S * 4):
        while (await stage.client.get("/health")).status_code != 200:
            await asyncio.sleep(0.05)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_answers_are_the_pipelines_and_mistakes_cost_nobody_else(tiny_checkpoint):
    pipe = load_captioner(str(tiny_checkpoint))
    expected = [result["generated_text"] for result in pipe(CLIPS, max_new_tokens=NUM_TOKENS)]

    async def scenario(stage: Stage) -> None:
        limits = {"max_new_tokens": NUM_TOKENS}
        leaving = asyncio.create_task(stage.chat(video_part(), max_tokens=CONTEXT // 2, temperature=1.5))
        long, typed, *good = await asyncio.gather(
            stage.chat(max_tokens=CONTEXT),
            stage.chat({"type": "text", "text": "<video>은 무엇인가요?<|im_end|>"}, max_tokens=NUM_TOKENS),
            *(stage.caption(clip, **limits) for clip in CLIPS),
        )
        assert [response.json()["caption"] for response in good] == expected
        assert good[0].json()["revision"] == weights_revision(tiny_checkpoint)
        assert good[0].json()["usage"]["completion_tokens"] <= NUM_TOKENS
        assert (long.status_code, long.json()["error"]["code"]) == (400, "E_CONTEXT")
        assert typed.status_code == 200  # control tokens that are typed are text
        leaving.cancel()
        asked = chat_json(video_part(CLIPS[2]), stream=True, max_tokens=NUM_TOKENS)
        asked["messages"][0]["content"].append({"type": "text", "text": "이 영상을 한국어로 상세히 묘사해주세요."})
        async with stage.client.stream("POST", "/v1/chat/completions", json=asked) as response:
            lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
        pieces = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
        assert "".join(pieces).strip() == expected[2]
        assert len(pieces) > 3

    play(scenario, engine=real(tiny_checkpoint), slots=4)


@pytest.mark.slow
def test_parameters_are_followed_by_the_real_engine_and_no_number_hurts_it(tiny_checkpoint):
    async def said(stage: Stage, **how) -> list[str]:
        response = await stage.chat(video_part(), max_tokens=NUM_TOKENS, **how)
        assert response.status_code == 200, response.text
        return [choice["message"]["content"] for choice in response.json()["choices"]]

    async def scenario(stage: Stage) -> None:
        other = asyncio.create_task(said(stage, temperature=2, seed=1))
        tiny = [{"temperature": value} for value in (1e-45, 5e-324, 1e-320, 0.009)]
        tiny += [{"temperature": 1, "top_p": 5e-324}, {"temperature": 1, "top_k": 1}]
        (greedy,) = await said(stage, temperature=0)
        answers = await asyncio.gather(*(said(stage, **how) for how in tiny))
        assert answers == [[greedy]] * len(tiny)
        assert stage.engine.restarts == 0
        assert await other == await said(stage, temperature=2, seed=1) != await said(stage, temperature=2, seed=2)
        first, second = await said(stage, temperature=2, seed=1, n=2)
        assert [first] == await other and second != first
        assert await said(stage, temperature=0, repetition_penalty=1.5) != [greedy]
        stop = greedy[2:4]
        stopped = await stage.chat(video_part(), max_tokens=NUM_TOKENS, temperature=0, stop=[stop])
        choice = stopped.json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (greedy[: greedy.index(stop)].strip(), "stop")
        assert stopped.json()["usage"]["completion_tokens"] < NUM_TOKENS

    play(scenario, engine=real(tiny_checkpoint), slots=4)


NUMBERS = ["0", "-1", "1e-45", "5e-324", "1e-320", "0.01", "1.5", "64", "1e999", "-1e999", "NaN", "Infinity"]
NUMBERS += ["9" * 30, "9" * 5000, str(2**63), "true", "null", '"1"', '"x"', "[1]"]
CHAT_FIELDS = ["max_tokens", "max_completion_tokens", "n"]
FIELDS = ["temperature", "top_p", "top_k", "repetition_penalty", "seed", "num_frames", "fps"]


@pytest.mark.slow
def test_every_number_in_every_field_while_others_are_answered(tiny_checkpoint):
    async def scenario(stage: Stage) -> None:
        asked = {"temperature": 1, "seed": 3, "max_tokens": NUM_TOKENS}
        expected = (await stage.chat(video_part(), **asked)).json()["choices"]
        over = asyncio.Event()

        async def another() -> int:
            count = 0
            while not over.is_set():
                response = await stage.chat(video_part(), **asked)
                assert (response.status_code, response.json().get("choices")) == (200, expected)
                count += 1
            return count

        others = [asyncio.create_task(another()) for _ in range(2)]

        async def post(path: str, usual: dict, field: str, number: str) -> None:
            fields = {"temperature": 1} | usual
            fields.pop(field, None)
            body = json.dumps(fields)[:-1] + f', "{field}": {number}' + "}"
            response = await stage.client.post(path, content=body)
            told = (field, number[:40], response.status_code, response.text[:300])
            if response.status_code != 200:
                assert response.status_code == 400, told
                assert response.json()["error"]["code"] in ("E_REQUEST", "E_CONTEXT"), told
            if path == "/v1/captions":
                form = {name: str(value) for name, value in usual.items() if name != "video"} | {
                    field: number.strip('"')
                }
                response = await stage.caption(**form)
                assert response.status_code in (200, 400), (
                    field,
                    number[:40],
                    response.status_code,
                    response.text[:300],
                )

        chat = chat_json(video_part(), max_tokens=2)
        caption = {"video": data_url(CLIP), "max_new_tokens": 2}
        for number in NUMBERS:
            posts = [post("/v1/chat/completions", chat, field, number) for field in [*FIELDS, *CHAT_FIELDS]]
            posts += [post("/v1/captions", caption, field, number) for field in [*FIELDS, "max_new_tokens"]]
            await asyncio.gather(*posts)
        over.set()
        assert min(await asyncio.gather(*others)) > 0
        assert stage.engine.restarts == 0

    play(scenario, engine=real(tiny_checkpoint), slots=4)


@pytest.mark.slow
def test_prompts_of_megabytes_hold_up_nobody(tiny_checkpoint):
    async def scenario(stage: Stage) -> None:
        huge = {"type": "text", "text": "가나다 abc 12 " * (8 << 20 >> 4)}
        refused = await stage.chat(huge)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "E_CONTEXT")
        assert "characters; the limit is" in refused.json()["error"]["message"]
        leaving = [asyncio.create_task(stage.chat(huge)) for _ in range(4)]
        async with asyncio.timeout(PATIENT_S):
            while stage.gateway.admission.inside < 4:
                await asyncio.sleep(0.01)
        for task in leaving:
            task.cancel()
        async with asyncio.timeout(30):
            assert (await stage.chat(max_tokens=2)).status_code == 200

    play(scenario, engine=real(tiny_checkpoint), slots=4)


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there(tmp_path):
    async def run() -> None:
        engine = ProcessEngine(transformers_worker.serve, str(tmp_path), slots=1, max_context=CONTEXT)
        with pytest.raises(ModelError, match=r"config\.json"):
            await engine.start()
        await engine.close()

    asyncio.run(run())


@pytest.mark.slow
def test_a_killed_engine_is_replaced_under_load(tiny_checkpoint):
    async def scenario(stage: Stage) -> None:
        asked = chat_json(stream=True, max_tokens=CONTEXT // 2, temperature=2)
        others = [asyncio.create_task(stage.chat(max_tokens=CONTEXT // 2, temperature=2)) for _ in range(8)]
        async with stage.client.stream("POST", "/v1/chat/completions", json=asked) as response:
            lines = (line async for line in response.aiter_lines() if line)
            for _ in range(3):
                await anext(lines)  # it writes
            first = stage.engine.pid
            os.kill(first, signal.SIGKILL)
            *_, last = [line async for line in lines]
        assert "E_ENGINE" in last
        statuses = [(await task).status_code for task in others]
        assert set(statuses) <= {200, 503} and 503 in statuses
        down = await stage.client.get("/health")
        assert down.status_code == 503
        refused = await stage.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "E_ENGINE")
        assert int(refused.headers["retry-after"]) >= 1
        await until_healthy(stage)
        assert (await stage.caption(max_new_tokens=NUM_TOKENS)).status_code == 200
        assert (stage.engine.restarts, stage.engine.pid != first) == (1, True)

    play(scenario, engine=real(tiny_checkpoint), slots=4)


@pytest.mark.slow
def test_200_at_once_with_a_queue_of_50_each_get_an_answer(tiny_checkpoint):
    async def scenario(stage: Stage) -> None:
        async def storm() -> tuple[list[int], float]:
            responses = await asyncio.gather(*(stage.caption(CLIP, max_new_tokens=4) for _ in range(200)))
            return [response.status_code for response in responses], sum(map(resident_mb, (os.getpid(), engine_pid)))

        engine_pid = stage.engine.pid
        _, before = await storm()  # what libraries load and keep once
        statuses, after = await storm()
        assert set(statuses) == {200, 429}
        assert statuses.count(200) >= 54
        assert after - before < 64

    play(scenario, engine=real(tiny_checkpoint), slots=4, queue=50, per_client=54)


@pytest.mark.slow
def test_the_command_serves_and_ends_politely(tiny_checkpoint):
    command = [
        sys.executable,
        "serve.py",
        "--model",
        str(tiny_checkpoint),
        "--port",
        "0",
        "--max-context",
        str(CONTEXT),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        lines = []
        while not lines or "Uvicorn running" not in lines[-1]:
            lines.append(server.stderr.readline())
        address = lines[-1].partition("http://")[2].split()[0]
        url = f"http://{address}"
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        body = {"video": data_url(CLIP), "max_new_tokens": NUM_TOKENS}
        answer = httpx.post(f"{url}/v1/captions", json=body, timeout=PATIENT_S, trust_env=False)
        assert answer.json()["model"] == MODEL
        asked = chat_json(stream=True, max_tokens=200, temperature=2)
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=60, trust_env=False) as response:
            events = response.iter_lines()
            next(events)
            server.send_signal(signal.SIGTERM)
            assert [event for event in events if event][-1] == "data: [DONE]"
        assert server.wait(timeout=PATIENT_S) == 0
        lines += server.stderr.read().splitlines()
    assert [line for line in lines if not line.startswith("{")] == []  # nor does the engine's process say others
    logged = [json.loads(line) for line in lines]
    assert {"/v1/captions", "/v1/chat/completions"} <= {entry.get("route") for entry in logged}
    for child in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            assert "serve.py" not in Path(f"/proc/{child}/cmdline").read_text()


def test_nobody_else_reaches_a_server_without_a_key(capsys):
    with pytest.raises(typer.Exit) as exit:
        serve.main(host="0.0.0.0")
    assert exit.value.exit_code == 2
    assert "API 키가 필요합니다" in capsys.readouterr().err
