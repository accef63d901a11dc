"""Read what a record is about: the frames of its video, as inference looks at them, or its image."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from corpus.record_form import Record
from processing.image_reading_kocap import read_image
from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import NotFileError, VideoError


class Source(NamedTuple):
    """What to look at: hashable, and small to send to a process."""

    id: str
    path: str
    medium: str

    @classmethod
    def of(cls, item: "str | os.PathLike | Record | Source") -> "Source":
        """A record's video or image; a path alone is a video."""
        if isinstance(item, Source):
            return item
        if isinstance(item, Record):
            return cls(item.id, item.path, item.medium)
        return cls(os.fspath(item), os.fspath(item), "video")

    def problem(self, error: VideoError) -> dict[str, str]:
        """What is wrong with it, as items and `FeatureCache.fill` tell it."""
        return {
            "id": self.id,
            "path": self.path,
            "code": error.code,
            "message": str(error),
            "message_ko": error.message_ko,
        }


def read_source(source: Source, processor: KoCapProcessor) -> tuple[torch.Tensor, list[float] | None]:
    """Read frames as inference does: same times, same reader.

    Returns:
        uint8 `[T, 3, H, W]`, and `T` seconds; of an image its one frame and None.
    Raises:
        VideoError: If it cannot be read; see `code`.
    """
    with os_errors_coded(source.path):
        if source.medium == "image":
            return torch.from_numpy(read_image(source.path))[None], None
        (frames,), (metadata,) = processor.video_processor.fetch_videos(source.path)
        return frames, metadata.times_s


def prepare_source(
    source: Source, frames: torch.Tensor, processor: KoCapProcessor
) -> torch.Tensor:  # what the collator's batch holds of it
    """Frames `[T, 3, H, W]` to the vision tower's pixel values, float `[T, 3, S, S]`."""
    if source.medium == "image":
        return processor.image_processor(frames[0], return_tensors="pt")["pixel_values"]
    return processor.video_processor(frames, do_sample_frames=False, return_tensors="pt")["pixel_values_videos"][0]


@contextmanager
def os_errors_coded(path: str) -> Iterator[None]:
    """Turn what the system says about a file into a coded error."""
    try:
        yield
    except VideoError:
        raise
    except OSError as error:
        raise NotFileError(f"{path} cannot be read ({error}). Check the disk and the file's permissions.") from error
