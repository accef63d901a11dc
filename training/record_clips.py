"""Records as a training set: items with frames read as inference reads them, or with features from a cache."""

import copy
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from corpus.record_form import MARKS, Record, RecordError
from processing.frame_sampling_kocap import sample_times
from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import VideoError

from .collator import write_chat
from .feature_cache import FeatureCache
from .record_media import Source, read_source

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 1000


class NotCachedError(VideoError):
    """A clip without features in a cache that was to hold all of them."""

    code = "E_NOT_CACHED"
    message_ko = "캐시에 이 영상의 특징이 없습니다. 캐시를 먼저 채워 주세요."


class RecordClips(Dataset):
    """Items of records, as `CaptionCollator` takes them.

    A sample that cannot be read is replaced by the next one that can; the item then carries the `problem`, which is
    also logged once.

    Args:
        records: With paths that can be opened from here, as `read_records` gives them.
        processor: Says which frames are looked at.
        cache: Gives features in place of frames; fill it first.
        strict: Raise the VideoError of a sample that cannot be read.
    Raises:
        RecordError: If a conversation asks about its video or image only after the last answer.
    """

    def __init__(
        self,
        records: Sequence[Record],
        processor: KoCapProcessor,
        *,
        cache: FeatureCache | None = None,
        strict: bool = False,
    ):
        self.records, self.processor, self.cache, self.strict = list(records), processor, cache, strict
        self._messages = [_until_last_answer(record) for record in self.records]
        self._sources = [Source.of(record) for record in self.records]
        self._problems: dict[int, dict[str, str]] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`id`, `messages`, `medium`, `frames` uint8 `[T, 3, H, W]` or `features` `[T, N, D]`, `times_s`, `problem`?

        Raises:
            VideoError: With `strict`, if the sample cannot be read.
            RecordError: If none of all samples can be.
        """
        index = range(len(self))[index]
        for candidate in (*range(index, len(self)), *range(index)):
            if (item := self._read(candidate)) is not None:
                return item if candidate == index else item | {"problem": self._problems[index]}
        first = self._problems[index]
        raise RecordError(
            f"none of the {len(self)} records can be read; the first that was tried: {first['message']}",
            f"레코드 {len(self)}개 가운데 읽을 수 있는 것이 없습니다. {first['path']}: {first['message_ko']}",
        )

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every item, without reading videos: for batches of clips of similar length.

        Exact where the number of frames is fixed or features are cached. Otherwise a record's `duration_s` says how
        many frames there are, or the most that are taken; and times that are not known are taken to be single digits.
        """
        counts, processor = [], self.processor
        for start in range(0, len(self), TEXTS_AT_ONCE):
            part = range(start, min(start + TEXTS_AT_ONCE, len(self)))
            chats = [write_chat(self._messages[i], self._sources[i].medium) for i in part]
            texts = processor.apply_chat_template(chats, tokenize=False)
            bos = processor.tokenizer.bos_token
            special = bos is None or not texts[0].startswith(bos)
            ids = processor.tokenizer(texts, add_special_tokens=special)["input_ids"]
            counts += [len(tokens) - 1 + self._count_frame_tokens(i) for i, tokens in zip(part, ids, strict=True)]
        return counts

    def shuffled(self, seed: int) -> "RecordClips":
        """The same questions and answers, every one with a video (image) that belongs to another one.

        What a model learns from such pairs it has not learned by looking: for the video dependence of a model, and to
        see a run collapse.

        Raises:
            ValueError: If all videos, or all images, are one and the same file.
        """
        other: dict[Source, Source] = {}
        for medium in sorted({source.medium for source in self._sources}):
            paths = {source.path: source for source in self._sources if source.medium == medium}
            if len(paths) < 2:
                raise ValueError(f"all {medium}s are {next(iter(paths))}; shuffling needs at least two different ones.")
            order = [list(paths)[i] for i in np.random.default_rng([seed, len(paths)]).permutation(len(paths))]
            moved = dict(zip(order, [*order[1:], order[0]], strict=True))  # a ring: nothing stays where it was
            other |= {source: paths[moved[source.path]] for source in self._sources if source.medium == medium}
        shuffled = copy.copy(self)
        shuffled._sources = [other[source] for source in self._sources]
        shuffled._problems = {}
        shuffled.__dict__.pop("lengths", None)
        return shuffled

    def _read(self, index: int) -> dict[str, Any] | None:
        if index in self._problems and not self.strict:
            return None
        try:
            return self._item(index)
        except VideoError as error:
            if self.strict:
                error.add_note(f"record {self.records[index].id!r}")
                raise
            problem = self._sources[index].problem(error) | {"id": self.records[index].id}
            self._problems[index] = problem
            logger.warning("record %r is replaced by another one: %s", problem["id"], problem["message"])
            return None

    def _item(self, index: int) -> dict[str, Any]:
        source = self._sources[index]
        item = {"id": self.records[index].id, "messages": self._messages[index], "medium": source.medium}
        if self.cache is None:
            frames, times_s = read_source(source, self.processor)
            return item | {"frames": frames, "times_s": times_s}
        if self.cache.num_clips == 0:
            raise ValueError(f"the cache {self.cache.folder} is empty; call its fill() with the records first.")
        if source not in self.cache:
            read_source(source, self.processor)  # says why it could not be computed
            raise NotCachedError(f"{source.path} has no features in {self.cache.folder}. Fill the cache with it first.")
        features, times_s = self.cache.get(source)
        return item | {"features": features, "times_s": times_s}

    def _count_frame_tokens(self, index: int) -> int:
        """Placeholders and time stamps of an item."""
        source, times_s = self._sources[index], None
        stamped = self.processor.frame_timestamps and source.medium == "video"
        if source.medium == "image":
            num_frames = 1
        elif self.cache is not None and source in self.cache:
            num_frames = self.cache.count_frames(source)
            times_s = self.cache.get(source)[1] if stamped else None
        else:
            num_frames = _planned_frames(self.processor.video_processor, self.records[index].metadata.get("duration_s"))
        count = num_frames * self.processor.tokens_per_frame
        if stamped:
            stamps = [f"<{time_s:.1f}초>" for time_s in times_s or [0.0] * num_frames]
            count += sum(len(ids) for ids in self.processor.tokenizer(stamps, add_special_tokens=False)["input_ids"])
        return count


def _until_last_answer(record: Record) -> list[dict[str, str]]:
    """A question that nobody answers teaches nothing."""
    last = max(i for i, turn in enumerate(record.messages) if turn["role"] == "assistant")
    messages = list(record.messages[: last + 1])
    mark = MARKS[record.medium]
    if not any(mark in turn["content"] for turn in messages):
        raise RecordError(
            f"record {record.id!r} has {mark} only after its last answer; add the answer, or move the mark",
            f"레코드 {record.id!r}은(는) 마지막 답 뒤에만 {mark}가 있습니다. 답을 덧붙이거나 앞으로 옮겨 주세요.",
        )
    return messages


def _planned_frames(video_processor: Any, duration_s: Any) -> int:
    if video_processor.fps is None:
        return video_processor.num_frames
    if not isinstance(duration_s, int | float) or duration_s <= 0:
        return video_processor.max_frames
    return len(sample_times(duration_s, fps=video_processor.fps, max_frames=video_processor.max_frames))
