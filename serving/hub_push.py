"""Push a folder to the Hub: the one place where anything leaves this machine.

    pushed = push_checkpoint(Path("out/base"), "org/kocap")
    push_adapter(Path("out/adapter"), "org/kocap-lora", base="org/kocap")

Files travel by name, never by exclusion. A failed push raises `PushError`, which says how to repeat it; what the Hub
has already received is not sent twice, and no file there changes before all have arrived.
"""

import json
import logging
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import httpx, validate_repo_id

from configuration.coded_errors_kocap import CodedError
from configuration.script_endings import without_token

from .hub_bundle import (
    CHECKPOINT_FILES,
    PROCESSOR_AUTO_MAP,
    PROCESSOR_FILES,
    REPORT_FILES,
    VIDEO_PROCESSOR_AUTO_MAP,
    bundle,
    matches,
)

BUNDLE_FILES = (*CHECKPOINT_FILES, "*_kocap.py")
ADAPTER_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "README.md",
    "LICENSE*",
    *REPORT_FILES,
    *PROCESSOR_FILES,
)
# What an earlier push may have left: deleted in the same commit when the new folder has no such file.
BUNDLE_REPLACES = ("*_kocap.py", "model*.safetensors", "model.safetensors.index.json", *REPORT_FILES)
ADAPTER_REPLACES = ("adapter_model*", *REPORT_FILES)
COMMIT = re.compile(r"[0-9a-f]{40}")
TOKEN = re.compile(rb"hf_[A-Za-z0-9]{30,}")
# AutoPeftModel builds the base with this; PEFT itself writes the class's module, which strangers do not have.
AUTO_MAPPING = {"base_model_class": "AutoModelForImageTextToText", "parent_library": "transformers"}

logger = logging.getLogger(__name__)


class PushError(CodedError, RuntimeError):
    """A push that did not happen; the repository's files are as they were.

    `str(error)` names repository, cause and the command that repeats it; `message_ko` says the same in Korean.
    """

    code = "E_PUSH"

    def __init__(self, cause: str, *, repo_id: str, again: str, cause_ko: str = "") -> None:
        super().__init__(
            f"pushing to {repo_id} failed: {without_token(cause)}\n"
            f"The repository's files are as they were. Once the cause is gone, repeat: {again}",
            f"올리기에 실패했고 저장소의 파일은 그대로입니다. {cause_ko}원인을 해결한 뒤 다시 실행해 주세요: {again}",
        )


@dataclass(frozen=True)
class Pushed:
    """Where it went.

    Attributes:
        repo_id: With the user's name in front where none was given.
        commit: 40 hex digits; what an adapter's `revision` pins.
    """

    repo_id: str
    url: str
    commit: str


def push_checkpoint(
    checkpoint: Path, repo_id: str, *, private: bool = False, revision: str | None = None, api: HfApi | None = None
) -> Pushed:
    """Bundle a checkpoint, prove that it loads, and push it.

    Args:
        private: Make a new repository private, and refuse one that is public.
        revision: Branch, made if there is none. Default: main.
        api: Another Hub or login than the environment's.
    Raises:
        PushError: If the checkpoint is unfit, or the Hub refuses or cannot be reached.
    """
    with _repeatable(checkpoint, repo_id, private=private, revision=revision):
        api = _logged_in(api, repo_id)
        with tempfile.TemporaryDirectory() as room:
            folder = bundle(checkpoint, Path(room) / repo_id.split("/")[-1])
            return _push(api, folder, repo_id, BUNDLE_FILES, BUNDLE_REPLACES, private=private, revision=revision)


def push_adapter(
    adapter: Path,
    repo_id: str,
    *,
    base: str | None = None,
    private: bool = False,
    revision: str | None = None,
    api: HfApi | None = None,
) -> Pushed:
    """Push a PEFT adapter without code: its base, pinned to a commit, has it.

    Processor files travel along, the folder's own or else the base's, so that `AutoProcessor` loads from the adapter.
    The folder itself is not changed.

    Args:
        base: `org/name` or `org/name@revision` of the base; needed when the adapter was trained on a local folder.
        private, revision, api: See `push_checkpoint`.
    Raises:
        PushError: Also if the base is a local folder, has no pinned commit, or its weights are others on the Hub.
    """
    with _repeatable(adapter, repo_id, private=private, revision=revision, base=base):
        api = _logged_in(api, repo_id)
        config = _read_adapter(adapter)
        base_id, commit = _find_base(api, config, base)
        with tempfile.TemporaryDirectory() as room:
            folder = Path(room)
            _lay_out(api, adapter, folder, config, base_id=base_id, commit=commit)
            return _push(api, folder, repo_id, ADAPTER_FILES, ADAPTER_REPLACES, private=private, revision=revision)


@contextmanager
def _repeatable(
    folder: Path, repo_id: str, *, private: bool, revision: str | None, base: str | None = None
) -> Iterator:
    """Turn an expected failure into a PushError with the command that repeats the push."""
    try:
        yield
    except PushError:
        raise
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        options = [*(["--base", base] if base else []), *(["--private"] if private else [])]
        options += ["--revision", revision] if revision else []
        again = shlex.join(["python", "publish.py", "push", str(folder), repo_id, *options])
        causes = "\n".join(dict.fromkeys(str(cause) for cause in (error, error.__cause__) if cause))
        cause_ko = f"{error.message_ko} " if isinstance(error, CodedError) else ""
        raise PushError(causes, repo_id=repo_id, again=again, cause_ko=cause_ko) from None


def _logged_in(api: HfApi | None, repo_id: str) -> HfApi:
    validate_repo_id(repo_id)
    api = api or HfApi()
    api.whoami()  # a missing or wrong token shows before gigabytes are copied
    return api


