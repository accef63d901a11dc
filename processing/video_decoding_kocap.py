"""Decode one video stream: how long it is, and every frame with its true time."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.container
import av.error
import av.packet
import av.video.frame
import av.video.stream

from .video_errors_kocap import VideoCorruptError, VideoError, VideoTooLargeError

TimedFrame = tuple[float, av.video.frame.VideoFrame]  # seconds after the clip's first frame

DEFAULT_FPS = 25.0  # FFmpeg's own guess for streams that carry no timing
TAIL_S = 1.0
JUMP_S = 1.0  # time going back further than this starts a new recording; less is a muxer's rounding
MAX_FAILED_READS = 1000
MAX_FAILED_PACKETS = 1000


def frame_rate(stream: av.video.stream.VideoStream) -> float:
    """Frames per second, for streams or frames that do not say when they are shown."""
    return float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def packets(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.packet.Packet | None]:
    """Every packet that can be read, and None at the end; unreadable stretches are skipped."""
    failed = 0
    while failed < MAX_FAILED_READS:
        try:
            for packet in container.demux(stream):
                if packet.pts is None and packet.dts is None and not packet.size:
                    break  # PyAV's own flush packet
                failed = 0
                yield packet
            break
        except av.error.FFmpegError:
            failed += 1
    yield None


@dataclass(frozen=True)
class Extent:
    """How far a stream reaches, on its own clock.

    Attributes:
        end_s: End of the last frame; None where no packet carries a time.
        num_packets: Packets seen.
    """

    end_s: float | None
    num_packets: int


def promised_end(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float | None:
    """Where the header says the stream ends, on the stream's clock; None if it doesn't say."""
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if container.duration:
        return ((container.start_time or 0) + container.duration) / av.time_base
    return None


def measure_tail(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Extent | None:
    """Check the header's end by reading the last packets only; None if that cannot be done here.

    The container is of no further use: a seek that failed leaves it anywhere.
    """
    end_s = promised_end(container, stream)
    if end_s is None or not stream.time_base:
        return None
    try:
        container.seek(int((end_s - TAIL_S) / stream.time_base), stream=stream)
    except av.error.FFmpegError:
        return None
    extent = measure_all(container, stream)
    return extent if extent.end_s is not None else None


def measure_all(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Extent:
    """Read packets to the end of the file, decoding nothing."""
    end_s, count = None, 0
    tick_s, clock = float(stream.time_base or 1), _Clock(1 / frame_rate(stream))
    for packet in packets(container, stream):
        if packet is None or packet.is_discard:
            continue  # cut away by an edit list
        count += 1
        stored_at = packet.pts if packet.dts is None else packet.dts
        shown_at = packet.dts if packet.pts is None else packet.pts
        if stored_at is None or shown_at is None:
            continue
        clock.at(stored_at * tick_s)  # packets come in storing order
        duration_s = packet.duration * tick_s if packet.duration else clock.step_s
        shown_to_s = shown_at * tick_s + clock.shift_s + duration_s
        end_s = shown_to_s if end_s is None else max(end_s, shown_to_s)
    return Extent(end_s, count)


class _Clock:
    """Makes times out of time stamps, so that they never go back: after a jump, a new recording follows the last frame.

    Attributes:
        shift_s: What was added to the last stamp.
    """

    def __init__(self, step_s: float):
        self.step_s, self.shift_s = step_s, 0.0
        self._last_s: float | None = None

    def at(self, stamp_s: float | None) -> float:
        """The time for a stamp; for None, one step after the last."""
        if self._last_s is None:
            self._last_s = stamp_s or 0.0
        elif stamp_s is None:
            self._last_s += self.step_s
        else:
            if self._last_s - (stamp_s + self.shift_s) > JUMP_S:
                self.shift_s = self._last_s + self.step_s - stamp_s
            self._last_s = max(self._last_s, stamp_s + self.shift_s)
        return self._last_s


class Decoder:
    """Decodes a stream in order and skips what is broken.

    Attributes:
        origin_s: Time of the first frame on the stream's own clock; None until it is decoded.
        start_s: Time from which the clip's length counts. Earlier than `origin_s` where only decoding times are stored
            (AVI): frames then carry the time at which they leave the decoder.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.video.stream.VideoStream, name: str):
        self.stream = stream
        self.origin_s: float | None = None
        self.start_s = 0.0
        self._container, self._name = container, name
        self._num_decoded = 0
        self._failures: list[Exception] = []
        self._made_up_times = self._jumped_back = False

    def frames(self) -> Iterator[TimedFrame]:
        """Frames from where the container stands; times never go back.

        Raises:
            VideoError: At the end, or after many failures, if less than half of what was tried decodes.
        """
        clock = _Clock(1 / frame_rate(self.stream))
        tick_s, by_dts = float(self.stream.time_base or 1), None
        for frame in self._decodable():
            if by_dts is None:
                by_dts = frame.pts is None
            stamp = frame.dts if by_dts else frame.pts
            time_s = clock.at(None if stamp is None else stamp * tick_s)
            self._jumped_back = self._jumped_back or clock.shift_s > 0
            if self.origin_s is None:
                self.origin_s, self._made_up_times = time_s, stamp is None
                self.start_s = (self.stream.start_time or 0) * tick_s if by_dts else time_s
            yield time_s - self.origin_s, frame

    def seek(self, time_s: float) -> Iterator[TimedFrame]:
        """Frames from the nearest keyframe the container finds before `time_s`; empty if it cannot seek."""
        if self.origin_s is None or self._made_up_times or not self.stream.time_base:
            return
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(int((self.origin_s + time_s) / self.stream.time_base), stream=self.stream)
            keyframe_seen = False
            for moment, frame in self.frames():
                keyframe_seen = keyframe_seen or frame.key_frame
                if keyframe_seen:
                    yield moment, frame

    def _decodable(self) -> Iterator[av.video.frame.VideoFrame]:
        for packet in packets(self._container, self.stream):
            if packet is not None and not packet.size:
                continue  # "show the last frame again" in Theora and AVI
            try:
                frames = self.stream.decode(packet)
            except av.error.FFmpegError as error:
                self._failures.append(error)
                if len(self._failures) > MAX_FAILED_PACKETS:
                    break
                continue
            self._num_decoded += len(frames)
            yield from frames
        self.check()

    def check(self) -> None:
        """Raise `VideoError` if less than half of what was tried so far decodes."""
        if not self._num_decoded or self._num_decoded < len(self._failures):
            raise self._failure()

    def _failure(self) -> VideoError:
        tried = self._num_decoded + len(self._failures)
        if not self._num_decoded and self._failures and isinstance(self._failures[0], av.error.ArgumentError):
            return VideoTooLargeError(
                f"{self._name}: its frames are larger than max_pixels. Re-encode it smaller, or raise max_pixels."
            )
        if not tried:
            return VideoCorruptError(
                f"{self._name} holds no frame that can be decoded. Download it again or re-encode it."
            )
        return VideoCorruptError(
            f"{self._name}: {self._num_decoded} of {tried} frames tried decode; at least half must."
            " Download it again or re-encode it."
        )

    def warnings(self) -> list[str]:
        """What was odd so far."""
        found = []
        if self._failures:
            found.append(f"{len(self._failures)} broken packets were skipped; {self._num_decoded} frames decoded")
        if self._made_up_times:
            found.append(
                f"the stream carries no timestamps; times assume {frame_rate(self.stream):g} frames per second"
            )
        if self._jumped_back:
            found.append("timestamps jump back; times after a jump continue from the frame before it")
        return found
