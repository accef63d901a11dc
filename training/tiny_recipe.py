"""The embedded demonstration model from nothing but generated scenes: its tokenizer, vision encoder and language model.

    python train.py --preset tiny --output checkpoints/kocap-tiny
    python train.py --preset tiny --output checkpoints/kocap-tiny --resume auto     # goes on where it was stopped
    python train.py --preset tiny --output NEW --model checkpoints/kocap-tiny --clips 20000     # learns more
    python train.py --preset tiny --output NEW --without_places "기찻길,성곽"      # places that it never sees

Everything trains. First the tower names what single frames show, then the whole model lists what clips show, and at
last it describes them, shortly at first.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model
from transformers import HfArgumentParser, TrainingArguments, set_seed

from configuration.disk_writing import writing
from corpus.scene_values import Place
from corpus.scenes import sample_scene, scene_seeds
from modeling.checkpoint_loading import load_model, load_processor
from processing.vision_tokens_kocap import CAPTION_PROMPT, SYSTEM_PROMPT

from .collator import CaptionCollator
from .loss_curve import plot_run
from .run_settings import RunSettings, SettingsError
from .run_start import find_checkpoint, is_finished, mark_finished, read_finished
from .scene_clips import ANSWERS, BRIEF_PROMPT, SceneClips
from .scene_watch import SceneWatch
from .tiny_model import build_tiny, train_tokenizer
from .tower_pretraining import FrameClassifier, FrameCollator, SceneFrames, list_facts
from .trainer import CarefulTrainer, KoCapTrainer

logger = logging.getLogger(__name__)

WEIGHTS = "phase.safetensors"  # of the whole model after a phase, in float32
FIRST_SHORT_SHARE = 0.9  # of descriptions
WATCHED = {"facts": BRIEF_PROMPT, "captions": CAPTION_PROMPT}  # what is asked of held-out scenes on the way


@dataclass
class TinyRecipe:
    """How long, on which scenes."""

    frames: int | None = field(
        default=None,
        metadata={"help": "Scenes the vision tower sees first, frame by frame; default: 36000, none with --model."},
    )
    fact_clips: int | None = field(
        default=None,
        metadata={"help": "Clips of which it then lists the facts; default: 46000, none with --model."},
    )
    clips: int = field(default=60_000, metadata={"help": "Clips to describe at last, each once."})
    batch_size: int = field(default=16, metadata={"help": "Clips per step."})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "Peak learning rate (warm-up, then cosine)."})
    short_share: float = field(
        default=0.25,
        metadata={"help": f"Share of short answers among the last captions; it falls from {FIRST_SHORT_SHARE}."},
    )
    first_seed: int = field(default=0, metadata={"help": "Seed of the first scene."})
    workers: int = field(default=1, metadata={"help": "Processes that draw scenes."})
    seed: int = field(default=0, metadata={"help": "Seed of the weights."})
    without_places: str = field(
        default="",
        metadata={"help": "Places, between commas, that are never shown; their scenes are passed over in every phase."},
    )

    def __post_init__(self) -> None:
        if unknown := set(self.left_out).difference(Place):
            raise SettingsError(
                f"without_places names {', '.join(sorted(unknown))}; there are {', '.join(Place)}",
                f"without_places에 없는 장소가 있습니다: {', '.join(sorted(unknown))}. 장소: {', '.join(Place)}",
            )
        if set(self.left_out) == set(Place):
            raise SettingsError(
                "without_places leaves out every place, so there is nothing to learn; leave one in",
                "without_places가 모든 장소를 빼서 배울 것이 없습니다. 하나는 남겨 주세요.",
            )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the places that are never shown."""
        return tuple(name.strip() for name in self.without_places.split(",") if name.strip())

    def scenes(self, first_seed: int, count: int) -> Sequence[int]:
        """Seeds of `count` scenes from `first_seed` on, without those of places that are left out."""
        return scene_seeds(first_seed, count, without=self.left_out)


