"""Answers that share a model's steps, in one of transformers' continuous batches."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from .token_choice import TokenChoice
from .token_sampling import TokenSampling


@dataclass
class Answer:
    """An answer that is being written, and all that it takes to go on with it in another batch.

    Attributes:
        slot: Its rows in the table of features.
        prompt: Token ids; frames are ids beyond the vocabulary.
        seen: The same prompt as the tokenizer wrote it.
        tokens: Written so far.
        before: How many of them an earlier batch wrote.
        breakdowns: Batches that broke down with it.
        batch: That writes it now, beside others.
    """

    slot: int
    prompt: list[int]
    seen: list[int]
    sampling: TokenSampling
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)
    before: int = 0
    breakdowns: int = 0
    batch: "AnswerBatch | None" = None


class AnswerBatch:
    """One of transformers' managers, started: a paged cache, and a thread that writes answers step by step."""

    def __init__(self, manager: Any, choice: TokenChoice, vocab_size: int):
        self._manager, self._choice, self._vocab_size = manager, choice, vocab_size
        manager.start()

    @property
    def error(self) -> Exception | None:
        """What broke it down, if anything did."""
        return self._manager.background_thread_status.fatal_error

    def is_breaking(self) -> bool:
        """Whether it broke down, or is about to end for that."""
        return self._manager.background_thread_status.can_accept_new_requests() is not None

    def begin(self, name: str, answer: Answer, *, max_new_tokens: int | None = None) -> None:
        """Write an answer, or go on with it; nothing happens where it has broken down."""
        answer.batch, answer.before = self, len(answer.tokens)
        how = answer.sampling
        row = self._choice.begin(name, [*answer.seen, *answer.tokens], how, written=answer.before)
        top_k = min(how.top_k, self._vocab_size)  # transformers 5.18 breaks down on more
        chosen = {"temperature": how.temperature, "top_p": how.top_p, "top_k": top_k} if how.temperature > 0 else {}
        left = max_new_tokens or answer.max_new_tokens - answer.before
        ids = [*answer.prompt, *answer.tokens]
        self._manager.add_request(ids, name, max_new_tokens=left, streaming=True, **row, **chosen)

    def end(self, name: str) -> None:
        """Forget how a finished answer chooses."""
        self._choice.end(name)

    def cancel(self, name: str) -> None:
        """Abandon an answer."""
        if manager := self._manager:
            manager.cancel_request(name)

    def outputs(self) -> Iterator[Any]:
        """All that it writes, until it breaks down."""
        yield from self._manager
        while (output := self._manager.get_result(timeout=0)) is not None:  # written just before
            yield output

    def write_alone(self, name: str, answer: Answer) -> bool:
        """Write one more token of an answer while there is no other; says whether that worked."""
        self.begin(name, answer, max_new_tokens=1)
        answer.batch = None  # it can be abandoned, but not taken away from here: nothing would come of it any more
        for output in self.outputs():
            if output.request_id == name and output.is_finished():
                self.end(name)
                if output.error is None:
                    answer.tokens = [*answer.tokens, *output.generated_tokens]
                return output.error is None
        return False

    def stop(self) -> None:
        """Abandon its answers and end its thread."""
        self._manager.stop(block=True, hard_stop=True)

    def close(self) -> None:
        """Free what a batch that broke down holds, its cache above all."""
        self._manager = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
