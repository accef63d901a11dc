"""The tower at work on many clips: decoding ahead of it, batches that fit into memory, shards once they are full."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.utils.data import DataLoader, Dataset

from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import VideoError

from .feature_shards import FeatureShards
from .record_media import Source, prepare_source, read_source
from .stop_signal import shield_workers

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 << 20
SHARD_SECONDS = 60.0  # a kill costs at most so much work
Encoded = tuple[torch.Tensor, list[float] | None]  # features [T, N, D] and seconds


def encode_clips(
    sources: Sequence[Source],
    processor: KoCapProcessor,
    encode: "FrameEncoder",
    *,
    batch_size: int,
    workers: int,
    progress: Callable[[Sequence], Any],
) -> Iterator[tuple[Source, Encoded | dict[str, str]]]:
    """Every clip's features, or what is wrong with it.

    Args:
        encode: The tower.
        batch_size: Clips that go through the tower at once.
        workers: Processes that decode; 0 decodes in this one.
        progress: Wraps the clips.
    """
    readings = _read_ahead(sources, processor, workers, batch_size)
    batch: list[tuple[Source, torch.Tensor, list[float] | None]] = []
    for number, source in enumerate(progress(sources), 1):
        result = next(readings)
        if isinstance(result, dict):
            yield source, result
        else:
            batch.append((source, *result))
        if len(batch) >= batch_size or (batch and number == len(sources)):
            features = encode([pixels for _, pixels, _ in batch])
            yield from ((known, (seen, times_s)) for (known, _, times_s), seen in zip(batch, features, strict=True))
            batch = []


class FrameEncoder:
    """Clips' frames through the vision tower, as many at once as memory has shown to hold."""

    def __init__(self, encoder, dtype: torch.dtype):
        self.encoder, self.dtype = encoder, dtype
        self.at_once: int | None = None  # frames; None: no limit met so far

    @torch.inference_mode()
    def __call__(self, clips: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """`[T, 3, S, S]` each to `[T, N, D]` each, on the CPU."""
        tower = self.encoder.vision_tower
        was_training, frames = tower.training, torch.cat(list(clips))
        tower.eval()
        try:
            features = self._encode(frames, next(tower.parameters()).device)
        finally:
            tower.train(was_training)
        return [clip.clone() for clip in features.split([len(clip) for clip in clips])]

    def _encode(self, frames: torch.Tensor, device: torch.device) -> torch.Tensor:
        done, parts = 0, []
        while done < len(frames):
            part = frames[done : done + (self.at_once or len(frames))]
            try:
                parts.append(self.encoder.encode_frames(part.to(device)).to("cpu", self.dtype))
            except RuntimeError as error:
                if len(part) == 1 or not should_reduce_batch_size(error):
                    raise
                self.at_once = len(part) // 2
                logger.warning("out of memory with %d frames at once; going on with %d", len(part), self.at_once)
            else:
                done += len(part)
                continue
            if torch.cuda.is_available():  # outside of `except`, where the error still holds what did not fit
                torch.cuda.empty_cache()
        return torch.cat(parts)


class PendingShard:
    """Features that are not on disk yet; they get there when they are many or old, and when the context ends.

    Args:
        max_bytes: Written at this size.
    """

    def __init__(self, shards: FeatureShards, max_bytes: int):
        self._shards, self._max_bytes = shards, max_bytes
        self._tensors: dict[str, torch.Tensor] = {}
        self._started, self._size_bytes = 0.0, 0

    def __enter__(self) -> "PendingShard":
        return self

    def __exit__(self, *_) -> None:
        self._write()  # also what an interrupt or an error leaves behind is kept

    def add(self, tensors: dict[str, torch.Tensor]) -> None:
        """Add one clip's tensors by name."""
        if not self._tensors:
            self._started, self._size_bytes = time.monotonic(), 0
        self._tensors |= tensors
        self._size_bytes += sum(tensor.nbytes for tensor in tensors.values())
        if self._size_bytes >= self._max_bytes or time.monotonic() - self._started > SHARD_SECONDS:
            self._write()

    def _write(self) -> None:
        if self._tensors:
            self._shards.write(self._tensors)
            self._tensors = {}


class _Readings(Dataset):
    """Pixel values and times of clips, or what is wrong with them; read wherever it is indexed."""

    def __init__(self, sources: Sequence[Source], processor: KoCapProcessor):
        self.sources, self.processor = sources, processor

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, list[float] | None] | dict[str, str]:
        source = self.sources[index]
        try:
            frames, times_s = read_source(source, self.processor)
            return prepare_source(source, frames, self.processor), times_s
        except VideoError as error:
            return source.problem(error)


def _read_ahead(sources: Sequence[Source], processor: KoCapProcessor, workers: int, batch_size: int) -> Iterator:
    """Readings in order, prepared by processes while the tower works."""
    options = {"prefetch_factor": max(2, -(-2 * batch_size // workers))} if workers else {}  # two batches ahead
    loader = DataLoader(
        _Readings(sources, processor), batch_size=None, num_workers=workers, collate_fn=_as_is, **options
    )
    return iter(shield_workers(loader))


def _as_is(reading: Any) -> Any:
    return reading
