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

logger = logging.getLogger(__name__)

PAGE_TOKENS = 64  # small enough that the last page of an answer wastes little
PREFILL_TOKENS = 1024  # prompt tokens in one step, so that a long prompt does not hold up the others
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

    Args:
        model: On its device, in its dtype. Its embedding is replaced: do not use it for anything else.
        deliver: Called from a thread with an answer's name, all its tokens so far, and whether it is finished.
        fail: Called from a thread when an answer fails, with its name, or all of them do, with None.
        slots: Answers at the same time; one more waits in `add`.
        max_context: Tokens of a prompt and its answer together, at most.
    """

    def __init__(
        self,
        model: KoCapForConditionalGeneration,
        *,
        deliver: Callable[[str, list[int], bool], None],
        fail: Callable[[str | None], None],
        slots: int,
        max_context: int,
    ):
        self._model, self._deliver, self._fail = model, deliver, fail
        self._slots, self.max_context = slots, max_context
        language_model = model.model.language_model
        self._embedding = PromptEmbedding(language_model.get_input_embeddings(), slots * max_context)
        language_model.set_input_embeddings(self._embedding)
        self._text = _causal_half(model)
        self._free: SimpleQueue[int] = SimpleQueue()
        for slot in range(slots):
            self._free.put(slot)
        self._taken: dict[str, tuple[int, Any]] = {}  # an answer's slot and manager
        self._managers: dict[bool, Any] = {}  # sampling or not: transformers settles that per manager
        self._lock = threading.Lock()

    @torch.no_grad()
    def add(
        self, name: str, inputs: dict, *, max_new_tokens: int, temperature: float, top_p: float, top_k: int
    ) -> None:
        """Begin an answer; waits for a slot. Call it from one thread only.

        Args:
            inputs: What the processor gives for one prompt, on the CPU.
            temperature: 0 takes the likeliest token every time.
        """
        if inputs["input_ids"].shape[1] + max_new_tokens > self.max_context:
            raise ValueError(f"prompt and answer have over {self.max_context} tokens.")
        slot = self._free.get()
        try:
            ids = self._place(slot, inputs)
            manager = self._manager(sampled=temperature > 0)
        except BaseException:
            self._free.put(slot)
            raise
        with self._lock:
            self._taken[name] = slot, manager
        top_k = min(top_k, self._model.config.text_config.vocab_size)  # transformers 5.18 breaks down on more
        chosen = {"temperature": float(temperature), "top_p": float(top_p), "top_k": top_k} if temperature > 0 else {}
        manager.add_request(ids, name, max_new_tokens=max_new_tokens, streaming=True, **chosen)

    def cancel(self, name: str) -> None:
        """Abandon an answer; nothing happens when it is unknown or finished."""
        if taken := self._release(name):
            taken[1].cancel_request(name)

    def close(self) -> None:
        """Abandon every answer and end the threads, without which a process does not end."""
        for manager in self._managers.values():
            manager.stop(block=True, hard_stop=True)

    def _release(self, name: str) -> tuple[int, Any] | None:
        with self._lock:
            taken = self._taken.pop(name, None)
        if taken:
            self._free.put(taken[0])
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

    def _manager(self, *, sampled: bool) -> Any:
        if sampled not in self._managers:
            # Not neutral, or transformers leaves the step out; every answer brings numbers of its own.
            sampling = {"temperature": 0.7, "top_p": 0.9, "top_k": 50} if sampled else {}
            eos = self._model.generation_config.eos_token_id
            pages = self._slots * math.ceil(self.max_context / PAGE_TOKENS)
            manager = self._text.init_continuous_batching(
                GenerationConfig(do_sample=sampled, eos_token_id=eos, **sampling),
                ContinuousBatchingConfig(
                    page_size=PAGE_TOKENS,
                    num_blocks=math.ceil(pages * SPARE),
                    max_batch_tokens=PREFILL_TOKENS,
                    max_requests_per_batch=self._slots,
                    allow_block_sharing=False,  # the same id means other frames after a while
                    per_request_processors=sampled,
                ),
            )
            manager.start()
            self._managers[sampled] = manager
            threading.Thread(target=self._pass_on, args=(manager,), daemon=True).start()
        return self._managers[sampled]

    def _pass_on(self, manager: Any) -> None:
        for output in manager:
            finished = output.is_finished()
            if finished and not self._release(output.request_id):
                continue  # abandoned
            if output.error is not None:
                logger.error("an answer failed: %s", output.error)
                self._fail(output.request_id)
            else:
                self._deliver(output.request_id, output.generated_tokens, finished)
        self._fail(None)  # the manager goes on for ever unless it breaks down


def _causal_half(model: KoCapForConditionalGeneration) -> Any:
    """The language model with its head as transformers' own class for it, sharing every weight."""
    with torch.device("meta"):  # allocate nothing: all of it is replaced
        text = AutoModelForCausalLM.from_config(model.config.text_config)
    setattr(text, text.base_model_prefix, model.model.language_model)
    text.set_output_embeddings(model.get_output_embeddings())
    return text.eval()
