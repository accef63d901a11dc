"""What transformers' continuous batching does not settle per answer: repetition penalties and seeds.

Both are logits processors of its own kind. They keep what they need in tables on the model's device, a row an answer,
so that they also hold where steps overlap or are captured as graphs. Temperature, top-k and top-p, between the two,
are transformers' own.
"""

import random
from collections import deque
from typing import Any

import torch
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

from .token_sampling import TokenSampling

BELOW_ONE = 1 - 2**-24  # the largest float32 below 1


class TokenChoice:
    """Penalties and seeds of the answers that one manager writes.

    Args:
        manager: transformers' `ContinuousBatchingManager`, not yet started.
        slots: Answers at the same time.
    """

    def __init__(self, manager: Any, *, slots: int, vocab_size: int, device: torch.device):
        # Twice as many rows, in turn: an abandoned answer may have a last step, so its row rests for a while.
        self._free, self._rows = deque(range(2 * slots)), dict[str, int]()
        self._penalty = _RepetitionPenalty(slots, 2 * slots, vocab_size, device)
        self._choice = _Choice(self._penalty, sampled=manager.generation_config.do_sample)
        processors = manager.logit_processor
        processors.logits_processor.insert(0, self._penalty)
        processors.logits_processor.append(self._choice)
        processors.tensors_required += 2
        processors.supported_keys.update(self._penalty.supported_kwargs)
        processors.do_processing = True

    def begin(self, name: str, seen: list[int], sampling: TokenSampling, *, written: int) -> dict[str, int]:
        """Make ready for an answer; gives what its request has to say.

        Args:
            seen: Tokens of the prompt, and of the answer as far as it is written.
            written: How many those are: a seed goes on where it was.
        """
        row = self._rows[name] = self._free.popleft()
        self._penalty.begin(row, seen, sampling.repetition_penalty)
        self._choice.begin(name, sampling.seed, written)
        return {"row": row}

    def end(self, name: str) -> None:
        self._choice.numbers.pop(name, None)
        if (row := self._rows.pop(name, None)) is not None:
            self._penalty.penalised.discard(row)
            self._free.append(row)


class _RepetitionPenalty(ContinuousBatchingLogitsProcessor):
    """As transformers' `RepetitionPenaltyLogitsProcessor`: on each token of the prompt and of the answer."""

    supported_kwargs: dict[str, type] = {"row": int}
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, slots: int, rows: int, vocab_size: int, device: torch.device):
        self.slots = slots
        self.none = rows  # a row without a penalty, for what no answer is
        self.seen = torch.zeros(rows + 1, vocab_size, dtype=torch.bool, device=device)
        self.penalties = torch.ones(rows + 1, device=device)
        self.penalised: set[int] = set()
        self.rows: torch.Tensor | None = None  # of this step's answers; None where there is nothing to do

    def begin(self, row: int, seen: list[int], penalty: float) -> None:
        ids = torch.tensor(seen, dtype=torch.long)
        words = torch.zeros(self.seen.shape[1], dtype=torch.bool)
        words[ids[ids < len(words)]] = True
        self.seen[row] = words.to(self.seen.device)
        self.penalties[row] = penalty
        if penalty != 1:
            self.penalised.add(row)
        if self.seen.is_cuda:
            torch.cuda.synchronize(self.seen.device)  # the batch runs on a stream of its own

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.fill_(self.none)

    def prepare_tensor_args(self, requests_with_new_token: list) -> torch.Tensor:
        rows = [each.state.logit_processor_kwargs.get("row", self.none) for each in requests_with_new_token]
        padding = [self.none] * (self.slots - len(rows))  # of captured graphs: else the rows of the step before
        return torch.tensor([*rows, *padding], dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        if not self.penalised and not scores.is_cuda:  # a captured graph has to do it each time
            self.rows = None
            return scores
        self.rows = tensor_arg[: scores.size(0)].long()
        penalties = self.penalties[self.rows].unsqueeze(-1)
        penalised = torch.where(scores < 0, scores * penalties, scores / penalties)
        return torch.where(self.seen[self.rows], penalised, scores)

    def note(self, chosen: torch.Tensor) -> None:
        """Remember the tokens `[N]` of this step."""
        if self.rows is not None:
            self.seen[self.rows, chosen] = True


class _Choice(ContinuousBatchingLogitsProcessor):
    """Comes last: chooses each answer's token, notes it, and leaves nothing else to choose.

    Each answer has random numbers of its own, one a token, so that its neighbours don't matter.
    """

    supported_kwargs: dict[str, type] = {}
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, penalty: _RepetitionPenalty, *, sampled: bool):
        self._penalty, self._sampled = penalty, sampled
        self.numbers: dict[str, random.Random] = {}

    def begin(self, name: str, seed: int | None, written: int) -> None:
        numbers = random.Random(seed)
        for _ in range(written):
            numbers.random()
        self.numbers[name] = numbers

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list) -> torch.Tensor:
        own = [self.numbers.get(each.state.request_id) for each in requests_with_new_token]
        numbers = [min(each.random(), BELOW_ONE) if each else 0.0 for each in own]  # none: abandoned just now
        return torch.tensor(numbers, dtype=torch.float32).view(dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        if not self._sampled and self._penalty.rows is None:
            return scores  # the likeliest is what transformers takes
        chosen = scores.argmax(-1, keepdim=True)
        if self._sampled:
            probabilities = scores.softmax(-1)
            sums = probabilities.cumsum(-1)
            reached = tensor_arg[: scores.size(0)].view(dtype=torch.float32).unsqueeze(-1) * sums[:, -1:]
            drawn = torch.searchsorted(sums, reached, right=True).clamp(max=sums.shape[1] - 1)
            # rounding may fall on a token without probability; and no token is right where scores are no numbers
            chosen = torch.where(probabilities.gather(-1, drawn) > 0, drawn, chosen)
        self._penalty.note(chosen.squeeze(-1))
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen, 0.0)
