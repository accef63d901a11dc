"""What counts as a word of Korean: three answers, and every score says which one it used.

All tokenizers take texts in Unicode NFC and give lower-case tokens without white space, one list per text, in order.
They stream: a text is read when its tokens are wanted (Kiwi reads a few ahead, for its threads).
"""

import re
import string
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import tee, zip_longest
from typing import cast

import numpy as np
from kiwipiepy import Kiwi, Token
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer

SENTENCE_END = re.compile(r"(?<![^ \n])([가-힣]+\.)[ \n]+(?=[가-힣])")  # where Punkt always splits: after a plain word
PLAIN_SENTENCE = re.compile(r"(?:[가-힣0-9 ]|,(?!,))+\.?")
COMMA = re.compile(r",(?![0-9])")
REMEMBERED = 4096  # texts whose morphemes are kept, some 2 KB each
Tokenizer = Callable[[Iterable[str]], Iterator[list[str]]]
_remembered: dict[str, str] = {}  # morphemes by text, the least recently used first


@cache
def load_kiwi() -> Kiwi:
    """Load the morpheme analyser with its default model and dictionaries; once per process, a few seconds."""
    return Kiwi()


def kiwi_morphemes(texts: Iterable[str]) -> Iterator[list[str]]:
    """Morphemes as Kiwi writes them, without part-of-speech tags: 밀려옵니다 -> 밀려오 ᆸ니다.

    Dictionary words of two parts keep together, joined by `_`, so that tokens survive `" ".join` and `split`. The last
    texts are remembered: analysis takes most of the time of a score, and references come again and again.
    """
    waiting: deque[tuple[str, str | None]] = deque()  # texts that Kiwi's threads have read ahead

    def unknown() -> Iterator[str]:
        for text in texts:
            waiting.append((text, _remembered.get(text)))
            if waiting[-1][1] is None:
                yield text

    for tokens in cast(Iterable[list[Token]], load_kiwi().tokenize(unknown())):
        while waiting[0][1] is not None:
            yield _remember(*waiting.popleft())
        yield _remember(waiting.popleft()[0], " ".join("_".join(token.form.lower().split()) for token in tokens))
    for known in waiting:
        yield _remember(*known)


def _remember(text: str, morphemes: str) -> list[str]:
    _remembered.pop(text, None)
    _remembered[text] = morphemes  # now the last to be forgotten
    while len(_remembered) > REMEMBERED:
        del _remembered[next(iter(_remembered))]
    return morphemes.split()


def eojeol(texts: Iterable[str]) -> Iterator[list[str]]:
    """What stands between white space."""
    return (text.lower().split() for text in texts)


def evaluate_words(texts: Iterable[str]) -> Iterator[list[str]]:
    """What `evaluate.load("meteor")` feeds to METEOR: sentences split by Punkt, words by NLTK's Treebank rules.

    `evaluate` downloads Punkt's English parameters; this is Punkt without any, so that scoring stays offline. The two
    differ only at English abbreviations.
    """
    sentences, words = PunktSentenceTokenizer(), NLTKWordTokenizer()
    for text in texts:
        found = []
        parts = SENTENCE_END.split(text)  # every second one is the last word of a sentence
        for part in map("".join, zip_longest(parts[::2], parts[1::2], fillvalue="")):
            if PLAIN_SENTENCE.fullmatch(part):
                found += _plain_words(part)
            else:
                found += [word for sentence in sentences.tokenize(part) for word in words.tokenize(sentence)]
        yield [word.lower() for word in found]


def _plain_words(sentence: str) -> list[str]:
    """What Punkt and Treebank make of Hangul, numbers, commas and a last point: most sentences, 50 times as fast."""
    found = COMMA.sub(" , ", sentence.removesuffix(".")).split()
    return [*found, "."] if sentence.endswith(".") else found


TOKENIZERS: dict[str, Tokenizer] = {"kiwi": kiwi_morphemes, "eojeol": eojeol, "evaluate": evaluate_words}


def tokenizer_signature(name: str) -> str:
    """Name a tokenizer with its version, for the signature of a score."""
    return {
        "kiwi": f"kiwi-{version('kiwipiepy')}+model-{version('kiwipiepy_model')}-forms",
        "eojeol": "eojeol",
        "evaluate": f"punkt-untrained+treebank-nltk-{version('nltk')}",
    }[name]


def chrf_words(text: str) -> list[str]:
    """Words with one punctuation mark taken off, as chrF++ counts them (sacrebleu's rule)."""
    words = []
    for word in text.split():
        if len(word) > 1 and word[-1] in string.punctuation:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in string.punctuation:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words


@dataclass(frozen=True)
class TokenRows:
    """Texts as numbers: one row of token ids per text, all rows end to end.

    Attributes:
        ids: int64 `[tokens]`, equal for equal tokens; ascending where tokens are first seen.
        starts: int64 `[texts + 1]`; text `i` is `ids[starts[i]:starts[i + 1]]`.
    """

    ids: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int64 `[texts]`, tokens per text."""
        return np.diff(self.starts)

    def row(self, index: int) -> np.ndarray:
        """Token ids of one text."""
        return self.ids[self.starts[index] : self.starts[index + 1]]


def token_rows(token_lists: Iterable[Sequence[str]]) -> TokenRows:
    """Number the tokens of texts, keeping no strings but the vocabulary while they stream by."""
    return next(iter(_number({"": token_lists}).values()))


def tokenize(
    texts: Sequence[str], tokenizers: Sequence[str], *, progress: Callable[[Iterable], Iterable] = iter
) -> dict[str, TokenRows]:
    """Tokenize in several ways in one pass: Kiwi's threads work while Python splits words.

    Args:
        tokenizers: Names in `TOKENIZERS`.
        progress: Wraps the texts, e.g. `tqdm`.
    """
    streams = tee(progress(texts), len(tokenizers))
    return _number({name: TOKENIZERS[name](stream) for name, stream in zip(tokenizers, streams)})


def _number(streams: dict[str, Iterable[Sequence[str]]]) -> dict[str, TokenRows]:
    vocabularies: dict[str, dict[str, int]] = {name: {} for name in streams}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in streams}
    for token_lists in zip(*streams.values()):
        for name, tokens in zip(streams, token_lists):
            known = vocabularies[name]
            rows[name].append(np.array([known.setdefault(token, len(known)) for token in tokens], np.int64))
    return {name: _joined(parts) for name, parts in rows.items()}


def character_rows(texts: Sequence[str]) -> TokenRows:
    """Characters without white space, as chrF counts them; ids are code points."""
    return _joined([np.frombuffer("".join(text.split()).encode("utf-32-le"), np.uint32) for text in texts])


def _joined(rows: Sequence[np.ndarray]) -> TokenRows:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return TokenRows(np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64), starts)
