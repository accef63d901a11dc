"""While a run goes on: does the model look at the video, or recite?"""

import logging
from collections.abc import Collection

from transformers import TrainerCallback

from corpus.scene_values import Place
from corpus.scenes import HELD_OUT_SEED, sample_scene, scene_seeds
from evaluation.generation import caption_clips
from evaluation.scene_accuracy import scene_scores
from processing.pipeline_kocap import KoCapPipeline

from .scene_clips import draw_clip

logger = logging.getLogger(__name__)


class SceneWatch(TrainerCallback):
    """Asks about held-out scenes every so often and logs how many attributes come out right.

    It asks what is being learned: a model that only lists facts yet has no captions to tell.

    Args:
        processor: The model's processor.
        every: Steps between looks.
        prompt: What to ask.
        num_frames: Frames per clip.
        count: How many scenes to look at.
        without: Places that none of them shows.
    """

    def __init__(
        self, processor, *, every: int, prompt: str, num_frames: int, count: int = 50, without: Collection[Place] = ()
    ):
        self.processor, self.every, self.prompt = processor, every, prompt
        size = processor.video_processor.size["height"]
        self.scenes = [sample_scene(seed) for seed in scene_seeds(HELD_OUT_SEED + 10_000, count, without=without)]
        self.clips = [draw_clip(scene, num_frames=num_frames, image_size=size)["frames"] for scene in self.scenes]

    def on_step_end(self, args, state, control, *, model, **kwargs):
        if state.global_step % self.every and state.global_step != state.max_steps:
            return
        model.eval()
        pipe = KoCapPipeline(model=model, processor=self.processor, device=model.device)  # stay where training put it
        captions = caption_clips(pipe, self.clips, prompt=self.prompt)
        model.train()
        scores = scene_scores(captions, self.scenes)
        state.log_history.append({"step": state.global_step} | {f"watch_{key}": value for key, value in scores.items()})
        shown = ", ".join(f"{key} {value:.2f}" for key, value in scores.items() if not key.startswith("shuffled"))
        logger.info("step %d: %s\n  %s", state.global_step, shown, "\n  ".join(captions[:3]))
