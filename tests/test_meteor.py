"""METEOR: by hand, and against NLTK."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.meteor_score import meteor_score

from evaluation.korean_tokens import token_rows
from evaluation.meteor import meteor, word_positions
from evaluation.ngram_counts import Pairing

WORDS = st.lists(st.sampled_from(["파도", "가", "이", "밀려오", "ᆸ니다", "."]), max_size=14)


class NoStemmer:
    def stem(self, word):
        return word


class NoWordNet:
    def synsets(self, word):
        return []


def score(prediction: list[str], *references: list[str]) -> float:
    rows = token_rows([prediction, *references])
    pairing = Pairing(np.array([0]), np.arange(1, len(references) + 1)[:, None])
    return float(meteor(word_positions(rows), pairing)[0])


def test_one_missing_word_by_hand():
    # reference 하얀 파도 가 밀려오 ᆸ니다 (5), prediction 파도 가 밀려오 ᆸ니다 (4): 4 matches in 1 chunk.
    # P = 4/4, R = 4/5; F = P R / (0.9 P + 0.1 R) = 0.8 / 0.98; penalty = 0.5 (1/4)^3 = 1/128
    expected = 0.8 / 0.98 * (1 - 1 / 128)
    assert score(["파도", "가", "밀려오", "ᆸ니다"], ["하얀", "파도", "가", "밀려오", "ᆸ니다"]) == pytest.approx(
        expected, abs=1e-15
    )


def test_swapped_halves_by_hand():
    # 구름 이 | 파도 가 against 파도 가 | 구름 이: 4 matches in 2 chunks; P = R = F = 1; penalty = 0.5 (2/4)^3 = 1/16
    assert score(["구름", "이", "파도", "가"], ["파도", "가", "구름", "이"]) == pytest.approx(15 / 16, abs=1e-15)


def test_a_repeated_word_matches_once_by_hand():
    # prediction 가 가 가 against 가 나: the last 가 meets the only 가. 1 match, 1 chunk: P = 1/3, R = 1/2.
    # F = (1/6) / (0.9/3 + 0.1/2) = (1/6) / 0.35; penalty = 0.5 (1/1)^3 = 1/2
    assert score(["가", "가", "가"], ["가", "나"]) == pytest.approx(1 / 6 / 0.35 / 2, abs=1e-15)


def test_equal_words_are_paired_from_the_end_by_hand():
    # prediction 가 나 against 가 가 나: 나 meets 나, then 가 meets the second 가: one chunk, not two.
    # P = 1, R = 2/3; F = (2/3) / (0.9 + 0.2/3); penalty = 0.5 (1/2)^3 = 1/16
    expected = (2 / 3) / (0.9 + 0.2 / 3) * 15 / 16
    assert score(["가", "나"], ["가", "가", "나"]) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("prediction", "reference"), [([], ["가"]), (["나"], ["가"])])
def test_nothing_in_common_scores_zero(prediction, reference):
    assert score(prediction, reference) == 0


def test_a_long_identical_caption_scores_nearly_one():
    words = [str(number) for number in range(100)]
    assert score(words, words) == pytest.approx(1 - 0.5 / 100**3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_equals_nltk(clips):
    rows = token_rows([words for clip in clips for words in clip])
    first = 3 * np.arange(len(clips))
    ours = meteor(word_positions(rows), Pairing(first, np.stack([first + 1, first + 2])))
    theirs = [
        meteor_score([one, other], prediction, stemmer=NoStemmer(), wordnet=NoWordNet())
        for prediction, one, other in clips
    ]
    assert ours == pytest.approx(theirs, abs=1e-12)
