"""The web demo, and the entry point of a Hugging Face Space.

    python app.py
    KOCAP_MODEL=org/kocap-qwen3 GRADIO_SERVER_PORT=8000 python app.py

Listens on this machine only (127.0.0.1:7860) unless GRADIO_SERVER_NAME says otherwise, as it does on a Space.
"""

import html
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import spaces  # before torch, which it patches on ZeroGPU; elsewhere it does nothing
from gradio.themes import Default as Theme
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from corpus.scenes import sample_scene, write_clip
from modeling.captioner import EMBEDDED_MODEL, load_captioner
from processing.pipeline_kocap import KoCapPipeline
from processing.video_errors_kocap import VideoError
from processing.video_opening_kocap import source_name
from processing.vision_tokens_kocap import CAPTION_PROMPT

logger = logging.getLogger(__name__)

EXAMPLE_SEEDS = (1_500_000_000, 1_500_000_023, 1_500_000_021)  # held out: training never sees seeds this large
TINY_NOTE = (
    "지금은 작은 데모 모델이 실려 있습니다. 그림으로 그린 풍경만 배웠기 때문에 **실제로 촬영한 영상은 제대로 설명하지"
    " 못합니다.**"
)
NOTE = "모델이 쓴 설명에는 틀린 내용이 있을 수 있습니다."
FONTS = ["Pretendard", "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", "NanumGothic"]
CSS = """
h1, p, textarea { word-break: keep-all; overflow-wrap: anywhere; }
#notice:not(:has(small)) { display: none; }
#seen .grid-wrap { min-height: 0; }
#seen .grid-container { grid-template-columns: repeat(auto-fill, minmax(min(120px, 30%), 1fr)); }
#seen .thumbnail-lg { aspect-ratio: 16 / 9; }
"""
MAX_FRAMES, MAX_NEW_TOKENS = 32, 1024
MAX_WAITING = 16  # people in the queue


def make_examples(folder: Path) -> list[Path]:
    """Draw the example clips that aren't in the folder yet, a second or two each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene-{seed}.mp4" for seed in EXAMPLE_SEEDS]
    for seed, path in zip(EXAMPLE_SEEDS, paths, strict=True):
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}.part")
            write_clip(sample_scene(seed), unfinished, height=360, width=640, fps=10)
            unfinished.replace(path)
    return paths


def look(pipe: KoCapPipeline, video: str, *, num_frames: int) -> tuple[dict, list[tuple]]:
    """Decode a clip, in a process of its own, and prepare it for the model, on the CPU.

    Returns:
        What `pipe.forward` takes, and the frames for `gr.Gallery`: (uint8 `[H, W, 3]`, time) pairs.
    """
    processor: Any = pipe.processor  # typed as optional by transformers
    (frames,), metadata = processor.video_processor.fetch_videos(video, num_frames=num_frames, isolated=True)
    content = [{"type": "video", "video": frames}, {"type": "text", "text": CAPTION_PROMPT}]
    batch = {"chats": [[{"role": "user", "content": content}]], "video_metadata": metadata}
    inputs = pipe.preprocess(batch, num_frames=len(frames))
    times_s = inputs["frame_times_s"][0]
    return inputs, [(frame.permute(1, 2, 0).numpy(), f"{t:.1f}초") for frame, t in zip(frames, times_s, strict=True)]


class _Abandoned(StoppingCriteria):
    """Ends a generation that nobody listens to any more."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids.new_full((len(input_ids),), self.event.is_set()).bool()


def stream_caption(pipe: KoCapPipeline, inputs: dict, *, max_new_tokens: int) -> Iterator[str]:
    """Yield the caption as it grows, word by word; the last one is what the pipeline would return.

    Generation runs in a thread. What goes wrong there is raised here, and closing the iterator stops it.
    """
    processor: Any = pipe.processor
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    abandoned = _Abandoned()
    options = {
        "streamer": streamer,
        "stopping_criteria": StoppingCriteriaList([abandoned]),
        "max_new_tokens": max_new_tokens,
    }
    with ThreadPoolExecutor(max_workers=1) as pool:
        outputs: Future[Any] = pool.submit(pipe.forward, inputs, **options)
        outputs.add_done_callback(lambda _: streamer.text_queue.put(streamer.stop_signal))  # also after an error
        try:
            caption = ""
            for piece in streamer:
                caption += piece
                yield caption.lstrip()
        finally:
            abandoned.event.set()
    yield pipe.postprocess(outputs.result())[0]["generated_text"]


