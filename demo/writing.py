"""How a caption is written: its length, how freely, and where it ends."""

from dataclasses import dataclass
from typing import Any

from modeling.subtitles import split_sentences


@dataclass(frozen=True)
class Writing:
    """How a caption is written.

    Args:
        temperature: 0 takes the likeliest token each time.
        max_sentences: Stop after that many; None: when the model ends.
    Raises:
        ValueError: If a number is out of range.
    """

    max_new_tokens: int = 768
    temperature: float = 0.0
    max_sentences: int | None = None

    def __post_init__(self) -> None:
        max_sentences = 1 if self.max_sentences is None else self.max_sentences
        if min(self.max_new_tokens, max_sentences) < 1 or self.temperature < 0:
            raise ValueError(f"{self}: tokens and sentences must be >= 1 and the temperature >= 0.")

    def options(self) -> dict[str, Any]:
        """For `generate`."""
        sampled = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        return {"max_new_tokens": self.max_new_tokens, **sampled}

    def cut(self, text: str) -> str:
        """The first `max_sentences` sentences of a text."""
        return " ".join(split_sentences(text)[: self.max_sentences]) if self.max_sentences else text

    def is_enough(self, text: str) -> bool:
        """Whether a growing text has all its sentences: the next one has begun."""
        return self.max_sentences is not None and len(split_sentences(text)) > self.max_sentences
