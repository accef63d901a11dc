"""Two ways to the wanted frames: by a plan, parts of it side by side, or in order from the start."""

import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import av.packet
import numpy as np

from .video_decoding_kocap import Decoder, LostError, RunDecoder, Tally, TimedFrame, shown_at
from .video_errors_kocap import VideoWarning
from .video_index_kocap import (
    REORDER,
    SEEK_COST,
    Index,
    Run,
    frame_rate,
    index_cues,
    index_samples,
    index_scan,
    nearest_keyframes,
    packets,
    plan_runs,
    promised_end,
)
from .video_opening_kocap import Opener
from .video_picture_kocap import Picture
from .video_threads_kocap import decoding_threads, scaling_threads

Mode = Literal["exact", "keyframe", "auto"]

# Their packets carry the true presentation times, or none (AVI with reordered pictures).
PLANNED_FORMATS = ("mov", "matroska", "mpegts", "flv", "ogg", "avi", "mpeg")
AUTO_PIXELS = 10_000_000_000  # `auto` decodes at most so many pixels exactly: about 5000 frames of 1080p
DECODER_BYTES = 100_000_000  # decoded pictures held by all decoders of one clip, about
HELD_FOR_KEYFRAMES, HELD_FOR_RUNS = 4, 12  # pictures a decoder holds
SMALL_PICTURE = 300_000  # pixels; below this, threads within one decoder cost more than they gain
OPEN_COST = 15_000_000  # pixels one can decode in the time that another decoder takes to begin
SEEK_AFTER_S = 10.0  # without a plan: nearer than this, decoding from the start is cheap and cannot go wrong
SHORTFALL = 0.05  # share; headers overstate by a frame or two, and sound may outlast the pictures a little


@dataclass(frozen=True, eq=False)
class Result:
    """uint8 `[T, 3, H, W]`, float64 `[T]` seconds after the first frame, how they were read, and what was odd."""

    data: np.ndarray
    times_s: np.ndarray
    mode: str
    warnings: tuple[VideoWarning, ...] = ()


