"""Texts with times as subtitle files: SubRip (.srt) and WebVTT (.vtt)."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SENTENCE_END = re.compile(r"(?<=[.!?…。])\s+")
SHORTEST_S = 0.001  # both formats count milliseconds, and a player shows nothing where a cue ends as it begins


@dataclass(frozen=True)
class Cue:
    """One text and when to show it.

    Args:
        start_s, end_s: Seconds from the start of the clip, `0 <= start_s < end_s`.
        text: May have several lines.
    Raises:
        ValueError: If the times are not finite, not ascending or negative, or the text is blank.
    """

    start_s: float
    end_s: float
    text: str

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < self.end_s < math.inf):
            raise ValueError(f"a cue runs from {self.start_s} s to {self.end_s} s; it must be 0 <= start < end.")
        if not self.text.strip():
            raise ValueError(f"the cue at {self.start_s:g} s has no text; leave it out.")


def to_srt(cues: Iterable[Cue]) -> str:
    """Write SubRip: numbered cues, `00:00:01,500 --> 00:00:04,000`, one blank line after each."""
    blocks = []
    for number, cue in enumerate(cues, start=1):
        text = "\n".join(_lines(cue.text))
        blocks.append(f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(_end_s(cue), ',')}\n{text}\n")
    return "\n".join(blocks)


def to_vtt(cues: Iterable[Cue]) -> str:
    """Write WebVTT: as SubRip, with a header, points in times, and `<`, `>` and `&` escaped (so no `-->` in a text)."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        text = "\n".join(html.escape(line, quote=False) for line in _lines(cue.text))
        blocks.append(f"{_clock(cue.start_s, '.')} --> {_clock(_end_s(cue), '.')}\n{text}\n")
    return "\n".join(blocks)


def split_sentences(text: str) -> list[str]:
    """A caption's sentences; a number such as 3.5 is left whole."""
    return [sentence for sentence in SENTENCE_END.split(text.strip()) if sentence]


def spread_sentences(sentences: Sequence[str], start_s: float, end_s: float) -> list[Cue]:
    """Share the time from `start_s` to `end_s` out among sentences, by their length.

    A caption says nothing of when: this is for showing it, sentence after sentence, over the clip it describes.
    """
    spoken = [sentence.strip() for sentence in sentences if sentence.strip()]
    total, start, cues = sum(map(len, spoken)), start_s, []
    for index, sentence in enumerate(spoken):
        share = (end_s - start_s) * len(sentence) / total
        end = end_s if index == len(spoken) - 1 else start + share
        cues.append(Cue(start, end, sentence))
        start = end
    return cues


def _end_s(cue: Cue) -> float:
    return max(cue.end_s, cue.start_s + SHORTEST_S)


def _lines(text: str) -> list[str]:
    """The text's lines without blank ones: in both formats a blank line ends a cue."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _clock(time_s: float, point: str) -> str:
    milliseconds = round(time_s * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{milliseconds:03d}"
