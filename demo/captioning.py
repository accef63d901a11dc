"""From a clip and settings to growing captions, for the page and the API alike; and the records they leave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeling.subtitles import Cue, split_sentences, spread_sentences, to_srt
from processing.vision_tokens_kocap import CAPTION_PROMPT

from .limits import UploadLimits
from .looking import Look, look, look_at_windows, prepare
from .settings import Settings
from .timeline import find_windows

if TYPE_CHECKING:
    from .captioners import Captioner


@dataclass(frozen=True, eq=False)
class Caption:
    """A clip's caption so far."""

    seen: Look
    text: str = ""

    @property
    def cues(self) -> list[Cue]:
        """Its sentences over the clip's length."""
        return spread_sentences(split_sentences(self.text), self.seen.start_s, self.seen.end_s)


@dataclass(frozen=True, eq=False)
class Timeline:
    """A clip's windows, and the captions of the first ones so far.

    Attributes:
        done: How many windows are captioned to the end.
    """

    looks: Sequence[Look]
    texts: Sequence[str] = ()
    done: int = 0

    @property
    def cues(self) -> list[Cue]:
        """One for each window that has a text."""
        return [Cue(seen.start_s, seen.end_s, text) for seen, text in zip(self.looks, self.texts) if text.strip()]


def describe(
    captioner: "Captioner",
    video: str,
    settings: Settings,
    limits: UploadLimits,
    *,
    prompt: str = CAPTION_PROMPT,
    earlier: Sequence[tuple[str, str]] = (),
) -> Iterator[Caption]:
    """Look at a clip, then caption it or answer a question: what was seen comes first, the whole text last.

    Raises:
        VideoError: If the clip cannot be read or is over a limit.
    """
    seen = look(captioner.pipe, video, num_frames=settings.num_frames, sampling=settings.sampling, limits=limits)
    yield Caption(seen)
    for text in captioner.write(prepare(captioner.pipe, seen, prompt, earlier), settings.writing):
        yield Caption(seen, text)


def describe_windows(
    captioner: "Captioner", video: str, settings: Settings, limits: UploadLimits
) -> Iterator[Timeline]:
    """Cut a clip into windows, then caption them one by one.

    Raises:
        VideoError: If the clip cannot be read or is over a limit.
    """
    facts = limits.check(video)
    windows = find_windows(video, facts.duration_s, limits=limits.reading)
    looks = look_at_windows(captioner.pipe, video, windows, num_frames=settings.num_frames, limits=limits.reading)
    yield Timeline(looks)
    texts: list[str] = []
    for done, seen in enumerate(looks):
        text = ""
        for text in captioner.write(prepare(captioner.pipe, seen, CAPTION_PROMPT), settings.window_writing):
            yield Timeline(looks, [*texts, text], done)
        texts.append(text)
    yield Timeline(looks, texts, len(looks))


def caption_record(captioner: "Captioner", video: str, settings: Settings, caption: Caption) -> dict[str, Any]:
    """What a caption file's line says (`caption.py --json`), and the subtitles."""
    return {
        "file": Path(video).name,
        "caption": caption.text,
        **_made_by(captioner, settings),
        "frame_times_s": _times_s(caption.seen),
        "subtitles": _as_dicts(caption.cues),
        "warnings": [str(warning) for warning in caption.seen.warnings],
    }


def timeline_record(captioner: "Captioner", video: str, settings: Settings, timeline: Timeline) -> dict[str, Any]:
    """The parts of a clip with their captions."""
    return {
        "file": Path(video).name,
        "parts": _as_dicts(timeline.cues),
        "srt": to_srt(timeline.cues),
        **_made_by(captioner, settings),
        "frame_times_s": [_times_s(seen) for seen in timeline.looks],
        "warnings": [str(warning) for warning in timeline.looks[0].warnings],
    }


def _made_by(captioner: "Captioner", settings: Settings) -> dict[str, Any]:
    return {"model": captioner.name, "revision": captioner.revision, "settings": settings.as_said()}


def _times_s(seen: Look) -> list[float]:
    return [round(time_s, 3) for time_s in seen.times_s]


def _as_dicts(cues: Sequence[Cue]) -> list[dict[str, Any]]:
    return [{"start_s": round(cue.start_s, 3), "end_s": round(cue.end_s, 3), "text": cue.text} for cue in cues]
