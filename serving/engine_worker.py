"""The process that holds the model: takes jobs from a pipe, sends texts back as they grow.

It is a process of its own so that its death, by the kernel's hand or a bug's, costs the gateway no more than an error.
Messages are tuples. In come `("write", number, Job)`, `("cancel", number)` and `("ping", number)`, which is answered by
`("pong", number)` at once. Out go `("ready", revision)`, `("failed", CodedError)`, `("piece", number, text)`,
`("ending", number, Ending)`, `("error", number, code, message)` and, before the process ends because the model works
no more, `("broken", numbers)`.
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
from .json_log import log_json_lines
from .token_sampling import TokenSampling, resolve_sampling

logger = logging.getLogger(__name__)

HALF_A_CHARACTER = "\ufffd"
MOST_CHARACTERS_PER_TOKEN = 16  # a token of Korean has one or two, of English four

Deliver = Callable[[str, list[int], bool], None]
Fail = Callable[[list[str], bool], None]


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
            fail: To be called from a thread with the names of answers that fail, and whether the model works no more:
                then the process ends, and the others fail with it.
        """
        ...

    def prepare(self, job: Job) -> tuple[int, Any]:
        """How many tokens the prompt has, and what `add` takes.

        Raises:
            ValueError: If the chat does not fit the model's template.
        """
        ...

    def add(self, name: str, prompt: Any, *, max_new_tokens: int, sampling: TokenSampling) -> None:
        """Begin an answer. Called from one thread only."""
        ...

    def cancel(self, name: str) -> None:
        """Abandon an answer; nothing happens when it is unknown or finished."""
        ...


def work(connection: Connection, make_writer: Callable[[], Writer]) -> None:
    """The process's main function; ends when the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the gateway, which lets running answers finish
    log_json_lines()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # tracebacks; ours says what broke down
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
        self._jobs: SimpleQueue[str] = SimpleQueue()
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
            match message:
                case ("write", number, job):
                    self._open[str(number)] = _Open(number, job)
                    self._jobs.put(str(number))
                case ("cancel", number):
                    self._open.pop(str(number), None)
                    self._writer.cancel(str(number))
                case ("ping", number):
                    self._send("pong", number)

    def _send(self, *message: Any) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(1)  # nobody is left to write for

    def _prepare_all(self) -> None:
        while True:
            name = self._jobs.get()
            answer = self._open.get(name)
            if answer is None:
                continue  # the client has left
            try:
                self._begin(name, answer)
            except GatewayError as error:
                self._refuse(name, error)
            except Exception as error:
                logger.error("preparing a prompt failed: %s", type(error).__name__)
                self._refuse(name, GenerationError(f"preparing the prompt failed with {type(error).__name__}."))

    def _refuse(self, name: str, error: GatewayError) -> None:
        if answer := self._open.pop(name, None):
            self._send("error", answer.number, error.code, str(error.args[0]))

    def _begin(self, name: str, answer: "_Open") -> None:
        job, answer.job = answer.job, None
        self._check_length(job)
        try:
            answer.prompt_tokens, prompt = self._writer.prepare(job)
        except ValueError as error:
            raise PromptError("the chat does not fit the model's template; check the roles of its messages.") from error
        answer.max_new_tokens = self._room(answer.prompt_tokens, job.max_new_tokens)
        if name not in self._open:
            return  # the client left while the prompt was prepared
        sampling = resolve_sampling(self._writer.generation_config, job)
        self._writer.add(name, prompt, max_new_tokens=answer.max_new_tokens, sampling=sampling)
        if name not in self._open:
            self._writer.cancel(name)  # it left just now

    def _check_length(self, job: Job) -> None:
        """Refuse texts that are too long by their characters: to tokenize them would hold up all others."""
        texts = (part["text"] for message in job.messages for part in message["content"] if part["type"] == "text")
        length, most = sum(map(len, texts)), self._writer.max_context * MOST_CHARACTERS_PER_TOKEN
        if length > most:
            raise ContextError(
                f"the texts have {length} characters; the limit is {most}, {MOST_CHARACTERS_PER_TOKEN} for each token"
                f" of the model's context ({self._writer.max_context}). Send shorter texts."
            )

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
        if (finished or answer.stopped) and self._open.pop(name, None):
            if not finished:
                self._writer.cancel(name)
            cut = len(tokens) >= answer.max_new_tokens and not (answer.stopped or self._has_ended(tokens))
            self._send("ending", answer.number, Ending("length" if cut else "stop", answer.prompt_tokens, len(tokens)))

    def _has_ended(self, tokens: list[int]) -> bool:
        eos = self._writer.generation_config.eos_token_id
        return tokens[-1] in (eos if isinstance(eos, list) else [eos])

    def _fail(self, names: list[str], ends: bool) -> None:
        if ends:
            self._send("broken", [int(name) for name in names])  # first: their ids are known while they are inside
        for name in names:
            if answer := self._open.pop(name, None):
                error = GenerationError("the model failed on this request. Change it, or try again later.")
                self._send("error", answer.number, error.code, str(error.args[0]))
        if ends:
            os._exit(1)  # the gateway starts another one


class _Open:
    """An answer that is being written."""

    def __init__(self, number: int, job: Job):
        self.number = number
        self.job: Job | None = job  # until its prompt is prepared
        self.prompt_tokens = self.max_new_tokens = 0
        self.stopped = False  # by one of the texts that end it
        self._stops = job.stop
        self._sent = ""

    def grow(self, text: str, *, finished: bool) -> str:
        """What has been added to the text since.

        A character of which only some bytes are there waits for the rest, and so does what may begin a text that ends
        the answer.
        """
        if not finished:
            text = text.rstrip(HALF_A_CHARACTER)
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop, len(self._sent))) >= 0]
        if found:  # the one that is complete first, however the text grows
            self.stopped, text = True, text[: min(found)[1]]
        elif not finished:
            text = text[: len(text) - max((_begun(stop, text) for stop in self._stops), default=0)]
        if not text.startswith(self._sent):
            return ""
        piece, self._sent = text[len(self._sent) :], text
        return piece


def _begun(stop: str, text: str) -> int:
    """With how many characters of `stop` the text ends."""
    return next((length for length in range(len(stop) - 1, 0, -1) if text.endswith(stop[:length])), 0)
