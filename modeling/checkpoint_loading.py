"""Loads checkpoints and their processors for every script: strangers' code runs only where it was asked for.

What transformers, safetensors, tokenizers and jinja say of a broken checkpoint comes out as one `ModelError`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils.memory import should_reduce_batch_size
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import cached_file, find_adapter_config_file

from configuration.coded_errors_kocap import CodedError
from processing.processing_kocap import KoCapProcessor

from . import auto_classes  # noqa: F401
from .checkpoint_faults import (
    ADAPTER_WEIGHTS,
    ModelError,
    RemoteCodeError,
    check_folder,
    check_kind,
    check_processor,
    check_shapes,
)


@contextmanager
def loading(model: str | Path, *, is_backbone: bool = False) -> Iterator[None]:
    """Look at a folder's files first, and say of whatever fails inside that the model cannot be loaded.

    Args:
        model: Checkpoint, adapter or backbone, folder or Hub id.
        is_backbone: See `check_folder`.
    Raises:
        RemoteCodeError: If it needs its repository's code, and nobody said that this may run.
        ModelError: For everything else.
    """
    folder = Path(model)
    if folder.is_dir():
        check_folder(folder, is_backbone=is_backbone)
    elif folder.is_absolute() or str(model).startswith("."):
        raise ModelError(
            model, "there is no such folder; check the name.", "그런 폴더가 없습니다. 이름을 확인해 주세요."
        )
    try:
        yield
    except Exception as error:  # of five libraries, each with errors of its own for a damaged file
        if isinstance(error, CodedError | MemoryError) or should_reduce_batch_size(error):
            raise  # a smaller batch, or another machine, may help
        raise _explain(model, error) from error


def load_config(model: str, *, trust_remote_code: bool = False) -> Any:
    """The configuration of a checkpoint, folder or Hub id."""
    with loading(model):
        if Path(model).is_dir() and not trust_remote_code:
            check_kind(Path(model))
        return AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)


def load_model(model: str, *, trust_remote_code: bool = False, model_class: Any = None, **options: Any) -> Any:
    """A checkpoint's model, or an adapter's on its base, every weight of it from a file.

    Args:
        model_class: Default: what the configuration says.
        **options: As for `from_pretrained`: `dtype`, `device_map`, `quantization_config`.
    """
    with loading(model):
        if Path(model).is_dir() and not trust_remote_code:
            check_kind(Path(model))
        _refuse_pickled_adapter(model)
        source: Any = model_class or AutoModelForImageTextToText
        loaded, report = source.from_pretrained(
            model,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
            **options,
        )
        check_shapes(str(model), sorted(report["missing_keys"]), sorted(report["mismatched_keys"]))
    return loaded


def load_processor(model: str, *, trust_remote_code: bool = False, revision: str | None = None) -> KoCapProcessor:
    """A checkpoint's processor, its chat template proved to work."""
    with loading(model):
        if Path(model).is_dir() and not trust_remote_code:
            check_processor(Path(model))
        processor: Any = AutoProcessor.from_pretrained(model, trust_remote_code=trust_remote_code, revision=revision)
        if not hasattr(processor, "video_processor"):
            raise ValueError(f"its processor is {type(processor).__name__}, which takes no videos")
        processor.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False, add_generation_prompt=True)
    return processor


def _refuse_pickled_adapter(model: str) -> None:
    """transformers takes `adapter_model.bin` where there is nothing else."""
    if Path(model).is_dir() or not find_adapter_config_file(model):
        return  # `check_folder` has looked
    if cached_file(model, ADAPTER_WEIGHTS, _raise_exceptions_for_missing_entries=False) is None:
        raise ModelError(
            model,
            f"it holds no {ADAPTER_WEIGHTS}; pickles, which can run code, are never opened.",
            f"{ADAPTER_WEIGHTS} 파일이 없습니다. pickle은 코드를 실행할 수 있어 열지 않습니다.",
        )


def _explain(model: str | Path, error: Exception) -> ModelError:
    told = str(error).strip() or type(error).__name__
    if "trust_remote_code" in told:
        return RemoteCodeError(
            model,
            "it needs code of its own, which would run on this machine with your rights. Read that code; if you trust"
            " it, say so with --trust-remote-code (app.py: KOCAP_TRUST_REMOTE_CODE=1).",
            "이 모델은 저장소에 든 코드를 실행해야 열립니다. 그 코드는 이 컴퓨터에서 내 권한으로 무엇이든 할 수"
            " 있습니다. 코드를 읽고 믿을 수 있을 때만 --trust-remote-code를 주세요(app.py: KOCAP_TRUST_REMOTE_CODE=1).",
        )
    line = " ".join(told.split())[:300]
    return ModelError(model, f"{type(error).__name__}: {line}", f"이름이나 파일을 확인해 주세요. {line}")
