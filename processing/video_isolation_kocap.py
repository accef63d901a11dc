"""Read untrusted videos and pictures: as `read_frames` and `read_image`, in a process that may crash.

FFmpeg and Pillow are a million lines of C that parse what strangers send. Here each file is decoded by a process of
its own, with limits on memory, processor time and wall clock, which may open no file and no socket. A crash, an endless
loop or a memory bomb costs an error message, never this process.

What comes back is JSON and raw pixels, checked before use: no pickle, so a process that was taken over cannot run code
here by what it answers. It still belongs to the same user, though; against attackers with an exploit of their own, run
the whole program in a container as well.
"""

import contextlib
import io
import json
import math
import os
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import asdict
from typing import Any, BinaryIO, TypeVar

# What PyAV and numpy import only when they need it: a child can open no file any more.
import av.subtitles.codeccontext
import av.subtitles.stream  # noqa: F401
import numpy as np
import numpy.ma
from numpy.typing import ArrayLike

from .fork_server_kocap import NOT_STARTED, Child, ForkServer, ServerGoneError, give_up_rights
from .frame_sampling_kocap import Sampling
from .image_reading_kocap import read_image
from .video_errors_kocap import DecoderCrashedError, VideoError, VideoResourcesError, VideoTimeoutError, VideoWarning
from .video_limits_kocap import Limits
from .video_opening_kocap import VideoSource, open_source, source_name
from .video_readers_kocap import Mode
from .video_reading_kocap import Frames, Times, VideoFacts, read_frames

GRACE_S = 1.0  # after `max_seconds`, for the child to say politely what took so long
ALARM_S = 5.0  # after `max_seconds`, should parent and server be gone
MEMORY_BYTES, CPU_S = 2 << 30, 60.0  # of one process
LOOK_UP_S = 0.1  # how often a waiting thread asks whether anybody still wants the answer
LENGTH = struct.Struct("!I")  # of the JSON that follows
MAX_JSON_BYTES = 1 << 20
CHILD_SOURCE_NAME = "<FileIO>"  # what the child calls every video
MISTAKES = {error.__name__: error for error in (ValueError, TypeError)}  # of callers; subclasses are other things

T = TypeVar("T")

_server = ForkServer("video_isolation_kocap")


def read_frames_isolated(
    source: VideoSource,
    times_s: Times,
    *,
    size: int | None = None,
    mode: Mode = "auto",
    limits: Limits | None = None,
    memory_bytes: int = MEMORY_BYTES,
    cpu_s: float = CPU_S,
    cancelled: threading.Event | None = None,
) -> Frames:
    """Read frames as `read_frames` does, in a process of its own.

    Several threads may call it at once; each call takes a process, so bound the number of threads. The first call
    starts the server that forks them, in about half a second; it ends with this process.

    Args:
        source, times_s, size, mode, limits: See `read_frames`. A function for `times_s` is called in this process.
        memory_bytes: Address space of the process, 0.3 GB of it for Python and FFmpeg. Without effect on macOS.
        cpu_s: Processor time of the process, over all its threads.
        cancelled: Once it is set, the process is ended and this call raises `CancelledError`.
    Raises:
        VideoError: As `read_frames`; `DecoderCrashedError` if the process died, or ran into `cpu_s`;
            `VideoResourcesError` if it ran into `memory_bytes`, or the machine has no memory or process for it;
            `VideoTimeoutError` a second after `limits.max_seconds` at the latest.
        ValueError: As `read_frames`.
        NotImplementedError: On systems without fork.
    """
    request: dict[str, Any] = {"kind": "frames", "size": np.asarray(size).tolist(), "mode": mode}
    if isinstance(times_s, Sampling):
        request["sampling"] = asdict(times_s)
    elif not callable(times_s):
        request["times_s"] = _as_list(times_s)
    choose_times = times_s if callable(times_s) else None
    how = {"limits": limits, "memory_bytes": memory_bytes, "cpu_s": cpu_s, "cancelled": cancelled}
    return _ask(source, request, lambda conversation: conversation.frames(choose_times), **how)


def read_image_isolated(
    source: VideoSource,
    *,
    size: tuple[int, int] | None = None,
    limits: Limits | None = None,
    memory_bytes: int = MEMORY_BYTES,
    cpu_s: float = CPU_S,
    cancelled: threading.Event | None = None,
) -> np.ndarray:
    """Read a picture as `read_image` does, in a process of its own; see `read_frames_isolated`."""
    request = {"kind": "image", "size": size and [int(side) for side in size]}
    how = {"limits": limits, "memory_bytes": memory_bytes, "cpu_s": cpu_s, "cancelled": cancelled}
    return _ask(source, request, _Conversation.image, **how)


