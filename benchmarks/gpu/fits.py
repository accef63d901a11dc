"""Part b, *fits*: memory beside the plan and speed of every preset and adapter kind at its real shape.

Nothing is downloaded: shapes come from configuration/backbone_shapes.py, weights and inputs are random, and 4-bit
weights are quantised layer by layer, so that a model never stands there in 16 bits first. What the plan says does not
fit is not tried.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial

import torch
from cells import Cell, Machine, NotMeasured, run_part
from torch import nn
from transformers import AutoModel, PreTrainedModel, Qwen3Config, SiglipVisionConfig

from configuration.configuration_kocap import KoCapConfig
from configuration.gpu_tiers import CAPTION_TOKENS, TIERS, GpuTier
from configuration.memory_plan import GIB, MemoryPlan, count_tokens_per_frame, plan_memory
from modeling.modeling_kocap import KoCapForConditionalGeneration
from modeling.projector_kocap import Projector
from training.adapters import KINDS, QUANTISED_KINDS, add_adapter
from training.peak_memory import peak_memory_bytes, reset_peak_memory
from training.run_settings import CHECKPOINTING

WARM_UP, STEPS = 2, 6
MOST_S = 30.0  # of a cell's steps: large models get fewer, at least one after the warm-up
ORDER = ("l4", "t4", "a100", "h100", "cpu")
# LLaVA-NeXT-Video-7B's parts, which the planning figures are about: 112 GB in full, 56 with LoRA, 6 with QLoRA.
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
    sequence_length=2944,  # Vicuna takes up to 1,572 tokens for a caption
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell: a shape, what is trained, and how."""

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
            settings |= {"sequence_length": 128, "frames": 2, "image_size": 64, "batch_size": 2}
        return cls(config=config, kind=kind, **settings)

    @property
    def four_bit(self) -> bool:
        return self.kind in QUANTISED_KINDS

    @property
    def logit_positions(self) -> int:
        """As training/trainer.py asks for them: the answer's, and the one before."""
        return min(CAPTION_TOKENS + 1, self.sequence_length)

    def plan(self) -> MemoryPlan:
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        settings |= {"four_bit": self.four_bit, "logit_positions": self.logit_positions}
        return plan_memory(settings.pop("config"), **settings)


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


def build_model(
    config: KoCapConfig, device: torch.device, dtype: torch.dtype, *, four_bit: bool = False
) -> KoCapForConditionalGeneration:
    """A KoCap model with random weights, built on the device part by part; nothing in it is trained."""
    with torch.device("meta"):
        model = KoCapForConditionalGeneration(config)
    inner, text_config = model.model, config.text_config
    with torch.device(device):
        inner.vision_tower = AutoModel.from_config(config.vision_config).to(dtype)
        inner.multi_modal_projector = Projector(
            config.vision_hidden_size, text_config.hidden_size, projector_type=config.projector_type
        ).to(dtype)
        inner.language_model.rotary_emb = type(inner.language_model.rotary_emb)(config=text_config)
    if four_bit:
        quantise_linears(inner.language_model, device=device, dtype=dtype)
        model.is_loaded_in_4bit = True  # where PEFT looks
    fill_weights(model, device=device, dtype=dtype)
    model.tie_weights()
    return model.requires_grad_(False).eval()


def build_trained(run: Run, device: torch.device) -> nn.Module:
    """The model with what `run.kind` trains, as training/stages.py prepares it."""
    model = build_model(run.config, device, getattr(torch, run.dtype), four_bit=run.four_bit)
    if run.gradient_checkpointing:
        getattr(model.model.language_model, f"{CHECKPOINTING}_enable")({"use_reentrant": False})
    trained = add_adapter(model, run.kind, rank=run.rank).train()
    for weight in trained.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return trained


def quantise_linears(language_model: PreTrainedModel, *, device: torch.device, dtype: torch.dtype) -> None:
    """Put random NF4 layers (double quantisation) in the place of the linear layers on the meta device, one by one."""
    from bitsandbytes.nn import Linear4bit, Params4bit  # loads kernels, which other parts go without

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


