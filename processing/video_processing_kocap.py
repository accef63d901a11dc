"""Clips to pixel values: choose times, read frames, resize, normalise."""

import dataclasses
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BaseVideoProcessor
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling
from transformers.processing_utils import VideosKwargs
from transformers.video_utils import VideoMetadata

from .frame_sampling_kocap import DEFAULT_MAX_FRAMES, Sampling, sample_indices
from .video_errors_kocap import FramesError, VideoWarning
from .video_isolation_kocap import read_frames_isolated
from .video_limits_kocap import Limits
from .video_reading_kocap import read_frames

logger = logging.getLogger(__name__)

READING_NAMES = ("num_frames", "fps", "max_frames", "follow_scenes", "read_mode", "isolated")


class KoCapVideosKwargs(VideosKwargs, total=False):
    """As transformers' VideosKwargs, and how to read.

    Args:
        max_frames: Ceiling when sampling by `fps`.
        follow_scenes: Look at every shot of the clip at least once, as far as the frames last.
        read_mode: `exact`, `keyframe` or `auto`; see `read_frames`.
        isolated: Decode in a process of its own, for files from strangers.
    """

    max_frames: int | None
    follow_scenes: bool | None
    read_mode: str | None
    isolated: bool | None


@dataclass
class ClipMetadata(VideoMetadata):
    """transformers' VideoMetadata with the frames' true times, and how they were chosen and read.

    Args:
        times_s: Seconds of every frame from the clip's start, `[T]`; None when frames came without times.
        sampling: The Sampling that chose them, as a dict; None for frames that were given.
        read_mode: `exact` or `keyframe`; None for frames that were given.
        warnings: What was odd about the file.
    """

    times_s: list[float] | None = None
    sampling: dict | None = None
    read_mode: str | None = None
    warnings: tuple[VideoWarning, ...] = ()

    @property
    def timestamps(self) -> list[float]:
        """Seconds of every frame; true presentation times where they are known."""
        return self.times_s if self.times_s is not None else super().timestamps


def as_clips(videos: Any) -> list:
    """One entry per clip: a source (path, bytes, file object) or frames (an array `[T, ...]` or a list of pictures).

    Takes one clip, a `[B, T, ...]` array, a list of clips, or lists of lists of clips as chat templates give them.
    """
    if _is_source(videos) or _is_frame_list(videos):
        return [videos]
    if isinstance(videos, np.ndarray | torch.Tensor):
        if videos.ndim in (4, 5):
            return [videos] if videos.ndim == 4 else list(videos)
        raise FramesError(
            f"the video array has shape {tuple(videos.shape)}; one clip is [T, 3, H, W] or [T, H, W, 3], a batch has"
            " one dimension more."
        )
    if isinstance(videos, list | tuple):
        return [clip for item in videos for clip in as_clips(item)]
    raise FramesError(f"cannot take {type(videos).__name__} as a video; pass a path, bytes, a file object or frames.")


def as_frames(clip: Any) -> torch.Tensor:
    """Frames given as an array or a list of pictures, as uint8 `[T, 3, H, W]`.

    Raises:
        FramesError: If the shape, the type or the pictures' sizes don't fit.
    """
    if isinstance(clip, list | tuple):
        frames = [np.asarray(f.convert("RGB")) if isinstance(f, Image.Image) else np.asarray(f) for f in clip]
        shapes = sorted({frame.shape for frame in frames})
        if len(shapes) > 1:
            raise FramesError(f"the frames of one clip have different shapes {shapes}; resize them to one shape first.")
        clip = np.stack(frames)
    frames = torch.as_tensor(clip)
    if frames.dtype != torch.uint8:
        raise FramesError(
            f"frames have dtype {frames.dtype}; they must be uint8 in [0, 255]. Scale and cast them first."
        )
    if frames.ndim == 4 and frames.shape[1] != 3 and frames.shape[3] == 3:
        frames = frames.permute(0, 3, 1, 2)
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise FramesError(
            f"frames have shape {tuple(frames.shape)}; one clip must be [T, 3, H, W] or [T, H, W, 3] with T >= 1."
        )
    return frames.contiguous()