class PlannedReader:
    """Reads what an index shows to be the least.

    Args:
        opener: Opens containers of the video.
    Attributes:
        stream, picture: Of the video; the picture is its first frame's.
        duration_s: From the first frame shown to the end of the last.
    Raises:
        LostError: If there is no index to plan with, or it leads nowhere.
    """

    def __init__(self, opener: Opener):
        self._opener = opener
        self._tally = Tally(opener.name)
        container, self.stream = opener.open(quick=True)
        if not container.format.name.startswith(PLANNED_FORMATS):
            raise LostError
        self._promised_s = promised_end(container, self.stream)
        source = packets(container, self.stream, opener.deadline)
        peeked, self._origin_s, delay_s = _peek(source, float(self.stream.time_base or 1))
        index = index_samples(container, self.stream, opener.deadline, delay_s=delay_s, file_bytes=opener.num_bytes)
        index = index or index_cues(container, self.stream, opener.deadline)
        if index is None and container.format.name.startswith(("mov", "matroska")):  # looking at the end led there
            index = _scan(opener, quick=True)
        if index is None and container.format.name == "avi":
            raise LostError  # without its index FFmpeg takes every packet for a keyframe
        index = index or index_scan(itertools.chain(peeked, source), self.stream, opener.name, opener.limits)
        if not index.can_plan or index.end_s is None:
            raise LostError
        self._index, self._end_s = index, index.end_s
        context = self.stream.codec_context
        pixels, expected_bytes = context.width * context.height, context.width * context.height * 3 // 2
        decoders = self._most_decoders(expected_bytes, HELD_FOR_RUNS)
        context.thread_count = self._threads(decoders, pixels, expected_bytes)
        self._scout = RunDecoder(container, self.stream, index, self._tally, opener.deadline)
        *_, (_, _, first) = self._scout.pictures(Run(0, slice(0, 1), 1), np.array([self._origin_s]))
        self._pixels, self._picture_bytes = first.width * first.height, sum(p.buffer_size for p in first.planes)
        self._pictures = [Picture(first, self.stream) for _ in range(opener.most_threads)]  # one for each decoder
        self.picture = self._pictures[0]
        del first
        gc.collect(0)  # in PyAV a frame and its side data refer to each other; so 12 MB of 4K would stay
        self.duration_s = self._end_s - self._origin_s

    def read(self, wanted_s: np.ndarray, size: tuple[int, int], mode: Mode) -> Result:
        """Frames of the given (width, height) at the given times after the first frame.

        Raises:
            LostError: If a frame cannot be reached by seeking.
        """
        wanted_s = self._origin_s + np.maximum(wanted_s, 0.0)
        if mode == "keyframe":
            return self._read_keyframes(wanted_s, size)
        runs = plan_runs(self._index, wanted_s, parts=self._most_decoders(self._picture_bytes, HELD_FOR_RUNS))
        pixels = sum(run.cost for run in runs) * self._pixels
        if mode == "auto" and pixels > AUTO_PIXELS:
            return self._read_keyframes(wanted_s, size, _instead_of_exact(pixels))
        data = np.empty((len(wanted_s), 3, size[1], size[0]), np.uint8)
        shown_s = np.empty(len(wanted_s))

        def follow(run: Run, decoder: RunDecoder, picture: Picture) -> None:
            for places, time_s, frame in decoder.pictures(run, wanted_s[run.wanted]):
                picture.render(frame, data[run.wanted][places])
                shown_s[run.wanted][places] = time_s
                del frame  # or it is held until the next one is found

        runs.sort(key=lambda run: -run.cost)
        held = HELD_FOR_KEYFRAMES if runs[0].cost <= 2 else HELD_FOR_RUNS
        self._side_by_side(follow, runs, held=held, pictures=sum(SEEK_COST + run.cost for run in runs))
        return Result(data, shown_s - self._origin_s, "exact")

    def _read_keyframes(self, wanted_s: np.ndarray, size: tuple[int, int], *warnings: VideoWarning) -> Result:
        places = nearest_keyframes(self._index, wanted_s)
        data = np.empty((len(places), 3, size[1], size[0]), np.uint8)
        shown_s = np.full(len(places), np.nan)

        def look(row: int, decoder: RunDecoder, picture: Picture) -> None:
            timed = decoder.keyframe(int(places[row]))
            if timed is not None:
                shown_s[row] = max(timed[0], self._origin_s)
                picture.render(timed[1], data[row])

        self._side_by_side(look, range(len(places)), held=HELD_FOR_KEYFRAMES, pictures=(SEEK_COST + 1) * len(places))
        times_s, rows = np.unique(shown_s, return_index=True)
        rows = rows[~np.isnan(times_s)]
        if not len(rows):
            raise LostError
        data = data if np.array_equal(rows, np.arange(len(data))) else data[rows]  # as a rule all of them, in order
        return Result(data, shown_s[rows] - self._origin_s, "keyframe", tuple(warnings))

    def _side_by_side(
        self, work: Callable[[Any, RunDecoder, Picture], None], jobs: Sequence, *, held: int, pictures: int
    ) -> None:
        """Share the jobs among as many decoders as there are cores, memory and work for, each with its threads."""
        most = self._most_decoders(self._picture_bytes, held)
        workers = min(len(jobs), most, 1 + pictures * self._pixels // OPEN_COST)
        threads = self._threads(workers, self._pixels, self._picture_bytes)
        for picture in self._pictures:
            picture.threads = scaling_threads(self._opener.most_threads, workers)
        decoders = [self._scout] if self.stream.codec_context.thread_count == threads else []
        while len(decoders) < workers:
            container, stream = self._opener.open(quick=True, threads=threads)
            tally = Tally(self._opener.name)
            decoders.append(RunDecoder(container, stream, self._index, tally, self._opener.deadline))
        left = iter(jobs)

        def work_on(decoder: RunDecoder, picture: Picture) -> None:
            for job in left:
                work(job, decoder, picture)

        try:
            if workers == 1:
                work_on(decoders[0], self.picture)
            else:
                with ThreadPoolExecutor(workers) as pool:
                    list(pool.map(work_on, decoders, self._pictures))
        finally:
            for decoder in decoders:
                if decoder is not self._scout:
                    self._tally.add(decoder.tally)
        self._tally.check()

    def _most_decoders(self, picture_bytes: int, held: int) -> int:
        """As many as there are cores, and memory for the pictures they hold."""
        return max(1, min(self._opener.most_threads, DECODER_BYTES // max(1, held * picture_bytes)))

    def _threads(self, decoders: int, pixels: int, picture_bytes: int) -> int:
        """For each of so many decoders; small pictures take longer to hand over than to decode."""
        if pixels < SMALL_PICTURE:
            return 1
        return decoding_threads(picture_bytes, most=self._opener.most_threads, decoders=decoders)

    def warnings(self) -> list[VideoWarning]:
        """What was odd so far."""
        return [*self._tally.warnings(), *_cut_short(self._promised_s, self._origin_s, self._end_s)]


class InOrderReader:
    """Decodes from the start: for streams without usable times or keyframes.

    Args:
        opener: Opens containers of the video.
    Attributes:
        stream, picture: Of the video; the picture is its first frame's.
        duration_s: From the first frame shown to the end of the last.
    """

    def __init__(self, opener: Opener):
        self._opener = opener
        self._index = _scan(opener)
        self._begin()
        self._used = False
        first = next(self._frames)
        self.picture = Picture(first[1], self.stream)
        self.picture.threads = scaling_threads(opener.most_threads)
        self._frames = itertools.chain([first], self._frames)
        end_s, step_s = self._index.end_s, 1 / frame_rate(self.stream)
        self.duration_s = max(self._index.num_packets, 1) * step_s if end_s is None else end_s - self._decoder.start_s

    def _begin(self) -> None:
        container, self.stream = self._opener.open()
        self._promised_s = promised_end(container, self.stream)
        self._tally = Tally(self._opener.name)
        self._decoder = Decoder(container, self.stream, self._tally, self._opener.deadline)
        self._frames = self._decoder.frames()

    def read(self, wanted_s: np.ndarray, size: tuple[int, int], mode: Mode) -> Result:
        """Frames of the given (width, height) at the given times after the first frame."""
        data = np.empty((len(wanted_s), 3, size[1], size[0]), np.uint8)
        shown_s = np.empty(len(wanted_s))
        for places, time_s, frame in shown_at(self._frames_from(float(wanted_s[0])), wanted_s):
            self.picture.render(frame, data[places])
            shown_s[places] = time_s
        self._tally.check()
        return Result(data, shown_s, "exact", (_NO_INDEX,) if mode == "keyframe" else ())

    def _frames_from(self, time_s: float) -> Iterator[TimedFrame]:
        """Frames in order, the first of them shown at or before `time_s`, or the clip's first."""
        if self._used:
            self._begin()
        self._used = True
        if time_s < SEEK_AFTER_S:
            return self._frames
        sought = self._decoder.seek(time_s)
        first = next(sought, None)
        if first is not None and first[0] <= time_s:
            return itertools.chain([first], sought)
        self._begin()
        return self._frames

    def warnings(self) -> list[VideoWarning]:
        """What was odd so far."""
        odd = [*self._tally.warnings(), *self._decoder.warnings()]
        end_s = self._index.end_s
        return odd if end_s is None else [*odd, *_cut_short(self._promised_s, self._decoder.start_s, end_s)]


def _scan(opener: Opener, *, quick: bool = False) -> Index:
    container, stream = opener.open(quick=quick)
    return index_scan(packets(container, stream, opener.deadline), stream, opener.name, opener.limits)


def _peek(source: Iterator[av.packet.Packet], tick_s: float) -> tuple[list[av.packet.Packet], float, float]:
    """A few packets, when the first picture is shown, and how much later than it is decoded the first packet is."""
    peeked, shown = [], []
    for packet in source:
        if packet.pts is None:
            raise LostError
        peeked.append(packet)
        if shown and packet.dts is not None and packet.dts > min(shown):
            break
        if not packet.is_discard:
            shown.append(packet.pts)
        if len(shown) == REORDER:
            break
    if not shown:
        raise LostError
    first = peeked[0]
    return peeked, min(shown) * tick_s, (first.pts - (first.pts if first.dts is None else first.dts)) * tick_s


def _instead_of_exact(pixels: int) -> VideoWarning:
    return VideoWarning(
        "W_KEYFRAMES",
        f"the exact frames need {pixels / 1e9:.0f} gigapixels of decoding; the nearest keyframes were taken instead",
        "영상이 길어 정확한 장면 대신 가장 가까운 키프레임을 사용했습니다.",
    )


_NO_INDEX = VideoWarning(
    "W_NO_INDEX",
    "keyframes cannot be found without decoding here, so the exact frames were read",
    "키프레임 정보를 찾을 수 없어 영상을 처음부터 읽었습니다.",
)


def _cut_short(promised_s: float | None, start_s: float, end_s: float) -> list[VideoWarning]:
    if promised_s is None or promised_s - end_s <= max(0.25, SHORTFALL * (promised_s - start_s)):
        return []
    promised_s, end_s = promised_s - start_s, end_s - start_s
    return [
        VideoWarning(
            "W_CUT_SHORT",
            f"the header promises {promised_s:.1f} s, but pictures end at {end_s:.1f} s; the file may be cut short",
            f"파일 정보로는 {promised_s:.1f}초인데 {end_s:.1f}초까지만 들어 있습니다. 파일이 잘렸을 수 있습니다.",
        )
    ]
