"""An engine as the gateway sees it: a process that holds the model, started again when it dies."""

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from configuration.coded_errors_kocap import CodedError
from configuration.script_endings import shielded_from_interrupts

from .engine import Ending, EngineStartError, Job, Piece
from .gateway_errors import ENGINE_ERRORS, EngineGoneError, GenerationError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0  # before it is started again; doubled each time it does not get ready
RETRY_AFTER_S = 10
PATIENCE_S = 10.0  # for the rest of a pipe whose other end is dead


class _Inbox:
    """What comes of one job."""

    def __init__(self, request_id: str):
        self.request_id, self.items = request_id, asyncio.Queue()


class _Child:
    """One worker process: what is sent to it, in order, and a thread that hands on what it says."""

    def __init__(self, target: Any, arguments: tuple, hear: Any):
        context = multiprocessing.get_context("spawn")  # threads and CUDA do not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        with shielded_from_interrupts():
            self.process.start()
        theirs.close()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="to-engine")
        self._hear = hear
        self._listener = threading.Thread(target=self._listen, daemon=True, name="from-engine")
        self._listener.start()

    def send(self, message: tuple) -> asyncio.Future:
        """Send it after all others; frames are megabytes, so this takes a thread."""
        return asyncio.get_running_loop().run_in_executor(self._sender, self.connection.send, message)

    def _listen(self) -> None:
        while True:
            try:
                message = self.connection.recv()
            except Exception:  # the end, or half a message of a process that was killed
                message = None
            self._hear(self, message)
            if message is None:
                return

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        with contextlib.suppress(RuntimeError):  # killed before
            self._sender.submit(self._close)  # after what is being sent: a connection closed meanwhile raises anything
        self._sender.shutdown(wait=False)

    def _close(self) -> None:
        self._listener.join(PATIENCE_S)
        if not self._listener.is_alive():
            self.connection.close()


class ProcessEngine:
    """See `Engine`.

    Args:
        main: What the process does; it is called with a pipe's end and the other arguments, and speaks as
            `serving/engine_worker.py` says.
        model: Checkpoint or adapter, folder or Hub id.
        slots: Answers at the same time.
        max_context: Tokens of a prompt and its answer, at most; less where the model cannot see as many.
    """

    def __init__(self, main: Callable[..., None], model: str, *, slots: int, max_context: int):
        self.ready, self.revision, self.restarts = False, None, 0
        self._main, self._arguments = main, (model, slots, max_context)
        self._numbers = itertools.count()
        self._inboxes: dict[int, _Inbox] = {}
        self._asked: asyncio.Future[bool] | None = None  # whether it answers
        self._child: _Child | None = None
        self._first: asyncio.Future | None = None
        self._restart: asyncio.Task | None = None
        self._pause_s = FIRST_PAUSE_S
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The process that holds the model."""
        return self._child and self._child.process.pid

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._first = self._loop.create_future()
        self._spawn()
        try:
            await self._first
        except CodedError:
            self._closing = True
            raise
        finally:
            self._first = None

    async def close(self) -> None:
        self._closing, self.ready = True, False
        if self._restart:
            self._restart.cancel()
        if self._child:
            await asyncio.to_thread(self._child.kill)
        self._abandon_all()

    async def write(self, job: Job) -> AsyncIterator[Piece | Ending]:
        child = self._child
        if not self.ready or child is None:
            raise _gone()
        number, inbox = next(self._numbers), _Inbox(job.request_id)
        self._inboxes[number] = inbox
        written = False
        try:
            try:
                await child.send(("write", number, job))
            except (OSError, RuntimeError):  # RuntimeError: it was replaced, and its sender closed
                raise _gone() from None
            while not written:
                item = await inbox.items.get()
                if isinstance(item, Exception):
                    written = True
                    raise item
                written = isinstance(item, Ending)
                yield item
        finally:
            self._inboxes.pop(number, None)
            if not written and child is self._child and self.ready:
                child.send(("cancel", number)).add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    async def answers(self, within_s: float) -> bool:
        if not self.ready or self._child is None:
            return False
        if self._asked is None:  # one question at a time, however many ask it
            self._asked = self._loop.create_future()
            self._child.send(("ping", 0)).add_done_callback(lambda sent: sent.cancelled() or sent.exception())
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(self._asked)
        except TimeoutError:
            return False

    def _spawn(self) -> None:
        self._child = _Child(self._main, self._arguments, self._hear)

    def _hear(self, child: _Child, message: tuple | None) -> None:  # in the child's thread
        try:
            self._loop.call_soon_threadsafe(self._take, child, message)
        except RuntimeError:  # the loop is closed: the gateway has ended
            return

    def _take(self, child: _Child, message: tuple | None) -> None:
        if child is not self._child or self._closing:
            return
        match message:
            case None:
                self._lost(child)
            case ("ready", revision):
                self.ready, self.revision, self._pause_s = True, revision, FIRST_PAUSE_S
                if self._first and not self._first.done():
                    self._first.set_result(None)
            case ("failed", reason):
                logger.error("the engine cannot start")
                if self._first and not self._first.done():
                    self._first.set_exception(reason)
            case ("piece", number, text):
                self._put(number, Piece(text))
            case ("ending", number, ending):
                self._put(number, ending)
            case ("error", number, code, told):
                error = ENGINE_ERRORS.get(code, GenerationError)(told)
                if isinstance(error, GenerationError):
                    self._log("the engine failed on a request", [number])
                self._put(number, error)
            case ("pong", _):
                self._heard(True)
            case ("broken", numbers):
                self._log("the engine broke down and ends; the requests that it broke down on", numbers)

    def _heard(self, answers: bool) -> None:
        if self._asked and not self._asked.done():
            self._asked.set_result(answers)
        self._asked = None

    def _log(self, message: str, numbers: Iterable[int]) -> None:
        ids = [self._inboxes[number].request_id for number in numbers if number in self._inboxes]
        logger.error(message, extra={"facts": {"request_ids": ids}})

    def _put(self, number: int, item: Any) -> None:
        if number in self._inboxes:
            self._inboxes[number].items.put_nowait(item)

    def _lost(self, child: _Child) -> None:
        """The process is gone: whoever waits for it is told, and another one is started after a while."""
        self.ready = False
        child.kill()
        self._log(f"the engine ended with code {child.process.exitcode}; the requests inside", self._inboxes)
        self._abandon_all()
        if self._first:
            if not self._first.done():
                self._first.set_exception(EngineStartError(f"the engine ended with code {child.process.exitcode}"))
            return
        self._restart = self._loop.create_task(self._start_again())

    async def _start_again(self) -> None:
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)
        self.restarts += 1
        self._spawn()

    def _abandon_all(self) -> None:
        self._heard(False)
        for number in list(self._inboxes):
            self._put(number, _gone())


def _gone() -> EngineGoneError:
    return EngineGoneError(
        "the engine is starting, or has just ended and is started again. Try again later.", retry_after_s=RETRY_AFTER_S
    )
