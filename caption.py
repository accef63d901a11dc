"""Caption video files in Korean.

    python caption.py clip.mp4
    python caption.py a.mp4 b.mp4 --frames 16 --json > captions.jsonl
    python caption.py videos --out captions.jsonl --subtitles srt
    python caption.py videos --out captions.jsonl --engine vllm --batch-size 64     # where requirements-vllm.txt is
    python caption.py videos --out captions.jsonl --ray     # on many machines, where requirements-ray.txt is

Captions go to stdout, progress and problems to stderr. With --out, folders and patterns are captioned at full speed
into a file of JSON lines; a run that was stopped or killed goes on when started again (docs/captioning.md). The exit
code is 1 when any file could not be captioned, 2 when none was tried.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from configuration.script_endings import coded_ending, exiting_with, quiet_until_main

if __name__ == "__main__":
    quiet_until_main()

import typer
from tqdm import tqdm

from configuration.coded_errors_kocap import Notice
from configuration.disk_writing import check_writable
from configuration.script_endings import TRUST_HELP
from corpus.clip_files import FoundClips, LeftOut, NoVideosError, find_clips
from corpus.records import CaptionFileError, read_rows
from modeling.caption_lines import CaptionLine, CaptionSettings, CaptionSettingsError, caption_videos
from modeling.caption_runs import caption_missing, check_name, count_lines
from modeling.checkpoint_names import EMBEDDED_MODEL
from modeling.clip_reading import Clip, usual_workers
from modeling.subtitle_files import SubtitleFiles, SubtitleKind
from processing.video_errors_kocap import VideoError, VideoWarning
from processing.video_limits_kocap import Limits
from processing.vision_tokens_kocap import CAPTION_PROMPT
from serving.caption_engines import ClusterError, Engine, load_engine

Loaded = tuple[Any, dict[str, Any]]  # of `load_engine`
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help=TRUST_HELP)]
Job = tuple[dict[str, Any], Callable[[Sequence[Clip]], Iterable[CaptionLine]]]  # for `caption_missing`
NAMED = 5  # files that the summary names per code
SHOWN = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"  # clip/s, however slow
BAR = partial(tqdm, desc="설명", unit="clip", smoothing=0.1, bar_format=SHOWN)


@coded_ending(failed=2, interrupted="--out을 주었다면 같은 명령을 다시 실행해 이어서 할 수 있습니다.")
def main(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="영상 파일들. --out을 주면 폴더와 패턴도")],
    model: Annotated[str, typer.Option(help="체크포인트 폴더 또는 Hub 이름")] = EMBEDDED_MODEL,
    frames: Annotated[
        int | None, typer.Option(help=f"한 영상에서 볼 프레임 수, 1~{Limits.max_frames} (기본값: 모델이 정한 수)")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="생성할 최대 토큰 수")] = 768,
    prompt: Annotated[str, typer.Option(help="모델에게 할 요청")] = CAPTION_PROMPT,
    scenes: Annotated[bool, typer.Option("--scenes", help="장면이 바뀌는 곳을 찾아 장면마다 한 번 이상 보기")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="한 줄에 JSON 객체 하나씩 출력")] = False,
    out: Annotated[Path | None, typer.Option(help="설명을 이어 쓸 파일(.jsonl)", dir_okay=False)] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="--out: 한 번에 볼 영상 수")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="--out: 영상을 미리 읽을 프로세스 수")] = usual_workers(),
    subtitles: Annotated[SubtitleKind | None, typer.Option(help="--out: 영상 옆에 쓸 자막의 형식")] = None,
    engine: Annotated[
        Engine, typer.Option(help="--out: 설명을 쓰는 엔진; vllm은 requirements-vllm.txt의 환경에서")
    ] = "transformers",
    trust_remote_code: TrustRemoteCode = False,
    on_ray: Annotated[bool, typer.Option("--ray", help="--out: Ray 클러스터에서 (docs/captioning.md)")] = False,
) -> None:
    """영상을 보고 한국어로 자세히 설명합니다."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("processing").setLevel(logging.ERROR)  # warnings about files are printed in Korean below
    settings = CaptionSettings(frames, scenes, max_new_tokens, prompt)
    if out is None and (subtitles or on_ray):
        raise CaptionSettingsError("--subtitles and --ray need --out.", "--subtitles와 --ray에는 --out도 주세요.")
    if out is None:
        load = partial(load_engine, model, "transformers", slots=1, trust_remote_code=trust_remote_code)
        failed = caption_here(load, videos, settings, as_json=as_json)
    else:
        check_name(out)
        check_writable(out)
        found = find(videos, out)
        make = caption_on_cluster if on_ray else partial(caption_locally, workers=workers)
        options = {"batch_size": batch_size, "trust_remote_code": trust_remote_code}
        made_by, lines_of = make(model, settings, engine, **options)
        run = caption_missing([Clip(path) for path in found.paths], out, made_by, lines_of, progress=BAR)
        with exiting_with(1, unless=CaptionFileError):
            failed = follow(run, out, SubtitleFiles(subtitles, found.paths) if subtitles else None)
        failed |= any(left_out.severity == "error" for left_out in found.left_out)
    if failed:
        raise typer.Exit(1)


