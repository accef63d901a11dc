"""What a finished training run shows the world: a card beside what it made, and both pushed, the base first."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from configuration.backbone_licenses import combined_license
from training.run_settings import RunSettings
from training.run_start import read_finished

from .hub_bundle import add_code
from .hub_push import push_adapter, push_checkpoint
from .model_card import Metric, RunFacts, card_license, write_card

PACKAGES = ("torch", "transformers", "peft", "accelerate", "av")
TOLD = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "seed",
)


def made_by(settings: RunSettings, stage: str) -> Path:
    """The folder that a stage leaves for the user."""
    name = "base" if stage == "align" else "model" if settings.kind == "full" else "adapter"
    return Path(settings.output) / name


def write_cards(
    settings: RunSettings, arguments: dict[str, TrainingArguments], base: str, command: Sequence[str]
) -> None:
    """Write README.md into what every stage has made, and its code beside every whole model.

    Args:
        arguments: Of every stage that ran.
        base: The checkpoint under the adapter, folder or Hub id.
        command: The command line.
    """
    backbones = () if settings.model else tuple(map(_name, settings.backbones))
    license = card_license(base) or combined_license(backbones)  # a base that was just assembled has no card yet
    for stage, told in arguments.items():
        facts = read_finished(Path(told.output_dir))
        made = made_by(settings, stage)
        if made.name != "adapter":
            add_code(made)
        origin = settings.model or settings.text or settings.tier.text
        write_card(
            made,
            RunFacts(
                base_id=origin if stage == "align" else base,
                kind=settings.kind,
                stage=stage,
                preset=settings.preset,
                data=", ".join(Path(path).name for path in settings.data or ()),
                counts={"train": facts["train"], "held out": facts["held_out"]},
                is_aihub=facts["is_aihub"],
                command=command,
                license=license,
                backbones=backbones,
                hyperparameters={name: _plain(getattr(told, name)) for name in TOLD} | {"rank": settings.rank_or_tier},
                metrics=_metrics(facts.get("look")),
                collapse=facts["verdict"],
                minutes=facts["minutes"],
                hardware=torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU",
                versions={name: version(name) for name in PACKAGES},
            ),
        )


def push_run(settings: RunSettings, base: str) -> list[str]:
    """Push what the run made; returns the addresses.

    The base goes to ORG/NAME-base, unless it is on the Hub already, and the adapter, pinned to it, to ORG/NAME.

    Raises:
        PushError: If the Hub refuses or cannot be reached; what was pushed stays, and the push can be repeated.
    """
    if settings.kind == "full" and "caption" in settings.stages:
        return [push_checkpoint(made_by(settings, "caption"), settings.push, private=settings.private).url]
    pushed, base_id = [], None
    if Path(base).is_dir():
        repo = f"{settings.push}-base" if "caption" in settings.stages else settings.push
        whole = push_checkpoint(Path(base), repo, private=settings.private)
        pushed, base_id = [whole.url], f"{whole.repo_id}@{whole.commit}"
    if "caption" in settings.stages:
        adapter = push_adapter(made_by(settings, "caption"), settings.push, base=base_id, private=settings.private)
        pushed.append(adapter.url)
    return pushed


def _metrics(look: dict[str, Any] | None) -> list[Metric]:
    if look is None:
        return []
    names = ("low", "high", "constant", "shuffled", "signature")
    return [Metric(name="meteor", value=look["meteor"], **{name: look[f"meteor_{name}"] for name in names})]


def _name(backbone: str) -> str:
    return Path(backbone).name if Path(backbone).is_dir() else backbone


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)
