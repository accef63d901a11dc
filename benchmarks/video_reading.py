"""KoCap's reader beside transformers' and torchcodec: the same frames, in one process, taking turns.

    python benchmarks/video_reading.py --real-clips /tmp/clips            # everything: clips, times, memory, plot
    python benchmarks/video_reading.py --real-clips /tmp/clips --keep     # goes on where a run stopped
    python benchmarks/video_reading.py --cell h264-gop30-1080p-15s-8f     # one cell, nothing saved (but with --keep)
    python benchmarks/video_reading.py --profile h264-gop30-1080p-15s-8f  # where KoCap's time goes

Measured is the way to frames of the size a model wants. KoCap's time always includes scaling, which it does while it
decodes. Its peers give full-size frames, so there are two ratios: `read` sets KoCap's scaled frames against their
full-size ones, and `same output` adds the resize transformers would do next. Goals are judged on `read`, the stricter.
The best other reader counts, cell by cell, whichever it is, unless it gave wrong frames.
"""

import cProfile
import json
import math
import os
import pstats
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from peer_readers import OUR_KEYFRAMES, OURS, PEERS, Reader, Reading, Request, peak_mib, peer_versions
from run_record import load_result, save_result
from tqdm import tqdm
from video_clips import (
    DESIGN,
    ENCODERS,
    MEMORY_DESIGN,
    Cell,
    Clip,
    find_clips,
    full_design,
    make_small_clip,
    read_truth,
)

from processing.frame_sampling_kocap import sample_times

PLOT = Path(__file__).resolve().parent.parent / "docs" / "media" / "video_reading.png"
LONG_S = 60.0  # beyond this, readers that decode everything are left out unless asked for: minutes for the last place
HOPELESS = 3.0  # a peer so many times slower than the best one in the first round is not measured again
MIN_ROUNDS = 3
GOALS = (1.0, 1.5)


def request_for(clip: Clip, num_frames: int, size: int) -> Request:
    """The frames in the middles of equal segments, as captioning takes them."""
    scale = min(1.0, size / min(clip.width, clip.height))
    times_s = sample_times(clip.duration_s, num_frames=num_frames)
    width, height = round(clip.width * scale), round(clip.height * scale)
    return Request(clip.path, clip.shown_at(times_s), times_s, width, height)


def measure_cell(
    clip: Clip, request: Request, readers: list[Reader], *, rounds: int, budget_s: float
) -> tuple[dict[str, dict], dict[str, str]]:
    """Let readers take turns.

    Args:
        budget_s: After this no further round begins, but MIN_ROUNDS (or `rounds`, if fewer) are done in any case.
    Returns:
        Per reader `read_ms` and `total_ms` (medians), `rounds` and what `_check` found; and reasons of failures.
    """
    clip.path.read_bytes()  # into the page cache
    seconds: dict[str, list[tuple[float, float]]] = {reader.name: [] for reader in readers}
    checks, failures, running = {}, {}, list(readers)
    start = time.perf_counter()
    for turn in range(rounds):
        for reader in list(running):
            try:
                reading = reader.measure(request)
            except Exception as error:  # whatever a peer throws at an odd clip
                failures[reader.name] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
                running.remove(reader)
                continue
            seconds[reader.name].append((reading.read_s, reading.total_s))
            if turn == 0:
                checks[reader.name] = _check(reading, request, clip)
            del reading
        if turn == 0:
            right = [r for r in running if r in PEERS and checks[r.name]["wrong_frames"] == 0]
            enough_s = HOPELESS * min((seconds[r.name][0][0] for r in right), default=math.inf)
            running = [r for r in running if r not in PEERS or seconds[r.name][0][0] <= enough_s]
        if turn + 1 >= MIN_ROUNDS and time.perf_counter() - start > budget_s:
            break
    results = {
        name: {
            "read_ms": round(1000 * statistics.median(read_s for read_s, _ in taken), 1),
            "total_ms": round(1000 * statistics.median(total_s for _, total_s in taken), 1),
            "rounds": len(taken),
        }
        | checks[name]
        for name, taken in seconds.items()
        if taken and name not in failures
    }
    return results, failures


def _check(reading: Reading, request: Request, clip: Clip) -> dict:
    wrong, difference = clip.check(reading.frames, request.indices)
    off_s = None
    if reading.times_s is not None and len(reading.times_s) == len(request.indices):
        off_s = round(float(np.abs(reading.times_s - clip.times_s[request.indices]).max()), 6)
    given = len(reading.frames)  # keyframe mode gives each frame once
    difference = None if math.isnan(difference) else round(difference, 2)
    return {"frames": given, "wrong_frames": wrong, "difference": difference, "times_off_by_s": off_s}


