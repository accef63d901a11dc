"""How much of a machine one video may take."""

import time
from dataclasses import dataclass, fields

from .video_errors_kocap import VideoTimeoutError


@dataclass(frozen=True)
class Limits:
    """Ceilings for reading one video; what exceeds them is refused with a coded error.

    Args:
        max_pixels: Per frame. 8K UHD is 33.2 MP, 8192x8192 is 67.1 MP. `E_TOO_LARGE`
        max_bytes: Of the file. `E_TOO_LONG`
        max_scan_s: Seconds of video that may be demuxed to find keyframes or the end in a file without an index.
            `E_TOO_LONG`
        max_seconds: Wall clock from opening the file to the last frame. `E_TIMEOUT`
        max_frames: Frames asked for in one call. `ValueError`
    Raises:
        ValueError: If a limit is not positive.
    """

    max_pixels: int = 36_000_000
    max_bytes: int = 64 << 30
    max_scan_s: float = 6 * 3600.0
    max_seconds: float = 600.0
    max_frames: int = 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name)!r}; it must be > 0.")


class Deadline:
    """A wall clock that runs from its making.

    Args:
        seconds: How long until `check` raises.
        name: What is being read, for the message.
    """

    def __init__(self, seconds: float, name: str):
        self._seconds, self._name = seconds, name
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise `VideoTimeoutError` when time is up."""
        if time.monotonic() > self._end:
            raise VideoTimeoutError(
                f"{self._name}: reading took longer than {self._seconds:g} s. Re-encode it smaller or with more"
                " keyframes, ask for fewer frames, use mode='keyframe', or raise max_seconds."
            )
