"""Part e: a round of the embedded model's recipe with all cores drawing, as long as time is left.

    out/tiny_round.safetensors      the newest weights, bfloat16: over checkpoints/kocap-tiny's they make a checkpoint

Drawing is the bound, so its speed settles how many clips the round has; weights are kept every hundred steps.
"""

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from cells import Cell, Machine, NotMeasured, run_part
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from modeling.checkpoint_names import EMBEDDED_MODEL
from processing.video_threads_kocap import usable_cores
from training.checkpoints import find_resumable
from training.run_settings import RunSettings
from training.scene_clips import SceneClips
from training.tiny_recipe import make_tiny

ROOT = Path(__file__).resolve().parents[2]
FIRST_SEED = 400_000  # beyond what the embedded model has seen
BATCH_SIZE = 16
LEARNING_RATE = 4e-4
WEIGHTS = "tiny_round.safetensors"
LEAST_CLIPS, LEAST_S = 4_000, 60.0  # fewer are no round
SHARE = 0.75  # of the time that is left; loading and slower steps take the rest


def drawing_speed(workers: int, clips: int) -> float:
    """Clips a second that so many processes draw."""
    scenes = SceneClips(clips, first_seed=FIRST_SEED, num_frames=8, image_size=128)
    loader = DataLoader(scenes, batch_size=None, num_workers=workers, collate_fn=_as_is, prefetch_factor=4)
    drawn = iter(loader)
    next(drawn)
    started = time.perf_counter()
    count = sum(1 for _ in drawn)
    return count / (time.perf_counter() - started)


def _as_is(clip):
    return clip


def train(machine: Machine) -> dict:
    """The round; its weights are in `machine.out` as it goes."""
    workers = 1 if machine.rehearse else max(1, usable_cores() - 1)
    per_s = drawing_speed(workers, 4 if machine.rehearse else 40 * workers)
    clips = 2 * BATCH_SIZE if machine.rehearse else int(per_s * machine.left_s * SHARE) // BATCH_SIZE * BATCH_SIZE
    if clips < LEAST_CLIPS and not machine.rehearse:
        raise NotMeasured(f"{clips} clips fit into {machine.left_s:.0f} s at {per_s:.1f} a second; a round has more")
    room = Path(tempfile.mkdtemp())
    settings = RunSettings(output=str(room / "tiny"), preset="tiny", model=str(ROOT / EMBEDDED_MODEL), watch_every=0)
    flags = {"clips": clips, "batch_size": BATCH_SIZE, "workers": workers}
    flags |= {"learning_rate": LEARNING_RATE, "first_seed": FIRST_SEED}
    ended = threading.Event()
    keeping = threading.Thread(target=_keep_weights, args=(room / ".tiny-run" / "captions", machine.out, ended))
    keeping.start()
    started = time.perf_counter()
    try:
        finished = make_tiny(settings, [part for name, value in flags.items() for part in (f"--{name}", str(value))])
    finally:
        ended.set()
        keeping.join()
    if finished:
        shutil.copyfile(room / "tiny" / "model.safetensors", machine.out / WEIGHTS)
    trained_s = time.perf_counter() - started
    return {
        "clips": clips,
        "workers": workers,
        "drawn_per_s": round(per_s, 1),
        "trained_s": round(trained_s, 1),
        "clips_per_s": round(clips / trained_s, 1) if finished else None,
        "finished": finished,
        "weights": WEIGHTS,
    }


def _keep_weights(run: Path, out: Path, ended: threading.Event) -> None:
    """Keep the newest checkpoint's weights until outcome that it is over."""
    kept = None
    while not ended.wait(3):
        newest = find_resumable(run) if run.is_dir() else None
        if newest is None or newest == kept:
            continue
        try:
            weights = load_file(newest / "model.safetensors")
        except OSError:  # the Trainer has put a newer one in its place
            continue
        draft = out / f"{WEIGHTS}.partial"
        save_file({name: value.to(torch.bfloat16) for name, value in weights.items()}, draft, metadata={"format": "pt"})
        draft.replace(out / WEIGHTS)
        kept = newest


def list_cells(machine: Machine) -> Iterator[Cell]:
    """One."""
    yield Cell("round", partial(train, machine), least_s=5 if machine.rehearse else LEAST_S)


if __name__ == "__main__":
    sys.exit(run_part("tiny_round", list_cells))
