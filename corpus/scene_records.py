"""Generated scenes as a data set: clips in OUT/videos, records in OUT/train.jsonl and OUT/val.jsonl."""

import hashlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from configuration.disk_writing import finish_file, writing
from configuration.script_endings import shielded_from_interrupts
from processing.video_threads_kocap import usable_cores

from .records import Record, RecordWriter, caption_record
from .scene_captions import describe
from .scene_values import Place
from .scenes import HELD_OUT_SEED, Scene, sample_scene, scene_seeds, write_clip

SPLITS = ("train", "val")


@dataclass(frozen=True)
class SceneSettings:
    """Which scenes to write, and how.

    Attributes:
        seed: Seed of the first scene; the others follow one by one.
        workers: Processes that draw; 0: one per core.
        without: Places that no scene shows; their seeds are passed over.
    """

    output: Path
    count: int
    seed: int = 0
    val_share: float = 0.1
    workers: int = 0
    height: int = 360
    width: int = 640
    fps: int = 15
    without: Collection[Place] = ()

    def __post_init__(self):
        if self.count < 1 or self.seed < 0 or self.workers < 0:
            raise ValueError(
                f"count is {self.count}, seed {self.seed}, workers {self.workers};"
                " count is 1 or more, the others 0 or more."
            )
        if self.seeds[-1] >= HELD_OUT_SEED:
            raise ValueError(
                f"scenes would use seeds {self.seed} to {self.seeds[-1]}; seeds from {HELD_OUT_SEED} on are"
                " held out for evaluation. Take fewer scenes or a smaller first seed."
            )
        if not 0 <= self.val_share <= 1:
            raise ValueError(f"val_share is {self.val_share}; it is a share, 0 to 1.")

    @cached_property
    def seeds(self) -> Sequence[int]:
        """Of the scenes, ascending."""
        return scene_seeds(self.seed, self.count, without=self.without)


def write_scenes(settings: SceneSettings, *, show_progress: bool = False) -> dict[str, int]:
    """Write what is missing of a data set; what a run before left finished stays as it is.

    Returns:
        How many clips were drawn, and how many records each split now holds: `drawn`, `train`, `val`.
    """
    with writing(settings.output, "clips"):
        (settings.output / "videos").mkdir(parents=True, exist_ok=True)
    seeds = settings.seeds
    with ExitStack() as stack:
        writers = {name: stack.enter_context(RecordWriter(settings.output / f"{name}.jsonl")) for name in SPLITS}
        written = set.union(*(writer.written for writer in writers.values()))
        missing = [
            seed for seed in seeds if _name(seed) not in written or not (settings.output / _video(seed)).is_file()
        ]
        draw = partial(_draw_scene, settings.output, height=settings.height, width=settings.width, fps=settings.fps)
        workers = min(settings.workers or usable_cores(), len(missing))
        records = map(draw, missing)
        if workers > 1:
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
            stack.callback(pool.shutdown, cancel_futures=True)
            with shielded_from_interrupts():
                records = pool.map(draw, missing)
        progress = {"total": len(seeds), "initial": len(seeds) - len(missing), "unit": "clip", "file": sys.stderr}
        for seed, record in tqdm(zip(missing, records), disable=not show_progress, **progress):
            if record.id not in written:  # a clip that was lost is drawn again; its record is still there
                writers[choose_split(seed, settings.val_share)].write(record)
        return {"drawn": len(missing), **{name: len(writer.written) for name, writer in writers.items()}}


def choose_split(seed: int, val_share: float) -> str:
    """Say which split a scene is in; it depends on nothing but its seed and the share."""
    digest = hashlib.sha256(_name(seed).encode()).digest()
    return "val" if int.from_bytes(digest[:8], "big") < val_share * 2**64 else "train"


def scene_record(scene: Scene) -> Record:
    """The record of a scene's clip, with all that is known about it."""
    attributes: dict[str, Any] = {
        name: str(getattr(scene, name)) for name in ("place", "time", "weather", "season", "camera")
    }
    if scene.landmark:
        attributes["landmark"] = str(scene.landmark)
    told = ("thing", "colour", "direction", "speed", "side")
    attributes["movers"] = [
        {name: str(value) for name in told if (value := getattr(mover, name))} for mover in scene.movers
    ]
    attributes["finish"] = asdict(scene.finish)
    facts = {"source": "scenes", "seed": scene.seed, "duration_s": scene.duration_s, **attributes}
    return caption_record(_name(scene.seed), _video(scene.seed), describe(scene), **facts)


def _draw_scene(folder: Path, seed: int, *, height: int, width: int, fps: int) -> Record:
    """Write a scene's clip, whole or not at all."""
    scene, path = sample_scene(seed), folder / _video(seed)
    unfinished = path.with_suffix(".part")
    with writing(folder, "a clip"):
        write_clip(scene, unfinished, height=height, width=width, fps=fps)
        finish_file(unfinished, path)
    return scene_record(scene)


def _end_with_parent() -> None:
    """Make a drawing process end when the run that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _name(seed: int) -> str:
    return f"scene-{seed}"


def _video(seed: int) -> str:
    return f"videos/{_name(seed)}.mp4"
