"""Serve a checkpoint over an OpenAI-compatible API.

    python serve.py
    python serve.py --model org/kocap-qwen3 --host 0.0.0.0 --api-key secret --media-domain videos.example.org
    python serve.py --model org/kocap-qwen3 --engine vllm       # in the environment of requirements-vllm.txt

Listens on this machine only (127.0.0.1:8000) unless told otherwise. One line of JSON per request goes to stderr,
without anything that users sent. The exit code is 2 when the model cannot be loaded. See docs/serving.md.
"""

import asyncio
import ipaddress
import signal
import sys
from functools import partial
from typing import Annotated, Literal

from configuration.script_endings import TRUST_HELP, coded_ending, quiet_until_main

if __name__ == "__main__":
    quiet_until_main()

import typer

from modeling.checkpoint_loading import load_processor
from modeling.checkpoint_names import EMBEDDED_MODEL, model_name
from serving import transformers_worker, vllm_worker
from serving.engine_process import ProcessEngine
from serving.gateway import Gateway, build_gateway
from serving.gateway_server import make_server
from serving.gateway_settings import LOOPBACK_NAMES, GatewaySettings
from serving.json_log import log_json_lines

ENGINES = {"transformers": transformers_worker.serve, "vllm": vllm_worker.serve}


@coded_ending(failed=2)
def main(
    model: Annotated[str, typer.Option(help="체크포인트 폴더 또는 Hub 이름")] = EMBEDDED_MODEL,
    engine: Annotated[
        Literal["transformers", "vllm"], typer.Option(help="답을 쓰는 엔진; vllm은 requirements-vllm.txt의 환경에서")
    ] = "transformers",
    host: Annotated[str, typer.Option(help="기다릴 주소")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="기다릴 포트")] = 8000,
    api_key: Annotated[str | None, typer.Option(envvar="KOCAP_API_KEY", help="요청마다 확인할 키")] = None,
    slots: Annotated[int, typer.Option(min=1, help="한꺼번에 쓸 답의 수")] = 8,
    queue: Annotated[int, typer.Option(min=0, help="그 밖에 기다릴 수 있는 요청의 수")] = 50,
    per_client: Annotated[
        int | None, typer.Option(min=1, help="그중 한 IP 주소가 한꺼번에 보낼 수 있는 요청의 수 (기본값: 합의 4/5)")
    ] = None,
    readers: Annotated[int, typer.Option(min=1, help="한꺼번에 읽을 영상과 그림의 수")] = 2,
    max_context: Annotated[int, typer.Option(min=64, help="질문과 답을 합한 최대 토큰 수")] = 4096,
    timeout: Annotated[float, typer.Option(min=1, help="한 요청에 쓸 최대 시간(초)")] = 300.0,
    media_domain: Annotated[
        list[str] | None,
        typer.Option(help="영상을 가져와도 되는 https 서버, 이름 또는 이름:포트 (여러 번 쓸 수 있음)"),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="브라우저에서 이 서버를 불러도 되는 웹 페이지, 예: https://app.example.org (여러 번 쓸 수 있음)"
        ),
    ] = None,
    media_network: Annotated[
        list[str] | None, typer.Option(help="그 서버가 있어도 되는 사설망, 예: 10.1.0.0/16")
    ] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help=TRUST_HELP)] = False,
) -> None:
    """영상을 한국어로 설명하는 API 서버를 엽니다."""
    is_local = host in LOOPBACK_NAMES
    if not is_local and not api_key:
        typer.echo(
            "다른 컴퓨터에 여는 서버에는 API 키가 필요합니다: --api-key 또는 KOCAP_API_KEY\n"
            "A server that others can reach needs a key: --api-key or KOCAP_API_KEY",
            err=True,
        )
        raise typer.Exit(2)
    log_json_lines()
    settings = GatewaySettings(
        api_key=api_key,
        slots=slots,
        queue=queue,
        per_client=per_client,
        readers=readers,
        request_timeout_s=timeout,
        media_domains=tuple(domain.lower() for domain in media_domain or ()),
        media_networks=tuple(map(network, media_network or ())),
        allow_origins=tuple(origin.rstrip("/") for origin in allow_origin or ()),
        hosts=LOOPBACK_NAMES if is_local else ("*",),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn hands it on when everything inside is finished
    options = {"host": host, "port": port, "max_context": max_context, "trust_remote_code": trust_remote_code}
    asyncio.run(serve(model, settings, engine=engine, **options))


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """`10.1.0.0/16` and the like; anything else is a mistake on the command line."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(f"--media-network: {error}") from None


async def serve(
    model: str,
    settings: GatewaySettings,
    *,
    engine: str,
    host: str,
    port: int,
    max_context: int,
    trust_remote_code: bool = False,
) -> None:
    """Start the engine, then answer until told to stop."""
    processor = load_processor(model, trust_remote_code=trust_remote_code)
    start = partial(ENGINES[engine], trust_remote_code=trust_remote_code)
    writing = ProcessEngine(start, model, slots=settings.slots, max_context=max_context)
    try:
        await writing.start()
        gateway = Gateway(writing, model_name(model), processor.video_processor, settings)
        server = make_server(build_gateway(gateway), settings, host=host, port=port)
        await server.serve()
    finally:
        await writing.close()


if __name__ == "__main__":
    typer.run(main)
