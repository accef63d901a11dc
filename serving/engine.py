"""What the gateway asks of an engine: a chat with its frames goes in, text comes out as it grows.

The gateway reads videos and pictures itself, so an engine never sees a file or an address.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from configuration.coded_errors_kocap import CodedError
from processing.video_processing_kocap import ClipMetadata


@dataclass(frozen=True)
class Job:
    """One answer to write.

    Attributes:
        messages: `role` and `content`, a list of parts: `{"type": "text", "text": str}`, `{"type": "image", "image":
            PIL.Image}` and `{"type": "video", "video": uint8 [T, 3, H, W]}`, frames already sampled.
        clips: One per video, in reading order.
        max_new_tokens: None: as many as the checkpoint says and the context holds.
        temperature, top_p, top_k, repetition_penalty: None: as the checkpoint says. A temperature of 0 is greedy.
        seed: None: another answer each time, unless it is greedy.
        stop: Texts that end the answer before them.
        request_id: What the log says where the engine fails on it.
    """

    messages: list[dict[str, Any]]
    clips: tuple[ClipMetadata, ...] = ()
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    request_id: str = ""


@dataclass(frozen=True)
class Piece:
    """What the text grew by."""

    text: str


@dataclass(frozen=True)
class Ending:
    """Why the text ends, and how many tokens there were."""

    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class EngineStartError(CodedError, RuntimeError):
    """The checkpoint cannot be loaded: there is no point in trying again."""

    code = "E_MODEL"
    message_ko = "모델을 불러오다가 엔진이 비정상 종료되었습니다. 메모리가 충분한지 확인해 주세요."


class Engine(Protocol):
    """Writes answers, several at a time.

    Attributes:
        ready: Whether it takes jobs now. It may be starting, or starting again after it died.
        revision: What identifies the weights; see `checkpoint_revision`. None before it was ready.
        restarts: How often it had to be started again.
    """

    ready: bool
    revision: str | None
    restarts: int

    async def start(self) -> None:
        """Return when it is ready.

        Raises:
            EngineStartError: If it never will be.
        """
        ...

    def write(self, job: Job) -> AsyncIterator[Piece | Ending]:
        """Write one answer. Closing the iterator abandons it and frees its place.

        Raises:
            GatewayError: `E_ENGINE` when the engine dies or is not ready; `E_CONTEXT`, `E_PROMPT` for jobs that it
                cannot take.
        """
        ...

    async def answers(self, within_s: float) -> bool:
        """Whether it takes jobs, and says so itself within that time: one that is frozen does not."""
        ...

    async def close(self) -> None:
        """End at once; jobs that run fail."""
        ...
