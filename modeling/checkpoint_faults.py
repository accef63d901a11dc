"""Why a checkpoint's folder cannot be loaded: which of its files is at fault, and what it is. Reads no weights."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from configuration.coded_errors_kocap import CodedError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LARGEST_HEADER = 100_000_000  # safetensors' own limit
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLES = ("*model*.bin", "*model*.pt", "*model*.pth", "*model*.ckpt")
JSON_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    INDEX,
    ADAPTER_CONFIG,
)
PROCESSOR_PARTS = (("processor_config.json",), ("tokenizer.json", "tokenizer.model", "vocab.json"))
MODEL_TYPE = "kocap"
AGAIN = ("download it again", "다시 내려받아 주세요")


class ModelError(CodedError, ValueError):
    """A model that cannot be loaded; says which file is at fault and what it is.

    Args:
        model: Folder or Hub id.
        fault, fault_ko: What is wrong, and the way out.
    """

    code = "E_MODEL"

    def __init__(self, model: str | Path, fault: str, fault_ko: str):
        super().__init__(f"{model} cannot be loaded: {fault}", f"모델을 불러올 수 없습니다: {model}. {fault_ko}")
        self._given = str(model), fault, fault_ko

    def __reduce__(self):
        return type(self), self._given


class RemoteCodeError(ModelError):
    """A model that only its repository's own code can load, which runs nowhere unasked."""

    code = "E_REMOTE_CODE"


def check_folder(folder: Path, *, is_backbone: bool = False) -> None:
    """Look at the files of a checkpoint or an adapter, and of a base in another folder.

    Args:
        is_backbone: Of somebody else's kind. Its weights may be a pickle, which transformers opens as mere tensors.
    Raises:
        ModelError: Where one is missing, cut short, no JSON, a git-lfs pointer or a pickle.
    """
    for fault, fault_ko in _backbone_faults(folder) if is_backbone else _faults(folder):
        raise ModelError(folder, fault, fault_ko)


def check_kind(folder: Path) -> None:
    """Refuse models of other kinds, as long as they bring no code that makes them captioners.

    Raises:
        ModelError: If the configuration is of another kind of model.
    """
    if not (folder / "config.json").is_file():
        return
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if (kind := config.get("model_type")) != MODEL_TYPE and not config.get("auto_map"):
        raise ModelError(
            folder,
            f"config.json says model_type {kind!r}; only {MODEL_TYPE!r} can be loaded. Give a KoCap checkpoint.",
            f"config.json의 model_type이 {kind!r}입니다. KoCap 체크포인트({MODEL_TYPE!r})를 지정해 주세요.",
        )


def check_processor(folder: Path) -> None:
    """See that what reads videos and texts lies beside the model.

    Raises:
        ModelError: If something is missing.
    """
    for wanted in PROCESSOR_PARTS:
        if not any((folder / name).is_file() for name in wanted):
            raise ModelError(
                folder,
                f"{' or '.join(wanted)} is missing; {AGAIN[0]}, or save the processor there with save_pretrained.",
                f"{' 또는 '.join(wanted)} 파일이 없습니다. {AGAIN[1]}.",
            )


def check_shapes(model: str, missing: list[str], mismatched: list[tuple]) -> None:
    """Refuse weights that do not fill the model, which would caption at random.

    Args:
        missing, mismatched: As transformers reports them: names; and names, the file's shape, the model's.
    Raises:
        ModelError: If there are any.
    """
    if mismatched:
        name, stored, wanted = mismatched[0]
        raise ModelError(
            model,
            f"{len(mismatched)} weights have other shapes than config.json says, among them {name}: {tuple(stored)} in"
            f" the file, {tuple(wanted)} in the model. Config and weights are of different models: {AGAIN[0]}.",
            f"가중치 {len(mismatched)}개의 모양이 config.json과 다릅니다({name}). 서로 다른 모델의 파일입니다."
            f" {AGAIN[1]}.",
        )
    if missing:
        raise ModelError(
            model,
            f"{len(missing)} weights are in no file, among them {sorted(missing)[0]}; {AGAIN[0]}.",
            f"가중치 {len(missing)}개가 파일에 없습니다({sorted(missing)[0]}). {AGAIN[1]}.",
        )


def _faults(folder: Path) -> Iterator[tuple[str, str]]:
    names = {path.name for path in folder.iterdir()}
    if not names & {"config.json", ADAPTER_CONFIG}:
        yield (
            "it holds neither config.json nor adapter_config.json; give a checkpoint's folder.",
            "config.json이나 adapter_config.json이 없습니다. 체크포인트 폴더를 지정해 주세요.",
        )
    for name in sorted(names.intersection(JSON_FILES)):
        yield from _json_faults(folder / name)
    if "config.json" in names:
        yield from _weights_faults(folder, names, INDEX if INDEX in names and WEIGHTS not in names else WEIGHTS)
    if ADAPTER_CONFIG in names:
        yield from _weights_faults(folder, names, ADAPTER_WEIGHTS)
        if "config.json" not in names:
            yield from _base_faults(folder)


