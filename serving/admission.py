"""Who may come in, who waits, and who is asked to come again later."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from .gateway_errors import QueueFullError

MAX_RETRY_AFTER_S = 60


class Admission:
    """Counts requests: `slots` of them run, `queue` more may wait.

    A place is taken before a request's body is read, so that bodies of those who are turned away cost nothing.
    """

    def __init__(self, *, slots: int, queue: int):
        self.slots, self.queue = slots, queue
        self.inside = self.running = 0
        self._free = asyncio.Semaphore(slots)
        self._seconds_each = 1.0  # how long a slot was held of late

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place inside, waiting or running.

        Raises:
            QueueFullError: If all are taken.
        """
        if self.inside >= self.slots + self.queue:
            raise QueueFullError(
                f"{self.inside} requests run or wait; the limit is {self.slots} and {self.queue}. Try again later.",
                retry_after_s=self.retry_after_s,
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One of the slots, in the order of asking."""
        async with self._free:
            self.running += 1
            began = time.monotonic()
            try:
                yield
            finally:
                self.running -= 1
                self._seconds_each += 0.2 * (time.monotonic() - began - self._seconds_each)

    @property
    def retry_after_s(self) -> int:
        """About when one more of those inside will have left, in whole seconds."""
        turns = self.inside / self.slots
        return min(max(1, math.ceil(turns * self._seconds_each)), MAX_RETRY_AFTER_S)
