"""Look into every clip once: what it is, a small fingerprint of what it shows, or why it cannot be read."""

import importlib
import json
import logging
import multiprocessing
import os
import sys
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from configuration.disk_writing import append_line, writing
from configuration.script_endings import shielded_from_interrupts

from .records import cut_unfinished_line

logger = logging.getLogger(__name__)

NUM_FRAMES, FRAME_SIZE = 4, 36
HASH_HEIGHT, HASH_WIDTH = 8, 9  # differences of neighbours in a row: 8 x 8 bits
COLOUR_GRID = 3
FLAT_STEP, MIN_STEPS = 1, 8  # a moment with fewer larger differences is black, white or a fade
VERSION = 2  # of `ClipFacts`; what an earlier one has written is probed again
CHUNK = 8  # clips that a worker takes at once
PASSING = {"E_TIMEOUT", "E_DECODER_CRASHED", "E_RESOURCES"}  # may be the machine's fault: tried again on the next run


@dataclass(frozen=True)
class ClipFacts:
    """One probed clip; everything in it is JSON.

    Attributes:
        hashes: 64-bit difference hashes of `NUM_FRAMES` moments, as hexadecimal numbers.
        colours: Mean red, green and blue in a `COLOUR_GRID` x `COLOUR_GRID` grid, one moment after the other.
        error: Code, message and Korean message where the clip cannot be read; the rest is empty then.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    duration_s: float = 0.0
    width: int = 0
    height: int = 0
    fps: float | None = None
    codec: str = ""
    hashes: tuple[str, ...] = ()
    colours: tuple[int, ...] = ()
    error: tuple[str, str, str] | None = None
    version: int = VERSION


def probe_clip(path: str) -> ClipFacts:
    """Probe one clip, in whatever process; never raises for what is wrong with the clip."""
    reading, errors = (_reading_module(name) for name in ("video_reading_kocap", "video_errors_kocap"))
    size_bytes, mtime_ns = 0, 0
    try:
        status = os.stat(path)
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
        frames = reading.read_frames(path, _probe_times, size=FRAME_SIZE, mode="keyframe")
    except errors.VideoError as error:
        return ClipFacts(path, size_bytes, mtime_ns, error=(error.code, str(error), error.message_ko))
    except OSError as error:
        return ClipFacts(path, size_bytes, mtime_ns, error=("E_NOT_FILE", str(error), "영상 파일을 열 수 없습니다."))
    hashes, colours = fingerprint(frames.data)
    facts = frames.facts
    return ClipFacts(
        path,
        size_bytes,
        mtime_ns,
        facts.duration_s,
        facts.width,
        facts.height,
        facts.average_fps,
        facts.codec,
        hashes,
        colours,
    )


def _probe_times(duration_s: float) -> np.ndarray:
    """From the very start on: a keyframe is there however a clip was encoded, and elsewhere they differ."""
    return np.arange(NUM_FRAMES) * (duration_s / NUM_FRAMES)


def fingerprint(frames: np.ndarray) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Difference hashes and colours of frames, uint8 `[T, 3, H, W]`; see `ClipFacts`.

    Frames that show nothing, which many clips begin with, are left out while others remain.
    """
    pictures = [Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in frames]
    steps = np.stack([_steps(picture) for picture in pictures])  # [T, 8, 8]
    shown = np.flatnonzero((np.abs(steps) > FLAT_STEP).sum((1, 2)) >= MIN_STEPS)
    moments = shown if len(shown) else np.arange(len(frames))
    moments = moments[np.arange(NUM_FRAMES) * len(moments) // NUM_FRAMES]  # as many, even where there were fewer
    hashes = tuple(np.packbits(steps[i] > 0).tobytes().hex() for i in moments)
    colours = [pictures[i].resize((COLOUR_GRID, COLOUR_GRID), Image.Resampling.BOX) for i in moments]
    return hashes, tuple(np.stack([np.asarray(colour) for colour in colours]).ravel().tolist())


def _steps(picture: Image.Image) -> np.ndarray:
    grey = np.asarray(picture.convert("L").resize((HASH_WIDTH, HASH_HEIGHT), Image.Resampling.BOX), np.int16)
    return grey[:, 1:] - grey[:, :-1]


def probe_clips(paths: Sequence[str], cache: Path, *, workers: int) -> Iterator[tuple[ClipFacts, bool]]:
    """Probe clips side by side; what an earlier run has written into `cache` is not probed again.

    Args:
        paths: Absolute.
        cache: JSONL, appended to as results come, so an interrupt loses nothing.
        workers: Processes; 1 probes in this one.
    Yields:
        Facts, and whether they are new; known ones first, otherwise in the order of `paths`.
    """
    known = read_cache(cache)
    todo = []
    for path in paths:
        if (facts := known.get(path)) and _is_current(facts):
            yield facts, False
        else:
            todo.append(path)
    if not todo:
        return
    logger.info("probing %d clips with %d processes, %d are known", len(todo), workers, len(paths) - len(todo))
    with writing(cache, "what is known of clips"):
        file = cache.open("ab")
    with file:
        for facts in map(probe_clip, todo) if workers == 1 else _probe_in_pool(todo, workers):
            if not (facts.error and facts.error[0] in PASSING):
                line = json.dumps(asdict(facts), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
                append_line(file, line, cache, forced=False)
            yield facts, True


def read_cache(cache: Path) -> dict[str, ClipFacts]:
    """What runs of this version have found, by path; a last line without its end, which a kill leaves, is cut away."""
    if not cache.exists():
        return {}
    cut_unfinished_line(cache)
    known = {}
    for line in cache.read_bytes().decode().split("\n"):
        if line:
            row = json.loads(line)
            if row.get("version") != VERSION:
                continue
            for name in ("hashes", "colours", "error"):
                row[name] = row[name] if row[name] is None else tuple(row[name])
            known[row["path"]] = ClipFacts(**row)
    return known


def _is_current(facts: ClipFacts) -> bool:
    try:
        status = os.stat(facts.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (facts.size_bytes, facts.mtime_ns)


def _probe_in_pool(paths: list[str], workers: int) -> Iterator[ClipFacts]:
    """Probe in processes; one that dies costs its clip and no other."""
    done = 0
    while done < len(paths):
        pool = _pool(min(workers, len(paths)))
        try:
            with shielded_from_interrupts():  # Ctrl-C ends this process, which ends the pool
                results = pool.map(probe_clip, paths[done:], chunksize=CHUNK)
            for facts in results:
                yield facts
                done += 1
        except BrokenProcessPool:
            yield _probe_alone(paths[done])
            done += 1
        finally:
            pool.shutdown(cancel_futures=True)


def _probe_alone(path: str) -> ClipFacts:
    with _pool(1) as pool:
        try:
            with shielded_from_interrupts():
                result = pool.submit(probe_clip, path)
            return result.result()
        except BrokenProcessPool:
            message = f"E_DECODER_CRASHED: the process that read {path!r} died. Re-encode the clip."
            return ClipFacts(
                path, 0, 0, error=("E_DECODER_CRASHED", message, "영상을 읽던 중 디코더가 비정상 종료되었습니다.")
            )


def _pool(workers: int) -> ProcessPoolExecutor:
    # Fresh processes: forking one that may have threads (tokenizers, matplotlib) can hang.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def _reading_module(name: str) -> types.ModuleType:
    """A module of `processing` without its package, which loads torch: 10 s and 1 GB in every worker."""
    room = "kocap_clip_probing"
    if room not in sys.modules:
        package = types.ModuleType(room)
        package.__path__ = [str(Path(__file__).resolve().parents[1] / "processing")]
        sys.modules[room] = package
    return importlib.import_module(f"{room}.{name}")
