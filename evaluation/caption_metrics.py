"""The metrics by name: what each is made of, how it is signed, and how all share one tokenization."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from importlib.metadata import version

import numpy as np
from scipy.sparse import csr_array

from .floors import FLOORS_SIGNATURE
from .korean_tokens import character_rows, chrf_words, token_rows, tokenize, tokenizer_signature
from .meteor import meteor, word_positions
from .ngram_counts import Pairing, ngram_counts
from .overlap_metrics import (
    Measured,
    averaged,
    bleu4,
    bleu_score,
    chrf_of_best,
    chrf_score,
    chrf_statistics,
    cider_d,
    mean_score,
    rouge_l,
)

METEOR_TOKENS = {"meteor": "kiwi", "meteor_eojeol": "eojeol", "meteor_evaluate": "evaluate"}  # the first is primary
METRICS = (*METEOR_TOKENS, "bleu4", "rouge_l", "cider_d", "chrf++")
SCORES = dict.fromkeys(METRICS, mean_score) | {"bleu4": bleu_score, "chrf++": chrf_score}
_VERSION = "1.0"  # raise it when a number changes


class CaptionMetrics:
    """Texts, tokenized once, and the metrics of any pairing of them.

    Args:
        texts: Different texts in NFC.
        metrics: Those that will be asked for; Kiwi's morphemes are made in any case.
        progress: Wraps the texts while they are tokenized.
    """

    def __init__(self, texts: Sequence[str], metrics: Sequence[str], progress: Callable[[Iterable], Iterable] = iter):
        wanted = ["kiwi", *(METEOR_TOKENS[name] for name in metrics if METEOR_TOKENS.get(name, "kiwi") != "kiwi")]
        self.texts = texts
        self.rows = tokenize(texts, wanted, progress=progress)

    @cached_property
    def _positions(self) -> csr_array:
        return word_positions(self.rows["kiwi"])

    @cached_property
    def _counts(self) -> list[csr_array]:
        return list(ngram_counts(self.rows["kiwi"], 4))

    @property
    def four_grams(self) -> csr_array:
        """Counts of 4-grams of morphemes, `[texts, different 4-grams]`."""
        return self._counts[3]

    def primary(self, pairing: Pairing) -> np.ndarray:
        """METEOR on morphemes, per clip."""
        return meteor(self._positions, pairing)

    def measure(self, name: str, pairings: Sequence[Pairing]) -> list[Measured]:
        """Measure every pairing with one metric."""
        morphemes = self.rows["kiwi"]
        if name in METEOR_TOKENS:
            primary = METEOR_TOKENS[name] == "kiwi"
            positions = self._positions if primary else word_positions(self.rows[METEOR_TOKENS[name]])
            return [averaged(meteor(positions, pairing)) for pairing in pairings]
        if name == "bleu4":
            return [bleu4(self._counts, morphemes.lengths, pairing) for pairing in pairings]
        if name == "cider_d":
            return [cider_d(self._counts, morphemes.lengths, pairing) for pairing in pairings]
        if name == "rouge_l":
            return [rouge_l(morphemes, pairing) for pairing in pairings]
        return self._chrf(pairings)

    def _chrf(self, pairings: Sequence[Pairing]) -> list[Measured]:
        found: list[list[np.ndarray]] = [[] for _ in pairings]
        for rows, orders in ((character_rows(self.texts), 6), (token_rows(map(chrf_words, self.texts)), 2)):
            for table in ngram_counts(rows, orders):
                for pairing, statistics in zip(pairings, found):
                    statistics.append(chrf_statistics(table, pairing))
        return [chrf_of_best(np.concatenate(statistics, axis=-1)) for statistics in found]


def metric_signature(name: str, references: Sequence[int], resamples: int, seed: int) -> str:
    """Everything that a score depends on, like sacrebleu's.

    Args:
        references: The numbers of references that clips have.
    """
    kiwi = f"tok:{tokenizer_signature('kiwi')}|case:lc"
    if name in METEOR_TOKENS:
        tokens = f"tok:{tokenizer_signature(METEOR_TOKENS[name])}|case:lc"
        parts = f"alg:nltk-{version('nltk')}|{tokens}|a0.9 b3 g0.5|stem:no|syn:no"
    else:
        parts = {
            "bleu4": f"alg:sacrebleu-{version('sacrebleu')}|{kiwi}|smooth:exp",
            "rouge_l": f"alg:lcs-f1|{kiwi}|beta:1",
            "cider_d": f"alg:pycocoevalcap|{kiwi}|n4 sigma6",
            "chrf++": f"alg:sacrebleu-{version('sacrebleu')}|nc:6|nw:2|beta:2|space:no|case:mixed",
        }[name]
    count = "-".join(str(number) for number in sorted({references[0], references[-1]}))
    return f"{name}|{parts}|refs:{count}|bs:{resamples}|seed:{seed}|floors:{FLOORS_SIGNATURE}|v:{_VERSION}"
