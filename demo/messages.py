"""What a user is told when something went wrong, in both languages: no folders, no stack traces."""

import html
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from processing.video_errors_kocap import VideoError, VideoWarning
from processing.video_opening_kocap import source_name

logger = logging.getLogger(__name__)

TAG = re.compile(r"<[^>]*>")
NO_VIDEO = "영상을 올리거나 예시를 고른 다음 눌러 주세요.", "Upload a clip or choose an example first."
NO_QUESTION = "질문을 적어 주세요.", "Type a question first."


def bilingual(korean: str, english: str) -> str:
    """A message in both languages, as HTML."""
    return (
        f'<span lang="ko">{html.escape(korean, quote=False)}</span><br>'
        f'<small lang="en">{html.escape(english, quote=False)}</small>'
    )


QUEUE_FULL = bilingual(
    "[E_BUSY] 지금은 이용하는 분이 많아 더 기다릴 자리가 없습니다. 잠시 뒤에 다시 눌러 주세요.",
    "E_BUSY: the queue is full. Try again in a moment.",
)

UNHEARD = bilingual(
    "[E_UNHEARD] 결과를 기다리는 곳이 없어 설명을 멈추었습니다. 다시 요청하고 바로 결과를 받아 주세요.",
    "E_UNHEARD: nobody waited for the answer, so it was not finished. Ask again, and read the answer at once.",
)


class UserError(gr.Error):
    """A message for the visitor, ready to be shown."""


def user_error(korean: str, english: str) -> UserError:
    """What Gradio's pop-ups show."""
    return UserError(bilingual(korean, english), title="오류 · Error", duration=None, print_exception=False)


def explain(error: Exception, video: str) -> gr.Error:
    """The pop-up for what went wrong with a clip; what is nobody's fault but ours is logged."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, VideoError):
        english = str(error).replace(source_name(video), repr(Path(video).name))
        return user_error(f"[{error.code}] {error.message_ko}", english)
    if isinstance(error, gr.Error):  # ZeroGPU's own; it may carry links
        return _explain_gpu(TAG.sub("", str(error.message)), quota="quota" in str(error.title).lower())
    logger.error("captioning failed", exc_info=error)
    return user_error(
        "[E_GENERATE] 설명을 만들다가 문제가 생겼습니다. 프레임 수를 줄이거나 잠시 뒤에 다시 해 주세요.",
        f"E_GENERATE: captioning failed with {type(error).__name__}. Try fewer frames, or again later.",
    )


def _explain_gpu(reason: str, *, quota: bool) -> gr.Error:
    if quota:
        return user_error(
            "[E_GPU_QUOTA] 오늘 쓸 수 있는 GPU 시간을 다 썼습니다. Hugging Face에 로그인하거나 나중에 다시 해 주세요.",
            f"E_GPU_QUOTA: {reason} Log in to Hugging Face, or come back later.",
        )
    return user_error(
        "[E_GPU] GPU가 제시간에 끝내지 못했습니다. 프레임 수나 최대 길이를 줄여서 다시 해 주세요.",
        f"E_GPU: {reason}. Try fewer frames or a shorter caption.",
    )


def tell_warnings(warnings: Sequence[VideoWarning]) -> str:
    """What was odd about a file that was captioned all the same, as HTML."""
    return "<br>".join(bilingual(warning.message_ko, str(warning)) for warning in warnings)
