"""Bytes from strangers to frames: videos by the isolated reader, exactly as in training; pictures by Pillow."""

import asyncio
import base64
import binascii
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from processing.video_errors_kocap import VideoError
from processing.video_limits_kocap import Limits
from processing.video_opening_kocap import source_name
from processing.video_processing_kocap import ClipMetadata, KoCapVideoProcessor

from .gateway_errors import GatewayError, MediaError

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")


class MediaReader:
    """Reads a few files at the same time, each video in a process of its own.

    Args:
        video_processor: The checkpoint's: it knows how many frames the model looks at, and how large.
        readers: Files at the same time.
        read_timeout_s: For one video. `E_TIMEOUT`
        max_frames: Of one video; more are refused, and `fps` gives no more.
        max_pixels: Of one picture, and of a video's frame.
    """

    def __init__(
        self,
        video_processor: KoCapVideoProcessor,
        *,
        readers: int,
        read_timeout_s: float,
        max_frames: int,
        max_pixels: int,
    ):
        self._processor, self._max_frames, self._max_pixels = video_processor, max_frames, max_pixels
        self._limits = Limits(max_seconds=read_timeout_s, max_pixels=max_pixels)
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="reader")

    async def video(self, source: bytes | BinaryIO, sampling: dict[str, Any]) -> tuple[np.ndarray, ClipMetadata]:
        """The frames that the model is to see.

        Args:
            sampling: `num_frames` or `fps`, `follow_scenes`; what is missing is as the checkpoint says.
        Returns:
            uint8 `[T, 3, H, W]`, and their times and the file's warnings.
        Raises:
            MediaError: With the reader's code, `E_EMPTY`, `E_NOT_VIDEO` and so on.
        """
        if sampling.get("num_frames", 1) > self._max_frames:
            raise GatewayError(
                f"num_frames is {sampling['num_frames']}; the limit is {self._max_frames}. Ask for fewer."
            )
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read_video, source, sampling)

    async def image(self, content: bytes) -> Image.Image:
        """The picture, upright, in RGB.

        Raises:
            MediaError: `E_NOT_IMAGE` or `E_TOO_LARGE`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read_image, content)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read_video(self, source: bytes | BinaryIO, sampling: dict[str, Any]) -> tuple[np.ndarray, ClipMetadata]:
        sampling = sampling | {"max_frames": self._max_frames}
        try:
            (frames,), (clip,) = self._processor.fetch_videos(source, isolated=True, limits=self._limits, **sampling)
        except VideoError as error:
            message = str(error).replace(source_name(source), "the video")
            raise MediaError(error.code, message, error.message_ko) from None
        return frames.numpy(), clip

    def _read_image(self, content: bytes) -> Image.Image:
        try:
            with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as picture:
                if picture.width * picture.height > self._max_pixels:
                    raise _too_large(picture.width, picture.height, self._max_pixels)
                return ImageOps.exif_transpose(picture).convert("RGB")
        except Image.DecompressionBombError:
            raise _too_large(0, 0, self._max_pixels) from None
        except (OSError, ValueError, SyntaxError, EOFError):
            raise MediaError(
                "E_NOT_IMAGE",
                f"{len(content)} bytes are not a {', '.join(IMAGE_FORMATS)} picture, or a damaged one. Save it again.",
                "그림 파일이 아니거나 손상되었습니다. JPEG, PNG, WebP 파일을 사용해 주세요.",
            ) from None


def _too_large(width: int, height: int, max_pixels: int) -> MediaError:
    size = f"{width}x{height}" if width else "far too large"
    return MediaError(
        "E_TOO_LARGE",
        f"the picture is {size}; the limit is {max_pixels / 1e6:g} MP. Make it smaller.",
        "그림의 해상도가 너무 큽니다. 더 작게 줄여서 사용해 주세요.",
    )


def decode_data_url(url: str) -> bytes:
    """The bytes of `data:...;base64,...`; what the address says about its type is not looked at.

    Raises:
        GatewayError: If it is not base64.
    """
    head, comma, data = url.partition(",")
    if comma and head.endswith(";base64"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise GatewayError("the data: address is not base64. Write data:video/mp4;base64, and then the file in base64.")
