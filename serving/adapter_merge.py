"""Merge an adapter into its base: one whole checkpoint that answers as the two did.

vLLM serves plain LoRA beside a base, but no DoRA and no WaveFT: those must be merged before serving.
"""

import json
import logging
import tempfile
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from configuration.coded_errors_kocap import CodedError
from configuration.disk_writing import writing
from modeling.checkpoint_loading import load_model, load_processor, loading
from modeling.checkpoint_names import weights_revision
from modeling.modeling_kocap import KoCapForConditionalGeneration

from .hub_bundle import CHECKPOINT_FILES, PROCESSOR_FILES, bundle, check_replaceable

ADAPTER_WEIGHTS = "adapter_model.safetensors"

logger = logging.getLogger(__name__)


class MergeError(CodedError, ValueError):
    """An adapter that does not fit its base, or a base that can't take it."""

    code = "E_MERGE"


def merge(adapter: str | Path, out: Path, *, base: str | None = None) -> Path:
    """Merge an adapter into its base and write the bundle: model, processor, generation config and code.

    The base is loaded unquantised in the precision it was saved in. An adapter trained on a 4-bit base (`qlora`,
    `qdora`) is merged into the full-precision weights, and its captions can differ a little from those in training.

    Args:
        adapter: Folder or Hub id.
        out: A new folder, or an earlier bundle, which is replaced; it appears complete or not at all.
        base: Folder or Hub id, where the one the adapter names is out of reach.
    Returns:
        `out`.
    Raises:
        MergeError: If the base is another than the adapter was trained on, is quantised, or the tensors don't fit.
        BundleError: If `out` holds other things, or the result doesn't load.
        ModelError: If adapter or base cannot be found or loaded.
    """
    out = Path(out).resolve()
    check_replaceable(out)
    folder = _download(str(adapter), patterns=("adapter_config.json", ADAPTER_WEIGHTS, *PROCESSOR_FILES))
    if not (folder / "adapter_config.json").is_file():
        raise MergeError(
            f"{adapter} has no adapter_config.json; give an adapter's folder or Hub id.",
            f"{adapter}에 adapter_config.json이 없습니다. 어댑터 폴더나 Hub 이름을 주세요.",
        )
    source = find_base(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")), base)
    model = apply_adapter(source, folder)
    dtype = model.get_base_model().dtype
    merged = model.merge_and_unload(safe_merge=True)
    merged.config.dtype = dtype
    processor = load_processor(str(folder if (folder / "processor_config.json").is_file() else source))
    with writing(out.parent, "the merged model", needed_bytes=merged.get_memory_footprint()):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".merging-") as room:
            checkpoint = Path(room) / out.name
            merged.save_pretrained(checkpoint)
            processor.save_pretrained(checkpoint)
            return bundle(checkpoint, out)


def find_base(config: dict, base: str | None = None) -> Path:
    """The folder of the base an adapter was trained on, downloaded where it is on the Hub.

    Args:
        config: `adapter_config.json`.
    Raises:
        MergeError: If the adapter pins another base or revision.
    """
    named, pinned = config.get("base_model_name_or_path"), config.get("revision")
    if not (base or named):
        raise MergeError(
            "the adapter names no base model. Give it with --base.",
            "어댑터에 기반 모델 이름이 없습니다. --base로 알려 주세요.",
        )
    source = base or named
    if Path(named or "").is_absolute() and not base and not Path(named).is_dir():
        raise MergeError(
            f"the adapter's base {named} is gone. Give the same base with --base.",
            f"어댑터의 기반 모델 {named}이(가) 없습니다. 같은 기반 모델을 --base로 알려 주세요.",
        )
    of_weights = str(pinned or "").startswith("sha256:")
    is_folder = Path(source).is_dir()
    if pinned and not of_weights and base and (base != named or is_folder) and Path(base).name != pinned:
        raise MergeError(
            f"the adapter was trained on {named} at {pinned}, and whether {base} is the same cannot be known. Leave"
            " --base out, so that the pinned commit is downloaded.",
            f"이 어댑터는 {named}의 {pinned}에서 학습했고, {base}이(가) 같은 모델인지 확인할 수 없습니다. --base를 빼면"
            " 고정된 커밋을 내려받습니다.",
        )
    folder = _download(source, patterns=CHECKPOINT_FILES, revision=None if of_weights else pinned)
    if of_weights and weights_revision(folder) != pinned:
        raise MergeError(
            f"the adapter was trained on weights {pinned}, but {source} has {weights_revision(folder)}. Give the base"
            " it was trained on with --base.",
            f"이 어댑터는 가중치 {pinned}에서 학습했지만 {source}의 가중치는 {weights_revision(folder)}입니다."
            " 학습할 때 쓴 기반 모델을 --base로 알려 주세요.",
        )
    if not pinned:
        logger.warning("the adapter pins no revision of its base: whether %s is the same cannot be known", source)
    return folder


def apply_adapter(base: Path, adapter: Path) -> PeftModel:
    """Load a base in its own precision with an adapter on it, every tensor in its place.

    Raises:
        MergeError: If the base is quantised, or the adapter's tensors are not those that the base asks for.
    """
    model = load_model(str(base), model_class=KoCapForConditionalGeneration, dtype="auto")
    if getattr(model, "hf_quantizer", None) is not None:
        raise MergeError(
            f"{base} is quantised; an adapter is merged into full-precision weights. Give the unquantised base with"
            " --base, and quantise the merged model.",
            f"{base}은(는) 양자화된 모델입니다. 양자화하지 않은 기반 모델을 --base로 주고, 합친 다음 양자화하세요.",
        )
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
        difference = _difference(adapted, adapter / ADAPTER_WEIGHTS)
    except (RuntimeError, ValueError) as error:  # PEFT on sizes that differ, and on targets that are missing
        difference = str(error).splitlines()[0]
    if difference:
        raise MergeError(
            f"the adapter doesn't fit {base.name}: {difference}. Give the base it was trained on with --base.",
            f"어댑터가 {base.name}에 맞지 않습니다({difference}). 학습할 때 쓴 기반 모델을 --base로 알려 주세요.",
        )
    return adapted


def _difference(adapted: PeftModel, weights: Path) -> str:
    """What distinguishes the tensors in the file from those that were loaded; PEFT only warns."""
    with safe_open(weights, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    loaded: dict[str, torch.Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    expected = {name: tuple(tensor.shape) for name, tensor in loaded.items()}
    unlike = sorted(dict(shapes.items() ^ expected.items()))
    return f"{len(unlike)} tensors differ, among them {unlike[0]}" if unlike else ""


def _download(source: str, *, patterns: tuple[str, ...], revision: str | None = None) -> Path:
    if Path(source).is_dir():
        return Path(source)
    with loading(source):
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(patterns)))
