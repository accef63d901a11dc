"""Captions for every clip of a data set, in a file that a killed run can go on with.

    {"id": "a", "file": "/data/a.mp4", "caption": "...", "model": "...", "revision": "...", "settings": {...}, ...}

A clip that cannot be read gets a line with `error` in place of `caption`. To caption a clip again, delete its line.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from corpus.records import Record, RecordError, cut_unfinished_line, read_rows
from modeling.caption_lines import CaptionLine, CaptionSettings, caption_videos, model_name
from modeling.captioner import checkpoint_revision
from processing.pipeline_kocap import KoCapPipeline

from .caption_files import CaptionFileError


def caption_records(
    pipe: KoCapPipeline,
    records: Sequence[Record],
    path: Path,
    settings: CaptionSettings,
    *,
    batch_size: int = 8,
    progress: Callable[[Sequence], Iterable] = iter,
) -> Iterator[CaptionLine]:
    """Append a line for every record that `path` has none for yet; a line is on disk before it is yielded.

    A last line without its end, which only a kill leaves, is cut away first. One process may write at a time.

    Args:
        batch_size: Clips per forward pass, fewer where memory does not suffice.
        progress: Wraps the records to caption, e.g. `tqdm`.
    Raises:
        RecordError: If a record is about an image; nothing is written then.
        CaptionFileError: If the file holds captions of another model or with other settings; nothing is written then.
    """
    for record in records:
        if record.medium != "video":
            raise RecordError(
                f"record {record.id!r} is about an {record.medium}, and only videos are captioned here; leave it out",
                f"레코드 {record.id!r}은(는) 영상이 아니라 이미지입니다. 이 행을 빼 주세요.",
            )
    made_by = {"model": model_name(pipe.model.name_or_path), "revision": checkpoint_revision(pipe)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    cut_unfinished_line(path)
    done = _read_done(path, {**made_by, "settings": settings.as_said(pipe)})
    missing = [record for record in records if record.id not in done]
    lines = caption_videos(pipe, [record.video for record in missing], settings, made_by, batch_size=batch_size)
    with path.open("ab") as file:
        for record, captioned in zip(progress(missing), lines, strict=True):
            file.write(json.dumps({"id": record.id, **captioned.line}, ensure_ascii=False).encode() + b"\n")
            file.flush()
            yield captioned


def _read_done(path: Path, made_by: dict[str, Any]) -> set[str]:
    """Ids that a file holds, after making sure that everything in it was made alike."""
    done = set()
    for line, row in read_rows(path):
        if isinstance(row, RecordError) or not isinstance(row, dict) or "id" not in row:
            raise CaptionFileError(
                "this is no line of generated captions; choose another folder",
                "생성한 설명이 아닌 줄이 있습니다. 다른 폴더를 사용해 주세요.",
                path,
                line,
            )
        if others := [name for name, value in made_by.items() if row.get(name) != value]:
            told = "; ".join(f"{name} {row.get(name)}, now {made_by[name]}" for name in others)
            raise CaptionFileError(
                f"it was made otherwise ({told}); choose another folder, or delete the file",
                f"다른 모델이나 설정으로 만든 설명입니다({told}). 다른 폴더를 사용하거나 이 파일을 지워 주세요.",
                path,
                line,
            )
        done.add(row["id"])
    return done


def caption_clips(
    pipe: KoCapPipeline,
    clips: Sequence,
    *,
    max_new_tokens: int = 256,
    batch_size: int = 25,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[str]:
    """Greedy captions.

    Args:
        clips: Whatever the pipeline takes as a clip: frames, paths, bytes.
        progress: Wraps the batches, e.g. `tqdm`.
    """
    options = {"do_sample": False, "max_new_tokens": max_new_tokens}
    captions = []
    for start in progress(range(0, len(clips), batch_size)):
        batch = list(clips[start : start + batch_size])
        captions += [result["generated_text"] for result in pipe(batch, batch_size=len(batch), generate_kwargs=options)]
    return captions
