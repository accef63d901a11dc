"""What clients may ask: OpenAI's chat completions with videos and pictures, and plain captions.

What is not known here, or has another value than the one that changes nothing, is refused rather than overlooked.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from processing.vision_tokens_kocap import CAPTION_PROMPT

from .gateway_errors import GatewayError, UnsupportedError
from .request_mistakes import explain, explain_unknown

# Parameters of OpenAI and vLLM that change the answer, with the values by which they do not. None always passes.
NEUTRAL: dict[str, tuple] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "best_of": (1,),
    "echo": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True, False),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "chat_template_kwargs": ({}, {"enable_thinking": False}),
}
# Parameters that are about something else than the answer.
BESIDE_THE_ANSWER = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "cache_salt"}
MOST_MESSAGES, MOST_PARTS = 64, 256  # of a request, of a message
MOST_CHOICES = 8  # answers to one request
MOST_STOPS, LONGEST_STOP = 4, 128  # texts that end an answer, their characters
MOST_TOKENS = 1 << 20  # beyond any context
LEAST_FPS, MOST_FPS = 0.001, 60.0


Asked = TypeVar("Asked", bound=BaseModel)


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is a boolean; write a number")
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Real = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]


class Part(BaseModel):
    """A piece of a message; a key with null counts as left out."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


class Url(Part):
    url: str
    detail: Literal["auto", "low", "high"] | None = None  # OpenAI's; a checkpoint has one resolution


class TextPart(Part):
    type: Literal["text"]
    text: str


class VideoPart(Part):
    type: Literal["video_url"]
    video_url: Url


class ImagePart(Part):
    type: Literal["image_url"]
    image_url: Url


AnyPart = Annotated[TextPart | VideoPart | ImagePart, Field(discriminator="type")]


class Message(Part):
    role: Literal["system", "developer", "user", "assistant"]
    name: str | None = None  # OpenAI's, who speaks; no template here knows it
    content: list[AnyPart] = Field(max_length=MOST_PARTS)

    @field_validator("content", mode="before")
    @classmethod
    def _a_text_is_a_part(cls, given: Any) -> Any:
        return [{"type": "text", "text": given}] if isinstance(given, str) else given


class FrameSampling(BaseModel):
    """Which frames of videos to take; not in OpenAI's schema (`extra_body` of its client)."""

    num_frames: Whole | None = Field(None, ge=1, le=MOST_TOKENS)
    fps: Real | None = Field(None, ge=LEAST_FPS, le=MOST_FPS)

    @model_validator(mode="after")
    def _one_of_them(self) -> "FrameSampling":
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("give num_frames or fps, not both")
        return self


class VllmFrameSampling(FrameSampling):
    """vLLM's `mm_processor_kwargs`, as far as they are about frames."""

    model_config = ConfigDict(extra="forbid")


class AnswerSettings(FrameSampling):
    """What chats and captions have in common: which frames, and how tokens are chosen."""

    model_config = ConfigDict(extra="allow")  # until `check`, which refuses them

    follow_scenes: bool | None = None
    temperature: Real | None = Field(None, ge=0, le=2)
    top_p: Real | None = Field(None, gt=0, le=1)
    top_k: Whole | None = Field(None, ge=-1, le=MOST_TOKENS)
    repetition_penalty: Real | None = Field(None, ge=0.1, le=10)
    seed: Whole | None = Field(None, ge=-(1 << 63), lt=1 << 63)

    @property
    def sampling(self) -> dict[str, Any]:
        """As `KoCapVideoProcessor.fetch_videos` takes it."""
        return self.model_dump(include={"num_frames", "fps", "follow_scenes"}, exclude_none=True)

    @property
    def token_choice(self) -> dict[str, Any]:
        """As `Job` takes it."""
        return self.model_dump(include={"temperature", "top_p", "top_k", "repetition_penalty", "seed"})

    def check_known(self) -> None:
        """Raise `UnsupportedError` for parameters that would have to change the answer."""
        for name, value in (self.model_extra or {}).items():
            if value is None or name in BESIDE_THE_ANSWER:
                continue
            if name not in NEUTRAL:
                raise UnsupportedError(explain_unknown(name, type(self).model_fields))
            if value not in NEUTRAL[name]:
                raise UnsupportedError(f"{name} is not supported; leave it out.")


class StreamOptions(Part):
    include_usage: bool = False
    include_obfuscation: bool | None = None  # OpenAI's, against eavesdroppers; nothing is added here


class ChatRequest(AnswerSettings):
    model: str
    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_tokens: Whole | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: Whole | None = Field(None, ge=1, le=MOST_TOKENS)
    n: Whole | None = Field(None, ge=1, le=MOST_CHOICES)
    stop: list[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]] | None = Field(None, max_length=MOST_STOPS)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    mm_processor_kwargs: VllmFrameSampling | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _frames_in_one_place(self) -> "ChatRequest":
        theirs = self.mm_processor_kwargs
        if theirs and (theirs.num_frames or theirs.fps):
            if self.num_frames or self.fps:
                raise ValueError("give num_frames or fps, or mm_processor_kwargs, not both")
            self.num_frames, self.fps = theirs.num_frames, theirs.fps
        return self

    @property
    def max_new_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CaptionRequest(AnswerSettings):
    """A video and how to caption it; the fields of a form, besides `file`, or of a JSON object."""

    video: str | None = None
    model: str | None = None
    prompt: str = CAPTION_PROMPT
    max_new_tokens: Whole | None = Field(None, ge=1, le=MOST_TOKENS)
    format: Literal["json", "srt", "vtt"] = "json"


def check(kind: type[Asked], given: bytes | dict) -> Asked:
    """Validate a JSON text, or a form's fields.

    Raises:
        GatewayError: Says what is wrong where, and repeats nothing of what was sent but names.
    """
    if isinstance(given, dict):
        _check_unicode(given)
    try:
        asked = kind.model_validate_json(given) if isinstance(given, bytes) else kind.model_validate(given)
    except ValidationError as error:
        raise GatewayError(f"{explain(error)}. See docs/serving.md.") from None
    if isinstance(asked, AnswerSettings):
        asked.check_known()
    return asked


def _check_unicode(fields: dict) -> None:
    """JSON cannot hold half a character; a form can, in an encoding of its own."""
    try:
        "".join(part for field in fields.items() for part in field if isinstance(part, str)).encode()
    except UnicodeEncodeError:
        raise GatewayError("the form has text that is not Unicode. Send it in UTF-8.") from None
