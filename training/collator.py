"""Items to one padded batch, labels on the assistant's words only.

An item is what a data set gives:

    {"id": "clip-1", "messages": [{"role": "user", "content": "<video>..."}, {"role": "assistant", "content": "..."}],
     "medium": "video", "frames": uint8 [T, 3, H, W], "times_s": [0.3, ...]}

or `"features"`, float `[T, N, D_vision]` as `KoCapModel.encode_frames` gives them, in place of frames. An item about an
image has `"medium": "image"`, `<image>` in its messages, `T == 1` and `"times_s": None`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from corpus.record_form import MARKS
from processing.processing_kocap import KoCapProcessor
from processing.video_processing_kocap import ClipMetadata, as_clips

IGNORED = -100  # torch's cross-entropy skips this label
SOURCES = ("frames", "features")


class FeatureProcessor(KoCapProcessor):
    """KoCapProcessor for what the vision tower has seen already: same text and placeholders, and no pixel is touched.

    A clip is its features as `[T, N, 1, D]` (four dimensions, as a clip of frames has), an image its `[1, N, D]`.
    """

    @classmethod
    def like(cls, processor: KoCapProcessor) -> "FeatureProcessor":
        """One that writes what `processor` writes."""
        return cls(
            image_processor=processor.image_processor,
            tokenizer=processor.tokenizer,
            video_processor=processor.video_processor,
            tokens_per_frame=processor.tokens_per_frame,
            frame_timestamps=processor.frame_timestamps,
            chat_template=processor.chat_template,
        )

    def _process_images(self, images: Any, **kwargs):
        features = make_flat_list_of_images(images)
        return {"image_features": torch.cat(features)}, [self.replace_image_token({}, i) for i in range(len(features))]

    def _process_videos(self, videos: Any, *, video_metadata: Sequence[dict], **kwargs):
        clips = [clip.squeeze(2) for clip in as_clips(videos)]
        metadata = [ClipMetadata(**given) for given in video_metadata]
        seen = {"pixel_values_videos": clips, "video_metadata": metadata}
        placeholders = [self.replace_video_token(seen, index) for index in range(len(clips))]
        lengths = torch.tensor([len(clip) for clip in clips])
        inputs = {"video_features": torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)}
        if len(lengths.unique()) > 1:
            inputs["pixel_values_videos_mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
        return inputs, placeholders


class CaptionCollator:
    """Items to model inputs with `labels`; see the module for what an item is.

    Labels are the assistant's tokens and the end of its turn, as the chat template's generation marks give them, in
    every turn; everything else is -100. Rows are padded on the right. Images and videos may stand in one batch, frames
    and features may not. Where items carry a `problem`, the batch has a list `problems`; take it out before the model.

    Args:
        processor: A KoCapProcessor.
    """

    def __init__(self, processor: KoCapProcessor):
        self.processors = {"frames": processor, "features": FeatureProcessor.like(processor)}

    def __call__(self, items: Sequence[dict]) -> BatchFeature:
        """Collate.

        Raises:
            ValueError: If an item has both frames and features or neither, not all items have the same of them, or an
                item's messages do not hold its medium's mark once.
        """
        source = _common_source(items)
        options: dict[str, Any] = {"padding": True, "padding_side": "right"}
        if clips := [item for item in items if item["medium"] == "video"]:
            options["do_sample_frames"] = False
            options["video_metadata"] = [
                {"total_num_frames": len(clip[source]), "times_s": clip["times_s"]} for clip in clips
            ]
        batch = self.processors[source].apply_chat_template(
            [_write_chat(item, source) for item in items],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="pt",
            processor_kwargs=options,
        )
        is_answer = torch.as_tensor(batch.pop("assistant_masks")).bool()
        batch["labels"] = batch["input_ids"].masked_fill(~is_answer, IGNORED)
        if problems := [item["problem"] for item in items if item.get("problem")]:
            batch["problems"] = problems
        return batch


def write_chat(messages: Sequence[dict[str, str]], medium: str, shown: Any = None) -> list[dict]:
    """Messages as chat templates take them: the mark in the text becomes a part of its own.

    Args:
        messages: `{"role", "content"}` with `<video>` or `<image>` once.
        shown: What the processor gets for the mark; None where only the text is wanted.
    Raises:
        ValueError: If the mark does not stand exactly once.
    """
    mark, part = MARKS[medium], {"type": medium} | ({} if shown is None else {medium: shown})
    if (count := sum(message["content"].count(mark) for message in messages)) != 1:
        raise ValueError(f"{mark} stands {count} times in the messages of a {medium}; write it once, in a user turn.")
    chat = []
    for message in messages:
        before, found, after = message["content"].partition(mark)
        texts = [{"type": "text", "text": text} if text else None for text in (before, after)]
        content = [texts[0], part if found else None, texts[1]]
        chat.append({"role": message["role"], "content": [entry for entry in content if entry]})
    return chat


def _write_chat(item: dict, source: str) -> list[dict]:
    shown = torch.as_tensor(item[source])
    if item["medium"] == "image":
        shown = shown[0] if source == "frames" else shown
    elif source == "features":
        shown = shown.unsqueeze(2)
    return write_chat(item["messages"], item["medium"], shown)


def _common_source(items: Sequence[dict]) -> str:
    """What all items carry: `frames` or `features`."""
    for item in items:
        if sum(item.get(source) is not None for source in SOURCES) != 1:
            raise ValueError(f"item {item.get('id')!r} must have either frames or features; give one of them.")
    found = {source for item in items for source in SOURCES if item.get(source) is not None}
    if len(found) != 1:
        raise ValueError(
            "some items of the batch have frames and others features; a batch takes one of them. Fill the cache for"
            " all items, or use none."
        )
    return found.pop()