def ratios(readers: dict[str, dict]) -> dict:
    """How many times faster KoCap is than the best other reader that gave the right frames."""
    result = {}
    right = {peer.name: readers[peer.name] for peer in PEERS if readers.get(peer.name, {}).get("wrong_frames") == 0}
    for name, key in (("read", "read_ms"), ("same_output", "total_ms")):
        if not right or OURS.name not in readers:
            continue
        best = min(right, key=lambda peer: right[peer][key])
        result[name] = {"best_other": best, "ms": right[best][key]}
        result[name]["ratio"] = round(right[best][key] / readers[OURS.name]["total_ms"], 3)
        if OUR_KEYFRAMES.name in readers:
            result[name]["keyframe_ratio"] = round(right[best][key] / readers[OUR_KEYFRAMES.name]["total_ms"], 3)
    return result


def summarise(cells: dict[str, dict]) -> dict:
    """Geometric means and minima over cells, in exact mode; and keyframe mode on long clips."""
    wrong = [key for key, cell in cells.items() if cell["readers"].get(OURS.name, {}).get("wrong_frames") != 0]
    summary: dict = {"kocap_failed_or_wrong": wrong}
    for name in ("read", "same_output"):
        made = {key: cell["ratios"][name] for key, cell in cells.items() if name in cell["ratios"]}
        exact = {key: found["ratio"] for key, found in made.items()}
        groups = {
            "all": exact,
            "made clips": {key: ratio for key, ratio in exact.items() if not cells[key]["real"]},
            "real clips": {key: ratio for key, ratio in exact.items() if cells[key]["real"]},
            "keyframe mode, long clips": {
                key: found["keyframe_ratio"]
                for key, found in made.items()
                if cells[key]["duration_s"] > LONG_S and "keyframe_ratio" in found
            },
        }
        summary[name] = {
            group: {
                "cells": len(values),
                "geometric_mean": round(statistics.geometric_mean(values.values()), 3),
                "minimum": min(values.values()),
                "slowest_cell": min(values, key=lambda key: values[key]),
            }
            for group, values in groups.items()
            if values
        }
    return summary


