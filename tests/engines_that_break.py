"""Engines' processes without a model, whose writers break down as they are told to: by a prompt's text."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from transformers import GenerationConfig

from serving.engine import Job
from serving.engine_worker import work
from serving.token_sampling import TokenSampling


class Letters:
    """A tokenizer of a kind: a token is a character."""

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return "".join(map(chr, tokens))


class Writer:
    """Answers with the prompt, character by character; `lose`, `fail`, `break down` and `wait` do as they say."""

    tokenizer = Letters()
    generation_config = GenerationConfig(max_new_tokens=100)
    max_context, revision = 64, "sha256:0"

    def start(self, deliver: Callable, fail: Callable) -> None:
        self._deliver, self._fail = deliver, fail

    def prepare(self, job: Job) -> tuple[int, str]:
        text = "".join(part["text"] for message in job.messages for part in message["content"])
        if text == "lose":
            raise KeyError(text)
        return len(text), text

    def add(self, name: str, prompt: str, *, max_new_tokens: int, sampling: TokenSampling) -> None:
        if prompt in ("fail", "break down"):
            return self._fail([name], prompt == "break down")
        if prompt == "wait":
            return
        for length in range(1, len(prompt) + 1):
            self._deliver(name, [ord(letter) for letter in prompt[:length]], length == len(prompt))

    def cancel(self, name: str) -> None: ...


def serve(connection: Connection, *_: Any) -> None:
    work(connection, Writer)