def make_describe(pipe: KoCapPipeline) -> Callable[..., Iterator[tuple]]:
    """The function behind the button: (video, frames, tokens) to growing captions, frames seen, what is odd."""

    @spaces.GPU
    def generate(inputs: dict, max_new_tokens: int) -> Iterator[str]:  # a closure: ZeroGPU pickles arguments
        yield from stream_caption(pipe, inputs, max_new_tokens=max_new_tokens)

    def describe(video: str | None, num_frames: int, max_new_tokens: int) -> Iterator[tuple]:
        if video is None:
            raise user_error("영상을 올리거나 예시를 고른 다음 눌러 주세요.", "No video was given.")
        yield "", [], ""
        try:
            inputs, seen = look(pipe, video, num_frames=int(num_frames))
            odd = "<br>".join(bilingual(warning.message_ko, str(warning)) for warning in inputs["warnings"][0])
            yield "", seen, odd
            caption = ""
            for caption in generate(inputs, int(max_new_tokens)):
                yield caption, gr.skip(), gr.skip()
            yield caption, seen, odd  # whole once more: API clients get the last value
        except Exception as error:
            problem = explain(error, video)
            yield "", gr.skip(), problem.message  # stays on the page; pop-ups may go after a few seconds
            raise problem from error

    return describe


def explain(error: Exception, video: str) -> gr.Error:
    """What a user is told when something went wrong: no folders, no stack trace."""
    if isinstance(error, VideoError):
        english = str(error).replace(source_name(video), repr(Path(video).name))
        return user_error(f"[{error.code}] {error.message_ko}", english)
    logger.error("captioning failed", exc_info=error)
    return user_error(
        "[E_GENERATE] 설명을 만들다가 문제가 생겼습니다. 프레임 수를 줄이거나 잠시 뒤에 다시 해 주세요.",
        f"E_GENERATE: captioning failed with {type(error).__name__}. Try fewer frames, or again later.",
    )


def bilingual(korean: str, english: str) -> str:
    """A message in both languages, as HTML."""
    return f"{html.escape(korean, quote=False)}<br><small>{html.escape(english, quote=False)}</small>"


def user_error(korean: str, english: str) -> gr.Error:
    """What Gradio's pop-ups show."""
    return gr.Error(bilingual(korean, english), title="오류", duration=None, print_exception=False)


def build_demo(pipe: KoCapPipeline, examples: Sequence[Path], *, note: str = NOTE) -> gr.Blocks:
    """The page, not yet launched."""
    processor: Any = pipe.processor
    num_frames = processor.video_processor.num_frames or 8
    num_tokens = min(pipe.model.generation_config.max_new_tokens or 768, MAX_NEW_TOKENS)
    with gr.Blocks(title="KoCap · 영상을 한국어로", analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.Markdown(f"# KoCap · 영상을 한국어로 설명합니다\n\n{note}")
        with gr.Row():
            with gr.Column():
                video = gr.Video(label="영상", sources=["upload"], height=300)
                gr.Examples([[str(path)] for path in examples], inputs=[video], label="예시 영상")
                button = gr.Button("설명 만들기", variant="primary", size="lg")
                with gr.Accordion("설정", open=False):
                    frames = gr.Slider(1, MAX_FRAMES, num_frames, step=1, label="모델이 볼 프레임 수")
                    tokens = gr.Slider(16, MAX_NEW_TOKENS, num_tokens, step=16, label="설명의 최대 길이 (토큰)")
            with gr.Column():
                notice = gr.HTML(elem_id="notice")
                caption = gr.Textbox(
                    label="설명", lines=8, max_lines=24, buttons=["copy"], placeholder="설명이 여기에 나타납니다."
                )
                seen = gr.Gallery(
                    label="모델이 본 장면", elem_id="seen", height="auto", object_fit="contain", buttons=[]
                )
        button.click(
            make_describe(pipe),
            [video, frames, tokens],
            [caption, seen, notice],
            api_name="describe",
            show_progress_on=caption,
        )
    return demo.queue(max_size=MAX_WAITING)


def main() -> None:
    """Load the model, draw the examples, open the page."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = os.environ.get("KOCAP_MODEL", EMBEDDED_MODEL)
    try:
        pipe = load_captioner(model)
    except OSError as error:
        sys.exit(f"모델을 불러올 수 없습니다: {model}\n{error}")
    examples = make_examples(Path(tempfile.gettempdir()) / "kocap-examples")
    demo = build_demo(pipe, examples, note=TINY_NOTE if model == EMBEDDED_MODEL else NOTE)
    theme = Theme(font=[*FONTS, "sans-serif"], font_mono=["monospace"])
    demo.launch(theme=theme, css=CSS, footer_links=["api", "gradio", "settings"], max_file_size="512mb")


if __name__ == "__main__":
    main()
