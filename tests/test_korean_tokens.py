"""Tokenizers agree with what they stand for, and never let the form of a file into a score."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer

from evaluation import korean_tokens
from evaluation.korean_tokens import (
    TOKENIZERS,
    chrf_words,
    eojeol,
    evaluate_words,
    kiwi_morphemes,
    load_kiwi,
    token_rows,
    tokenize,
    tokenizer_signature,
)

CAPTION = "하얀 파도가 왼쪽으로 밀려옵니다. CCTV가 보입니다."


def test_morphemes_are_kiwis_forms():
    (tokens,) = kiwi_morphemes([CAPTION])
    assert tokens == [token.form.lower() for token in load_kiwi().tokenize(CAPTION)]
    assert {"파도", "가", "cctv", "."} <= set(tokens)


def test_kiwi_is_loaded_once():
    assert load_kiwi() is load_kiwi()


def test_eojeol_are_what_white_space_separates():
    assert list(eojeol(["파도가  밀려옵니다.\n구름이", ""])) == [["파도가", "밀려옵니다.", "구름이"], []]


def test_texts_that_come_back_are_not_analysed_again(monkeypatch):
    analysed = []

    class Watched:
        def tokenize(self, texts):
            return load_kiwi().tokenize(analysed.append(text) or text for text in texts)

    old, new = [f"옛 글 {number}번입니다." for number in range(9)], [f"새 글 {number}번입니다." for number in range(5)]
    mixed = [old[0], new[0], new[1], *old[1:8], new[2], new[3], old[8], new[4], old[0]]
    monkeypatch.setattr(korean_tokens, "load_kiwi", Watched)
    monkeypatch.setattr(korean_tokens, "REMEMBERED", len(old))
    list(kiwi_morphemes(old))
    assert list(kiwi_morphemes(mixed)) == [[token.form for token in load_kiwi().tokenize(text)] for text in mixed]
    assert analysed == old + new
    list(kiwi_morphemes([old[1], old[0]]))
    assert analysed == [*old, *new, old[1]], "the oldest are forgotten"


WORDS = [
    "가.",
    "나. 다",
    "가나.\n",
    "1.",
    " ",
    ",",
    ", ",
    "...",
    "A.",
    "(다.)",
    "'가.'",
    "b",
    "--",
    "!",
    "“나.”",
    "3.5",
]


@settings(max_examples=300, deadline=None)
@given(st.text("가나다1 ,.?!'\"()-%a", max_size=25) | st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_evaluate_words_are_nltks(text):
    sentences = PunktSentenceTokenizer().tokenize(text)
    wanted = [word.lower() for sentence in sentences for word in NLTKWordTokenizer().tokenize(sentence)]
    assert next(evaluate_words([text])) == wanted


def test_evaluate_words_split_commas_and_the_last_point():
    assert next(evaluate_words(["물결이 일고, 1,000마리 새가 납니다."])) == [
        *["물결이", "일고", ",", "1,000마리", "새가", "납니다", "."]
    ]


def test_no_token_holds_white_space():
    for tokens in kiwi_morphemes(["그랜드 캐니언과 뉴욕 타임스를 담았습니다.", "세종 대왕 동상이 있습니다."]):
        assert all(token == "_".join(token.split()) for token in tokens)


def test_one_pass_equals_separate_passes():
    texts = [CAPTION, "", "맑은 날입니다."]
    rows = tokenize(texts, list(TOKENIZERS))
    for name, tokenizer in TOKENIZERS.items():
        alone = token_rows(tokenizer(texts))
        assert np.array_equal(rows[name].ids, alone.ids)
        assert np.array_equal(rows[name].starts, alone.starts)


def test_progress_sees_every_text_once():
    seen = []

    def watch(texts):
        for text in texts:
            seen.append(text)
            yield text

    tokenize(["하나", "둘"], ["kiwi", "eojeol"], progress=watch)
    assert seen == ["하나", "둘"]


def test_equal_tokens_have_equal_ids():
    rows = token_rows([["가", "나", "가"], [], ["나"]])
    assert rows.ids.tolist() == [0, 1, 0, 1]
    assert rows.lengths.tolist() == [3, 0, 1]
    assert rows.row(2).tolist() == [1]


def test_signatures_name_versions():
    assert tokenizer_signature("kiwi").startswith("kiwi-0.")
    assert "nltk-3" in tokenizer_signature("evaluate")


def test_chrf_words_lose_one_punctuation_mark():
    assert chrf_words("(파도가 좋다.) ! ,구름") == ["(", "파도가", "좋다.", ")", "!", ",", "구름"]
