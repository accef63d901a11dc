"""Scores from models on disk, put beside the others: BERTScore against the references, SigLIP2 against the videos."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from processing.frame_sampling_kocap import Sampling
from processing.video_errors_kocap import VideoError
from processing.video_reading_kocap import read_frames

from .caption_files import CaptionNote, CaptionPairs, few
from .embedding_metrics import VideoTextSimilarity, bert_score, embedding_score, similarities
from .floors import derangements
from .scoring import Score, ScoreError, ScoreSheet

FRAMES = 8


def add_neural_scores(
    sheets: Sequence[ScoreSheet],
    systems: Sequence[CaptionPairs],
    *,
    bertscore: Path | None = None,
    siglip: Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[list[ScoreSheet], list[CaptionNote]]:
    """Add `bertscore` and `siglip`, each where a model's folder is given, to the sheets of systems.

    Args:
        sheets, systems: All on the same clips and references; what these need is computed once.
        progress: Wraps the ids while videos are read, e.g. `tqdm`.

    Returns:
        The sheets, and a note about videos that could not be read.

    Raises:
        ScoreError: If a model or a package is missing, or there is no video to look at.
    """
    scores: list[list[Score]] = []
    notes: list[CaptionNote] = []
    options = {"resamples": resamples, "seed": seed}
    if bertscore:
        scores.append(_bertscores(sheets[0], systems, bertscore, options))
    if siglip:
        similarity = VideoTextSimilarity(siglip)
        videos, notes = _embed_videos(sheets[0].ids, systems, similarity, progress)
        scores.append(_siglips(sheets[0], systems, similarity, videos, options))
    added = [
        replace(sheet, scores=sheet.scores | {score.name: score for score in own})
        for sheet, *own in zip(sheets, *scores, strict=True)
    ]
    return added, notes


def _bertscores(
    sheet: ScoreSheet, systems: Sequence[CaptionPairs], model: Path, options: dict[str, int]
) -> list[Score]:
    written = [systems[0].references[name] for name in sheet.ids]
    orders = derangements(len(written), seed=options["seed"], shuffles=1)
    said = [[pairs.predictions[name] for name in sheet.ids] for pairs in systems]
    moved = [[captions[index] for index in order] for captions in said for order in orders]
    rows = [*said, *moved, [sheet.constant_caption] * len(written)]
    table = bert_score([caption for row in rows for caption in row], written * len(rows), model)
    table = table.reshape(len(rows), -1)
    constant = table[-1, _written_for_others(sheet.constant_caption, written)].mean()
    shuffled = table[len(said) : -1].mean(axis=1).tolist() or [None] * len(said)
    counts = [len(clip) for clip in written]
    count = "-".join(str(number) for number in sorted({min(counts), max(counts)}))
    alike = f"model:{model.name}|layer:last|idf:no|rescale:no|bert-score:{version('bert-score')}|refs:{count}"
    signature = f"bertscore|f1|{alike}|{_resampling(options)}"
    return [
        embedding_score(per_clip, signature, constant=float(constant), shuffled=floor, **options)
        for per_clip, floor in zip(table, shuffled)
    ]


def _siglips(
    sheet: ScoreSheet,
    systems: Sequence[CaptionPairs],
    similarity: VideoTextSimilarity,
    videos: dict[str, torch.Tensor],
    options: dict[str, int],
) -> list[Score]:
    looked = f"model:{similarity.name}|frames:{FRAMES}|text:first-{similarity.length}-tokens"
    signature = f"siglip|cosine|{looked}|{_resampling(options)}"
    shown = torch.stack(list(videos.values()))
    seen = np.array([name in videos for name in sheet.ids])
    everyone, _ = similarities(similarity.embed_texts([sheet.constant_caption]).expand(len(shown), -1), shown)
    others = _written_for_others(sheet.constant_caption, [systems[0].references[name] for name in videos])
    scores = []
    for pairs in systems:
        per_clip = np.full(len(sheet.ids), np.nan)
        per_clip[seen], shuffled = similarities(
            similarity.embed_texts([pairs.predictions[name] for name in videos]), shown
        )
        constant = float(everyone[others].mean())
        scores.append(embedding_score(per_clip, signature, constant=constant, shuffled=shuffled, **options))
    return scores


def _embed_videos(
    ids: Sequence[str],
    systems: Sequence[CaptionPairs],
    similarity: VideoTextSimilarity,
    progress: Callable[[Iterable], Iterable],
) -> tuple[dict[str, torch.Tensor], list[CaptionNote]]:
    """Unit vectors `[D]` of the videos that can be read, in the order of the ids, and a note about the others."""
    paths = {name: path for pairs in reversed(systems) for name, path in pairs.videos.items()}
    if nameless := [name for name in ids if name not in paths]:
        raise ScoreError(
            f"{len(nameless)} clips name no video ({few(nameless)}); score against records, which do",
            f"영상이 적혀 있지 않은 것이 {len(nameless)}개 있습니다({few(nameless)})."
            " 영상이 적힌 레코드를 정답으로 주세요.",
        )
    videos, unread = {}, []
    for name in progress(ids):
        try:
            videos[name] = similarity.embed_video(read_frames(paths[name], Sampling(num_frames=FRAMES), size=512).data)
        except VideoError as error:
            unread.append(f"{name} ({error.code})")
    if not videos:
        raise ScoreError(
            f"no video can be read ({few(unread)}); score without --siglip, or give records whose videos are there",
            f"읽을 수 있는 영상이 없습니다({few(unread)}). --siglip을 빼거나 영상이 있는 레코드를 정답으로 주세요.",
        )
    note = CaptionNote(
        "W_NOT_SEEN",
        f"siglip leaves out {len(unread)} clips whose video could not be read: {few(unread)}.",
        f"읽지 못한 영상 {len(unread)}개는 siglip 점수에서만 뺐습니다: {few(unread)}.",
    )
    return videos, [note] if unread else []


def _resampling(options: dict[str, int]) -> str:
    return f"bs:{options['resamples']}|seed:{options['seed']}"


def _written_for_others(constant: str, references: Sequence[Sequence[str]]) -> np.ndarray:
    """As `floors.written_for_others`, of texts."""
    others = np.array([constant not in written for written in references])
    return others if others.any() else ~others