def read_recipe(flags: Sequence[str], *, from_nothing: bool) -> TinyRecipe:
    """The recipe that flags ask for.

    Raises:
        SettingsError: If a flag is none of the recipe's.
    """
    parser = HfArgumentParser(TinyRecipe, allow_abbrev=False, prog="train.py --preset tiny")
    recipe, unknown = parser.parse_args_into_dataclasses(
        list(flags), return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        names = ", ".join(f"--{item.name}" for item in fields(TinyRecipe))
        raise SettingsError(
            f"unknown setting {unknown[0]}; the tiny recipe takes {names}",
            f"알 수 없는 설정입니다: {unknown[0]}. tiny 프리셋에서는 {names}만 쓸 수 있습니다.",
        )
    for name, count in {"frames": 36_000, "fact_clips": 46_000}.items():
        if getattr(recipe, name) is None:
            setattr(recipe, name, count if from_nothing else 0)
    return recipe


def start(run: TinyRecipe, model: str | None, *, trust_remote_code: bool = False):
    """A model and its processor: a checkpoint's, or fresh ones with a tokenizer learned from captions."""
    if model:
        trust = {"trust_remote_code": trust_remote_code}
        return load_model(model, dtype=torch.float32, **trust), load_processor(model, **trust)
    scenes = [sample_scene(seed) for seed in run.scenes(run.first_seed, 5_000)]
    texts = [write(scene) for scene in scenes for write in ANSWERS.values()]
    return build_tiny(train_tokenizer([*texts, *[*ANSWERS, SYSTEM_PROMPT] * 1_000]))


def list_phases(run: TinyRecipe, num_frames: int, image_size: int) -> dict[str, SceneClips]:
    """Clips in the order of training, no scene twice: lists of facts, then descriptions.

    Every word of a list depends on the video, so lists teach to look several times faster than captions do. But who can
    list what a clip shows has not yet learned to look there from within a sentence: short descriptions teach that.
    """
    wanted = {
        "facts": (run.fact_clips, {"short_share": (1.0, 1.0), "list_share": 1.0}),
        "captions": (run.clips, {"short_share": (FIRST_SHORT_SHARE, run.short_share)}),
    }
    common = {
        "num_frames": num_frames,
        "short_frames": num_frames // 2,
        "image_size": image_size,
        "block": run.batch_size,
        "without": run.left_out,
    }
    phases: dict[str, SceneClips] = {}
    first_seed = run.scenes(run.first_seed, run.frames)[-1] + 1 if run.frames else run.first_seed
    for phase, (count, options) in wanted.items():
        if count:
            phases[phase] = SceneClips(count, first_seed=first_seed, **common, **options)
            first_seed = phases[phase].seeds[-1] + 1
    return phases


def describe_tiny(settings: RunSettings, flags: Sequence[str]) -> str:
    """What a run would do, in Korean."""
    run = read_recipe(flags, from_nothing=settings.model is None)
    phases = {"frames (프레임)": run.frames, "facts (나열)": run.fact_clips, "captions (캡션)": run.clips}
    lines = [
        f"프리셋 tiny: {settings.model or '처음부터'} → {settings.output}",
        *(f"  {phase:<16} 합성 장면 {count:,}개" for phase, count in phases.items() if count),
        f"  배치 {run.batch_size}, 학습률 {run.learning_rate:g}, 첫 장면의 난수 시드 {run.first_seed}",
    ]
    return "\n".join(lines)


def make_tiny(settings: RunSettings, flags: Sequence[str]) -> bool:
    """Train by the recipe, from nothing or on from `settings.model`; the checkpoint is `settings.output`.

    Phases, with their checkpoints, are kept beside it in `.NAME-run`; `settings.resume` goes on from there.

    Returns:
        False if the run was told to stop (SIGTERM); a checkpoint was saved.
    """
    run = read_recipe(flags, from_nothing=settings.model is None)
    logging.getLogger(__package__).setLevel(logging.INFO)
    set_seed(run.seed)
    model, processor = start(run, settings.model, trust_remote_code=settings.trust_remote_code)
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # SDPA's backward is slow on CPUs: 1.75 s a step against 1.03 s
    output = Path(settings.output)
    run_folder = output.parent / f".{output.name}-run"
    history: list[dict] = []
    for phase, make_trainer in _phases(run, settings, model, processor, run_folder):
        folder = run_folder / phase
        checkpoint = find_checkpoint(settings, folder)
        if not is_finished(folder):
            trainer = make_trainer()
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if trainer.state.global_step < trainer.state.max_steps:
                return False
            with writing(folder, "the model's weights", needed_bytes=model.get_memory_footprint()):
                save_model(model, str(folder / WEIGHTS))
            mark_finished(folder, {"log": trainer.state.log_history})
        load_weights(model, folder / WEIGHTS)
        done = history[-1]["step"] if history else 0
        history += [entry | {"step": done + entry["step"]} for entry in read_finished(folder)["log"]]
    with writing(output, "the model", needed_bytes=model.get_memory_footprint() // 2):
        model.to(torch.bfloat16).save_pretrained(output)
        processor.save_pretrained(output)
    plot_run(history, output / "training.png")
    logger.info("saved %s: %.2f M parameters", output, sum(p.numel() for p in model.parameters()) / 1e6)
    return True


def _phases(run: TinyRecipe, settings: RunSettings, model, processor, folder: Path):
    """Name and trainer of every phase, in order; a trainer is made when its phase begins."""
    image_size, num_frames = processor.video_processor.size["height"], processor.video_processor.num_frames
    if run.frames:

        def train_tower() -> CarefulTrainer:
            shown = {"first_seed": run.first_seed, "without": run.left_out}
            facts = list_facts(**shown)
            return CarefulTrainer(
                model=FrameClassifier(model.model.vision_tower, len(facts)),
                args=_arguments(run, folder / "frames"),
                train_dataset=SceneFrames(facts, count=run.frames, image_size=image_size, **shown),
                data_collator=FrameCollator(processor),
            )

        yield "frames", train_tower
    for phase, clips in list_phases(run, num_frames, image_size).items():
        # While it learns to look, a falling learning rate stops it too early: place stayed at chance.
        schedule = "cosine" if phase == "captions" else "constant_with_warmup"
        arguments = _arguments(run, folder / phase, schedule=schedule)
        watch = []
        if settings.watch_every:
            prompt = WATCHED[phase]
            shown = {"num_frames": clips.frames_for(prompt), "without": run.left_out}
            watch = [SceneWatch(processor, every=settings.watch_every, prompt=prompt, **shown)]
        yield (
            phase,
            partial(
                KoCapTrainer,
                model=model,
                args=arguments,
                train_dataset=clips,
                data_collator=CaptionCollator(processor),
                callbacks=watch,
            ),
        )


def _arguments(run: TinyRecipe, folder: Path, *, schedule: str = "cosine") -> TrainingArguments:
    has_bf16 = torch.backends.cpu.get_cpu_capability() == "AVX512"  # without it, bfloat16 is 150 times slower
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=run.batch_size,
        learning_rate=run.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=100,
        weight_decay=0.05,
        max_grad_norm=1.0,
        bf16=torch.cuda.is_available() or has_bf16,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="sequential",  # scenes are in no order; short answers must come first
        dataloader_num_workers=run.workers,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=25,
        logging_nan_inf_filter=False,
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        seed=run.seed,
    )
