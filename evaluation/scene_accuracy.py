"""Does a caption name what the generated scene shows? Attribute by attribute, against the known truth."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import GenerationConfig

from corpus.scene_attributes import named_attributes
from corpus.scene_captions import describe
from corpus.scenes import Scene, render_frames
from processing.frame_sampling_kocap import sample_times
from processing.vision_tokens_kocap import CAPTION_PROMPT

ONE_OF = ("place", "time", "weather", "season", "camera")  # every scene has exactly one (its season may be invisible)


def draw_clip(scene: Scene, *, num_frames: int, image_size: int) -> np.ndarray:
    """The frames a model looks at, drawn without a video file: uint8 `[T, 3, S, S]`."""
    times_s = sample_times(scene.duration_s, num_frames=num_frames)
    return render_frames(scene, times_s, height=image_size, width=image_size)


@torch.inference_mode()
def caption_clips(
    model, processor, clips: Sequence, *, max_new_tokens: int = 256, batch_size: int = 25, progress: Callable = iter
) -> list[str]:
    """Greedy captions.

    Args:
        clips: Whatever the processor takes as a clip: frames, paths, bytes.
        progress: Wraps the batches, e.g. `tqdm`.
    """
    captions = []
    generation_config = GenerationConfig.from_dict(
        model.generation_config.to_dict() | {"do_sample": False, "max_new_tokens": max_new_tokens}
    )
    for start in progress(range(0, len(clips), batch_size)):
        chats = [
            [{"role": "user", "content": [{"type": "video", "video": clip}, {"type": "text", "text": CAPTION_PROMPT}]}]
            for clip in clips[start : start + batch_size]
        ]
        inputs = processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        ).to(model.device, model.dtype)
        output_ids = model.generate(**inputs, generation_config=generation_config)
        new_ids = output_ids[:, inputs["input_ids"].shape[1] :]
        captions += [text.strip() for text in processor.batch_decode(new_ids, skip_special_tokens=True)]
    return captions


def scene_scores(captions: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """Accuracy per attribute, the same with captions moved to other videos, and the share of unique captions.

    What a scene shows is what its reference caption names. Place, time, weather, season and camera count when the
    caption names the true value and no other; of things, colours, directions and landmarks it is the mean share found.

    Returns:
        `unique`, then every attribute, then `shuffled_...` for each: what the same captions score when every one of
        them stands beside another video. A generic caption scores the same on both.
    """
    named = [named_attributes(caption) for caption in captions]
    truths = [named_attributes(describe(scene)) for scene in scenes]
    moved = truths[1:] + truths[:1]  # scenes are independent, so any derangement is a fair shuffle
    scores = {"unique": len(set(captions)) / len(captions)}
    for prefix, references in (("", truths), ("shuffled_", moved)):
        for attribute in truths[0]:
            pairs = [(said[attribute], true[attribute]) for said, true in zip(named, references, strict=True)]
            if attribute in ONE_OF:
                hits = [said == true for said, true in pairs if true]
            else:
                hits = [len(said & true) / len(true) for said, true in pairs if true]
            scores[prefix + attribute] = float(np.mean(hits)) if hits else float("nan")
    return scores