def random_batch(run: Run, device: torch.device) -> dict:
    """Clips of noise with full-length samples; the first is padded by a few tokens where there are several."""
    size, length = run.batch_size, run.sequence_length
    ids = torch.randint(0, 900, (size, length), device=device)
    ids[:, 8 : 8 + run.frames * count_tokens_per_frame(run.config, run.image_size)] = run.config.video_token_id
    mask = torch.ones_like(ids)
    if size > 1:
        mask[0, -4:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, : length - run.logit_positions + 1] = -100
    pixels = torch.rand(size, run.frames, 3, run.image_size, run.image_size, device=device)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "pixel_values_videos": pixels,
        "logits_to_keep": run.logit_positions,
    }


def train(run: Run, machine: Machine) -> dict:
    """Train a few steps as `Trainer` would and say what they took.

    Returns:
        `peak_gib` (what tensors took at most; on a CPU what the process did), `reserved_gib` and `context_gib` (what
        the driver says is taken beyond torch's own) on a GPU, `step_s` (median), `steps`, `tokens_per_s`,
        `trainable_parameters`, `loss` of the last step.
    """
    torch.manual_seed(0)
    device, dtype = machine.device, getattr(torch, run.dtype)
    model = build_trained(run, device)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=5e-5)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    batch = random_batch(run, device)
    reset_peak_memory()  # building it took other tensors
    ends_at = time.monotonic() + min(MOST_S, machine.left_s / 2)
    times_s, loss = [], torch.zeros(())
    for step in range(WARM_UP + STEPS):
        if step > WARM_UP and time.monotonic() > ends_at:
            break
        start = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model(**batch, use_cache=False).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        machine.synchronize()
        times_s.append(time.perf_counter() - start)
    step_s = statistics.median(times_s[WARM_UP:])
    return read_peak(device) | {
        "step_s": round(step_s, 4),
        "steps": len(times_s) - WARM_UP,
        "tokens_per_s": round(run.batch_size * run.sequence_length / step_s, 1),
        "trainable_parameters": sum(weight.numel() for weight in weights),
        "loss": round(loss.item(), 3),
    }


def read_peak(device: torch.device) -> dict[str, float]:
    """GiB at most since `free_memory`."""
    peak = {"peak_gib": round(peak_memory_bytes() / GIB, 3)}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peak["reserved_gib"] = round(torch.cuda.max_memory_reserved(device) / GIB, 3)
        peak["context_gib"] = round((total - free - torch.cuda.memory_reserved(device)) / GIB, 3)
    return peak


def measure(tier: GpuTier, kind: str, machine: Machine) -> dict:
    """One preset and adapter kind.

    Raises:
        NotMeasured: If the plan says that it does not fit on this device.
    """
    run = Run.of(tier, kind, small=machine.rehearse)
    plan = run.plan()
    on_gpu = machine.device.type == "cuda"
    has = torch.cuda.get_device_properties(machine.device).total_memory if on_gpu else tier.memory_bytes
    if plan.total > has:
        raise NotMeasured(f"the plan says {plan.total / GIB:.1f} GiB, this device has {has / GIB:.1f}")
    return {
        "tier": tier.name,
        "kind": kind,
        "text": "small" if machine.rehearse else tier.text,
        "batch_size": run.batch_size,
        "sequence_length": run.sequence_length,
        "plan_gib": round(plan.total / GIB, 3),
        "plan_without_overhead_gib": round((plan.total - plan.overhead) / GIB, 3),
    } | train(run, machine)


def list_cells(machine: Machine) -> Iterator[Cell]:
    """Every preset's own kind first, then all other kinds, then the baseline's shape."""
    tiers = [TIERS[name] for name in ORDER]
    pairs = [(tier, tier.kind) for tier in tiers]
    pairs += [(tier, kind) for tier in tiers for kind in KINDS if kind != tier.kind]
    pairs += [(BASELINE, kind) for kind in ("qlora", "lora", "full")]
    if machine.rehearse:
        pairs = [(TIERS["cpu"], kind) for kind in ("qlora", "lora", "full")]
    for tier, kind in pairs:
        yield Cell(f"{tier.name} {kind}", partial(measure, tier, kind, machine), least_s=8 if machine.rehearse else 15)


if __name__ == "__main__":
    sys.exit(run_part("fits", list_cells))
