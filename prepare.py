"""Make records to train on: from AI-Hub's videos, or from generated scenes.

    python prepare.py aihub DOWNLOADED data/aihub
    python prepare.py scenes data/scenes --count 1000 --seed 0

Both write train.jsonl and val.jsonl, and go on where a run before stopped. Everything they say goes to stderr. The exit
code is 1 when something was wrong, 130 after Ctrl-C.
"""

import time
from pathlib import Path
from typing import Annotated

from configuration.script_endings import coded_ending, quiet_until_main

if __name__ == "__main__":
    quiet_until_main()

import typer

GO_ON = "같은 명령을 다시 실행하면 이어서 만듭니다."
app = typer.Typer(help="학습 자료를 만듭니다.", no_args_is_help=True, add_completion=False)
OutputFolder = Annotated[Path, typer.Argument(metavar="OUT", help="결과를 쓸 폴더", file_okay=False)]
ValShare = Annotated[float, typer.Option(min=0, max=1, help="검증용(val.jsonl)으로 떼어 둘 비율")]
Workers = Annotated[int, typer.Option(min=0, help="동시에 일할 프로세스 수 (0: 모든 코어)")]


@app.command()
@coded_ending(interrupted=GO_ON)
def aihub(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="AI-Hub에서 내려받은 폴더", exists=True)],
    output: OutputFolder,
    caption_key: Annotated[
        str | None, typer.Option(help="설명문이 들어 있는 항목 이름 (기본값: 자동으로 찾기)")
    ] = None,
    val_share: ValShare = 0.1,
    seed: Annotated[int, typer.Option(help="학습용과 검증용을 나눌 때 쓰는 난수의 씨앗")] = 0,
    workers: Workers = 0,
    tokenizer: Annotated[
        str | None, typer.Option(help="Qwen3의 tokenizer.json이 있는 폴더 (없으면 토큰 수를 어림합니다)")
    ] = None,
    link: Annotated[bool, typer.Option("--link/--copy", help="영상을 복사하지 않고 링크로 연결하기")] = True,
) -> None:
    """AI-Hub 데이터를 학습 자료로 바꿉니다."""
    from corpus.aihub_conversion import AihubSettings, convert  # a command loads only what it needs
    from corpus.data_report import COUNTS_KO

    options = {"caption_key": caption_key, "workers": workers, "val_share": val_share, "seed": seed}
    result = convert(AihubSettings(source, output, link=link, tokenizer=tokenizer, **options))
    for name, count in result.counts.items():
        typer.echo(f"{COUNTS_KO[name]}: {count:,}", err=True)
    typer.echo(f"보고서: {result.report}", err=True)


@app.command()
@coded_ending(interrupted=GO_ON)
def scenes(
    output: OutputFolder,
    count: Annotated[int, typer.Option(min=1, help="장면 수")],
    seed: Annotated[int, typer.Option(min=0, help="첫 장면의 번호; 다음 장면은 1씩 커집니다")] = 0,
    val_share: ValShare = 0.1,
    workers: Workers = 0,
) -> None:
    """그려 낸 장면의 영상과 설명을 만듭니다. 중간에 멈췄으면 이어서 만듭니다."""
    from corpus.scene_records import SceneSettings, write_scenes

    started = time.monotonic()
    counts = write_scenes(SceneSettings(output, count, seed, val_share, workers), show_progress=True)
    elapsed_s = time.monotonic() - started
    typer.echo(
        f"영상 {counts['drawn']:,}개를 {elapsed_s:.1f}초에 만들었습니다(초당 {counts['drawn'] / elapsed_s:.2f}개)."
        f" {output}: train {counts['train']:,}행, val {counts['val']:,}행",
        err=True,
    )


if __name__ == "__main__":
    app()
