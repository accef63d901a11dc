"""What the vision tower sees in clips, computed once: it is frozen in both stages, and the slowest thing in them.

    cache = FeatureCache.open(Path("cache"), model, processor, dtype=torch.bfloat16)
    problems = cache.fill(records, batch_size=8, workers=4, progress=tqdm)
    features, times_s = cache.get(records[0])

On disk:

    cache/files.jsonl                      digests of files, so that clips are not read again to be recognised
    cache/<settings>/settings.json         what the features depend on besides the clips
    cache/<settings>/<random>.safetensors  `<sha256 of the clip>` [T, N, D] and `<sha256 of the clip>.times_s` [T]

A clip goes by its content, a folder by the tower's weights and everything else that changes features; so runs share a
cache, also at the same time, and a changed setting never finds stale features. A clip takes `T * N * D * bytes`: 8
frames of 144 tokens of 1152 numbers in bfloat16 are 2.7 MB, 10,000 such clips 27 GB.
"""

import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from corpus.record_form import Record
from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import VideoError

from .feature_filling import SHARD_BYTES, Encoded, FrameEncoder, PendingShard, encode_clips
from .feature_settings import feature_settings, find_encoder, settings_digest
from .feature_shards import FeatureShards
from .file_digests import FileDigests
from .record_media import Source, os_errors_coded

logger = logging.getLogger(__name__)

Clip = str | os.PathLike | Record | Source  # a path alone is a video


