"""What vLLM refuses is known before it is started, and the way out is named."""

import json
import shutil
from pathlib import Path

import pytest
from adapter_files import with_settings
from peft import LoraConfig, WaveFTConfig, get_peft_model
from typer.testing import CliRunner

from modeling.modeling_kocap import KoCapForConditionalGeneration
from publish import app
from serving.hub_bundle import MODEL_AUTO_MAP
from serving.vllm_preflight import check_folder
from training.adapters import TARGETS, add_adapter


@pytest.fixture(scope="module")
def base(tiny_checkpoint, tmp_path_factory) -> Path:
    """A checkpoint that has what vLLM looks for in a bundle."""
    folder = tmp_path_factory.mktemp("base") / "bundle"
    shutil.copytree(tiny_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": MODEL_AUTO_MAP}))
    (folder / "modeling_kocap.py").touch()
    return folder


@pytest.fixture(scope="module")
def plain(base, tmp_path_factory) -> Path:
    return save(base, tmp_path_factory.mktemp("adapter") / "plain")


def save(base: Path, folder: Path, *, rank: int = 8, config=None) -> Path:
    model = KoCapForConditionalGeneration.from_pretrained(base)
    if config is None:
        add_adapter(model, "lora", rank=rank).save_pretrained(folder)
    else:
        config.revision = "sha256:0"
        get_peft_model(model, config).save_pretrained(folder)
    return folder


def test_a_plain_adapter_and_a_bundle_are_servable(base, plain):
    report = check_folder(plain)
    assert report.servable and not report.findings
    assert report.command == (f"vllm serve {base} --trust-remote-code --enable-lora --lora-modules plain={plain}")
    assert check_folder(base).command == f"vllm serve {base} --trust-remote-code"


@pytest.mark.parametrize(("rank", "flag"), [(16, None), (17, "32"), (64, "64"), (300, "320")])
def test_a_large_rank_needs_a_flag(plain, tmp_path, rank, flag):
    report = check_folder(with_settings(plain, tmp_path / "adapter", r=rank))
    assert report.servable
    assert (f"--max-lora-rank {flag}" in report.command) == (flag is not None)
    assert [finding.code for finding in report.findings] == (["rank"] if flag else [])
    assert all(f"--max-lora-rank {flag}" in finding.message_ko for finding in report.findings)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (LoraConfig(target_modules=TARGETS, use_dora=True), "dora"),
        (LoraConfig(target_modules=TARGETS, modules_to_save=["multi_modal_projector"]), "modules_to_save"),
        (LoraConfig(target_modules=TARGETS, lora_bias=True), "lora_bias"),
        (LoraConfig(target_modules=TARGETS, rank_pattern={"q_proj": 4}), "rank_pattern"),
        (LoraConfig(target_modules=["q_proj"]), "targets"),  # the vision tower's too
        (LoraConfig(target_modules=["lm_head"]), "targets"),
        (WaveFTConfig(target_modules=TARGETS, n_frequency=8), "peft_type"),
    ],
)
def test_what_peft_saves_and_vllm_refuses(base, tmp_path, config, code):
    report = check_folder(save(base, tmp_path / "adapter", config=config))
    assert not report.servable and not report.command
    reasons = {finding.code: finding.message_ko for finding in report.findings}
    assert code in reasons and ("publish.py merge" in reasons[code] or code == "lora_bias")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"r": 1000}, "rank"),
        ({"bias": "all"}, "bias"),
        ({"revision": None}, "revision"),
        ({"base_model_name_or_path": None}, "base"),
        ({"base_model_name_or_path": "/nowhere/base"}, "unreachable"),
    ],
)
def test_settings_that_cannot_be_served(plain, tmp_path, settings, code):
    report = check_folder(with_settings(plain, tmp_path / "adapter", **settings))
    assert [finding.code for finding in report.findings if finding.blocks] == [code]


def test_a_base_without_code_is_no_base(tiny_checkpoint, plain, tmp_path):
    """The checkpoint as training saves it; `publish.py bundle` is the way out."""
    adapter = with_settings(plain, tmp_path / "adapter", base_model_name_or_path=str(tiny_checkpoint))
    for folder in (adapter, tiny_checkpoint):
        (finding,) = check_folder(folder).findings
        assert finding.code == "auto_map" and "publish.py bundle" in finding.message_ko


def test_pickles_are_no_adapter(plain, tmp_path):
    adapter = shutil.copytree(plain, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert [finding.code for finding in check_folder(adapter).findings] == ["safetensors"]


def test_the_command_answers_in_korean_and_with_its_exit_code(plain, tmp_path):
    good = CliRunner().invoke(app, ["check", str(plain)])
    assert good.exit_code == 0 and "서비스할 수 있습니다" in good.output and "vllm serve" in good.output
    bad = CliRunner().invoke(app, ["check", str(with_settings(plain, tmp_path / "adapter", use_dora=True))])
    assert bad.exit_code == 1 and "DoRA" in bad.output and "publish.py merge" in bad.output
    assert "서비스할 수 없습니다" in bad.output
    assert CliRunner().invoke(app, ["check", str(tmp_path)]).exit_code == 1