def _push(
    api: HfApi,
    folder: Path,
    repo_id: str,
    allowed: tuple[str, ...],
    replaced: tuple[str, ...],
    *,
    private: bool,
    revision: str | None,
) -> Pushed:
    _check_no_token(folder)
    repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
    info = api.model_info(repo_id)
    if private and not info.private:
        raise ValueError(f"{repo_id} exists and is public. Make it private first, or drop --private.")
    _check_same_sort(info, is_adapter=allowed is ADAPTER_FILES)
    if revision:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        revision=revision,
        commit_message=f"Upload KoCap {'adapter' if allowed is ADAPTER_FILES else 'bundle'}",
        allow_patterns=list(allowed),
        delete_patterns=list(replaced),
    )
    return Pushed(repo_id, str(commit.repo_url), commit.oid)


def _check_no_token(folder: Path) -> None:
    token = (get_token() or "").encode()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            continue
        content = path.read_bytes()
        if TOKEN.search(content) or (token and token in content):
            raise ValueError(
                f"{path.name} holds a Hub token; nothing was pushed. Remove it there, and revoke the token."
            )


def _check_same_sort(info: ModelInfo, *, is_adapter: bool) -> None:
    """An adapter beside a model changes what `from_pretrained` makes of either."""
    stranger = "config.json" if is_adapter else "adapter_config.json"
    if stranger in _names(info):
        sort, other = ("an adapter", "a whole model") if is_adapter else ("a whole model", "an adapter")
        raise ValueError(f"{info.id} holds {other}, and this is {sort}; give it a repository of its own.")


def _names(info: ModelInfo) -> set[str]:
    return {sibling.rfilename for sibling in info.siblings or ()}


def _read_adapter(adapter: Path) -> dict:
    missing = [name for name in ADAPTER_FILES[:2] if not (adapter / name).is_file()]
    if missing:
        raise ValueError(
            f"{adapter} has no {', no '.join(missing)}; an adapter needs both. Save it with"
            " PeftModel.save_pretrained(folder), which writes safetensors."
        )
    return json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))


def _find_base(api: HfApi, config: dict, base: str | None) -> tuple[str, str]:
    """The base's id and commit, from `--base` or as the adapter pins it."""
    named, pinned = config.get("base_model_name_or_path"), config.get("revision")
    if base:
        base_id, _, wanted = base.partition("@")
    elif not named or Path(named).is_absolute() or Path(named).is_dir():
        raise ValueError(
            f"the adapter's base is {Path(named).name if named else 'not named'}, a local folder, which nobody else can"
            " load. Push the base first (publish.py push BASE org/base), then give --base org/base."
        )
    elif not pinned:
        raise ValueError(
            f"the adapter names {named} without a commit, so it would change whenever {named} does. Give --base"
            f" {named} to pin its present commit, or --base {named}@COMMIT."
        )
    else:
        base_id, wanted = named, pinned
    validate_repo_id(base_id)
    info = api.model_info(base_id, revision=wanted or None, files_metadata=True)
    if not {"config.json", "modeling_kocap.py"} <= _names(info):
        raise ValueError(f"{base_id} holds no KoCap bundle; push the base with publish.py push BASE {base_id}.")
    if base and named and Path(named).is_dir():
        _check_same_weights(Path(named), info)
    assert info.sha
    return base_id, info.sha


def _check_same_weights(folder: Path, info: ModelInfo) -> None:
    there = {sibling.rfilename: sibling.lfs.sha256 for sibling in info.siblings or () if sibling.lfs}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if there.get(path.name, digest) != digest:
            raise ValueError(
                f"{info.id} holds other weights in {path.name} than {folder.name}, which the adapter was trained on."
                f" Push {folder.name} there first, or name the right base."
            )


def _lay_out(api: HfApi, adapter: Path, folder: Path, config: dict, *, base_id: str, commit: str) -> None:
    """Copy what travels to `folder`, with base and code named so that a stranger finds them."""
    own = sorted(path.name for path in adapter.iterdir() if path.is_file() and matches(path.name, ADAPTER_FILES))
    if "processor_config.json" not in own:
        own = [name for name in own if not matches(name, PROCESSOR_FILES)]
        snapshot = Path(api.snapshot_download(base_id, revision=commit, allow_patterns=list(PROCESSOR_FILES)))
        for path in snapshot.iterdir():
            if matches(path.name, PROCESSOR_FILES):
                shutil.copyfile(path, folder / path.name)
    for name in own:
        shutil.copyfile(adapter / name, folder / name)
    if left := sorted(path.name for path in adapter.iterdir() if path.name not in own):
        logger.warning("left out of the push: %s", ", ".join(left))

    pinned = config | {"base_model_name_or_path": base_id, "revision": commit}
    if not config.get("task_type"):
        pinned["auto_mapping"] = AUTO_MAPPING
    _write_json(folder / "adapter_config.json", pinned)
    processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    processor["auto_map"] = _code_of(base_id, PROCESSOR_AUTO_MAP)
    processor["video_processor"]["auto_map"] = _code_of(base_id, VIDEO_PROCESSOR_AUTO_MAP)
    _write_json(folder / "processor_config.json", processor)
    local, card = config.get("base_model_name_or_path"), folder / "README.md"
    if local and local != base_id and card.exists():
        card.write_text(card.read_text(encoding="utf-8").replace(local, base_id), encoding="utf-8")


def _code_of(base_id: str, auto_map: dict[str, str]) -> dict[str, str]:
    """Entries that send transformers to another repository for the code."""
    return {name: f"{base_id}--{reference}" for name, reference in auto_map.items()}


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
