"""Clips to the lines that caption files hold: the caption, or what is wrong with the clip; model, frames and settings.

{"file": "a.mp4", "caption": "...", "model": "kocap-tiny", "revision": "sha256:...", "frame_times_s": [...], ...}
{"file": "b.mp4", "error": {"code": "E_EMPTY", "message": "...", "message_ko": "..."}, "model": "kocap-tiny", ...}
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from configuration.coded_errors_kocap import CodedError, Notice
from processing.pipeline_kocap import KoCapPipeline
from processing.processing_kocap import KoCapProcessor
from processing.video_errors_kocap import VideoError, VideoWarning
from processing.video_limits_kocap import Limits
from processing.vision_tokens_kocap import CAPTION_PROMPT, PLAIN_TOKENS, QWEN_TOKENS

from .clip_reading import Clip, ClipReading, can_isolate, read_batches, read_clip

logger = logging.getLogger(__name__)

LOOKING = ("num_frames", "fps", "max_frames", "follow_scenes")  # settings that say which frames are looked at
GENERATING = ("max_new_tokens", "do_sample")


VISION_TOKENS = sorted(filter(None, {*PLAIN_TOKENS.values(), *QWEN_TOKENS.values()}))
POSITIONS = "max_position_embeddings"  # which some language models do not limit
STAMP = "<3600.0초>"  # before every frame, where the processor writes times


class CaptionSettingsError(CodedError, ValueError):
    """Settings that do not go together, or not with the model."""

    code = "E_SETTINGS"


@dataclass(frozen=True)
class CaptionSettings:
    """How clips are captioned.

    Attributes:
        num_frames: None: as the model's processor looks at clips.
        do_sample: None: as the model's generation settings say.
    Raises:
        CaptionSettingsError: If so many frames are never read, or the prompt holds tokens that stand for videos.
    """

    num_frames: int | None = None
    follow_scenes: bool = False
    max_new_tokens: int = 768
    prompt: str = CAPTION_PROMPT
    do_sample: bool | None = None

    def __post_init__(self):
        if self.num_frames is not None and not 1 <= self.num_frames <= Limits.max_frames:
            raise CaptionSettingsError(
                f"num_frames is {self.num_frames}; it must be 1 to {Limits.max_frames}.",
                f"프레임 수가 {self.num_frames}입니다. 1에서 {Limits.max_frames} 사이로 지정해 주세요.",
            )
        if typed := [token for token in VISION_TOKENS if token in self.prompt]:
            raise CaptionSettingsError(
                f"the prompt holds {typed[0]}, which stands for a video or image itself; leave it out.",
                f"요청에 {typed[0]} 표시가 들어 있습니다. 영상은 자동으로 들어가므로 이 표시를 빼 주세요.",
            )

    def check(self, pipe: Any) -> list[Notice]:
        """See whether a clip and its caption fit into what the model can see, before any clip is read.

        Args:
            pipe: `KoCapPipeline`, or what stands in its place.
        Returns:
            What may turn out too long.
        Raises:
            CaptionSettingsError: If the frames alone do not fit.
        """
        longest = getattr(pipe, "max_context", None) or pipe.model.config.text_config.to_dict().get(POSITIONS)
        if not longest:
            return []
        said = self.as_said(pipe.processor)
        frames = said.get("num_frames") or said["max_frames"]
        tokens = count_prompt_tokens(pipe.processor, frames, self.prompt)
        told = f"{frames} frames and the prompt are {tokens} tokens; the model sees {longest}. Take fewer frames"
        told_ko = f"프레임 {frames}장과 요청이 토큰 {tokens}개인데 모델은 {longest}개까지 봅니다. 프레임 수를"
        if tokens >= longest and "num_frames" in said:
            raise CaptionSettingsError(f"{told}.", f"{told_ko} 줄여 주세요.")
        if tokens + self.max_new_tokens > longest:
            told = f"{told}, or a caption of fewer than {self.max_new_tokens} tokens."
            return [Notice("W_CONTEXT", told, f"{told_ko} 줄이거나 최대 토큰 수({self.max_new_tokens})를 줄여 주세요.")]
        return []

    def as_said(self, processor: KoCapProcessor) -> dict[str, Any]:
        """The settings as a line names them: defaults of the model filled in."""
        usual = processor.video_processor
        by_rate = self.num_frames is None and usual.fps is not None
        frames = {"fps": usual.fps, "max_frames": usual.max_frames} if by_rate else {"num_frames": usual.num_frames}
        own = {name: value for name, value in asdict(self).items() if value is not None}
        return frames | own

    def look(self, processor: KoCapProcessor) -> dict[str, Any]:
        """What `read_clip` is told: which frames to look at."""
        return {name: value for name, value in self.as_said(processor).items() if name in LOOKING}


def count_prompt_tokens(processor: Any, num_frames: int, prompt: str) -> int:
    """How many tokens a clip of so many frames and a prompt are together."""
    content = [{"type": "video"}, {"type": "text", "text": prompt}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    side = processor.video_processor.size["height"]
    of_clip = processor._get_num_multimodal_tokens(video_sizes=[(num_frames, side, side)])["num_video_tokens"][0]
    stamps = num_frames * len(processor.tokenizer(STAMP)["input_ids"]) if processor.frame_timestamps else 0
    return len(processor.tokenizer(text)["input_ids"]) + of_clip + stamps


@dataclass(frozen=True)
class CaptionLine:
    """One clip's line and what was wrong or odd about its file."""

    line: dict[str, Any]
    problems: tuple[VideoError | VideoWarning, ...] = ()


