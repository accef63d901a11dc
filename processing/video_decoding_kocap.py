"""Decode one video stream, in planned runs or from its start, and give every frame its true time."""

import contextlib
import itertools
from bisect import bisect_left
from collections.abc import Iterator

import av
import av.container
import av.error
import av.packet
import av.video.frame
import av.video.stream
import numpy as np

from .video_errors_kocap import (
    VideoCorruptError,
    VideoError,
    VideoTooLargeError,
    VideoWarning,
    is_out_of_resources,
)
from .video_index_kocap import SAME_TIME_S, Clock, Index, Run, choose_packets, frame_rate, packets
from .video_limits_kocap import Deadline
from .video_threads_kocap import fits

TimedFrame = tuple[float, av.video.frame.VideoFrame]  # seconds, frame

MAX_FAILED_PACKETS = 1000
SPARE_PICTURES = 2  # where fewer fit into what is left of the memory, failures are its fault
PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


class Tally:
    """What a decoder tried and what failed.

    Args:
        name: The video, for messages.
    """

    def __init__(self, name: str):
        self.name = name
        self.num_fed = self.num_decoded = 0
        self.failures: list[Exception] = []

    def decode(self, stream: av.video.stream.VideoStream, packet: av.packet.Packet | None) -> list:
        """Frames that come out when a packet goes in; None drains the decoder. What fails is counted.

        Raises:
            MemoryError: If memory or threads ran out, which says nothing about the video.
        """
        try:
            self.num_fed += packet is not None
            frames = stream.decode(packet)
        except av.error.FFmpegError as error:
            # Decoders call invalid what they find no memory for, and damaged packets ask for absurd amounts.
            context = stream.codec_context
            begun = context.is_open or not is_out_of_resources(error)
            if not (begun and fits(SPARE_PICTURES * context.width * context.height * 3 // 2)):
                raise MemoryError(str(error)) from error
            self.failures.append(error)
            return []
        self.num_decoded += len(frames)
        return frames

    def add(self, other: "Tally") -> None:
        """Count what another decoder of the same video did."""
        self.num_fed += other.num_fed
        self.num_decoded += other.num_decoded
        self.failures += other.failures

    def check(self) -> None:
        """Raise `VideoError` if nothing, or less than half of what was tried so far, decodes."""
        if self.num_decoded and 2 * len(self.failures) <= max(self.num_fed, 2):
            return
        raise self._failure()

    def _failure(self) -> VideoError:
        if not self.num_decoded and self.failures and isinstance(self.failures[0], av.error.ArgumentError):
            return VideoTooLargeError(
                f"{self.name}: its frames are larger than max_pixels. Re-encode it smaller, or raise max_pixels."
            )
        if not self.num_fed:
            return VideoCorruptError(
                f"{self.name} holds no frame that can be decoded. Download it again or re-encode it."
            )
        return VideoCorruptError(
            f"{self.name}: {len(self.failures)} of {self.num_fed} pictures tried are broken and"
            f" {self.num_decoded} frames decode; at least half must. Download it again or re-encode it."
        )

    def warnings(self) -> list[VideoWarning]:
        """What was odd so far."""
        if not self.failures:
            return []
        return [
            VideoWarning(
                "W_BROKEN_PACKETS",
                f"{len(self.failures)} broken packets were skipped; {self.num_decoded} frames decoded",
                f"손상된 부분 {len(self.failures)}곳을 건너뛰고 읽었습니다.",
            )
        ]


def shown_at(
    frames: Iterator[TimedFrame], wanted_s: np.ndarray
) -> Iterator[tuple[slice, float, av.video.frame.VideoFrame]]:
    """Yield (places in `wanted_s`, time, frame) for every frame shown at a wanted time; stop when all are served.

    The first frame also serves times before it, the last one times after it.
    """
    done, wanted = 0, wanted_s.tolist()
    held = next(frames, None)
    if held is None:
        return
    for following in frames:
        stop = bisect_left(wanted, following[0] - SAME_TIME_S)
        if stop > done:
            yield slice(done, stop), *held
            done = stop
        if done == len(wanted):
            return
        held = following
    yield slice(done, len(wanted)), *held


class LostError(Exception):
    """A plan does not lead to the wanted frames; decode from the start instead. Never reaches a caller."""


class RunDecoder:
    """Follows a plan: seeks, decodes what a wanted frame needs, and checks that it got that frame.

    All times are on the stream's own clock.

    Args:
        container: Not used by anyone else.
        index: From `video_index_kocap`.
    """

    def __init__(self, container, stream: av.video.stream.VideoStream, index: Index, tally: Tally, deadline: Deadline):
        self.stream, self.index, self.tally = stream, index, tally
        self._container, self._deadline = container, deadline
        self._tick_s = float(stream.time_base or 1)
        # Of two fields stored in one packet, one may be referred to although the other is not. Decoders that are not
        # FFmpeg's own (libdav1d) look at `skip_frame` once, when they open, and then leave out wanted pictures.
        context = stream.codec_context
        self._may_skip = context.field_order in PROGRESSIVE and not context.codec.name.startswith("lib")

    def pictures(self, run: Run, wanted_s: np.ndarray) -> Iterator[tuple[slice, float, av.video.frame.VideoFrame]]:
        """Yield (places, time, frame) like `shown_at`; places may come again, and then the later frame holds.

        A frame that does not come out of the decoder may need an earlier keyframe than the index shows (open groups of
        pictures), or may not be meant to be shown. Beginning earlier, and decoding all, tells: if it changes nothing,
        so be it.

        Raises:
            LostError: If the frames cannot be reached by seeking.
        """
        before = None
        for back in range(3):
            num_failures, due = len(self.tally.failures), []
            shown_s = np.full(len(wanted_s), np.nan)
            frames = self._frames(max(run.keyframe - back, 0), wanted_s, due, may_skip=self._may_skip and not back)
            for places, time_s, frame in shown_at(frames, wanted_s):
                shown_s[places] = time_s
                yield places, time_s, frame
                del frame  # 12 MB, if it is 4K
            if len(self.tally.failures) > num_failures and (shown_s <= wanted_s + SAME_TIME_S).all():
                return  # damaged: the last good frame stands
            due_s = np.sort(np.array(due))
            due_s = due_s[np.searchsorted(due_s, wanted_s + SAME_TIME_S, side="right") - 1] if len(due) else shown_s
            if np.abs(shown_s - due_s).max(initial=0.0) < SAME_TIME_S:
                return
            if before is not None and np.array_equal(before, shown_s) and (shown_s <= wanted_s + SAME_TIME_S).all():
                return
            before = shown_s
        raise LostError

    def keyframe(self, place: int) -> TimedFrame | None:
        """The frame at one keyframe, and its time; None if it does not decode."""
        source = self._seek(place, None)
        packet = next(source, None)
        frames = self.tally.decode(self.stream, packet) + self.tally.decode(self.stream, None) if packet else []
        frames = [frame for frame in frames if frame.pts is not None]
        return (frames[0].pts * self._tick_s, frames[0]) if frames else None

    def _frames(self, place: int, wanted_s: np.ndarray, due: list[float], *, may_skip: bool) -> Iterator[TimedFrame]:
        """Decode from a keyframe until the wanted frames are out; `due` collects when all the pictures are shown."""
        source = self._seek(place, wanted_s)
        for packet, shown_s, is_wanted in choose_packets(source, self._tick_s, wanted_s):
            if shown_s is not None:
                due.append(shown_s)
            self.stream.codec_context.skip_frame = "DEFAULT" if is_wanted or not may_skip else "NONREF"
            yield from self._timed(packet)
        yield from self._timed(None)

    def _timed(self, packet: av.packet.Packet | None) -> Iterator[TimedFrame]:
        if packet is not None and not packet.size:
            return  # "show the last frame again"
        for frame in self.tally.decode(self.stream, packet):
            if frame.pts is None:
                raise LostError
            yield frame.pts * self._tick_s, frame

    def _seek(self, place: int, wanted_s: np.ndarray | None) -> Iterator[av.packet.Packet]:
        """Packets from a keyframe on that is not shown after the first wanted time."""
        listed = self.index.sought_s is not None
        sought_s = self.index.shown_s if self.index.sought_s is None else self.index.sought_s
        keyframes_s = sought_s[self.index.keyframes]
        for back in (place, place - 1, place - 2, 0):
            if back < 0:
                continue
            until_s = keyframes_s[back + 1] if back + 1 < len(keyframes_s) else sought_s[-1]
            inside_s = (keyframes_s[back] + max(until_s, keyframes_s[back])) / 2
            if wanted_s is not None and back == place and not listed:  # there may be keyframes that the index lacks
                inside_s = max(keyframes_s[back], min(inside_s, wanted_s[0]))
            try:
                if self.index.offsets is None:
                    self._container.seek(round(inside_s / self._tick_s), stream=self.stream)
                else:
                    self._container.seek(int(self.index.offsets[back]), unsupported_byte_offset=True)
            except av.error.FFmpegError as error:
                raise LostError from error
            source = packets(self._container, self.stream, self._deadline)
            first = next((packet for packet in source if packet.is_keyframe), None)
            if first is None or first.pts is None:
                continue
            if wanted_s is None or back == 0 or first.pts * self._tick_s <= wanted_s[0] + SAME_TIME_S:
                self.stream.codec_context.skip_frame = "DEFAULT"
                return itertools.chain([first], source)
        raise LostError


class Decoder:
    """Decodes a stream in order and skips what is broken.

    Attributes:
        origin_s: Time of the first frame on the stream's own clock; None until it is decoded.
        start_s: Time from which the clip's length counts. Earlier than `origin_s` where only decoding times are stored
            (AVI): frames then carry the time at which they leave the decoder.
    """

    def __init__(self, container, stream: av.video.stream.VideoStream, tally: Tally, deadline: Deadline):
        self.stream, self.tally = stream, tally
        self.origin_s: float | None = None
        self.start_s = 0.0
        self._container, self._deadline = container, deadline
        self._made_up_times = self._jumped_back = False

    def frames(self) -> Iterator[TimedFrame]:
        """Frames from where the container stands, in seconds after the first one; times never go back.

        Raises:
            VideoError: At the end, or after many failures, if less than half of what was tried decodes.
        """
        clock = Clock(1 / frame_rate(self.stream))
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
        for packet in itertools.chain(packets(self._container, self.stream, self._deadline), [None]):
            if packet is not None and not packet.size:
                continue  # "show the last frame again" in Theora and AVI
            yield from self.tally.decode(self.stream, packet)
            if len(self.tally.failures) > MAX_FAILED_PACKETS:
                break
        self.tally.check()

    def warnings(self) -> list[VideoWarning]:
        """What was odd about the stream's times."""
        found = []
        if self._made_up_times:
            rate = f"{frame_rate(self.stream):g}"
            found.append(
                VideoWarning(
                    "W_NO_TIMES",
                    f"the stream carries no timestamps; times assume {rate} frames per second",
                    f"영상에 시간 정보가 없어 초당 {rate}프레임으로 계산했습니다.",
                )
            )
        if self._jumped_back:
            found.append(
                VideoWarning(
                    "W_TIME_JUMP",
                    "timestamps jump back; times after a jump continue from the frame before it",
                    "영상의 시간 정보가 중간에 되돌아가, 앞 장면에 이어지는 것으로 계산했습니다.",
                )
            )
        return found
