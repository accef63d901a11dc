"""The engine that needs nothing but transformers: the model behind transformers' continuous batching."""

from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from modeling.captioner import checkpoint_revision, load_captioner

from .continuous_batching import ContinuousBatcher
from .engine import Job
from .engine_worker import Deliver, Fail, work


def serve(connection: Connection, model: str, slots: int, max_context: int, *, trust_remote_code: bool = False) -> None:
    """The process's main function."""
    options = {"slots": slots, "max_context": max_context, "trust_remote_code": trust_remote_code}
    work(connection, partial(TransformersWriter, model, **options))


class TransformersWriter:
    """See `Writer`. Answers share the model's steps (serving/continuous_batching.py).

    Args:
        model: Checkpoint or adapter, folder or Hub id.
        slots: Answers at the same time.
        max_context: Less where the model cannot see as many tokens.
        trust_remote_code: See `load_captioner`.

    Raises:
        ModelError: If there is no such folder or repository, or it cannot be loaded.
    """

    def __init__(self, model: str, *, slots: int, max_context: int, trust_remote_code: bool = False):
        self._pipe, self._slots = load_captioner(model, trust_remote_code=trust_remote_code), slots
        processor: Any = self._pipe.processor  # typed as optional by transformers
        longest = getattr(self._pipe.model.config.text_config, "max_position_embeddings", None) or max_context
        self.tokenizer, self.generation_config = processor.tokenizer, self._pipe.model.generation_config
        self.max_context = min(max_context, longest)
        self.revision = checkpoint_revision(self._pipe)

    def start(self, deliver: Deliver, fail: Fail) -> None:
        self._batcher = ContinuousBatcher(
            self._pipe.model, deliver=deliver, fail=fail, slots=self._slots, max_context=self.max_context
        )

    def prepare(self, job: Job) -> tuple[int, Any]:
        batch = {"chats": [job.messages], "video_metadata": list(job.clips) or None}
        inputs = dict(self._pipe.preprocess(batch, do_sample_frames=False)["inputs"])
        return inputs["input_ids"].shape[1], inputs

    def add(self, name: str, prompt: Any, **how: Any) -> None:
        self._batcher.add(name, prompt, **how)

    def cancel(self, name: str) -> None:
        self._batcher.cancel(name)
