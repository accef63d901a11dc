"""How fast folders are captioned: `pipe(file)` file by file, batches read when asked, and batches read ahead.

    python benchmarks/captioning.py --clips folder
    python benchmarks/captioning.py                     # of scenes drawn for it, at 1280x720

All ways caption the same clips in turn, in one process, round after round; every round starts with another way. A way's
speed is that of all its rounds. Captions that differ from those of `pipe(file)` are counted: sums in another order may
tip a scale.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import typer
from run_record import save_result

from corpus.clip_files import find_clips
from corpus.scenes import sample_scene, write_clip
from modeling.caption_lines import BatchCaptioner, CaptionSettings
from modeling.captioner import describe_captioner, load_captioner
from modeling.checkpoint_names import EMBEDDED_MODEL
from modeling.clip_reading import Clip, can_isolate, read_batches, usual_workers
from processing.pipeline_kocap import KoCapPipeline

Captions = dict[str, str]


def naive(pipe: KoCapPipeline, paths: Sequence[str], max_new_tokens: int) -> tuple[Captions, None]:
    """What the README shows, in a loop."""
    options = {"do_sample": False, "max_new_tokens": max_new_tokens}
    return {path: pipe(path, generate_kwargs=options)[0]["generated_text"] for path in paths}, None


def batched(
    pipe: KoCapPipeline, paths: Sequence[str], max_new_tokens: int, *, batch_size: int, workers: int
) -> tuple[Captions, float]:
    """As `caption_videos` does it; also the seconds in which the model waited for clips."""
    settings = CaptionSettings(max_new_tokens=max_new_tokens, do_sample=False)
    captioner = BatchCaptioner(pipe, settings, describe_captioner(pipe), batch_size)
    batches = read_batches(
        [Clip(path) for path in paths],
        lambda clip: captioner.read(clip, isolated=bool(workers) and can_isolate()),
        workers=workers,
        batch_size=lambda: captioner.batch_size,
    )
    captions, waited_s = {}, 0.0
    while True:
        start = time.perf_counter()
        readings = next(batches, None)
        waited_s += time.perf_counter() - start
        if readings is None:
            return captions, waited_s
        captions |= {said.line["file"]: said.line["caption"] for said in captioner.caption(readings)}


def measure(ways: dict[str, Callable[[], tuple[Captions, float | None]]], num_clips: int, rounds: int) -> dict:
    """Clips per second, share of waiting and captions unlike the naive ones, of every way."""
    names = list(ways)
    seconds, waited = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    said: dict[str, Captions] = {}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            said[name], waited_s = ways[name]()
            seconds[name] += time.perf_counter() - start
            waited[name] += waited_s or 0.0
    measured: dict[str, Any] = {}
    for name in names:
        measured[name] = {
            "clips_per_s": round(rounds * num_clips / seconds[name], 3),
            "times_naive": round(seconds["naive"] / seconds[name], 2),
        }
        if name != "naive":
            measured[name]["waiting_share"] = round(waited[name] / seconds[name], 4)
            measured[name]["other_captions"] = sum(said[name][path] != text for path, text in said["naive"].items())
    return measured


def main(
    clips: Annotated[Path | None, typer.Option(help="folder of clips that can be read")] = None,
    model: Annotated[str, typer.Option()] = EMBEDDED_MODEL,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    workers: Annotated[int, typer.Option(min=1)] = usual_workers(),
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 200,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    count: Annotated[int, typer.Option(min=1, help="scenes to draw where no clips are given")] = 24,
) -> None:
    """Measure all ways on the same clips."""
    pipe = load_captioner(model)
    with tempfile.TemporaryDirectory() as folder:
        if clips is None:
            for seed in range(count):
                write_clip(sample_scene(seed), Path(folder) / f"{seed:03d}.mp4", height=720, width=1280)
        paths = find_clips([clips or folder]).paths
        ways = {
            "naive": lambda: naive(pipe, paths, max_new_tokens),
            "batched": lambda: batched(pipe, paths, max_new_tokens, batch_size=batch_size, workers=0),
            "ahead": lambda: batched(pipe, paths, max_new_tokens, batch_size=batch_size, workers=workers),
        }
        naive(pipe, paths[:1], max_new_tokens)  # what is slow only once
        batched(pipe, paths[:1], max_new_tokens, batch_size=1, workers=1)
        measured = measure(ways, len(paths), rounds)
    print("| way | clips/s | times naive | waiting for clips |\n|---|---|---|---|")
    for name, row in measured.items():
        waiting = f"{row['waiting_share']:.1%}" if "waiting_share" in row else ""
        print(f"| {name} | {row['clips_per_s']:.2f} | {row['times_naive']:.2f} | {waiting} |")
    settings = {"batch_size": batch_size, "workers": workers, "max_new_tokens": max_new_tokens, "rounds": rounds}
    about = {"clips": len(paths), "kind": "scenes" if clips is None else "files", **describe_captioner(pipe, model)}
    result = {**about, **settings, "torch_threads": torch.get_num_threads(), "ways": measured}
    print(f"saved {save_result('captioning' if clips is None else 'captioning_files', result)}")


if __name__ == "__main__":
    typer.run(main)