def _ask(
    source: VideoSource,
    request: dict[str, Any],
    hear: "Callable[[_Conversation], T]",
    *,
    limits: Limits | None,
    memory_bytes: int,
    cpu_s: float,
    cancelled: threading.Event | None,
) -> T:
    """What `hear` makes of the talk with a process that has the source."""
    if not (memory_bytes > 0 and cpu_s > 0):
        raise ValueError(f"memory_bytes is {memory_bytes!r} and cpu_s is {cpu_s!r}; both must be > 0.")
    limits, cancelled = limits or Limits(), cancelled or threading.Event()
    request |= {"limits": asdict(limits), "memory_bytes": int(memory_bytes), "cpu_s": float(cpu_s)}
    with _as_file(source, limits) as file:
        for _ in range(2):  # once more if the server itself had died
            with contextlib.suppress(ServerGoneError), _server.child(file.fileno()) as child:
                return hear(_Conversation(child, source_name(source), request, cancelled))
    raise VideoResourcesError(
        f"{source_name(source)}: the server that starts decoding processes died twice. Is the machine out of memory?"
    )


@contextlib.contextmanager
def _as_file(source: VideoSource, limits: Limits) -> Iterator[BinaryIO]:
    """The source as a file of the system, which the child can have: a path's own, or a copy of anything else."""
    with open_source(source, limits) as file:
        if isinstance(source, str | os.PathLike):
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            yield copy


