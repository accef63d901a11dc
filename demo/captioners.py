"""A loaded model as the demo uses it: its pipeline, its facts, and writing on a GPU that ZeroGPU lends."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import spaces

from modeling.captioner import checkpoint_revision, load_captioner
from modeling.checkpoint_names import model_name
from processing.pipeline_kocap import KoCapPipeline

from .settings import MOST_FRAMES, MOST_TOKENS, USUAL_FRAMES, USUAL_TOKENS
from .streaming import gpu_seconds, stream_caption
from .writing import Writing


@dataclass(frozen=True, eq=False)
class Captioner:
    """One model, ready.

    Attributes:
        write: Streams a caption for what `prepare` made.
    """

    pipe: KoCapPipeline
    name: str
    revision: str | None
    num_parameters: int
    write: Callable[[dict, Writing], Iterator[str]]

    @property
    def num_frames(self) -> int:
        """How many frames the model is used to, as far as settings go."""
        return min(self.pipe.processor.video_processor.num_frames or USUAL_FRAMES, MOST_FRAMES)

    @property
    def max_new_tokens(self) -> int:
        """How long a caption the model is used to, as far as settings go."""
        return min(self.pipe.model.generation_config.max_new_tokens or USUAL_TOKENS, MOST_TOKENS)


def load(model: str, *, trust_remote_code: bool = False) -> Captioner:
    """Load a checkpoint or an adapter, folder or Hub id.

    On ZeroGPU this must happen while the Space starts: the weights are then on every GPU that is lent later.

    Raises:
        ModelError: If there is no such folder or repository, or it cannot be loaded.
    """
    pipe = load_captioner(model, trust_remote_code=trust_remote_code)

    @spaces.GPU(duration=gpu_seconds)
    def write(inputs: dict, writing: Writing) -> Iterator[str]:  # a closure: ZeroGPU pickles arguments
        yield from stream_caption(pipe, inputs, writing)

    return Captioner(
        pipe=pipe,
        name=model_name(model),
        revision=checkpoint_revision(pipe),
        num_parameters=sum(parameter.numel() for parameter in pipe.model.parameters()),
        write=write,
    )
