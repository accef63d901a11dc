"""Bundle a checkpoint for the Hugging Face Hub, and push it.

    python publish.py bundle checkpoints/kocap-tiny out/kocap-tiny
    python publish.py push checkpoints/kocap-tiny org/kocap-tiny --private

A bundle is the checkpoint with its code, and is proved to load in a clean process before it is kept or pushed. To push,
log in with `hf auth login` or set HF_TOKEN. The exit code is 1 when anything failed.
"""

import logging
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from huggingface_hub import HfApi, get_token
from huggingface_hub.utils import httpx, validate_repo_id

from serving.hub_bundle import bundle as make_bundle

# What an earlier push may have left: deleted in the same commit when the new bundle has no such file.
REPLACED = ["*_kocap.py", "model*.safetensors", "model.safetensors.index.json"]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="체크포인트를 Hub에 올릴 수 있게 묶고, 올립니다.")
Checkpoint = Annotated[Path, typer.Argument(help="모델, 토크나이저, 프로세서가 함께 저장된 체크포인트 폴더")]


@app.command()
def bundle(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="묶음을 둘 새 폴더 (이전 묶음이면 바꿔 씁니다)")],
) -> None:
    """체크포인트와 코드를 한 폴더로 묶고, 깨끗한 프로세스에서 불러와 확인합니다."""
    with _explained("bundling", "묶기"):
        typer.echo(make_bundle(checkpoint, out))


@app.command()
def push(
    checkpoint: Checkpoint,
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Hub 저장소 이름")],
    private: Annotated[bool, typer.Option("--private", help="비공개 저장소로 올립니다")] = False,
    revision: Annotated[str | None, typer.Option(help="올릴 브랜치; 없으면 만듭니다 (기본값: main)")] = None,
) -> None:
    """체크포인트를 묶어 Hub에 올리고, 주소와 커밋을 출력합니다."""
    api = HfApi()
    with _explained("pushing", "올리기"), tempfile.TemporaryDirectory() as room:
        validate_repo_id(repo)
        api.whoami()  # a missing or wrong token shows before gigabytes are copied
        folder = make_bundle(checkpoint, Path(room) / repo.split("/")[-1])
        repo = api.create_repo(repo, private=private or None, exist_ok=True).repo_id
        if private and not api.model_info(repo).private:
            raise ValueError(f"{repo} exists and is public. Make it private first, or drop --private.")
        if revision:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message="Upload KoCap bundle",
            delete_patterns=REPLACED,
        )
        typer.echo(f"{commit.repo_url}\n{commit.oid}")


@contextmanager
def _explained(doing: str, doing_ko: str) -> Iterator[None]:
    """Turn an expected failure into a message in two languages and exit code 1."""
    logging.basicConfig(format="%(message)s")
    try:
        yield
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        again = f"python {shlex.join(sys.argv)}"
        causes = "\n".join(dict.fromkeys(str(cause) for cause in (error, error.__cause__) if cause))
        typer.echo(
            f"{doing} failed: {_without_token(causes)}\n"
            f"The target's files are as they were. Once the cause is gone, repeat: {again}\n"
            f"{doing_ko}에 실패했고 대상의 파일은 그대로입니다. 원인을 해결한 뒤 다시 실행하세요: {again}",
            err=True,
        )
        raise typer.Exit(1) from None


def _without_token(text: str) -> str:
    token = get_token()
    return re.sub(r"Bearer \S+", "Bearer ***", text.replace(token, "***") if token else text)


if __name__ == "__main__":
    app()
