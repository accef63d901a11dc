"""AI-Hub 71849 as it is downloaded, to records: train.jsonl, val.jsonl, rejected.jsonl and report.md."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from configuration.disk_writing import finish_file, partial_path, writing
from processing.video_threads_kocap import usable_cores

from .aihub_archives import extract, find_archives, open_archive
from .aihub_errors import LabelError, NoCaptionKeyError, NoClipsError, Rejection, reject
from .aihub_labels import Label, read_label
from .aihub_pairs import SourceFile, list_files, pair_files, source_files, split_off_specials
from .clip_probing import ClipFacts, probe_clips
from .data_report import ATTRIBUTION, TOKENS_PER_CHARACTER, UNKNOWN, ReportData, write_rejections, write_report
from .near_duplicates import hash_array, near_duplicates
from .records import RecordError, RecordWriter, caption_record
from .splits import given_split, group_clips, leaking, split_groups

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AihubSettings:
    """How to convert a download.

    Attributes:
        source: Folder as aihubshell leaves it: zips, parts of zips, or what was in them.
        output: Folder for the records and everything extracted; a second run continues there.
        caption_key: Dotted path of the caption in a label, where it is none of the usual.
        workers: Processes that probe clips; 0 takes one per core, 1 probes in this process.
        val_share: Share of val among clips for which the download names no split.
        link: Link videos of `source` into `output` rather than copy them.
        tokenizer: Folder with Qwen3's tokenizer.json; without it tokens are estimated.
    """

    source: Path
    output: Path
    caption_key: str | None = None
    workers: int = 0
    val_share: float = 0.1
    seed: int = 0
    link: bool = True
    tokenizer: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "source", Path(os.path.abspath(self.source)))
        object.__setattr__(self, "output", Path(os.path.abspath(self.output)))
        if not self.source.is_dir():
            raise ValueError(f"source is {self.source}; it must be a folder. Check the path.")
        if self.output == self.source:
            raise ValueError(f"output is the source folder {self.source}; choose another one.")
        if self.caption_key is not None and not self.caption_key.strip():
            raise ValueError("caption_key is empty; give a dotted path, or None.")
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be >= 0.")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share is {self.val_share}; it must be >= 0 and < 1.")
        if self.tokenizer is not None and not Path(self.tokenizer, "tokenizer.json").is_file():
            raise ValueError(f"tokenizer is {self.tokenizer}; it must be a folder with tokenizer.json.")


@dataclass(frozen=True)
class ConversionResult:
    """What was written.

    Attributes:
        counts: labels, videos, pairs, train, val, rejected, near_duplicates, shared_locations.
        report: The page for people.
    """

    counts: dict[str, int]
    report: Path


@dataclass(frozen=True)
class _Clip:
    """A label, its video and what is known of both."""

    video: SourceFile
    label_name: str
    label: Label
    facts: ClipFacts
    split: str = ""

    @property
    def origin(self) -> str | None:
        """What clips of one split may not share with the other."""
        for name in ("source", "location"):
            if name in self.label.metadata:
                return f"{name}:{self.label.metadata[name]}"
        return None


def convert(settings: AihubSettings) -> ConversionResult:
    """Convert a download into records.

    Extracted files and probed clips are kept, so a run that was interrupted continues. The records, the list of
    rejected files and the report appear when they are complete.

    Raises:
        AihubError: If archives are incomplete, no label has a caption, or nothing is left.
    """
    begin = time.perf_counter()
    output = settings.output
    with writing(output, "records"):
        output.mkdir(parents=True, exist_ok=True)
    files, rejections = _collect(settings)
    pairs, unpaired = pair_files(files)
    labels, unread = _read_labels(pairs, settings.caption_key)
    probed, unreadable, note = _probe(labels, settings)
    rejections += unpaired + unread + unreadable
    clips, near_pairs = _assign_splits(probed, settings)
    clips, duplicates = _drop_leaks(clips, near_pairs)
    rejections += duplicates
    clips, unwritable = _write_records(clips, settings)
    rejections = sorted(rejections + unwritable, key=lambda rejection: (rejection.file, rejection.code))
    write_rejections(output / "rejected.jsonl", rejections)
    if not clips:
        by_code = ", ".join(f"{code} {count}" for code, count in Counter(row.code for row in rejections).most_common())
        raise NoClipsError(
            f"{settings.source} gives no clip with a caption ({by_code or 'no labels and no videos'})."
            f" See {output / 'rejected.jsonl'}."
        )
    is_label = [file.path.suffix.lower() == ".json" for file in files]
    places = {
        split: {clip.origin for clip in clips if clip.split == split and clip.origin} for split in ("train", "val")
    }
    counts = {
        "labels": sum(is_label),
        "videos": len(files) - sum(is_label),
        "pairs": len(pairs),
        "train": sum(clip.split == "train" for clip in clips),
        "val": sum(clip.split == "val" for clip in clips),
        "rejected": len(rejections),
        "near_duplicates": len(near_pairs),
        "shared_locations": len(places["train"] & places["val"]),
    }
    notes = [note, f"변환에 걸린 시간: {time.perf_counter() - begin:.1f}초."]
    if not counts["val"]:
        notes.append("**검증용 영상이 없습니다.** 나눌 수 있는 묶음(출처, 장소)이 하나뿐이거나 val_share가 0입니다.")
    report = write_report(output, _report_data(clips, counts, rejections, notes, settings.tokenizer))
    logger.info("%d train and %d val records in %s. %s", counts["train"], counts["val"], output, ATTRIBUTION)
    return ConversionResult(counts, report)


def _collect(settings: AihubSettings) -> tuple[list[SourceFile], list[Rejection]]:
    """Extract what is zipped and list labels and videos, zipped or not."""
    paths, rejections = split_off_specials(settings.source, list_files(settings.source, without=settings.output))
    extracted = settings.output / "extracted"
    files = {file.name: file for file in source_files(settings.source, paths)}
    archives = find_archives(settings.source, paths)
    for archive in archives:
        with open_archive(archive):
            pass  # find what is cut short before hours of extracting
    for archive in archives:
        folder = extracted / archive.name[: -len(".zip")]
        logger.info("extracting %s", archive.name)
        rejections += extract(archive, folder)
        for file in source_files(extracted, list_files(folder, without=settings.output), extracted=True):
            files.setdefault(file.name, file)  # where somebody unzipped it beside the zip, that is taken
    return list(files.values()), rejections


def _read_labels(
    pairs: list[tuple[SourceFile, SourceFile]], caption_key: str | None
) -> tuple[list[tuple[SourceFile, SourceFile, Label]], list[Rejection]]:
    """Read the labels of all pairs.

    Raises:
        NoCaptionKeyError: If no label has a caption and one lacks the key for it.
    """
    read, rejections, keyless = [], [], None
    for label, video in pairs:
        try:
            read.append((label, video, read_label(label.path, caption_key)))
        except LabelError as error:
            keyless = keyless or (error if isinstance(error, NoCaptionKeyError) else None)
            rejections.append(reject(label.name, error.code, error.args[0], error.line))
        except OSError as error:
            rejections.append(reject(label.name, "E_LABEL", f"it cannot be opened: {error.strerror}."))
    if keyless and not read:
        raise NoCaptionKeyError(f"in {len(rejections)} of {len(pairs)} labels {keyless.args[0]}")
    return read, rejections


def _probe(
    labels: list[tuple[SourceFile, SourceFile, Label]], settings: AihubSettings
) -> tuple[list[_Clip], list[Rejection], str]:
    """Probe every clip; also a Korean sentence on how fast that was."""
    by_path = {str(video.path): (label, video, content) for label, video, content in labels}
    workers = settings.workers or usable_cores()
    clips, rejections, fresh = [], [], 0
    begin = time.perf_counter()
    results = probe_clips(list(by_path), settings.output / "probes.jsonl", workers=workers)
    for facts, is_fresh in tqdm(results, total=len(by_path), desc="probing", unit="clip", disable=None):
        label, video, content = by_path[facts.path]
        fresh += is_fresh
        if facts.error:
            code, message, message_ko = facts.error
            rejections.append(Rejection(video.name, code, message, message_ko))
        else:
            clips.append(_Clip(video, label.name, content, facts))
    seconds = time.perf_counter() - begin
    rate = fresh / seconds if fresh else 0.0
    note = (
        f"영상 검사: 새로 {fresh}개({workers}개 프로세스, 초당 {rate:.1f}개, 프로세스마다 {rate / workers:.1f}개),"
        f" 이전 결과 사용 {len(by_path) - fresh}개."
    )
    return sorted(clips, key=lambda clip: clip.video.name), rejections, note


def _assign_splits(clips: list[_Clip], settings: AihubSettings) -> tuple[list[_Clip], np.ndarray]:
    """Keep the splits that the download names and divide the rest by source or place; also nearly equal pairs."""
    if not clips:
        return [], np.empty((0, 2), np.int64)
    colours = np.array([clip.facts.colours for clip in clips])
    pairs = near_duplicates(hash_array([clip.facts.hashes for clip in clips]), colours)
    given = [_named_split(clip) for clip in clips]
    groups = group_clips(len(clips), [clip.origin for clip in clips], pairs)
    free = [i for i, split in enumerate(given) if split is None]
    drawn = split_groups([groups[i] for i in free], val_share=settings.val_share, seed=settings.seed)
    splits = dict(zip(free, drawn))
    return [replace(clip, split=given[i] or splits[i]) for i, clip in enumerate(clips)], pairs


def _named_split(clip: _Clip) -> str | None:
    """val where either the label's or the video's folder says so: nothing of val may be trained on."""
    named = {given_split(clip.label_name), given_split(clip.video.name)}
    return "val" if "val" in named else "train" if "train" in named else None


def _drop_leaks(clips: list[_Clip], pairs: np.ndarray) -> tuple[list[_Clip], list[Rejection]]:
    leaks = leaking([clip.split for clip in clips], pairs)
    rejections = [
        reject(clips[i].video.name, "E_DUPLICATE", f"it is nearly equal to {clips[j].video.name} in val")
        for i, j in leaks.items()
    ]
    return [clip for i, clip in enumerate(clips) if i not in leaks], rejections


def _write_records(clips: list[_Clip], settings: AihubSettings) -> tuple[list[_Clip], list[Rejection]]:
    """Write train.jsonl and val.jsonl under other names first; returns what was written, and what could not be."""
    written, rejections = [], []
    partial = {split: settings.output / f"{split}.partial.jsonl" for split in ("train", "val")}
    for path in partial.values():
        path.unlink(missing_ok=True)
    with RecordWriter(partial["train"]) as train, RecordWriter(partial["val"]) as val:
        for clip in clips:
            try:
                (train if clip.split == "train" else val).write(_record(clip, settings))
            except RecordError as error:
                rejections.append(reject(clip.video.name, "E_RECORD", str(error)))
            else:
                written.append(clip)
    if written:
        for split, path in partial.items():
            path.replace(settings.output / f"{split}.jsonl")
    return written, rejections


def _record(clip: _Clip, settings: AihubSettings):
    facts = clip.facts
    return caption_record(
        PurePosixPath(clip.video.name).with_suffix("").as_posix(),
        _place_video(clip.video, settings).relative_to(settings.output).as_posix(),
        clip.label.caption,
        **clip.label.metadata,
        duration_s=facts.duration_s,
        width=facts.width,
        height=facts.height,
        fps=facts.fps,
        attribution=ATTRIBUTION,
    )


def _place_video(video: SourceFile, settings: AihubSettings) -> Path:
    """Where the record finds the video: where it was extracted, or linked or copied under `videos`."""
    if video.extracted:
        return video.path
    place = settings.output / "videos" / video.name
    with writing(place.parent, video.name):
        place.parent.mkdir(parents=True, exist_ok=True)
        if settings.link:
            if not (place.is_symlink() and place.readlink() == video.path):
                _replace(place, lambda partial: partial.symlink_to(video.path))
        elif place.is_symlink() or not place.is_file() or place.stat().st_size != video.path.stat().st_size:
            _replace(place, lambda partial: shutil.copyfile(video.path, partial))
    return place


def _replace(place: Path, make: Callable[[Path], object]) -> None:
    partial = partial_path(place)
    partial.unlink(missing_ok=True)
    make(partial)
    partial.replace(place) if partial.is_symlink() else finish_file(partial, place)


def _report_data(
    clips: list[_Clip], counts: dict[str, int], rejections: list[Rejection], notes: list[str], tokenizer: str | None
) -> ReportData:
    captions = [clip.label.caption for clip in clips]
    return ReportData(
        counts=counts,
        durations_s=[clip.facts.duration_s for clip in clips],
        characters=[len(caption) for caption in captions],
        tokens=_count_tokens(captions, tokenizer),
        tokens_exact=tokenizer is not None,
        categories=[clip.label.metadata.get("category", UNKNOWN) for clip in clips],
        sizes=[f"{clip.facts.width}x{clip.facts.height}" for clip in clips],
        changes=sum((clip.label.changes for clip in clips), Counter()),
        caption_keys=Counter(clip.label.key for clip in clips),
        rejections=rejections,
        notes=notes,
    )


def _count_tokens(captions: list[str], tokenizer: str | None) -> list[float]:
    if tokenizer is None:
        return [len(caption) * TOKENS_PER_CHARACTER for caption in captions]
    from tokenizers import Tokenizer  # only needed for exact counts

    encodings = Tokenizer.from_file(str(Path(tokenizer, "tokenizer.json"))).encode_batch(captions)
    return [len(encoding.ids) for encoding in encodings]
