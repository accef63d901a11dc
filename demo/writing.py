"""A caption as it grows: how it is written, and how its writing is stopped."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from modeling.subtitles import split_sentences
from processing.pipeline_kocap import KoCapPipeline

GPU_START_S, GPU_FRAME_S, GPU_TOKEN_S = 10, 0.25, 0.06  # of an 8B model in bfloat16, generously
GPU_MOST_S = 120  # ZeroGPU grants no more to visitors


@dataclass(frozen=True)
class Writing:
    """How a caption is written.

    Args:
        temperature: 0 takes the likeliest token each time.
        max_sentences: Stop after that many; None: when the model ends.
    Raises:
        ValueError: If a number is out of range.
    """

    max_new_tokens: int = 768
    temperature: float = 0.0
    max_sentences: int | None = None

    def __post_init__(self) -> None:
        max_sentences = 1 if self.max_sentences is None else self.max_sentences
        if min(self.max_new_tokens, max_sentences) < 1 or self.temperature < 0:
            raise ValueError(f"{self}: tokens and sentences must be >= 1 and the temperature >= 0.")

    def options(self) -> dict[str, Any]:
        """For `generate`."""
        sampled = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        return {"max_new_tokens": self.max_new_tokens, **sampled}

    def cut(self, text: str) -> str:
        """The first `max_sentences` sentences of a text."""
        return " ".join(split_sentences(text)[: self.max_sentences]) if self.max_sentences else text

    def is_enough(self, text: str) -> bool:
        """Whether a growing text has all its sentences: the next one has begun."""
        return self.max_sentences is not None and len(split_sentences(text)) > self.max_sentences


def gpu_seconds(inputs: dict, writing: Writing) -> int:
    """How long ZeroGPU should lend a GPU for this: it ends what takes longer, and counts it against the visitor."""
    num_frames = len(inputs["frame_times_s"][0])
    return min(GPU_MOST_S, round(GPU_START_S + GPU_FRAME_S * num_frames + GPU_TOKEN_S * writing.max_new_tokens))


class _Stop(StoppingCriteria):
    """Ends a generation that nobody needs any more."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids.new_full((len(input_ids),), self.event.is_set()).bool()


def stream_caption(pipe: KoCapPipeline, inputs: dict, writing: Writing) -> Iterator[str]:
    """Yield the caption as it grows, word by word; the last one is what the pipeline would return.

    Generation runs in a thread. What goes wrong there is raised here, and closing the iterator stops it.
    """
    processor: Any = pipe.processor
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    stop = _Stop()
    options = {"streamer": streamer, "stopping_criteria": StoppingCriteriaList([stop]), **writing.options()}
    with ThreadPoolExecutor(max_workers=1) as pool:
        outputs: Future[Any] = pool.submit(pipe.forward, inputs, **options)
        outputs.add_done_callback(lambda _: streamer.text_queue.put(streamer.stop_signal))  # also after an error
        try:
            caption = ""
            for piece in streamer:
                caption += piece
                if writing.is_enough(caption):
                    break
                yield caption.lstrip()
        finally:
            stop.event.set()
    yield writing.cut(pipe.postprocess(outputs.result())[0]["generated_text"])
