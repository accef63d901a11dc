"""Read a picture upright and in RGB, no larger than it is wanted; of a moving one the first frame.

Small enough for the processes that read strangers' files: Pillow and numpy, and every plugin that may be needed is
imported here, because those processes can open no file any more.
"""

import re
import warnings
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,  # noqa: F401
    ImagePalette,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401  pictures of telephones are JPEG with more pictures behind
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from .video_errors_kocap import VideoError
from .video_limits_kocap import Limits
from .video_opening_kocap import VideoSource, open_source, source_name

Image.preinit()  # else `Image.open` would, in a process that can open no file

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # others run code of their own (EPS: Ghostscript)
MAX_JPEG_SCANS = 100  # encoders write about ten; each costs as much time as the whole picture and may be 60 bytes long
MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # what ends a scan's data: no stuffed zero, no restart
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN, NO_LENGTH = 0xD8, 0xD9, 0xDA, (0x01, 0xD8)
ORIENTATION = 0x0112  # EXIF's tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class NotImageError(VideoError):
    """Bytes that are none of `IMAGE_FORMATS`. Of VideoError's family, which is what readers of records catch."""

    code = "E_NOT_IMAGE"
    message_ko = "이미지 파일이 아니거나 지원하지 않는 형식입니다. JPEG, PNG, WebP 같은 이미지 파일을 사용해 주세요."


class ImageCorruptError(VideoError):
    """An image that does not decode to its end."""

    code = "E_CORRUPT"
    message_ko = "이미지가 손상되어 끝까지 읽을 수 없습니다. 원본을 다시 내려받거나 다른 파일을 사용해 주세요."


class ImageTooLargeError(VideoError):
    """More pixels, or more scans over them, than the limits."""

    code = "E_TOO_LARGE"
    message_ko = "이미지의 해상도가 너무 높거나 압축 방식이 너무 복잡합니다. 더 작은 크기로 다시 저장해 주세요."


def read_image(source: VideoSource, *, size: tuple[int, int] | None = None, limits: Limits | None = None) -> np.ndarray:
    """Read an image upright (EXIF) and in RGB; of a moving one its first picture. Transparent pixels lie on black.

    Args:
        source: As `read_frames`.
        size: Height and width that it is squeezed into where it is larger, as the model's image processor would do.
        limits: `max_pixels` and `max_bytes` bind. Default: `Limits()`.
    Returns:
        uint8 `[3, H, W]`.
    Raises:
        VideoError: If it cannot be read; see `code`.
    """
    limits, name = limits or Limits(), source_name(source)
    with open_source(source, limits) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF, which turns nothing; of size, where `max_pixels` is tighter
        image = _open(file, name)
        _check_cost(image, file, name, limits)
        try:
            picture = _upright_rgb(image)
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise ImageCorruptError(f"{name} does not decode ({error}). Download it again, or leave it out.") from None
    if size is not None:
        picture = picture.resize((min(picture.width, size[1]), min(picture.height, size[0])), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _open(file: BinaryIO, name: str) -> Image.Image:
    try:
        return Image.open(file, formats=IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{name}: {error} Re-encode it smaller.") from None
    except MemoryError:
        raise
    except Exception:  # UnidentifiedImageError, and whatever else Pillow's plugins run into
        raise NotImageError(f"{name} is none of {', '.join(IMAGE_FORMATS)}. Convert it.") from None


def _check_cost(image: Image.Image, file: BinaryIO, name: str, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} is {width}x{height} = {width * height / 1e6:.1f} MP; the limit is"
            f" {limits.max_pixels / 1e6:.1f} MP. Re-encode it smaller, or raise max_pixels."
        )
    if image.format in ("JPEG", "MPO"):
        at = file.tell()
        file.seek(0)
        scans = count_scans(file.read())
        file.seek(at)
        if scans > MAX_JPEG_SCANS:
            raise ImageTooLargeError(
                f"{name} is a progressive JPEG of {scans} scans; the limit is {MAX_JPEG_SCANS}. Save it again."
            )


def count_scans(jpeg: bytes) -> int:
    """How often a JPEG's decoder goes over the picture: scans up to its end; none of the thumbnail in its EXIF."""
    scans, at = 0, 0
    while found := MARKER.search(jpeg, at):
        at, marker = found.end(), found[1][0]
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if marker not in NO_LENGTH:
            at += int.from_bytes(jpeg[at : at + 2], "big")
    return scans


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    turn = UPRIGHT.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I;16"):  # PIL would clip 16 bits at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says; damaged EXIF says nothing, and the picture is shown all the same."""
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # `struct.error`, and whatever else the parsing of damaged tags runs into
        return None
