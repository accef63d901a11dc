"""Whether vLLM can serve a folder, and if not, why and what to do.

The rules are those of vLLM's `lora/peft_helper.py`, `lora/lora_model.py` and `config/lora.py` (0.32), and what its
Transformers backend needs of a repository with code. Only settings and tensor names are read; no model is built.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import httpx
from safetensors import safe_open

from .hub_bundle import matches

DEFAULT_LORA_RANK = 16
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
# These begin with a changed base (W - BA): their A and B mean nothing on the base as it is published.
CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# vLLM reads `r` and `lora_alpha` alone and would serve other captions without a word.
UNREAD = ("rank_pattern", "alpha_pattern", "layer_replication", "target_parameters", "trainable_token_indices")
UNREAD += ("use_qalora", "alora_invocation_tokens", "arrow_config", "use_bdlora")
PLAIN_TENSOR = re.compile(r"base_model\.model\.(?:model\.)?language_model\..+\.lora_[AB]\.weight")
MERGE_KO = "publish.py merge로 기반 모델에 합친 뒤 합친 폴더를 서비스하세요."


@dataclass(frozen=True)
class Finding:
    """One thing to know before serving.

    Attributes:
        code: Stable name.
        message_ko: What is wrong and the way out.
        blocks: Whether vLLM cannot serve the folder as it is.
    """

    code: str
    message_ko: str
    blocks: bool = True


@dataclass(frozen=True)
class Preflight:
    """Attributes:
    findings: Empty when there is nothing to say.
    command: How to serve it; "" when it cannot be.
    """

    findings: tuple[Finding, ...]
    command: str

    @property
    def servable(self) -> bool:
        return not any(finding.blocks for finding in self.findings)


@dataclass(frozen=True)
class _Source:
    """A checkpoint's config and file names, from a folder or from the Hub."""

    config: dict
    names: frozenset[str]


def check_folder(folder: Path) -> Preflight:
    """Check an adapter or a checkpoint.

    Raises:
        ValueError: If the folder is neither.
    """
    if (folder / "adapter_config.json").is_file():
        return _check_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has neither config.json nor adapter_config.json; give a checkpoint or an adapter.")
    findings = tuple(_check_checkpoint(_read_folder(folder), str(folder)))
    servable = not any(finding.blocks for finding in findings)
    return Preflight(findings, _command(str(folder)) if servable else "")


def _check_adapter(folder: Path) -> Preflight:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    findings = (*_check_settings(config), *_check_tensors(folder), *_check_base(config))
    if any(finding.blocks for finding in findings):
        return Preflight(findings, "")
    options = ["--enable-lora", "--lora-modules", f"{folder.resolve().name}={folder}"]
    if config["r"] > DEFAULT_LORA_RANK:
        options += ["--max-lora-rank", str(lora_rank(config["r"]))]
    revision = str(config["revision"])
    pinned = [] if revision.startswith("sha256:") else ["--revision", revision, "--code-revision", revision]
    return Preflight(findings, _command(config["base_model_name_or_path"], *pinned, *options))


def _command(model: str, *options: str) -> str:
    return shlex.join(["vllm", "serve", model, "--trust-remote-code", *options])


def lora_rank(rank: int) -> int:
    """The smallest `--max-lora-rank` that takes an adapter of this rank."""
    return next(allowed for allowed in LORA_RANKS if allowed >= rank)


