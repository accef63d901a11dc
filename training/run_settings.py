"""What a run is told: our settings, then any of transformers' TrainingArguments, from flags or a YAML file.

    python train.py settings.yaml --learning_rate 1e-4      # a flag wins over the file

What nobody sets comes from the preset; what a preset doesn't know, from the defaults below.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from configuration.coded_errors_kocap import CodedError
from configuration.gpu_tiers import TIERS, GpuTier
from configuration.script_endings import TRUST_HELP

STAGES = ("align", "caption")
NO_CACHE = "none"
KNOWN = {item.name for item in fields(TrainingArguments)}
CHECKPOINTING = next(n for n in ("activation_checkpointing", "gradient_checkpointing") if n in KNOWN)  # 5.23 renamed it


class SettingsError(CodedError, ValueError):
    """Settings that do not go together."""

    code = "E_SETTINGS"


@dataclass
class RunSettings:
    """What to train, on what, and where it goes."""

    output: str = field(metadata={"help": "Folder for everything the run makes."})
    data: list[str] | None = field(default=None, metadata={"help": "Files of records to train on; several are mixed."})
    eval_data: str | None = field(default=None, metadata={"help": "Held-out records, for the collapse watch."})
    preset: Literal["cpu", "t4", "l4", "a100", "h100", "tiny"] = field(
        default="cpu", metadata={"help": "The GPU one has; tiny remakes checkpoints/kocap-tiny from nothing."}
    )
    stage: Literal["align", "caption", "both"] = field(
        default="both", metadata={"help": "align: the projector alone; caption: an adapter on the language model."}
    )
    model: str | None = field(
        default=None, metadata={"help": "KoCap checkpoint to begin with, folder or Hub id; default: the backbones."}
    )
    vision: str | None = field(default=None, metadata={"help": "Vision encoder, in place of the preset's."})
    text: str | None = field(default=None, metadata={"help": "Language model, in place of the preset's."})
    adapter: Literal["lora", "dora", "qlora", "qdora", "wavelet", "full"] | None = field(
        default=None, metadata={"help": "How the language model learns; default: the preset's."}
    )
    rank: int | None = field(default=None, metadata={"help": "Rank of the adapter; alpha is twice that."})
    num_frames: int | None = field(default=None, metadata={"help": "Frames per clip; default: the preset's."})
    feature_cache: str | None = field(
        default=None,
        metadata={
            "help": f"Folder of vision features, shared between runs; default: OUTPUT/features. {NO_CACHE}: off."
        },
    )
    strict: bool = field(default=False, metadata={"help": "Stop at the first clip that cannot be read."})
    watch_every: int = field(default=100, metadata={"help": "Steps between looks for collapse; 0: never."})
    watch_clips: int = field(default=32, metadata={"help": "Held-out clips to look at."})
    stop_on_collapse: bool = field(default=False, metadata={"help": "Stop when captions collapse."})
    resume: str | None = field(default=None, metadata={"help": "auto, or a checkpoint's folder to go on from."})
    push: str | None = field(default=None, metadata={"help": "ORG/NAME of the adapter; its base is ORG/NAME-base."})
    private: bool = field(default=False, metadata={"help": "Push to private repositories."})
    trust_remote_code: bool = field(
        default=False,
        metadata={
            "help": f"{TRUST_HELP} / Let code from the repository of a model or backbone run, with all your rights."
        },
    )
    dry_run: bool = field(default=False, metadata={"help": "Print the plan and the memory it needs, and end."})

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise SettingsError(f"rank is {self.rank}; it must be at least 1", "rank는 1 이상이어야 합니다.")
        if self.num_frames is not None and self.num_frames < 1:
            raise SettingsError(
                f"num_frames is {self.num_frames}; it must be at least 1", "num_frames는 1 이상이어야 합니다."
            )
        if self.model and (self.vision or self.text):
            raise SettingsError(
                "model is a whole KoCap, and vision or text are given beside it; give one or the other",
                "--model은 완성된 KoCap입니다. --vision, --text와 함께 쓸 수 없습니다.",
            )

    @property
    def tier(self) -> GpuTier:
        """The preset's plan."""
        return TIERS[self.preset]

    @property
    def backbones(self) -> tuple[str, str]:
        """Vision encoder and language model, where the run begins with them."""
        return self.vision or self.tier.vision, self.text or self.tier.text

    @property
    def stages(self) -> tuple[str, ...]:
        """In the order in which they run."""
        return STAGES if self.stage == "both" else (self.stage,)

    @property
    def kind(self) -> str:
        """How the language model learns."""
        return self.adapter or self.tier.kind

    @property
    def rank_or_tier(self) -> int:
        """Rank of the adapter."""
        return self.rank or self.tier.rank

    @property
    def cache_folder(self) -> Path | None:
        """Where vision features are kept; None if they are not."""
        if self.feature_cache == NO_CACHE:
            return None
        return Path(self.feature_cache) if self.feature_cache else Path(self.output) / "features"


