"""Where a stream's pictures lie, learned without decoding, and the cheapest way to the wanted ones.

Every container knows something: mp4 and mov list every sample, matroska and webm most keyframes, the others nothing,
and then the packets themselves are read once. A plan is a list of runs: seek to a keyframe, decode on until the last
wanted picture of the run.
"""

import itertools
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.container
import av.error
import av.packet
import av.video.stream
import numpy as np

from .video_errors_kocap import VideoTooLongError
from .video_limits_kocap import Deadline, Limits
from .video_threads_kocap import ENOUGH_BYTES, fits

MAX_FAILED_READS = 1000
DEFAULT_FPS = 25.0  # FFmpeg's own guess for streams that carry no timing
JUMP_S = 1.0  # time going back further than this starts a new recording; less is a muxer's rounding
REORDER = 17  # a picture is stored at most 16 pictures after one that is shown later (H.264, HEVC)
SEEK_COST = 2  # pictures one can decode in the time a seek takes
FROM_START = ("mov", "avi", "mpeg")  # their durations count from the first picture; others' from it or from zero
SAME_TIME_S = 1e-6  # absorbs float rounding between a caller's i / fps and a true PTS


def frame_rate(stream: av.video.stream.VideoStream) -> float:
    """Frames per second, for streams or frames that do not say when they are shown."""
    return float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def packets(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, deadline: Deadline
) -> Iterator[av.packet.Packet]:
    """Every packet that can be read; unreadable stretches are skipped.

    Raises:
        VideoTimeoutError: When time is up.
    """
    failed = 0
    while failed < MAX_FAILED_READS:
        try:
            for packet in container.demux(stream):
                deadline.check()
                if packet.pts is None and packet.dts is None and not packet.size:
                    return  # PyAV's own flush packet
                failed = 0
                yield packet
            return
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError) and not fits(ENOUGH_BYTES):
                raise
            failed += 1


