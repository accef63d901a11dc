"""The recipe a user will run: a base model learns places that it has never seen, with every adapter, side by side.

    P="계단식 논,기찻길,성곽,시장 골목"
    python train.py --preset tiny --output out/tiny-18 --without_places "$P"     # the base: all other places
    python benchmarks/new_places.py --base out/tiny-18 --places "$P"             # 2,000 records, five adapters
    python benchmarks/new_places.py --base out/tiny-18 --places "$P" --keep      # goes on where that stopped
    python benchmarks/new_places.py --records 16 --count 4 --epochs 1 --kinds lora --no-save    # a try

Records are small mp4 clips of scenes as `prepare.py scenes` writes them. `train.py --stage align` trains the projector
once, `train.py --stage caption` an adapter of every kind on what that leaves; vision features come from one cache.
Held-out clips of new and of old places are captioned before, in between and after. Nothing watches for collapse, so
that step times are those of training.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer
from peft import PeftConfig, PeftModel
from run_record import save_result
from tqdm import tqdm

from corpus.report_pages import write_whole
from corpus.scene_captions import describe
from corpus.scene_records import SceneSettings, write_scenes
from corpus.scene_values import Place
from corpus.scenes import HELD_OUT_SEED, Scene, sample_scene, scene_seeds, write_clip
from evaluation.generation import caption_clips
from evaluation.scene_accuracy import scene_scores
from evaluation.scoring import score_captions
from modeling.captioner import checkpoint_revision, load_captioner
from modeling.checkpoint_names import EMBEDDED_MODEL, weights_revision
from processing.pipeline_kocap import KoCapPipeline
from training.run_settings import CHECKPOINTING
from training.run_start import read_finished

ROOT = Path(__file__).resolve().parent.parent
PLACES = ",".join((Place.PADDY, Place.RAILWAY, Place.FORTRESS, Place.MARKET))
FIRST_SEED = 500_000_000  # no recipe for a base comes so far
SHAPE = {"height": 180, "width": 320, "fps": 8}  # the model looks at 8 frames of 128x128
BATCH_SIZE = 16
# Peak learning rates for a model of 3 M parameters: the presets' 5e-5 are for billions. With these, all kinds learn
# about as fast: the loss of kocap-tiny on 64 clips fell from 0.36 to 0.34 in 24 steps with lora 8e-3 and full 5e-4, to
# 0.33 with wavelet 1e-3. Wavelet 5e-3 diverged (a coefficient counts 25 times), full 2e-3 learned them by heart.
LEARNING_RATES = {"align": 1e-3, "lora": 5e-3, "dora": 5e-3, "qlora": 5e-3, "wavelet": 5e-4, "full": 5e-4}
KINDS = [kind for kind in LEARNING_RATES if kind != "align"]


@dataclass(frozen=True)
class Settings:
    """What decides the numbers; cells of other settings are not kept."""

    base: str
    places: tuple[str, ...]
    records: int
    old_share: float
    count: int
    epochs: float
    rank: int
    learning_rates: dict[str, float]


@dataclass(frozen=True)
class HeldOut:
    """Clips that no training sees."""

    scenes: Sequence[Scene]
    paths: Sequence[Path]


def write_records(work: Path, settings: Settings) -> list[Path]:
    """The records to learn from: of the new places, and of the old ones if some are wanted."""
    num_old = round(settings.records * settings.old_share)
    wanted = {"new": (settings.records - num_old, old_places(settings)), "old": (num_old, settings.places)}
    files = []
    for name, (count, without) in wanted.items():
        if count:
            workers = 0 if count > 100 else 1  # every process first imports what stands above
            scenes = SceneSettings(work / name, count, FIRST_SEED, 0.0, workers, without=without, **SHAPE)
            write_scenes(scenes, show_progress=True)
            files.append(work / name / "train.jsonl")
    return files


def write_held_out(folder: Path, count: int, without: Collection[str]) -> HeldOut:
    """Held-out clips of places, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [sample_scene(seed) for seed in scene_seeds(HELD_OUT_SEED, count, without=without)]
    paths = [folder / f"{scene.seed}.mp4" for scene in scenes]
    for scene, path in zip(tqdm(scenes, desc=folder.name, unit="clip"), paths, strict=True):
        if not path.is_file():
            write_clip(scene, path.with_suffix(".part"), **SHAPE)
            path.with_suffix(".part").replace(path)
    return HeldOut(scenes, paths)