def caption_videos(
    pipe: KoCapPipeline,
    clips: Sequence[Clip],
    settings: CaptionSettings,
    made_by: dict[str, Any],
    *,
    batch_size: int = 1,
    workers: int = 0,
) -> Iterator[CaptionLine]:
    """Caption clips batch by batch, in the order in which they are ready; see `read_batches`.

    Where memory does not suffice, it goes on with batches of half the size.

    Args:
        made_by: What every line says about where it comes from: `model` and `revision`.
        workers: Clips that are decoded at once ahead of the model, each in a process of its own where the system can;
            0 decodes in this one when asked.
    """
    captioner = BatchCaptioner(pipe, settings, made_by, batch_size)
    for readings in read_batches(
        clips,
        partial(captioner.read, isolated=bool(workers) and can_isolate()),
        workers=workers,
        batch_size=lambda: captioner.batch_size,
    ):
        yield from captioner.caption(readings)


class BatchCaptioner:
    """The model at work on readings; keeps the size of batches that memory has shown to hold.

    Args:
        batch_size: Clips per forward pass at most.
    """

    def __init__(self, pipe: KoCapPipeline, settings: CaptionSettings, made_by: dict[str, Any], batch_size: int):
        self.pipe, self.batch_size = pipe, batch_size
        self._said = settings.as_said(pipe.processor)
        self._look = settings.look(pipe.processor)
        self._generate = {name: self._said[name] for name in GENERATING if name in self._said}
        self._made_by = made_by

    def read(self, clip: Clip, *, isolated: bool) -> ClipReading:
        """Read a clip as the settings say."""
        return read_clip(clip, self.pipe.processor.video_processor, self._look, isolated=isolated)

    def caption(self, readings: Sequence[ClipReading]) -> Iterator[CaptionLine]:
        """Lines of readings, those that failed first."""
        yield from (self._failure(reading) for reading in readings if reading.error)
        good = [reading for reading in readings if not reading.error]
        while batch := good[: self.batch_size]:
            if results := self._generate_captions(batch):
                yield from (self._line(reading, said) for reading, said in zip(batch, results, strict=True))
                del good[: len(batch)]
            else:  # outside of the handler of the error, which still held what did not fit
                self._shrink(len(batch))

    def _generate_captions(self, batch: Sequence[ClipReading]) -> list[dict] | None:
        """What the pipeline says of each clip; None where memory does not suffice for so many."""
        ask = {"type": "text", "text": self._said["prompt"]}
        content = [[{"type": "video", "video": reading.frames}, ask] for reading in batch]
        chats = [[{"role": "user", "content": parts}] for parts in content]
        metadata = [reading.metadata for reading in batch]
        try:
            inputs = self.pipe.preprocess({"chats": chats, "video_metadata": metadata}, do_sample_frames=False)
            return self.pipe.postprocess(self.pipe.forward(inputs, **self._generate))
        except RuntimeError as error:
            if len(batch) == 1 or not should_reduce_batch_size(error):
                raise
        return None

    def _shrink(self, size: int) -> None:
        clear_device_cache(garbage_collection=True)
        self.batch_size = size // 2
        logger.warning(
            "out of memory with %d clips at once; going on with %d (메모리가 부족해 한 번에 %d개씩 봅니다)",
            *(size, self.batch_size, self.batch_size),
        )

    def _failure(self, reading: ClipReading) -> CaptionLine:
        error = reading.error
        told = {"code": error.code, "message": str(error), "message_ko": error.message_ko}
        line = {**reading.clip.names(), "error": told, **self._made_by, "settings": self._said}
        return CaptionLine(line, (error,))

    def _line(self, reading: ClipReading, said: dict) -> CaptionLine:
        warnings = reading.metadata.warnings
        line = {
            **reading.clip.names(),
            "caption": said["generated_text"],
            **self._made_by,
            "duration_s": round(reading.metadata.duration, 3),
            "frame_times_s": [round(time_s, 3) for time_s in said["frame_times_s"]],
            "settings": self._said,
            "warnings": [str(warning) for warning in warnings],
        }
        return CaptionLine(line, warnings)
