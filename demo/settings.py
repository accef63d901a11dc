"""What a visitor can set, checked again here: an API client is not held by the page's sliders."""

from dataclasses import asdict, dataclass
from typing import Any

from processing.vision_tokens_kocap import CAPTION_PROMPT

from .looking import SamplingName
from .messages import user_error
from .writing import Writing

MOST_FRAMES, MOST_TOKENS, HOTTEST = 32, 1024, 1.5
USUAL_FRAMES, USUAL_TOKENS = 8, 768  # where a model says nothing else
SHORT_SENTENCES = 2
WINDOW_SENTENCES = {"short": 1, "long": 2}  # of one window of a time line: it must be read as a subtitle


@dataclass(frozen=True)
class Settings:
    """How a clip is looked at and captioned.

    Args:
        num_frames: 1 to `MOST_FRAMES`.
        sampling: `uniform`, or `scene` to see every shot.
        detail: `long`, or `short` for two sentences.
        temperature: 0 to `HOTTEST`; 0 always says the same.
        max_new_tokens: 1 to `MOST_TOKENS`.
    Raises:
        gr.Error: If a value is not one of these, with `E_SETTINGS`.
    """

    num_frames: int
    sampling: SamplingName
    detail: str
    temperature: float
    max_new_tokens: int

    def __post_init__(self) -> None:
        allowed = {
            "num_frames": self.num_frames in range(1, MOST_FRAMES + 1),
            "sampling": self.sampling in ("uniform", "scene"),
            "detail": self.detail in ("short", "long"),
            "temperature": isinstance(self.temperature, int | float) and 0 <= self.temperature <= HOTTEST,
            "max_new_tokens": self.max_new_tokens in range(1, MOST_TOKENS + 1),
        }
        wrong = [name for name, right in allowed.items() if not right]
        if wrong:
            names = ", ".join(wrong)
            raise user_error(
                f"[E_SETTINGS] 설정 값이 범위를 벗어났습니다: {names}. 화면의 범위 안에서 골라 주세요.",
                f"E_SETTINGS: out of range: {names}. Choose within the page's ranges.",
            )

    @property
    def writing(self) -> Writing:
        """For the caption of a whole clip."""
        return self._writing(SHORT_SENTENCES if self.detail == "short" else None)

    @property
    def window_writing(self) -> Writing:
        """For the caption of one window of a time line."""
        return self._writing(WINDOW_SENTENCES[self.detail])

    def _writing(self, max_sentences: int | None) -> Writing:
        return Writing(int(self.max_new_tokens), float(self.temperature), max_sentences)

    def as_said(self) -> dict[str, Any]:
        """As records name them."""
        return {**asdict(self), "prompt": CAPTION_PROMPT}
