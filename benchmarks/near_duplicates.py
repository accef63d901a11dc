"""Which variants of a clip the search for near duplicates finds, and which pairs of other clips it takes for one.

python benchmarks/near_duplicates.py --real-clips DIR
"""

import itertools
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from run_record import save_result

from corpus.clip_probing import NUM_FRAMES, fingerprint, probe_clip
from corpus.near_duplicates import MAX_BITS, MAX_COLOUR, hash_array, near_duplicates
from corpus.scenes import render_frames, sample_scene

LENGTH_S = 12  # longer clips are cut to this first, without encoding them again
NUM_SCENES = 400
BITS, COLOURS = range(4, 15, 2), range(8, 31, 4)
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-sc_threshold", "40", "-crf", "26"]
VP8 = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "600k"]
FILTERS = {
    "240p": "scale=-2:240",
    "crop4": "crop=2*trunc(iw*0.48):2*trunc(ih*0.48)",
    "brighter": "eq=brightness=0.06",
    "logo": "drawbox=x=iw*0.82:y=ih*0.05:w=iw*0.13:h=ih*0.1:color=white:t=fill",
    "mirrored": "hflip",
}
PARTS = {
    "start5": (0.05, 1),
    "end5": (0, 0.95),
    "start15": (0.15, 1),
    "end15": (0, 0.85),
    "both15": (0.15, 0.85),
    "third1": (0, 1 / 3),
    "third3": (2 / 3, 1),
}
KINDS = ["crf36", "key1s", "mpeg4", "vp8", "240p", "crop4", "brighter", "logo"]
KINDS += ["start5", "end5", "start15", "end15", "both15"]
RELATED = ["mirrored", "thirds"]
# Files of public test collections that hold the same footage, found by looking at them; any other is its own.
FOOTAGE = {
    **dict.fromkeys(("3gp.3gp", "flv.flv", "mov.mov", "ogg.ogv", "webm.webm"), "lego"),
    **dict.fromkeys(("bigbuckbunny.mp4", "mkv.mkv"), "bunny"),
    **dict.fromkeys(("ocean.mp4", "ocean.ogv", "ocean.webm"), "ocean"),
    **dict.fromkeys(("sample.mp4", "sample.webm"), "sample"),
}


@dataclass(frozen=True)
class Item:
    """One fingerprint: of what footage, in which file, as what variant."""

    footage: str
    name: str
    kind: str
    hashes: tuple[str, ...]
    colours: tuple[int, ...]


def main(
    real_clips: Annotated[Path, typer.Option(help="folder of real clips", exists=True, file_okay=False)],
    variants: Annotated[Path | None, typer.Option(help="keep variants here, and use those that are there")] = None,
) -> None:
    """Make variants, fingerprint everything, and count what the thresholds find."""
    with tempfile.TemporaryDirectory() as temporary:
        items = []
        for clip in sorted(path for path in real_clips.iterdir() if path.is_file()):
            folder = (variants or Path(temporary)) / clip.name
            make_variants(clip, folder)
            items += read_items(FOOTAGE.get(clip.name, clip.name), folder)
            print(f"{clip.name}: {sum(item.name == clip.name for item in items)} fingerprints", file=sys.stderr)
        scenes = [scene_item(seed) for seed in range(NUM_SCENES)]
    chosen = count_pairs(items, scenes, MAX_BITS, MAX_COLOUR)
    grid = [
        {"bits": bits, "colour": colour, **summary(count_pairs(items, scenes, bits, colour))}
        for bits, colour in itertools.product(BITS, COLOURS)
    ]
    result = {"max_bits": MAX_BITS, "max_colour": MAX_COLOUR, **chosen, "grid": grid}
    for kind, (found, total) in chosen["found"].items():
        print(f"{kind:>10}: {found} of {total}")
    print(f"false: {chosen['false_real']} real, {chosen['false_scenes']} drawn; grid:")
    for row in grid:
        print(row)
    print(f"saved {save_result('near_duplicates', result)}")


