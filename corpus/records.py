"""Files of records: read, streamed, checked, and written so that a killed run can go on.

    for record in read_records(Path("train.jsonl")):
        print(record.path, record.caption)

What a record is: `corpus/record_form.py`.
"""

import codecs
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from configuration.disk_writing import append_line, writing

from .record_form import CAPTION_PROMPT, MEDIA_KO, Record, RecordError, caption_record, parse_row, shorten

__all__ = [
    "CAPTION_PROMPT",
    "CaptionFileError",
    "Record",
    "RecordError",
    "RecordWriter",
    "caption_record",
    "check_records",
    "cut_unfinished_line",
    "load_records",
    "parse_row",
    "read_records",
    "read_rows",
]
_SPACE = re.compile(r"\s*")


class CaptionFileError(RecordError):
    """A file of captions that cannot be used; says where and why."""

    code = "E_CAPTIONS"


def read_records(path: Path, *, check_videos: bool = False) -> Iterator[Record]:
    """Read records one by one: a .jsonl file, a .json file with a list, or a folder with metadata.jsonl (VideoFolder).

    Paths of videos and images come back absolute, taken relative to the file's folder. A .jsonl file is read line by
    line; a .json file is held in memory.

    Raises:
        RecordError: At the first problem; also for an id that was there before, and where `check_videos` for a video
            or image that is not there.
    """
    for outcome in _read_outcomes(path, check_videos):
        if isinstance(outcome, RecordError):
            raise outcome
        yield outcome


