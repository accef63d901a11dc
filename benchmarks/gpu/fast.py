"""Part c, *fast*: how quickly Qwen3-8B's shape sees 16 frames and writes, as shares of what the card can do.

Random weights of the real shapes (SigLIP2-so400m, 196 tokens a frame; Qwen3-8B in bfloat16). The card's bandwidth is
measured by copying, its arithmetic by a matrix product: decoding reads every weight once a token, prefill multiplies.
"""

import queue
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from cells import Cell, Machine, run_part
from fits import build_model, small_config

from configuration.gpu_tiers import TIERS
from configuration.memory_plan import count_tokens_per_frame
from configuration.parameter_counts import count_model
from modeling.modeling_kocap import KoCapForConditionalGeneration
from serving.continuous_batching import ContinuousBatcher
from serving.token_sampling import TokenSampling

FRAMES = 16
PROMPT_TOKENS = 60
BATCHES = (1, 8, 32)
REPEATS = 5


def timed(machine: Machine, work: Callable[[], object], *, repeats: int = REPEATS) -> float:
    """Median seconds of some work on the device, warmed up once."""
    times_s = []
    for _ in range(1 + repeats):
        machine.synchronize()
        started = time.perf_counter()
        work()
        machine.synchronize()
        times_s.append(time.perf_counter() - started)
    return statistics.median(times_s[1:])


@cache
def roofline(machine: Machine) -> dict:
    """GB/s of a large copy, counting what is read and written; TFLOP/s of a bfloat16 product of random matrices."""
    size = 256 if machine.rehearse else 8192
    dtype = torch.float32 if machine.rehearse else torch.bfloat16
    source = torch.empty(size * size * (1 if machine.rehearse else 32), device=machine.device)
    target = torch.empty_like(source)
    copy_s = timed(machine, lambda: target.copy_(source))
    a, b = (torch.randn(size, size, device=machine.device, dtype=dtype) for _ in range(2))
    product_s = timed(machine, lambda: a @ b)
    return {"copy_gb_s": _digits(2 * source.nbytes / copy_s / 1e9), "tflop_s": _digits(2 * size**3 / product_s / 1e12)}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


class Speaker:
    """The model and a prompt of 16 frames for it."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.config = small_config() if machine.rehearse else TIERS["l4"].model_config()
        self.dtype = torch.float32 if machine.rehearse else torch.bfloat16
        self.size = 64 if machine.rehearse else TIERS["l4"].image_size
        self.frames = 2 if machine.rehearse else FRAMES
        self.num_new = 8 if machine.rehearse else 128
        torch.manual_seed(0)
        self.model: KoCapForConditionalGeneration = build_model(self.config, machine.device, self.dtype)
        self.counts = count_model(self.config)
        per_frame = count_tokens_per_frame(self.config, self.size)
        ids = torch.randint(1, 900, (1, PROMPT_TOKENS + self.frames * per_frame))
        ids[0, 8 : 8 + self.frames * per_frame] = self.config.video_token_id
        pixels = torch.rand(1, self.frames, 3, self.size, self.size, dtype=self.dtype)
        self.prompt = {"input_ids": ids, "pixel_values_videos": pixels}
        self.inputs = {name: value.to(machine.device) for name, value in self.prompt.items()}

    @property
    def language_bytes(self) -> int:
        """What a decoded token reads at least: the language model, of the embeddings the head alone."""
        text = self.config.text_config
        head = text.vocab_size * text.hidden_size
        return (self.counts.linears + self.counts.others + head) * self.dtype.itemsize

    def generate(self, count: int, **options) -> torch.Tensor:
        """Greedy tokens, so many and no fewer."""
        return self.model.generate(
            **self.inputs, do_sample=False, max_new_tokens=count, min_new_tokens=count, pad_token_id=0, **options
        )


@cache
def speaker(machine: Machine) -> Speaker:
    """Built once for all cells."""
    return Speaker(machine)


@torch.inference_mode()
def encoder(machine: Machine, batch: int) -> dict:
    """Frames a second through the vision encoder and pooling."""
    own = speaker(machine)
    pixels = torch.rand(batch, 3, own.size, own.size, device=machine.device, dtype=own.dtype)
    seconds = timed(machine, lambda: own.model.model.encode_frames(pixels))
    flop = 2 * own.counts.vision * (own.size // own.config.vision_config.patch_size) ** 2 * batch
    share = flop / seconds / 1e12 / roofline(machine)["tflop_s"]
    return {"batch": batch, "frames_per_s": round(batch / seconds, 1), "share_of_product": round(share, 3)}


@torch.inference_mode()
def prefill(machine: Machine) -> dict:
    """Time to the first token of one prompt, with the encoder and without."""
    own = speaker(machine)
    whole_s = timed(machine, lambda: own.model(**own.inputs, logits_to_keep=1))
    features = own.model.model.encode_frames(own.inputs["pixel_values_videos"][0])[None]
    given = {"input_ids": own.inputs["input_ids"], "video_features": features}
    text_s = timed(machine, lambda: own.model(**given, logits_to_keep=1))
    tokens = own.inputs["input_ids"].shape[1]
    share = 2 * (own.counts.linears + own.counts.others) * tokens / text_s / 1e12 / roofline(machine)["tflop_s"]
    return {
        "tokens": tokens,
        "with_encoder_ms": round(1000 * whole_s, 2),
        "language_model_ms": round(1000 * text_s, 2),
        "share_of_product": round(share, 3),
    }


def decode(machine: Machine, **options) -> dict:
    """Tokens a second of one answer, the prompt's pass subtracted."""
    own = speaker(machine)
    started = time.perf_counter()
    own.generate(own.num_new + 1, **options)  # compiles, where it is to
    machine.synchronize()
    first_s = time.perf_counter() - started
    first = timed(machine, lambda: own.generate(1, **options), repeats=2)
    all_s = timed(machine, lambda: own.generate(own.num_new + 1, **options), repeats=2)
    per_s = own.num_new / (all_s - first)
    limit = roofline(machine)["copy_gb_s"] * 1e9 / own.language_bytes
    return {
        "tokens_per_s": round(per_s, 1),
        "share_of_bandwidth": round(per_s / limit, 3),
        "first_call_s": round(first_s, 1),
        "roofline_tokens_per_s": round(limit, 1),
    }


