"""What checkpoints are called: where the embedded one lies, a model's name, and what identifies its weights."""

import hashlib
from pathlib import Path

EMBEDDED_MODEL = str(Path(__file__).resolve().parent.parent / "checkpoints" / "kocap-tiny")


def model_name(model: str) -> str:
    """A checkpoint as lines name it: a folder's name, or the Hub id."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def weights_revision(folder: Path) -> str | None:
    """`sha256:` and 16 hex digits of all safetensors in a folder; None when there are none."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return None
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"
