"""Clips read ahead of the model, each in a process of its own, and put together by length.

A thread of this process waits for each decoding process, so frames are here when the model wants them. A file that
crashes its decoder costs its own line and nothing else.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from processing.video_errors_kocap import NotFileError, VideoError
from processing.video_processing_kocap import ClipMetadata, KoCapVideoProcessor
from processing.video_threads_kocap import usable_cores

AHEAD = 3  # batches that are read or being read while the model works; what batches by length are chosen from


class Clip(NamedTuple):
    """What a line is about; its id, where it has one, else its file tells it from others."""

    path: str
    id: str | None = None

    def names(self) -> dict[str, str]:
        """What a line calls it."""
        return ({} if self.id is None else {"id": self.id}) | {"file": self.path}


@dataclass(frozen=True, eq=False)
class ClipReading:
    """Frames of a clip, or what is wrong with it.

    Attributes:
        frames: uint8 `[T, 3, H, W]`.
    """

    clip: Clip
    frames: torch.Tensor | None = None
    metadata: ClipMetadata | None = None
    error: VideoError | None = None

    def __len__(self) -> int:
        return 0 if self.frames is None else len(self.frames)


def read_clip(clip: Clip, processor: KoCapVideoProcessor, look: dict[str, Any], *, isolated: bool) -> ClipReading:
    """Read one clip; never raises for what is wrong with it.

    Args:
        look: What `fetch_videos` takes: `num_frames`, `fps`, `max_frames`, `follow_scenes`.
        isolated: In a process of its own.
    """
    try:
        (frames,), (metadata,) = processor.fetch_videos(clip.path, isolated=isolated, **look)
    except VideoError as error:
        return ClipReading(clip, error=error.with_traceback(None))
    except OSError as error:  # a disk or a network drive that fails
        told = f"{clip.path!r} cannot be read ({error}). Check the disk and the file's permissions."
        return ClipReading(clip, error=NotFileError(told))
    return ClipReading(clip, frames, metadata)


def usual_workers() -> int:
    """How many clips to read at once where nobody says: half of the processors, the others are the model's."""
    return max(1, usable_cores() // 2)


def can_isolate() -> bool:
    """Whether decoding in a process of its own works here; Windows has no fork."""
    return hasattr(os, "fork")


def read_batches(
    clips: Iterable[Clip], read: Callable[[Clip], ClipReading], *, workers: int, batch_size: Callable[[], int]
) -> Iterator[list[ClipReading]]:
    """Read clips and put those of like length together.

    Args:
        workers: Clips that are read at once, ahead of whoever takes the batches; 0: one by one, in order, when asked.
        batch_size: Called for every batch. Clips that could not be read come at once and do not count.
    """
    clips = iter(clips)
    if not workers:
        while readings := [read(clip) for clip in itertools.islice(clips, batch_size())]:
            yield readings
        return
    pool, numbers = ThreadPoolExecutor(workers), itertools.count()
    pending: dict[Future[ClipReading], int] = {}
    ready: dict[int, ClipReading] = {}
    try:
        while True:
            wanted = max(0, AHEAD * batch_size() + workers - len(pending) - len(ready))
            pending |= {pool.submit(read, clip): next(numbers) for clip in itertools.islice(clips, wanted)}
            if not pending:
                break
            for future in wait(pending, 0 if len(ready) >= batch_size() else None, FIRST_COMPLETED).done:
                number, reading = pending.pop(future), future.result()
                if reading.error:
                    yield [reading]
                else:
                    ready[number] = reading
            if len(ready) >= batch_size():
                yield take_alike(ready, batch_size())
        while ready:
            yield take_alike(ready, batch_size())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def take_alike(ready: dict[int, ClipReading], batch_size: int) -> list[ClipReading]:
    """Take the oldest reading, so that none waits for ever, and those nearest to it in length."""
    oldest = len(ready[min(ready)])
    nearest = sorted(ready, key=lambda number: (abs(len(ready[number]) - oldest), number))
    return [ready.pop(number) for number in sorted(nearest[:batch_size])]
