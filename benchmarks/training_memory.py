"""Peak memory, step time and tokens per second of every preset at its real shape, with random weights, on a GPU.

    python benchmarks/training_memory.py                      # every tier
    python benchmarks/training_memory.py --tier t4 --kind qlora lora
    python benchmarks/training_memory.py --tier cpu --shape small   # the code path alone, without a GPU

Nothing is downloaded: shapes come from configuration/backbone_shapes.py, weights and inputs are random, and 4-bit
weights are quantised layer by layer, so that a model never stands there in 16 bits first. Every number is printed
beside the memory plan and, in a column of that name, the planning figure that the project began with.
"""

import argparse
import dataclasses
import gc
import importlib.metadata
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from run_record import save_result
from torch import nn
from transformers import AutoModel, PreTrainedModel, Qwen3Config, SiglipVisionConfig

from configuration.configuration_kocap import KoCapConfig
from configuration.gpu_tiers import CAPTION_TOKENS, TIERS, GpuTier
from configuration.memory_plan import GIB, MemoryPlan, count_tokens_per_frame, plan_memory
from modeling.modeling_kocap import KoCapForConditionalGeneration
from modeling.projector_kocap import Projector
from training.adapters import add_adapter
from training.peak_memory import peak_memory_bytes, reset_peak_memory
from training.run_settings import CHECKPOINTING

STEPS = 20
WARM_UP = 3  # steps that are not timed
KINDS = ("lora", "dora", "qlora", "full")
# Figures of the planning documents for a 7 B model, in GB; never measured by this project.
PLANNING_FIGURES_GB = {"full": 112, "lora": 56, "qlora": 6}
# The model these figures are about: LLaVA-NeXT-Video-7B's parts. Vicuna takes up to 1,572 tokens for a caption.
BASELINE = dataclasses.replace(
    TIERS["h100"],
    name="baseline-7b",
    vision="openai/clip-vit-large-patch14-336",
    text="lmsys/vicuna-7b-v1.5",
    vision_feature_layer=-2,
    rank=16,
    num_frames=8,
    image_size=336,
    batch_size=1,
    sequence_length=2944,
)
ALL_TIERS = TIERS | {BASELINE.name: BASELINE}


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the table: a shape, what is trained, and how."""

    config: KoCapConfig
    kind: str
    rank: int
    dtype: str
    batch_size: int
    sequence_length: int
    frames: int
    image_size: int
    gradient_checkpointing: bool

    @classmethod
    def of(cls, tier: GpuTier, kind: str, *, small: bool = False) -> "Run":
        names = ("rank", "dtype", "batch_size", "sequence_length", "image_size", "gradient_checkpointing")
        settings = {name: getattr(tier, name) for name in names} | {"frames": tier.num_frames}
        config = tier.model_config()
        if small:
            config = small_config()
            settings |= {"sequence_length": 128, "frames": 2, "image_size": 64}
        return cls(config=config, kind=kind, **settings)

    @property
    def four_bit(self) -> bool:
        return self.kind in ("qlora", "qdora")

    def plan(self) -> MemoryPlan:
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return plan_memory(settings.pop("config"), four_bit=self.four_bit, **settings)


def small_config() -> KoCapConfig:
    """Two-layer towers, for trying the code."""
    return KoCapConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=64,
            vision_use_head=False,
        ),
        text_config=Qwen3Config(
            vocab_size=1000,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
        ),
        image_token_id=998,
        video_token_id=999,
    )


def build_model(run: Run, device: torch.device) -> nn.Module:
    """A KoCap model with random weights, built on the device, with what `run.kind` trains; nothing else is trained."""
    # What is trained is float32, and `full` trains the whole language model; the rest is stored as it computes.
    dtype = getattr(torch, run.dtype)
    text_dtype = torch.float32 if run.kind == "full" else dtype
    with torch.device("meta"):
        model = KoCapForConditionalGeneration(run.config)
    inner, text_config = model.model, run.config.text_config
    with torch.device(device):
        inner.vision_tower = AutoModel.from_config(run.config.vision_config).to(dtype)
        inner.multi_modal_projector = Projector(
            run.config.vision_hidden_size, text_config.hidden_size, projector_type=run.config.projector_type
        ).to(dtype)
        inner.language_model.rotary_emb = type(inner.language_model.rotary_emb)(config=text_config)
    if run.four_bit:
        quantise_linears(inner.language_model, device=device, dtype=dtype)
        model.is_loaded_in_4bit = True  # where PEFT looks
    fill_weights(model, device=device, dtype=text_dtype)
    model.tie_weights()
    model.requires_grad_(False)
    if run.gradient_checkpointing:
        getattr(inner.language_model, f"{CHECKPOINTING}_enable")({"use_reentrant": False})
    return add_adapter(model, run.kind, rank=run.rank).train()


def quantise_linears(language_model: PreTrainedModel, *, device: torch.device, dtype: torch.dtype) -> None:
    """Put random NF4 layers (double quantisation) in the place of the linear layers on the meta device, one by one."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for module in list(language_model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                layer = Linear4bit(
                    child.in_features,
                    child.out_features,
                    bias=False,
                    compute_dtype=dtype,
                    quant_type="nf4",
                    device="meta",
                )
                weight = torch.randn(child.out_features, child.in_features, device=device, dtype=dtype) * 0.02
                layer.weight = Params4bit(
                    weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer
                )
                setattr(module, name, layer.to(device))  # quantises