def _backbone_faults(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.iterdir()):
        if path.name in JSON_FILES:
            yield from _json_faults(path)
        if path.suffix == ".safetensors":
            yield from _safetensors_faults(path)


def _json_faults(path: Path) -> Iterator[tuple[str, str]]:
    if _is_pointer(path):
        yield _pointer(path.name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        yield (
            f"{path.name} is no JSON ({error}): it was cut short or changed; {AGAIN[0]}.",
            f"{path.name} 파일이 JSON이 아닙니다. 잘렸거나 바뀐 파일입니다. {AGAIN[1]}.",
        )
        return
    if not isinstance(content, dict):
        yield f"{path.name} holds no object; {AGAIN[0]}.", f"{path.name}의 내용이 객체가 아닙니다. {AGAIN[1]}."


def _weights_faults(folder: Path, names: set[str], wanted: str) -> Iterator[tuple[str, str]]:
    if wanted == INDEX:
        shards = json.loads((folder / INDEX).read_text(encoding="utf-8")).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            yield f"{INDEX} has no weight_map; {AGAIN[0]}.", f"{INDEX}에 weight_map이 없습니다. {AGAIN[1]}."
            return
        files = sorted(set(shards.values()))
    else:
        files = [wanted]
    for name in files:
        if (folder / name).is_file():
            yield from _safetensors_faults(folder / name)
            continue
        pickles = sorted({path.name for pattern in PICKLES for path in folder.glob(pattern)})
        if pickles and wanted != INDEX:
            yield (
                f"its weights are in {', '.join(pickles)}, a pickle, which can run code when it is loaded, so it is"
                " never opened. Load it where you trust it and save it again with save_pretrained, which writes"
                " safetensors.",
                f"가중치가 {', '.join(pickles)}에 있습니다. pickle은 불러올 때 코드를 실행할 수 있어 열지 않습니다."
                " 믿을 수 있는 환경에서 save_pretrained로 다시 저장하면 safetensors가 됩니다.",
            )
        else:
            yield f"{name} is missing; {AGAIN[0]}.", f"{name} 파일이 없습니다. {AGAIN[1]}."


def _safetensors_faults(path: Path) -> Iterator[tuple[str, str]]:
    """What the file's first bytes and its size tell."""
    if _is_pointer(path):
        yield _pointer(path.name)
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        length = struct.unpack("<Q", begin)[0] if len(begin) == 8 else 0
        header = file.read(length) if 2 <= length <= LARGEST_HEADER else b""
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        expected = None
    if expected is None and size < 8 + min(length, LARGEST_HEADER):
        yield _cut(path.name, size)
    elif expected is None:
        yield f"{path.name} is no safetensors file; {AGAIN[0]}.", f"{path.name} 파일은 safetensors 파일이 아닙니다."
    elif size != expected:
        yield _cut(path.name, size, expected)


def _cut(name: str, size: int, expected: int | None = None) -> tuple[str, str]:
    wanted, wanted_ko = (f" of {expected}", f"/{expected}") if expected else ("", "")
    return (
        f"{name} has {size}{wanted} bytes: it was cut short; {AGAIN[0]}.",
        f"{name} 파일이 끝까지 저장되지 않았습니다({size}{wanted_ko}바이트). {AGAIN[1]}.",
    )


def _base_faults(folder: Path) -> Iterator[tuple[str, str]]:
    """Of the base that an adapter names, where it is a folder."""
    base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        yield "the adapter names no base model.", "어댑터에 기반 모델 이름이 없습니다."
    elif Path(base).is_dir() and Path(base).resolve() != folder.resolve():
        for fault, fault_ko in _faults(Path(base)):
            yield f"of its base {base}, {fault}", f"기반 모델 {base}: {fault_ko}"
    elif Path(base).is_absolute():
        yield (
            f"the adapter's base {base} is gone; put it there again, or merge the adapter elsewhere.",
            f"어댑터의 기반 모델 {base} 폴더가 없습니다. 그 자리에 다시 두거나, 병합한 모델을 써 주세요.",
        )


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def _pointer(name: str) -> tuple[str, str]:
    return (
        f"{name} is a git-lfs pointer, not the file itself: run `git lfs pull` in the folder.",
        f"{name} 파일은 내용이 아니라 git-lfs 포인터입니다. 그 폴더에서 `git lfs pull`을 실행해 주세요.",
    )
