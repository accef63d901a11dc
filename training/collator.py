"""Clips with prompts and answers to one padded batch, labels on the answer only."""

import torch
from transformers import BatchFeature

IGNORED = -100  # torch's cross-entropy skips this label


class CaptionCollator:
    """`[{"frames", "times_s", "prompt", "answer"}] -> model inputs with labels`.

    Labels are the assistant's tokens, as the chat template's generation marks give them; everything else is -100.

    Args:
        processor: A KoCapProcessor.
    """

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, clips: list[dict]) -> BatchFeature:
        chats = [
            [
                {
                    "role": "user",
                    "content": [{"type": "video", "video": clip["frames"]}, {"type": "text", "text": clip["prompt"]}],
                },
                {"role": "assistant", "content": [{"type": "text", "text": clip["answer"]}]},
            ]
            for clip in clips
        ]
        batch = self.processor.apply_chat_template(
            chats,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="pt",
            processor_kwargs={
                "padding": True,
                "padding_side": "right",
                "do_sample_frames": False,
                "video_metadata": [
                    {"total_num_frames": len(clip["frames"]), "times_s": clip["times_s"]} for clip in clips
                ],
            },
        )
        is_answer = torch.as_tensor(batch.pop("assistant_masks")).bool()
        batch["labels"] = batch["input_ids"].masked_fill(~is_answer, IGNORED)
        return batch
