"""The demo for programs: over `gradio_client`, over HTTP, and as tools of an MCP server."""

from collections.abc import Iterator, Sequence
from typing import Any

from .captioners import Captioner
from .captioning import caption_record, describe, describe_windows, timeline_record
from .limits import UploadLimits
from .messages import NO_VIDEO, explain, user_error
from .settings import Settings


class Api:
    """Functions whose docstrings describe themselves to clients; each yields records that grow.

    Args:
        captioners: Of which the first one answers.
    """

    def __init__(self, captioners: Sequence[Captioner], limits: UploadLimits):
        self._captioner, self._limits = captioners[0], limits

    def describe(
        self, video: str, num_frames: int, sampling: str, detail: str, temperature: float, max_new_tokens: int
    ) -> Iterator[dict[str, Any]]:
        """Describe a video in Korean, in detail.

        Args:
            video: The video file: MP4, MOV, MKV, WebM, AVI and others.
            num_frames: How many frames the model looks at, 1 to 32.
            sampling: "uniform" spreads the frames evenly over the clip; "scene" looks at every shot.
            detail: "long" for the whole description, "short" for its first two sentences.
            temperature: 0 gives the same description every time; up to 1.5 for more varied ones.
            max_new_tokens: Longest description in tokens, 1 to 1024.
        Returns:
            The caption, the model and its revision, the times of the frames that it saw, and subtitles.
        """
        try:
            settings = self._settings(video, num_frames, sampling, detail, temperature, max_new_tokens)
            for caption in describe(self._captioner, video, settings, self._limits):
                yield caption_record(self._captioner, video, settings, caption)
        except Exception as error:
            raise explain(error, video or "") from error

    def timeline(
        self, video: str, num_frames: int, detail: str, temperature: float, max_new_tokens: int
    ) -> Iterator[dict[str, Any]]:
        """Cut a long video where its shots change, and describe each part in one or two Korean sentences.

        Args:
            video: The video file: MP4, MOV, MKV, WebM, AVI and others.
            num_frames: How many frames of each part the model looks at, 1 to 32.
            detail: "long" for two sentences a part, "short" for one.
            temperature: 0 gives the same descriptions every time; up to 1.5 for more varied ones.
            max_new_tokens: Longest description of a part in tokens, 1 to 1024.
        Returns:
            The parts with their start and end in seconds, the same as SRT, the model and its revision.
        """
        try:
            settings = self._settings(video, num_frames, "uniform", detail, temperature, max_new_tokens)
            for timeline in describe_windows(self._captioner, video, settings, self._limits):
                yield timeline_record(self._captioner, video, settings, timeline)
        except Exception as error:
            raise explain(error, video or "") from error

    def _settings(self, video: str | None, *values: Any) -> Settings:
        if not video:
            raise user_error(*NO_VIDEO)
        return Settings(*values)
