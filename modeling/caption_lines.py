"""Clips to the lines that caption files hold: the caption, or what is wrong with the clip; model, frames and settings.

{"file": "a.mp4", "caption": "...", "model": "kocap-tiny", "revision": "sha256:...", "frame_times_s": [...], ...}
{"file": "b.mp4", "error": {"code": "E_EMPTY", "message": "...", "message_ko": "..."}, "model": "kocap-tiny", ...}
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate.utils.memory import should_reduce_batch_size

from processing.pipeline_kocap import KoCapPipeline
from processing.video_errors_kocap import VideoError, VideoWarning
from processing.vision_tokens_kocap import CAPTION_PROMPT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionSettings:
    """How clips are captioned.

    Attributes:
        num_frames: None: as many as the model's processor takes.
        do_sample: None: as the model's generation settings say.
    """

    num_frames: int | None = None
    follow_scenes: bool = False
    max_new_tokens: int = 768
    prompt: str = CAPTION_PROMPT
    do_sample: bool | None = None

    def as_said(self, pipe: KoCapPipeline) -> dict[str, Any]:
        """The settings as a line names them: defaults of the model filled in."""
        said = asdict(self) | {"num_frames": self.num_frames or pipe.processor.video_processor.num_frames}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class CaptionLine:
    """One clip's line and what was wrong or odd about its file."""

    line: dict[str, Any]
    problems: tuple[VideoError | VideoWarning, ...] = ()


def model_name(model: str) -> str:
    """A checkpoint as lines name it: a folder's name, or the Hub id."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def caption_videos(
    pipe: KoCapPipeline,
    videos: Sequence[str | Path],
    settings: CaptionSettings,
    made_by: dict[str, Any],
    *,
    batch_size: int,
) -> Iterator[CaptionLine]:
    """Caption clips batch by batch; where memory does not suffice, go on with batches of half the size."""
    start = 0
    while batch := videos[start : start + batch_size]:
        try:
            lines = caption_batch(pipe, batch, settings, made_by)
        except RuntimeError as error:
            if len(batch) == 1 or not should_reduce_batch_size(error):
                raise
            batch_size = len(batch) // 2
            logger.warning(
                "out of memory with %d clips at once; going on with %d (메모리가 부족해 한 번에 %d개씩 봅니다)",
                *(len(batch), batch_size, batch_size),
            )
            continue
        yield from lines
        start += len(lines)


def caption_batch(
    pipe: KoCapPipeline, videos: Sequence[str | Path], settings: CaptionSettings, made_by: dict[str, Any]
) -> list[CaptionLine]:
    """Caption clips in one forward pass; where one of them cannot be read, each by itself.

    Args:
        made_by: What every line says about where it comes from: `model` and `revision`.
    """
    said = settings.as_said(pipe)
    generate = {name: said[name] for name in ("max_new_tokens", "do_sample") if name in said}
    look = {name: said[name] for name in ("num_frames", "follow_scenes")}
    try:
        results = pipe(list(videos), settings.prompt, batch_size=len(videos), generate_kwargs=generate, **look)
    except VideoError as error:
        if len(videos) > 1:
            return [line for video in videos for line in caption_batch(pipe, [video], settings, made_by)]
        told = {"code": error.code, "message": str(error), "message_ko": error.message_ko}
        return [CaptionLine({"file": str(videos[0]), "error": told, **made_by, "settings": said}, (error,))]
    lines = []
    for video, result in zip(videos, results, strict=True):
        warnings = result.get("warnings", [])
        line = {
            "file": str(video),
            "caption": result["generated_text"],
            **made_by,
            "frame_times_s": [round(time_s, 3) for time_s in result["frame_times_s"]],
            "settings": said,
            "warnings": [str(warning) for warning in warnings],
        }
        lines.append(CaptionLine(line, tuple(warnings)))
    return lines
