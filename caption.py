"""Caption video files in Korean.

    python caption.py clip.mp4
    python caption.py a.mp4 b.mp4 --frames 16 --json > captions.jsonl

Captions go to stdout, progress and problems to stderr. The exit code is 1 when any file could not be captioned.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from modeling.caption_lines import CaptionSettings, caption_batch, model_name
from modeling.captioner import EMBEDDED_MODEL, checkpoint_revision, load_captioner
from processing.video_errors_kocap import VideoError, VideoWarning
from processing.vision_tokens_kocap import CAPTION_PROMPT


def main(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="설명을 붙일 영상 파일들")],
    model: Annotated[str, typer.Option(help="체크포인트 폴더 또는 Hub 이름")] = EMBEDDED_MODEL,
    frames: Annotated[int | None, typer.Option(min=1, help="한 영상에서 볼 프레임 수 (기본값: 모델이 정한 수)")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="생성할 최대 토큰 수")] = 768,
    prompt: Annotated[str, typer.Option(help="모델에게 할 요청")] = CAPTION_PROMPT,
    scenes: Annotated[bool, typer.Option("--scenes", help="장면이 바뀌는 곳을 찾아 장면마다 한 번 이상 보기")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="한 줄에 JSON 객체 하나씩 출력")] = False,
) -> None:
    """영상을 보고 한국어로 자세히 설명합니다."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("processing").setLevel(logging.ERROR)  # warnings about files are printed in Korean below
    try:
        captioner = load_captioner(model)
    except OSError as error:
        typer.echo(f"모델을 불러올 수 없습니다: {model}\n{error}", err=True)
        raise typer.Exit(2) from None
    settings = CaptionSettings(frames, scenes, max_new_tokens, prompt)
    made_by = {"model": model_name(model), "revision": checkpoint_revision(captioner)}
    failed = False
    for video in tqdm(videos, unit="clip", disable=len(videos) == 1, file=sys.stderr):
        (captioned,) = caption_batch(captioner, [video], settings, made_by)
        line = captioned.line
        failed |= "error" in line
        for problem in captioned.problems:
            tell(video, problem)
        if as_json:
            print(json.dumps(line, ensure_ascii=False), flush=True)
        elif "caption" in line:
            print(line["caption"] if len(videos) == 1 else f"{video}\n{line['caption']}\n", flush=True)
    if failed:
        raise typer.Exit(1)


def tell(video: Path, odd: VideoError | VideoWarning) -> None:
    """Say on stderr, in both languages, what is wrong or odd about a file."""
    tqdm.write(f"{video}: [{odd.code}] {odd.message_ko}\n  {odd}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
