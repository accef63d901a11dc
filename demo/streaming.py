"""A caption as it grows, and how its writing is stopped."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from processing.pipeline_kocap import KoCapPipeline

from .writing import Writing

GPU_START_S, GPU_FRAME_S, GPU_TOKEN_S = 10, 0.25, 0.06  # of an 8B model in bfloat16, generously
GPU_MOST_S = 120  # ZeroGPU grants no more to visitors


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
