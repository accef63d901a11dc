"""Every kind of adapter: what moves, what stays, and that it loads anywhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from small_models import prompt_batch, small_model, text_config

from modeling.modeling_kocap import KoCapForConditionalGeneration
from training.adapters import KINDS, QUANTISED_KINDS, add_adapter, count_trainable, freeze_for, quantization_config
from training.run_settings import CHECKPOINTING

ROWS = [[3, ("video", 2), 6], [2, "image", 8]]
LINEARS = {"q": (64, 64), "k": (64, 64), "v": (64, 64), "o": (64, 64), "gate": (64, 128), "up": (64, 128)}
LINEARS |= {"down": (128, 64)}  # of one layer; there are two


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    # bitsandbytes packs 4-bit layers anew on processors with AVX512-BF16, which takes inputs of 64 and more
    wide = text_config(hidden_size=64, intermediate_size=128, head_dim=32, num_key_value_heads=2)
    small_model("clip", motion=True, text_config=wide).save_pretrained(folder)
    return folder


def load(base: Path, kind: str) -> KoCapForConditionalGeneration:
    return KoCapForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, quantization_config=quantization_config(kind, torch.float32)
    )


def take_steps(model, count: int = 2) -> dict:
    """Train a little; two steps, because LoRA's A stands still while B is zero. Gives the batch."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    batch = prompt_batch(inner, ROWS)
    labels = batch["input_ids"].masked_fill(batch["input_ids"] >= 120, -100)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(count):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return batch


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moved(before: dict, model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_meant_to_move_moves_and_nothing_else(base, kind):
    model = add_adapter(load(base, kind), kind, rank=2)
    before = snapshot(model)
    take_steps(model)
    changed = moved(before, model)
    assert changed == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if kind == "full":
        assert changed == {name for name in before if "vision_tower" not in name}
        return
    assert all(part in name for name in changed for part in ("language_model.layers", "_proj"))
    of_lora = 2 * sum(2 * (rows + columns) for rows, columns in LINEARS.values())
    magnitudes = 2 * sum(columns for _, columns in LINEARS.values())
    assert count_trainable(model) == of_lora + (magnitudes if "dora" in kind else 0)
    config = model.peft_config["default"]
    assert not getattr(config, "modules_to_save", None) and config.bias == "none"
    if kind != "wavelet":
        assert config.lora_alpha == 2 * config.r == 4


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_align_moves_the_projector_alone(base, kind):
    model = add_adapter(load(base, kind), kind, rank=2)
    names = freeze_for(model, "align")
    before = snapshot(model)
    take_steps(model)
    assert moved(before, model) == set(names)
    assert {"multi_modal_projector", "motion"} == {
        part for name in names for part in ("multi_modal_projector", "motion", "language_model") if part in name
    }
    freeze_for(model, "caption")
    assert not any("projector" in name for name, p in model.named_parameters() if p.requires_grad) or kind == "full"


@pytest.mark.parametrize("text", ["qwen3_moe", "qwen2", "llama"])
def test_other_families_train_without_touching_router_or_experts(text):
    model = add_adapter(small_model("siglip", text), "lora", rank=2)
    before = snapshot(model)
    take_steps(model)
    changed = moved(before, model)
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in changed}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert adapted == attention if text == "qwen3_moe" else adapted == {f"{name}_proj" for name in LINEARS}


LOAD = """
import sys, torch
from peft import PeftModel
from modeling.modeling_kocap import KoCapForConditionalGeneration
from training.adapters import quantization_config
batch = torch.load(sys.argv[1], weights_only=True)
results = {}
for kind, adapter in zip(sys.argv[3::2], sys.argv[4::2]):
    config = quantization_config(kind, torch.float32)
    base = KoCapForConditionalGeneration.from_pretrained(sys.argv[2], dtype=torch.float32, quantization_config=config)
    with torch.no_grad():
        results[kind] = PeftModel.from_pretrained(base, adapter).eval()(**batch).logits
torch.save(results, sys.argv[1])
"""


@pytest.mark.slow
def test_a_saved_adapter_gives_the_same_logits_in_a_new_process(base, tmp_path):
    expected, arguments = {}, []
    for kind in (kind for kind in KINDS if kind != "full"):
        model = add_adapter(load(base, kind), kind, rank=2)
        batch = take_steps(model)
        model.eval().save_pretrained(tmp_path / kind)
        with torch.no_grad():
            expected[kind] = model(**batch).logits
        arguments += [kind, str(tmp_path / kind)]
        config = json.loads((tmp_path / kind / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(base.resolve())
        assert config["revision"].startswith("sha256:")
        assert {path.name for path in (tmp_path / kind).iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "README.md",
        }
    torch.save(batch, tmp_path / "batch.pt")
    subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path / "batch.pt", base, *arguments],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
    )
    results = torch.load(tmp_path / "batch.pt", weights_only=True)
    plain = load(base, "lora")
    with torch.no_grad():
        untrained = plain(**batch).logits
    for kind, logits in expected.items():
        torch.testing.assert_close(results[kind], logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(logits, untrained, atol=1e-2), f"{kind} learned nothing"


def test_only_the_language_model_is_in_four_bits(base):
    model = load(base, "qlora")
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    four_bit = {name for name, kind in kinds.items() if kind == "Linear4bit"}
    assert four_bit and all(".language_model." in name for name in four_bit)
    assert all(quantization_config(kind) is None for kind in KINDS if kind not in QUANTISED_KINDS)


@pytest.mark.parametrize("checkpointing", [{"use_reentrant": True}, {"use_reentrant": False}])
def test_four_bits_train_with_gradient_checkpointing(base, checkpointing):
    model = add_adapter(load(base, "qlora"), "qlora", rank=2).train()
    getattr(model, f"{CHECKPOINTING}_enable")(checkpointing)
    before = snapshot(model)
    take_steps(model)
    assert moved(before, model) == {name for name, p in model.named_parameters() if p.requires_grad} != set()


def test_refusals_say_what_to_do(base):
    with pytest.raises(ValueError, match="lora, dora"):
        add_adapter(load(base, "lora"), "loha")
    with pytest.raises(ValueError, match="rank is 0"):
        add_adapter(load(base, "lora"), "lora", rank=0)
    with pytest.raises(ValueError, match="quantization_config"):
        add_adapter(load(base, "lora"), "qlora")
    with pytest.raises(ValueError, match="in 4 bits"):
        add_adapter(load(base, "qlora"), "full")
