"""Make the folder that goes to the Hub: a checkpoint, its code laid flat beside it, and the entries that find the code.

Code loads from the Hub only when it lies flat and imports its siblings as `from .x_kocap import` (docs: remote code).
Checkpoints are copied by name, not by exclusion, because a Trainer's folder also holds `training_args.bin`, which can
carry a Hub token, and an optimizer many times the size of the model.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from configuration.coded_errors_kocap import CodedError
from configuration.disk_writing import force_to_disk, writing
from modeling.checkpoint_faults import check_folder, check_kind, check_processor

ROOT = Path(__file__).resolve().parents[1]
PROOF = Path(__file__).with_name("bundle_proof.py")
TASK = "video-text-to-text"
PROCESSOR_FILES = (
    "processor_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
REPORT_FILES = ("training.png", "training.md")  # what a run's card links
CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    *PROCESSOR_FILES,
    "model*.safetensors",
    "model.safetensors.index.json",
    "README.md",
    "LICENSE*",
    *REPORT_FILES,
)
REQUIRED_FILES = ("config.json", "processor_config.json", "tokenizer_config.json", "model*.safetensors")
MODEL_AUTO_MAP = {
    "AutoConfig": "configuration_kocap.KoCapConfig",
    "AutoModel": "modeling_kocap.KoCapForConditionalGeneration",
    "AutoModelForImageTextToText": "modeling_kocap.KoCapForConditionalGeneration",
}
PROCESSOR_AUTO_MAP = {"AutoProcessor": "processing_kocap.KoCapProcessor"}
VIDEO_PROCESSOR_AUTO_MAP = {"AutoVideoProcessor": "video_processing_kocap.KoCapVideoProcessor"}
PIPELINE = {"impl": "pipeline_kocap.KoCapPipeline", "pt": ["AutoModelForImageTextToText"], "type": "multimodal"}

ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)\b")  # where a traceback comes to the point

logger = logging.getLogger(__name__)


class BundleError(CodedError, ValueError):
    """A checkpoint, a target folder or our own code cannot become a bundle."""

    code = "E_BUNDLE"
    message_ko = "체크포인트를 번들로 만들 수 없습니다."


def bundle(checkpoint: Path, out: Path) -> Path:
    """Write a checkpoint with its code to `out` and prove that it loads in a clean process.

    Nothing half-written is ever seen at `out`: the work happens in a temporary folder beside it.

    Args:
        checkpoint: Folder with model, tokenizer and processor, as `save_pretrained` writes them.
        out: The bundle; absent, empty, or an earlier bundle, which is replaced.
    Returns:
        `out`.
    Raises:
        BundleError: If the checkpoint is incomplete or pickled, `out` holds other things, or the result doesn't load.
        ModelError: If one of its files is damaged.
        DiskError: If there is no room for it.
    """
    checkpoint, out = Path(checkpoint), Path(out).resolve()
    names = _files_to_copy(checkpoint)
    for check in (check_folder, check_kind, check_processor):
        check(checkpoint)
    check_replaceable(out)
    needed_bytes = sum((checkpoint / name).stat().st_size for name in names)
    with writing(out.parent, "a bundle", needed_bytes=needed_bytes):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundling-") as room:
            new = Path(room) / out.name
            new.mkdir()
            for name in names:
                shutil.copyfile(checkpoint / name, new / name)
            add_code(new)
            _prove_elsewhere(new)
            for file in new.iterdir():
                force_to_disk(file)
            if out.exists():
                out.rename(Path(room) / "replaced")
            new.rename(out)
    return out


def lay_with_code(checkpoint: Path, folder: Path) -> None:
    """Lay a checkpoint, its weights as links, and our code into an empty folder, for what runs from a folder only.

    Raises:
        BundleError: If the checkpoint is incomplete or pickled.
    """
    for name in _files_to_copy(checkpoint):
        if name.endswith(".safetensors"):
            (folder / name).symlink_to((checkpoint / name).resolve())
        else:
            shutil.copyfile(checkpoint / name, folder / name)
    add_code(folder)


def add_code(folder: Path) -> None:
    """Lay the code flat beside a checkpoint and point to it, so that it loads with `trust_remote_code=True`."""
    for name, code in flat_code().items():
        (folder / name).write_text(code, encoding="utf-8")
    _point_to_code(folder)


def flat_code() -> dict[str, str]:
    """Every `*_kocap.py` of the rooms by its name on the Hub, with imports across rooms made relative.

    Raises:
        BundleError: If two files share a name, or one needs project code that stays at home.
    """
    rooms = [init.parent for init in sorted(ROOT.glob("*/__init__.py"))]
    any_room = "|".join(re.escape(room.name) for room in rooms)
    across = re.compile(rf"^(\s*from )(?:{any_room})\.(\w+_kocap import\b)", re.MULTILINE)
    left_over = re.compile(rf"^\s*(?:from|import) (?:{any_room})\b.*", re.MULTILINE)
    code: dict[str, str] = {}
    for path in (path for room in rooms for path in sorted(room.glob("*_kocap.py"))):
        if path.name in code:
            raise BundleError(f"{path} shares its name with another room's file; on the Hub they lie flat. Rename one.")
        code[path.name] = across.sub(r"\1.\2", path.read_text(encoding="utf-8"))
        if stray := left_over.search(code[path.name]):
            raise BundleError(
                f"{path} says {stray[0].strip()!r}; a file that travels to the Hub may import only"
                " `from room.x_kocap import name`. Move what it needs into a *_kocap.py file."
            )
    return code


def _files_to_copy(checkpoint: Path) -> list[str]:
    if not checkpoint.is_dir():
        raise BundleError(f"{checkpoint} is not a folder; give a checkpoint's folder.")
    present = sorted(path.name for path in checkpoint.iterdir() if path.is_file())
    if "adapter_config.json" in present:
        raise BundleError(
            f"{checkpoint} holds an adapter; a bundle holds a whole model. Merge the adapter first, or push it by"
            " itself: it needs no code, its base model has it."
        )
    names = [name for name in present if matches(name, CHECKPOINT_FILES)]
    missing = [pattern for pattern in REQUIRED_FILES if not any(fnmatch(name, pattern) for name in names)]
    pickles = [name for name in present if fnmatch(name, "*model*.bin") or fnmatch(name, "*model*.pt*")]
    if "model*.safetensors" in missing and pickles:
        raise BundleError(
            f"{checkpoint} has its weights in {', '.join(pickles)}; pickles can run code when loaded, so only"
            " safetensors are published. Load the model and save it again with save_pretrained."
        )
    if missing:
        raise BundleError(
            f"{checkpoint} has no {', no '.join(missing)}; a bundle needs model, tokenizer and processor. Save all of"
            " them there with save_pretrained."
        )
    if left := [name for name in present if name not in names and not name.endswith("_kocap.py")]:
        logger.warning("left out of the bundle: %s", ", ".join(left))
    return names


def check_replaceable(out: Path) -> None:
    """Refuse a target that holds anything but an earlier bundle.

    Raises:
        BundleError: Naming what is there.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise BundleError(f"{out} is a file; give a folder.")
    names = sorted(path.name for path in out.iterdir())
    if not names:
        return
    foreign = [name for name in names if not matches(name, (*CHECKPOINT_FILES, "*_kocap.py"))]
    if foreign or "modeling_kocap.py" not in names:
        raise BundleError(
            f"{out} is no earlier bundle ({', '.join((foreign or names)[:3])} ...), so it is not replaced. Give a new"
            " or empty folder."
        )


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file's name is among the patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def _point_to_code(folder: Path) -> None:
    """Write `auto_map` and `custom_pipelines` where the Auto classes and `pipeline` look for them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = MODEL_AUTO_MAP
    config["custom_pipelines"] = {TASK: PIPELINE}
    processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    processor["auto_map"] = PROCESSOR_AUTO_MAP
    processor["video_processor"]["auto_map"] = VIDEO_PROCESSOR_AUTO_MAP  # AutoVideoProcessor doesn't look at the top
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for others in (tokenizer, processor.get("image_processor", {})):
        others.pop("auto_map", None)  # would send whoever trusts this bundle to somebody else's code
    written = (("config.json", config), ("processor_config.json", processor), ("tokenizer_config.json", tokenizer))
    for name, content in written:
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")


def _prove_elsewhere(folder: Path) -> None:
    """Run bundle_proof.py in a process without this project, the network and this working directory."""
    with tempfile.TemporaryDirectory() as elsewhere:
        search = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(part for part in search if Path(part).resolve() != ROOT),
            "HF_HUB_OFFLINE": "1",
            "HF_MODULES_CACHE": elsewhere,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        child = subprocess.run(
            [sys.executable, "-P", PROOF, folder],  # -P: its folder is no place to import from
            cwd=elsewhere,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    if child.returncode != 0:
        lines = (child.stdout + child.stderr).strip().splitlines()
        begin = max((number for number, line in enumerate(lines) if ERROR_LINE.match(line)), default=-8)
        raise BundleError(
            "the bundle doesn't load in a clean process, so it was not kept: " + "\n".join(lines[begin:][:8])
        )
