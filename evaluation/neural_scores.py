"""Scores from models on disk, put beside the others: BERTScore against the references, SigLIP2 against the videos."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from processing.frame_sampling_kocap import Sampling
from processing.video_reading_kocap import read_frames

from .caption_files import CaptionPairs
from .embedding_metrics import VideoTextSimilarity, bert_score, embedding_score
from .floors import derangements
from .scoring import Score, ScoreError, ScoreSheet

FRAMES = 8


def add_neural_scores(
    sheet: ScoreSheet,
    pairs: CaptionPairs,
    *,
    bertscore: Path | None = None,
    siglip: Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> ScoreSheet:
    """A sheet that also holds `bertscore` and `siglip`, each where a model's folder is given.

    Raises:
        ScoreError: If a model or a package is missing, or a clip has no video to look at.
        VideoError: If a video cannot be read.
    """
    scores = dict(sheet.scores)
    options = {"resamples": resamples, "seed": seed}
    if bertscore:
        scores["bertscore"] = _bertscore(sheet, pairs, bertscore, options)
    if siglip:
        scores["siglip"] = _siglip(sheet, pairs, siglip, options)
    return replace(sheet, scores=scores)


def _bertscore(sheet: ScoreSheet, pairs: CaptionPairs, model: Path, options: dict[str, int]) -> Score:
    said = [pairs.predictions[name] for name in sheet.ids]
    written = [pairs.references[name] for name in sheet.ids]
    orders = derangements(len(said), seed=options["seed"], shuffles=1)
    moved = [bert_score([said[index] for index in order], written, model).mean() for order in orders]
    signature = f"bertscore|f1|model:{model.name}|layer:last|idf:no|rescale:no|bert-score:{version('bert-score')}"
    score = embedding_score(
        "bertscore",
        bert_score(said, written, model),
        signature,
        shuffled=float(np.mean(moved)) if moved else None,
        **options,
    )
    constant = bert_score([sheet.constant_caption] * len(said), written, model).mean()
    return replace(score, constant=float(constant))


def _siglip(sheet: ScoreSheet, pairs: CaptionPairs, model: Path, options: dict[str, int]) -> Score:
    if unseen := [name for name in sheet.ids if name not in pairs.videos]:
        raise ScoreError(
            f"{len(unseen)} clips name no video ({', '.join(unseen[:3])}); score against records, which do",
            f"영상이 적혀 있지 않은 것이 {len(unseen)}개 있습니다({', '.join(unseen[:3])})."
            " 영상이 적힌 레코드를 정답으로 주세요.",
        )
    said = [pairs.predictions[name] for name in sheet.ids]
    values, shuffled = VideoTextSimilarity(model).score(said, _clips(sheet, pairs))
    signature = f"siglip|cosine|model:{model.name}|frames:{FRAMES}|text:first-64-tokens"
    return embedding_score("siglip", values, signature, shuffled=shuffled, **options)


def _clips(sheet: ScoreSheet, pairs: CaptionPairs) -> Iterator[np.ndarray]:
    sampling = Sampling(num_frames=FRAMES)
    return (read_frames(pairs.videos[name], sampling, size=512).data for name in sheet.ids)
