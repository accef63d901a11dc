"""Adapters on a Hub: what is pushed, what is refused, and that a stranger gets the model that was trained."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from adapter_files import save_random_adapter, with_settings
from huggingface_hub import HfApi
from loopback_hub import Blob, LoopbackHub

from modeling.modeling_kocap import KoCapForConditionalGeneration
from serving.hub_push import PushError, push_adapter

ROOT = Path(__file__).parents[1]
CANARY = "hf_C4naryC4naryC4naryC4naryC4naryC4na"
BASE, ADAPTER = "org/kocap-base", "org/kocap-lora"


@pytest.fixture(scope="module")
def base(tiny_checkpoint, tmp_path_factory) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("trained") / "base")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    """As a Trainer leaves it, secrets included."""
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    save_random_adapter(KoCapForConditionalGeneration.from_pretrained(base), "lora", folder, scale=0.3)
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "trainer_state.json", "train.log"):
        (folder / name).write_text(CANARY)
    return folder


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub(lfs=False) as hub:
        hub.token = CANARY
        yield hub


@pytest.fixture
def api(hub, base, tmp_path, monkeypatch) -> HfApi:
    """Logged in; the base is on the Hub, its code a stub."""
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=hub.endpoint, token=CANARY)
    api.create_repo(BASE)
    folder = shutil.copytree(base, tmp_path / "bundle")
    (folder / "modeling_kocap.py").touch()
    api.upload_folder(repo_id=BASE, folder_path=folder)
    return api


def test_an_adapter_travels_without_code_and_pins_its_base(hub, api, base, adapter, caplog):
    pushed = push_adapter(adapter, ADAPTER, base=BASE, api=api)
    files = hub.files(ADAPTER, pushed.commit)
    assert set(files) == {".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"} | {
        "processor_config.json",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads(files["adapter_config.json"])
    assert config["base_model_name_or_path"] == BASE
    assert config["revision"] == api.model_info(BASE).sha
    assert str(base).encode() not in b"".join(files.values()), "a path of this machine"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert not any(CANARY.encode() in content for content in files.values()) and CANARY not in caplog.text

    again = push_adapter(adapter, ADAPTER, base=f"{BASE}@{config['revision']}", api=api)
    assert hub.files(ADAPTER, again.commit) == files


def test_the_processor_it_was_trained_with_goes_along(hub, api, base, adapter, tmp_path):
    """And not the base's, which may sample fewer frames."""
    own = shutil.copytree(adapter, tmp_path / "own")
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base / name, own / name)
    processor = json.loads((own / "processor_config.json").read_text())
    processor["video_processor"]["num_frames"] = 7
    (own / "processor_config.json").write_text(json.dumps(processor))
    push_adapter(own, ADAPTER, base=BASE, api=api)
    there = json.loads(hub.files(ADAPTER)["processor_config.json"])
    assert there["video_processor"]["num_frames"] == 7
    assert there["auto_map"] == {"AutoProcessor": f"{BASE}--processing_kocap.KoCapProcessor"}


def test_what_an_earlier_push_left_goes(hub, api, adapter, tmp_path):
    old = shutil.copytree(adapter, tmp_path / "old")
    (old / "training.png").write_bytes(b"\x89PNG")
    push_adapter(old, ADAPTER, base=BASE, api=api)
    assert "training.png" in hub.files(ADAPTER)
    push_adapter(adapter, ADAPTER, base=BASE, api=api)
    assert "training.png" not in hub.files(ADAPTER)


def refused(adapter: Path, api: HfApi, repo_id: str = ADAPTER, **kwargs) -> str:
    with pytest.raises(PushError) as caught:
        push_adapter(adapter, repo_id, api=api, **kwargs)
    message = f"{caught.value}\n{caught.value.message_ko}"
    assert CANARY not in message and repo_id in message
    assert f"publish.py push {adapter} {repo_id}" in message and "다시 실행해 주세요" in message
    return message


def test_a_base_that_a_stranger_cannot_load_is_refused(hub, api, adapter, tmp_path):
    message = refused(adapter, api)
    assert "local folder" in message and "--base org/base" in message
    message = refused(with_settings(adapter, tmp_path / "a", base_model_name_or_path=BASE, revision=None), api)
    assert f"--base {BASE}" in message
    api.create_repo("org/plain")
    assert "holds no KoCap bundle" in refused(adapter, api, base="org/plain")
    gone = with_settings(adapter, tmp_path / "b", base_model_name_or_path=BASE, revision="0" * 40)
    assert "Revision" in refused(gone, api)
    assert ("models", ADAPTER) not in hub.repos


def test_an_adapter_gets_a_repository_of_its_own(hub, api, adapter):
    before = hub.files(BASE)
    assert "repository of its own" in refused(adapter, api, BASE, base=BASE)
    assert hub.files(BASE) == before


def test_a_failed_push_says_how_to_repeat_it(hub, api, adapter):
    hub.fail_next(1, path="/repos/create")
    assert "500" in refused(adapter, api, base=BASE)
    assert ("models", ADAPTER) not in hub.repos
    push_adapter(adapter, ADAPTER, base=BASE, api=api)
    assert "adapter_model.safetensors" in hub.files(ADAPTER)


