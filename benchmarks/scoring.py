"""How fast captions are scored, and that the numbers are the libraries': 10,000 pairs in Korean.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --count 1000 --peer-count 100     # quicker

References describe generated scenes; a prediction is the first half of its reference and the rest of another one.
64 pairs are scored twice, with other predictions for the same references, as training does.
Seconds of the peers are of one process; ours count both wall time and CPU time of all threads.
"""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from nltk.translate.meteor_score import single_meteor_score
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from run_record import save_result
from sacrebleu.metrics import BLEU, CHRF

from corpus.scene_captions import describe
from corpus.scenes import sample_scene
from evaluation.caption_metrics import METEOR_TOKENS, METRICS, CaptionMetrics
from evaluation.korean_tokens import TOKENIZERS, load_kiwi, tokenize
from evaluation.ngram_counts import Pairing
from evaluation.scoring import score_captions


class NoStemmer:
    """Leaves words as they are."""

    def stem(self, word: str) -> str:
        """Return the word."""
        return word


class NoWordNet:
    """Knows no word, as for Korean."""

    def synsets(self, word: str) -> list:
        """Return no meanings."""
        return []


def halves(references: list[str], step: int) -> list[str]:
    """Predictions: first halves, with the second half of the reference that stands `step` further."""
    others = references[step:] + references[:step]
    return [text[: len(text) // 2] + other[len(other) // 2 :] for text, other in zip(references, others)]


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds of all threads."""
    start = time.process_time()
    return job(), time.process_time() - start


def nltk_meteor(predictions: list[list[str]], references: list[list[str]]) -> np.ndarray:
    """NLTK's METEOR per clip, as `evaluate` calls it, but for stemmer and WordNet."""
    options = {"stemmer": NoStemmer(), "wordnet": NoWordNet()}
    return np.array([single_meteor_score(ref, said, **options) for said, ref in zip(predictions, references)])


def peer_scores(predictions: list[str], references: list[str]) -> dict[str, tuple[np.ndarray | float, float]]:
    """Values per clip (BLEU: of all) by the libraries, and their CPU seconds, tokenization left out."""
    both = (predictions, references)
    tokens = {name: [list(tokenizer(texts)) for texts in both] for name, tokenizer in TOKENIZERS.items()}
    found = {name: timed(partial(nltk_meteor, *tokens[METEOR_TOKENS[name]])) for name in METEOR_TOKENS}
    said, given = ([" ".join(words) for words in texts] for texts in tokens["kiwi"])
    by_id = {str(index): [text] for index, text in enumerate(said)}, {str(i): [text] for i, text in enumerate(given)}
    found["bleu4"] = timed(lambda: BLEU(tokenize="none", force=True).corpus_score(said, [given]).score)
    found["rouge_l"] = timed(lambda: Rouge().compute_score(by_id[1], by_id[0])[1])
    found["cider_d"] = timed(lambda: Cider().compute_score(by_id[1], by_id[0])[1])
    found["chrf++"] = timed(lambda: CHRF(word_order=2).corpus_score(predictions, [references]).score)
    return found


def main(
    count: Annotated[int, typer.Option(min=2, help="pairs")] = 10_000,
    peer_count: Annotated[int, typer.Option(min=2, help="pairs that the libraries score too")] = 500,
) -> None:
    """Time everything at once, then every metric beside its library."""
    load_kiwi()
    captions = [describe(sample_scene(seed)) for seed in range(count + 128)]
    references, few, unread = captions[:count], captions[count:-64], captions[-64:]
    predictions = halves(references, 1)
    ids = [str(index) for index in range(max(count, 64))]
    before, start = time.process_time(), time.perf_counter()
    sheet = score_captions(dict(zip(ids, predictions)), dict(zip(ids, references)))
    wall, cpu = time.perf_counter() - start, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} pairs, all metrics, intervals and floors: {wall:.1f} s, {cpu:.1f} CPU s, at most {memory:.0f} MiB")
    (_, first), (_, again) = (
        timed(lambda step=step: score_captions(dict(zip(ids, halves(few, step))), dict(zip(ids, few))))
        for step in (1, 2)
    )
    print(f"64 pairs: {first:.2f} CPU s; again with other predictions: {again:.2f} CPU s")

    result = {"pairs": count, "seconds": round(wall, 1), "cpu_seconds": round(cpu, 1), "peak_mib": round(memory)}
    result |= {"cpu_seconds_64_pairs": round(first, 2), "cpu_seconds_64_pairs_again": round(again, 2)}
    result |= {"scores": {n: s.value for n, s in sheet.scores.items()}}
    _, tokenizing = timed(lambda: tokenize(unread, list(TOKENIZERS)))
    measures = CaptionMetrics([*predictions[:peer_count], *references[:peer_count]], METRICS)
    rows = np.arange(peer_count)
    pairing = Pairing(rows, rows[None] + peer_count)
    peers = peer_scores(predictions[:peer_count], references[:peer_count])
    result["tokenizing_cpu_ms_per_text"] = round(1000 * tokenizing / len(unread), 2)
    print(f"tokenizing in three ways: {result['tokenizing_cpu_ms_per_text']} CPU ms per text")
    print("| metric | ours, CPU ms per pair | library | times as fast | largest difference |\n|---|---|---|---|---|")
    for name in METRICS:
        (ours,), seconds = timed(lambda name=name: measures.measure(name, [pairing]))
        theirs, peer_seconds = peers[name]
        value = ours.value if np.isscalar(theirs) else ours.per_clip
        apart = float(np.max(np.abs(value - theirs)))
        ours_ms, theirs_ms = 1000 * seconds / peer_count, 1000 * peer_seconds / peer_count
        note = " (pycocoevalcap's beta is 1.2, ours 1)" if name == "rouge_l" else ""
        print(f"| {name} | {ours_ms:.3f} | {theirs_ms:.3f} | {theirs_ms / ours_ms:.1f} | {apart:.1e}{note} |")
        result[name] = {"ms_per_pair": ours_ms, "library_ms_per_pair": theirs_ms, "largest_difference": apart}
    print(f"saved {save_result('scoring', result)}")


if __name__ == "__main__":
    typer.run(main)
