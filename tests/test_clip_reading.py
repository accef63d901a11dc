"""Reading ahead: every clip once, whoever is late, and nothing left behind."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.clip_reading import AHEAD, Clip, ClipReading, read_batches, take_alike
from processing.video_errors_kocap import VideoEmptyError

WAIT_S = 60  # for a thread of ours; reached only where a test fails


def clips(count: int) -> list[Clip]:
    return [Clip(str(number)) for number in range(count)]


def reading(clip: Clip, length: int) -> ClipReading:
    """Frames as if they had been read; none where the length is 0."""
    if length == 0:
        return ClipReading(clip, error=VideoEmptyError("0 bytes"))
    return ClipReading(clip, torch.zeros(length, 3, 1, 1, dtype=torch.uint8))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 3), st.integers(1, 5))
def test_every_clip_comes_once_in_batches_that_fit(lengths, workers, batch_size):
    batches = list(
        read_batches(
            clips(len(lengths)),
            lambda clip: reading(clip, lengths[int(clip.path)]),
            workers=workers,
            batch_size=lambda: batch_size,
        )
    )
    seen = [int(one.clip.path) for batch in batches for one in batch]
    assert sorted(seen) == list(range(len(lengths)))
    good = [sum(not one.error for one in batch) for batch in batches]
    assert max(good, default=0) <= batch_size
    if workers:
        assert sum(0 < count < batch_size for count in good) <= 1, "only the last batch may have room"


def test_the_oldest_clip_takes_those_of_like_length_along():
    lengths = [2, 5, 2, 9, 5, 3]
    ready = {number: reading(clip, lengths[number]) for number, clip in enumerate(clips(6))}
    batches = [[len(one) for one in take_alike(ready, 2)] for _ in range(3)]
    assert batches == [[2, 2], [5, 5], [9, 3]]
    assert not ready


def test_clips_are_read_while_a_batch_is_worked_on():
    ahead_is_read, last = threading.Event(), 2 + AHEAD * 2

    def read(clip):
        if int(clip.path) == last:
            ahead_is_read.set()
        return reading(clip, 1)

    batches = read_batches(clips(100), read, workers=1, batch_size=lambda: 2)
    next(batches)
    next(batches)
    assert ahead_is_read.wait(WAIT_S)
    batches.close()


def test_no_more_is_read_ahead_than_memory_is_meant_for():
    read = []
    batches = read_batches(
        clips(100), lambda clip: read.append(clip) or reading(clip, 1), workers=2, batch_size=lambda: 2
    )
    next(batches)
    batches.close()
    assert len(read) <= AHEAD * 2 + 2


def test_a_slow_clip_holds_up_no_other():
    others_are_captioned = threading.Event()

    def read(clip):
        if clip.path == "0":
            others_are_captioned.wait(WAIT_S)
        return reading(clip, 1)

    seen = []
    for batch in read_batches(clips(6), read, workers=2, batch_size=lambda: 1):
        seen += [one.clip.path for one in batch]
        if len(seen) == 5:
            others_are_captioned.set()
    assert seen == ["1", "2", "3", "4", "5", "0"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_of_ours_is_not_taken_for_a_bad_clip(workers):
    def read(clip):
        raise KeyError(clip.path)

    with pytest.raises(KeyError):
        list(read_batches(clips(3), read, workers=workers, batch_size=lambda: 2))
