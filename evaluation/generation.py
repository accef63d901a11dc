"""Captions for every clip of a data set, in a file that a killed run can go on with.

    {"id": "a", "file": "/data/a.mp4", "caption": "...", "model": "...", "revision": "...", "settings": {...}, ...}

A clip that cannot be read gets a line with `error` in place of `caption`. To caption a clip again, delete its line.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from corpus.records import Record, RecordError
from modeling.caption_lines import CaptionLine, CaptionSettings, caption_videos
from modeling.caption_runs import caption_missing
from modeling.captioner import describe_captioner
from modeling.clip_reading import Clip
from processing.pipeline_kocap import KoCapPipeline
from processing.vision_tokens_kocap import CAPTION_PROMPT


def caption_records(
    pipe: KoCapPipeline,
    records: Sequence[Record],
    path: Path,
    settings: CaptionSettings,
    *,
    model: str | None = None,
    batch_size: int = 8,
    workers: int = 0,
    progress: Callable[..., Iterable[CaptionLine]] = lambda lines, **_: lines,
) -> Iterator[CaptionLine]:
    """Append a line for every record that `path` has none for yet; a line is on disk before it is yielded.

    Args:
        model: What `load_captioner` was given; the pipeline itself knows only an adapter's base.
        batch_size: Clips per forward pass, fewer where memory does not suffice.
        workers: Clips that are decoded at once ahead of the model; 0: when asked.
        progress: Wraps the lines, with `total` and `initial` as `tqdm` takes them.
    Raises:
        RecordError: If a record is about an image; nothing is written then.
        CaptionFileError: See `caption_missing`.
    """
    for record in records:
        if record.medium != "video":
            raise RecordError(
                f"record {record.id!r} is about an {record.medium}, and only videos are captioned here; leave it out",
                f"레코드 {record.id!r}은(는) 영상이 아니라 이미지입니다. 이 행을 빼 주세요.",
            )
    made_by = describe_captioner(pipe, model)
    caption = partial(caption_videos, pipe, settings=settings, made_by=made_by, batch_size=batch_size, workers=workers)
    clips = [Clip(record.video, record.id) for record in records]
    made_alike = {**made_by, "settings": settings.as_said(pipe.processor)}
    yield from caption_missing(clips, path, made_alike, caption, progress=progress)


def caption_clips(
    pipe: KoCapPipeline,
    clips: Sequence,
    *,
    prompt: str = CAPTION_PROMPT,
    max_new_tokens: int = 256,
    batch_size: int = 25,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[str]:
    """Greedy captions, or answers to another prompt.

    Args:
        clips: Whatever the pipeline takes as a clip: frames, paths, bytes.
        progress: Wraps the batches, e.g. `tqdm`.
    """
    options = {"do_sample": False, "max_new_tokens": max_new_tokens}
    captions = []
    for start in progress(range(0, len(clips), batch_size)):
        batch = list(clips[start : start + batch_size])
        results = pipe(batch, prompt, batch_size=len(batch), generate_kwargs=options)
        captions += [result["generated_text"] for result in results]
    return captions
