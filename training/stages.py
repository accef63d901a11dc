"""One stage of training, from a base checkpoint to what it adds: `align` the projector, `caption` an adapter.

outcome = run_stage(settings, "align", base, flags)
"""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, release_memory
from accelerate.utils.memory import should_reduce_batch_size
from tqdm import tqdm
from transformers import TrainingArguments
from transformers.integrations import unset_hf_deepspeed_config

from configuration.disk_writing import writing
from configuration.gpu_tiers import CAPTION_TOKENS
from configuration.memory_plan import GIB
from corpus.records import Record
from modeling.checkpoint_loading import load_model, load_processor
from modeling.modeling_kocap import KoCapForConditionalGeneration

from .adapters import add_adapter, count_trainable, freeze_for, quantization_config
from .base_checkpoint import write_weights
from .checkpoints import find_resumable, step_of
from .collapse_signs import Look, Sign
from .collapse_watch import CollapseWatch
from .collator import CaptionCollator
from .feature_cache import FeatureCache
from .peak_memory import peak_memory_bytes, reset_peak_memory
from .record_clips import RecordClips
from .run_settings import RunSettings, SettingsError
from .run_start import mark_finished
from .trainer import KoCapTrainer, halve_batch, trained_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageData:
    """Records to learn from and records to look at."""

    train: Sequence[Record]
    held_out: Sequence[Record]


@dataclass(frozen=True)
class Outcome:
    """How a stage ended.

    Attributes:
        folder: The base checkpoint after `align`; the adapter's folder (`full`: the whole model's) after `caption`.
        finished: False if the run collapsed and stopped, or was told to stop (SIGTERM) and saved a checkpoint.
        stopped_for: The alarm that stopped it.
        looks: What the collapse watch saw.
        problems: Samples that could not be read: id, code, message.
        trainable: How many numbers moved.
        tower: Digest of the frozen vision tower, for the next stage; None without a feature cache.
    """

    folder: Path
    finished: bool
    stopped_for: Sign | None
    looks: Sequence[Look]
    problems: Sequence[dict[str, str]]
    trainable: int
    tower: str | None


def run_stage(
    settings: RunSettings,
    stage: str,
    base: str,
    data: StageData,
    arguments: TrainingArguments,
    *,
    resume: Path | None = None,
    tower: str | None = None,
) -> Outcome:
    """Train a stage; out of memory, it begins again with half the batch and twice the accumulation.

    Args:
        base: Checkpoint that the stage stands on, folder or Hub id. `align` writes the trained projector into it.
        resume: Complete checkpoint to go on from.
        tower: What the run's first stage said of the vision tower, which no stage changes.
    Raises:
        NonFiniteLossError: If the loss becomes NaN or infinite.
        SettingsError: If a single clip does not fit into memory; with `settings.strict`, if a clip cannot be read.
    """
    while True:
        try:
            return _train(settings, stage, base, data, arguments, resume, tower)
        except RuntimeError as error:  # torch's out of memory is one
            if not should_reduce_batch_size(error):
                raise
            if arguments.per_device_train_batch_size == 1:
                raise SettingsError(
                    "a single clip does not fit into memory. Take fewer frames (--num_frames), --adapter qlora, a"
                    " smaller --rank or a smaller language model (--text)",
                    "영상 하나도 메모리에 들어가지 않습니다. --num_frames나 --rank를 줄이거나,"
                    " --adapter qlora 또는 더 작은 언어 모델(--text)을 써 보세요.",
                ) from error
        release_memory()  # outside of `except`, where the error still holds what did not fit
        resume = find_resumable(Path(arguments.output_dir)) or resume
        smaller, accumulation = halve_batch(
            arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
        )
        logger.warning(
            "out of memory with %d clips at once; beginning again with %d, %d times a step",
            arguments.per_device_train_batch_size,
            smaller,
            accumulation,
        )
        arguments.per_device_train_batch_size = smaller
        arguments.gradient_accumulation_steps = accumulation


def _train(
    settings: RunSettings,
    stage: str,
    base: str,
    data: StageData,
    arguments: TrainingArguments,
    resume: Path | None,
    tower: str | None,
) -> Outcome:
    torch.manual_seed(arguments.seed)  # adapters begin at random
    reset_peak_memory()
    model = load_base(base, settings, arguments)
    processor = load_processor(base, trust_remote_code=settings.trust_remote_code)
    if settings.num_frames:
        processor.video_processor.num_frames = settings.num_frames
    cache, problems = _fill_cache(settings, model, processor, [*data.train, *data.held_out], tower)
    unreadable = {problem["path"] for problem in problems}
    clips = {
        name: RecordClips(
            [record for record in records if record.path not in unreadable],
            processor,
            cache=cache,
            strict=settings.strict,
        )
        for name, records in vars(data).items()
    }
    longest = max(clips["train"].lengths)
    if longest > settings.tier.sequence_length:
        logger.warning(
            "the longest sample has %d tokens; preset %s plans for %d and may run out of memory. Take fewer frames",
            longest,
            settings.preset,
            settings.tier.sequence_length,
        )
    if stage == "align":
        freeze_for(model, stage)
        trained: Any = model
    else:
        trained = add_adapter(model, settings.kind, rank=settings.rank_or_tier)
    for weight in trained.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # frozen weights stay half as large; what learns needs the precision
    collator = CaptionCollator(processor)
    trainer = KoCapTrainer(
        model=trained,
        args=arguments,
        train_dataset=clips["train"],
        data_collator=collator,
    )
    watch = _add_watch(settings, stage, trainer, processor, clips["held_out"], collator)
    began, begun_at = time.monotonic(), step_of(resume)  # its checkpoint may be gone when the run ends
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    stopped_for = watch.stopped_for if watch else None
    finished = stopped_for is None and trainer.state.global_step >= trainer.state.max_steps
    outcome = Outcome(
        folder=_keep(settings, stage, base, trainer, processor) if finished else Path(base),
        finished=finished,
        stopped_for=stopped_for,
        looks=watch.looks if watch else (),
        problems=problems,
        trainable=count_trainable(trained),
        tower=cache.settings["weights"] if cache else None,
    )
    if finished and arguments.should_save:
        seconds, steps = time.monotonic() - began, trainer.state.global_step - begun_at
        mark_finished(Path(arguments.output_dir), _facts(outcome, watch, data, seconds=seconds, steps=steps))
    return outcome


