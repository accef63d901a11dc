"""Captions as subtitle files beside their videos, in names that players find: `clip.ko.srt` for `clip.mp4`.

A file that is there already is left as it is: it may be somebody's own.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from configuration.disk_writing import DiskError
from corpus.report_pages import write_whole
from processing.video_errors_kocap import VideoWarning

from .subtitles import split_sentences, spread_sentences, to_srt, to_vtt


class SubtitleKind(StrEnum):
    """Formats of subtitles, as their files end."""

    SRT = "srt"
    VTT = "vtt"


WRITERS = {SubtitleKind.SRT: to_srt, SubtitleKind.VTT: to_vtt}


class SubtitleFiles:
    """The subtitles of a run.

    Args:
        videos: All of the run's. Where two differ only in their ending, the subtitles keep it: `clip.webm.ko.srt`.
    """

    def __init__(self, kind: SubtitleKind, videos: Sequence[str]):
        self.kind = kind
        self._stems = Counter(map(_stem, videos))
        self._left = set(videos)

    def path_of(self, video: str) -> Path:
        """The subtitle file of a video."""
        name = video if self._stems[_stem(video)] > 1 else os.path.splitext(video)[0]
        return Path(f"{name}.ko.{self.kind}")

    def write(self, line: dict[str, Any]) -> VideoWarning | None:
        """Write the subtitles of a new line; returns why there are none of its caption now."""
        self._left.discard(line["file"])
        if not line.get("caption"):
            return None
        path = self.path_of(line["file"])
        if os.path.exists(path):  # Path.exists raises where a name is too long
            return VideoWarning(
                "W_SUBTITLES_KEPT",
                f"{path} was there already and is left as it is; delete it to have it written again.",
                f"자막 파일 {path.name}이(가) 이미 있어 그대로 두었습니다. 다시 쓰려면 지워 주세요.",
            )
        cues = spread_sentences(split_sentences(line["caption"]), 0.0, line["duration_s"])
        try:
            write_whole(path, WRITERS[self.kind](cues).encode())
        except DiskError as error:
            return VideoWarning(
                "E_SUBTITLES",
                f"{path} cannot be written ({error.cause}); check the folder's permissions and run it again.",
                f"자막 파일을 쓸 수 없습니다({error.cause}): {path.name}. 폴더의 권한을 확인하고 다시 실행해 주세요.",
                severity="error",
            )
        return None

    def write_rest(self, lines: Iterable[dict[str, Any]]) -> Iterator[VideoWarning]:
        """Write what earlier runs have left out for the run's videos; see `write`."""
        for line in lines:
            missing = line["file"] in self._left and not os.path.exists(self.path_of(line["file"]))
            if missing and (problem := self.write(line)):
                yield problem


def _stem(video: str) -> str:
    return unicodedata.normalize("NFC", os.path.splitext(video)[0]).casefold()
