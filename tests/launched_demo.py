"""The demo's page, launched in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import demo.working_folder  # noqa: F401  # before Gradio

# isort: split
import gradio as gr

from demo.limits import ConnectionLimits, UploadLimits
from demo.models import Models
from demo.page import build_page, launch_options


def loaded(*names: str) -> Models:
    """The models of these names, the embedded one where none is named."""
    models = Models(names) if names else Models()
    models.load()
    return models


@contextmanager
def launched(
    models: Models,
    limits: UploadLimits,
    examples: Sequence[Path] = (),
    connections: ConnectionLimits | None = None,
) -> Iterator[str]:
    """The page's address, which ends with a slash."""
    with launched_page(models, limits, examples, connections) as (_, url):
        yield url


@contextmanager
def launched_page(
    models: Models,
    limits: UploadLimits,
    examples: Sequence[Path] = (),
    connections: ConnectionLimits | None = None,
) -> Iterator[tuple[gr.Blocks, str]]:
    """The page and its address."""
    page, options = build_page(models, examples, limits), launch_options(limits, connections)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    try:
        yield page, url
    finally:
        page.close()
