"""Bundle a checkpoint for the Hugging Face Hub, push it, or push, merge and check an adapter.

    python publish.py bundle checkpoints/kocap-tiny out/kocap-tiny
    python publish.py push checkpoints/kocap-tiny org/kocap-tiny --private
    python publish.py push out/adapter org/kocap-lora --base org/kocap-tiny
    python publish.py merge out/adapter out/merged
    python publish.py check out/adapter

A bundle is the checkpoint with its code, and is proved to load in a clean process before it is kept or pushed. An
adapter carries no code and pins the commit of its base. To push, log in with `hf auth login` or set HF_TOKEN. The exit
code is 1 when anything failed, and of `check` when vLLM cannot serve the folder.
"""

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

from configuration.script_endings import coded_ending, quiet_until_main

if __name__ == "__main__":
    quiet_until_main()

import typer

from serving.hub_bundle import BundleError
from serving.hub_bundle import bundle as make_bundle
from serving.hub_push import push_adapter, push_checkpoint
from serving.vllm_preflight import check_folder

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="체크포인트나 어댑터를 Hub에 올리고, 합치고, vLLM으로 서비스할 수 있는지 확인합니다.",
)
Checkpoint = Annotated[Path, typer.Argument(help="모델, 토크나이저, 프로세서가 함께 저장된 체크포인트 폴더")]
Out = Annotated[Path, typer.Argument(help="묶음을 둘 새 폴더 (이전 묶음이면 바꿔 씁니다)")]


def again() -> str:
    """What holds after every failure, in both languages."""
    command = f"python {shlex.join(sys.argv)}"
    return (
        f"대상의 파일은 그대로입니다. 원인을 해결한 뒤 다시 실행해 주세요: {command}\n"
        f"  The target's files are as they were. Once the cause is gone, repeat: {command}"
    )


@app.command()
@coded_ending(again=again)
def bundle(checkpoint: Checkpoint, out: Out) -> None:
    """체크포인트와 코드를 한 폴더로 묶고, 깨끗한 프로세스에서 불러와 확인합니다."""
    typer.echo(make_bundle(checkpoint, out))


@app.command()
@coded_ending()  # a `PushError` says itself how to repeat it
def push(
    folder: Annotated[Path, typer.Argument(help="체크포인트 폴더, 또는 어댑터 폴더")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Hub 저장소 이름")],
    private: Annotated[bool, typer.Option("--private", help="비공개 저장소로 올립니다")] = False,
    revision: Annotated[str | None, typer.Option(help="올릴 브랜치; 없으면 만듭니다 (기본값: main)")] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME[@COMMIT]", help="어댑터의 기반 모델; 로컬 폴더에서 학습한 어댑터에 필요합니다"),
    ] = None,
) -> None:
    """체크포인트는 코드와 묶어서, 어댑터는 코드 없이 Hub에 올리고, 주소와 커밋을 출력합니다."""
    if (folder / "adapter_config.json").is_file():
        pushed = push_adapter(folder, repo, base=base, private=private, revision=revision)
    elif base:
        raise BundleError(
            f"{folder} holds no adapter_config.json; --base is for adapters. Drop it.",
            "--base는 어댑터에만 씁니다. 빼 주세요.",
        )
    else:
        pushed = push_checkpoint(folder, repo, private=private, revision=revision)
    typer.echo(f"{pushed.url}\n{pushed.commit}")


@app.command()
@coded_ending(again=again)
def merge(
    adapter: Annotated[str, typer.Argument(help="어댑터 폴더 또는 Hub 이름")],
    out: Out,
    base: Annotated[
        str | None,
        typer.Option(metavar="FOLDER_OR_ID", help="기반 모델 (기본값: 어댑터에 적힌 것, 고정된 커밋)"),
    ] = None,
) -> None:
    """어댑터를 기반 모델에 합쳐 코드까지 갖춘 체크포인트를 씁니다.

    vLLM은 DoRA와 WaveFT(wavelet) 어댑터를 받지 않으므로, 서비스하기 전에 반드시 합쳐야 합니다. 4비트로 학습한
    어댑터(qlora, qdora)는 양자화하지 않은 기반 모델에 합칩니다.
    """
    from serving.adapter_merge import merge as merge_adapter  # torch and PEFT: seconds that the others need not wait

    typer.echo(merge_adapter(adapter, out, base=base))


@app.command()
@coded_ending(again=again)
def check(
    folder: Annotated[Path, typer.Argument(help="체크포인트 폴더, 또는 어댑터 폴더")],
) -> None:
    """vLLM으로 서비스할 수 있는지 확인하고, 안 되면 이유와 해결 방법을 알려 줍니다."""
    report = check_folder(folder)
    for finding in report.findings:
        typer.echo(f"{'✗' if finding.blocks else '!'} {finding.code}: {finding.message_ko}")
    if not report.servable:
        typer.echo("vLLM으로 서비스할 수 없습니다.")
        raise typer.Exit(1)
    typer.echo(f"vLLM으로 서비스할 수 있습니다:\n{report.command}")


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    app()
