"""The memory plan: against what autograd really keeps, and as arithmetic."""

import weakref

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import Qwen3Config

from configuration.configuration_kocap import KoCapConfig
from configuration.memory_plan import GIB, NF4_BYTES, count_tokens_per_frame, describe, plan_memory
from configuration.parameter_counts import count_model
from modeling.modeling_kocap import KoCapForConditionalGeneration
from tests.small_models import IMAGE_SIZE, TOWERS, small_config, small_model
from training.run_settings import CHECKPOINTING

FRAMES, RANK = 4, 8
LINEARS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
SETTINGS = {
    "kind": "lora",
    "rank": RANK,
    "dtype": "bfloat16",
    "four_bit": False,
    "batch_size": 2,
    "sequence_length": 512,
    "frames": FRAMES,
    "gradient_checkpointing": True,
}


@pytest.fixture(scope="module")
def config() -> KoCapConfig:
    """Small, but wide and deep enough that the layers outweigh what the formulas leave out."""
    text_config = Qwen3Config(
        vocab_size=8000,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
    )
    return KoCapConfig(
        vision_config=TOWERS["siglip"](), text_config=text_config, image_token_id=7998, video_token_id=7999
    )


class Kept:
    """What autograd holds in a saved tensor's place; it dies with the graph's node."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor


def saved_bytes(model: nn.Module, batch: dict, *, dtype: str) -> int:
    """Bytes of distinct storages that are kept for the backward pass once the forward pass is over, weights apart."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    references = []

    def pack(tensor):
        kept = Kept(tensor)
        references.append(weakref.ref(kept))
        return kept

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype != "float32"),
    ):
        output = model(**batch, use_cache=False)
    alive = [kept.tensor.untyped_storage() for kept in (reference() for reference in references) if kept is not None]
    assert output.loss.requires_grad
    return sum({s.data_ptr(): s.nbytes() for s in alive if s.data_ptr() not in weights}.values())


def trained_model(config: KoCapConfig, kind: str, dtype: str) -> nn.Module:
    with torch.device("meta"):
        model = KoCapForConditionalGeneration(config)
    model.to_empty(device="cpu").train().requires_grad_(False).to(getattr(torch, dtype))  # only sizes are looked at
    model.tie_weights()
    if kind == "align":
        model.model.multi_modal_projector.requires_grad_(True).float()
    elif kind == "full":
        model.model.language_model.requires_grad_(True)
        model.lm_head.requires_grad_(True)
    else:
        settings = LoraConfig(r=RANK, lora_alpha=2 * RANK, use_dora=kind == "dora", target_modules=LINEARS)
        get_peft_model(model, settings)  # puts its layers into the model
    return model


@pytest.mark.parametrize(
    ("kind", "dtype", "batch_size", "length", "checkpointing"),
    [
        ("lora", "float32", 2, 96, False),
        ("lora", "float32", 1, 192, False),  # no padding: keys and values are not repeated
        ("lora", "float32", 2, 96, True),
        ("lora", "bfloat16", 2, 96, False),
        ("dora", "float32", 2, 96, False),
        ("full", "float32", 2, 96, False),
        ("full", "float32", 4, 64, True),
        ("align", "float32", 2, 96, True),
    ],
)
def test_the_plan_is_what_autograd_keeps(config, kind, dtype, batch_size, length, checkpointing):
    model = trained_model(config, kind, dtype)
    if checkpointing:
        getattr(model, f"{CHECKPOINTING}_enable")({"use_reentrant": False})
    ids = torch.randint(0, 7000, (batch_size, length))
    per_frame = count_tokens_per_frame(config)
    ids[:, 5 : 5 + FRAMES * per_frame] = config.video_token_id
    mask = torch.ones_like(ids)
    mask[1:, -3:] = 0
    features = torch.randn(batch_size, FRAMES, per_frame, config.vision_hidden_size)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids, "video_features": features}
    plan = plan_memory(
        config,
        kind="lora" if kind == "align" else kind,
        stage="align" if kind == "align" else "caption",
        rank=RANK,
        dtype=dtype,
        four_bit=False,
        batch_size=batch_size,
        sequence_length=length,
        frames=FRAMES,
        gradient_checkpointing=checkpointing,
        cached_features=True,
    )
    measured = saved_bytes(model, batch, dtype=dtype)
    assert plan.saved_for_backward == pytest.approx(measured, rel=0.25)
    # Without the loss, which is the same in every case, it must hold too.
    assert plan.activations == pytest.approx(measured - plan.saved_logits, rel=0.25)


