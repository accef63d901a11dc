"""What happens behind the page's buttons: a clip and settings in, growing texts and HTML out."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from . import markup
from .captioning import caption_record, describe, describe_windows, timeline_record
from .limits import UploadLimits
from .messages import NO_QUESTION, NO_VIDEO, explain, tell_warnings, user_error
from .models import Models
from .settings import Settings
from .texts import both

Outputs = Iterator[tuple[Any, ...]]
# What the actions show when there is nothing; the notice comes first.
NO_CAPTION = "", "", markup.empty("seen_empty"), "", ""
NO_TIMELINE = "", markup.empty("timeline_empty"), "", ""
NO_COMPARISON = "", "", ""
NO_ANSWERS = "", [], ""


def guarded(nothing: tuple[Any, ...]) -> Callable[[Callable[..., Outputs]], Callable[..., Outputs]]:
    """Tell errors twice, in a pop-up and in the action's first output, where they stay; end when the visitor leaves.

    An action must yield once, to clear what stood there, before anything can go wrong.

    Args:
        nothing: The last outputs of an action whose visitor has left: Gradio sends the last ones once more.
    """

    def guard(action: Callable[..., Outputs]) -> Callable[..., Outputs]:
        @functools.wraps(action, assigned=("__name__", "__doc__"))
        def run(actions: "Actions", request: gr.Request, video: str | None, *values: Any) -> Outputs:
            if video is None:
                raise user_error(*NO_VIDEO)
            outputs: tuple[Any, ...] = ()
            with actions.turn(request.session_hash) as has_left:
                try:
                    if not actions.models.are_ready:
                        yield (f"<small>{both('loading')}</small>", *nothing[1:])
                        actions.models.captioners()
                    for outputs in action(actions, video, *values):
                        if has_left.is_set():
                            yield nothing
                            return
                        yield outputs
                except Exception as error:
                    problem = explain(error, video)
                    yield (problem.message, *outputs[1:])
                    raise problem from error

        del run.__wrapped__  # Gradio looks at the signature for what it must bring
        return run

    return guard


class Actions:
    """The actions of one page; `values` are those of the page's settings, in the order of `Settings`.

    Each yields all of its outputs every time: Gradio sends what has changed, and `gr.skip()` clears HTML parts.

    Who comes before the models are loaded is told so, and waits.
    """

    def __init__(self, models: Models, limits: UploadLimits):
        self.models, self.limits = models, limits
        self._turns: dict[str | None, threading.Event] = {}

    @contextmanager
    def turn(self, visitor: str | None) -> Iterator[threading.Event]:
        """While an action of a visitor runs; what it gives is set when the visitor has left its clip."""
        self._turns[visitor] = has_left = threading.Event()
        try:
            yield has_left
        finally:
            if self._turns.get(visitor) is has_left:
                del self._turns[visitor]

    def leave(self, visitor: str | None) -> None:
        """A visitor has another clip now, or none: what runs for the old one ends."""
        if has_left := self._turns.get(visitor):
            has_left.set()

    @guarded(NO_CAPTION)
    def describe(self, video: str, *values: Any) -> Outputs:
        """Notice, growing caption, frames, player, downloads."""
        yield NO_CAPTION
        settings, captioner = Settings(*values), self.models.captioners()[0]
        captions = describe(captioner, video, settings, self.limits)
        caption = next(captions)
        notice, strip = tell_warnings(caption.seen.warnings), markup.frame_strip(caption.seen)
        yield notice, "", strip, "", ""
        for caption in captions:
            yield notice, caption.text, strip, "", ""
        record = caption_record(captioner, video, settings, caption)
        saves = markup.downloads(video, caption.cues, record)
        yield notice, caption.text, strip, markup.player(video, caption.seen, caption.cues), saves

    @guarded(NO_TIMELINE)
    def make_timeline(self, video: str, *values: Any) -> Outputs:
        """Notice, growing table, player, downloads."""
        yield NO_TIMELINE
        settings, captioner = Settings(*values), self.models.captioners()[0]
        timelines = describe_windows(captioner, video, settings, self.limits)
        timeline = next(timelines)
        first, notice = timeline.looks[0], tell_warnings(timeline.looks[0].warnings)
        yield notice, markup.cue_table([], waiting=len(timeline.looks)), "", ""
        for timeline in timelines:
            waiting = len(timeline.looks) - timeline.done
            yield notice, markup.cue_table(timeline.cues, waiting=waiting), "", ""
        cues = timeline.cues
        saves = markup.downloads(video, cues, timeline_record(captioner, video, settings, timeline))
        yield notice, markup.cue_table(cues), markup.player(video, first, cues), saves

    @guarded(NO_COMPARISON)
    def compare(self, video: str, detail: str, max_new_tokens: int, *sides: Any) -> Outputs:
        """Notice and two growing captions.

        Args:
            sides: Number of the model, frames, sampling and temperature, for the left caption and for the right one.
        """
        yield NO_COMPARISON
        texts = ["", ""]
        for index, start in enumerate((0, len(sides) // 2)):
            number, num_frames, sampling, temperature = sides[start : start + len(sides) // 2]
            settings = Settings(num_frames, sampling, detail, temperature, max_new_tokens)
            for caption in describe(self.models.captioners()[number], video, settings, self.limits):
                texts[index] = caption.text
                yield (tell_warnings(caption.seen.warnings), *texts)

    @guarded(NO_ANSWERS)
    def ask(self, video: str, question: str, history: list[dict], *values: Any) -> Outputs:
        """Notice, conversation with a growing answer, and an emptied question box."""
        yield "", history, question
        if not question.strip():
            raise user_error(*NO_QUESTION)
        settings, captioner = Settings(*values), self.models.captioners()[0]
        earlier, history = _pairs(history), [*history, {"role": "user", "content": question}]
        yield "", history, ""
        for answer in describe(captioner, video, settings, self.limits, prompt=question, earlier=earlier):
            yield (
                tell_warnings(answer.seen.warnings),
                [*history, {"role": "assistant", "content": answer.text or "…"}],
                "",
            )


def _pairs(history: list[dict]) -> list[tuple[str, str]]:
    """Questions and their answers; a question that was never answered is left out."""
    turns = [(turn["role"], _text(turn["content"])) for turn in history]
    return [
        (question, answer)
        for (asker, question), (answerer, answer) in itertools.pairwise(turns)
        if (asker, answerer) == ("user", "assistant")
    ]


def _text(content: Any) -> str:
    """What Gradio's chat holds: a text, or a list of parts."""
    return content if isinstance(content, str) else " ".join(part["text"] for part in content if "text" in part)