def parse_settings(argv: Sequence[str]) -> tuple[RunSettings, list[str]]:
    """Settings, and the flags that are not ours (for `stage_arguments`), from a command line.

    Args:
        argv: Without the program's name; the first may be a YAML file.
    Raises:
        SettingsError: If the file is none, or settings do not go together.
    """
    argv = list(argv)
    if argv and argv[0].endswith((".yaml", ".yml")):
        argv = [*flags_of(Path(argv[0])), *argv[1:]]
    parser = HfArgumentParser(RunSettings, allow_abbrev=False, prog="train.py")
    settings, rest = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    return settings, rest


def flags_of(path: Path) -> list[str]:
    """A YAML file's settings as flags."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(
            f"{path} cannot be read as YAML ({error})", f"{path}을(를) YAML로 읽을 수 없습니다."
        ) from None
    if not isinstance(told, dict):
        raise SettingsError(
            f"{path} holds no settings; write `name: value` lines", f"{path}에 `이름: 값`을 적어 주세요."
        )
    flags: list[str] = []
    for name, value in told.items():
        if value is not None:
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{name}", *map(str, values)]
    return flags


def stage_arguments(settings: RunSettings, stage: str, flags: Sequence[str]) -> TrainingArguments:
    """transformers' arguments for a stage: the preset's, and over them what the user set.

    No Hub token ever gets in: pushing is not the Trainer's business here.

    Raises:
        SettingsError: If a flag is unknown, or is one that this project decides itself.
    """
    parser = HfArgumentParser(TrainingArguments, allow_abbrev=False, prog="train.py")
    parser.set_defaults(**_defaults(settings, stage))
    arguments, unknown = parser.parse_args_into_dataclasses(
        list(flags), return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        raise SettingsError(
            f"unknown setting {unknown[0]}; `python train.py --help` lists ours, transformers' TrainingArguments the"
            " others",
            f"알 수 없는 설정입니다: {unknown[0]}. `python train.py --help`와 TrainingArguments 문서를 확인해 주세요.",
        )
    if arguments.push_to_hub or arguments.hub_token:
        raise SettingsError(
            "push_to_hub and hub_token are the Trainer's; use --push ORG/NAME, and log in with `hf auth login`",
            "push_to_hub와 hub_token 대신 --push ORG/NAME을 쓰고, `hf auth login`으로 로그인해 주세요.",
        )
    return arguments


def _defaults(settings: RunSettings, stage: str) -> dict[str, Any]:
    tier = settings.tier
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(Path(settings.output) / stage),
        "learning_rate": tier.align_learning_rate if stage == "align" else tier.caption_learning_rate,
        "num_train_epochs": 1.0,
        "lr_scheduler_type": tier.lr_scheduler_type,
        "warmup_steps": tier.warmup_ratio,  # below 1 it is a share of the run
        "max_grad_norm": tier.max_grad_norm,
        "optim": tier.optimizer,
        "per_device_train_batch_size": tier.batch_size,
        "gradient_accumulation_steps": tier.gradient_accumulation_steps,
        CHECKPOINTING: tier.gradient_checkpointing,
        f"{CHECKPOINTING}_kwargs": {"use_reentrant": False},
        "bf16": on_gpu and tier.dtype == "bfloat16",
        "fp16": on_gpu and tier.dtype == "float16",
        "use_cpu": not on_gpu,
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "logging_steps": 10,
        "logging_nan_inf_filter": False,  # it would log NaN as 0; KoCapTrainer stops instead
        "save_steps": 200,
        "save_total_limit": 2,
        "dataloader_num_workers": 2 if on_gpu else 0,
        "report_to": "none",
    }


def as_yaml(settings: RunSettings, flags: Sequence[str]) -> str:
    """Settings that repeat the run, as a YAML file that `train.py` takes.

    Args:
        flags: What `parse_settings` left for `stage_arguments`.
    """
    ours = {item.name: getattr(settings, item.name) for item in fields(settings)}
    told = {name: value for name, value in ours.items() if value is not None} | _flag_values(flags)
    return yaml.safe_dump(told, allow_unicode=True, sort_keys=False)


def _flag_values(flags: Sequence[str]) -> dict[str, Any]:
    """Flags as a YAML file has them, so that `flags_of` gives them back; of a flag given twice, the last one."""
    words: dict[str, list[str]] = {}
    name = ""
    for flag in flags:
        if flag.startswith("--"):
            name, has_value, value = flag.removeprefix("--").partition("=")
            name = name.replace("-", "_")  # argparse takes both
            words.pop(name, None)
            words[name] = [value] if has_value else []
        else:
            words[name].append(flag)
    values = {}
    for name, given in words.items():
        plain = [_plain(word) for word in given]
        is_off = not plain and name not in KNOWN and name.removeprefix("no_") in KNOWN  # `--no_x` of a flag that is on
        name = name.removeprefix("no_") if is_off else name
        values.pop(name, None)  # `--no_x --x`: the last one counts
        values[name] = plain if len(plain) > 1 else plain[0] if plain else not is_off
    return values


def _plain(word: str) -> Any:
    """A word as a number where YAML writes that number as it stands; else as it is."""
    read = yaml.safe_load(word) if re.fullmatch(r"[-+.\w]+", word) else word
    return read if isinstance(read, int | float) and str(read) == word else word
