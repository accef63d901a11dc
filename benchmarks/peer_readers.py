"""KoCap's reader and its peers behind one call, for benchmarks/video_reading.py; run as a program it measures memory.

The peers are transformers' own readers as `load_video` calls them, and torchcodec used at its best: approximate
seeking, FFmpeg's choice of threads or one, frames in full size or shrunk by its own `Resize` while it decodes.
"""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import torchvision.transforms.v2.functional as tvf
from transformers.video_utils import load_video

from processing.video_reading_kocap import read_frames

PACKAGES = {"av": "av", "cv2": "opencv-python-headless", "decord": "decord", "torchcodec": "torchcodec"}


@dataclass(frozen=True, eq=False)
class Request:
    """Which frames are wanted, said in every way a reader may need.

    Args:
        indices, times_s: `[T]`, the frames' numbers, and the times (seconds after the first frame) they are shown at.
        width, height: What the frames are to be scaled to; never larger than the clip.
    """

    path: Path
    indices: np.ndarray
    times_s: np.ndarray
    width: int
    height: int

    @property
    def size(self) -> int:
        return min(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Reading:
    """What a reader gave, and how long it took.

    Attributes:
        frames: uint8 `[T, 3, H, W]`, scaled.
        times_s: What the reader says about when these frames are shown, seconds after the first; None if nothing.
        read_s: Until frames were there, in full size for readers that cannot scale.
        total_s: Until they were scaled.
    """

    frames: torch.Tensor
    times_s: np.ndarray | None
    read_s: float
    total_s: float


Answer = tuple[torch.Tensor, np.ndarray | None]


@dataclass(frozen=True)
class Reader:
    """A way to read frames.

    Args:
        package: What must be importable.
        scales: Gives frames in the size wanted.
        sequential: Decodes every frame up to the last one wanted: hopeless on long clips.
    """

    name: str
    read: Callable[[Request], Answer]
    package: str = "av"
    scales: bool = False
    sequential: bool = False

    def missing(self) -> str | None:
        """Why this reader cannot run here, or None."""
        if importlib.util.find_spec(self.package) is None:
            return f"no module {self.package}: uv pip install {PACKAGES[self.package]}"
        try:
            importlib.import_module(self.package)
        except (ImportError, OSError, RuntimeError) as error:
            return f"{self.package} does not load: {str(error).strip().splitlines()[0]}"
        return None

    def measure(self, request: Request) -> Reading:
        """Read and scale; the clock covers opening the file, too."""
        start = time.perf_counter()
        frames, times_s = self.read(request)
        read_s = time.perf_counter() - start
        if not self.scales:
            frames = resize(frames, request)
        return Reading(frames, times_s, read_s, time.perf_counter() - start)


def resize(frames: torch.Tensor, request: Request) -> torch.Tensor:
    """What a transformers video processor does next: bicubic, antialiased, uint8.

    It makes numpy's `[T, H, W, 3]` contiguous as `[T, 3, H, W]` first. Here that is left out: the peers gain by it.
    """
    size = [request.height, request.width]
    return tvf.resize(frames, size, interpolation=tvf.InterpolationMode.BICUBIC, antialias=True)


def _kocap(mode: Literal["exact", "keyframe", "auto"]) -> Callable[[Request], Answer]:
    def read(request: Request) -> Answer:
        frames = read_frames(request.path, request.times_s, size=request.size, mode=mode)
        return torch.from_numpy(frames.data), frames.times_s

    return read


def _transformers(backend: str) -> Callable[[Request], Answer]:
    def read(request: Request) -> Answer:
        path, indices = str(request.path), request.indices
        video, _ = load_video(path, backend=backend, sample_indices_fn=lambda metadata, **_: indices)
        if isinstance(video, np.ndarray):
            return torch.from_numpy(video).permute(0, 3, 1, 2), None
        return video, None

    return read


def _torchcodec(num_threads: int, *, resizing: bool) -> Callable[[Request], Answer]:
    def read(request: Request) -> Answer:
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import Resize

        transforms = [Resize((request.height, request.width))] if resizing else None
        decoder = VideoDecoder(
            request.path, seek_mode="approximate", num_ffmpeg_threads=num_threads, transforms=transforms
        )
        frames = decoder.get_frames_at(request.indices.tolist())
        return frames.data, frames.pts_seconds.numpy() - (decoder.metadata.begin_stream_seconds or 0.0)

    return read


OURS = Reader("kocap", _kocap("exact"), scales=True)
OUR_KEYFRAMES = Reader("kocap keyframe", _kocap("keyframe"), scales=True)
PEERS = (
    Reader("transformers pyav", _transformers("pyav"), sequential=True),
    Reader("transformers opencv", _transformers("opencv"), "cv2", sequential=True),
    Reader("transformers decord", _transformers("decord"), "decord"),
    Reader("transformers torchcodec", _transformers("torchcodec"), "torchcodec"),
    Reader("torchcodec threads=0", _torchcodec(0, resizing=False), "torchcodec"),
    Reader("torchcodec threads=1", _torchcodec(1, resizing=False), "torchcodec"),
    Reader("torchcodec Resize threads=0", _torchcodec(0, resizing=True), "torchcodec", scales=True),
    Reader("torchcodec Resize threads=1", _torchcodec(1, resizing=True), "torchcodec", scales=True),
)
READERS = {reader.name: reader for reader in (OURS, OUR_KEYFRAMES, *PEERS)}


def peer_versions() -> dict[str, str]:
    """Versions of the peers' packages that are installed."""
    return {
        package: importlib.metadata.version(package)
        for module, package in (PACKAGES | {"torchvision": "torchvision"}).items()
        if importlib.util.find_spec(module) is not None
    }


def peak_mib(reader: Reader, request: Request, warm_up: Request) -> float | str:
    """How far resident memory rises above an interpreter that has read another clip already, or why it cannot be said.

    A fresh interpreter does it, so that nothing another reader left behind counts. Scaling is included.
    """
    order = {"reader": reader.name, "request": _describe(request), "warm_up": _describe(warm_up)}
    done = subprocess.run([sys.executable, __file__, json.dumps(order)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1][:160]
    return round(float(done.stdout.split()[-1]), 1)


def main(order: dict) -> None:
    """The fresh interpreter's part of `peak_mib`."""
    reader = READERS[order["reader"]]
    reader.measure(_request(order["warm_up"]))
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is resident now
    before = _status_kib("VmRSS")
    reader.measure(_request(order["request"]))
    print((_status_kib("VmHWM") - before) / 1024)


def _status_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}; memory is measured on Linux only.")


def _describe(request: Request) -> dict:
    return {
        "path": str(request.path),
        "indices": request.indices.tolist(),
        "times_s": request.times_s.tolist(),
        "size": [request.width, request.height],
    }


def _request(described: dict) -> Request:
    indices, times_s = np.array(described["indices"], np.int64), np.array(described["times_s"], np.float64)
    return Request(Path(described["path"]), indices, times_s, *described["size"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
