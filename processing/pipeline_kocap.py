"""pipeline("video-text-to-text"): clips to captions."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Pipeline

from .video_processing_kocap import as_clips
from .vision_tokens_kocap import CAPTION_PROMPT

MAX_NEW_TOKENS = 768  # a long caption of the dataset is 711 Qwen3 tokens


class KoCapPipeline(Pipeline):
    """Captions clips, or answers chat messages about them.

    ```python
    pipe = pipeline("video-text-to-text", model="org/kocap-qwen3", trust_remote_code=True)
    pipe("clip.mp4")                                    # [{"generated_text": "...", "frame_times_s": [0.3, ...]}]
    pipe(["a.mp4", "b.mp4"], batch_size=2, num_frames=16, generate_kwargs={"max_new_tokens": 768})
    question = [{"type": "video", "path": "a.mp4"}, {"type": "text", "text": "몇 명인가요?"}]
    pipe(text=[{"role": "user", "content": question}])
    ```
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, videos: Any = None, text: Any = None, *, batch_size: int | None = None, **kwargs) -> list[dict]:
        """Caption one clip or several.

        Args:
            videos: A path, bytes, a file object, frames (an array or a list of pictures), or a list of these.
            text: What to ask, one for all clips or a list with one per clip; or one chat or a list of chats, which
                carry their own videos.
            batch_size: Clips per forward pass. Default: the pipeline's own, or 1.
            **kwargs: `generate_kwargs` and `max_new_tokens` for generation; `num_frames`, `fps`, `max_frames`,
                `follow_scenes`, `read_mode`, `isolated` and `video_metadata` (one per clip given as frames) for the
                processor.
        Returns:
            One dict per clip or chat: `generated_text`; `frame_times_s` (seconds of the frames the model saw; a list of
            lists when a chat has several clips; None where frames came without times); and `warnings`, a list of
            VideoWarning, only where a file was odd.
        Raises:
            VideoError: If a clip cannot be read; has a `code`.
            ValueError: If texts and clips differ in number, or neither was given.
        """
        chats = self._chats(videos, text)
        metadata = kwargs.pop("video_metadata", None)
        if metadata is not None and not isinstance(metadata, list | tuple):
            metadata = [metadata]
        if metadata is not None and len(metadata) != len(chats):
            raise ValueError(f"{len(chats)} clips came with {len(metadata)} video_metadata; pass one per clip.")
        if not chats:
            return []
        batch_size = batch_size or self._batch_size or 1
        batches = []
        for start in range(0, len(chats), batch_size):
            chosen = slice(start, start + batch_size)
            batches.append({"chats": chats[chosen], "video_metadata": metadata[chosen] if metadata else None})
        results: Any = super().__call__(batches, batch_size=1, **kwargs)  # a list of dicts per batch
        return [result for batch in results for result in batch]

    def _chats(self, videos: Any, text: Any) -> list[list[dict]]:
        if _is_chat(videos) or _is_chat_batch(videos):
            videos, text = None, videos
        if _is_chat(text) or _is_chat_batch(text):
            if videos is not None:
                raise ValueError("a chat carries its own videos: put them into its messages, or pass plain text.")
            return [text] if _is_chat(text) else list(text)
        if videos is None:
            if text is None:
                raise ValueError("nothing to do: give videos, text or chat messages.")
            return [[{"role": "user", "content": prompt}] for prompt in ([text] if isinstance(text, str) else text)]
        clips = as_clips(videos)
        prompts = [text or CAPTION_PROMPT] * len(clips) if text is None or isinstance(text, str) else list(text)
        if len(prompts) != len(clips):
            raise ValueError(f"{len(clips)} videos came with {len(prompts)} texts; give one text, or one per video.")
        return [
            [{"role": "user", "content": [{"type": "video", "video": clip}, {"type": "text", "text": prompt}]}]
            for clip, prompt in zip(clips, prompts, strict=True)
        ]

    def _sanitize_parameters(self, generate_kwargs: dict | None = None, max_new_tokens: int | None = None, **kwargs):
        generate_kwargs = dict(generate_kwargs or {})
        if max_new_tokens is not None:
            generate_kwargs["max_new_tokens"] = max_new_tokens
        return kwargs, generate_kwargs, {}

    def preprocess(self, batch: dict, **processor_kwargs) -> dict:
        if batch["video_metadata"] is not None:
            processor_kwargs["video_metadata"] = batch["video_metadata"]
        inputs = self.processor.apply_chat_template(
            batch["chats"],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left", "return_metadata": True, **processor_kwargs},
        )
        clips = inputs.pop("video_metadata", [])
        counts = [sum(_video_count(message) for message in chat) for chat in batch["chats"]]
        shares = _split(clips, counts)
        times = [[clip.times_s for clip in share] for share in shares]
        return {
            "inputs": inputs,
            "frame_times_s": [share[0] if len(share) == 1 else share for share in times],
            "warnings": [[warning for clip in share for warning in clip.warnings] for share in shares],
        }

    def _forward(self, model_inputs: dict, **generate_kwargs) -> dict:
        inputs = {
            name: value.to(self.model.dtype) if torch.is_floating_point(value) else value
            for name, value in model_inputs["inputs"].items()
        }
        lengths = {"max_new_tokens", "max_length", "generation_config"}
        if self.model.generation_config.max_new_tokens is None and not lengths & generate_kwargs.keys():
            generate_kwargs["max_new_tokens"] = MAX_NEW_TOKENS
        output_ids = self.model.generate(**inputs, **generate_kwargs)
        return {
            "output_ids": output_ids[:, inputs["input_ids"].shape[1] :],
            "frame_times_s": model_inputs["frame_times_s"],
            "warnings": model_inputs["warnings"],
        }

    def postprocess(self, model_outputs: dict) -> list[dict]:
        texts = self.processor.batch_decode(model_outputs["output_ids"], skip_special_tokens=True)
        times, warnings = model_outputs["frame_times_s"], model_outputs["warnings"]
        per_chat = len(texts) // len(times)  # num_return_sequences
        results = []
        for index, text in enumerate(texts):
            chat = index // per_chat
            result = {"generated_text": text.strip(), "frame_times_s": times[chat]}
            results.append(result | ({"warnings": warnings[chat]} if warnings[chat] else {}))
        return results


def _is_chat(item: Any) -> bool:
    return isinstance(item, Sequence) and len(item) > 0 and isinstance(item[0], dict) and "role" in item[0]


def _is_chat_batch(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) > 0 and all(_is_chat(entry) for entry in item)


def _video_count(message: dict) -> int:
    content = message["content"]
    return 0 if isinstance(content, str) else sum(part["type"] == "video" for part in content)


def _split(items: list, counts: list[int]) -> list[list]:
    ends = list(itertools.accumulate(counts))
    return [items[end - count : end] for count, end in zip(counts, ends, strict=True)]


__all__ = ["KoCapPipeline"]
