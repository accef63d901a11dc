"""What travels to a machine that decodes nothing: clips as the model looks at them, what a CPU says of them, how fast
a CPU decodes. prepare.sh runs this.

    python benchmarks/gpu/baggage.py

A rehearsal packs a small one for itself.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from cells import Machine, NotMeasured

BAGGAGE = Path(__file__).parent / "baggage"
CLIPS, CAPTIONS, DECODING = "clips.npz", "captions.json", "decoding.json"
COUNT = 20
TOKENS = 256


def find_baggage(machine: Machine) -> Path:
    """The folder that travelled here; in a rehearsal one of two clips, made on the spot.

    Raises:
        NotMeasured: If nothing travelled.
    """
    if not machine.rehearse:
        if not (BAGGAGE / DECODING).is_file():
            raise NotMeasured("there is no baggage; run benchmarks/gpu/prepare.sh first")
        return BAGGAGE
    folder = machine.out / "baggage"
    if not (folder / DECODING).is_file():
        folder.mkdir(exist_ok=True)
        pack(folder, count=2, max_new_tokens=count_tokens(machine))
    return folder


def count_tokens(machine: Machine) -> int:
    """Tokens of a caption, at most."""
    return 32 if machine.rehearse else TOKENS


def load_clips(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """Frames, uint8 `[T, 3, H, W]` each, and the captions that a CPU wrote of them in float32."""
    with np.load(folder / CLIPS) as stored:
        frames = [stored[str(number)] for number in range(len(stored))]
    return frames, json.loads((folder / CAPTIONS).read_text(encoding="utf-8"))


def load_decoding(folder: Path) -> dict:
    """`frames` a clip, `cpu_s_per_clip`, `cores` of the machine that decoded."""
    return json.loads((folder / DECODING).read_text(encoding="utf-8"))


def pack(folder: Path, *, count: int = COUNT, max_new_tokens: int = TOKENS) -> None:
    """Draw clips, read them back as mp4 files, caption them, and time the decoding of larger ones."""
    from corpus.scenes import HELD_OUT_SEED, sample_scene, write_clip
    from evaluation.generation import caption_clips
    from modeling.captioner import load_captioner

    pipe, frames = load_captioner(), []
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "clip.mp4"
        for number in range(count):
            write_clip(sample_scene(HELD_OUT_SEED + number), path)
            (clip,), _ = pipe.processor.video_processor.fetch_videos(str(path))
            frames.append(clip.numpy())
    captions = caption_clips(pipe, frames, max_new_tokens=max_new_tokens)
    np.savez_compressed(folder / CLIPS, **{str(number): clip for number, clip in enumerate(frames)})
    (folder / CAPTIONS).write_text(json.dumps(captions, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / DECODING).write_text(json.dumps(time_decoding(pipe, clips=count)) + "\n", encoding="utf-8")


def time_decoding(pipe, *, clips: int) -> dict:
    """Clips a second and core that the reader gives: 16 frames of 10 s in 1280x720, as AI-Hub's clips are."""
    from corpus.scenes import HELD_OUT_SEED, sample_scene, write_clip

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "clip.mp4"
        write_clip(sample_scene(HELD_OUT_SEED), path, height=720, width=1280)
        started = time.process_time()
        for _ in range(clips):
            pipe.processor.video_processor.fetch_videos(str(path), num_frames=16)
        cpu_s = (time.process_time() - started) / clips
    return {"frames": 16, "cpu_s_per_clip": round(cpu_s, 4), "cores": len(os.sched_getaffinity(0))}


if __name__ == "__main__":
    BAGGAGE.mkdir(exist_ok=True)
    pack(BAGGAGE)
    print(f"{COUNT} clips, {sum(map(len, load_clips(BAGGAGE)[1]))} characters of captions", file=sys.stderr)
