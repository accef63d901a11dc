"""Bring captions into one form and count what was changed."""

import re
import unicodedata
from collections import Counter

QUOTES = str.maketrans({**dict.fromkeys("“”„‟«»〝〞＂", '"'), **dict.fromkeys("‘’‚‛＇`´", "'")})
# What stands for a name that was taken out: "the #", "#@이름#", "○○", "**"; a "#" before a word or digit stays.
MASKS = re.compile(r"#@[^#\s]{1,20}#|(?:\bthe\s+)?#+(?![\w#])|[*＊]{2,}|[○◯●]{2,}", re.IGNORECASE)
INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060\ufeff\u00ad\x00-\x08\x0e-\x1b\x7f]")
BEFORE_POINT = re.compile(r"\s+([.,!?])")


def normalise_caption(text: str) -> tuple[str, Counter[str]]:
    """Normalise a caption.

    Returns:
        The text, and 1 for each of `unicode`, `quotes`, `masks` and `spaces` that changed it.
    """
    steps = {
        "unicode": lambda text: unicodedata.normalize("NFC", text),
        "quotes": lambda text: text.translate(QUOTES),
        "masks": _drop_masks,
        "spaces": lambda text: " ".join(INVISIBLE.sub("", text).split()),
    }
    changes: Counter[str] = Counter()
    for name, step in steps.items():
        changed = step(text)
        changes[name] += changed != text
        text = changed
    return text, +changes


def _drop_masks(text: str) -> str:
    changed = MASKS.sub("", text)
    return text if changed == text else BEFORE_POINT.sub(r"\1", " ".join(changed.split()))
