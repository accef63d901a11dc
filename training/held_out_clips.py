"""Held-out clips and what a model in training makes of them: captions, likelihoods, and how far both need the video."""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch.nn.functional import cross_entropy

from evaluation.caption_metrics import CaptionMetrics
from evaluation.floors import derangements
from evaluation.intervals import interval, resampled_sums
from evaluation.ngram_counts import Pairing
from evaluation.scoring import score_captions
from modeling.modeling_kocap import VISION_INPUTS

from .collapse_signs import Look, Sample
from .collator import IGNORED

logger = logging.getLogger(__name__)

MEDIA_FIELDS = ("frames", "features", "times_s")  # what another clip's video brings along
VISION_NAMES = {name for names in VISION_INPUTS.values() for name in names}


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluate inside; afterwards every module has its mode and every generator of random numbers its state again."""
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    model.eval()
    try:
        # no_grad, not inference_mode: a module may keep a tensor it makes here, and training must be able to use it.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(python)
        np.random.set_state(numpy)


class HeldOutClips:
    """Items that no training sees, with everything that stays the same from look to look.

    Args:
        items: At least two; each with an answer as its last message. Of some of them every look keeps a sample.
        collator: From items to a batch.
        tokenizer: Decodes captions.
        batch_size: Items at once; halved for good when memory runs out.
        seed: Chooses whose video stands in for whose, and resamples.
    Raises:
        ValueError: If there are fewer items than two, or an answer is missing.
    """

    def __init__(
        self,
        items: Sequence[dict],
        collator: Callable[[list[dict]], dict],
        tokenizer,
        *,
        max_new_tokens: int,
        batch_size: int,
        num_samples: int,
        seed: int,
    ):
        if len(items) < 2:
            raise ValueError(f"{len(items)} held-out items; a watch compares captions and needs at least 2, better 32.")
        self.items, self.collator, self.tokenizer = list(items), collator, tokenizer
        self.max_new_tokens, self.batch_size, self.num_samples = max_new_tokens, batch_size, num_samples
        self.seed = seed
        self.references = [_answer(item) for item in self.items]
        self.partners = _exchange([item["medium"] for item in self.items], seed)
        self.reference_similarity = mean_similarity(self.references)

    def look(
        self,
        model: torch.nn.Module,
        *,
        step: int,
        progress: float,
        device: torch.device | str = "cpu",
        sharded: bool = False,
    ) -> Look:
        """Measure everything. The model must be in eval mode; see `undisturbed`.

        Args:
            device: Where the model takes its inputs; its weights may rest elsewhere.
            sharded: The model's weights are spread over processes, which all are here. Memory that runs out is an error
                then: a process that tries again by itself would wait for the others for ever.
        Raises:
            RuntimeError: If memory runs out for a single item, or a process of many.
        """
        began = time.perf_counter()

        def likelihoods(items: list[dict]) -> list[tuple[float, int]]:
            return self._likelihoods(model, self._collate(items, device))

        def captions_of(items: list[dict]) -> list[str]:
            return self._captions(model, self._collate(items, device), synced=sharded)

        swapped = [_with_video_of(self.items[row], self.items[other]) for row, other in self.partners.items()]
        own = self._in_batches(self.items, likelihoods, retry=not sharded)
        strange = self._in_batches(swapped, likelihoods, retry=not sharded)
        captions = self._in_batches(self.items, captions_of, retry=not sharded)
        nll, tokens = np.array(own).T
        rows = np.array(list(self.partners), np.int64)
        gained = np.array([other[0] for other in strange]) - nll[rows]
        chosen = np.linspace(0, len(captions) - 1, min(self.num_samples, len(captions))).round().astype(int)
        dependence, low, high = video_dependence(gained, tokens[rows], seed=self.seed)
        return Look(
            step=step,
            progress=progress,
            clips=len(captions),
            **measure_captions(captions, self.references, seed=self.seed),
            similarity=mean_similarity(captions),
            reference_similarity=self.reference_similarity,
            nll=float(nll.sum() / tokens.sum()),
            dependence=dependence,
            dependence_low=low,
            dependence_high=high,
            answer_tokens=float(tokens.mean()),
            seconds=time.perf_counter() - began,
            samples=tuple(
                Sample(str(self.items[row].get("id", row)), captions[row], self.references[row]) for row in chosen
            ),
        )

    def _in_batches(self, items: list[dict], work: Callable[[list[dict]], list], *, retry: bool) -> list:
        done = []
        while len(done) < len(items):
            batch = items[len(done) : len(done) + self.batch_size]
            try:
                done += work(batch)
                continue
            except RuntimeError as error:
                if len(batch) == 1 or not retry or not should_reduce_batch_size(error):
                    raise
            # Outside of `except`, whose traceback holds on to the tensors of the failed batch.
            clear_device_cache(garbage_collection=True)
            self.batch_size = len(batch) // 2
            logger.warning("out of memory on %d held-out clips at once; going on with %d", len(batch), self.batch_size)
        return done

    def _likelihoods(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[tuple[float, int]]:
        """Per item the answer's negative log-likelihood in nats, and how many tokens it has."""
        labels = batch.pop("labels")
        first = max(int((labels != IGNORED).any(0).nonzero().min()), 1)  # logits before it would only fill memory
        kept = torch.arange(first - 1, labels.shape[1] - 1, device=labels.device)
        logits = model(**batch, logits_to_keep=kept, use_cache=False).logits
        found = []
        for row, targets in zip(logits, labels[:, first:], strict=True):
            learned = targets != IGNORED
            nll = cross_entropy(row[learned].float(), targets[learned], reduction="sum")
            found.append((float(nll), int(learned.sum())))
        return found

    def _captions(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], *, synced: bool) -> list[str]:
        prompts = left_padded_prompts(batch, self.tokenizer.pad_token_id)
        output_ids = model.generate(
            **prompts,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            synced_gpus=synced,
            pad_token_id=self.tokenizer.pad_token_id,
            **dict.fromkeys(("temperature", "top_p", "top_k")),  # a checkpoint's own: greedy search warns of them
        )
        texts = self.tokenizer.batch_decode(output_ids[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _collate(self, items: list[dict], device: torch.device | str) -> dict[str, torch.Tensor]:
        kept = {"input_ids", "attention_mask", "labels", *VISION_NAMES}
        return {name: value.to(device) for name, value in self.collator(items).items() if name in kept}


def left_padded_prompts(batch: dict[str, torch.Tensor], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Model inputs that end where the last answer begins, from a training batch: the very prompt training sees.

    Args:
        batch: `input_ids`, `attention_mask`, `labels` `[B, L]`, padded on either side, and vision inputs.
    """
    prompts = []
    for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True):
        ids, learned = ids[mask], labels[mask] != IGNORED
        begins = (learned & ~learned.roll(1)).nonzero()  # the prompt's first token is never learned
        prompts.append(ids[: int(begins[-1])])
    width = max(map(len, prompts))
    input_ids = batch["input_ids"].new_full((len(prompts), width), pad_token_id)
    attention_mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, width - len(prompt) :] = prompt
        attention_mask[row, width - len(prompt) :] = 1
    vision = {name: value for name, value in batch.items() if name in VISION_NAMES}
    return {"input_ids": input_ids, "attention_mask": attention_mask, **vision}


def measure_captions(captions: Sequence[str], references: Sequence[str], *, seed: int) -> dict:
    """Variety and METEOR of captions, under the names that `Look` has for them."""
    said, written = ({f"{row:06d}": text for row, text in enumerate(texts)} for texts in (captions, references))
    sheet = score_captions(said, written, metrics=["meteor"], seed=seed)
    score = sheet.scores["meteor"]
    names = ("unique", "reference_unique", "repetition", "reference_repetition", "length_ratio")
    return {name: sheet.diversity[name] for name in names} | {
        "meteor": score.value,
        "meteor_low": score.low,
        "meteor_high": score.high,
        "meteor_constant": score.constant,
        "meteor_shuffled": score.shuffled,
        "meteor_signature": score.signature,
    }


def mean_similarity(texts: Sequence[str]) -> float:
    """Mean chrF++ of every text against every other one, 0 to 1; equal texts score 1.

    chrF++ because it needs no tokenizer and looks at word order a little: captions of one style share their endings.
    """
    different = list(dict.fromkeys(texts))
    row_of = {text: row for row, text in enumerate(different)}
    rows = np.array([row_of[text] for text in texts])
    first, second = np.nonzero(~np.eye(len(texts), dtype=bool))
    pairs = Pairing(rows[first], rows[second][None])
    return float(CaptionMetrics(different, []).measure("chrf++", [pairs])[0].per_clip.mean() / 100)


def video_dependence(gained: np.ndarray, tokens: np.ndarray, *, seed: int) -> tuple[float, float, float]:
    """Nats per token that the right video saves, and the 95 % interval over clips.

    Args:
        gained: `[clips]`, an answer's negative log-likelihood beside another video minus that beside its own.
        tokens: `[clips]`, the answers' lengths.
    Returns:
        NaN three times where there are no clips.
    """
    if not len(gained):
        return float("nan"), float("nan"), float("nan")
    sums = resampled_sums(np.stack([gained, tokens], axis=1), resamples=1000, seed=seed)
    return float(gained.sum() / tokens.sum()), *interval(sums[:, 0] / sums[:, 1])


def _exchange(media: Sequence[str], seed: int) -> dict[int, int]:
    """For each item another one of the same medium; items that are alone in theirs have none."""
    partners = {}
    for medium in sorted(set(media)):
        rows = [row for row, own in enumerate(media) if own == medium]
        for order in derangements(len(rows), seed=seed, shuffles=1):
            partners |= {row: rows[other] for row, other in zip(rows, order, strict=True)}
    return partners


def _with_video_of(item: dict, other: dict) -> dict:
    rest = {name: value for name, value in item.items() if name not in MEDIA_FIELDS}
    return rest | {name: other[name] for name in MEDIA_FIELDS if name in other}


def _answer(item: dict) -> str:
    last = item["messages"][-1]
    if last["role"] != "assistant" or not last["content"].strip():
        raise ValueError(
            f"the last message of held-out item {item.get('id')} is {last}; it must be the assistant's answer, which"
            " captions are compared with. Leave the item out."
        )
    return last["content"].strip()
