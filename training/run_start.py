"""Where a run begins: what it will do, the checkpoint it stands on, and where an earlier one stopped."""

import json
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from transformers import TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from configuration.backbone_licenses import describe_license
from configuration.memory_plan import describe
from corpus.report_pages import write_whole
from modeling.checkpoint_loading import load_config

from .adapters import QUANTISED_KINDS
from .base_checkpoint import assemble, copy_checkpoint
from .checkpoints import find_resumable, missing_files
from .run_settings import CHECKPOINTING, RunSettings, SettingsError

FINISHED_FILE = "finished.json"


def describe_run(settings: RunSettings, arguments: Sequence[TrainingArguments]) -> str:
    """What the run will do and the memory it needs, in Korean."""
    tier, last = settings.tier, arguments[-1]
    config = load_config(settings.model, trust_remote_code=settings.trust_remote_code) if settings.model else None
    plan = tier.plan(
        config,
        kind=settings.kind,
        four_bit=settings.kind in QUANTISED_KINDS,
        rank=settings.rank_or_tier,
        frames=settings.num_frames or tier.num_frames,
        batch_size=last.per_device_train_batch_size,
        gradient_checkpointing=bool(getattr(last, CHECKPOINTING)),
    )
    backbones = [settings.model] if settings.model else settings.backbones
    rates = ", ".join(f"{stage} {one.learning_rate:g}" for stage, one in zip(settings.stages, arguments, strict=True))
    lines = [
        f"프리셋 {settings.preset} ({tier.device})",
        f"  모델      {' + '.join(backbones)}",
        *(f"  라이선스  {describe_license(backbone)}" for backbone in ([] if settings.model else backbones)),
        f"  단계      {' → '.join(settings.stages)} (학습률 {rates})",
        f"  어댑터    {settings.kind}, rank {settings.rank_or_tier}, {tier.dtype}",
        f"  배치      {last.per_device_train_batch_size} x {last.gradient_accumulation_steps},"
        f" 프레임 {settings.num_frames or tier.num_frames}장, 최대 {tier.sequence_length} 토큰",
        *describe(plan, memory_bytes=tier.memory_bytes, device=tier.device),
    ]
    return "\n".join(lines)


def check_stages(arguments: Sequence[TrainingArguments]) -> None:
    """Refuse several stages in one process where that cannot be.

    Raises:
        SettingsError: With DeepSpeed, of which accelerate takes one configuration per process.
    """
    if len(arguments) > 1 and any(one.deepspeed_plugin for one in arguments):
        raise SettingsError(
            "DeepSpeed trains one stage per process; run --stage align, then --stage caption",
            "DeepSpeed로는 한 번에 한 단계만 학습할 수 있습니다. --stage align, --stage caption 순서로 실행해 주세요.",
        )


def find_base(settings: RunSettings) -> str:
    """The checkpoint the first stage stands on, written to OUTPUT/base where `align` will change it.

    Raises:
        SettingsError: If `caption` alone is wanted and there is nothing to caption with.
        ModelError: If a backbone or a checkpoint cannot be found or loaded.
    """
    folder = Path(settings.output) / "base"
    if "align" not in settings.stages:
        if settings.model:
            return settings.model
        if folder.is_dir():
            return str(folder)
        raise SettingsError(
            f"stage caption needs an aligned model; {folder} is not there. Give --model, or run --stage align first",
            f"캡션 단계에는 정렬된 모델이 필요한데 {folder}이(가) 없습니다."
            " --model을 주거나 align 단계를 먼저 실행해 주세요.",
        )
    with PartialState().main_process_first():
        if settings.model:
            return str(copy_checkpoint(settings.model, folder))
        vision, text = settings.backbones
        options = {"num_frames": settings.num_frames, "trust_remote_code": settings.trust_remote_code}
        return str(assemble(vision, text, folder, tier=settings.tier, **options))


def find_checkpoint(settings: RunSettings, stage_folder: Path) -> Path | None:
    """The checkpoint that a stage goes on from; None to begin anew.

    Raises:
        SettingsError: If the one asked for is incomplete, or an earlier run's would be written over.
    """
    if settings.resume == "auto":
        return find_resumable(stage_folder)
    if settings.resume:
        checkpoint = Path(settings.resume)
        if missing := missing_files(checkpoint):
            raise SettingsError(
                f"{checkpoint} is no complete checkpoint ({missing[0]} is missing or cut short); use --resume auto",
                f"{checkpoint}은(는) 온전한 체크포인트가 아닙니다({missing[0]}). --resume auto를 써 주세요.",
            )
        return checkpoint if checkpoint.resolve().parent == stage_folder.resolve() else None
    if is_finished(stage_folder) or any(stage_folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
        raise SettingsError(
            f"{stage_folder} holds an earlier run; go on with --resume auto, or choose another --output",
            f"{stage_folder}에 이전 학습이 있습니다. --resume auto로 이어 가거나 다른 --output을 지정해 주세요.",
        )
    return None


def is_finished(stage_folder: Path) -> bool:
    """Whether a stage has run to its end."""
    return (stage_folder / FINISHED_FILE).is_file()


def mark_finished(stage_folder: Path, facts: dict) -> None:
    """Note the end of a stage, with what is worth knowing about it."""
    write_whole(stage_folder / FINISHED_FILE, json.dumps(facts, ensure_ascii=False, indent=1).encode())


def read_finished(stage_folder: Path) -> dict:
    """What `mark_finished` wrote."""
    return json.loads((stage_folder / FINISHED_FILE).read_text(encoding="utf-8"))
