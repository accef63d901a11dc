"""Does a caption name what the generated scene shows? Attribute by attribute, against the known truth."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.scene_attributes import named_attributes
from corpus.scene_captions import describe
from corpus.scenes import Scene

AT_SIDE = re.compile(r"(왼쪽|가운데|오른쪽)(?:에서는|에는|에| 앞에는| 가까이에는)\s(.+)")
ONE_OF = ("place", "time", "weather", "season", "camera")  # every scene has exactly one (its season may be invisible)


def scene_scores(captions: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """Accuracy per attribute, the same with captions moved to other videos, and the share of unique captions.

    What a scene shows is what its reference caption names. Place, time, weather, season and camera count when the
    caption names the true value and no other; the main thing, the nearest that moves, counts when it is named among
    others; of things, colours, directions, speeds and landmarks it is the mean share found.

    Returns:
        `unique`, then every attribute, then `shuffled_...` for each: what the same captions score when every one of
        them stands beside another video. A generic caption scores the same on both.
    """
    named = [named_attributes(caption) for caption in captions]
    truths = [
        named_attributes(describe(scene)) | {"main_thing": {str(scene.movers[-1].thing)}}  # they stand back to front
        for scene in scenes
    ]
    named = [found | {"main_thing": found["thing"]} for found in named]
    moved = truths[1:] + truths[:1]  # scenes are independent, so any derangement is a fair shuffle
    scores = {"unique": len(set(captions)) / len(captions)}
    for prefix, references in (("", truths), ("shuffled_", moved)):
        for attribute in truths[0]:
            pairs = [(said[attribute], true[attribute]) for said, true in zip(named, references, strict=True)]
            if attribute in ONE_OF:
                hits = [said == true for said, true in pairs if true]
            else:
                hits = [len(said & true) / len(true) for said, true in pairs if true]
            scores[prefix + attribute] = float(np.mean(hits)) if hits else float("nan")
    return scores


@dataclass(frozen=True)
class AttributeMatch:
    """How well captions name one attribute of all scenes; nan where nothing is to be named, or nothing was.

    Attributes:
        recall: Named true values over true values.
        precision: Named true values over named values: who names everything pays here.
        shuffled_recall, shuffled_precision: The same beside another video, which is what guessing scores.
    """

    recall: float
    precision: float
    shuffled_recall: float
    shuffled_precision: float


def attribute_matches(captions: Sequence[str], references: Sequence[str]) -> dict[str, AttributeMatch]:
    """Recall and precision of every attribute that `named_attributes` finds, and of `position`.

    Args:
        references: Captions of generated scenes, by `corpus.scene_captions.describe`: what they name is true.
    """
    named, truths = ([_named(text) for text in texts] for texts in (captions, references))
    moved = truths[1:] + truths[:1]
    return {
        attribute: AttributeMatch(*_matched(named, truths, attribute), *_matched(named, moved, attribute))
        for attribute in truths[0]
    }


def named_positions(text: str) -> set[str]:
    """Find what a text puts on one side of the picture: "정자 왼쪽" for 화면 왼쪽에는 정자가 서 있고."""
    positions = set()
    for clause in re.split(r"[.,]", text):
        if found := AT_SIDE.search(clause):
            named = named_attributes(found.group(2))
            positions |= {f"{what} {found.group(1)}" for what in named["thing"] | named["landmark"]}
    return positions


def _named(caption: str) -> dict[str, set[str]]:
    return named_attributes(caption) | {"position": named_positions(caption)}


def _matched(
    named: Sequence[dict[str, set[str]]], truths: Sequence[dict[str, set[str]]], attribute: str
) -> tuple[float, float]:
    true = sum(len(truth[attribute]) for truth in truths)
    said = sum(len(found[attribute]) for found in named)
    both = sum(len(found[attribute] & truth[attribute]) for found, truth in zip(named, truths, strict=True))
    return both / true if true else float("nan"), both / said if said else float("nan")
