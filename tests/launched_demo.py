"""The demo's page, launched in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo.limits import UploadLimits
from demo.models import Models
from demo.page import build_page, launch_options


def loaded(*names: str) -> Models:
    """The models of these names, the embedded one where none is named."""
    models = Models(names) if names else Models()
    models.load()
    return models


@contextmanager
def launched(models: Models, limits: UploadLimits, examples: Sequence[Path] = ()) -> Iterator[str]:
    """The page's address, which ends with a slash."""
    page = build_page(models, examples, limits)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options(limits))
    try:
        yield url
    finally:
        page.close()
