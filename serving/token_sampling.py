"""How an answer's tokens are chosen: what was asked for, the checkpoint's settings where nothing was."""

from dataclasses import dataclass

from transformers import GenerationConfig

from .engine import Job

SMALLEST_TEMPERATURE = 0.01  # below it the likeliest token has all the probability, and float32 overflows soon after
SMALLEST_TOP_P = 1e-6
NO_TOP_K = 1 << 30  # writers cut it down to the vocabulary


@dataclass(frozen=True)
class TokenSampling:
    """Numbers that every engine can compute with.

    Attributes:
        temperature: 0 is greedy, else at least `SMALLEST_TEMPERATURE`.
        repetition_penalty: On tokens of the prompt and of the answer; 1 is none.
        seed: None: another answer each time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = NO_TOP_K
    repetition_penalty: float = 1.0
    seed: int | None = None


def resolve_sampling(usual: GenerationConfig, asked: Job) -> TokenSampling:
    """What a job asks for, within the numbers that can be computed with."""

    def first(*values: float | None, neutral: float) -> float:
        return next((value for value in values if value is not None), neutral)

    temperature = first(asked.temperature, (usual.temperature or 1.0) if usual.do_sample else 0.0, neutral=0.0)
    top_k = int(first(asked.top_k, usual.top_k, neutral=0))
    return TokenSampling(
        temperature=float(temperature) if temperature >= SMALLEST_TEMPERATURE else 0.0,
        top_p=max(float(first(asked.top_p, usual.top_p, neutral=1.0)), SMALLEST_TOP_P),
        top_k=top_k if top_k > 0 else NO_TOP_K,
        repetition_penalty=float(first(asked.repetition_penalty, usual.repetition_penalty, neutral=1.0)),
        seed=asked.seed,
    )
