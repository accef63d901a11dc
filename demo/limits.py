"""What one visitor may send: said beside the upload box, and enforced before a clip is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass

from processing.video_errors_kocap import VideoTooLongError
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_limits_kocap import Limits
from processing.video_reading_kocap import VideoFacts
from serving.gateway_settings import LOOPBACK_NAMES

FIRST_LOOK_SIZE = 36  # pixels: only the facts are wanted, and a frame comes with them


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may take.

    Args:
        max_json_mb: Of every body but an upload. `E_BODY_SIZE`
        max_silence_s: For a body of which nothing more comes. `E_BODY_TIME`
        max_sending_s: For an answer that nobody reads: the connection is closed.
        max_unheard_s: For a call whose answer nobody waits for: it ends. `E_UNHEARD`
        hosts: Host names by which the demo answers; keeps web pages from reaching a local one under their own name.
            "*": any. `E_HOST`
    """

    max_json_mb: int = 8
    max_silence_s: float = 60.0
    max_sending_s: float = 60.0
    max_unheard_s: float = 60.0
    hosts: tuple[str, ...] = LOOPBACK_NAMES

    @classmethod
    def of_environment(cls, variables: Mapping[str, str]) -> "ConnectionLimits":
        """For the variables that a demo is started with: one that only this machine reaches has this machine's names.

        Args:
            variables: `KOCAP_HOSTS`, names with commas in between; `GRADIO_SERVER_NAME` and `GRADIO_SHARE`.
        """
        if named := variables.get("KOCAP_HOSTS"):
            return cls(hosts=(*LOOPBACK_NAMES, *(name.strip().lower() for name in named.split(","))))
        is_local = variables.get("GRADIO_SERVER_NAME", LOOPBACK_NAMES[0]) in LOOPBACK_NAMES
        is_shared = variables.get("GRADIO_SHARE", "").lower() == "true"
        return cls() if is_local and not is_shared else cls(hosts=("*",))


@dataclass(frozen=True)
class UploadLimits:
    """Ceilings for one clip; what exceeds them is refused with a coded error.

    Args:
        max_file_mb: Of the upload, all its files together; nothing more is received, and the reader looks again.
        max_duration_s: Of the clip. `E_TOO_LONG`
        max_width, max_height: Their product is the limit, so portrait clips may be as large. `E_TOO_LARGE`
        max_reading_s: Wall clock for reading frames. `E_TIMEOUT`
    """

    max_file_mb: int = 512
    max_duration_s: float = 600.0
    max_width: int = 4096
    max_height: int = 2304
    max_reading_s: float = 60.0

    @property
    def reading(self) -> Limits:
        """The same for the video reader."""
        return Limits(
            max_pixels=self.max_width * self.max_height,
            max_bytes=self.max_file_mb << 20,
            max_scan_s=self.max_duration_s,
            max_seconds=self.max_reading_s,
        )

    def check(self, video: str) -> VideoFacts:
        """Learn what a clip is from its first frame, read in a process of its own.

        Raises:
            VideoError: If it is not a video, or over a limit.
        """

        def first_moment(duration_s: float) -> list[float]:  # called before anything but the first frame is decoded
            if duration_s > self.max_duration_s:
                raise VideoTooLongError(
                    f"the clip is {duration_s:.0f} s long; the limit is {self.max_duration_s:g} s. Cut it shorter."
                )
            return [0.0]

        return read_frames_isolated(video, first_moment, size=FIRST_LOOK_SIZE, limits=self.reading).facts
