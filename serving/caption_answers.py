"""A caption as JSON that names its frames and settings, or as subtitles over the clip."""

from typing import Any

from modeling.subtitles import Cue, split_sentences, spread_sentences
from processing.video_processing_kocap import ClipMetadata

from .chat_answers import usage_body
from .chat_requests import CaptionRequest
from .engine import Ending

SHORTEST_CLIP_S = 0.001


def caption_body(
    model: str,
    revision: str | None,
    asked: CaptionRequest,
    looking: dict[str, Any],
    clip: ClipMetadata,
    text: str,
    ending: Ending,
) -> dict[str, Any]:
    """What a line of caption.py holds, and the clip's length and the tokens."""
    settings = looking | asked.token_choice | asked.model_dump(include={"prompt", "max_new_tokens"})
    return {
        "caption": text,
        "model": model,
        "revision": revision,
        "frame_times_s": [round(time_s, 3) for time_s in clip.timestamps],
        "duration_s": clip.duration,
        "settings": {name: value for name, value in settings.items() if value is not None},
        "warnings": [{"code": odd.code, "message_ko": odd.message_ko} for odd in clip.warnings],
        "finish_reason": ending.finish_reason,
        "usage": usage_body([ending]),
    }


def caption_cues(text: str, clip: ClipMetadata) -> list[Cue]:
    """The caption's sentences, one after the other over the clip."""
    end_s = max(clip.duration or clip.timestamps[-1], SHORTEST_CLIP_S)
    return spread_sentences(split_sentences(text), 0.0, end_s)