def load_base(base: str, settings: RunSettings, arguments: TrainingArguments) -> KoCapForConditionalGeneration:
    """The model a stage trains on, in the precision of the run, in 4 bits where the adapter wants it."""
    dtype = torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else torch.float32
    quantised = quantization_config(settings.kind, dtype)
    device = {"": PartialState().local_process_index} if quantised and torch.cuda.is_available() else None
    unset_hf_deepspeed_config()  # ZeRO-3 would share weights out at once; features are computed by a whole tower
    options = {"dtype": dtype, "quantization_config": quantised, "device_map": device}
    trust = settings.trust_remote_code
    model = load_model(base, model_class=KoCapForConditionalGeneration, trust_remote_code=trust, **options)
    if arguments.deepspeed_plugin:
        arguments.deepspeed_plugin.set_deepspeed_weakref()
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # SDPA's backward is slow on CPUs: 1.75 s a step against 1.03 s
    return model


def _fill_cache(settings: RunSettings, model, processor, records: Sequence[Record], tower: str | None):
    """The feature cache with all records in it (None where it is off), and those that could not be read."""
    if settings.cache_folder is None:
        return None, []
    state = PartialState()
    cache = FeatureCache.open(settings.cache_folder, model, processor, weights=tower)
    model.model.vision_tower.to(state.device)
    show = partial(tqdm, desc="features", disable=not state.is_local_main_process)
    share = list(records)[state.process_index :: state.num_processes]
    problems = cache.fill(share, workers=2 if torch.cuda.is_available() else 0, progress=show)
    problems = gather_object(problems)  # waits for every process
    cache.refresh()
    if problems and settings.strict:
        raise SettingsError(
            f"{len(problems)} clips cannot be read, the first: {problems[0]['message']}"
            " Mend them, or leave out --strict",
            f"읽을 수 없는 영상이 {len(problems)}개 있습니다. {problems[0]['path']}: {problems[0]['message_ko']}",
        )
    return cache, problems


def _add_watch(settings, stage, trainer, processor, held_out: RecordClips, collator) -> CollapseWatch | None:
    if not settings.watch_every or len(held_out) < 2:
        return None
    watch = CollapseWatch(
        processor,
        [held_out[index] for index in range(min(len(held_out), settings.watch_clips))],
        collator,
        output=Path(trainer.args.output_dir) / "report",
        every=settings.watch_every,
        stop=settings.stop_on_collapse,
        max_new_tokens=CAPTION_TOKENS,
        facts={"단계": stage, "프리셋": settings.preset, "학습 영상": f"{len(trainer.train_dataset)}개"},
    )
    watch.log = trainer.log
    trainer.add_callback(watch)
    return watch


def _keep(settings: RunSettings, stage: str, base: str, trainer: KoCapTrainer, processor) -> Path:
    """Write what a finished stage has made where the next one, or the user, finds it.

    Raises:
        DiskError: If it does not fit; the stage's last checkpoint goes on to here again.
    """
    with writing(settings.output, f"what stage {stage} has made"):
        return _write_result(settings, stage, base, trainer, processor)


def _write_result(settings: RunSettings, stage: str, base: str, trainer: KoCapTrainer, processor) -> Path:
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    state_dict = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.args.world_size > 1 else None
    if stage == "align":
        if trainer.args.should_save:
            write_weights(Path(base), trained_weights(model, state_dict))
            processor.save_pretrained(base)  # with the number of frames it was trained on
        return Path(base)
    folder = Path(settings.output) / ("model" if settings.kind == "full" else "adapter")
    if trainer.args.should_save:
        shutil.rmtree(folder, ignore_errors=True)
        if settings.kind == "full":
            model.to(getattr(torch, settings.tier.dtype))
        model.save_pretrained(folder, state_dict=state_dict)
        processor.save_pretrained(folder)
    return folder


def _facts(
    outcome: Outcome, watch: CollapseWatch | None, data: StageData, *, seconds: float, steps: int
) -> dict[str, Any]:
    """What a card says about the stage; seconds and steps are those since it was last resumed."""
    last = outcome.looks[-1] if outcome.looks else None
    return {
        "trainable": outcome.trainable,
        "train": len(data.train),
        "held_out": len(data.held_out),
        "bad_samples": len(outcome.problems),
        "is_aihub": any("AI-Hub" in str(record.metadata.get("attribution")) for record in data.train),
        "minutes": round(seconds / 60, 1),
        "step_s": round(seconds / steps, 4) if steps else None,
        "peak_gib": round(peak_memory_bytes() / GIB, 3),
        "look": {name: value for name, value in asdict(last).items() if name != "samples"} if last else None,
        "verdict": "; ".join(sign.message for sign in watch.signs) or "no alarm" if watch else "not watched",
    }
