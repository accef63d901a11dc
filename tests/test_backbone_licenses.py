"""Licenses of backbones are known, told before a run begins, and taken over by cards."""

import pytest
from huggingface_hub import ModelCard

from configuration.backbone_licenses import DINOV3, LICENSES, combined_license
from configuration.backbone_shapes import list_backbones
from configuration.gpu_tiers import TIERS
from modeling.checkpoint_faults import ModelError
from serving.model_card import RunFacts, card_license, write_card
from train import main

DINO, SIGLIP, CLIP = (
    "facebook/dinov3-vitl16-pretrain-lvd1689m",
    "google/siglip2-so400m-patch14-384",
    "openai/clip-vit-large-patch14-336",
)
QWEN, VICUNA = "Qwen/Qwen3-8B", "lmsys/vicuna-7b-v1.5"


def test_every_backbone_that_is_named_has_a_license():
    assert set(LICENSES) == set(list_backbones())
    assert all(license.name and license.link for license in LICENSES.values() if license.id == "other")


@pytest.mark.parametrize(
    ("backbones", "expected"),
    [
        ((SIGLIP, QWEN), ("apache-2.0", None)),
        ((CLIP, QWEN), ("apache-2.0", None)),
        ((DINO, QWEN), ("other", "dinov3-license")),
        ((SIGLIP, VICUNA), ("llama2", None)),
        ((DINO, VICUNA), ("other", "dinov3-license-and-llama2")),
    ],
)
def test_the_stricter_license_holds_for_the_whole(backbones, expected):
    license = combined_license(backbones)
    assert license and (license.id, license.name) == expected


@pytest.mark.parametrize("backbones", [(), (SIGLIP, "org/unknown"), ("org/unknown", VICUNA)])
def test_nothing_is_claimed_of_what_is_not_known(backbones):
    assert combined_license(backbones) is None


@pytest.mark.parametrize("preset", TIERS)
def test_a_dry_run_names_licenses_and_says_what_must_be_accepted_first(preset, tmp_path, capsys):
    assert main(["--preset", preset, "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    for backbone in (TIERS[preset].vision, TIERS[preset].text):
        assert f"{backbone}: {LICENSES[backbone].title}" in told
    is_gated = LICENSES[TIERS[preset].vision].gated
    assert is_gated == (preset in ("a100", "h100")) == ("약관에 동의" in told) == ("hf auth login" in told)


def test_a_run_says_so_before_it_stops_for_want_of_the_backbone(tmp_path, capsys, monkeypatch):
    """Where the Hub refuses, or cannot be reached, as here."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    records = tmp_path / "records.jsonl"
    messages = '[{"role": "user", "content": "<video>?"}, {"role": "assistant", "content": "파도가 칩니다."}]'
    lines = [f'{{"id": "{n}", "video": "{n}.mp4", "messages": {messages}}}\n' for n in range(4)]
    records.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(ModelError):
        main(["--preset", "a100", "--data", str(records), "--output", str(tmp_path / "out")])
    assert "약관에 동의" in capsys.readouterr().out


def facts(**changes) -> RunFacts:
    values = {"base_id": QWEN, "kind": "full", "stage": "align", "data": "d", "counts": {"train": 1}, "command": ["a"]}
    return RunFacts(**(values | changes))


def test_a_card_takes_the_license_of_its_backbones(tmp_path):
    card = ModelCard.load(write_card(tmp_path, facts(license=DINOV3, backbones=(DINO, QWEN))))
    data = card.data.to_dict()
    assert (data["license"], data["license_name"], data["license_link"]) == ("other", DINOV3.name, DINOV3.link)
    assert f"`{DINO}`: dinov3-license" in card.text and f"`{QWEN}`: apache-2.0" in card.text


def test_what_stands_on_a_checkpoint_takes_its_license(tmp_path):
    write_card(tmp_path, facts(license=combined_license((DINO, QWEN))))
    told = card_license(tmp_path)
    assert told and (told.id, told.name, told.link) == (DINOV3.id, DINOV3.name, DINOV3.link)


def test_a_card_claims_nothing_that_is_not_known(tmp_path):
    card = ModelCard.load(write_card(tmp_path, facts()))
    assert "license" not in card.data.to_dict() and "not known here" in card.text
    assert card_license(tmp_path) is None and card_license(tmp_path / "nowhere") is None
