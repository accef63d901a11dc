"""Part a, *right*: a GPU says what the CPU says. The embedded model, twenty clips, a CPU's captions beside them.

float32 is compared caption by caption, bfloat16 by how far captions agree, and three kinds of attention by their
logits; NF4 has to load and to speak. `baggage.py` made the clips, so nothing is decoded here.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from baggage import count_tokens, find_baggage, load_clips
from cells import Cell, Machine, run_part
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForImageTextToText, AutoProcessor

import modeling.auto_classes  # noqa: F401
from evaluation.generation import caption_clips
from modeling.checkpoint_names import EMBEDDED_MODEL
from processing.pipeline_kocap import KoCapPipeline
from training.adapters import quantization_config

ROOT = Path(__file__).resolve().parents[2]
# SDPA's own kernels by name; `flash` is FlashAttention-2 as torch ships it.
KERNELS = {"math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}


def load(machine: Machine, dtype: torch.dtype, *, attention: str = "sdpa", four_bit: bool = False) -> KoCapPipeline:
    """The embedded model on the device."""
    quantised = quantization_config("qlora", dtype) if four_bit else None
    model = AutoModelForImageTextToText.from_pretrained(
        ROOT / EMBEDDED_MODEL,
        dtype=dtype,
        attn_implementation=attention,
        device_map={"": machine.device},
        quantization_config=quantised,
    )
    return KoCapPipeline(model=model, processor=AutoProcessor.from_pretrained(ROOT / EMBEDDED_MODEL))


def clips_of(machine: Machine) -> tuple[list, list[str]]:
    """Frames and the CPU's captions."""
    return load_clips(find_baggage(machine))


def agreement(predictions: Sequence[str], expected: Sequence[str]) -> dict:
    """How many captions are equal, and how much of them is until they part, in characters."""
    alike = [_common(a, b) / max(len(a), len(b), 1) for a, b in zip(predictions, expected, strict=True)]
    parted = next(([a, b] for a, b in zip(predictions, expected, strict=True) if a != b), None)
    return {
        "clips": len(predictions),
        "equal": sum(a == b for a, b in zip(predictions, expected, strict=True)),
        "common_prefix": round(sum(alike) / len(alike), 4),
        "unique": len(set(predictions)),
        "first_difference": parted,
    }


def _common(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def captions_agree(machine: Machine, dtype: torch.dtype, **loading) -> dict:
    """Greedy captions against the CPU's float32 ones."""
    frames, expected = clips_of(machine)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    captions = caption_clips(load(machine, dtype, **loading), frames, max_new_tokens=count_tokens(machine))
    return agreement(captions, expected)


@torch.inference_mode()
def attention_agrees(machine: Machine, dtype: torch.dtype) -> dict:
    """Logits of a whole caption under every kernel, against eager float32: the norm of the difference over the norm."""
    frames, captions = clips_of(machine)
    pipe = load(machine, torch.float32, attention="eager")
    inputs = _answered(pipe, frames[0], captions[0], machine)
    reference = pipe.model(**inputs).logits
    outcome = {}
    for name in ("eager", *KERNELS):
        pipe.model.to(dtype).set_attn_implementation("eager" if name == "eager" else "sdpa")
        typed = {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
        try:
            with sdpa_kernel(KERNELS.get(name, SDPBackend.MATH)):
                logits = pipe.model(**typed).logits.float()
        except RuntimeError as error:  # a kernel that this device or type has not
            outcome[name] = f"not here: {str(error).splitlines()[0][:120]}"
            continue
        difference = (logits - reference).norm() / reference.norm()
        outcome[name] = {
            "relative_difference": float(f"{difference.item():.3g}"),
            "same_likeliest": round((logits.argmax(-1) == reference.argmax(-1)).float().mean().item(), 5),
        }
    return outcome


def _answered(pipe: KoCapPipeline, frames, caption: str, machine: Machine) -> dict[str, torch.Tensor]:
    """A clip, the question and the caption after it, unpadded, so that attention is plainly causal."""
    ask = [{"type": "video", "video": frames}, {"type": "text", "text": "이 영상을 한국어로 상세히 묘사해주세요."}]
    chat = [{"role": "user", "content": ask}, {"role": "assistant", "content": [{"type": "text", "text": caption}]}]
    inputs = pipe.processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
    inputs.pop("attention_mask")
    return {name: value.to(machine.device) for name, value in inputs.items() if torch.is_tensor(value)}


def tests_pass(machine: Machine) -> dict:
    """tests/gpu, in this process: `pytest` there does not know the stand-ins."""
    counts = _Counts()
    arguments = ["-q", "-p", "no:cacheprovider", f"--device={machine.device.type}", str(ROOT / "tests" / "gpu")]
    code = pytest.main(arguments, plugins=[counts])
    if code:
        raise RuntimeError(f"tests/gpu: {counts.outcomes}, pytest's exit code is {int(code)}: {counts.failed[:5]}")
    return counts.outcomes


class _Counts:
    """A plugin that counts outcomes."""

    def __init__(self):
        self.outcomes = {"passed": 0, "failed": 0, "skipped": 0}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1
            if report.failed:
                self.failed.append(report.nodeid)


def list_cells(machine: Machine) -> Iterator[Cell]:
    """In order of worth."""
    yield Cell("captions float32", partial(captions_agree, machine, torch.float32))
    yield Cell("captions bfloat16", partial(captions_agree, machine, torch.bfloat16))
    yield Cell("captions nf4", partial(captions_agree, machine, torch.bfloat16, four_bit=True))
    yield Cell("captions float32 eager", partial(captions_agree, machine, torch.float32, attention="eager"))
    yield Cell("attention float32", partial(attention_agrees, machine, torch.float32))
    yield Cell("attention bfloat16", partial(attention_agrees, machine, torch.bfloat16))
    yield Cell("tests", partial(tests_pass, machine))


if __name__ == "__main__":
    sys.exit(run_part("right", list_cells))
