"""BLEU, chrF++, ROUGE-L and CIDEr-D are the libraries' numbers, with one reference and with several."""

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from sacrebleu.metrics import BLEU, CHRF

from evaluation.korean_tokens import TokenRows, character_rows, chrf_words, token_rows
from evaluation.ngram_counts import Pairing, ngram_counts
from evaluation.overlap_metrics import (
    averaged,
    bleu4,
    chrf_of_best,
    chrf_statistics,
    cider_d,
    rouge_l,
)

CLIPS = 60


def corpus(references: int) -> tuple[list[list[str]], Pairing]:
    """Random captions of 1 to 11 words; with several references every third clip lacks the last."""
    rng = np.random.default_rng(references)

    def word() -> str:
        return "".join(rng.choice(list("가나다"), rng.integers(1, 3))) + ("." if rng.random() < 0.2 else "")

    texts = [[word() for _ in range(rng.integers(1, 12))] for _ in range((1 + references) * CLIPS)] + [[]]
    rows = np.arange(CLIPS, (1 + references) * CLIPS).reshape(references, CLIPS)
    if references > 1:
        rows[-1, ::3] = len(texts) - 1
    return texts, Pairing(np.arange(CLIPS), rows)


@pytest.fixture(params=[1, 2, 3], ids=["one reference", "two", "three"])
def case(request) -> tuple[list[str], list[list[str]], TokenRows, Pairing]:
    """Predictions, references per clip, and the same as numbers."""
    texts, pairing = corpus(request.param)
    joined = [" ".join(tokens) for tokens in texts]
    references = [[joined[row] for row in rows if joined[row]] for rows in pairing.references.T]
    return [joined[row] for row in pairing.predictions], references, token_rows(texts), pairing


def by_place(references: list[list[str]]) -> list[list[str | None]]:
    """sacrebleu's form: all first references, all second ones."""
    most = max(map(len, references))
    return [[given[place] if place < len(given) else None for given in references] for place in range(most)]


def test_bleu_is_sacrebleus(case):
    predictions, references, rows, pairing = case
    measured = bleu4(list(ngram_counts(rows, 4)), rows.lengths, pairing)
    wanted = BLEU(tokenize="none", force=True).corpus_score(predictions, by_place(references)).score
    assert measured.value == pytest.approx(wanted, abs=1e-9)
    sentence = BLEU(tokenize="none", effective_order=True)
    each = [sentence.sentence_score(said, given).score for said, given in zip(predictions, references)]
    assert measured.per_clip == pytest.approx(each, abs=1e-9)


def test_chrf_is_sacrebleus(case):
    predictions, references, _, pairing = case
    joined = [" ".join(tokens) for tokens in corpus(len(pairing.references))[0]]
    tables = [*ngram_counts(character_rows(joined), 6), *ngram_counts(token_rows(map(chrf_words, joined)), 2)]
    measured = chrf_of_best(np.concatenate([chrf_statistics(table, pairing) for table in tables], axis=-1))
    wanted = CHRF(word_order=2).corpus_score(predictions, by_place(references)).score
    assert measured.value == pytest.approx(wanted, abs=1e-9)
    each = [CHRF(word_order=2).sentence_score(said, given).score for said, given in zip(predictions, references)]
    assert measured.per_clip == pytest.approx(each, abs=1e-9)


def test_cider_is_pycocoevalcaps(case):
    predictions, references, rows, pairing = case
    measured = cider_d(list(ngram_counts(rows, 4)), rows.lengths, pairing)
    said = {clip: [text] for clip, text in enumerate(predictions)}
    value, each = Cider().compute_score(dict(enumerate(references)), said)
    assert measured.value == pytest.approx(value, abs=1e-6)
    assert measured.per_clip == pytest.approx(each, abs=1e-6)


def common_length(first: list[int], second: list[int]) -> int:
    """Longest common subsequence by the textbook's table."""
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def test_rouge_is_the_f1_of_the_longest_common_subsequence(case):
    _, _, rows, pairing = case
    wanted = []
    for clip, prediction in enumerate(pairing.predictions):
        said = rows.row(prediction).tolist()
        given = [rows.row(row).tolist() for row in pairing.references[:, clip]]
        wanted.append(max(2 * common_length(said, text) / (len(said) + len(text)) for text in given))
    assert rouge_l(rows, pairing).per_clip == pytest.approx(wanted)


def test_ngrams_stay_inside_their_text():
    first, second, third = ngram_counts(token_rows([["가", "나", "가"], [], ["가"], ["나", "가"]]), 3)
    assert first.sum(axis=1).tolist() == [3, 0, 1, 2]
    assert second.sum(axis=1).tolist() == [2, 0, 0, 1]
    assert third.sum(axis=1).tolist() == [1, 0, 0, 0]
    assert second[[0]].minimum(second[[3]]).sum() == 1  # 나 가


def test_a_mean_metric_over_clips_is_the_mean():
    measured = averaged(np.array([0.0, 0.5, 1.0]))
    assert measured.value == 0.5