def promised_end(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float | None:
    """Where the header says the stream ends, at least, on the stream's clock; None if it doesn't say.

    A claim only: it may count decoding times, sound, or pictures that are not there.
    """
    if stream.duration and stream.time_base:
        tick_s = float(stream.time_base)
        start_s, length_s = (stream.start_time or 0) * tick_s, stream.duration * tick_s
    elif container.duration:
        start_s, length_s = (container.start_time or 0) / av.time_base, container.duration / av.time_base
    else:
        return None
    from_start = container.format.name.startswith(FROM_START)
    return start_s + length_s if from_start or start_s < 0 else max(start_s, length_s)


class Clock:
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


@dataclass(frozen=True, eq=False)
class Index:
    """What is known about a stream's packets, on the stream's own clock in seconds.

    Attributes:
        shown_s: float64 `[P]`, ascending: when the stored pictures are shown; estimated where the container lists
            keyframes only. Empty where packets carry no usable times: then the stream must be decoded from its start.
        keyframes: int64 `[K]`, ascending places in `shown_s` at which decoding can begin.
        end_s: End of the last picture; None where no packet carries a time.
        num_packets: How many packets were counted, at least.
        offsets: int64 `[K]`, where in the file the keyframes begin; given where seeking by time is unreliable.
        sought_s: float64 `[P]`, ascending: the times by which the container seeks, where they are not those of showing.
    """

    shown_s: np.ndarray
    keyframes: np.ndarray
    end_s: float | None
    num_packets: int
    offsets: np.ndarray | None = None
    sought_s: np.ndarray | None = None

    @property
    def can_plan(self) -> bool:
        """Whether `plan_runs` can use it."""
        return len(self.keyframes) > 0

    def place_of(self, times_s: np.ndarray) -> np.ndarray:
        """The places of the pictures shown at the given times."""
        return np.maximum(np.searchsorted(self.shown_s, times_s + SAME_TIME_S, side="right") - 1, 0)


NO_TIMES = np.empty(0)
NO_PLACES = np.empty(0, np.int64)


def index_samples(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    deadline: Deadline,
    *,
    delay_s: float,
    file_bytes: int,
) -> Index | None:
    """The index of an mp4, mov or AVI, which list every sample; None where they don't (fragments), or don't list any.

    The list has decoding times. Encoders number them by the times of earlier pictures, so the n-th picture is shown
    when a fixed number of pictures later another is decoded; the last ones' times are read from their packets.

    Args:
        delay_s: How much later than it is decoded the first picture is shown.
        file_bytes: Samples beyond the end of the file are not there.
    """
    promised_s = promised_end(container, stream)
    if not container.format.name.startswith(("mov", "avi")) or promised_s is None or not stream.time_base:
        return None
    entries = ((e.timestamp, e.is_keyframe, e.is_discard, e.pos, e.size) for e in stream.index_entries)
    table = np.fromiter(itertools.chain.from_iterable(entries), np.int64).reshape(-1, 5)  # long clips: half the time
    if not len(table) or (np.diff(table[:, 0]) < 0).any():
        return None
    tick_s, step_s = float(stream.time_base), 1 / frame_rate(stream)
    stored = table[:, 3] + table[:, 4] <= file_bytes
    count = len(stored) if stored.all() else int(stored.argmin())
    visible = np.flatnonzero(table[:count, 2] == 0)
    if not len(visible):
        return None
    last = int(visible[-1])
    tail = _tail(container, stream, deadline, table[: last + 1, 0], to_end=last == len(table) - 1)[-last - 1 :]
    shown = [packet for packet in tail if not packet.is_discard]
    if not shown:
        return None
    decoded_s, final = table[:, 0] * tick_s, max(shown, key=lambda packet: packet.pts or 0)
    last_s = (final.pts or 0) * tick_s
    fact_s = last_s + _length_s(final, tick_s, step_s, is_last=final is shown[-1])
    latest_s = max(fact_s, decoded_s[last] + delay_s + _length_s(shown[-1], tick_s, step_s))
    if promised_s - latest_s > max(1.0, 2 * step_s):
        return None  # fragments follow that the header does not list, or it promises too much: see what is there
    end_s = min(promised_s, latest_s) if promised_s > last_s else fact_s
    reordered = int(np.searchsorted(decoded_s, decoded_s[0] + delay_s - SAME_TIME_S))
    shown_s = np.concatenate([decoded_s[reordered:], decoded_s[len(decoded_s) - reordered :] + delay_s])
    shown_s[last + 1 - len(tail) : last + 1] = sorted((packet.pts or 0) * tick_s for packet in tail)
    shown_s = np.maximum.accumulate(shown_s)[:count]
    keyframes = np.flatnonzero(table[:count, 1])
    return Index(shown_s, keyframes, float(end_s), count, sought_s=decoded_s[:count] + delay_s)


def _length_s(packet: av.packet.Packet, tick_s: float, step_s: float, *, is_last: bool = True) -> float:
    """How long a picture is shown; mp4 and mov state it for the last stored one, of others when the next is decoded."""
    length_s = packet.duration * tick_s if packet.duration else step_s
    return length_s if is_last else min(length_s, step_s)


def _tail(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    deadline: Deadline,
    stamps: np.ndarray,
    *,
    to_end: bool,
) -> list[av.packet.Packet]:
    """The last packets of a stream, among them the last one shown; none if they cannot be had, or more follow.

    Args:
        stamps: int64 `[P]`, ascending: when the packets are decoded.
        to_end: Whether nothing may follow them.
    """
    found: list[av.packet.Packet] = []
    first, last = int(stamps[max(len(stamps) - REORDER, 0)]), int(stamps[-1])
    try:
        container.seek(first, stream=stream, any_frame=True)
    except av.error.FFmpegError:
        return []
    for packet in packets(container, stream, deadline):
        if packet.dts is None or packet.pts is None:
            return []
        if packet.dts > last:
            return [] if to_end else found
        if packet.dts >= first:
            found.append(packet)
    return found


def index_cues(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, deadline: Deadline
) -> Index | None:
    """The index of a matroska or webm with cues, which list keyframes; None without them."""
    promised_s = promised_end(container, stream)
    if not container.format.name.startswith("matroska") or promised_s is None or not stream.time_base:
        return None
    tick_s, step_s = float(stream.time_base), 1 / frame_rate(stream)
    try:
        end = promised_s / tick_s + max(stream.start_time or 0, 0)  # however the promise is meant
        container.seek(int(end), stream=stream)  # loads the cues, and shows the true end
    except av.error.FFmpegError:
        return None
    cues_s = np.array([entry.timestamp * tick_s for entry in stream.index_entries if entry.is_keyframe])
    end_s = 0.0
    for packet in packets(container, stream, deadline):
        if packet.pts is not None:
            end_s = max(end_s, packet.pts * tick_s + (packet.duration * tick_s if packet.duration else step_s))
    if not len(cues_s) or promised_s - end_s > 1.0:
        return None  # no cues, or none that lead to the end
    shown_s = np.arange(cues_s[0], max(end_s, cues_s[-1] + step_s), step_s)
    keyframes = np.searchsorted(shown_s, cues_s + SAME_TIME_S, side="right") - 1
    return Index(shown_s, np.unique(np.maximum(keyframes, 0)), end_s, len(shown_s))


def index_scan(
    source: Iterator[av.packet.Packet], stream: av.video.stream.VideoStream, name: str, limits: Limits
) -> Index:
    """The index of any container, from reading all its packets and decoding none.

    Args:
        source: All packets of the stream.
    Raises:
        VideoTooLongError: If they reach over more seconds than `limits.max_scan_s`.
    """
    count, began_s, jumped, final = 0, None, False, None
    last_s, last_stored = -math.inf, False
    tick_s, clock = float(stream.time_base or 1), Clock(1 / frame_rate(stream))
    shown, keyframes = [], []
    for packet in source:
        if packet.is_discard:
            continue  # cut away by an edit list
        count += 1
        stored_at = packet.pts if packet.dts is None else packet.dts
        shown_at = packet.dts if packet.pts is None else packet.pts
        if stored_at is None or shown_at is None:
            continue
        now_s = clock.at(stored_at * tick_s)  # packets come in storing order
        began_s = now_s if began_s is None else began_s
        if now_s - began_s > limits.max_scan_s:
            raise VideoTooLongError(
                f"{name}: without an index it must be read through, and that is longer than max_scan_s ="
                f" {limits.max_scan_s:g} s. Remux it as mp4, cut it, or raise max_scan_s."
            )
        jumped = jumped or clock.shift_s > 0
        picture_s = shown_at * tick_s + clock.shift_s
        last_stored = picture_s >= last_s
        if last_stored:
            last_s, final = picture_s, packet
        if packet.pts is not None:
            shown.append(packet.pts * tick_s)
            if packet.is_keyframe:
                keyframes.append((packet.pts * tick_s, packet.pos or 0))
    is_last = last_stored or not stream.container.format.name.startswith("mov")
    end_s = None if final is None else last_s + _length_s(final, tick_s, clock.step_s, is_last=is_last)
    if jumped or len(shown) < count:
        return Index(NO_TIMES, NO_PLACES, end_s, count)
    shown_s, table = np.sort(np.array(shown)), np.array(sorted(keyframes)).reshape(-1, 2)
    places, first = np.unique(np.searchsorted(shown_s, table[:, 0]), return_index=True)
    by_offset = stream.container.format.name in ("mpegts", "mpeg")  # their demuxers guess the place of a time
    return Index(shown_s, places, end_s, count, table[first, 1].astype(np.int64) if by_offset else None)


@dataclass(frozen=True)
class Run:
    """Seek once, then decode on.

    Attributes:
        keyframe: Place in `Index.keyframes` to begin at.
        wanted: Which of the wanted times it serves.
        cost: Pictures to go through, from the keyframe to the last wanted one.
    """

    keyframe: int
    wanted: slice
    cost: int


def plan_runs(index: Index, wanted_s: np.ndarray, *, parts: int = 1) -> list[Run]:
    """The cheapest way to the wanted pictures: seek where that passes over more pictures than it costs.

    Args:
        wanted_s: float64 `[T]`, ascending, on the stream's clock.
        parts: Decoders that will share the work: a long run ends at a keyframe where another could begin.
    Returns:
        Runs that serve every wanted time once, in order.
    """
    places = index.place_of(wanted_s)
    nearest = np.maximum(np.searchsorted(index.keyframes, places, side="right") - 1, 0)
    longest = math.inf if parts == 1 else (places[-1] - places[0]) / (2 * parts)
    runs: list[Run] = []
    for i, (place, key) in enumerate(zip(places.tolist(), nearest.tolist(), strict=True)):
        begin = int(index.keyframes[key])
        if runs:
            last = runs[-1]
            reached = int(index.keyframes[last.keyframe]) + last.cost  # the next picture to decode
            if begin - reached <= SEEK_COST and (begin < reached or last.cost < longest):
                cost = max(last.cost, place + 1 - int(index.keyframes[last.keyframe]))
                runs[-1] = Run(last.keyframe, slice(last.wanted.start, i + 1), cost)
                continue
        runs.append(Run(key, slice(i, i + 1), max(1, place + 1 - begin)))
    return runs


def nearest_keyframes(index: Index, wanted_s: np.ndarray) -> np.ndarray:
    """The keyframes nearest to the wanted times, each once: int64 `[T']`, places in `Index.keyframes`, ascending."""
    keyframes_s = index.shown_s[index.keyframes]
    after = np.clip(np.searchsorted(keyframes_s, wanted_s), 1, max(1, len(keyframes_s) - 1))
    before = after - 1
    after = np.minimum(after, len(keyframes_s) - 1)
    return np.unique(np.where(wanted_s - keyframes_s[before] <= keyframes_s[after] - wanted_s, before, after))


def choose_packets(
    source: Iterator[av.packet.Packet], tick_s: float, wanted_s: np.ndarray
) -> Iterator[tuple[av.packet.Packet, float | None, bool]]:
    """Packets up to the last one that matters, each with when it is shown and whether that may be at a wanted time.

    Looks ahead by `REORDER` packets, or until decoding times pass the last wanted time: a picture is not wanted if
    another one is shown after it and still by the next wanted time.

    Args:
        source: Packets from a keyframe on, in storing order, with presentation times.
        tick_s: Seconds per tick of their time base.
        wanted_s: float64 `[T]`, ascending, on the stream's clock.
    """
    wanted = (wanted_s + SAME_TIME_S).tolist()
    last_s = wanted[-1]
    ahead: deque[tuple[av.packet.Packet, float | None]] = deque()
    passed: deque[float] = deque(maxlen=REORDER)
    more = True
    while True:
        while more and len(ahead) < REORDER:
            packet = next(source, None)
            more = packet is not None and (packet.dts is None or packet.dts * tick_s <= last_s)
            if packet is not None and more:
                ahead.append((packet, None if packet.is_discard or packet.pts is None else packet.pts * tick_s))
        if not ahead:
            return
        packet, shown_s = ahead.popleft()
        later = [other_s for _, other_s in ahead if other_s is not None]
        is_wanted = False
        if shown_s is not None and shown_s <= last_s:
            next_s = wanted[bisect_left(wanted, shown_s)]
            is_wanted = not any(shown_s < other_s <= next_s for other_s in (*later, *passed))
            passed.append(shown_s)
        yield packet, shown_s, is_wanted
        if passed and ahead and all(other_s > last_s for other_s in later) and len(later) == len(ahead):
            return
