"""What clients may ask: OpenAI's chat completions with videos and pictures, and plain captions."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from processing.vision_tokens_kocap import CAPTION_PROMPT

from .gateway_errors import GatewayError, UnsupportedError

# OpenAI's parameters that change the answer and that no engine here follows: refused rather than overlooked.
NEUTRAL: dict[str, tuple] = {
    "n": (1,),
    "stop": ([],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "seed": (),
    "audio": (),
    "modalities": (["text"],),
}


Asked = TypeVar("Asked", bound=BaseModel)


class Url(BaseModel):
    url: str


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class VideoPart(BaseModel):
    type: Literal["video_url"]
    video_url: Url


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: Url


Part = Annotated[TextPart | VideoPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def parts(self) -> list[TextPart | VideoPart | ImagePart]:
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class Looking(BaseModel):
    """How to look at videos; not in OpenAI's schema (`extra_body` of its client)."""

    num_frames: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0, le=60)
    follow_scenes: bool | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Looking":
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("give num_frames or fps, not both")
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """As `KoCapVideoProcessor.fetch_videos` takes it."""
        return self.model_dump(include=set(Looking.model_fields), exclude_none=True)


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(Looking):
    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1, max_length=64)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def max_new_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def check_supported(self) -> None:
        """Raise `UnsupportedError` for parameters that would have to change the answer."""
        for name, value in (self.model_extra or {}).items():
            if name in NEUTRAL and value is not None and value not in NEUTRAL[name]:
                raise UnsupportedError(f"{name} is not supported; leave it out.")


class CaptionRequest(Looking):
    """A video and how to caption it; the fields of a form, besides `file`, or of a JSON object."""

    model_config = ConfigDict(extra="forbid")

    video: str | None = None
    model: str | None = None
    prompt: str = CAPTION_PROMPT
    max_new_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    format: Literal["json", "srt", "vtt"] = "json"


def check(kind: type[Asked], given: bytes | dict) -> Asked:
    """Validate a JSON text, or a form's fields.

    Raises:
        GatewayError: Says what is wrong where, and repeats nothing of what was sent.
    """
    try:
        return kind.model_validate_json(given) if isinstance(given, bytes) else kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the body"
        raise GatewayError(f"{where}: {first['msg']}. See docs/serving.md.") from None
