"""Who may come in, who waits, and who is asked to come again later."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from .gateway_errors import QueueFullError
from .request_body import RequestBody

MAX_RETRY_AFTER_S = 60


class Admission:
    """Counts requests: `slots` of them run, `queue` more may wait, `per_client` of them from one client.

    A place is taken before a request's body is read, so that bodies of those who are turned away cost nothing. Where
    all are taken, the request whose body is furthest behind its least pace gives its place to the next one. Frames of
    videos are held by those with one of `slots + ahead` reading slots: those that run, and some more.
    """

    def __init__(self, *, slots: int, queue: int, ahead: int = 1, per_client: int | None = None):
        self.slots, self.queue, self.per_client = slots, queue, per_client or slots + queue
        self.running = 0
        self._inside: list[RequestBody] = []
        self._free = asyncio.Semaphore(slots)
        self.reading_slots = asyncio.Semaphore(slots + ahead)
        self._seconds_each = 1.0  # how long a slot was held of late

    @property
    def inside(self) -> int:
        """Requests that run, wait or come in."""
        return len(self._inside)

    @contextmanager
    def place(self, body: RequestBody) -> Iterator[None]:
        """A place inside for the request with this body.

        Raises:
            QueueFullError: If all are taken, or all that one client may have.
        """
        own = [other for other in self._inside if other.client == body.client]
        if len(own) >= self.per_client:
            self._make_room(own, f"{len(own)} requests of this client run or wait; the limit is {self.per_client}")
        elif self.inside >= self.slots + self.queue:
            limit = f"{self.slots} and {self.queue}"
            self._make_room(self._inside, f"{self.inside} requests run or wait; the limit is {limit}")
        self._inside.append(body)
        try:
            yield
        finally:
            if body in self._inside:  # else it gave way
                self._inside.remove(body)

    def _make_room(self, bodies: list[RequestBody], full: str) -> None:
        slowest = max(bodies, key=lambda body: body.behind_s)
        if slowest.behind_s <= 0:
            raise QueueFullError(f"{full}. Try again later.", retry_after_s=self.retry_after_s)
        slowest.give_way()
        self._inside.remove(slowest)

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
