"""Generated scenes as a training set: every index draws one scene, and only the frames the model looks at."""

from collections.abc import Collection

import numpy as np
from torch.utils.data import Dataset

from corpus.record_form import MARKS
from corpus.scene_captions import describe, describe_briefly, describe_shortly
from corpus.scene_values import Place
from corpus.scenes import HELD_OUT_SEED, Scene, render_frames, sample_scene, scene_seeds
from processing.frame_sampling_kocap import sample_times
from processing.vision_tokens_kocap import CAPTION_PROMPT

BRIEF_PROMPT = "이 영상의 핵심 요소를 나열해주세요."
SHORT_PROMPT = "이 영상을 짧게 설명해주세요."
ANSWERS = {CAPTION_PROMPT: describe, SHORT_PROMPT: describe_shortly, BRIEF_PROMPT: describe_briefly}


def draw_clip(scene: Scene, *, num_frames: int, image_size: int) -> dict:
    """What a model looks at, drawn without a video file: `frames` uint8 `[T, 3, S, S]` and `times_s` `[T]`."""
    times_s = sample_times(scene.duration_s, num_frames=num_frames)
    frames = render_frames(scene, times_s, height=image_size, width=image_size)
    return {"frames": frames, "times_s": times_s.tolist()}


class SceneClips(Dataset):
    """Clips of generated scenes with what to ask and what to answer.

    Early clips mostly ask for a short answer, later ones mostly for the caption. A short answer teaches to look faster:
    every clause of it depends on the video, while most of a caption's words are a choice among phrases for scenery.

    Args:
        count: How many clips.
        first_seed: Seed of the first scene; the clip at index i shows the i-th scene from there on.
        num_frames: Frames per clip.
        short_frames: Frames per clip where the answer is short; as many when left out.
        image_size: Side of the square frames in pixels.
        short_share: Share of short answers at the first and at the last index.
        list_share: Share of lists of facts among the short answers; the others are sentences.
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
        short_frames: int | None = None,
        image_size: int = 112,
        short_share: tuple[float, float] = (0.0, 0.0),
        list_share: float = 0.3,
        block: int = 1,
        without: Collection[Place] = (),
    ):
        self.seeds = scene_seeds(first_seed, count, without=without)
        if first_seed < 0 or (count and self.seeds[-1] >= HELD_OUT_SEED):
            raise ValueError(
                f"clips would use seeds {first_seed} to {self.seeds[-1]}; seeds from"
                f" {HELD_OUT_SEED} on are held out for evaluation. Take fewer clips or a smaller first seed."
            )
        self.num_frames, self.short_frames, self.image_size = num_frames, short_frames or num_frames, image_size
        self.short_share, self.list_share, self.block = short_share, list_share, block

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> dict:
        """An item as `CaptionCollator` takes it, with `frames` uint8 `[T, 3, S, S]`; and the scene's `seed`."""
        scene = sample_scene(self.seeds[index])
        prompt = self._prompt(index - index % self.block)
        clip = draw_clip(scene, num_frames=self.frames_for(prompt), image_size=self.image_size)
        messages = [
            {"role": "user", "content": MARKS["video"] + prompt},
            {"role": "assistant", "content": ANSWERS[prompt](scene)},
        ]
        return {"id": str(scene.seed), "messages": messages, "medium": "video", **clip, "seed": scene.seed}

    def frames_for(self, prompt: str) -> int:
        """How many frames a clip has where this is asked."""
        return self.num_frames if prompt == CAPTION_PROMPT else self.short_frames

    def _prompt(self, index: int) -> str:
        first, last = self.short_share
        is_short, is_list = np.random.default_rng([self.seeds[index], 1]).random(2) < (
            first + (last - first) * index / len(self),
            self.list_share,
        )
        if not is_short:
            return CAPTION_PROMPT
        return BRIEF_PROMPT if is_list else SHORT_PROMPT
