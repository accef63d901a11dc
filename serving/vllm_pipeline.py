"""vLLM where a pipeline is wanted: `caption.py` puts batches of clips in and gets captions out."""

from queue import SimpleQueue
from typing import Any

from processing.pipeline_kocap import MAX_NEW_TOKENS

from .caption_engines import EngineError
from .engine import Job
from .token_sampling import resolve_sampling
from .vllm_worker import VllmWriter

MAX_CONTEXT = 32_768  # or as much as the model can see


class VllmPipeline:
    """As much of `KoCapPipeline` as captioning files needs.

    Args:
        model: Checkpoint or LoRA adapter, folder or Hub id.
        slots: Captions at the same time.

    Raises:
        ModelError: If there is no such folder or repository, or it cannot be loaded.
        ValueError: If vLLM cannot serve it; the message says why.
    """

    def __init__(self, model: str, *, slots: int, trust_remote_code: bool = False):
        self._writer = VllmWriter(model, slots=slots, max_context=MAX_CONTEXT, trust_remote_code=trust_remote_code)
        self.max_context = self._writer.max_context
        self._written: SimpleQueue[tuple[str, list[int] | None]] = SimpleQueue()
        self._writer.start(self._take, lambda names, _: self._written.put((" ".join(names), None)))
        self.processor, self.revision = self._writer.processor, self._writer.revision

    def preprocess(self, batch: dict, **_: Any) -> dict:
        """Prompts of chats about one clip each, whose frames are already chosen."""
        jobs = [Job(chat, (clip,)) for chat, clip in zip(batch["chats"], batch["video_metadata"], strict=True)]
        return {
            "prompts": [self._writer.prepare(job) for job in jobs],
            "frame_times_s": [clip.times_s for clip in batch["video_metadata"]],
        }

    def forward(self, inputs: dict, *, max_new_tokens: int | None = None, do_sample: bool | None = None) -> dict:
        """Write all captions of a batch."""
        usual = self._writer.generation_config
        temperature = None if do_sample is None else (usual.temperature or 1.0) if do_sample else 0.0
        sampling = resolve_sampling(usual, Job([], temperature=temperature))
        wanted = max_new_tokens or usual.max_new_tokens or MAX_NEW_TOKENS
        for number, (length, prompt) in enumerate(inputs["prompts"]):
            room = self._writer.max_context - length
            if room < 1:
                raise ValueError(f"the prompt has {length} tokens; the model's context is {self._writer.max_context}.")
            self._writer.add(str(number), prompt, max_new_tokens=min(wanted, room), sampling=sampling)
        answers: dict[str, list[int]] = {}
        while len(answers) < len(inputs["prompts"]):
            name, written = self._written.get()
            if written is None:
                raise EngineError("vLLM failed; its message is above.")
            answers[name] = written
        tokens = [answers[str(number)] for number in range(len(inputs["prompts"]))]
        return {"output_ids": tokens, "frame_times_s": inputs["frame_times_s"]}

    def postprocess(self, outputs: dict) -> list[dict]:
        """Captions with the times of their frames, as `KoCapPipeline` gives them."""
        texts = self.processor.batch_decode(outputs["output_ids"], skip_special_tokens=True)
        return [
            {"generated_text": text.strip(), "frame_times_s": times_s}
            for text, times_s in zip(texts, outputs["frame_times_s"], strict=True)
        ]

    def _take(self, name: str, tokens: list[int], finished: bool) -> None:
        if finished:
            self._written.put((name, tokens))
