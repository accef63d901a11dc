"""A card says what a stranger needs, in the form that the Hub reads, and nothing of this machine."""

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from evaluation.scoring import Score
from serving.model_card import AIHUB_CREDIT, Metric, RunFacts, write_card

COMMIT = "b" * 40
SIGNATURES = {
    "meteor": "meteor|alg:nltk-3.9|tok:kiwi-0.21|case:lc|a0.9 b3 g0.5|refs:1",
    "meteor_eojeol": "meteor_eojeol|alg:nltk-3.9|tok:eojeol|case:lc|a0.9 b3 g0.5|refs:1",
}


def facts(**changes) -> RunFacts:
    values = {
        "base_id": "org/kocap-base",
        "base_revision": COMMIT,
        "kind": "qlora",
        "stage": "caption",
        "preset": "l4",
        "data": "AI-Hub 71849",
        "counts": {"train": 8563, "held out": 1068},
        "is_aihub": True,
        "command": ["python", "train.py", "--preset", "l4", "--records", "/srv/people/kim/aihub/train.jsonl"],
        "hyperparameters": {"learning_rate": 5e-5, "rank": 16},
        "metrics": [
            Metric("meteor", 0.41234, SIGNATURES["meteor"], low=0.4, high=0.42, constant=0.27, shuffled=0.25),
            Metric("meteor_eojeol", 0.21, SIGNATURES["meteor_eojeol"], constant=0.05, shuffled=0.06),
        ],
        "hardware": "NVIDIA L4 24 GB",
        "versions": {"torch": "2.15.0"},
        "collapse": "healthy: 97 % of captions are unique.",
    }
    return RunFacts(**(values | changes))


@pytest.fixture
def adapter(tmp_path) -> Path:
    folder = tmp_path / "kocap-lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_the_hub_reads_an_adapters_card(adapter):
    card = ModelCard.load(write_card(adapter, facts(), repo_id="org/kocap-lora"))
    data = card.data.to_dict()
    assert data["library_name"] == "peft" and data["pipeline_tag"] == "video-text-to-text" and data["language"] == "ko"
    assert data["base_model"] == "org/kocap-base" and data["base_model_relation"] == "adapter"
    results = {result.metric_name: result for result in card.data.eval_results}
    assert set(results) == {"meteor (tok:kiwi-0.21)", "meteor_eojeol (tok:eojeol)"}
    assert results["meteor (tok:kiwi-0.21)"].metric_value == 0.4123
    assert results["meteor (tok:kiwi-0.21)"].metric_args == {"signature": SIGNATURES["meteor"]}


def test_a_person_reads_numbers_with_floors_and_how_to_load(adapter):
    (adapter / "training.png").touch()
    text = ModelCard.load(write_card(adapter, facts(), repo_id="org/kocap-lora")).text
    assert text.index("한국어로") < text.index("## How to load it"), "the Korean summary comes first"
    assert "| meteor (tok:kiwi-0.21) | 0.4123 | 0.4000 to 0.4200 | 0.2700 | 0.2500 |" in text
    assert all(signature in text for signature in SIGNATURES.values())
    assert f'from_pretrained("org/kocap-base", revision="{COMMIT}", trust_remote_code=True)' in text
    assert 'AutoModel.from_pretrained("org/kocap-lora", trust_remote_code=True)' in text
    assert AIHUB_CREDIT in text and "not redistributed" in text
    assert "healthy: 97 %" in text and "NVIDIA L4" in text and "(training.png)" in text


@pytest.mark.parametrize("kind", ["dora", "qdora", "wavelet"])
def test_kinds_that_vllm_refuses_say_so(adapter, kind):
    text = write_card(adapter, facts(kind=kind)).read_text()
    assert "publish.py merge" in text.split("## Limits")[1]
    assert "vLLM" not in write_card(adapter, facts(kind="lora")).read_text()


def test_a_base_checkpoint_is_a_transformers_model(tmp_path):
    made = facts(stage="align", kind="full", base_id="Qwen/Qwen3-8B", base_revision=None, is_aihub=False, metrics=())
    card = ModelCard.load(write_card(tmp_path, made))
    data = card.data.to_dict()
    assert data["library_name"] == "transformers" and data["base_model"] == "Qwen/Qwen3-8B"
    assert "model-index" not in data and "AI-Hub, S. Korea" not in card.text
    assert 'pipeline("video-text-to-text"' in card.text


def test_nothing_of_this_machine_gets_in(adapter, monkeypatch):
    canary = "hf_" + "C4naryC4naryC4naryC4naryC4nary"
    monkeypatch.setenv("HF_TOKEN", canary)
    home = str(Path.home())
    command = ["python", "train.py", f"--output={home}/runs/first", "--token", "secret", "--records", "~/a/b.jsonl"]
    card = write_card(
        adapter,
        facts(command=command, base_id=f"{home}/models/base", hyperparameters={"cache": f"{home}/cache", "x": canary}),
    ).read_text()
    assert "C4nary" not in card and "secret" not in card and home not in card
    assert "python train.py --output=first --token HIDDEN --records b.jsonl" in card
    assert "base_model" not in ModelCard(card).data.to_dict(), "a folder's path is no base model"
    assert "/srv/people" not in write_card(adapter, facts()).read_text()


def test_scores_of_the_evaluation_fit():
    score = Score("meteor", 0.4, 0.3, 0.5, SIGNATURES["meteor"], np.zeros(2), 0.2, None, np.zeros((2, 2)))
    assert Metric.from_score(score) == Metric("meteor", 0.4, SIGNATURES["meteor"], low=0.3, high=0.5, constant=0.2)


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="align, caption, both"):
        facts(stage="third")
