"""Which commit of a repository is loaded, and which one an adapter asks for."""

import json
import re
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers.utils import find_adapter_config_file

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ARGUMENTS = ("cache_dir", "local_files_only", "token")


def hub_arguments(kwargs: dict, *more: str) -> dict:
    """Those of `from_pretrained`'s arguments that say how to download, and `more`; without those that are None."""
    return {name: kwargs[name] for name in (*HUB_ARGUMENTS, *more) if kwargs.get(name) is not None}


def pinned_base_revision(kwargs: dict) -> str | None:
    """The commit an adapter pins for its base, when Auto classes load the base in the adapter's name.

    transformers takes the base's newest commit, on which an adapter trained on an older one says other things.

    Args:
        kwargs: Of `from_pretrained`, as AutoModel fills them for an adapter.
    Returns:
        None where there is no adapter, it pins nothing, or the caller asked for a revision.
    """
    adapter = kwargs.get("adapter_kwargs") or {}
    source = adapter.get("_adapter_model_path")
    if source is None or kwargs.get("revision") not in (None, "main"):
        return None
    path = find_adapter_config_file(source, revision=adapter.get("revision"), **hub_arguments(kwargs))
    if path is None:
        return None
    pinned = json.loads(Path(path).read_text(encoding="utf-8")).get("revision") or ""
    return pinned if COMMIT.fullmatch(pinned) else None


def downloaded_commit(name: str, kwargs: dict) -> str | None:
    """The commit that `from_pretrained(name, **kwargs)` has just downloaded; None for a folder."""
    if Path(name).exists():
        return None
    revision = kwargs.get("revision")
    if COMMIT.fullmatch(revision or ""):
        return str(revision)
    path = try_to_load_from_cache(name, "config.json", revision=revision, cache_dir=kwargs.get("cache_dir"))
    return Path(path).parent.name if isinstance(path, str) else None
