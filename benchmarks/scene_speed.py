"""How fast scenes are drawn: eight-frame training samples per second on one core.

python benchmarks/scene_speed.py
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from run_record import save_result

from corpus.scenes import render_frames, sample_scene
from processing.frame_sampling_kocap import sample_times


def main(count: int = 200) -> None:
    """Draw `count` samples at two sizes, by CPU time of this one-threaded process."""
    result = {}
    for size in (112, 128, 224):
        start = time.process_time()
        for seed in range(count):
            scene = sample_scene(seed)
            render_frames(scene, sample_times(scene.duration_s, num_frames=8), height=size, width=size)
        result[f"samples_per_s_{size}px"] = round(count / (time.process_time() - start), 1)
        print(f"{size}x{size}: {result[f'samples_per_s_{size}px']} eight-frame samples/s per core")
    print(f"saved {save_result('scene_speed', result)}")


if __name__ == "__main__":
    main()
