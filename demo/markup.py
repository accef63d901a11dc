"""What Gradio has no part for, as HTML: frames with their times, a player with subtitles, downloads, a table.

Everything that a user's file or a model wrote is escaped. Downloads and subtitles are `data:` links, so nothing about a
visitor's clip is written to this machine's disk; and Gradio's own video output is not used, because it would hand the
file to ffprobe, outside the process that may crash.
"""

import base64
import html
import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from modeling.subtitles import Cue, to_srt, to_vtt

from .looking import Look
from .texts import both, pair

PICTURE_QUALITY = 82


def data_link(content: bytes, kind: str) -> str:
    """Bytes as a link that needs no server."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def clock(time_s: float) -> str:
    """`0:07.5`, as people read times of a clip."""
    minutes, seconds = divmod(round(time_s, 1), 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def picture(frame: np.ndarray) -> str:
    """One frame, uint8 `[3, H, W]`, as a link."""
    file = io.BytesIO()
    Image.fromarray(frame.transpose(1, 2, 0)).save(file, "JPEG", quality=PICTURE_QUALITY)
    return data_link(file.getvalue(), "image/jpeg")


def empty(key: str) -> str:
    """What stands where nothing is yet."""
    return f'<p class="empty">{both(key)}</p>'


def frame_strip(seen: Look) -> str:
    """The frames that the model saw, each with its time."""
    figures = "".join(
        f'<figure role="listitem"><img src="{picture(frame)}" alt="{clock(time_s)}">'
        f"<figcaption>{clock(time_s)}</figcaption></figure>"
        for frame, time_s in zip(seen.frames, seen.times_s, strict=True)
    )
    return f'<h3>{both("seen")}</h3><div class="strip" role="list" tabindex="0">{figures}</div>'


def player(video: str, seen: Look, cues: Sequence[Cue]) -> str:
    """The clip, from Gradio's folder of uploads, with its caption as a subtitle track."""
    source = f"gradio_api/file={quote(video)}"
    track = data_link(to_vtt(cues).encode(), "text/vtt")
    return (
        f'<h3>{both("watch")}</h3><video controls playsinline preload="metadata" poster="{picture(seen.frames[0])}"'
        f' src="{html.escape(source)}">'
        f'<track default kind="captions" srclang="ko" label="한국어" src="{track}"></video>'
    )


def downloads(video: str, cues: Sequence[Cue], record: dict[str, Any]) -> str:
    """Buttons that save subtitles and the JSON record, named after the clip."""
    stem = unicodedata.normalize("NFC", Path(video).stem) or "caption"
    files = {
        "srt": (to_srt(cues).encode(), "application/x-subrip"),
        "vtt": (to_vtt(cues).encode(), "text/vtt"),
        "json": (json.dumps(record, ensure_ascii=False, indent=2).encode(), "application/json"),
    }
    links = "".join(
        f'<a download="{html.escape(stem)}.{end}" href="{data_link(*file)}">{end.upper()} {both("save")}</a>'
        for end, file in files.items()
    )
    return f'<div class="saves">{links}</div>'


def cue_table(cues: Sequence[Cue], *, waiting: int = 0) -> str:
    """Times and texts; under them how many are still to come."""
    rows = "".join(
        f'<tr><th scope="row">{clock(cue.start_s)} – {clock(cue.end_s)}</th><td>{html.escape(cue.text)}</td></tr>'
        for cue in cues
    )
    still = f'<p class="empty" role="status">{both("waiting", waiting)}</p>' if waiting else ""
    head = f'<tr><th scope="col">{both("time")}</th><th scope="col">{both("caption")}</th></tr>'
    korean, english = pair("timeline_tab")
    label = html.escape(f"{korean} · {english}")
    return f'<table class="cues" aria-label="{label}"><thead>{head}</thead><tbody>{rows}</tbody></table>{still}'