def caption_here(
    load: Callable[[], tuple[Any, dict[str, Any]]], videos: Sequence[Path], settings: CaptionSettings, *, as_json: bool
) -> bool:
    """Caption files one by one onto stdout; says whether one of them failed."""
    (pipe, made_by), clips, failed = load(), [Clip(str(video)) for video in videos], False
    tell_notices(settings.check(pipe))
    lines = caption_videos(pipe, clips, settings, made_by)
    for captioned in tqdm(lines, total=len(clips), unit="clip", disable=len(clips) == 1, file=sys.stderr):
        line = captioned.line
        failed |= "error" in line
        tell_problems(captioned)
        if as_json:
            print(json.dumps(line, ensure_ascii=False), flush=True)
        elif "caption" in line:
            print(line["caption"] if len(clips) == 1 else f"{line['file']}\n{line['caption']}\n", flush=True)
    if any(video.is_dir() for video in videos):
        typer.echo("폴더에 든 영상을 보려면 --out captions.jsonl을 함께 주세요.", err=True)
    return failed


def find(videos: Sequence[Path], out: Path) -> FoundClips:
    """Find the clips to caption; what was left out is told."""
    found = find_clips(videos, output=out)
    for left_out in found.left_out:
        tell(left_out.path, left_out)
    if found.num_others:
        typer.echo(f"폴더에 있는 다른 파일 {found.num_others}개는 영상이 아니라 보지 않습니다.", err=True)
    if not found.paths:
        raise NoVideosError("there are no video files; check the names.")
    return found


def caption_locally(
    model: str,
    settings: CaptionSettings,
    engine: Engine,
    *,
    batch_size: int,
    workers: int,
    trust_remote_code: bool,
) -> Job:
    """What every line says of where it comes from, and what makes the lines, in this process."""
    pipe, made_by = load_engine(model, engine, slots=batch_size, trust_remote_code=trust_remote_code)
    tell_notices(settings.check(pipe))
    options = {"batch_size": batch_size, "workers": workers}
    lines_of = partial(caption_videos, pipe, settings=settings, made_by=made_by, **options)
    return {**made_by, "settings": settings.as_said(pipe.processor)}, lines_of


def caption_on_cluster(
    model: str, settings: CaptionSettings, engine: Engine, *, batch_size: int, trust_remote_code: bool
) -> Job:
    """The same on a Ray cluster."""
    try:
        from serving.caption_fleet import CaptionFleet  # where Ray is
    except ImportError as error:
        told = "Ray가 없습니다: pip install -r requirements-ray.txt"
        raise ClusterError(f"--ray needs Ray ({error}).", told) from None
    fleet = CaptionFleet(model, settings, engine, batch_size=batch_size, trust_remote_code=trust_remote_code)
    tell_notices(fleet.notices)
    return fleet.made_by, fleet.caption


def follow(run: Iterator[CaptionLine], out: Path, subtitles: SubtitleFiles | None) -> bool:
    """Go through a run, tell what is wrong, write subtitles, sum up; says whether anything failed."""
    problems: list[VideoWarning] = []
    for captioned in run:
        tell_problems(captioned)
        if subtitles and (problem := subtitles.write(captioned.line)):
            tell(captioned.line["file"], problem)
            problems.append(problem)
    if subtitles:
        for problem in subtitles.write_rest(row for _, row in read_rows(out)):
            tell(out, problem)
            problems.append(problem)
    num_captions, failures = count_lines(out)
    typer.echo(f"{out}: 설명 {num_captions}개, 실패 {sum(map(len, failures.values()))}개", err=True)
    for code, files in sorted(failures.items()):
        more = f" 외 {len(files) - NAMED}개" if len(files) > NAMED else ""
        typer.echo(f"  {code} {len(files)}개: {', '.join(files[:NAMED])}{more}", err=True)
    return bool(failures) or any(problem.severity == "error" for problem in problems)


def tell_problems(captioned: CaptionLine) -> None:
    """Say on stderr what is wrong or odd about a clip's file."""
    for problem in captioned.problems:
        tell(captioned.line["file"], problem)


def tell_notices(notices: Sequence[Notice]) -> None:
    """Say on stderr what may go wrong with the settings."""
    for notice in notices:
        tell("caption.py", notice)


def tell(video: str | Path, odd: VideoError | Notice | LeftOut) -> None:
    """Say on stderr, in both languages, what is wrong or odd about a file."""
    tqdm.write(f"{video}: [{odd.code}] {odd.message_ko}\n  {odd}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
