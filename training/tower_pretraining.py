"""A first education for a vision tower that starts from nothing: name what one frame shows.

Real towers come pretrained on captions; the embedded model's must learn to see before a language model can learn to
tell. Reading facts off single frames teaches it several times faster than captions of whole clips do.
"""

import math
from collections import Counter
from collections.abc import Collection

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from corpus.scene_attributes import named_attributes
from corpus.scene_captions import describe_briefly
from corpus.scene_values import Place
from corpus.scenes import Scene, render_frames, sample_scene, scene_seeds

VIEWS = 2  # frames of one scene, far apart: painting the scene costs more than looking at it twice


def visible_facts(scene: Scene) -> set[str]:
    """What a still picture of the scene can show: its brief facts without the camera's motion and things' speeds."""
    named = named_attributes(describe_briefly(scene))
    return {f"{name}: {value}" for name, values in named.items() if name not in ("camera", "speed") for value in values}


def list_facts(first_seed: int, count: int = 3_000, rarest: int = 20, *, without: Collection[Place] = ()) -> list[str]:
    """The facts that are common enough to learn, sorted."""
    seeds = scene_seeds(first_seed, count, without=without)
    counts = Counter(fact for seed in seeds for fact in visible_facts(sample_scene(seed)))
    return sorted(fact for fact, number in counts.items() if number >= rarest)


class SceneFrames(Dataset):
    """Single frames of generated scenes with their facts.

    Args:
        facts: From `list_facts`.
        count: How many scenes; each gives `VIEWS` frames.
        first_seed: Seed of the first scene.
        image_size: Side of the square frames in pixels.
        without: Places that no frame shows; their scenes are passed over.
    """

    def __init__(
        self, facts: list[str], *, count: int, first_seed: int, image_size: int, without: Collection[Place] = ()
    ):
        self.places = {fact: index for index, fact in enumerate(facts)}
        self.seeds, self.image_size = scene_seeds(first_seed, count, without=without), image_size

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> dict:
        """`frames` uint8 `[VIEWS, 3, S, S]`, `labels` float `[len(facts)]`."""
        scene = sample_scene(self.seeds[index])
        offset = np.random.default_rng([scene.seed, 3]).random()
        times_s = [(view + offset) * scene.duration_s / VIEWS for view in range(VIEWS)]
        labels = torch.zeros(len(self.places))
        for fact in visible_facts(scene):
            if fact in self.places:
                labels[self.places[fact]] = 1.0
        frames = render_frames(scene, times_s, height=self.image_size, width=self.image_size)
        return {"frames": frames, "labels": labels}


class FrameCollator:
    """`[{"frames", "labels"}] -> {"pixel_values": [B * VIEWS, 3, S, S], "labels": [B * VIEWS, F]}`."""

    def __init__(self, processor):
        self.video_processor = processor.video_processor

    def __call__(self, scenes: list[dict]) -> dict[str, torch.Tensor]:
        clips = [scene["frames"] for scene in scenes]
        pixels = self.video_processor(clips, do_sample_frames=False, return_tensors="pt")["pixel_values_videos"]
        labels = torch.stack([scene["labels"] for scene in scenes])
        return {"pixel_values": pixels.flatten(0, 1), "labels": labels.repeat_interleave(VIEWS, dim=0)}


class FrameClassifier(nn.Module):
    """A vision tower with one linear layer that says which facts a frame shows; the layer is thrown away afterwards.

    Args:
        vision_tower: Trained in place.
        num_facts: How many facts there are.
    """

    def __init__(self, vision_tower: nn.Module, num_facts: int):
        super().__init__()
        self.vision_tower = vision_tower
        self.head = nn.Linear(vision_tower.config.hidden_size, num_facts)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """`loss` (binary cross-entropy, summed over facts, mean over frames) and `logits` `[B, F]`."""
        logits = self.head(self.vision_tower(pixel_values).last_hidden_state)  # [B, N, F]
        logits = logits.logsumexp(1) - math.log(logits.shape[1])  # a small thing is seen by few patches: [B, F]
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
        return {"loss": loss.sum(1).mean(), "logits": logits}
