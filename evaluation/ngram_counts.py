"""N-grams of all texts at once, as sparse matrices: what BLEU, CIDEr-D, chrF++ and the repetition measure share."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .korean_tokens import TokenRows


@dataclass(frozen=True)
class Pairing:
    """Which text is the prediction of a clip and which are its references, as rows of one list of texts.

    Attributes:
        predictions: int64 `[clips]`.
        references: int64 `[most references, clips]`; where a clip has fewer, the row of an empty text.
    """

    predictions: np.ndarray
    references: np.ndarray

    @property
    def clips(self) -> int:
        """How many clips."""
        return len(self.predictions)


def ngram_counts(rows: TokenRows, highest: int) -> Iterator[csr_array]:
    """Count the 1-grams, then the 2-grams, up to the `highest` order.

    Yields:
        int32 `[texts, different n-grams]`, columns sorted. One order at a time, because the matrix of a high order is
        nearly as large as the text.
    """
    left = np.repeat(rows.starts[1:], rows.lengths) - np.arange(len(rows.ids))  # tokens to the end of the text
    _, words = np.unique(rows.ids, return_inverse=True)
    vocabulary, ids = int(words.max(initial=0)) + 1, words
    for order in range(1, highest + 1):
        if order > 1:
            ids = ids[:-1] * vocabulary + words[order - 1 :]
        starts = np.concatenate([[0], np.cumsum(np.maximum(rows.lengths - order + 1, 0))])
        different, ids = np.unique(ids, return_inverse=True)
        inside = ids[left[: len(ids)] >= order]
        counts = csr_array(
            (np.ones(len(inside), np.int32), inside, starts), shape=(len(rows.lengths), max(len(different), 1))
        )
        counts.sum_duplicates()
        yield counts
