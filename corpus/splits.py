"""Divide clips into train and val so that nothing of val is seen in training."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

# Words of a path that name a split; "TL_", "VS_" are AI-Hub's zips of training labels, validation sources, ...
SPLIT_WORDS = {
    "train": re.compile(r"^(?:\d+[._ -]*)?(?:train(?:ing)?|학습)$|^T[LS](?:[_ -]|$)|^T[LS]\d", re.IGNORECASE),
    "val": re.compile(
        r"^(?:\d+[._ -]*)?(?:val(?:id(?:ation)?)?|test|검증|시험)$|^V[LS](?:[_ -]|$)|^V[LS]\d", re.IGNORECASE
    ),
}


def given_split(path: str) -> str | None:
    """The split that a path's folders name, the innermost one first; test counts as val."""
    for part in reversed(PurePosixPath(path).parts[:-1]):
        for split, word in SPLIT_WORDS.items():
            if word.search(unicodedata.normalize("NFC", part)):
                return split
    return None


def group_clips(count: int, sources: Sequence[str | None], pairs: np.ndarray) -> list[int]:
    """Number groups of clips that must stay together: of one source or place, or nearly equal.

    Args:
        sources: Of each clip, None where unknown.
        pairs: int `[P, 2]` of clips that are nearly equal.
    """
    parent = list(range(count))

    def find(clip: int) -> int:
        while parent[clip] != clip:
            parent[clip] = parent[parent[clip]]
            clip = parent[clip]
        return clip

    first: dict[str, int] = {}
    for clip, source in enumerate(sources):
        if source is not None:
            parent[find(clip)] = find(first.setdefault(source, clip))
    for one, other in pairs.tolist():
        parent[find(one)] = find(other)
    return [find(clip) for clip in range(count)]


def split_groups(groups: Sequence[int], *, val_share: float, seed: int) -> list[str]:
    """Draw whole groups for val until no further one fits into its share.

    At least the smallest group goes to val where `val_share > 0` and there are two groups; one always stays in train.
    """
    members: dict[int, list[int]] = {}
    for clip, group in enumerate(groups):
        members.setdefault(group, []).append(clip)
    names = list(members)
    np.random.default_rng(seed).shuffle(names)
    splits = ["train"] * len(groups)
    room = round(val_share * len(groups))
    chosen = []
    for name in names:
        if len(members[name]) <= room and len(chosen) + 1 < len(names):
            chosen.append(name)
            room -= len(members[name])
    if not chosen and val_share > 0 and len(names) > 1:
        chosen = [min(names, key=lambda name: len(members[name]))]
    for name in chosen:
        for clip in members[name]:
            splits[clip] = "val"
    return splits


def leaking(splits: Sequence[str], pairs: np.ndarray) -> dict[int, int]:
    """Clips of train that nearly equal one of val, and that one."""
    leaks: dict[int, int] = {}
    for one, other in pairs.tolist():
        if splits[one] != splits[other]:
            train, val = (one, other) if splits[one] == "train" else (other, one)
            leaks.setdefault(train, val)
    return leaks
