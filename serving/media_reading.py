"""Bytes from strangers to frames and pictures: by readers in processes of their own, exactly as in training."""

import asyncio
import base64
import binascii
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image

from processing.video_errors_kocap import VideoError, VideoResourcesError
from processing.video_isolation_kocap import read_image_isolated
from processing.video_limits_kocap import Limits
from processing.video_opening_kocap import source_name
from processing.video_processing_kocap import ClipMetadata, KoCapVideoProcessor

from .gateway_errors import GatewayError, MediaError, ShortOfResourcesError

T = TypeVar("T")


class MediaReader:
    """Reads a few files at the same time, each in a process of its own, which ends when nobody waits for it any more.

    Args:
        video_processor: The checkpoint's: it knows how many frames the model looks at, and how large.
        readers: Files at the same time.
        read_timeout_s: For one file. `E_TIMEOUT`
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
        wanted = sampling | {"max_frames": self._max_frames}

        def read(cancelled: threading.Event) -> tuple[np.ndarray, ClipMetadata]:
            (frames,), (clip,) = self._processor.fetch_videos(
                source, isolated=True, limits=self._limits, cancelled=cancelled, **wanted
            )
            return frames.numpy(), clip

        return await self._run(read, source, "the video")

    async def image(self, source: bytes | BinaryIO) -> Image.Image:
        """The picture, upright, in RGB, no larger than the model sees; of a moving one the first frame.

        Raises:
            MediaError: With the reader's code, `E_NOT_IMAGE`, `E_CORRUPT`, `E_TOO_LARGE` and so on.
        """
        size = self._processor.size["height"], self._processor.size["width"]

        def read(cancelled: threading.Event) -> Image.Image:
            pixels = read_image_isolated(source, size=size, limits=self._limits, cancelled=cancelled)
            return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))

        return await self._run(read, source, "the picture")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, read: Callable[[threading.Event], T], source: bytes | BinaryIO, called: str) -> T:
        """What one of the threads reads; a client that leaves ends it, also in the middle."""
        cancelled = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, read, cancelled)
        except VideoError as error:
            message = str(error).replace(source_name(source), called)
            kind = ShortOfResourcesError if isinstance(error, VideoResourcesError) else MediaError
            raise kind(error.code, message, error.message_ko) from None
        finally:
            cancelled.set()


DATA = re.compile(r"[\s\0]*data:", re.IGNORECASE)
BASE64_HEAD = re.compile(r";\s*base64\s*$", re.IGNORECASE)
STANDARD_BASE64, BLANKS = bytes.maketrans(b"-_", b"+/"), b" \t\n\f\r"


def is_data_url(url: str) -> bool:
    """Whether it carries its content itself."""
    return DATA.match(url) is not None


def decode_data_url(url: str) -> bytes:
    """The bytes of `data:...;base64,...`; what the address says about its type is not looked at.

    As WHATWG's data: URLs and their forgiving base64, which may be folded and unpadded; the URL-safe alphabet as well.
    The head goes to the last comma rather than the first: base64 has none, and browsers' MediaRecorder writes
    `video/webm;codecs=vp8,opus`.

    Raises:
        GatewayError: If it is not base64.
    """
    head, comma, data = url.rpartition(",")
    if comma and BASE64_HEAD.search(head):
        try:
            content = data.encode("ascii")
            content = unquote_to_bytes(content) if b"%" in content else content
            content = content.translate(STANDARD_BASE64, BLANKS)
            if len(content) % 4 == 0:
                content = content.removesuffix(b"=").removesuffix(b"=")
            return base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise GatewayError("the data: address is not base64. Write data:video/mp4;base64, and then the file in base64.")
