"""Train a KoCap checkpoint from generated scenes.

    python train.py --output checkpoints/kocap-tiny

remakes the embedded demonstration model from nothing: its tokenizer, its vision encoder and its language model.
`--model FOLDER` goes on from a checkpoint instead; more `--clips` train longer.
"""

import copy
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)

import modeling  # noqa: F401  registers KoCap with the Auto classes
import processing  # noqa: F401
from corpus.scene_captions import describe, describe_briefly
from corpus.scenes import sample_scene
from processing.vision_tokens_kocap import CAPTION_PROMPT, SYSTEM_PROMPT
from training.collator import CaptionCollator
from training.loss_curve import plot_run
from training.scene_clips import BRIEF_PROMPT, CAMERA_PROMPT, SceneClips
from training.scene_watch import SceneWatch
from training.tiny_model import build_tiny, train_tokenizer
from training.tower_pretraining import FrameClassifier, FrameCollator, SceneFrames, list_facts


@dataclass
class RunArguments:
    """What to train and for how long."""

    output: str = field(metadata={"help": "Folder of the finished checkpoint."})
    model: str | None = field(default=None, metadata={"help": "Checkpoint to go on from; default: start from nothing."})
    frames: int | None = field(
        default=None,
        metadata={"help": "Scenes the vision tower sees first, frame by frame; default: 64000, none with --model."},
    )
    clips: int = field(default=45_000, metadata={"help": "Generated clips to see, each once."})
    camera_clips: int | None = field(
        default=None,
        metadata={
            "help": "Scenes of which it tells only the camera's motion, in between; default: 20000, none with --model."
        },
    )
    batch_size: int = field(default=32, metadata={"help": "Clips per step."})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "Peak learning rate (warm-up, then cosine)."})
    short_first: float = field(default=1.0, metadata={"help": "Share of short answers (facts, camera) at the start."})
    short_last: float = field(default=0.1, metadata={"help": "Share of short answers at the end."})
    first_seed: int = field(default=0, metadata={"help": "Seed of the first scene."})
    watch_every: int = field(default=200, metadata={"help": "Steps between looks at held-out scenes; 0 never looks."})
    workers: int = field(default=1, metadata={"help": "Processes that draw scenes."})
    seed: int = field(default=0, metadata={"help": "Seed of the weights."})

    def __post_init__(self):
        if self.frames is None:
            self.frames = 0 if self.model else 64_000
        if self.camera_clips is None:
            self.camera_clips = 0 if self.model else 20_000


def start(run: RunArguments):
    """A model and its processor: a checkpoint's, or fresh ones with a tokenizer learned from captions."""
    if run.model:
        return AutoModelForImageTextToText.from_pretrained(
            run.model, dtype=torch.float32
        ), AutoProcessor.from_pretrained(run.model)
    scenes = [sample_scene(run.first_seed + index) for index in range(5_000)]
    texts = [text for scene in scenes for text in (describe(scene), describe_briefly(scene))]
    return build_tiny(train_tokenizer([*texts, *[CAPTION_PROMPT, BRIEF_PROMPT, CAMERA_PROMPT, SYSTEM_PROMPT] * 1_000]))


def list_phases(run: RunArguments, num_frames: int, image_size: int) -> dict[str, SceneClips]:
    """Clips in the order of training, no scene twice: captions, the camera's motion from two frames, captions again.

    A language model that cannot speak yet does not learn to compare frames, and in a caption the camera's motion is one
    word in fifty; so it is asked for by itself, in between, and not before.
    """
    first, last = run.short_first, run.short_last
    camera = {"short_share": (1.0, 1.0), "camera_share": 1.0, "ends_only": True}
    wanted = {"captions": (run.clips, {"short_share": (first, last)})}
    if run.camera_clips:
        early = run.clips * 2 // 5
        wanted = {
            "first-captions": (early, {"short_share": (first, (first + last) / 2), "camera_share": 0.0}),
            "camera": (run.camera_clips, camera),
            "captions": (run.clips - early, {"short_share": ((first + last) / 2, last)}),
        }
    phases, first_seed = {}, run.first_seed + (run.frames or 0)
    for phase, (count, options) in wanted.items():
        phases[phase] = SceneClips(
            count, first_seed=first_seed, num_frames=num_frames, image_size=image_size, **options
        )
        first_seed += count
    return phases


def save(model, processor, folder: Path) -> None:
    """A whole checkpoint; `--model FOLDER` goes on from it. The running model keeps its precision."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def main() -> None:
    (run,) = HfArgumentParser(RunArguments, description=__doc__).parse_args_into_dataclasses()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    set_seed(run.seed)
    model, processor = start(run)
    output = Path(run.output)
    run_folder = output.parent / f".{output.name}-run"
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # SDPA's backward is slow on CPUs: 1.75 s a step against 1.03 s
    has_bf16 = torch.backends.cpu.get_cpu_capability() == "AVX512"  # without it, bfloat16 is 150 times slower
    image_size = processor.video_processor.size["height"]
    common = {
        "output_dir": str(run_folder),
        "num_train_epochs": 1,
        "weight_decay": 0.05,
        "max_grad_norm": 1.0,
        "bf16": torch.cuda.is_available() or has_bf16,
        "use_cpu": not torch.cuda.is_available(),
        "train_sampling_strategy": "sequential",  # scenes are in no order; brief answers must come first
        "dataloader_num_workers": run.workers,
        "remove_unused_columns": False,
        "logging_steps": 25,
        "save_strategy": "no",
        "report_to": "none",
        "seed": run.seed,
    }

    def arguments(batch_size: int, schedule: str = "cosine") -> TrainingArguments:
        return TrainingArguments(
            per_device_train_batch_size=batch_size,
            learning_rate=run.learning_rate,
            lr_scheduler_type=schedule,
            warmup_steps=100,
            **common,
        )

    if run.frames:
        facts = list_facts(run.first_seed)
        Trainer(
            model=FrameClassifier(model.model.vision_tower, len(facts)),
            args=arguments(2 * run.batch_size),
            train_dataset=SceneFrames(facts, count=run.frames, first_seed=run.first_seed, image_size=image_size),
            data_collator=FrameCollator(processor),
        ).train()
        save(model, processor, run_folder / "after-frames")
    history: list[dict] = []
    for phase, clips in list_phases(run, processor.video_processor.num_frames, image_size).items():
        trainer = Trainer(
            model=model,
            args=arguments(
                4 * run.batch_size if phase == "camera" else run.batch_size,
                "constant_with_warmup" if phase == "first-captions" else "cosine",
            ),
            train_dataset=clips,
            data_collator=CaptionCollator(processor),
            callbacks=[SceneWatch(processor, every=run.watch_every)] if run.watch_every and phase != "camera" else [],
        )
        trainer.train()
        done = history[-1]["step"] if history else 0
        history += [entry | {"step": done + entry["step"]} for entry in trainer.state.log_history]
        save(model, processor, output if phase == "captions" else run_folder / f"after-{phase}")
    plot_run(history, output / "training.png")
    print(f"saved {output}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