def fill_weights(model: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
    """Random matrices and vectors of ones for whatever is still on the meta device."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                weight = torch.ones(parameter.shape, device=device, dtype=dtype)
                if weight.ndim > 1:
                    weight.normal_(std=0.02)
                setattr(module, name, nn.Parameter(weight, requires_grad=False))


def random_batch(run: Run, device: torch.device) -> dict[str, torch.Tensor]:
    """Clips of noise with full-length samples; the first is padded by a few tokens where there are several."""
    size, length = run.batch_size, run.sequence_length
    ids = torch.randint(0, 900, (size, length), device=device)
    ids[:, 8 : 8 + run.frames * count_tokens_per_frame(run.config, run.image_size)] = run.config.video_token_id
    mask = torch.ones_like(ids)
    if size > 1:
        mask[0, -4:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, : max(0, length - CAPTION_TOKENS)] = -100
    pixels = torch.rand(size, run.frames, 3, run.image_size, run.image_size, device=device)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values_videos": pixels}


def train(run: Run, device: torch.device, *, steps: int = STEPS) -> dict:
    """Train `steps` steps and say what they took.

    Returns:
        `peak_gib` (what tensors took at most; on a CPU what the process did), `reserved_gib` on a GPU, `step_s`
        (median), `tokens_per_s`, `trainable_parameters`, `loss` of the last step.
    """
    torch.manual_seed(0)
    free_memory(device)
    model = build_model(run, device)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=5e-5)
    dtype = getattr(torch, run.dtype)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    batch = random_batch(run, device)
    times_s, loss = [], torch.zeros(())
    for _ in range(steps):
        start = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model(**batch, use_cache=False).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start)
    step_s = statistics.median(times_s[min(WARM_UP, steps - 1) :])
    return read_peak(device) | {
        "step_s": round(step_s, 4),
        "tokens_per_s": round(run.batch_size * run.sequence_length / step_s, 1),
        "trainable_parameters": sum(weight.numel() for weight in weights),
        "loss": round(loss.item(), 3),
    }


def free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    reset_peak_memory()


def read_peak(device: torch.device) -> dict[str, float]:
    peak = {"peak_gib": round(peak_memory_bytes() / GIB, 2)}
    if device.type == "cuda":
        peak["reserved_gib"] = round(torch.cuda.max_memory_reserved() / GIB, 2)
    return peak


def measure(tier: GpuTier, kind: str, device: torch.device, *, small: bool = False, steps: int = STEPS) -> dict:
    """One cell, or why there is none: what the plan says does not fit is not tried."""
    run = Run.of(tier, kind, small=small)
    plan = run.plan()
    free = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else tier.memory_bytes
    row: dict = {
        "tier": tier.name,
        "kind": kind,
        "text": "small" if small else tier.text,
        "batch_size": run.batch_size,
        "sequence_length": run.sequence_length,
        "plan_gib": round(plan.total / GIB, 2),
        "plan_without_overhead_gib": round((plan.total - plan.overhead) / GIB, 2),
        "planning_figure_7b_gb": PLANNING_FIGURES_GB.get(kind),
    }
    if plan.total > free:
        return row | {"skipped": f"the plan says {plan.total / GIB:.1f} GiB, this device has {free / GIB:.1f} GiB"}
    try:
        return row | train(run, device, steps=steps)
    except torch.OutOfMemoryError as error:
        return row | {"skipped": f"out of memory: {str(error).splitlines()[0]}"}
    finally:
        free_memory(device)


def format_table(rows: list[dict]) -> str:
    """Rows as Markdown."""
    lines = [
        "| tier | trains | language model | batch x length | peak GiB | plan GiB (without overhead) | planning figure,"
        " 7 B, GB | step s | tokens/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        plan = f"{row['plan_gib']} ({row['plan_without_overhead_gib']})"
        shape = f"{row['batch_size']} x {row['sequence_length']}"
        measured = [row.get(name, "-") for name in ("peak_gib", "step_s", "tokens_per_s")]
        cells = [row["tier"], row["kind"], row["text"], shape, measured[0], plan, row["planning_figure_7b_gb"] or "-"]
        lines.append("| " + " | ".join(str(cell) for cell in [*cells, *measured[1:]]) + " |")
        if "skipped" in row:
            lines.append(f"| | | {row['skipped']} | | | | | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tier", nargs="+", choices=list(ALL_TIERS), default=[name for name in ALL_TIERS if name != "cpu"]
    )
    parser.add_argument("--kind", nargs="+", choices=[*KINDS, "qdora", "wavelet"], default=list(KINDS))
    parser.add_argument("--shape", choices=["real", "small"], default="real")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    small = arguments.shape == "small"
    if not torch.cuda.is_available() and not (small and arguments.tier == ["cpu"]):
        print("nothing measured: there is no GPU here. `--tier cpu --shape small` tries the code without one.")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name in arguments.tier:
        for kind in arguments.kind:
            rows.append(measure(ALL_TIERS[name], kind, device, small=small, steps=arguments.steps))
            print(rows[-1], flush=True)
    print(format_table(rows))
    if not small:  # a trial of the code is no result
        versions = {name: importlib.metadata.version(name) for name in ("peft", "bitsandbytes")}
        print(f"saved {save_result('training_memory', {'steps': arguments.steps, 'versions': versions, 'rows': rows})}")


if __name__ == "__main__":
    main()
