"""Draw the README's clip and its six frames.

python docs/media/make.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from corpus.scenes import sample_scene, write_clip
from processing.frame_sampling_kocap import Sampling
from processing.video_reading_kocap import read_frames

HERE = Path(__file__).resolve().parent
CLIP_SEED = 1_000_020_067  # held out


def main() -> None:
    """Write clip.mp4 and clip.png beside this file."""
    clip = HERE / "clip.mp4"
    write_clip(sample_scene(CLIP_SEED), clip)
    frames = read_frames(clip, Sampling(num_frames=6), size=180).data
    rows = [np.concatenate(list(frames[row : row + 3].transpose(0, 2, 3, 1)), axis=1) for row in (0, 3)]
    Image.fromarray(np.concatenate(rows)).save(HERE / "clip.png", optimize=True)


if __name__ == "__main__":
    main()
