"""What is wrong with a request, in words: where, and what would be right."""

import difflib
from collections.abc import Iterable

from pydantic import ValidationError

LONGEST_NAME = 40
PART_KINDS = "'text', 'video_url' and 'image_url'"
OTHER_WORDS = {
    "union_tag_not_found": f"has no type; known are {PART_KINDS}",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "dict_type": "should be an object",
    "list_type": "should be a list",
}


def explain(error: ValidationError) -> str:
    """The first mistake; nothing of what was sent is in it but names."""
    (first, *_) = error.errors(include_url=False, include_context=False)
    where = ".".join(_shown(step) for step in _place(first["loc"])) or "the body"
    kind, said = first["type"], first["msg"]
    if kind == "union_tag_invalid":  # pydantic's message repeats what was sent
        return f"{where}.type: this kind of part is not supported; known are {PART_KINDS}"
    if kind == "extra_forbidden":
        return f"{where}: this key is not known here; leave it out"
    if kind in OTHER_WORDS:
        return f"{where}: {OTHER_WORDS[kind]}"
    return f"{where}: {said.removeprefix('Value error, ')}"


def explain_unknown(name: str, known: Iterable[str]) -> str:
    """That a parameter is not known, and which one may have been meant."""
    (close, *_) = [*difflib.get_close_matches(name[:LONGEST_NAME], list(known), n=1), ""]
    return f"{_shown(name)} is not known here; " + (f"did you mean {close}?" if close else "leave it out.")


def _place(steps: tuple[int | str, ...]) -> list[int | str]:
    """Without the kind of a part, which pydantic puts between its number and its keys."""
    return [step for number, step in enumerate(steps) if not (number == 4 and steps[0] == "messages")]


def _shown(name: int | str) -> str:
    text = str(name)
    return text if len(text) <= LONGEST_NAME and text.isprintable() else f"{text[:LONGEST_NAME]!a}"