class FeatureCache:
    """Features by clip; make one with `FeatureCache.open`.

    Crosses to data-loading workers, forked or spawned, without the model: there it can be read and not filled.

    Attributes:
        folder: The one of these settings.
        settings: What the features depend on besides the clips.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], dtype: torch.dtype, *, encoder, processor):
        self.settings, self.folder, self.dtype = settings, Path(folder) / settings_digest(settings), dtype
        self._encoder, self._processor = encoder, processor
        self._shards = FeatureShards(self.folder)
        self._digests = FileDigests(Path(folder) / "files.jsonl")
        self._problems: dict[str, dict[str, str]] = {}
        told = self.folder / "settings.json"
        if not told.exists():
            unfinished = told.with_suffix(f".{secrets.token_hex(4)}.part")
            unfinished.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            unfinished.replace(told)

    @classmethod
    def open(
        cls,
        folder: Path,
        model: torch.nn.Module,
        processor: KoCapProcessor,
        *,
        dtype: torch.dtype | None = None,
        weights: str | None = None,
    ) -> "FeatureCache":
        """Open the features of this model's vision tower with this processor's settings.

        Args:
            folder: May hold those of other towers and settings too.
            model: KoCap, with or without a head, also inside PEFT; where it is does not matter. Its tower's weights are
                read to the last byte: open the cache before FSDP or DeepSpeed share them out.
            dtype: What features are stored in. Default: the tower's own.
            weights: `settings["weights"]` of an earlier cache of the very same tower: spares the reading.
        """
        encoder = find_encoder(model)
        dtype = dtype or encoder.vision_tower.dtype
        settings = feature_settings(model, processor, dtype, weights=weights)
        return cls(folder, settings, dtype, encoder=encoder, processor=processor)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_encoder": None}

    def __contains__(self, clip: Clip) -> bool:
        return (name := self._name(clip)) is not None and name in self._shards

    @property
    def num_clips(self) -> int:
        """How many clips there are; not `len`, which would make an empty cache count as none."""
        return sum(not name.endswith(".times_s") for name in self._shards)

    def get(self, clip: Clip) -> tuple[torch.Tensor, list[float] | None]:
        """Read features from their shard, mapped into memory.

        Returns:
            `[T, N, D_vision]` as `encode_frames` gave them, in the cache's dtype, and `T` seconds; None for an image.
        Raises:
            KeyError: If they are not there.
        """
        name = self._held(clip)
        times_s = f"{name}.times_s"
        return self._shards.get(name), self._shards.get(times_s).tolist() if times_s in self._shards else None

    def count_frames(self, clip: Clip) -> int:
        """`T`, without reading features; raises as `get` does."""
        return self._shards.shape(self._held(clip))[0]

    def refresh(self) -> None:
        """Look for what other processes have added."""
        self._digests.refresh()
        self._shards.refresh()

    def missing(
        self, clips: Sequence[Clip], *, workers: int = 4, progress: Callable[[Sequence], Any] = iter
    ) -> list[Source]:
        """Which clips are not there, in their order; among them those that cannot be read.

        Files that were never seen before are read once, to learn their digests.

        Args:
            workers: Threads that read.
            progress: Wraps the unknown files, e.g. `tqdm`.
        """
        self.refresh()
        sources = [Source.of(clip) for clip in clips]
        self._digests.learn([source.path for source in sources], workers=workers, progress=progress)
        return [source for source in sources if source not in self]

    def fill(
        self,
        clips: Sequence[Clip],
        *,
        batch_size: int = 8,
        workers: int = 2,
        progress: Callable[[Sequence], Any] = iter,
        shard_bytes: int = SHARD_BYTES,
    ) -> list[dict[str, str]]:
        """Compute what is missing; may be interrupted at any moment, and goes on where it was.

        Other processes that have the cache open see what is new after `refresh`.

        Args:
            clips: Paths of videos, or records.
            batch_size: Clips that go through the tower at once; halved where memory does not suffice.
            workers: Processes that decode ahead of the tower; 0 decodes in this one.
            progress: Wraps the clips to do, e.g. `tqdm`.
            shard_bytes: A file is finished at this size, or after a minute.
        Returns:
            One problem (`id`, `path`, `code`, `message`, `message_ko`) per clip that cannot be read; such clips are
            tried again by the next run, not by this one.
        """
        if self._encoder is None:
            raise ValueError("this cache came from another process without its model; fill it where it was opened.")
        missing = {source: self._key(source) for source in self.missing(clips, workers=workers, progress=progress)}
        todo = {key: source for source, key in missing.items() if key not in self._problems}  # equal clips once
        if todo:
            logger.info("%d clips go through the vision tower, %d are known", len(todo), len(clips) - len(missing))
            options = {"batch_size": batch_size, "workers": workers, "progress": progress}
            encode = FrameEncoder(self._encoder, self.dtype)
            with PendingShard(self._shards, shard_bytes) as shard:
                for source, result in encode_clips(list(todo.values()), self._processor, encode, **options):
                    self._keep(missing[source], source, result, shard)
        found = ((source, self._problems.get(key)) for source, key in missing.items())
        return [problem | {"id": source.id, "path": source.path} for source, problem in found if problem]

    def _keep(self, key: str, source: Source, result: Encoded | dict[str, str], shard: PendingShard) -> None:
        if isinstance(result, dict):
            self._problems[key] = result
            logger.warning("%s", result["message"])
        elif self._name(source) == key:  # else it changed while it was read, and nobody knows what was seen
            features, times_s = result
            times = {} if times_s is None else {f"{key}.times_s": torch.tensor(times_s, dtype=torch.float64)}
            shard.add({key: features, **times})

    def _key(self, source: Source) -> str:
        return self._name(source) or source.path

    def _name(self, clip: Clip) -> str | None:
        """What a clip's tensor is called; None where the file cannot be read."""
        source = Source.of(clip)
        try:
            with os_errors_coded(source.path):
                digest = self._digests.digest(source.path)
        except VideoError:
            return None
        return digest if source.medium == "video" else f"{digest}.{source.medium}"  # a GIF may be looked at as either

    def _held(self, clip: Clip) -> str:
        name = self._name(clip)
        if name is None or name not in self._shards:
            raise KeyError(f"{Source.of(clip).path} has no features in {self.folder}; fill the cache with it first.")
        return name