def print_tables(cells: dict[str, dict], memory: dict[str, dict]) -> None:
    """Markdown, milliseconds: first KoCap against the best, then every reader as `read / read + resize`."""
    print("\n| cell | KoCap | best other, read | ratio | best other, read + resize | ratio | KoCap, keyframe | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, cell in cells.items():
        if not cell["ratios"]:
            print(f"| {name} | {cell['failures'].get(OURS.name, 'no other reader gave the right frames')} |||||||")
            continue
        read, same = cell["ratios"]["read"], cell["ratios"]["same_output"]
        keyframe_ms = cell["readers"].get(OUR_KEYFRAMES.name, {}).get("total_ms", "-")
        print(
            f"| {name} | {cell['readers'][OURS.name]['total_ms']} | {read['ms']} {read['best_other']} |"
            f" **{read['ratio']:.2f}** | {same['ms']} {same['best_other']} | {same['ratio']:.2f} |"
            f" {keyframe_ms} | {read.get('keyframe_ratio', float('nan')):.2f} |"
        )
    names = list(dict.fromkeys(reader for cell in cells.values() for reader in cell["readers"]))
    print(f"\n| cell | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for name, cell in cells.items():
        row = [cell["readers"].get(reader) for reader in names]
        print(f"| {name} | {' | '.join('{read_ms} / {total_ms}'.format(**found) if found else '-' for found in row)} |")
    if memory:
        print(f"\n| peak MiB | {' | '.join(memory)} |\n|---|{'---|' * len(memory)}")
        for reader in next(iter(memory.values())):
            print(f"| {reader} | {' | '.join(str(peaks[reader]) for peaks in memory.values())} |")


def draw(cells: dict[str, dict], path: Path) -> None:
    """Ratios per cell, sorted, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = {name: cell["ratios"] for name, cell in cells.items() if cell["ratios"]}
    order = sorted(found, key=lambda name: found[name]["read"]["ratio"])
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.22 * len(order)), layout="constrained")
    for name, marker, label in (("same_output", "o", "same output"), ("read", "s", "peers need not resize")):
        values = [found[cell][name]["ratio"] for cell in order]
        axes.scatter(values, range(len(order)), marker=marker, s=28, label=label, zorder=3)
    for goal, style in zip(GOALS, ("-", "--")):
        axes.axvline(goal, color="grey", linestyle=style, linewidth=1)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 50) if _inside(tick, found)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set_xlabel("time of the best other reader / time of KoCap, exact frames")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"drew {path}")


def _inside(tick: float, found: dict[str, dict]) -> bool:
    values = [1.0, 1.5, *(ratio["ratio"] for cell in found.values() for ratio in cell.values())]
    return min(values) / 1.5 <= tick <= max(values) * 1.5


def profile(request: Request) -> None:
    """Say how many cores KoCap kept busy, and which functions held the time."""
    OURS.measure(request)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    OURS.measure(request)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(
        f"wall {1000 * wall_s:.0f} ms, CPU {1000 * cpu_s:.0f} ms: {cpu_s / wall_s:.2f} of {os.cpu_count()} cores busy"
    )
    profiler = cProfile.Profile()
    profiler.runcall(OURS.measure, request)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(15)


def main(
    clips: Annotated[Path | None, typer.Option(help="where made clips are kept")] = None,
    real_clips: Annotated[Path | None, typer.Option(help="folder of real videos, measured too")] = None,
    original: Annotated[
        Path | None, typer.Option(help="real video to make clips from; default: a test picture")
    ] = None,
    cell: Annotated[list[str] | None, typer.Option(help="measure only these, like h264-gop30-1080p-15s-8f")] = None,
    full: Annotated[bool, typer.Option(help="every combination, every reader: hours")] = False,
    size: Annotated[int, typer.Option(min=1, help="shortest edge of the frames wanted")] = 384,
    rounds: Annotated[int, typer.Option(min=1, help="at most so many turns per reader")] = 5,
    cell_seconds: Annotated[float, typer.Option(help="no new round after this, once there are three")] = 25.0,
    memory: Annotated[bool, typer.Option(help="measure peak memory, too")] = True,
    keep: Annotated[
        bool, typer.Option(help="keep what was saved; measure what is missing, or what --cell names")
    ] = False,
    profile_cell: Annotated[str | None, typer.Option("--profile", help="show where KoCap's time goes")] = None,
    make_only: Annotated[bool, typer.Option(help="make the clips and stop")] = False,
) -> None:
    """Measure, print, plot and save."""
    folder = clips or Path.home() / ".cache/kocap/clips"  # not in a folder of everybody's
    if profile_cell or cell:
        wanted, real_clips, memory = tuple(map(Cell.parse, [profile_cell] if profile_cell else cell)), None, False
    else:
        wanted = full_design() if full else DESIGN
    tiny = read_truth(make_small_clip(folder), folder)
    warm_up = request_for(tiny, 4, size)
    found = find_clips(wanted, folder, real_clips, original)
    heavy = find_clips(MEMORY_DESIGN, folder, None, original) if memory else {}
    if make_only:
        return
    if profile_cell:
        return profile(request_for(*found[profile_cell], size))
    readers = _present((OURS, OUR_KEYFRAMES, *PEERS))
    if os.getloadavg()[0] > 0.5:
        print(f"other programs are running (load {os.getloadavg()[0]:.1f}); these numbers will be noisy")
    for reader in readers:
        reader.measure(warm_up)
    settings = {"size": size, "rounds": rounds, "original": original.name if original else "testsrc2"}
    settings |= {"encoders": ENCODERS, "peers": peer_versions()}
    kept = load_result("video_reading") if keep else {"cells": {}, "peak_mib": {}}
    results, peaks = kept["cells"], kept["peak_mib"]

    def save() -> Path:
        record = {"settings": settings, "summary": summarise(results), "cells": results, "peak_mib": peaks}
        return save_result("video_reading", record)

    for name, (clip, num_frames) in tqdm(found.items(), desc="cells", unit="cell"):
        if name in results and not cell:
            continue
        chosen = [reader for reader in readers if full or not (reader.sequential and clip.duration_s > LONG_S)]
        request = request_for(clip, num_frames, size)
        measured, failures = measure_cell(clip, request, chosen, rounds=rounds, budget_s=cell_seconds)
        facts = {"real": name not in {c.name for c in wanted}, "codec": clip.codec, "width": clip.width}
        facts |= {"height": clip.height, "duration_s": clip.duration_s, "frames": num_frames}
        facts |= {"keyframes": clip.num_keyframes, "kilobits_per_s": clip.kilobits_per_s}
        results[name] = facts | {"readers": measured, "failures": failures, "ratios": ratios(measured)}
        _print_oddities(name, results[name])
        if keep or not cell:
            save()
    for name, (clip, num_frames) in heavy.items():
        if name not in peaks:
            request = request_for(clip, num_frames, size)
            peaks[name] = {r.name: peak_mib(r, request, warm_up) for r in tqdm(readers, desc="memory")}
    print_tables(results, peaks)
    print(json.dumps(summarise(results), indent=2))
    if keep or not cell:
        draw(results, PLOT)
        print(f"saved {save()}")


def _present(readers: tuple[Reader, ...]) -> list[Reader]:
    for reader in readers:
        if reader.missing():
            print(f"skipped {reader.name}: {reader.missing()}")
    return [reader for reader in readers if reader.missing() is None]


def _print_oddities(name: str, result: dict) -> None:
    for reader, found in result["readers"].items():
        if found["wrong_frames"] and reader != OUR_KEYFRAMES.name:
            tqdm.write(f"{name}: {reader} gave {found['wrong_frames']} of {result['frames']} frames wrong")
    for reader, reason in result["failures"].items():
        tqdm.write(f"{name}: {reader} failed: {reason}")


if __name__ == "__main__":
    typer.run(main)
