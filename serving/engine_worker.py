"""The process that holds the model: takes jobs from a pipe, sends texts back as they grow.

It is a process of its own so that its death, by the kernel's hand or a bug's, costs the gateway no more than an error.
Messages are tuples: `("write", number, Job)` and `("cancel", number)` come in; `("ready", revision)`, `("failed",
CodedError)`, `("piece", number, text)`, `("ending", number, Ending)` and `("error", number, code, message)` go out.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Protocol

from transformers import GenerationConfig

from configuration.script_endings import as_coded
from processing.pipeline_kocap import MAX_NEW_TOKENS

from .engine import Ending, Job
from .gateway_errors import ContextError, GatewayError, GenerationError, PromptError

logger = logging.getLogger(__name__)

HALF_A_CHARACTER = "\ufffd"
NO_TOP_K = 1 << 30  # writers cut it down to the vocabulary

Deliver = Callable[[str, list[int], bool], None]
Fail = Callable[[str | None], None]


class Writer(Protocol):
    """What holds the model and writes several answers at once, each with its own length and temperature.

    Attributes:
        tokenizer: The model's.
        generation_config: What the checkpoint says where a job is silent.
        max_context: Tokens of a prompt and its answer together, at most.
        revision: See `Engine`.
    """

    tokenizer: Any
    generation_config: GenerationConfig
    max_context: int
    revision: str | None

    def start(self, deliver: Deliver, fail: Fail) -> None:
        """Called once, before anything else.

        Args:
            deliver: To be called from a thread with an answer's name, all its tokens so far, and whether it is
                finished.
            fail: To be called from a thread when an answer fails, with its name, or all of them do, with None.
        """
        ...

    def prepare(self, job: Job) -> tuple[int, Any]:
        """How many tokens the prompt has, and what `add` takes.

        Raises:
            ValueError: If the chat does not fit the model's template.
        """
        ...

    def add(self, name: str, prompt: Any, *, max_new_tokens: int, temperature: float, top_p: float, top_k: int) -> None:
        """Begin an answer; a temperature of 0 takes the likeliest token every time. Called from one thread only."""
        ...

    def cancel(self, name: str) -> None:
        """Abandon an answer; nothing happens when it is unknown or finished."""
        ...


def sampling(
    usual: GenerationConfig, *, temperature: float | None = None, top_p: float | None = None
) -> dict[str, Any]:
    """How `Writer.add` is to choose tokens: what was asked for, and the checkpoint's settings where nothing was."""
    if temperature is None:
        temperature = (usual.temperature or 1.0) if usual.do_sample else 0.0
    top_p = top_p if top_p is not None else (usual.top_p or 1.0)
    return {"temperature": temperature, "top_p": top_p, "top_k": usual.top_k or NO_TOP_K}


def work(connection: Connection, make_writer: Callable[[], Writer]) -> None:
    """The process's main function; ends when the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the gateway, which lets running answers finish
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        writer = make_writer()
    except Exception as error:  # whatever ends the start is told to who waits for it
        coded = as_coded(error)
        if coded is None:
            raise
        connection.send(("failed", coded))
        return
    worker = Worker(writer, connection)
    connection.send(("ready", writer.revision))
    worker.run()
    os._exit(0)  # not by way of the writer's threads, which end only after all their answers


class Worker:
    """Jobs in, texts out. One thread prepares prompts, so that a cancellation does not wait behind them."""

    def __init__(self, writer: Writer, connection: Connection):
        self._writer, self._connection = writer, connection
        self._jobs: SimpleQueue[tuple[int, Job]] = SimpleQueue()
        self._open: dict[str, _Open] = {}
        self._sending = threading.Lock()
        writer.start(self._deliver, self._fail)

    def run(self) -> None:
        """Take messages until the gateway is gone."""
        threading.Thread(target=self._prepare_all, daemon=True).start()
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                return
            number = message[1]
            if message[0] == "write":
                self._open[str(number)] = _Open(number)
                self._jobs.put((number, message[2]))
            else:
                self._open.pop(str(number), None)
                self._writer.cancel(str(number))

    def _send(self, *message: Any) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(1)  # nobody is left to write for

    def _prepare_all(self) -> None:
        while True:
            number, job = self._jobs.get()
            try:
                self._begin(number, job)
            except GatewayError as error:
                self._refuse(number, error)
            except Exception as error:
                logger.error("preparing a prompt failed: %s", type(error).__name__)
                self._refuse(number, GenerationError(f"preparing the prompt failed with {type(error).__name__}."))

    def _refuse(self, number: int, error: GatewayError) -> None:
        if self._open.pop(str(number), None):
            self._send("error", number, error.code, str(error.args[0]))

    def _begin(self, number: int, job: Job) -> None:
        name = str(number)
        try:
            prompt_tokens, prompt = self._writer.prepare(job)
        except ValueError as error:
            raise PromptError("the chat does not fit the model's template; remove vision tokens from texts.") from error
        answer = self._open.get(name)
        if answer is None:
            return  # the client has left
        answer.prompt_tokens = prompt_tokens
        answer.max_new_tokens = self._room(prompt_tokens, job.max_new_tokens)
        how = sampling(self._writer.generation_config, temperature=job.temperature, top_p=job.top_p)
        self._writer.add(name, prompt, max_new_tokens=answer.max_new_tokens, **how)
        if name not in self._open:
            self._writer.cancel(name)  # it left while the prompt was prepared

    def _room(self, prompt_tokens: int, wanted: int | None) -> int:
        """How many tokens the answer may have."""
        room = self._writer.max_context - prompt_tokens
        if room < (wanted or 1):
            raise ContextError(
                f"the prompt has {prompt_tokens} tokens and the answer may have {wanted or 1}; the model's context is"
                f" {self._writer.max_context}. Send fewer frames or ask for a shorter answer."
            )
        return wanted or min(room, self._writer.generation_config.max_new_tokens or MAX_NEW_TOKENS)

    def _deliver(self, name: str, tokens: list[int], finished: bool) -> None:
        answer = self._open.get(name)
        if answer is None:
            return
        text = self._writer.tokenizer.decode(tokens, skip_special_tokens=True)
        piece = answer.grow(text, finished=finished)
        if piece:
            self._send("piece", answer.number, piece)
        if finished and self._open.pop(name, None):
            reason = "length" if len(tokens) >= answer.max_new_tokens and not self._has_ended(tokens) else "stop"
            self._send("ending", answer.number, Ending(reason, answer.prompt_tokens, len(tokens)))

    def _has_ended(self, tokens: list[int]) -> bool:
        eos = self._writer.generation_config.eos_token_id
        return tokens[-1] in (eos if isinstance(eos, list) else [eos])

    def _fail(self, name: str | None) -> None:
        if name is None:
            logger.error("the model's batch broke down; the process ends")
            os._exit(1)  # the gateway starts another one
        if answer := self._open.pop(name, None):
            self._send(
                "error", answer.number, GenerationError.code, "the model failed on this prompt. Try again later."
            )


class _Open:
    """An answer that is being written."""

    def __init__(self, number: int):
        self.number = number
        self.prompt_tokens = self.max_new_tokens = 0
        self._sent = ""

    def grow(self, text: str, *, finished: bool) -> str:
        """What has been added to the text since; a character of which only some bytes are there waits for the rest."""
        if not finished:
            text = text.rstrip(HALF_A_CHARACTER)
        if not text.startswith(self._sent):
            return ""
        piece, self._sent = text[len(self._sent) :], text
        return piece
