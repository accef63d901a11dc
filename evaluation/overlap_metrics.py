"""BLEU-4, chrF++, ROUGE-L and CIDEr-D for all clips at once, equal to sacrebleu's and pycocoevalcap's.

Each metric takes prepared texts and a `Pairing`, and returns statistics that add up over clips: the score of any
selection of clips, as the bootstrap needs it, is `score(statistics.sum(axis=0))`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist
from sacrebleu.metrics.bleu import BLEU
from scipy.sparse import csr_array

from .korean_tokens import TokenRows
from .ngram_counts import Pairing

CHRF_ORDERS, CHRF_BETA = 8, 2  # six of characters, two of words: chrF++
CIDER_SIGMA = 6.0


@dataclass(frozen=True)
class Measured:
    """One metric of one system.

    Attributes:
        per_clip: float64 `[clips]`.
        statistics: float64 `[clips, k]`, to be summed over clips.
        score: From sums `[k, ...]` to scores `[...]`.
    """

    per_clip: np.ndarray
    statistics: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]

    @property
    def value(self) -> float:
        """The score over all clips."""
        return float(self.score(self.statistics.sum(axis=0)))


def mean_score(sums: np.ndarray) -> np.ndarray:
    """Score of a metric that is a mean over clips, from sum of values and number of clips, `[2, ...]`."""
    return sums[0] / sums[1]


def averaged(per_clip: np.ndarray) -> Measured:
    """Measure whose score over clips is the mean."""
    return Measured(per_clip, np.stack([per_clip, np.ones(len(per_clip))], axis=1), mean_score)


def bleu4(counts: Sequence[csr_array], lengths: np.ndarray, pairing: Pairing) -> Measured:
    """BLEU-4 with exponential smoothing, 0 to 100; one clip's BLEU stops at its longest n-gram (effective order).

    Args:
        counts: 1- to 4-grams.
        lengths: Tokens per text.

    Source: sacrebleu, whose formula is called; statistics are those of its BLEU: prediction length, length of the
        closest reference, matches and totals per order.
    """
    ours = lengths[pairing.predictions]
    theirs = lengths[pairing.references]
    distance = np.where(theirs > 0, np.abs(theirs - ours) + 0.5 * (theirs > ours), np.inf)  # a tie: the shorter
    closest = np.take_along_axis(theirs, distance.argmin(axis=0)[None], axis=0)[0]
    matches = []
    for table in counts:
        allowed = table[pairing.references[0]]
        for references in pairing.references[1:]:
            allowed = allowed.maximum(table[references])
        matches.append(table[pairing.predictions].minimum(allowed).sum(axis=1))
    totals = [np.maximum(ours - order, 0) for order in range(len(counts))]
    statistics = np.stack([ours, closest, *matches, *totals], axis=1).astype(np.float64)
    return Measured(bleu_score(statistics.T, effective_order=True), statistics, bleu_score)


def bleu_score(sums: np.ndarray, *, effective_order: bool = False) -> np.ndarray:
    """sacrebleu's BLEU from statistics `[10, ...]`."""
    options = {"smooth_method": "exp", "effective_order": effective_order}
    scores = [
        BLEU.compute_bleu(counted[:4], counted[4:], length, closest, **options).score
        for length, closest, *counted in sums.reshape(10, -1).T.astype(int).tolist()
    ]
    return np.reshape(scores, sums.shape[1:])


def chrf_score(sums: np.ndarray) -> np.ndarray:
    """chrF++ from statistics `[24, ...]`, 0 to 100.

    Source: sacrebleu's CHRF with effective order: orders that one side is too short for are left out.
    """
    ours, theirs, matches = np.moveaxis(sums.reshape(CHRF_ORDERS, 3, *sums.shape[1:]), 1, 0)
    counted = (ours > 0) & (theirs > 0)
    orders = np.maximum(counted.sum(axis=0), 1)
    precision = np.where(counted, matches / np.maximum(ours, 1), 0).sum(axis=0) / orders
    recall = np.where(counted, matches / np.maximum(theirs, 1), 0).sum(axis=0) / orders
    below = CHRF_BETA**2 * precision + recall
    return 100 * (1 + CHRF_BETA**2) * precision * recall / np.where(below > 0, below, 1)