def check_records(path: Path, *, check_videos: bool = False) -> list[RecordError]:
    """Find what `read_records` would raise for every row, not only for the first bad one; one problem per row."""
    return [outcome for outcome in _read_outcomes(path, check_videos) if isinstance(outcome, RecordError)]


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Read JSON values one by one from the files `read_records` reads, whatever they say: line number and value.

    A row that is not JSON gives a RecordError in its place, without a path and a line.

    Raises:
        RecordError: If there is no such file, or it is none of these.
    """
    file = _records_file(Path(path))
    yield from _read_list(file) if file.suffix == ".json" else _read_lines(file)


def load_records(path: Path, *, streaming: bool = False):
    """Open records as a `datasets.Dataset`, or as an `IterableDataset` that reads no further than it is asked.

    Columns: id, video and image (one of them ""), messages (list of role and content), and metadata as a JSON text,
    because rows differ in it.

    Raises:
        RecordError: At the first bad row; when streaming, once it is reached.
    """
    from datasets import Dataset, Features, IterableDataset, List, Value  # slow to import; writing records goes without
    from datasets.exceptions import DatasetGenerationError

    text = Value("string")
    turns = List({"role": text, "content": text})
    columns = {"id": text, "video": text, "image": text, "messages": turns, "metadata": text}
    form, file = Features(columns), _records_file(Path(path)).absolute()
    state = file.stat()  # part of the cache's key: a file that changed is read again
    source = {"path": str(file), "version": f"{state.st_mtime_ns} {state.st_size}"}
    if streaming:
        return IterableDataset.from_generator(_generate_columns, features=form, gen_kwargs=source)
    try:
        return Dataset.from_generator(_generate_columns, features=form, gen_kwargs=source)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, RecordError):
            raise error.__cause__ from None
        raise


class RecordWriter:
    """Appends records to a .jsonl file, each at once, and goes on where a killed run stopped.

    A last line without its end, which only a kill leaves, is cut away on opening. One process may write at a time.

    Attributes:
        written: Ids that the file holds.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.written: set[str] = set()

    def __enter__(self) -> "RecordWriter":
        with writing(self.path, "records"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            cut_unfinished_line(self.path)
        self.written = {record.id for record in read_records(self.path)}
        self._file = self.path.open("ab")
        return self

    def __exit__(self, *_) -> None:
        with self._file, writing(self.path, "records"):
            os.fsync(self._file.fileno())

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            RecordError: If the file already has the id.
            DiskError: If it does not fit.
        """
        if record.id in self.written:
            raise RecordError(*_id_taken(record.id, "already in the file"), self.path)
        line = json.dumps(record.row(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        append_line(self._file, line, self.path, forced=False)
        self.written.add(record.id)


def cut_unfinished_line(path: Path) -> None:
    """Cut away a last line without its end, which only a killed run leaves in a file that is appended to by lines."""
    with path.open("rb+") as file:
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


def _read_outcomes(path: Path, check_videos: bool) -> Iterator[Record | RecordError]:
    """Every row's record, or what is wrong with it."""
    try:
        file = _records_file(Path(path))
    except RecordError as error:
        yield error
        return
    lines: dict[str, int] = {}
    for line, value in read_rows(file):
        try:
            if isinstance(value, RecordError):
                raise value
            record = parse_row(value)
            record = replace(record, **{record.medium: str((file.parent / record.path).absolute())})
            if record.id in lines:
                raise RecordError(*_id_taken(record.id, f"already on line {lines[record.id]}"))
            lines[record.id] = line
            if check_videos and not Path(record.path).is_file():
                raise RecordError(
                    f"there is no {record.medium} {record.path}; paths are relative to the folder of the records file",
                    f"{MEDIA_KO[record.medium]} {record.path}이(가) 없습니다."
                    " 경로는 이 파일이 있는 폴더를 기준으로 적어 주세요.",
                )
        except RecordError as error:
            yield RecordError(error.reason, error.reason_ko, file, line)
        else:
            yield record


def _records_file(path: Path) -> Path:
    file = path / "metadata.jsonl" if path.is_dir() else path
    if file.suffix not in (".jsonl", ".json"):
        raise RecordError(
            "records are read from .jsonl files, .json lists and folders with metadata.jsonl; convert it",
            ".jsonl 파일, 목록이 든 .json 파일, metadata.jsonl이 있는 폴더만 읽습니다. 형식을 바꿔 주세요.",
            path,
        )
    if not file.is_file():
        raise RecordError("there is no such file; check the path", "파일이 없습니다. 경로를 확인해 주세요.", file)
    return file


def _read_lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers and values of a .jsonl file; a line that does not parse gives a RecordError in its place."""
    with file.open("rb") as lines:
        for line, raw in enumerate(lines, 1):
            if line == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if raw.strip():
                yield line, _parse_json(raw)


def _parse_json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        return _unreadable(error)


def _read_list(file: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers and items of a .json list; after an item that does not parse there is no going on."""
    raw = file.read_bytes()
    line, counted = 1, 0
    try:
        text = raw.decode("utf-8-sig")
        at = _skip_space(text, 0)
        separator = "["
        while text.startswith(separator, at):
            start = _skip_space(text, at + 1)
            line, counted = line + text.count("\n", counted, start), start
            if separator == "[" and text.startswith("]", start):
                return
            value, at = json.JSONDecoder().raw_decode(text, start)
            yield line, value
            at, separator = _skip_space(text, at), ","
            if text.startswith("]", at):
                return
        line += text.count("\n", counted, at)
        raise ValueError(f"{separator!r} is missing")
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else line
        yield line, _unreadable(error)


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _unreadable(error: Exception) -> RecordError:
    if isinstance(error, UnicodeDecodeError):
        return RecordError("it is not UTF-8; save it as UTF-8", "UTF-8이 아닙니다. UTF-8로 다시 저장해 주세요.")
    return RecordError(
        f"it is not JSON ({error}); .jsonl holds one object per line, .json one list of objects",
        f"JSON이 아닙니다({error}). .jsonl에는 한 줄에 객체 하나를, .json에는 객체의 목록을 적어 주세요.",
    )


def _generate_columns(path: str, version: str) -> Iterator[dict[str, Any]]:
    for record in read_records(Path(path)):
        metadata = json.dumps(record.metadata, ensure_ascii=False)
        media = {"video": record.video, "image": record.image}
        yield {"id": record.id, **media, "messages": list(record.messages), "metadata": metadata}


def _id_taken(record_id: str, where: str) -> tuple[str, str]:
    return (
        f"id {shorten(record_id)} is {where}; give every row its own id",
        f"id {shorten(record_id)}이(가) 이미 있습니다. 행마다 다른 id를 적어 주세요.",
    )
