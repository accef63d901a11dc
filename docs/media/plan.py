"""Draw how a reading plan looks on a real stream: docs/media/plan.png.

python docs/media/plan.py
"""

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import av
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from processing.video_index_kocap import choose_packets, index_scan, packets, plan_runs
from processing.video_limits_kocap import Deadline, Limits

NUM_FRAMES, FPS, GROUP = 64, 10, 16
WANTED_S = np.array([0.9, 2.2, 2.5, 5.7])
COLOURS = {"keyframe": "#1f4e9c", "reference": "#7ea6e0", "nobody refers to it": "#d3dff2"}


def encode() -> bytes:
    """A moving gradient as H.264, a keyframe every 16 pictures, three B pictures between the others."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=FPS, width=96, height=64, pix_fmt="yuv420p")
        options = {"g": str(GROUP), "keyint_min": str(GROUP), "bf": "3", "b_strategy": "0", "sc_threshold": "0"}
        stream.options = options | {"x264-params": "b-pyramid=normal"}
        for i in range(NUM_FRAMES):
            row = (np.arange(96) * 2 + 3 * i).astype(np.uint8)
            picture = np.broadcast_to(row[None, :, None], (64, 96, 3)).copy()
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return sink.getvalue()


def kinds(clip: bytes) -> list[str]:
    """What each picture is, in the order they are shown."""
    shown = {}
    for skip, kind in (("DEFAULT", "nobody refers to it"), ("NONREF", "reference"), ("NONKEY", "keyframe")):
        with av.open(io.BytesIO(clip)) as file:
            stream = file.streams.video[0]
            stream.codec_context.skip_frame = skip
            shown |= {frame.pts: kind for frame in file.decode(stream)}
    return [shown[pts] for pts in sorted(shown)]


def decoded(clip: bytes) -> list[set[int]]:
    """Per run of the plan, the numbers of the pictures that are decoded."""
    kind, runs = kinds(clip), []
    with av.open(io.BytesIO(clip)) as file:
        stream, deadline = file.streams.video[0], Deadline(60, "clip")
        tick_s = float(stream.time_base)
        index = index_scan(packets(file, stream, deadline), stream, "clip", Limits())
        for run in plan_runs(index, WANTED_S):
            file.seek(round(index.shown_s[index.keyframes[run.keyframe]] / tick_s), stream=stream)
            fed = choose_packets(packets(file, stream, deadline), tick_s, WANTED_S[run.wanted])
            numbers = {round(shown_s * FPS): is_wanted for _, shown_s, is_wanted in fed if shown_s is not None}
            runs.append({i for i, is_wanted in numbers.items() if is_wanted or kind[i] != "nobody refers to it"})
    return runs


def main() -> None:
    """Write plan.png beside this file."""
    clip = encode()
    kind, runs = kinds(clip), decoded(clip)
    figure, axes = plt.subplots(figsize=(11, 2.6), layout="constrained")
    for i in range(NUM_FRAMES):
        axes.add_patch(plt.Rectangle((i, 2), 0.86, 0.8, color=COLOURS[kind[i]]))
    for name, colour in COLOURS.items():
        axes.add_patch(plt.Rectangle((0, 9), 1, 1, color=colour, label=name))
    for run in runs:
        for i in run:
            axes.add_patch(plt.Rectangle((i, 1), 0.86, 0.8, color=COLOURS[kind[i]]))
        axes.annotate("", (max(run) + 0.9, 0.8), (min(run), 0.8), arrowprops={"arrowstyle": "->", "color": "#555"})
    for place in np.floor(WANTED_S * FPS).astype(int):
        axes.plot([place + 0.43], [3.15], marker="v", color="#c0392b", label="wanted" if place == 9 else None)
        axes.add_patch(plt.Rectangle((place, 1), 0.86, 0.8, fill=False, edgecolor="#c0392b", linewidth=1.8))
    axes.set_yticks([1.4, 2.4], ["decoded", "stored"])
    axes.set_xticks(np.arange(0, NUM_FRAMES + 1, 10), [f"{i / FPS:g} s" for i in range(0, NUM_FRAMES + 1, 10)])
    axes.set_xlim(-0.5, NUM_FRAMES + 0.5)
    axes.set_ylim(0.5, 3.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    total = sum(map(len, runs))
    axes.set_title(
        f"{len(WANTED_S)} frames wanted: {total} of {NUM_FRAMES} pictures decoded, {len(runs)} seeks", loc="left"
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
