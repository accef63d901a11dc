"""A made-up AI-Hub download in the schema that was observed."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from video_fixtures import make_clip

CAPTION = "이 영상은 맑은 날 낮의 해안을 담고 있습니다. 화면 중앙에는 푸른 바다가 넓게 펼쳐져 있습니다."


@cache
def clip(seed: int, *, near: bool = False) -> bytes:
    """A clip of soft shapes of its own; `near` gives one that is larger, longer, and otherwise encoded."""
    width = 192 if near else 128
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 8, 3)).astype(np.uint8))
    picture = np.asarray(small.resize((width, width * 5 // 8), Image.Resampling.BICUBIC))
    return make_clip([picture] * (8 if near else 6), gop=4 if near else 3, fps=6)


class _KoreanWindowsInfo(zipfile.ZipInfo):
    """A member whose name is stored in CP949, without the flag for UTF-8."""

    def _encodeFilenameFlags(self):
        return self.filename.encode("cp949"), self.flag_bits & ~0x800


def label(caption: str = CAPTION, **more: Any) -> dict[str, Any]:
    """A label as working code reads it."""
    return {"video_id": "v", "annotation": {"description_kr": caption}, **more}


def put(path: Path, content: bytes | dict[str, Any] | str) -> Path:
    """Write a file and its folders; an object as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_pair(root: Path, name: str, seed: int, split: str = "train", **more: Any) -> None:
    """A label and its video in the layout `{split}/labels` and `{split}/videos`."""
    put(root / split / "labels" / f"{name}.json", label(**more))
    put(root / split / "videos" / f"{name}.mp4", clip(seed))


def zip_bytes(members: dict[str, bytes], *, cp949: bool = False) -> bytes:
    """A zip; with `cp949` as Korean Windows writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(_KoreanWindowsInfo(name) if cp949 else zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def cut(raw: bytes, count: int) -> list[bytes]:
    """Bytes in `count` parts of one size, the last perhaps smaller."""
    size = -(-len(raw) // count)
    return [raw[start : start + size] for start in range(0, len(raw), size)]


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
