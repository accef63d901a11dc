"""Bundle -> clean process -> load -> save -> load again, from a folder and from a Hub."""

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
from loopback_hub import LoopbackHub
from video_fixtures import make_clip

from serving.hub_bundle import BundleError, bundle, flat_code

ROOT = Path(__file__).parents[1]
REPO = "org/kocap-tiny"


def look(source: str, clip: str, save_to: str | None = None, revision: str | None = None) -> dict:
    """Load a model in every way there is and caption a clip. Also sent as text to processes that lack this project."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoVideoProcessor,
        pipeline,
    )

    trusted = {"trust_remote_code": True, "revision": revision}
    config = AutoConfig.from_pretrained(source, **trusted)
    processor = AutoProcessor.from_pretrained(source, **trusted)
    video_processor = AutoVideoProcessor.from_pretrained(source, **trusted)
    chat = [{"role": "user", "content": [{"type": "video", "path": clip}, {"type": "text", "text": "묘사해주세요."}]}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    pixels = video_processor(clip, return_tensors="pt")["pixel_values_videos"]
    seen = {"model_type": config.model_type, "same_pixels": torch.equal(pixels, inputs["pixel_values_videos"])}
    for auto in (AutoModel, AutoModelForImageTextToText):
        model = auto.from_pretrained(source, **trusted)
        ids = model.generate(**inputs, max_new_tokens=12, do_sample=False)
        seen[auto.__name__] = ids[0, inputs["input_ids"].shape[1] :].tolist()
        if save_to and auto is AutoModel:
            model.save_pretrained(f"{save_to}/from-model")
            processor.save_pretrained(f"{save_to}/from-model")
    pipe = pipeline("video-text-to-text", model=source, **trusted)
    seen["pipeline"] = pipe(clip, max_new_tokens=12)
    if save_to:
        pipe.model.save_pretrained(f"{save_to}/from-pipeline")
        pipe.processor.save_pretrained(f"{save_to}/from-pipeline")
    seen["modules"] = sorted({type(part).__module__.split(".")[0] for part in (config, processor, model, pipe)})
    return seen


def look_elsewhere(visits: list[dict], folder: Path, environment: dict[str, str]) -> list[dict]:
    """`look` at each visit's source in one process where this project cannot be imported."""
    search = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    search = [part for part in search if Path(part).resolve() != ROOT]
    script = "\n".join(
        [
            "import importlib.util, json, sys",
            "rooms = ('configuration', 'processing', 'modeling', 'serving')",
            "assert not any(map(importlib.util.find_spec, rooms)), 'the project is importable'",
            inspect.getsource(look),
            "print(json.dumps([look(**visit) for visit in json.loads(sys.argv[1])]))",
        ]
    )
    child = subprocess.run(
        [sys.executable, "-P", "-c", script, json.dumps(visits)],
        cwd=folder,
        env=environment | {"PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return json.loads(child.stdout.splitlines()[-1])


def publish(*arguments: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "publish.py", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def offline(cache_dir: Path) -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache_dir)}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    path.write_bytes(make_clip(20))
    return str(path)


@pytest.fixture(scope="module")
def at_home(tiny_checkpoint, clip) -> dict:
    """What the source tree's own classes make of the checkpoint."""
    seen = look(str(tiny_checkpoint), clip)
    assert "transformers_modules" not in seen.pop("modules")
    assert seen["same_pixels"] and seen["AutoModel"] == seen["AutoModelForImageTextToText"]
    assert len(set(seen["AutoModel"])) > 3, "a caption of one repeated token would prove little"
    return seen


@pytest.fixture(scope="module")
def bundled(tiny_checkpoint, tmp_path_factory) -> Path:
    return bundle(tiny_checkpoint, tmp_path_factory.mktemp("bundle") / "kocap-tiny")


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def test_bundle_loads_and_saves_where_the_project_is_unknown(bundled, at_home, clip, tmp_path):
    """Two generations: the bundle, and what a stranger saves after loading it; the bundle itself is gone by then."""
    moved = shutil.copytree(bundled, tmp_path / "moved")
    saved = tmp_path / "saved"
    visit = {"source": str(moved), "clip": clip, "save_to": str(saved)}
    (seen,) = look_elsewhere([visit], tmp_path, offline(tmp_path / "cache"))
    assert seen == at_home | {"modules": ["transformers_modules"]}

    shutil.rmtree(moved)
    visits = [{"source": str(folder), "clip": clip} for folder in (saved / "from-model", saved / "from-pipeline")]
    for seen in look_elsewhere(visits, tmp_path, offline(tmp_path / "another-cache")):
        assert seen == at_home | {"modules": ["transformers_modules"]}


@pytest.mark.slow
def test_push_fails_readably_then_works_and_the_hub_serves_it(hub, tiny_checkpoint, bundled, at_home, clip, tmp_path):
    """A failed push, the same push again, loading by name and by commit, saving, and loading that without the Hub.

    The folder pushed is a trainer's: `training_args.bin` can hold a token and must stay behind.
    """
    trained = shutil.copytree(tiny_checkpoint, tmp_path / "trained")
    for name in ("training_args.bin", "optimizer.pt", "trainer_state.json"):
        (trained / name).write_bytes(b"hf_secret")
    environment = hub.environment(tmp_path / "cache")
    hub.fail_next(1, path="/commit/")
    failed = publish("push", trained, REPO, environment=environment)
    assert failed.returncode == 1 and failed.stdout == ""
    assert "500" in failed.stderr and f"publish.py push {trained} {REPO}" in failed.stderr
    assert "다시 실행해 주세요" in failed.stderr
    assert hub.token not in failed.stderr and "Traceback" not in failed.stderr
    assert set(hub.files(REPO)) == {".gitattributes"}

    pushed = publish("push", trained, REPO, environment=environment)
    assert pushed.returncode == 0, pushed.stderr
    url, commit = pushed.stdout.split()
    assert url == f"{hub.endpoint}/{REPO}" and re.fullmatch("[0-9a-f]{40}", commit)
    expected = {path.name: path.read_bytes() for path in bundled.iterdir()}  # same checkpoint, same bytes
    assert hub.files(REPO, commit) == expected | {".gitattributes": hub.files(REPO)[".gitattributes"]}

    saved = tmp_path / "saved"
    visits = [
        {"source": REPO, "clip": clip},
        {"source": REPO, "clip": clip, "save_to": str(saved), "revision": commit},
    ]
    for seen in look_elsewhere(visits, tmp_path, hub.environment(tmp_path / "visitor", with_token=False)):
        assert seen == at_home | {"modules": ["transformers_modules"]}
    visits = [{"source": str(folder), "clip": clip} for folder in (saved / "from-model", saved / "from-pipeline")]
    for seen in look_elsewhere(visits, tmp_path, offline(tmp_path / "another-cache")):
        assert seen == at_home | {"modules": ["transformers_modules"]}


def test_wrong_token_is_refused_at_once_and_not_printed(hub, tiny_checkpoint, tmp_path):
    environment = hub.environment(tmp_path) | {"HF_TOKEN": "hf_wrongwrongwrong"}
    failed = publish("push", tiny_checkpoint, "org/never", environment=environment)
    assert failed.returncode == 1 and "token" in failed.stderr
    assert "hf_wrongwrongwrong" not in failed.stderr and "Traceback" not in failed.stderr
    assert ("models", "org/never") not in hub.repos


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pickles can run code"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no model\*\.safetensors"),
        (lambda folder: (folder / "processor_config.json").unlink(), "has no processor_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "holds an adapter"),
    ],
)
def test_unfit_checkpoints_are_refused(tiny_checkpoint, tmp_path, change, complaint):
    unfit = shutil.copytree(tiny_checkpoint, tmp_path / "unfit")
    change(unfit)
    with pytest.raises(BundleError, match=complaint):
        bundle(unfit, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_bundle_that_does_not_load_is_not_kept(tiny_checkpoint, bundled, tmp_path):
    """And an earlier good bundle stays as it was."""
    out = shutil.copytree(bundled, tmp_path / "out")
    lost = shutil.copytree(tiny_checkpoint, tmp_path / "lost")
    config = json.loads((lost / "config.json").read_text())
    (lost / "config.json").write_text(json.dumps(config | {"projector_type": "linear"}))
    with pytest.raises(BundleError, match="multi_modal_projector"):
        bundle(lost, out)
    assert (out / "config.json").read_bytes() == (bundled / "config.json").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "lost"}, "temporary folders stay behind"


def test_folders_that_are_no_bundles_are_not_replaced(tiny_checkpoint, tmp_path):
    (tmp_path / "thesis.txt").write_text("...")
    with pytest.raises(BundleError, match=r"thesis\.txt"):
        bundle(tiny_checkpoint, tmp_path)
    with pytest.raises(BundleError, match="no earlier bundle"):
        bundle(tiny_checkpoint, tiny_checkpoint)


def test_no_room_is_imported_by_code_on_the_hub():
    code = flat_code()
    assert "from .configuration_kocap import KoCapConfig" in code["modeling_kocap.py"]
    for name, text in code.items():
        for module in re.findall(r"^\s*from \.(\w+)", text, re.MULTILINE):
            assert f"{module}.py" in code, f"{name} needs {module}.py"
