"""Generated scenes as a training set: every index draws one scene, and only the frames the model looks at."""

import numpy as np
from torch.utils.data import Dataset

from corpus.scene_captions import describe, describe_briefly
from corpus.scenes import render_frames, sample_scene
from processing.frame_sampling_kocap import sample_times
from processing.vision_tokens_kocap import CAPTION_PROMPT

BRIEF_PROMPT = "이 영상의 핵심 요소를 나열해주세요."
HELD_OUT_SEED = 1_000_000_000  # training seeds stay below, evaluation seeds start here


class SceneClips(Dataset):
    """Clips of generated scenes with what to ask and what to answer.

    Early clips mostly ask for the brief list of facts, later ones mostly for the full caption: a short answer teaches
    the eye faster, because every one of its words depends on the video.

    Args:
        count: How many clips.
        first_seed: Seed of the first scene; the clip at index i shows scene `first_seed + i`.
        num_frames: Frames per clip.
        image_size: Side of the square frames in pixels.
        brief_share: Share of brief answers at the first and at the last index.

    Raises:
        ValueError: If the seeds reach into those held out for evaluation.
    """

    def __init__(
        self,
        count: int,
        *,
        first_seed: int = 0,
        num_frames: int = 8,
        image_size: int = 128,
        brief_share: tuple[float, float] = (0.0, 0.0),
    ):
        if first_seed < 0 or first_seed + count > HELD_OUT_SEED:
            raise ValueError(
                f"clips would use seeds {first_seed} to {first_seed + count - 1}; seeds from"
                f" {HELD_OUT_SEED} on are held out for evaluation. Take fewer clips or a smaller first seed."
            )
        self.count, self.first_seed = count, first_seed
        self.num_frames, self.image_size, self.brief_share = num_frames, image_size, brief_share

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        """`frames` uint8 `[T, 3, S, S]`, `times_s` `[T]`, `prompt`, `answer`, `seed`."""
        seed = self.first_seed + index
        scene = sample_scene(seed)
        first, last = self.brief_share
        is_brief = np.random.default_rng([seed, 1]).random() < first + (last - first) * index / self.count
        times_s = sample_times(scene.duration_s, num_frames=self.num_frames)
        return {
            "frames": render_frames(scene, times_s, height=self.image_size, width=self.image_size),
            "times_s": times_s.tolist(),
            "prompt": BRIEF_PROMPT if is_brief else CAPTION_PROMPT,
            "answer": describe_briefly(scene) if is_brief else describe(scene),
            "seed": seed,
        }
