"""How many clips a second, and how soon the first word: `model.generate` in a loop, serve.py, and serve.py with vLLM.

    python benchmarks/serving.py
    python benchmarks/serving.py --vllm .venv-vllm/bin/python --counts 1 --counts 8 --counts 32

Clients ask for captions of drawn scenes (1280x720), one request after the other each; there are 1, 8 or 32 of them. All
ways serve the same clips, one way after the other, round after round. The loop takes one clip at a time, as a first
server would.

    clips/s   all clips over the time from the first request to the last word
    first     median seconds from asking to the first word, waiting in line included
    idle      share of the time in which nothing was written though somebody waited: reading clips
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import typer
from run_record import save_result
from transformers import TextIteratorStreamer

from corpus.scenes import sample_scene, write_clip
from modeling.captioner import load_captioner
from modeling.checkpoint_names import EMBEDDED_MODEL, model_name

ROOT = Path(__file__).resolve().parent.parent
FIRST_SEED = 1_500_000_000
LOOK_EVERY_S = 0.05
Ask = Callable[[Path], AsyncIterator[str]]


@dataclass
class Measured:
    """One way at one number of clients, all rounds together."""

    num_clips: int = 0
    seconds: float = 0.0
    first_s: list[float] = field(default_factory=list)
    looks: list[bool] = field(default_factory=list)  # whether nothing was written though somebody waited

    def row(self) -> dict:
        return {
            "clips_per_s": round(self.num_clips / self.seconds, 3),
            "first_word_s": round(statistics.median(self.first_s), 3),
            "idle_share": round(statistics.mean(self.looks), 3) if self.looks else None,
        }


def looping(model: str, max_tokens: int) -> Ask:
    """One clip at a time through transformers' `generate`."""
    pipe, turn = load_captioner(model), asyncio.Lock()

    async def ask(clip: Path) -> AsyncIterator[str]:
        async with turn:
            streamer = TextIteratorStreamer(pipe.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
            options = {"streamer": streamer, "do_sample": False, "max_new_tokens": max_tokens}
            thread = threading.Thread(target=pipe, args=(str(clip),), kwargs={"generate_kwargs": options})
            thread.start()
            while (piece := await asyncio.to_thread(next, iter(streamer), None)) is not None:
                if piece:
                    yield piece
            thread.join()

    return ask


@contextlib.contextmanager
def serving(python: str, engine: str, model: str, slots: int) -> Iterator[str]:
    """serve.py in a process of its own; yields its address when it is healthy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [
        "--engine",
        engine,
        "--model",
        model,
        "--port",
        str(port),
        "--slots",
        str(slots),
        "--max-context",
        "1024",
    ]
    process = subprocess.Popen([python, "serve.py", *options], cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            if process.poll() is not None:
                raise typer.BadParameter(f"serve.py --engine {engine} ended; run it by itself to see why.")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def asking(client: httpx.AsyncClient, url: str, model: str, max_tokens: int) -> Ask:
    """A streamed chat completion."""

    async def ask(clip: Path) -> AsyncIterator[str]:
        video = f"data:video/mp4;base64,{base64.b64encode(clip.read_bytes()).decode()}"
        content = [{"type": "video_url", "video_url": {"url": video}}]
        body = {"model": model_name(model), "messages": [{"role": "user", "content": content}]}
        body |= {"stream": True, "max_tokens": max_tokens, "temperature": 0}
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line.removeprefix("data: "))["choices"]
                    if choices and (piece := choices[0]["delta"].get("content")):
                        yield piece

    return ask


async def look_around(client: httpx.AsyncClient, url: str, looks: list[bool]) -> None:
    """Note again and again whether the engine has nothing to do though somebody waits."""
    while True:
        told = (await client.get(f"{url}/metrics")).text
        inside, running = (
            float(told.split(f"\nkocap_requests_{name} ", 1)[1].split("\n", 1)[0]) for name in ("inside", "running")
        )
        if inside:
            looks.append(running == 0)
        await asyncio.sleep(LOOK_EVERY_S)


async def load(ask: Ask, clips: list[Path], num_clients: int, measured: Measured) -> None:
    """All clips, asked for by some clients at once."""
    waiting = iter(clips)

    async def client() -> None:
        for clip in waiting:
            began, first = time.perf_counter(), True
            async for _ in ask(clip):
                if first:
                    measured.first_s.append(time.perf_counter() - began)
                    first = False

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(num_clients)))
    measured.seconds += time.perf_counter() - began
    measured.num_clips += len(clips)


async def measure(ways: dict[str, tuple[Ask, str | None]], clips: list[Path], counts: list[int], rounds: int) -> dict:
    """Rows by way and number of clients."""
    measured = {(way, count): Measured() for way, count in itertools.product(ways, counts)}
    async with httpx.AsyncClient(timeout=600) as client:
        for ask, _ in ways.values():
            async for _ in ask(clips[0]):  # what is slow only once
                pass
        for _, count, (way, (ask, url)) in itertools.product(range(rounds), counts, ways.items()):
            result = measured[way, count]
            looking = asyncio.create_task(look_around(client, url, result.looks)) if url else None
            await load(ask, clips, count, result)
            if looking:
                looking.cancel()
    return {way: {str(count): measured[way, count].row() for count in counts} for way in ways}


def main(
    model: Annotated[str, typer.Option()] = EMBEDDED_MODEL,
    vllm: Annotated[str | None, typer.Option(help="Python of vLLM's environment; without it vLLM is left out")] = None,
    counts: Annotated[list[int] | None, typer.Option(help="how many clients at once")] = None,
    num_clips: Annotated[int, typer.Option(min=1)] = 32,
    max_tokens: Annotated[int, typer.Option(min=1)] = 160,
    rounds: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Measure all ways on the same clips."""
    counts = counts or [1, 8, 32]
    slots = max(counts)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        clips = [Path(folder) / f"{number:03d}.mp4" for number in range(num_clips)]
        for number, clip in enumerate(clips):
            write_clip(sample_scene(FIRST_SEED + number), clip, height=720, width=1280)
        client = httpx.AsyncClient(timeout=600)
        ways: dict[str, tuple[Ask, str | None]] = {"loop": (looping(model, max_tokens), None)}
        for engine, python in (("transformers", sys.executable), ("vllm", vllm)):
            if python:
                url = stack.enter_context(serving(python, engine, model, slots))
                ways[engine] = asking(client, url, model, max_tokens), url
        rows = asyncio.run(measure(ways, clips, counts, rounds))
    print("| way | clients | clips/s | times the loop | first word s | idle |\n|---|---|---|---|---|---|")
    for way, count in itertools.product(rows, map(str, counts)):
        row = rows[way][count]
        ratio = row["clips_per_s"] / rows["loop"][count]["clips_per_s"]
        idle = "" if row["idle_share"] is None else f"{row['idle_share']:.1%}"
        print(f"| {way} | {count} | {row['clips_per_s']:.2f} | {ratio:.2f} | {row['first_word_s']:.2f} | {idle} |")
    about = {"model": model_name(model), "clips": num_clips, "max_tokens": max_tokens, "rounds": rounds}
    print(f"saved {save_result('serving', {**about, 'ways': rows})}")


if __name__ == "__main__":
    typer.run(main)