@pytest.mark.parametrize("text", ["qwen3", "qwen3_moe", "llama"])
@pytest.mark.parametrize("tie", [False, True])
def test_parts_add_up_to_the_models_parameters(text, tie):
    model = small_model("clip", text, tie=tie, motion=True)
    counts = count_model(model.config)
    inner = model.model
    assert counts.total == sum(parameter.numel() for parameter in model.parameters())
    assert counts.vision == sum(parameter.numel() for parameter in inner.vision_tower.parameters())
    projectors = [*inner.multi_modal_projector.parameters(), *inner.motion.parameters()]
    assert counts.projector == sum(parameter.numel() for parameter in projectors)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_has_as_many_parameters_as_planned(kind):
    config = small_config()
    peft_model = get_peft_model(
        small_model(), LoraConfig(r=4, lora_alpha=8, use_dora=kind == "dora", target_modules=LINEARS)
    )
    assert count_model(config).count_adapter(kind, 4) == peft_model.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2", "dinov2_with_registers", "dinov3_vit"])
def test_tokens_of_a_frame_are_those_of_the_model(tower):
    config = small_config(tower, spatial_pool_stride=3)
    assert count_tokens_per_frame(config) == small_model(tower, spatial_pool_stride=3).model.count_frame_tokens(
        IMAGE_SIZE
    )


@pytest.mark.parametrize("stage", ["align", "caption"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_size", [1, 2, 4, 8]),
        ("sequence_length", [128, 512, 2048]),
        ("rank", [4, 16, 64]),
        ("frames", [1, 8, 512]),
        ("dtype", ["bfloat16", "float32"]),
    ],
)
def test_more_never_needs_less(config, stage, checkpointing, name, values):
    settings = SETTINGS | {"gradient_checkpointing": checkpointing}
    totals = [plan_memory(config, stage=stage, **(settings | {name: value})).total for value in values]
    assert totals == sorted(totals)


def test_what_saves_memory_saves_memory(config):
    base = plan_memory(config, **SETTINGS)
    plain = plan_memory(config, **(SETTINGS | {"gradient_checkpointing": False}))
    four_bit = plan_memory(config, **(SETTINGS | {"four_bit": True, "kind": "qlora"}))
    cached = plan_memory(config, **SETTINGS, cached_features=True)
    few_logits = plan_memory(config, **SETTINGS, logit_positions=64)
    full = plan_memory(config, **(SETTINGS | {"kind": "full"}))
    small_states = plan_memory(config, **(SETTINGS | {"kind": "full"}), optimizer="adamw_bnb_8bit")
    assert base.activations < plain.activations
    assert four_bit.frozen_weights < base.frozen_weights
    assert cached.vision_forward == 0 < base.vision_forward
    assert few_logits.logits == base.logits // 8
    assert small_states.optimizer < full.optimizer / 3


def test_full_training_takes_sixteen_bytes_a_parameter_in_float32(config):
    plan = plan_memory(config, **(SETTINGS | {"kind": "full", "dtype": "float32"}))
    counts = count_model(config)
    trained = counts.language_model + counts.projector
    assert plan.trainable_weights + plan.gradients + plan.optimizer == 16 * trained


def test_four_bit_weights_are_as_large_as_bitsandbytes_makes_them():
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(1024, 1024)
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    scales = [state.absmax, state.state2.absmax]
    stored = sum(tensor.numel() * tensor.element_size() for tensor in (packed, *scales))
    assert stored / weight.numel() == pytest.approx(NF4_BYTES, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "full", "four_bit": True}, "4-bit weights cannot be trained.*qlora"),
        ({"kind": "qlora"}, "four_bit=False.*'lora'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        plan_memory(config, **(SETTINGS | change))


def test_the_table_is_korean_and_adds_up(config):
    plan = plan_memory(config, **SETTINGS)
    lines = describe(plan, memory_bytes=plan.total // 2, device="T4 16 GB")
    text = "\n".join(lines)
    assert "합계" in text and "T4 16 GB" in text and "200%" in text
    assert "모자랍니다" in text
    assert "모자랍니다" not in "\n".join(describe(plan, memory_bytes=2 * plan.total))
    counted = [float(line.split()[0]) for line in lines if "GiB" in line and ("순간" not in line or "←" in line)]
    assert sum(counted[:-2]) == pytest.approx(counted[-2], abs=0.05)
    assert counted[-2] == pytest.approx(plan.total / GIB, abs=0.01)
