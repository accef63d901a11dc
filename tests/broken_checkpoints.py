"""Checkpoints that are damaged in one way each, and checkpoints that bring code of their own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5939832\n"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _weights_as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _shard_missing(folder: Path) -> None:
    names = list(load_file(folder / WEIGHTS))
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (folder / WEIGHTS).rename(folder / shards[0])
    places = {name: shards[number == 0] for number, name in enumerate(names)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _index_bad(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text('{"weight_map": ')


def _shapes_wrong(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config=text | {"intermediate_size": text["intermediate_size"] + 16})


def _weights_missing(folder: Path) -> None:
    kept = {name: weight for name, weight in load_file(folder / WEIGHTS).items() if "projector" not in name}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})


def _without_vision_tokens(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("<|video_pad|>", "<|other_pad|>"), encoding="utf-8")


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {  # how it is damaged, and what the message names
    "weights: git-lfs pointer": (lambda folder: (folder / WEIGHTS).write_text(POINTER), "git lfs pull"),
    "weights: cut": (lambda folder: (folder / WEIGHTS).open("rb+").truncate(50_000), "cut short"),
    "weights: empty": (lambda folder: (folder / WEIGHTS).write_bytes(b""), "cut short"),
    "weights: missing": (lambda folder: (folder / WEIGHTS).unlink(), ".safetensors"),
    "weights: pickle": (_weights_as_pickle, "pytorch_model.bin"),
    "weights: some missing": (_weights_missing, "multi_modal_projector"),
    "index: bad": (_index_bad, INDEX),
    "shard: missing": (_shard_missing, "model-00002-of-00002.safetensors"),
    "shapes: wrong": (_shapes_wrong, "mlp"),
    "config: cut": (lambda folder: (folder / "config.json").write_text('{"model_type": "kocap",'), "config.json"),
    "config: missing": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "config: other kind": (lambda folder: (folder / "config.json").write_text('{"model_type": "qwen3"}'), "qwen3"),
    "template: bad": (lambda folder: (folder / "chat_template.jinja").write_text("{% for m in"), "Template"),
    "tokenizer: git-lfs pointer": (lambda folder: (folder / "tokenizer.json").write_text(POINTER), "git lfs pull"),
    "tokenizer: no vision tokens": (_without_vision_tokens, "vision tokens"),
    "processor: missing": (lambda folder: (folder / "processor_config.json").unlink(), "processor_config.json"),
}


def broken(checkpoint: Path, kind: str, folder: Path) -> Path:
    """A copy of a checkpoint that is damaged in that way."""
    shutil.copytree(checkpoint, folder)
    BROKEN[kind][0](folder)
    return folder


def _processor(folder: Path, part: str, **changes: Any) -> None:
    told = json.loads((folder / "processor_config.json").read_text())
    (told[part] if part else told).update(changes)
    (folder / "processor_config.json").write_text(json.dumps(told))


STRANGERS: dict[str, Callable[[Path], Any]] = {  # what asks for the code in code_of_theirs.py
    "model": lambda folder: edit(
        folder / "config.json",
        model_type="stranger",
        auto_map={"AutoConfig": "code_of_theirs.C", "AutoModelForImageTextToText": "code_of_theirs.M"},
    ),
    "processor": lambda folder: _processor(
        folder, "", processor_class="Theirs", auto_map={"AutoProcessor": "code_of_theirs.P"}
    ),
    "video processor": lambda folder: _processor(
        folder, "video_processor", video_processor_type="Theirs", auto_map={"AutoVideoProcessor": "code_of_theirs.V"}
    ),
    "tokenizer": lambda folder: edit(
        folder / "tokenizer_config.json",
        tokenizer_class="Theirs",
        auto_map={"AutoTokenizer": ["code_of_theirs.T", None]},
    ),
}


def strangers(checkpoint: Path, kind: str, folder: Path, marker: Path) -> Path:
    """A copy of a checkpoint with code of its own, which makes the file `marker` when it runs."""
    shutil.copytree(checkpoint, folder)
    STRANGERS[kind](folder)
    (folder / "code_of_theirs.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    return folder
