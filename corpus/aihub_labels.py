"""A label file of AI-Hub 71849 to a caption and what else is known of the clip."""

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .aihub_errors import LabelError, NoCaptionKeyError
from .caption_text import normalise_caption

CAPTION_KEYS = (
    "annotation.description_kr",
    "annotation.description_ko",
    "description_kr",
    "description_ko",
    "caption.korean",
    "description",
    "caption",
)
METADATA_KEYS = {  # the first that is there counts
    "category": ("category.main", "category", "metadata.category", "annotation.category"),
    "subcategory": ("category.sub", "metadata.subcategory"),
    "location": ("metadata.location", "location", "annotation.location"),
    "time": ("metadata.time", "time", "metadata.time_of_day", "annotation.time", "metadata.year"),
    "source": ("metadata.source", "source", "source_id", "source_video"),
}


@dataclass(frozen=True)
class Label:
    """What a label file says.

    Attributes:
        caption: Normalised, not empty.
        key: Where the caption was.
        changes: See `normalise_caption`.
    """

    caption: str
    key: str
    metadata: dict[str, str] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)


def read_label(path: Path, caption_key: str | None = None) -> Label:
    """Read a label file in UTF-8, with or without a byte order mark, or CP949.

    Args:
        caption_key: Dotted path of the caption, instead of `CAPTION_KEYS`.
    Raises:
        LabelError: If it is no JSON object or its caption is empty.
        NoCaptionKeyError: If none of the keys is there; names those that are.
    """
    data = _parse(path.read_bytes())
    keys = (caption_key,) if caption_key else CAPTION_KEYS
    found = {key: _text(_look_up(data, key)) for key in keys}
    key = next((key for key, text in found.items() if text), None)
    if key is None:
        if empty := [key for key in keys if isinstance(_look_up(data, key), str)]:
            raise LabelError(f"the caption at {', '.join(empty)} is empty.")
        raise NoCaptionKeyError(
            f"none of the keys {', '.join(keys)} holds a text; the label has {', '.join(leaf_keys(data)) or 'no keys'}."
            " Name the right one with --caption-key."
        )
    caption, changes = normalise_caption(found[key] or "")
    if not caption:
        raise LabelError(f"nothing is left of the caption at {key} without masking marks and spaces.")
    return Label(caption, key, _read_metadata(data), changes)


def leaf_keys(data: Any, above: str = "", *, limit: int = 40) -> list[str]:
    """Dotted paths of all values that are no objects, as far as `limit`."""
    keys: list[str] = []
    for name, value in data.items() if isinstance(data, dict) else []:
        path = f"{above}{name}"
        keys += leaf_keys(value, f"{path}.", limit=limit) if isinstance(value, dict) and value else [path]
    return keys[:limit]


def _parse(raw: bytes) -> dict[str, Any]:
    text = None
    for encoding in ("utf-8-sig", "cp949"):
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    if text is None:
        raise LabelError("it is neither UTF-8 nor CP949. Save it as UTF-8.")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise LabelError(f"it is not JSON: {error.msg} (column {error.colno}). Repair it.", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"it cannot be parsed: {error}.") from error
    if not isinstance(data, dict):
        raise LabelError(f"it holds a {type(data).__name__}; a label is one JSON object.")
    return data


def _look_up(data: Any, path: str) -> Any:
    """The value at a dotted path; a list of one object counts as that object. A key may have dots of its own."""
    if isinstance(data, dict) and path in data:
        return data[path]
    for name in path.split("."):
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    return data


def _text(value: Any) -> str | None:
    """A text, or the texts of a list as one."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return value if isinstance(value, str) and value.strip() else None


def _read_metadata(data: dict[str, Any]) -> dict[str, str]:
    metadata = {}
    for name, keys in METADATA_KEYS.items():
        for key in keys:
            value = _look_up(data, key)
            if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
                metadata[name] = " ".join(unicodedata.normalize("NFC", str(value)).split())
                break
    return metadata