def chrf_statistics(table: csr_array, pairing: Pairing) -> np.ndarray:
    """Count one order of n-grams for chrF++.

    Returns:
        float64 `[references, clips, 3]`: n-grams of the prediction, of the reference, of both. As in sacrebleu, a
        prediction's don't count where the reference has none.
    """
    totals = table.sum(axis=1)
    statistics = np.zeros((*pairing.references.shape, 3))
    for place, references in enumerate(pairing.references):
        theirs = totals[references]
        statistics[place, :, 0] = np.where(theirs > 0, totals[pairing.predictions], 0)
        statistics[place, :, 1] = theirs
        statistics[place, :, 2] = table[pairing.predictions].minimum(table[references]).sum(axis=1)
    return statistics


def chrf_of_best(statistics: np.ndarray) -> Measured:
    """chrF++ against each clip's best reference.

    Args:
        statistics: `[references, clips, 24]`: `chrf_statistics` of six orders of characters, then two of words.
    """
    scores = chrf_score(np.moveaxis(statistics, -1, 0))  # [references, clips]
    best = scores.argmax(axis=0)
    clips = np.arange(statistics.shape[1])
    return Measured(scores[best, clips], statistics[best, clips], chrf_score)


def rouge_l(rows: TokenRows, pairing: Pairing) -> Measured:
    """F1 of the longest common subsequence of tokens, 0 to 1, against the best reference.

    Source: Lin (2004) with beta 1, as rouge-score; pycocoevalcap uses beta 1.2.
    """
    texts = ["".join(map(chr, rows.row(index))) for index in range(len(rows.lengths))]  # a character per token
    predictions = [texts[row] for row in pairing.predictions]
    best = np.zeros(pairing.clips)
    for references in pairing.references:
        common = cpdist(predictions, [texts[row] for row in references], scorer=LCSseq.similarity, workers=-1)
        both = rows.lengths[pairing.predictions] + rows.lengths[references]
        best = np.maximum(best, 2 * common / np.maximum(both, 1))
    return averaged(best)


def cider_d(counts: Sequence[csr_array], lengths: np.ndarray, pairing: Pairing) -> Measured:
    """CIDEr-D, 0 to 10: n-grams weighed by how few clips' references hold them, with a penalty for another length.

    A single clip scores 0: nothing sets its words apart. The document frequencies are those of all clips; the
    bootstrap keeps them.

    Source: pycocoevalcap.cider, sigma 6, of which this is the arithmetic without Python's loops. (Its length is the
        number of bigrams.)
    """
    bigrams = np.maximum(lengths - 1, 0)
    total = np.zeros(pairing.clips)
    given = (lengths[pairing.references] > 0).sum(axis=0)
    for table in counts:
        held = table[pairing.references[0]].astype(bool)
        for references in pairing.references[1:]:
            held = held + table[references].astype(bool)
        frequency = held.sum(axis=0)
        weight = (np.log(pairing.clips) - np.log(np.maximum(frequency, 1))) ** 2
        norms = np.sqrt(table.astype(np.float64).power(2) @ weight)
        ours = table[pairing.predictions]
        for references in pairing.references:
            theirs = table[references]
            alike = ours.minimum(theirs).multiply(theirs) @ weight
            below = norms[pairing.predictions] * norms[references]
            delta = (bigrams[pairing.predictions] - bigrams[references]).astype(np.float64)
            total += alike / np.where(below > 0, below, 1) * np.exp(-(delta**2) / (2 * CIDER_SIGMA**2))
    return averaged(10 * total / len(counts) / np.maximum(given, 1))
