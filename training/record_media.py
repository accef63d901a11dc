"""Read what a record is about: the frames of its video, as inference looks at them, or its image."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from corpus.record_form import Record
from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import NotFileError, VideoError
from processing.video_limits_kocap import Limits
from processing.video_opening_kocap import open_source

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # others run code of their own (EPS: Ghostscript)


class NotImageError(VideoError):
    """Bytes that are none of `IMAGE_FORMATS`. Of VideoError's family, which is what readers of records catch."""

    code = "E_NOT_IMAGE"
    message_ko = "이미지 파일이 아니거나 지원하지 않는 형식입니다. JPEG, PNG, WebP 같은 이미지 파일을 사용해 주세요."


class ImageCorruptError(VideoError):
    """An image that does not decode to its end."""

    code = "E_CORRUPT"
    message_ko = "이미지가 손상되어 끝까지 읽을 수 없습니다. 원본을 다시 내려받거나 다른 파일을 사용해 주세요."


class ImageTooLargeError(VideoError):
    """More pixels than the limit."""

    code = "E_TOO_LARGE"
    message_ko = "이미지의 해상도가 너무 큽니다. 더 작은 크기로 줄여 주세요."


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


def read_image(path: str | os.PathLike, *, limits: Limits | None = None) -> np.ndarray:
    """Read an image upright (EXIF) and in RGB; of a moving one its first picture. Transparent pixels lie on black.

    Args:
        limits: `max_pixels` and `max_bytes` bind. Default: `Limits()`.
    Returns:
        uint8 `[3, H, W]`.
    Raises:
        VideoError: If it cannot be read; see `code`.
    """
    limits, name = limits or Limits(), Path(path).name
    with open_source(path, limits) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is tighter
                image = Image.open(file, formats=IMAGE_FORMATS)
        except Image.DecompressionBombError as error:
            raise ImageTooLargeError(f"{name}: {error} Re-encode it smaller.") from None
        except (UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise NotImageError(f"{name} is none of {', '.join(IMAGE_FORMATS)} ({error}). Convert it.") from None
        width, height = image.size
        if width * height > limits.max_pixels:
            raise ImageTooLargeError(
                f"{name} is {width}x{height} = {width * height / 1e6:.1f} MP; the limit is"
                f" {limits.max_pixels / 1e6:.1f} MP. Re-encode it smaller, or raise max_pixels."
            )
        try:
            return np.ascontiguousarray(np.asarray(_upright_rgb(image)).transpose(2, 0, 1))
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise ImageCorruptError(f"{name} does not decode ({error}). Download it again, or leave it out.") from None


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # PIL would clip 16 bits at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")


@contextmanager
def os_errors_coded(path: str) -> Iterator[None]:
    """Turn what the system says about a file into a coded error."""
    try:
        yield
    except VideoError:
        raise
    except OSError as error:
        raise NotFileError(f"{path} cannot be read ({error}). Check the disk and the file's permissions.") from error
