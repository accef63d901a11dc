"""Scores from neural models, for who has one on disk: BERTScore, and how well a caption suits its video (SigLIP2).

Nothing is downloaded. Both depend on the model as METEOR does on its tokenizer, so the signature names it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

from modeling.checkpoint_loading import loading

from .intervals import bootstrap_mean
from .overlap_metrics import averaged
from .scoring import Score, ScoreError

TEXTS_AT_ONCE = 64


def embedding_score(
    per_clip: np.ndarray,
    signature: str,
    *,
    constant: float,
    shuffled: float | None,
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """Put values per clip into the form of every other score, named by the signature's first word.

    Args:
        per_clip: float64 `[clips]`, nan for clips to leave out.
    """
    counted = per_clip[~np.isnan(per_clip)]
    value, low, high = bootstrap_mean(counted, resamples=resamples, seed=seed)
    name, *_ = signature.split("|")
    statistics = averaged(counted).statistics
    return Score(name, value, low, high, signature, per_clip, constant, shuffled, statistics)


def bert_score(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    model: str | Path,
    *,
    layers: int | None = None,
    batch_size: int = 32,
    device: str = "cpu",
) -> np.ndarray:
    """BERTScore F1 with the best reference, without rescaling or idf.

    Args:
        model: Folder of an encoder and its tokenizer, e.g. klue/roberta-large.
        layers: Which layer's embeddings count; None takes the last.

    Returns:
        float64 `[clips]`; an empty prediction scores 0.

    Raises:
        ScoreError: If bert-score is not installed or `model` is no folder.

    Source: Zhang et al. (2020), by the package bert-score.
    """
    folder = _folder(model)
    try:
        from bert_score import BERTScorer
    except ImportError:
        raise ScoreError(
            "BERTScore needs the package bert-score; pip install bert-score",
            "BERTScore에는 bert-score 패키지가 필요합니다. pip install bert-score로 설치해 주세요.",
        ) from None
    with loading(folder, is_backbone=True):
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # bert-score would ask whether to run its code
        layers = layers or AutoConfig.from_pretrained(folder, trust_remote_code=False).num_hidden_layers
        scorer = BERTScorer(str(folder), num_layers=layers, batch_size=batch_size, device=device, nthreads=0)
    limit = scorer._model.config.max_position_embeddings - 2  # RoBERTa's positions begin at 2
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, limit)
    scores = np.zeros(len(predictions))
    if said := [place for place, text in enumerate(predictions) if text.strip()]:
        given = [list(references[place]) for place in said]
        scores[said] = scorer.score([predictions[place] for place in said], given)[2].double().numpy()
    return scores


class VideoTextSimilarity:
    """Cosine of a caption's and a video's embeddings in a SigLIP or SigLIP2 model on disk.

    It rewards what fits many pictures: the source project's similarity peaked when its captions were least diverse. So
    read it beside its shuffled value.

    Args:
        model: Folder of a checkpoint with its processor, e.g. google/siglip2-so400m-patch14-384.

    Raises:
        ScoreError: If `model` is no folder.
    """

    def __init__(self, model: str | Path, *, device: str = "cpu"):
        folder = _folder(model)
        with loading(folder, is_backbone=True):
            self.processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            self.model = AutoModel.from_pretrained(folder, trust_remote_code=False).eval().to(device)
        self.name, self.device = folder.name, device
        self.length = self.model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors, float32 `[texts, D]`; zeros for an empty text.

        What exceeds the model's text length (64 tokens) is not read.
        """
        options = {"padding": "max_length", "truncation": True, "max_length": self.length, "return_tensors": "pt"}
        ids = self.processor.tokenizer(list(texts), **options)["input_ids"].to(self.device)
        parts = [_unit(self.model.get_text_features(input_ids=some)) for some in ids.split(TEXTS_AT_ONCE)]
        said = torch.tensor([bool(text.strip()) for text in texts], device=self.device)
        return torch.cat(parts) * said[:, None]

    @torch.inference_mode()
    def embed_video(self, frames: np.ndarray) -> torch.Tensor:
        """Unit vector `[D]` of the mean over frames, uint8 `[T, 3, H, W]`."""
        inputs = self.processor.image_processor(list(torch.as_tensor(frames)), return_tensors="pt")
        features = _unit(self.model.get_image_features(**inputs.to(self.device)))  # [T, D]
        return _unit(features.mean(dim=0))


def similarities(texts: torch.Tensor, videos: torch.Tensor) -> tuple[np.ndarray, float | None]:
    """Score each caption beside its video.

    Args:
        texts, videos: Unit vectors `[clips, D]`.

    Returns:
        float64 `[clips]` cosines, and the mean over every caption beside every other video (None for one clip).
    """
    texts, videos = texts.double().cpu(), videos.double().cpu()
    own, clips = (texts * videos).sum(dim=1), len(texts)
    others = (texts.sum(dim=0) @ videos.sum(dim=0) - own.sum()) / (clips * (clips - 1)) if clips > 1 else None
    return own.numpy(), None if others is None else float(others)


def _folder(model: str | Path) -> Path:
    if not Path(model).is_dir():
        raise ScoreError(
            f"{model} is no folder; download the model and give its path",
            f"{model} 폴더가 없습니다. 모델을 내려받은 폴더의 경로를 적어 주세요.",
        )
    return Path(model)


def _unit(features) -> torch.Tensor:
    vectors = getattr(features, "pooler_output", features)  # a tensor until transformers 5
    return torch.nn.functional.normalize(vectors.float(), dim=-1)