def test_private_means_private(hub, api, adapter):
    push_adapter(adapter, ADAPTER, base=BASE, api=api)
    assert "is public" in refused(adapter, api, base=BASE, private=True)
    push_adapter(adapter, "org/secret", base=BASE, api=api, private=True, revision="trial")
    repo = hub.repos["models", "org/secret"]
    assert repo.private and set(repo.branches) == {"main", "trial"}


@pytest.mark.parametrize("token", [CANARY, "hf_" + "s0meoneElses" * 3])
def test_a_token_in_a_file_stops_the_push(hub, api, adapter, tmp_path, token):
    leaking = shutil.copytree(adapter, tmp_path / "leaking")
    (leaking / "README.md").write_text(f"python train.py --token {token}")
    message = refused(leaking, api, base=BASE)
    assert "README.md holds a Hub token" in message and token not in message
    assert ("models", ADAPTER) not in hub.repos


def visit(base: str, adapter: str, commit: str) -> dict:
    """Load the adapter in every way a stranger would. Sent as text to a process that lacks this project."""
    import torch
    from peft import AutoPeftModel, PeftModel
    from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor, AutoVideoProcessor, pipeline

    trusted = {"trust_remote_code": True}
    ids = torch.arange(5, 29)[None]
    pinned = AutoModelForImageTextToText.from_pretrained(base, revision=commit, **trusted)
    models = {
        "PeftModel": PeftModel.from_pretrained(pinned, adapter),
        "AutoModel": AutoModel.from_pretrained(adapter, **trusted),
        "AutoModel at a version": AutoModel.from_pretrained(adapter, adapter_kwargs={"revision": "main"}, **trusted),
        "AutoPeftModel": AutoPeftModel.from_pretrained(adapter, **trusted),
        "pipeline": pipeline("video-text-to-text", model=adapter, **trusted).model,
    }
    seen = {"commits": [models[name].config._commit_hash for name in ("AutoModel", "pipeline")]}
    for name, model in models.items():
        with torch.no_grad():
            logits = model.eval()(input_ids=ids).logits[0, -1].tolist()
        seen[name] = [logits, model.generate(input_ids=ids, max_new_tokens=8, do_sample=False).tolist()]
    for auto in (AutoProcessor, AutoVideoProcessor):
        seen[auto.__name__] = type(auto.from_pretrained(adapter, **trusted)).__name__
    return seen


def visit_elsewhere(hub: LoopbackHub, folder: Path, commit: str) -> dict:
    environment = hub.environment(folder / "visitor", with_token=False)
    search = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    search = [part for part in search if Path(part).resolve() != ROOT]
    script = "\n".join(
        [
            "import importlib.util, json, sys",
            "assert not any(map(importlib.util.find_spec, ('modeling', 'processing', 'serving')))",
            inspect.getsource(visit),
            "print(json.dumps(visit(*sys.argv[1:])))",
        ]
    )
    child = subprocess.run(
        [sys.executable, "-P", "-c", script, BASE, ADAPTER, commit],
        cwd=folder,
        env=environment | {"PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return json.loads(child.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_stranger_gets_the_trained_model_even_when_the_base_has_moved_on(base, adapter, tmp_path):
    """`publish.py push` of base and adapter, a new base, and a visitor who has neither project nor login."""
    trained = shutil.copytree(base, tmp_path / "base")
    with LoopbackHub() as hub:
        hub.token = CANARY
        environment = hub.environment(tmp_path / "cache")

        def publish(*arguments: str | Path) -> subprocess.CompletedProcess:
            command = [sys.executable, ROOT / "publish.py", "push", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert CANARY not in done.stdout + done.stderr and "Traceback" not in done.stderr
            return done

        commit = publish(trained, BASE).stdout.split()[-1]
        hub.fail_next(1, path=f"{ADAPTER}/commit/")
        failed = publish(adapter, ADAPTER, "--base", BASE)
        assert failed.returncode == 1 and "500" in failed.stderr and failed.stdout == ""
        again = re.search(r"repeat: python publish.py push (.*)", failed.stderr)
        assert again
        pushed = publish(*again[1].split())
        assert pushed.returncode == 0, pushed.stderr

        newer = KoCapForConditionalGeneration.from_pretrained(trained)
        with torch.no_grad():
            for parameter in newer.model.language_model.parameters():
                parameter.mul_(1.3)
        newer.save_pretrained(trained)
        repo = hub.repos["models", BASE]
        weights = Blob((trained / "model.safetensors").read_bytes(), is_lfs=True)
        repo.commit("main", {**repo.at("main").files, "model.safetensors": weights})
        other = publish(adapter, ADAPTER, "--base", BASE)
        assert other.returncode == 1 and "other weights" in other.stderr
        assert not any(CANARY.encode() in content for content in hub.files(ADAPTER).values())
        seen = visit_elsewhere(hub, tmp_path, commit)

    from peft import PeftModel

    model = PeftModel.from_pretrained(KoCapForConditionalGeneration.from_pretrained(base), adapter).eval()
    ids = torch.arange(5, 29)[None]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -1]
    generated = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False).tolist()
    assert seen.pop("commits") == [commit, commit]
    assert seen.pop("AutoProcessor") == "KoCapProcessor" and seen.pop("AutoVideoProcessor") == "KoCapVideoProcessor"
    for name, (there, tokens) in seen.items():
        torch.testing.assert_close(torch.tensor(there), logits.float(), rtol=1e-3, atol=1e-3, msg=name)
        assert tokens == generated, name
