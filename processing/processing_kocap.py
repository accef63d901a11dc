"""KoCapProcessor: chat messages, images and clips to model inputs."""

import re
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer, SiglipImageProcessor
from transformers.image_utils import make_flat_list_of_images
from transformers.processing_utils import MultiModalData, ProcessorMixin

from .control_tokens_kocap import as_plain_chat, control_tokens
from .video_processing_kocap import KoCapVideoProcessor, as_clips
from .vision_tokens_kocap import add_vision_tokens, captioning_template, vision_tokens


class KoCapProcessor(ProcessorMixin):
    """Tokenizer, image processor and video processor in one; expands every placeholder exactly.

    Args:
        image_processor: Any transformers image processor giving `pixel_values` `[I, 3, S, S]`.
        tokenizer: The language model's tokenizer, with vision tokens.
        video_processor: A KoCapVideoProcessor of the same size.
        tokens_per_frame: Placeholders per frame and per image, N: `model.model.count_frame_tokens(S)`.
        frame_timestamps: Write every frame's time before its placeholders, as in `<3.2초>`.
    """

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        video_processor=None,
        tokens_per_frame: int = 1,
        frame_timestamps: bool = False,
        chat_template: str | None = None,
        **kwargs,
    ):
        self.tokens_per_frame = tokens_per_frame
        self.frame_timestamps = frame_timestamps
        tokens = vision_tokens(tokenizer)
        self.image_token, self.video_token = tokens["image_token"], tokens["video_token"]
        self.vision_start_token, self.vision_end_token = tokens["vision_start_token"], tokens["vision_end_token"]
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        super().__init__(image_processor, tokenizer, video_processor, chat_template=chat_template)

    @classmethod
    def from_backbones(
        cls,
        vision: str,
        text: str,
        *,
        tokens_per_frame: int,
        num_frames: int = 8,
        trust_remote_code: bool = False,
        **kwargs,
    ):
        """The processor that fits `KoCapForConditionalGeneration.from_backbones(vision, text)`.

        Args:
            vision: Hub id or folder of the vision encoder; its image processor gives size, mean and deviation.
            text: Hub id or folder of the language model; gives the tokenizer.
            tokens_per_frame: `model.model.count_frame_tokens(image_size)`.
            num_frames: Frames to look at in a clip, when a call doesn't say.
            trust_remote_code: As in `from_pretrained`.
        """
        theirs = AutoImageProcessor.from_pretrained(vision, trust_remote_code=trust_remote_code)
        side = getattr(theirs, "crop_size", None) or theirs.size  # CLIP and DINOv2 resize to more, then crop to this
        side = side.get("height") or side["shortest_edge"]
        tokenizer = AutoTokenizer.from_pretrained(text, trust_remote_code=trust_remote_code)
        add_vision_tokens(tokenizer)
        pixels = {
            "size": {"height": side, "width": side},
            "image_mean": list(theirs.image_mean),
            "image_std": list(theirs.image_std),
        }
        return cls(
            image_processor=SiglipImageProcessor(**pixels),
            tokenizer=tokenizer,
            video_processor=KoCapVideoProcessor(num_frames=num_frames, **pixels),
            tokens_per_frame=tokens_per_frame,
            chat_template=captioning_template(tokenizer),
            **kwargs,
        )

    def apply_chat_template(self, conversation, *args, **kwargs):
        """As transformers', and nothing that stands in a message becomes a control token or a placeholder."""
        tokens = control_tokens(self.tokenizer)
        if isinstance(conversation[0], dict):
            conversation = as_plain_chat(conversation, tokens)
        else:
            conversation = [as_plain_chat(getattr(chat, "messages", chat), tokens) for chat in conversation]
        return super().apply_chat_template(conversation, *args, **kwargs)

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        """As transformers', and `<image>` and `<video>` in plain text become the tokenizer's own vision tokens."""
        images, text, videos, audio = super().prepare_inputs_layout(
            images=images, text=text, videos=videos, audio=audio, **kwargs
        )
        if isinstance(text, list):
            text = [self._spell_out(sample) if isinstance(sample, str) else sample for sample in text]
        return images, text, videos, audio

    def _spell_out(self, text: str) -> str:
        for name, token in (("<image>", self.image_token), ("<video>", self.video_token)):
            if name != token:
                text = text.replace(name, f"{self.vision_start_token}{token}{self.vision_end_token}")
        return text

    def validate_inputs(self, images=None, text=None, videos=None, audio=None, **kwargs) -> None:
        """Check that placeholders and inputs agree before anything is decoded.

        Raises:
            ValueError: If they differ in number, or a vision token stands where none belongs.
        """
        if images is None and text is None and videos is None:
            raise ValueError("nothing to process: give text, images or videos.")
        if text is None:
            return
        if not (isinstance(text, list) and all(isinstance(sample, str) for sample in text)):
            raise ValueError(f"text is {type(text).__name__}; it must be a string or a list of strings.")
        counts = {
            "image": (self.image_token, 0 if images is None else len(make_flat_list_of_images(images))),
            "video": (self.video_token, 0 if videos is None else len(as_clips(videos))),
        }
        for modality, (token, given) in counts.items():
            written = sum(sample.count(token) for sample in text)
            if written != given:
                raise ValueError(
                    f"the text has {written} {modality} placeholders ({token}) but {given} {modality}s were given; they"
                    f" must be equal. Write one <{modality}> per {modality} in plain text, or use apply_chat_template;"
                    " put what a user types into a chat."
                )
        start, end = self.vision_start_token, self.vision_end_token
        if start:
            pads = f"(?:{re.escape(self.image_token)}|{re.escape(self.video_token)})"
            whole = re.compile(f"{re.escape(start)}{pads}{re.escape(end)}")
            for sample in text:
                rest = whole.sub("", sample)
                if start in rest or end in rest:
                    raise ValueError(
                        f"the text has a stray vision token ({start} or {end}) without a placeholder between them;"
                        " remove it, or write <video> or <image> instead."
                    )

    def _process_videos(self, videos: Any, **kwargs):
        kwargs["return_metadata"] = True  # time stamps need it; __call__ drops it again unless it was asked for
        processed = self.video_processor(videos, **kwargs)
        count = len(processed["pixel_values_videos"])
        return processed, [self.replace_video_token(processed, index) for index in range(count)]

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        """The placeholders of one image."""
        return self.image_token * self.tokens_per_frame

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs) -> str:
        """The placeholders of one clip: N per real frame, with time stamps between frames where they are on."""
        mask = video_inputs.get("pixel_values_videos_mask")
        clip = video_inputs["pixel_values_videos"][video_idx]
        num_frames = len(clip) if mask is None else int(mask[video_idx].sum())
        frame = self.video_token * self.tokens_per_frame
        times_s = video_inputs["video_metadata"][video_idx].times_s if self.frame_timestamps else None
        if times_s is None:
            return frame * num_frames
        return "".join(f"<{time_s:.1f}초>{frame}" for time_s in times_s)

    def _get_num_multimodal_tokens(self, image_sizes=None, video_sizes=None, **kwargs) -> MultiModalData:
        """Placeholders needed for images `(height, width)` and clips `(frames, height, width)`; vLLM plans with it."""
        counts: dict[str, list[int]] = {}
        if image_sizes is not None:
            counts["num_image_tokens"] = [self.tokens_per_frame] * len(image_sizes)
            counts["num_image_patches"] = [1] * len(image_sizes)
        if video_sizes is not None:
            counts["num_video_tokens"] = [num_frames * self.tokens_per_frame for num_frames, _, _ in video_sizes]
        return MultiModalData(**counts)


__all__ = ["KoCapProcessor"]
