"""Several answers to one request, written side by side: OpenAI's `n`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from .engine import Ending, Job, Piece


def several(job: Job, count: int) -> list[Job]:
    """The same job so many times; a seed gives each a seed of its own, the first the one that was asked for."""
    jobs = []
    for number in range(count):
        messages = [{**message, "content": [dict(part) for part in message["content"]]} for message in job.messages]
        seed = job.seed if job.seed is None or number == 0 else (job.seed + number) % (1 << 63)
        jobs.append(replace(job, messages=messages, seed=seed))
    return jobs


async def together(
    answers: list[AsyncGenerator[Piece | Ending]],
) -> AsyncGenerator[tuple[int, Piece | Ending]]:
    """What they write as it comes, each with its answer's number; when one fails, all end with its error."""
    items: asyncio.Queue[tuple[int, Piece | Ending | Exception]] = asyncio.Queue()

    async def pass_on(number: int, answer: AsyncGenerator[Piece | Ending]) -> None:
        try:
            async with aclosing(answer):
                async for item in answer:
                    items.put_nowait((number, item))
        except Exception as error:
            items.put_nowait((number, error))

    tasks = [asyncio.create_task(pass_on(number, answer)) for number, answer in enumerate(answers)]
    try:
        left = len(answers)
        while left:
            number, item = await items.get()
            if isinstance(item, Exception):
                raise item
            left -= isinstance(item, Ending)
            yield number, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def whole(items: AsyncIterator[tuple[int, Piece | Ending]]) -> list[tuple[str, Ending]]:
    """All answers at once, with how each ends."""
    texts: dict[int, str] = {}
    endings: dict[int, Ending] = {}
    async for number, item in items:
        if isinstance(item, Ending):
            endings[number] = item
        else:
            texts[number] = texts.get(number, "") + item.text
    return [(texts.get(number, "").strip(), endings[number]) for number in sorted(endings)]
