"""The demo for programs: over `gradio_client`, over HTTP, and as tools of an MCP server."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .captioning import caption_record, describe, describe_windows, timeline_record
from .limits import UploadLimits
from .messages import NO_VIDEO, explain, user_error
from .models import Models
from .settings import Settings

if TYPE_CHECKING:
    from .captioners import Captioner


class Api:
    """The first model's functions; their docstrings describe them to clients, and each yields records that grow."""

    def __init__(self, models: Models, limits: UploadLimits):
        self._models, self._limits = models, limits

    def describe(
        self,
        video: str,
        num_frames: int | None = None,
        sampling: str = "uniform",
        detail: str = "long",
        temperature: float = 0,
        max_new_tokens: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Describe a video in Korean, in detail.

        Args:
            video: The video file: MP4, MOV, MKV, WebM, AVI and others.
            num_frames: How many frames the model looks at, 1 to 32; left out: as many as it is used to.
            sampling: "uniform" spreads the frames evenly over the clip; "scene" looks at every shot.
            detail: "long" for the whole description, "short" for its first two sentences.
            temperature: 0 gives the same description every time; up to 1.5 for more varied ones.
            max_new_tokens: Longest description in tokens, 1 to 1024; left out: as the model is used to.
        Returns:
            The caption, the model and its revision, the times of the frames that it saw, and subtitles.
        """
        try:
            captioner, settings = self._read(video, num_frames, sampling, detail, temperature, max_new_tokens)
            for caption in describe(captioner, video, settings, self._limits):
                yield caption_record(captioner, video, settings, caption)
        except Exception as error:
            raise explain(error, video or "") from error

    def timeline(
        self,
        video: str,
        num_frames: int | None = None,
        detail: str = "long",
        temperature: float = 0,
        max_new_tokens: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Cut a long video where its shots change, and describe each part in one or two Korean sentences.

        Args:
            video: The video file: MP4, MOV, MKV, WebM, AVI and others.
            num_frames: How many frames of each part the model looks at, 1 to 32; left out: as many as it is used to.
            detail: "long" for two sentences a part, "short" for one.
            temperature: 0 gives the same descriptions every time; up to 1.5 for more varied ones.
            max_new_tokens: Longest description of a part in tokens, 1 to 1024; left out: as the model is used to.
        Returns:
            The parts with their start and end in seconds, the same as SRT, the model and its revision.
        """
        try:
            captioner, settings = self._read(video, num_frames, "uniform", detail, temperature, max_new_tokens)
            for timeline in describe_windows(captioner, video, settings, self._limits):
                yield timeline_record(captioner, video, settings, timeline)
        except Exception as error:
            raise explain(error, video or "") from error

    def _read(
        self,
        video: str | None,
        num_frames: int | None,
        sampling: Any,
        detail: str,
        temperature: float,
        max_new_tokens: int | None,
    ) -> "tuple[Captioner, Settings]":
        """The model that answers, and its settings; what is left out is as the model is used to."""
        if not video:
            raise user_error(*NO_VIDEO)
        (captioner, *_) = self._models.captioners()
        return captioner, Settings(
            captioner.num_frames if num_frames is None else num_frames,
            sampling,
            detail,
            temperature,
            captioner.max_new_tokens if max_new_tokens is None else max_new_tokens,
        )
