"""transformers' continuous batching for a model that sees: answers share steps, and come and go between them.

transformers batches token ids only. So a prompt's frames travel as ids beyond the vocabulary, which the embedding looks
up in a table where the frames' features lie. Everything else (the paged cache, scheduling, prefill in parts) is
transformers' own, over the checkpoint's own language model.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from modeling.modeling_kocap import KoCapForConditionalGeneration

from .answer_batch import Answer, AnswerBatch
from .token_choice import TokenChoice
from .token_sampling import TokenSampling

logger = logging.getLogger(__name__)

PAGE_TOKENS = 64  # small enough that the last page of an answer wastes little
PREFILL_TOKENS = 1024  # prompt tokens in one step, so that a long prompt does not hold up the others
MOST_BREAKDOWNS = 3  # that an answer may be part of without being the reason
SPARE = 1.25  # the scheduler starts no prompt when less than a fifth of the pages is free


class PromptEmbedding(nn.Module):
    """Words from the language model's embedding; ids beyond its vocabulary from a table of features.

    Args:
        words: The language model's own embedding.
        num_rows: Of the table: id `words.num_embeddings + row` gives row `row`.
    """

    def __init__(self, words: nn.Embedding, num_rows: int):
        super().__init__()
        self.words = words
        self.table: torch.Tensor
        self.register_buffer("table", words.weight.new_zeros(num_rows, words.embedding_dim), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        rows = input_ids - self.words.num_embeddings
        is_word = rows < 0
        words = self.words(input_ids.masked_fill(~is_word, 0))
        features = nn.functional.embedding(rows.clamp(min=0), self.table)
        return torch.where(is_word.unsqueeze(-1), words, features)


class ContinuousBatcher:
    """Writes several answers at once, each with its own length and temperature.

    When a step breaks down, its answers are tried apart: those that also break down alone fail, the others go on.

    Args:
        model: On its device, in its dtype. Its embedding is replaced: do not use it for anything else.
        deliver: Called from a thread with an answer's name, all its tokens so far, and whether it is finished.
        fail: Called from a thread with the names of answers that fail, and whether the model works no more.
        slots: Answers at the same time; one more waits in `add`.
        max_context: Tokens of a prompt and its answer together, at most.
    """

    def __init__(
        self,
        model: KoCapForConditionalGeneration,
        *,
        deliver: Callable[[str, list[int], bool], None],
        fail: Callable[[list[str], bool], None],
        slots: int,
        max_context: int,
    ):
        self._model, self._deliver, self._fail = model, deliver, fail
        self._slots, self.max_context = slots, max_context
        language_model = model.model.language_model
        self._embedding = PromptEmbedding(language_model.get_input_embeddings(), slots * max_context)
        language_model.set_input_embeddings(self._embedding)
        self._text = _causal_half(model)
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
        self._free: SimpleQueue[int] = SimpleQueue()
        for slot in range(slots):
            self._free.put(slot)
        self._taken: dict[str, Answer] = {}
        self._batches: dict[bool, AnswerBatch] = {}  # sampling or not: transformers settles that per manager
        self._lock = threading.Lock()
        self._mending = threading.Lock()

    @torch.no_grad()
    def add(self, name: str, inputs: dict, *, max_new_tokens: int, sampling: TokenSampling) -> None:
        """Begin an answer; waits for a slot. Call it from one thread only.

        Args:
            inputs: What the processor gives for one prompt, on the CPU.
        """
        if inputs["input_ids"].shape[1] + max_new_tokens > self.max_context:
            raise ValueError(f"prompt and answer have over {self.max_context} tokens.")
        slot = self._free.get()
        try:
            prompt = self._place(slot, inputs)
        except BaseException:
            self._free.put(slot)
            raise
        answer = Answer(slot, prompt, inputs["input_ids"][0].tolist(), sampling, max_new_tokens)
        with self._lock:
            self._taken[name] = answer
        try:
            with self._mending:
                self._begin(self._batch(sampled=sampling.temperature > 0), name, answer)
        except BaseException:
            self._release(name)
            raise

    def cancel(self, name: str) -> None:
        """Abandon an answer; nothing happens when it is unknown or finished."""
        if (taken := self._release(name)) and taken.batch:
            taken.batch.cancel(name)

    def close(self) -> None:
        """Abandon every answer and end the threads, without which a process does not end."""
        for batch in self._batches.values():
            batch.stop()

    def _begin(self, batch: AnswerBatch, name: str, answer: Answer) -> None:
        batch.begin(name, answer)
        if name not in self._taken:  # abandoned just now
            batch.end(name)
            batch.cancel(name)

    def _release(self, name: str) -> Answer | None:
        with self._lock:
            taken = self._taken.pop(name, None)
        if taken:
            if taken.batch:
                taken.batch.end(name)
            self._free.put(taken.slot)
        return taken

    def _place(self, slot: int, inputs: dict) -> list[int]:
        """Lay the features of a prompt's frames into the slot's rows, and let its ids point there."""
        inputs = {name: self._moved(value) for name, value in inputs.items()}
        ids, row = inputs["input_ids"][0].clone(), slot * self.max_context
        for token_id, features in self._features(inputs):
            mask = ids == token_id
            if int(mask.sum()) != len(features):
                raise ValueError(f"{int(mask.sum())} placeholders for {len(features)} features.")
            self._embedding.table[row : row + len(features)] = features.to(self._embedding.table)
            rows = torch.arange(row, row + len(features), device=ids.device)
            ids[mask] = self._embedding.words.num_embeddings + rows
            row += len(features)
        if ids.is_cuda:
            torch.cuda.synchronize(ids.device)  # the batch runs on a stream of its own
        return ids.tolist()

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        dtype = self._model.dtype if value.is_floating_point() else value.dtype
        return value.to(self._model.device, dtype)

    def _features(self, inputs: dict) -> Iterator[tuple[int, torch.Tensor]]:
        """Placeholder ids and the projected features `[n, D]` that belong there, in reading order."""
        model, config = self._model, self._model.config
        if "pixel_values" in inputs:
            images = model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
            yield config.image_token_id, images.flatten(0, 1)
        if "pixel_values_videos" in inputs:
            names = ("pixel_values_videos", "pixel_values_videos_mask")
            given = {name: inputs[name] for name in names if name in inputs}
            videos = model.get_video_features(**given, return_dict=True).pooler_output
            yield config.video_token_id, torch.cat(list(videos))

    def _batch(self, *, sampled: bool) -> AnswerBatch:
        if sampled not in self._batches:
            self._adopt(self._new_batch(sampled=sampled), sampled=sampled)
        return self._batches[sampled]

    def _adopt(self, batch: AnswerBatch, *, sampled: bool) -> None:
        self._batches[sampled] = batch
        threading.Thread(target=self._pass_on, args=(batch, sampled), daemon=True).start()

    def _new_batch(self, *, sampled: bool) -> AnswerBatch:
        # Not neutral, or transformers leaves the step out; every answer brings numbers of its own.
        sampling = {"temperature": 0.7, "top_p": 0.9, "top_k": 50} if sampled else {}
        pages = self._slots * math.ceil(self.max_context / PAGE_TOKENS)
        manager = self._text.init_continuous_batching(
            GenerationConfig(do_sample=sampled, eos_token_id=sorted(self._ends) or None, **sampling),
            ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=math.ceil(pages * SPARE),
                max_batch_tokens=PREFILL_TOKENS,
                max_requests_per_batch=self._slots,
                allow_block_sharing=False,  # the same id means other frames after a while
                per_request_processors=sampled,
            ),
        )
        vocab_size = self._text.get_output_embeddings().out_features
        choice = TokenChoice(manager, slots=self._slots, vocab_size=vocab_size, device=self._model.device)
        return AnswerBatch(manager, choice, vocab_size)

    def _pass_on(self, batch: AnswerBatch, sampled: bool) -> None:
        for output in batch.outputs():
            answer = self._taken.get(output.request_id)
            if answer is None or (output.error is not None and batch.is_breaking()):
                continue  # abandoned; or `_mend` sees to it
            if output.error is not None:
                logger.error("an answer failed")
                self._give_up(output.request_id)
            else:
                answer.tokens = [*answer.tokens[: answer.before], *output.generated_tokens]
                self._hand_on(output.request_id, answer, finished=output.is_finished())
        if batch.error is not None:
            self._mend(batch, sampled)

    def _hand_on(self, name: str, answer: Answer, *, finished: bool) -> None:
        if finished and not self._release(name):
            return  # abandoned
        self._deliver(name, answer.tokens, finished)

    def _give_up(self, name: str) -> None:
        if self._release(name):
            self._fail([name], False)

    def _mend(self, broken: AnswerBatch, sampled: bool) -> None:
        """Find what broke a batch down by trying its answers apart, and go on with the others in a new one."""
        logger.error("a batch broke down with %s", type(broken.error).__name__)
        with self._mending, torch.no_grad():
            with self._lock:
                suspects = {name: answer for name, answer in self._taken.items() if answer.batch is broken}
            del self._batches[sampled]
            broken.close()
            try:
                batch = self._try_apart(suspects, sampled)
            except Exception as error:  # the device itself, as it seems
                logger.error("a batch cannot be mended: %s", type(error).__name__)
                return self._fail(list(suspects), True)
            if batch:
                for name, answer in suspects.items():
                    if name in self._taken:
                        self._begin(batch, name, answer)
                self._adopt(batch, sampled=sampled)

    def _try_apart(self, suspects: dict[str, Answer], sampled: bool) -> AnswerBatch | None:
        """Write a token of each alone; gives a batch that works, or None when the model works no more."""
        batch = self._new_batch(sampled=sampled)
        for name, answer in suspects.items():
            answer.breakdowns += 1
            if name not in self._taken:
                continue  # abandoned
            if not batch.write_alone(name, answer):
                batch.close()
                batch = self._new_batch(sampled=sampled)
                if not batch.write_alone("control", self._control()):
                    return self._fail([name], True)
                self._give_up(name)
            elif answer.tokens[-1] in self._ends or len(answer.tokens) >= answer.max_new_tokens:
                self._hand_on(name, answer, finished=True)
            elif answer.breakdowns > MOST_BREAKDOWNS:
                self._give_up(name)
        return batch

    def _control(self) -> Answer:
        """A prompt of ours: where this fails, too, the model works no more."""
        prompt = [min(self._ends, default=0)]
        return Answer(-1, prompt, prompt, TokenSampling(), max_new_tokens=1)


def _causal_half(model: KoCapForConditionalGeneration) -> Any:
    """The language model with its head as transformers' own class for it, sharing every weight."""
    with torch.device("meta"):  # allocate nothing: all of it is replaced
        text = AutoModelForCausalLM.from_config(model.config.text_config)
    setattr(text, text.base_model_prefix, model.model.language_model)
    text.set_output_embeddings(model.get_output_embeddings())
    return text.eval()