def old_places(settings: Settings) -> tuple[str, ...]:
    """What the base has seen."""
    return tuple(place for place in Place if place not in settings.places)


def train(output: Path, stage: str, model: str | Path, records: Sequence[Path], name: str, settings: Settings) -> dict:
    """Run train.py, or go on with it; returns what it says of the stage."""
    flags = {
        "preset": "cpu",
        "stage": stage,
        "model": str(model),
        "output": str(output),
        "feature_cache": str(output.parent.parent / "features"),
        "rank": settings.rank,
        "watch_every": 0,
        "resume": "auto",
        "learning_rate": settings.learning_rates[name],
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": BATCH_SIZE,
        "gradient_accumulation_steps": 1,
        CHECKPOINTING: False,
    } | ({"adapter": name} if stage == "caption" else {})
    command = [sys.executable, "train.py", "--data", *map(str, records)]
    for flag, value in flags.items():
        command += [f"--{flag}", str(value)]
    subprocess.run(command, cwd=ROOT, check=True)
    return read_finished(output / stage)


def load_whole(model: Path) -> KoCapPipeline:
    """A captioner of a whole model, or of an adapter merged into its base by PEFT.

    transformers 5.24 reads adapters itself when it is given one, and loses DoRA's magnitudes.
    """
    if not (model / "adapter_config.json").is_file():
        return load_captioner(str(model))
    captioner = load_captioner(PeftConfig.from_pretrained(str(model)).base_model_name_or_path)
    captioner.model = PeftModel.from_pretrained(captioner.model, str(model)).merge_and_unload().eval()
    return captioner


def measure(model: Path | str, held_out: dict[str, HeldOut]) -> dict[str, Any]:
    """Captions of the held-out clips, attribute by attribute and by METEOR with its floors."""
    captioner, found = load_whole(Path(model)), {}
    for name, clips in held_out.items():
        captions = caption_clips(
            captioner,
            [str(path) for path in clips.paths],
            progress=lambda batches, name=name: tqdm(batches, desc=f"captions, {name}", unit="batch"),
        )
        said = {str(scene.seed): caption for scene, caption in zip(clips.scenes, captions, strict=True)}
        written = {str(scene.seed): describe(scene) for scene in clips.scenes}
        meteor = score_captions(said, written, metrics=("meteor",)).to_json()["scores"]["meteor"]
        found[name] = {"scenes": scene_scores(captions, clips.scenes), "meteor": meteor, "first": captions[0]}
    return {"revision": weights_revision(Path(model)) or checkpoint_revision(captioner), **found}


