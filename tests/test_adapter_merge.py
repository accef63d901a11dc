"""A merged adapter answers as the adapter on its base did, and only its own base takes it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from adapter_files import save_random_adapter
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor
from typer.testing import CliRunner

from modeling.checkpoint_names import weights_revision
from modeling.modeling_kocap import KoCapForConditionalGeneration
from publish import app
from serving.adapter_merge import MergeError, apply_adapter, find_base, merge
from serving.hub_bundle import BundleError
from training.adapters import KINDS, quantization_config

IDS = torch.arange(5, 29)[None]


@pytest.fixture(scope="module")
def adapters(tiny_checkpoint, tmp_path_factory) -> dict[str, Path]:
    """Adapters of every kind that say something, on the same float32 base."""
    room = tmp_path_factory.mktemp("adapters")
    base = room / "base"
    shutil.copytree(tiny_checkpoint, base)
    KoCapForConditionalGeneration.from_pretrained(base, dtype=torch.float32).save_pretrained(base)
    folders = {"base": base}
    for kind in (kind for kind in KINDS if kind != "full"):
        config = quantization_config(kind, torch.float32)
        model = KoCapForConditionalGeneration.from_pretrained(base, quantization_config=config)
        folders[kind] = room / kind
        save_random_adapter(model, kind, folders[kind], scale=0.1)
    return folders


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "full"])
def test_merged_logits_are_the_unmerged_ones(adapters, kind):
    """Of 4-bit kinds: on the unquantised base."""
    config = json.loads((adapters[kind] / "adapter_config.json").read_text())
    adapted = apply_adapter(find_base(config), adapters[kind])
    expected = logits(adapted)
    plain = logits(KoCapForConditionalGeneration.from_pretrained(adapters["base"]))
    assert (expected - plain).abs().max() > 0.05, "the adapter says nothing"
    torch.testing.assert_close(logits(adapted.merge_and_unload(safe_merge=True)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "full"])
def test_transformers_loads_an_adapter_as_peft_does(adapters, kind):
    """transformers 5.24 itself leaves DoRA's magnitudes at their beginning."""
    config = json.loads((adapters[kind] / "adapter_config.json").read_text())
    expected = logits(apply_adapter(find_base(config), adapters[kind]))
    torch.testing.assert_close(logits(AutoModel.from_pretrained(adapters[kind])), expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_without_all_its_weights_is_refused(adapters, tmp_path):
    shutil.copytree(adapters["lora"], tmp_path / "half")
    weights = load_file(tmp_path / "half" / "adapter_model.safetensors")
    weights.pop(next(name for name in weights if "lora_B" in name))
    save_file(weights, tmp_path / "half" / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 of its weights"):
        AutoModel.from_pretrained(tmp_path / "half")


@pytest.mark.slow
def test_merge_writes_a_whole_bundle_in_the_precision_of_the_base(adapters, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(adapters["base"], half)
    base = KoCapForConditionalGeneration.from_pretrained(half, dtype=torch.bfloat16)
    base.save_pretrained(half)
    save_random_adapter(base, "dora", tmp_path / "adapter", scale=0.1)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": str(half), "revision": weights_revision(half)}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))

    out = merge(tmp_path / "adapter", tmp_path / "out" / "merged")

    model = AutoModel.from_pretrained(out)
    assert model.dtype == torch.bfloat16 and not hasattr(model, "peft_config")
    AutoProcessor.from_pretrained(out)
    names = {path.name for path in out.iterdir()}
    assert {"generation_config.json", "processor_config.json", "tokenizer.json", "modeling_kocap.py"} <= names
    assert [path.name for path in out.parent.iterdir()] == ["merged"], "temporary folders stay behind"
    unmerged = apply_adapter(half, tmp_path / "adapter")
    torch.testing.assert_close(logits(model).float(), logits(unmerged).float(), rtol=0.1, atol=0.3)


def test_another_base_is_refused(adapters, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(adapters["base"], other)
    model = KoCapForConditionalGeneration.from_pretrained(other)
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    model.save_pretrained(other)
    with pytest.raises(MergeError, match="was trained on weights sha256:"):
        merge(adapters["lora"], tmp_path / "out", base=str(other))

    config = json.loads((adapters["lora"] / "adapter_config.json").read_text())
    pinned = config | {"base_model_name_or_path": "org/base", "revision": "a" * 40}
    for base in (str(other), "org/other"):
        with pytest.raises(MergeError, match="cannot be known"):
            find_base(pinned, base)
    with pytest.raises(MergeError, match="is gone"):
        find_base(config | {"base_model_name_or_path": "/nowhere/base"})
    with pytest.raises(MergeError, match="names no base"):
        find_base({})
    assert not (tmp_path / "out").exists()


def test_tensors_that_find_no_place_are_refused(adapters, tmp_path):
    """PEFT only warns about them, and the result would be the base or half an adapter."""
    unlike = tmp_path / "unlike"
    shutil.copytree(adapters["lora"], unlike)
    config = json.loads((unlike / "adapter_config.json").read_text())
    (unlike / "adapter_config.json").write_text(json.dumps(config | {"target_modules": r".*language_model.*\.q_proj"}))
    with pytest.raises(MergeError, match="tensors differ"):
        apply_adapter(adapters["base"], unlike)
    (unlike / "adapter_config.json").write_text(json.dumps(config | {"r": 3}))
    with pytest.raises(MergeError, match="doesn't fit"):
        apply_adapter(adapters["base"], unlike)


def test_a_folder_with_other_things_is_left_alone(adapters, tmp_path):
    (tmp_path / "thesis.txt").write_text("...")
    with pytest.raises(BundleError, match=r"thesis\.txt"):
        merge(adapters["lora"], tmp_path)


def test_the_command_says_why_it_refuses_in_two_languages(adapters, tmp_path):
    failed = CliRunner().invoke(app, ["merge", str(adapters["base"]), str(tmp_path / "out")])
    assert failed.exit_code == 1
    assert "has no adapter_config.json" in failed.stderr and "어댑터 폴더나 Hub 이름을 주세요" in failed.stderr
