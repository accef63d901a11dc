"""A run over many clips into one file, which a killed run can go on with: nothing twice, nothing missing.

A line is on the disk itself before the next one is made. What a kill, a power cut or a full disk leaves of a last line
is cut away. To caption a clip again, delete its line.
"""

import contextlib
import errno
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from configuration.disk_writing import append_line, writing
from corpus.clip_files import FileSet
from corpus.records import CaptionFileError, read_rows

from .caption_lines import CaptionLine
from .clip_reading import Clip

try:  # Windows has no such locks
    import fcntl
except ImportError:
    fcntl: Any = None

BEGINNINGS = (b'{"file": "', b'{"id": "')  # of our lines


def caption_missing(
    clips: Sequence[Clip],
    path: Path,
    made_by: dict[str, Any],
    caption: Callable[[Sequence[Clip]], Iterable[CaptionLine]],
    *,
    progress: Callable[..., Iterable[CaptionLine]] = lambda lines, **_: lines,
) -> Iterator[CaptionLine]:
    """Append a line for every clip that `path` has none for yet; a line is on disk before it is yielded.

    Args:
        clips: Each one once. One without an id is known by its file, whatever that is called.
        made_by: `model`, `revision` and `settings`, which every line must have alike.
        caption: Makes the lines of clips, in any order.
        progress: Wraps the lines, with `total` and `initial` as `tqdm` takes them.
    Raises:
        CaptionFileError: If the file holds other things, captions of another model or with other settings, or if
            another run is writing to it; nothing is changed then.
    """
    with CaptionFile(path, made_by, with_ids=any(clip.id is not None for clip in clips)) as file:
        missing = [clip for clip in clips if not file.has(clip)]
        done = len(clips) - len(missing)
        for captioned in progress(caption(missing), total=len(clips), initial=done):
            file.append(captioned.line)
            yield captioned


def check_name(path: Path) -> None:
    """Refuse files that captions are not written to.

    Raises:
        CaptionFileError: If the name does not end with `.jsonl`.
    """
    if path.suffix != ".jsonl":
        raise CaptionFileError(
            "captions are written to .jsonl files; choose such a name",
            "설명은 .jsonl 파일에 씁니다. .jsonl로 끝나는 이름을 주세요.",
            path,
        )


def count_lines(path: Path) -> tuple[int, dict[str, list[str]]]:
    """How many captions a file holds, and the files that failed, by code."""
    num_captions, failures = 0, defaultdict(list)
    for _, row in read_rows(path):
        if "error" in row:
            failures[row["error"]["code"]].append(row["file"])
        else:
            num_captions += 1
    return num_captions, dict(failures)


class CaptionFile:
    """A file of lines that one process at a time appends to.

    Args:
        path: Its name ends with `.jsonl`; made where it is not there.
        made_by: See `caption_missing`.
        with_ids: Whether its lines have ids.
    Raises:
        CaptionFileError: See `caption_missing`.
    """

    def __init__(self, path: Path, made_by: dict[str, Any], *, with_ids: bool = False):
        self.path, self.made_by, self.with_ids = Path(path), made_by, with_ids
        check_name(self.path)
        self._ids: set[str] = set()
        self._files = FileSet()

    def __enter__(self) -> "CaptionFile":
        with writing(self.path, "captions"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab+")
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def has(self, clip: Clip) -> bool:
        """Whether there is a line about a clip."""
        return clip.path in self._files if clip.id is None else clip.id in self._ids

    def append(self, line: dict[str, Any]) -> None:
        """Write a line to the disk itself: neither a kill nor a power cut can take it away.

        Raises:
            DiskError: If it does not fit; the next run cuts away what is there of it.
        """
        # Names that are not UTF-8 have surrogates; as escapes they come back as they were.
        raw = json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        append_line(self._file, raw, self.path, forced=True)

    def _lock(self) -> None:
        """Keep other runs out until this process ends, however it ends."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._error(
                    "another run is writing to it; wait for its end, or choose another file",
                    "다른 실행이 이 파일에 쓰고 있습니다. 끝나기를 기다리거나 다른 파일을 주세요.",
                ) from None  # other errors: a file system without locks

    def _read(self) -> None:
        """Take in what is there; only when all of it is ours is an unfinished line cut or ended."""
        self._file.seek(0)
        end, raw, row = 0, b"\n", None
        for number, raw in enumerate(self._file, 1):
            row = _parse(raw)
            if row is not None or raw.endswith(b"\n"):
                end += len(raw)
                if raw.strip():
                    self._take_in(number, row)
            elif not any(raw.startswith(start) or start.startswith(raw) for start in BEGINNINGS):
                raise self._not_ours(number)
        self._file.truncate(end)
        if row is not None and not raw.endswith(b"\n"):
            append_line(self._file, b"\n", self.path, forced=True)

    def _take_in(self, number: int, row: Any) -> None:
        if not isinstance(row, dict) or not {"caption", "error"} & row.keys():
            raise self._not_ours(number)
        if not isinstance(row.get("file"), str) or isinstance(row.get("id"), str) != self.with_ids:
            raise self._not_ours(number)
        if others := list(_differences(self.made_by, row)):
            told = "; ".join(others)
            raise self._error(
                f"it was made otherwise ({told}); write to another place, or delete the file",
                f"다른 모델이나 설정으로 만든 설명입니다({told}). 다른 곳에 쓰거나 이 파일을 지워 주세요.",
                number,
            )
        if self.with_ids:
            self._ids.add(row["id"])
        else:
            self._files.add(row["file"])

    def _not_ours(self, number: int) -> CaptionFileError:
        return self._error(
            "this is no line of generated captions; write to another place",
            "생성한 설명이 아닌 줄이 있습니다. 다른 곳에 써 주세요.",
            number,
        )

    def _error(self, reason: str, reason_ko: str, line: int | None = None) -> CaptionFileError:
        return CaptionFileError(reason, reason_ko, self.path, line)


def _parse(raw: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(raw.decode("utf-8-sig"))


def _differences(made_by: dict[str, Any], row: dict[str, Any]) -> Iterator[str]:
    """What differs, setting by setting."""
    for name, now in made_by.items():
        before = row.get(name)
        if isinstance(now, dict) and isinstance(before, dict):
            yield from _differences({key: now.get(key) for key in now | before}, before)
        elif before != now:
            yield f"{name} {before}, now {now}"