def format_table(cells: dict[str, dict[str, Any]]) -> str:
    """Cells as Markdown; the first is the model before it learned anything."""
    lines = [
        "| after | learns | place, new | place, old | METEOR, new | METEOR, old | unique, new | peak GiB | step s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, cell in cells.items():
        new, old, told = cell["new"], cell["old"], cell["training"]
        scores = [part["scenes"]["place"] for part in (new, old)] + [part["meteor"]["value"] for part in (new, old)]
        numbers = [f"{value:.3f}" for value in [*scores, new["scenes"]["unique"]]]
        took = [f"{told['trainable']:,}", f"{told['peak_gib']:.2f}", f"{told['step_s']:.2f}"] if told else ["-"] * 3
        lines.append(f"| {' | '.join([name, took[0], *numbers, *took[1:]])} |")
    floors = {name: cell["meteor"] for name, cell in next(iter(cells.values())).items() if name in ("new", "old")}
    constant = ", ".join(f"{name} {meteor['constant']:.3f}" for name, meteor in floors.items())
    return "\n".join([*lines, f"\nMETEOR of the best constant caption: {constant}."])


def main(
    base: Annotated[str, typer.Option(help="checkpoint that does not know the places")] = EMBEDDED_MODEL,
    places: Annotated[str, typer.Option(help="places to teach, between commas")] = PLACES,
    records: Annotated[int, typer.Option(min=2, help="clips to learn from")] = 2000,
    old_share: Annotated[float, typer.Option(min=0, max=0.99, help="share of old places among them")] = 0.0,
    count: Annotated[int, typer.Option(min=2, help="held-out clips of new places, and of old ones")] = 200,
    epochs: Annotated[float, typer.Option(help="passes over the records, in either stage")] = 3.0,
    rank: Annotated[int, typer.Option(min=1, help="of the adapters")] = 8,
    kinds: Annotated[str, typer.Option(help="adapters, between commas")] = ",".join(KINDS),
    rates: Annotated[str, typer.Option(help="other learning rates: lora=1e-3,full=1e-4")] = "",
    work: Annotated[Path, typer.Option(help="folder for clips, features and runs")] = Path("out/new_places"),
    keep: Annotated[bool, typer.Option(help="go on with the runs that are there")] = False,
    save: Annotated[bool, typer.Option(help="write results/NAME.json")] = True,
    name: Annotated[str, typer.Option(help="of the result file")] = "new_places",
) -> None:
    """Teach, measure, print and save."""
    other_rates = dict(rate.split("=") for rate in rates.split(",") if rate)
    chosen = LEARNING_RATES | {kind: float(rate) for kind, rate in other_rates.items()}
    taught = tuple(place.strip() for place in places.split(","))
    if unknown := set(taught).difference(Place) | set(kinds.split(",")).difference(KINDS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}; {', '.join(Place)}; {', '.join(KINDS)}")
    base = str(Path(base).resolve()) if Path(base).is_dir() else base
    settings = Settings(base, taught, records, old_share, count, epochs, rank, chosen)
    work = work.resolve()
    begin(work, settings, keep=keep)
    files = write_records(work, settings)
    held_out = {
        "new": write_held_out(work / "held-out-new", count, old_places(settings)),
        "old": write_held_out(work / "held-out-old", count, taught),
    }
    runs, cells = work / "runs", {}
    for cell in ("base", "align", *kinds.split(",")):
        saved = work / "cells" / f"{cell}.json"
        if not saved.is_file():
            model, told = base, None
            if cell != "base":
                stage, start = ("align", base) if cell == "align" else ("caption", runs / "align" / "base")
                told = train(runs / cell, stage, start, files, cell, settings)
                model = runs / cell / {"align": "base", "full": "model"}.get(cell, "adapter")
            found = {"training": told, **measure(model, held_out)}
            write_whole(saved, json.dumps(found, ensure_ascii=False, indent=1).encode())
        cells[cell] = json.loads(saved.read_bytes())
    print(format_table(cells))
    if save:
        told = asdict(settings) | {"base": Path(base).name, "shape": SHAPE, "batch_size": BATCH_SIZE}
        print(f"saved {save_result(name, {'settings': told, 'cells': cells})}")


def begin(work: Path, settings: Settings, *, keep: bool) -> None:
    """Make room for a run, or make sure that the one that is there was begun with the same settings.

    Raises:
        typer.BadParameter: If it was not.
    """
    told, now = work / "settings.json", json.loads(json.dumps(asdict(settings)))
    if not keep:
        for name in ("runs", "cells", "new", "old"):
            shutil.rmtree(work / name, ignore_errors=True)
    elif told.is_file() and json.loads(told.read_bytes()) != now:
        raise typer.BadParameter(f"{work} was begun with other settings; leave out --keep, or choose another --work")
    (work / "cells").mkdir(parents=True, exist_ok=True)
    write_whole(told, json.dumps(now, ensure_ascii=False, indent=1).encode())


if __name__ == "__main__":
    typer.run(main)