class _Conversation:
    """What the parent says to a child, and what it makes of the answers. It trusts none of them."""

    def __init__(self, child: Child, name: str, request: dict[str, Any], cancelled: threading.Event):
        self._child, self._name, self._request, self._cancelled = child, name, request, cancelled
        self._end = time.monotonic() + request["limits"]["max_seconds"] + GRACE_S

    def frames(self, choose_times: Callable[[float], ArrayLike] | None) -> Frames:
        """The frames or the error that the child answers with."""
        self._send(self._request)
        answer = self._receive()
        if choose_times is not None and "duration_s" in answer:
            with self._suspicion():
                duration_s = float(answer["duration_s"])
                if not 0 < duration_s < math.inf:
                    raise ValueError(f"the duration is {duration_s}.")
            self._send(_as_list(choose_times(duration_s)))
            answer = self._receive()
        self._raise_if_error(answer)
        with self._suspicion():
            facts = VideoFacts(**answer["facts"])
            warnings = tuple(VideoWarning(**warning) for warning in answer["warnings"])
            shape = self._shape(answer)
            shown_s = np.frombuffer(self._receive_exactly(shape[0] * 8), np.float64)
            return Frames(self._receive_pixels(shape), shown_s, facts, str(answer["mode"]), warnings)

    def image(self) -> np.ndarray:
        """The picture or the error that the child answers with."""
        self._send(self._request)
        answer = self._receive()
        self._raise_if_error(answer)
        with self._suspicion():
            return self._receive_pixels(self._shape(answer))[0]

    def _shape(self, answer: dict[str, Any]) -> tuple[int, int, int, int]:
        num_frames, height, width = (int(length) for length in answer["shape"])
        if min(num_frames, height, width) < 1 or num_frames * 3 * height * width > self._request["memory_bytes"]:
            raise ValueError(f"{num_frames} frames of {height}x{width}.")
        return num_frames, 3, height, width

    def _receive_pixels(self, shape: tuple[int, int, int, int]) -> np.ndarray:
        return np.frombuffer(self._receive_exactly(math.prod(shape)), np.uint8).reshape(shape)

    def _send(self, message: Any) -> None:
        with self._patience():
            self._child.data.settimeout(self._remaining_s())
            _send_json(self._child.data, message)

    def _receive(self) -> dict[str, Any]:
        with self._suspicion():
            (length,) = LENGTH.unpack(self._receive_exactly(LENGTH.size))
            if length > MAX_JSON_BYTES:
                raise ValueError(f"a message of {length} bytes.")
            answer = json.loads(self._receive_exactly(length))
            if not isinstance(answer, dict):
                raise ValueError(f"a message that is a {type(answer).__name__}.")
            return answer

    def _receive_exactly(self, num_bytes: int) -> bytearray:
        with self._patience():
            return _receive_exactly(self._child.data, num_bytes, self._look_up_s)

    def _look_up_s(self) -> float:
        if self._cancelled.is_set():
            raise CancelledError
        return min(self._remaining_s(), LOOK_UP_S)

    def _remaining_s(self) -> float:
        remaining_s = self._end - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        return remaining_s

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        """Wait for the child until time is up or it is gone, and say why."""
        try:
            yield
        except TimeoutError:
            raise self._timeout() from None
        except (EOFError, ConnectionError):
            raise self._why_it_ended() from None

    @contextlib.contextmanager
    def _suspicion(self) -> Iterator[None]:
        """Whatever the child's words do to our code is the child's failure."""
        try:
            yield
        except VideoError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise DecoderCrashedError(f"{self._name}: the process that decodes it answers nonsense: {error}") from error

    def _raise_if_error(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            known = reversed(list(_subclasses(VideoError)))  # where others share a name, the first ones, ours, hold
            kinds = {kind.__name__: kind for kind in known} | MISTAKES
            kind = kinds.get(str(answer["error"]), DecoderCrashedError)
            error = kind(str(answer.get("message")).replace(CHILD_SOURCE_NAME, self._name))
            if isinstance(error, VideoError) and isinstance(answer.get("message_ko"), str):
                error.message_ko = answer["message_ko"]
            raise error

    def _timeout(self) -> VideoTimeoutError:
        return VideoTimeoutError(
            f"{self._name}: reading took longer than {self._request['limits']['max_seconds']:g} s and was ended."
            " Re-encode it smaller, ask for fewer frames, or raise max_seconds."
        )

    def _why_it_ended(self) -> VideoError:
        code = self._child.exit_code()
        if code == -signal.SIGALRM:
            return self._timeout()
        message_ko = None
        if code == -signal.SIGXCPU:
            how = f"took more than {self._request['cpu_s']:g} s of processor time; re-encode it, or raise cpu_s."
            message_ko = VideoTimeoutError.message_ko  # nothing says that the file is damaged
        elif code == NOT_STARTED:
            return VideoResourcesError(
                f"{self._name}: the process that decodes it could not be started; the machine has too many processes or"
                " too little memory. Try again later."
            )
        else:
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            how += "; the file may be damaged. Re-encode it, or raise memory_bytes if it is large."
        return DecoderCrashedError(f"{self._name}: the process that decodes it {how}", message_ko)


def _subclasses(kind: type[VideoError]) -> Iterator[type[VideoError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _subclasses(child)


def _as_list(times_s: ArrayLike) -> Any:
    return np.asarray(times_s, np.float64).tolist()


def _send_json(data: socket.socket, message: Any) -> None:
    text = json.dumps(message).encode()
    data.sendall(LENGTH.pack(len(text)) + text)


def _receive_exactly(data: socket.socket, num_bytes: int, timeout_s: Callable[[], float | None]) -> bytearray:
    """All of it; `timeout_s` is asked again whenever so long nothing came, and raises when it has been long enough."""
    buffer, done = bytearray(num_bytes), 0
    while done < num_bytes:
        data.settimeout(timeout_s())
        try:
            received = data.recv_into(memoryview(buffer)[done:])
        except TimeoutError:
            continue
        if not received:
            raise EOFError
        done += received
    return buffer


def work(data: socket.socket, file: io.FileIO) -> None:
    """The child's side: read what the parent asks for, and answer."""

    def receive() -> Any:
        (length,) = LENGTH.unpack(_receive_exactly(data, LENGTH.size, lambda: None))
        return json.loads(_receive_exactly(data, length, lambda: None))

    def choose_times(duration_s: float) -> list[float]:
        _send_json(data, {"duration_s": float(duration_s)})
        return receive()

    request = receive()
    limits, memory_bytes = Limits(**request["limits"]), request["memory_bytes"]
    give_up_rights(max_seconds=limits.max_seconds + ALARM_S, cpu_s=request["cpu_s"], memory_bytes=memory_bytes)
    try:
        if request["kind"] == "image":
            answer, arrays = _image_answer(read_image(file, size=request["size"], limits=limits))
        else:
            times_s = Sampling(**request["sampling"]) if "sampling" in request else request.get("times_s", choose_times)
            answer, arrays = _frames_answer(
                read_frames(file, times_s, size=request["size"], mode=request["mode"], limits=limits)
            )
    except VideoError as error:
        told = {"error": type(error).__name__, "message": str(error.args[0]), "message_ko": error.message_ko}
        _send_json(data, told)
    except MemoryError:
        message = (
            f"{CHILD_SOURCE_NAME} needs over {memory_bytes >> 20} MB. Re-encode it smaller, or raise memory_bytes."
        )
        _send_json(data, {"error": VideoResourcesError.__name__, "message": message})
    except Exception as error:
        kind = type(error) if type(error) in MISTAKES.values() else DecoderCrashedError
        message = f"{CHILD_SOURCE_NAME}: reading it failed with {error!r}. Re-encode it."
        _send_json(data, {"error": kind.__name__, "message": message if kind is DecoderCrashedError else str(error)})
    else:
        _send_json(data, answer)
        for array in arrays:
            data.sendall(array.data)


def _frames_answer(frames: Frames) -> tuple[dict[str, Any], list[np.ndarray]]:
    num_frames, _, height, width = frames.data.shape
    answer = {"shape": [num_frames, height, width], "mode": frames.mode, "facts": asdict(frames.facts)}
    return answer | {"warnings": [asdict(warning) for warning in frames.warnings]}, [frames.times_s, frames.data]


def _image_answer(image: np.ndarray) -> tuple[dict[str, Any], list[np.ndarray]]:
    return {"shape": [1, *image.shape[1:]]}, [image]
