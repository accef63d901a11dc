"""Generated scenes as a training set: every index draws one scene, and only the frames the model looks at."""

from collections.abc import Collection

import numpy as np
from torch.utils.data import Dataset

from corpus.record_form import MARKS
from corpus.scene_captions import describe, describe_briefly
from corpus.scene_values import Place
from corpus.scenes import HELD_OUT_SEED, Scene, render_frames, sample_scene, scene_seeds
from processing.frame_sampling_kocap import sample_times
from processing.vision_tokens_kocap import CAPTION_PROMPT

BRIEF_PROMPT = "이 영상의 핵심 요소를 나열해주세요."
CAMERA_PROMPT = "카메라는 어떻게 움직이나요?"


def draw_clip(scene: Scene, *, num_frames: int, image_size: int, ends_only: bool = False) -> dict:
    """What a model looks at, drawn without a video file: `frames` uint8 `[T, 3, S, S]` and `times_s` `[T]`."""
    times_s = sample_times(scene.duration_s, num_frames=num_frames)
    if ends_only:
        times_s = times_s[[0, -1]]
    frames = render_frames(scene, times_s, height=image_size, width=image_size)
    return {"frames": frames, "times_s": times_s.tolist()}


class SceneClips(Dataset):
    """Clips of generated scenes with what to ask and what to answer.

    Early clips mostly ask for the brief list of facts or for the camera's motion, later ones mostly for the caption.
    A short answer teaches the eye faster, because every one of its words depends on the video; and the camera's motion,
    which only a comparison of frames can tell, is one word in fifty of a caption and would be learned last.

    Args:
        count: How many clips.
        first_seed: Seed of the first scene; the clip at index i shows the i-th scene from there on.
        num_frames: Frames per clip.
        image_size: Side of the square frames in pixels.
        short_share: Share of short answers at the first and at the last index.
        camera_share: Share of questions about the camera among the short ones.
        ends_only: Show only the first and the last of the frames.
        block: Clips in a row that are asked the same; with a batch's size, no short answer is padded to a caption.
        without: Places that no clip shows; their scenes are passed over.

    Raises:
        ValueError: If the seeds reach into those held out for evaluation.
    """

    def __init__(
        self,
        count: int,
        *,
        first_seed: int = 0,
        num_frames: int = 8,
        image_size: int = 112,
        short_share: tuple[float, float] = (0.0, 0.0),
        camera_share: float = 0.5,
        ends_only: bool = False,
        block: int = 1,
        without: Collection[Place] = (),
    ):
        self.seeds = scene_seeds(first_seed, count, without=without)
        if first_seed < 0 or (count and self.seeds[-1] >= HELD_OUT_SEED):
            raise ValueError(
                f"clips would use seeds {first_seed} to {self.seeds[-1]}; seeds from"
                f" {HELD_OUT_SEED} on are held out for evaluation. Take fewer clips or a smaller first seed."
            )
        self.num_frames, self.image_size, self.ends_only = num_frames, image_size, ends_only
        self.short_share, self.camera_share, self.block = short_share, camera_share, block

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> dict:
        """An item as `CaptionCollator` takes it, with `frames` uint8 `[T, 3, S, S]`; and the scene's `seed`."""
        scene = sample_scene(self.seeds[index])
        prompt = self._prompt(index - index % self.block)
        answers = {
            CAPTION_PROMPT: lambda: describe(scene),
            BRIEF_PROMPT: lambda: describe_briefly(scene),
            CAMERA_PROMPT: lambda: str(scene.camera),
        }
        clip = draw_clip(scene, num_frames=self.num_frames, image_size=self.image_size, ends_only=self.ends_only)
        messages = [
            {"role": "user", "content": MARKS["video"] + prompt},
            {"role": "assistant", "content": answers[prompt]()},
        ]
        return {"id": str(scene.seed), "messages": messages, "medium": "video", **clip, "seed": scene.seed}

    def _prompt(self, index: int) -> str:
        first, last = self.short_share
        is_short, is_camera = np.random.default_rng([self.seeds[index], 1]).random(2) < (
            first + (last - first) * index / len(self),
            self.camera_share,
        )
        if not is_short:
            return CAPTION_PROMPT
        return CAMERA_PROMPT if is_camera else BRIEF_PROMPT