class KoCapVideoProcessor(BaseVideoProcessor):
    """Reads clips with KoCap's own reader, then resizes and normalises like any transformers video processor.

    Takes paths, bytes, file objects or frames. A whole 16:9 frame is squeezed into the square the vision encoder wants,
    because a caption must know what stands at the edges.
    """

    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD
    size = {"height": 224, "width": 224}
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = True
    num_frames = 8
    fps = None
    max_frames = DEFAULT_MAX_FRAMES
    follow_scenes = False
    read_mode = "auto"
    isolated = False
    valid_kwargs = KoCapVideosKwargs
    model_input_names = ["pixel_values_videos", "pixel_values_videos_mask"]

    def fetch_videos(
        self,
        videos: Any,
        video_metadata: Sequence | None = None,
        *,
        do_sample_frames: bool | None = None,
        limits: Limits | None = None,
        cancelled: threading.Event | None = None,
        **reading,
    ) -> tuple[list[torch.Tensor], list[ClipMetadata]]:
        """Read or take every clip's frames. What is odd about a file is logged, and noted in its metadata.

        Args:
            videos: See `as_clips`.
            video_metadata: For clips given as frames: one VideoMetadata or dict per clip (`fps`, `times_s`, ...).
            do_sample_frames: False takes given frames as they are; otherwise too many of them are thinned out.
            limits: What one file may take.
            cancelled: Set by another thread, ends an isolated reading with `CancelledError`.
            **reading: `num_frames`, or `fps` with `max_frames`; `follow_scenes`, `read_mode`, `isolated`. Default: the
                processor's own.
        Returns:
            Per clip uint8 `[T, 3, H, W]`, and per clip its metadata.
        """
        reading = {name: value for name, value in reading.items() if value is not None}
        mode, isolated = reading.pop("read_mode", self.read_mode), reading.pop("isolated", self.isolated)
        sampling = self._sampling(**reading)
        clips = as_clips(videos)
        given = [None] * len(clips) if video_metadata is None else _as_list(video_metadata)
        if len(given) != len(clips):
            raise ValueError(f"{len(clips)} videos came with {len(given)} video_metadata; pass one per video.")
        results = [
            self._read(clip, sampling, mode, isolated=isolated, limits=limits, cancelled=cancelled)
            if _is_source(clip)
            else self._take(as_frames(clip), metadata, sampling, do_sample_frames)
            for clip, metadata in zip(clips, given, strict=True)
        ]
        return [frames for frames, _ in results], [metadata for _, metadata in results]

    def _sampling(
        self,
        num_frames: int | None = None,
        fps: float | None = None,
        max_frames: int | None = None,
        follow_scenes: bool | None = None,
    ) -> Sampling:
        if num_frames is None and fps is None:
            num_frames, fps = (self.num_frames, None) if self.fps is None else (None, self.fps)
        follow_scenes = self.follow_scenes if follow_scenes is None else follow_scenes
        strategy = "scene" if follow_scenes else "uniform" if fps is None else "fps"
        return Sampling(strategy, num_frames, fps, max_frames or self.max_frames)

    def _read(
        self, source: Any, sampling: Sampling, mode: Any, *, isolated: bool, limits: Limits | None, cancelled: Any
    ) -> tuple[torch.Tensor, ClipMetadata]:
        # The shorter side at its final length: the rest of the resize only squeezes the longer one.
        read = partial(read_frames_isolated, cancelled=cancelled) if isolated else read_frames
        size = min(self.size["height"], self.size["width"])
        frames = read(source, sampling, size=size, mode=mode, limits=limits)
        for warning in frames.warnings:
            logger.warning("%s", warning)
        facts = frames.facts
        metadata = ClipMetadata(
            total_num_frames=round(facts.duration_s * (facts.average_fps or 0)) or len(frames.times_s),
            fps=facts.average_fps,
            width=facts.width,
            height=facts.height,
            duration=facts.duration_s,
            video_backend="kocap",
            frames_indices=[round(t * (facts.average_fps or 0)) for t in frames.times_s],
            times_s=[float(t) for t in frames.times_s],
            sampling=dataclasses.asdict(sampling),
            read_mode=frames.mode,
            warnings=frames.warnings,
        )
        return torch.from_numpy(frames.data), metadata

    def _take(self, frames: torch.Tensor, metadata, sampling: Sampling, do_sample_frames: bool | None):
        known = {
            name: value for name, value in dict(metadata or {}).items() if name in ClipMetadata.__dataclass_fields__
        }
        clip = ClipMetadata(**{"total_num_frames": len(frames)} | known)
        clip.height, clip.width = clip.height or frames.shape[2], clip.width or frames.shape[3]
        if clip.frames_indices is None:
            clip.frames_indices = list(range(len(frames)))
        if clip.times_s is None and clip.fps:
            clip.times_s = [index / clip.fps for index in clip.frames_indices]
        times = clip.times_s
        for name, given in (("frames_indices", clip.frames_indices), ("times_s", times)):
            if given is not None and len(given) != len(frames):
                raise FramesError(f"{len(frames)} frames came with {len(given)} {name}; give one per frame.")
        duration_s = clip.duration or (len(frames) / clip.fps if clip.fps else None)
        wanted = sampling.num_frames or (sampling.count(duration_s) if duration_s else sampling.max_frames)
        if do_sample_frames is not False and len(frames) > wanted:
            chosen = sample_indices(len(frames), wanted).tolist()
            frames = frames[chosen]
            clip.frames_indices = [clip.frames_indices[index] for index in chosen]
            clip.times_s = [times[index] for index in chosen] if times is not None else None
        return frames, clip

    def preprocess(self, videos: Any, **kwargs) -> BatchFeature:
        """Clips to pixel values.

        Returns:
            `pixel_values_videos` float `[V, T, 3, S, S]`; when clips differ in T also `pixel_values_videos_mask`, bool
            `[V, T]`, False for padding; with `return_metadata=True` also `video_metadata`, one per clip.
        """
        reading = {name: kwargs.pop(name, None) for name in READING_NAMES}
        do_sample_frames = kwargs.pop("do_sample_frames", None)
        do_sample_frames = self.do_sample_frames if do_sample_frames is None else do_sample_frames
        metadata = kwargs.pop("video_metadata", None)
        clips, metadata = self.fetch_videos(videos, metadata, do_sample_frames=do_sample_frames, **reading)
        return super().preprocess(clips, video_metadata=metadata, do_sample_frames=False, **kwargs)

    def _preprocess(self, videos: list[torch.Tensor], return_tensors=None, **kwargs) -> BatchFeature:
        clips = super()._preprocess(videos, return_tensors=None, **kwargs)["pixel_values_videos"]
        lengths = torch.tensor([len(clip) for clip in clips])
        data: dict[str, Any] = {"pixel_values_videos": clips}
        if return_tensors is not None and len(lengths.unique()) > 1:
            data["pixel_values_videos"] = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
            data["pixel_values_videos_mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
        return BatchFeature(data=data, tensor_type=return_tensors)


def _is_source(item: Any) -> bool:
    return isinstance(item, str | bytes | bytearray | os.PathLike) or hasattr(item, "read")


def _is_frame_list(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) > 0 and all(_is_picture(frame) for frame in item)


def _is_picture(item: Any) -> bool:
    return isinstance(item, Image.Image) or (isinstance(item, np.ndarray | torch.Tensor) and item.ndim <= 3)


def _as_list(metadata: Any) -> list:
    if isinstance(metadata, list | tuple):
        return [entry for item in metadata for entry in (item if isinstance(item, list | tuple) else [item])]
    return [metadata]


__all__ = ["KoCapVideoProcessor"]