def together(machine: Machine) -> dict:
    """Continuous batching: answers at once, tokens a second of all, from the first token of the last prompt on."""
    own = speaker(machine)
    outputs: queue.SimpleQueue = queue.SimpleQueue()
    count, most = own.num_new, max(BATCHES)
    batcher = ContinuousBatcher(
        own.model,
        deliver=lambda name, tokens, done: outputs.put((name, len(tokens), done, time.perf_counter())),
        fail=lambda names, ends: outputs.put((", ".join(names), None, True, 0.0)),
        slots=most,
        max_context=own.prompt["input_ids"].shape[1] + 2 * count,
    )
    outcome = {}
    try:
        for batch in (1, *BATCHES):  # the first one warms up
            outcome[str(batch)] = _answer_together(batcher, own, outputs, batch, count)
    finally:
        batcher.close()
        speaker.cache_clear()  # its embedding is the batcher's now
    return {"tokens_per_s": outcome}


def _answer_together(batcher, own: Speaker, outputs: queue.SimpleQueue, batch: int, count: int) -> float:
    for number in range(batch):
        batcher.add(f"{batch}-{number}", own.prompt, max_new_tokens=count, sampling=TokenSampling())
    seen: dict[str, int] = {}
    begun_at, had, done = None, 0, 0
    while done < batch:
        name, num_tokens, is_last, at = outputs.get(timeout=120)
        if num_tokens is None:
            raise RuntimeError(f"continuous batching broke down at {name}")
        seen[name] = num_tokens
        done += is_last
        if begun_at is None and len(seen) == batch:
            begun_at, had = at, sum(seen.values())
    return round((sum(seen.values()) - had) / (at - begun_at), 1)


def list_cells(machine: Machine) -> Iterator[Cell]:
    """In order of worth."""
    yield Cell("roofline", lambda: dict(roofline(machine)))
    yield Cell("decode generate", partial(decode, machine), least_s=15)
    yield Cell("prefill", partial(prefill, machine))
    for batch in (2,) if machine.rehearse else (FRAMES, 64):
        yield Cell(f"encoder {batch} frames", partial(encoder, machine, batch))
    yield Cell("continuous batching", partial(together, machine), least_s=15)
    compiled = {"cache_implementation": "static"} | ({"disable_compile": True} if machine.rehearse else {})
    yield Cell("decode static compiled", partial(decode, machine, **compiled), least_s=30)  # a minute


if __name__ == "__main__":
    sys.exit(run_part("fast", list_cells))