def make_variants(clip: Path, folder: Path) -> None:
    """Write `original.*` and every variant of it; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    original, base = folder / f"original{clip.suffix}", folder / "base.mp4"
    if _duration_s(clip) > LENGTH_S:
        _ffmpeg(["-i", clip, "-t", LENGTH_S, "-c", "copy"], original)
    elif not original.exists():
        original.symlink_to(clip.resolve())
    _ffmpeg(["-i", original, "-vf", r"scale=-2:2*trunc(min(360\,ih)/2)", *X264[:-1], 8], base)  # decodes faster
    duration_s = _duration_s(base)
    _ffmpeg(["-i", base, *X264[:-1], 36], folder / "crf36.mp4")
    _ffmpeg(["-i", base, *X264, "-force_key_frames", "expr:gte(t,n_forced)"], folder / "key1s.mp4")
    _ffmpeg(["-i", base, "-c:v", "mpeg4", "-q:v", 8], folder / "mpeg4.avi")
    _ffmpeg(["-i", base, *VP8], folder / "vp8.webm")
    for kind, (begin, end) in PARTS.items():
        times = ["-ss", begin * duration_s, "-i", base, "-t", (end - begin) * duration_s]
        _ffmpeg([*times, *X264], folder / f"{kind}.mp4")
    for kind, video_filter in FILTERS.items():
        _ffmpeg(["-i", base, "-vf", video_filter, *X264], folder / f"{kind}.mp4")


def read_items(footage: str, folder: Path) -> list[Item]:
    """Fingerprints of a clip's original and variants."""
    items = []
    for path in sorted(folder.iterdir()):
        if path.stem != "base":
            facts = probe_clip(str(path.resolve()))
            if facts.error:
                raise ValueError(f"{path}: {facts.error[1]}")
            items.append(Item(footage, folder.name, path.stem, facts.hashes, facts.colours))
    return items


def scene_item(seed: int) -> Item:
    """The fingerprint of a drawn scene, at the times of a real clip's."""
    scene = sample_scene(seed)
    times_s = np.arange(NUM_FRAMES) * (scene.duration_s / NUM_FRAMES)
    return Item(str(seed), str(seed), "scene", *fingerprint(render_frames(scene, times_s, height=36, width=64)))


def count_pairs(items: list[Item], scenes: list[Item], max_bits: int, max_colour: float) -> dict:
    """Pairs found of every kind, of how many; and pairs of different footage that were taken for one."""
    names = {item.name: item.footage for item in items}
    pairs = _pairs(items, max_bits, max_colour)
    found, false_real = Counter(), 0
    for one, other in pairs:
        kinds = {one.kind, other.kind}
        if one.footage != other.footage:
            false_real += 1
        elif one.name != other.name:
            found["other file"] += kinds == {"original"}
        elif kinds == {"third1", "third3"}:
            found["thirds"] += 1
        elif "original" in kinds:
            found[next(iter(kinds - {"original"}))] += 1
    totals = dict.fromkeys(KINDS + RELATED, len(names))
    totals["other file"] = sum(a == b for a, b in itertools.combinations(names.values(), 2))
    return {
        "found": {kind: [found[kind], total] for kind, total in totals.items()},
        "false_real": false_real,
        "pairs_real": sum(a.footage != b.footage for a, b in itertools.combinations(items, 2)),
        "false_scenes": len(_pairs(scenes, max_bits, max_colour)),
        "pairs_scenes": len(scenes) * (len(scenes) - 1) // 2,
    }


def summary(counts: dict) -> dict:
    """One line of the grid: variants found, of how many, and false pairs."""
    found, total = np.sum([counts["found"][kind] for kind in KINDS], 0).tolist()
    return {"found": found, "of": total, "false_real": counts["false_real"], "false_scenes": counts["false_scenes"]}


def _pairs(items: list[Item], max_bits: int, max_colour: float) -> list[tuple[Item, Item]]:
    hashes, colours = hash_array([item.hashes for item in items]), np.array([item.colours for item in items])
    pairs = near_duplicates(hashes, colours, max_bits=max_bits, max_colour=max_colour)
    return [(items[one], items[other]) for one, other in pairs.tolist()]


def _duration_s(path: Path) -> float:
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _ffmpeg(arguments: list, path: Path) -> None:
    if not path.exists():
        command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *map(str, arguments), "-an", "-threads", "1"]
        subprocess.run([*command, str(path)], check=True)


if __name__ == "__main__":
    typer.run(main)