def _check_settings(config: dict) -> Iterator[Finding]:
    sort = str(config.get("peft_type", "")).upper()
    if sort != "LORA":
        yield Finding("peft_type", f"어댑터 종류가 {sort}입니다. vLLM은 LoRA만 받습니다. {MERGE_KO}")
        return
    if config.get("use_dora"):
        yield Finding("dora", f"DoRA 어댑터입니다(use_dora). vLLM은 DoRA를 받지 않습니다. {MERGE_KO}")
    if modules := config.get("modules_to_save"):
        yield Finding(
            "modules_to_save", f"modules_to_save={modules}: 통째로 저장한 층을 vLLM은 받지 않습니다. {MERGE_KO}"
        )
    if config.get("bias", "none") != "none":
        yield Finding("bias", f"편향까지 학습한 어댑터입니다(bias={config['bias']}). vLLM은 받지 않습니다. {MERGE_KO}")
    if config.get("lora_bias"):
        yield Finding(
            "lora_bias",
            "편향까지 학습한 어댑터입니다(lora_bias). vLLM은 받지 않고, 기반 층에 편향이 없으면 합칠 수도 없습니다."
            " lora_bias 없이 다시 학습하세요.",
        )
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(CHANGED_BASE):
        yield Finding(
            "init_lora_weights",
            f"init_lora_weights={start}: 초기화할 때 기반 가중치를 바꾸는 방식이라 원래 기반 모델에 맞지 않습니다."
            " PEFT의 path_initial_model_for_weight_conversion으로 일반 LoRA로 바꿔 저장하세요.",
        )
    for name in UNREAD:
        if config.get(name):
            yield Finding(name, f"{name} 설정을 vLLM은 읽지 않아 결과가 달라집니다. {MERGE_KO}")
    rank = config.get("r") or 0
    if not 0 < rank <= LORA_RANKS[-1]:
        yield Finding("rank", f"랭크가 {rank}입니다. vLLM은 1에서 {LORA_RANKS[-1]}까지 받습니다. {MERGE_KO}")
    elif rank > DEFAULT_LORA_RANK:
        yield Finding(
            "rank",
            f"랭크 {rank}이(가) vLLM의 기본 한도 {DEFAULT_LORA_RANK}보다 큽니다."
            f" --max-lora-rank {lora_rank(rank)}을(를) 주어 실행하세요.",
            blocks=False,
        )


def _check_tensors(folder: Path) -> Iterator[Finding]:
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        yield Finding(
            "safetensors",
            "adapter_model.safetensors가 없습니다. pickle은 쓰지 않습니다. PeftModel.save_pretrained로 저장하세요.",
        )
        return
    with safe_open(path, framework="np") as file:
        others = sorted(name for name in file.keys() if not PLAIN_TENSOR.fullmatch(name))  # noqa: SIM118
    outside = [name for name in others if "lora_magnitude" not in name and "waveft" not in name]
    if outside:
        yield Finding(
            "targets",
            f"언어 모델의 LoRA가 아닌 텐서가 {len(outside)}개 있습니다(예: {outside[0]}). vLLM은 언어 모델의"
            f" 선형 층에 붙은 LoRA만 받습니다. {MERGE_KO}",
        )


def _check_base(config: dict) -> Iterator[Finding]:
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not base:
        yield Finding("base", "어댑터에 기반 모델 이름(base_model_name_or_path)이 없습니다. 기반 모델을 적어 주세요.")
        return
    if not revision:
        yield Finding(
            "revision",
            f"기반 모델 {base}의 커밋이 고정되어 있지 않아(revision), 기반이 바뀌면 결과도 바뀝니다."
            f" publish.py push 어댑터 ORG/NAME --base {base}로 올리면 지금 커밋을 고정합니다.",
        )
    try:
        source = _read_folder(Path(base)) if Path(base).is_dir() else _read_hub(base, revision)
    except (OSError, httpx.HTTPError, HFValidationError) as error:
        yield Finding(
            "unreachable",
            f"기반 모델 {base}({revision})을(를) 읽을 수 없습니다({type(error).__name__}). 이름, 커밋, 네트워크,"
            " 로그인(hf auth login)을 확인하세요.",
        )
        return
    yield from _check_checkpoint(source, base)


def _check_checkpoint(source: _Source, name: str) -> Iterator[Finding]:
    if not any(matches(file, ("model*.safetensors",)) for file in source.names):
        yield Finding("safetensors", f"{name}에 model.safetensors가 없습니다. save_pretrained로 다시 저장하세요.")
    if missing := {"processor_config.json", "tokenizer_config.json"} - source.names:
        yield Finding("processor", f"{name}에 {', '.join(sorted(missing))}이(가) 없습니다. 프로세서도 함께 저장하세요.")
    code = str(source.config.get("auto_map", {}).get("AutoModel", ""))
    file = f"{code.partition('.')[0]}.py"
    if not code or ("--" not in code and file not in source.names):
        yield Finding(
            "auto_map",
            f"{name}에 vLLM이 불러올 코드가 없습니다(config.json의 auto_map과 {file if code else 'modeling_kocap.py'})."
            " publish.py bundle로 묶은 폴더를 쓰세요.",
        )


def _read_folder(folder: Path) -> _Source:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return _Source(config, frozenset(path.name for path in folder.iterdir()))


def _read_hub(repo_id: str, revision: str | None) -> _Source:
    info = HfApi().model_info(repo_id, revision=revision)
    config = json.loads(Path(hf_hub_download(repo_id, "config.json", revision=info.sha)).read_text(encoding="utf-8"))
    return _Source(config, frozenset(sibling.rfilename for sibling in info.siblings or ()))
