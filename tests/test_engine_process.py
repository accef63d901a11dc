"""What the gateway makes of an engine that breaks down, is killed or frozen: a coded error, and who it was."""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from multiprocessing import Pipe
from typing import Any

import engines_that_break
import pytest
from gateway_fixtures import PATIENT_S, Stage, play
from hypothesis import given
from hypothesis import strategies as st

from serving.engine import Ending, Job
from serving.engine_process import ProcessEngine
from serving.engine_worker import Worker, _Open
from serving.gateway_errors import EngineGoneError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stops processes by signals")


def breaking() -> ProcessEngine:
    return ProcessEngine(engines_that_break.serve, "none", slots=4, max_context=64)


def text(words: Any) -> dict:
    return {"type": "text", "text": words}


@pytest.mark.slow
def test_a_request_that_breaks_the_engine_is_told_so_and_named_and_others_come_again(caplog, capfd):
    async def scenario(stage: Stage) -> None:
        lost = await stage.chat(text("lose"))
        assert (lost.status_code, lost.json()["error"]["code"]) == (500, "E_GENERATE")
        assert (await stage.chat(text("안녕"))).json()["choices"][0]["message"]["content"] == "안녕"
        failed = await stage.chat(text("fail"))
        assert (failed.status_code, failed.json()["error"]["code"]) == (500, "E_GENERATE")
        assert (await stage.chat(text("안녕"))).status_code == 200 and stage.engine.restarts == 0
        other = asyncio.create_task(stage.chat(text("wait")))
        while len(stage.engine._inboxes) < 1:
            await asyncio.sleep(0)
        broke = await stage.chat(text("break down"))
        assert (broke.status_code, broke.json()["error"]["code"]) == (500, "E_GENERATE")
        assert ((await other).status_code, (await other).json()["error"]["code"]) == (503, "E_ENGINE")
        named = {
            record.message: record.facts["request_ids"]
            for record in caplog.records
            if hasattr(record, "facts") and "request_ids" in record.facts
        }
        (reason,) = [ids for message, ids in named.items() if "broke down" in message]
        assert reason == [broke.headers["x-request-id"]]
        (inside,) = [ids for message, ids in named.items() if "ended with code 1" in message]
        assert (await other).headers["x-request-id"] in inside

    with caplog.at_level(logging.ERROR):
        play(scenario, engine=breaking)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]  # the engine's own lines
    assert [line["message"] for line in logged] == ["preparing a prompt failed: KeyError"]


@pytest.mark.slow
def test_a_frozen_engine_is_not_healthy():
    async def scenario(stage: Stage) -> None:
        assert (await stage.client.get("/health")).json() == {"status": "ok"}
        os.kill(stage.engine.pid, signal.SIGSTOP)
        frozen = await asyncio.gather(*(stage.client.get("/health") for _ in range(5)))
        assert {response.status_code for response in frozen} == {503}
        assert frozen[0].json() == {"status": "not answering"}
        os.kill(stage.engine.pid, signal.SIGCONT)
        async with asyncio.timeout(PATIENT_S):
            while (await stage.client.get("/health")).status_code != 200:
                pass
        assert (await stage.chat(text("안녕"))).status_code == 200

    play(scenario, engine=breaking, health_timeout_s=0.5)


class Late:
    """Part of a job; while it is sent, the engine is killed and the end of its pipe is heard."""

    def __init__(self, pid: int):
        self.pid = pid

    def __reduce__(self) -> tuple:
        os.kill(self.pid, signal.SIGKILL)
        for thread in threading.enumerate():
            if thread.name == "from-engine":
                thread.join(PATIENT_S)
        return (str, ("late",))


@pytest.mark.slow
def test_a_job_on_its_way_to_an_engine_that_is_killed_is_a_coded_error():
    async def run() -> None:
        engine = breaking()
        await engine.start()
        with pytest.raises(EngineGoneError):
            _ = [item async for item in engine.write(Job([{"role": "user", "content": [text(Late(engine.pid))]}]))]
        await engine.close()

    asyncio.run(run())


class Slow(engines_that_break.Writer):
    """Prepares a prompt when it may, and notes which."""

    def __init__(self):
        self.prepared, self.may = [], threading.Semaphore(0)

    def prepare(self, job: Job) -> tuple[int, str]:
        self.prepared.append(job.messages[0]["content"][0]["text"])
        assert self.may.acquire(timeout=PATIENT_S)
        return super().prepare(job)


def job(words: str, **how: Any) -> Job:
    return Job([{"role": "user", "content": [text(words)]}], **how)


def hear(connection: Any) -> tuple:
    assert connection.poll(PATIENT_S)
    return connection.recv()


def test_work_of_clients_who_left_is_dropped_before_it_begins():
    ours, theirs = Pipe()
    writer = Slow()
    threading.Thread(target=Worker(writer, theirs).run, daemon=True).start()
    for number, words in enumerate(("first", "left", "last")):
        ours.send(("write", number, job(words)))
    ours.send(("cancel", 1))
    ours.send(("ping", 9))
    assert hear(ours) == ("pong", 9)  # all the above was heard, while the first is prepared
    writer.may.release(3)
    heard = [hear(ours) for _ in "firstlast12"]
    assert [message[:2] for message in heard if message[0] == "ending"] == [("ending", 0), ("ending", 2)]
    assert writer.prepared == ["first", "last"]
    ours.close()


def test_texts_too_long_for_the_context_are_refused_by_their_characters():
    ours, theirs = Pipe()
    writer = Slow()
    threading.Thread(target=Worker(writer, theirs).run, daemon=True).start()
    ours.send(("write", 0, job("a" * (16 * writer.max_context + 1))))
    kind, _, code, message = hear(ours)
    assert (kind, code) == ("error", "E_CONTEXT") and "1025 characters; the limit is 1024" in message
    assert writer.prepared == []
    ours.close()


@given(
    st.text("ab", max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 12), max_size=6).map(sorted),
)
def test_an_answer_ends_before_the_first_text_that_ends_it_however_it_grows(whole, stops, lengths):
    growing = _Open(0, job("", stop=tuple(stops)))
    pieces = ""
    for length in [*lengths, len(whole)]:
        pieces += growing.grow(whole[:length], finished=False)
        if growing.stopped:
            break
    else:
        pieces += growing.grow(whole, finished=True)
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    # The one that is complete first: nothing of a text that ends the answer is ever sent.
    assert growing.stopped == bool(ends)
    assert pieces == (whole[: min(ends)[1]] if ends else whole)


def test_a_stop_text_ends_the_answer():
    ours, theirs = Pipe()
    writer = Slow()
    writer.may.release(5)
    threading.Thread(target=Worker(writer, theirs).run, daemon=True).start()
    ours.send(("write", 0, job("해안입니다. 파도가 칩니다.", stop=(". 파",))))
    items = []
    while not items or items[-1][0] != "ending":
        items.append(hear(ours))
    assert "".join(text for _, _, text in items[:-1]) == "해안입니다"
    assert items[-1][2] == Ending("stop", 15, 8)
    ours.close()
