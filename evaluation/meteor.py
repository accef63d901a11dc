"""METEOR exactly as NLTK computes it, for all clips at once.

NLTK's algorithm with exact matches only: no stemmer and no WordNet, neither of which exists for Korean. Source:
nltk.translate.meteor_score (Lavie and Agarwal, 2007).
"""

import numpy as np
from scipy.sparse import csr_array

from .korean_tokens import TokenRows
from .ngram_counts import Pairing

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5


def word_positions(rows: TokenRows) -> csr_array:
    """Where each occurrence of each word stands.

    NLTK reads the prediction from its end and gives each word the last free equal word of the reference. So the k-th
    occurrence from the end meets the k-th from the end, and (word, k) names what can be matched.

    Returns:
        int32 `[texts, different (word, k)]`: the position in the text, counted from 1.
    """
    texts = np.repeat(np.arange(len(rows.lengths)), rows.lengths)
    places = np.arange(len(rows.ids))
    order = np.lexsort((-places, rows.ids, texts))
    words, texts_sorted = rows.ids[order], texts[order]
    new = np.ones(len(order), bool)
    new[1:] = (words[1:] != words[:-1]) | (texts_sorted[1:] != texts_sorted[:-1])
    starts = np.flatnonzero(new)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    names = np.empty(len(order), np.int64)
    names[order] = words * (rank.max(initial=0) + 1) + rank
    different, columns = np.unique(names, return_inverse=True)
    positions = places - rows.starts[texts] + 1
    table = csr_array(
        (positions.astype(np.int32), columns, rows.starts), shape=(len(rows.lengths), max(len(different), 1))
    )
    table.sort_indices()
    return table


def meteor(positions: csr_array, pairing: Pairing) -> np.ndarray:
    """Score every clip against the reference that suits its prediction best.

    Args:
        positions: From `word_positions`.

    Returns:
        float64 `[clips]`, 0 to 1.
    """
    return np.max([_single(positions, pairing.predictions, references) for references in pairing.references], axis=0)


def _single(positions: csr_array, predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    here, there = positions[predictions], positions[references]
    lengths, reference_lengths = np.diff(here.indptr), np.diff(there.indptr)
    matched = here.multiply(there.astype(bool)).tocsr()
    partners = there.multiply(here.astype(bool)).tocsr()  # the same words in the same order
    matches = np.diff(matched.indptr)
    clips = np.repeat(np.arange(len(predictions)), matches)
    order = np.argsort(clips * (lengths.max(initial=0) + 1) + matched.data)
    clips, place, partner = clips[order], matched.data[order], partners.data[order]
    joined = (np.diff(clips) == 0) & (np.diff(place) == 1) & (np.diff(partner) == 1)
    chunks = matches - np.bincount(clips[1:][joined], minlength=len(predictions))

    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = matches / lengths, matches / reference_lengths
        fmean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        scores = (1 - GAMMA * (chunks / matches) ** BETA) * fmean
    return np.where(matches > 0, scores, 0.0)
