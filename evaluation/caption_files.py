"""Files of captions, read and matched: what a model said beside what people wrote.

    pairs = read_pairs(Path("captions.jsonl"), Path("data/aihub/val.jsonl"))
    pairs.predictions, pairs.references  # by id

Read are .jsonl files, .json lists and folders with metadata.jsonl. A row is one of

    {"id": "a", "caption": "..."}                      in references also a list of captions
    {"file": "a.mp4", "caption": "..."}                caption.py --json; with "error" for a file it could not read
    {"id": "a", "video": "a.mp4", "messages": [...]}   a record, in any form of `corpus.records`

A row without an id goes by its video: to the reference with that video, else to the one whose id or video has that
stem. `video` starts from the file's folder, `file` from where one stands, as with caption.py. Texts and ids are brought
to NFC, so that names from macOS match.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configuration.coded_errors_kocap import Notice
from corpus.record_form import shorten
from corpus.records import CaptionFileError, RecordError, parse_row, read_rows

NAMED = 5  # ids that a message names


class CaptionNote(Notice):
    """What a reader of the scores should know about the files."""


@dataclass(frozen=True)
class CaptionRow:
    """One row of a file.

    Attributes:
        id: None where the row names only its video.
        captions: In NFC; none where the model could not caption the clip.
        category: A record's `category`, or the `place` of a generated scene.
        error: Code of what was wrong with the clip.
        is_scene: Whether it is a record of a generated scene.
    """

    line: int
    id: str | None
    captions: tuple[str, ...]
    video: Path | None = None
    category: str | None = None
    error: str | None = None
    is_scene: bool = False

    @property
    def name(self) -> str:
        return self.id or _nfc(self.video.stem)


@dataclass(frozen=True)
class CaptionPairs:
    """Predictions beside their references, in the references' order.

    Attributes:
        videos, categories: For the ids whose rows name them.
        of_scenes: Whether all references are of generated scenes, so that what they name is all there is to name.
    """

    predictions: dict[str, str]
    references: dict[str, tuple[str, ...]]
    videos: dict[str, Path] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    notes: tuple[CaptionNote, ...] = ()
    of_scenes: bool = False


def read_pairs(predictions: Path, references: Path, *, allow_missing: bool = False) -> CaptionPairs:
    """Read two files and match them by id.

    Args:
        allow_missing: Keep the ids that both files have, and note how many were left out.
    Raises:
        CaptionFileError: At the first row that is wrong, and for ids that only one of the files has.
    """
    true = _read_references(references)
    said = _read_predictions(predictions, true)
    common = [name for name in true if name in said]
    unsaid, unknown = [name for name in true if name not in said], [name for name in said if name not in true]
    if not common or ((unsaid or unknown) and not allow_missing):
        raise _missing(predictions, references, unsaid, unknown)
    captions = {name: "".join(said[name].captions) for name in common}
    notes = [_left_out(common, unsaid, unknown)] if unsaid or unknown else []
    if failed := [name for name in common if said[name].error]:
        notes.append(_not_captioned(failed, {said[name].error for name in failed}))
    return CaptionPairs(
        captions,
        {name: true[name].captions for name in common},
        {name: video for name in common if (video := true[name].video or said[name].video)},
        {name: category for name in common if (category := true[name].category or said[name].category)},
        tuple(notes),
        all(true[name].is_scene for name in common),
    )


def keep_common(systems: Sequence[CaptionPairs]) -> list[CaptionPairs]:
    """Systems on the clips that all of them captioned."""
    common = [name for name in systems[0].predictions if all(name in pairs.predictions for pairs in systems)]
    return [
        replace(
            pairs,
            predictions={name: pairs.predictions[name] for name in common},
            references={name: pairs.references[name] for name in common},
        )
        for pairs in systems
    ]


def read_caption_rows(path: Path) -> list[CaptionRow]:
    """Read every row of a file.

    Raises:
        CaptionFileError: At the first row that is wrong, and where there is none.
    """
    rows, line = [], None
    try:
        for line, value in read_rows(path):
            rows.append(_read_row(value, line, path if path.is_dir() else path.parent))
    except RecordError as error:
        raise CaptionFileError(error.reason, error.reason_ko, path, line) from None
    if not rows:
        raise CaptionFileError(
            "there are no rows; write one caption a line", "행이 없습니다. 한 줄에 설명 하나를 적어 주세요.", path
        )
    return rows


def _read_references(path: Path) -> dict[str, CaptionRow]:
    rows = read_caption_rows(path)
    for row in rows:
        if not row.captions or not all(row.captions):
            raise CaptionFileError(
                "the reference is empty; write the caption or leave the row out",
                "정답 설명이 비어 있습니다. 설명을 적거나 이 행을 빼 주세요.",
                path,
                row.line,
            )
    return _by_name(rows, lambda row: row.name, path)


def _read_predictions(path: Path, references: dict[str, CaptionRow]) -> dict[str, CaptionRow]:
    known = defaultdict(set)  # reference ids by everything a row without an id may know them by
    for name, reference in references.items():
        video = reference.video
        for alias in (name, *((_nfc(str(video)), _nfc(video.stem)) if video else ())):
            known[alias].add(name)

    def find_name(row: CaptionRow) -> str:
        matches = {row.name} if row.id else known.get(_nfc(str(row.video))) or known.get(row.name) or {row.name}
        if len(matches) > 1:
            raise CaptionFileError(
                f"{row.video} could be any of {few(sorted(matches))}; give the row an id",
                f"{row.video}이(가) 어느 것인지 알 수 없습니다: {few(sorted(matches))}. 행에 id를 적어 주세요.",
                path,
                row.line,
            )
        return next(iter(matches))

    rows = read_caption_rows(path)
    for row in rows:
        if len(row.captions) > 1:
            raise CaptionFileError(
                f"there are {len(row.captions)} captions; a prediction is one",
                f"설명이 {len(row.captions)}개 있습니다. 예측은 하나여야 합니다.",
                path,
                row.line,
            )
    return _by_name(rows, find_name, path)


def _by_name(rows: Sequence[CaptionRow], find_name: Callable[[CaptionRow], str], path: Path) -> dict[str, CaptionRow]:
    found: dict[str, CaptionRow] = {}
    for row in rows:
        name = find_name(row)
        if name in found:
            raise CaptionFileError(
                f"id {shorten(name)} is already on line {found[name].line}; keep one of them",
                f"id {shorten(name)}이(가) {found[name].line}번째 줄에도 있습니다. 하나만 남겨 주세요.",
                path,
                row.line,
            )
        found[name] = row
    return found


def _read_row(value: Any, line: int, folder: Path) -> CaptionRow:
    if isinstance(value, RecordError):
        raise value
    if not isinstance(value, dict) or not {"caption", "error"} & value.keys():
        record = parse_row(value)  # says what is wrong with a row that is no record either
        value = {**record.metadata, "id": record.id, "video": record.video, "caption": record.caption}
    name = str(value["id"]) if type(value.get("id")) is int else value.get("id")
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise RecordError(
            f"id is {shorten(name)}; write a text", f"id 값이 {shorten(name)}입니다. 문자열을 적어 주세요."
        )
    video = next(
        (
            (start / path).absolute()
            for key, start in (("video", folder), ("file_name", folder), ("file", Path()))
            if isinstance(path := value.get(key), str) and path.strip()
        ),
        None,
    )
    if name is None and video is None:
        raise RecordError(
            'the row has neither id nor file; write "id": "..."',
            '행에 id도 file도 없습니다. "id": "..."를 적어 주세요.',
        )
    error, category = value.get("error"), value.get("category") or value.get("place")
    return CaptionRow(
        line,
        _nfc(name) if name else None,
        _read_captions(value["caption"]) if "caption" in value else (),
        video,
        _nfc(category).strip() or None if isinstance(category, str) else None,
        str(error.get("code")) if isinstance(error, dict) else None,
        value.get("source") == "scenes",
    )


def _read_captions(value: Any) -> tuple[str, ...]:
    captions = value if isinstance(value, list) else [value]
    if not all(isinstance(caption, str) for caption in captions):
        raise RecordError(
            f"caption is {shorten(value)}; write a text, or in references a list of texts",
            f"caption 값이 {shorten(value)}입니다. 문자열을, 정답이면 문자열의 목록도 적을 수 있습니다.",
        )
    return tuple(_nfc(caption).strip() for caption in captions)


def _missing(predictions: Path, references: Path, unsaid: list[str], unknown: list[str]) -> CaptionFileError:
    if unsaid:
        return CaptionFileError(
            f"{len(unsaid)} ids of {references} are missing: {few(unsaid)}; add them, or pass --allow-missing",
            f"{references}에 있는 id {len(unsaid)}개가 없습니다: {few(unsaid)}."
            " 채워 넣거나 --allow-missing을 사용해 주세요.",
            predictions,
        )
    return CaptionFileError(
        f"{len(unknown)} ids of {predictions} have no reference: {few(unknown)}; add them, or pass --allow-missing",
        f"{predictions}에 있는 id {len(unknown)}개의 정답이 없습니다: {few(unknown)}."
        " 채워 넣거나 --allow-missing을 사용해 주세요.",
        references,
    )


def _left_out(common: list[str], unsaid: list[str], unknown: list[str]) -> CaptionNote:
    return CaptionNote(
        "W_LEFT_OUT",
        f"only {len(common)} clips are scored: {len(unsaid)} references have no prediction,"
        f" {len(unknown)} predictions no reference.",
        f"{len(common)}개만 채점했습니다."
        f" 예측이 없는 정답 {len(unsaid)}개와 정답이 없는 예측 {len(unknown)}개를 뺐습니다.",
    )


def _not_captioned(ids: list[str], codes: set) -> CaptionNote:
    why = ", ".join(sorted(codes))
    return CaptionNote(
        "W_NOT_CAPTIONED",
        f"{len(ids)} clips could not be captioned ({why}) and count as empty captions: {few(ids)}.",
        f"설명을 만들지 못한 영상 {len(ids)}개({why})는 빈 설명으로 채점했습니다: {few(ids)}.",
    )


def few(ids: Sequence[str]) -> str:
    """The first ids, as a message names them."""
    return ", ".join(ids[:NAMED]) + (f", ... (+{len(ids) - NAMED})" if len(ids) > NAMED else "")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
