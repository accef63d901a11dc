"""An engine as the gateway sees it: a process that holds the model, started again when it dies."""

import asyncio
import itertools
import logging
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from configuration.coded_errors_kocap import CodedError
from configuration.script_endings import shielded_from_interrupts

from .engine import Ending, EngineStartError, Job, Piece
from .gateway_errors import ENGINE_ERRORS, EngineGoneError, GenerationError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0  # before it is started again; doubled each time it does not get ready
RETRY_AFTER_S = 10


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
        threading.Thread(target=self._listen, daemon=True, name="from-engine").start()

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
                self.connection.close()
                return

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self._sender.shutdown(wait=False)


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
        self._inboxes: dict[int, asyncio.Queue] = {}
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
        number, inbox = next(self._numbers), asyncio.Queue()
        self._inboxes[number] = inbox
        written = False
        try:
            try:
                await child.send(("write", number, job))
            except (OSError, RuntimeError):  # RuntimeError: it was replaced, and its sender closed
                raise _gone() from None
            while not written:
                item = await inbox.get()
                if isinstance(item, Exception):
                    written = True
                    raise item
                written = isinstance(item, Ending)
                yield item
        finally:
            self._inboxes.pop(number, None)
            if not written and child is self._child and self.ready:
                child.send(("cancel", number)).add_done_callback(lambda sent: sent.cancelled() or sent.exception())

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
                self._put(number, ENGINE_ERRORS.get(code, GenerationError)(told))

    def _put(self, number: int, item: Any) -> None:
        if number in self._inboxes:
            self._inboxes[number].put_nowait(item)

    def _lost(self, child: _Child) -> None:
        """The process is gone: whoever waits for it is told, and another one is started after a while."""
        self.ready = False
        child.kill()
        logger.error("the engine ended with code %s", child.process.exitcode)
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
        for number in list(self._inboxes):
            self._put(number, _gone())


def _gone() -> EngineGoneError:
    return EngineGoneError(
        "the engine is starting, or has just ended and is started again. Try again later.", retry_after_s=RETRY_AFTER_S
    )
