"""Does a caption name what the generated scene shows? Attribute by attribute, against the known truth."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from corpus.scene_attributes import named_attributes
from corpus.scene_captions import describe
from corpus.scenes import Scene
from processing.pipeline_kocap import KoCapPipeline

ONE_OF = ("place", "time", "weather", "season", "camera")  # every scene has exactly one (its season may be invisible)


def caption_clips(
    pipe: KoCapPipeline,
    clips: Sequence,
    *,
    max_new_tokens: int = 256,
    batch_size: int = 25,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[str]:
    """Greedy captions.

    Args:
        clips: Whatever the pipeline takes as a clip: frames, paths, bytes.
        progress: Wraps the batches, e.g. `tqdm`.
    """
    options = {"do_sample": False, "max_new_tokens": max_new_tokens}
    captions = []
    for start in progress(range(0, len(clips), batch_size)):
        batch = list(clips[start : start + batch_size])
        captions += [result["generated_text"] for result in pipe(batch, batch_size=len(batch), generate_kwargs=options)]
    return captions


def scene_scores(captions: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """Accuracy per attribute, the same with captions moved to other videos, and the share of unique captions.

    What a scene shows is what its reference caption names. Place, time, weather, season and camera count when the
    caption names the true value and no other; of things, colours, directions, speeds and landmarks it is the mean share
    found.

    Returns:
        `unique`, then every attribute, then `shuffled_...` for each: what the same captions score when every one of
        them stands beside another video. A generic caption scores the same on both.
    """
    named = [named_attributes(caption) for caption in captions]
    truths = [named_attributes(describe(scene)) for scene in scenes]
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
