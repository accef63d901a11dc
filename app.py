"""The web demo, and the entry point of a Hugging Face Space.

    python app.py
    KOCAP_MODEL=org/kocap-qwen3 GRADIO_SERVER_PORT=8000 python app.py
    KOCAP_MODEL=org/kocap-qwen3 KOCAP_COMPARE_MODEL=org/kocap-qwen3-lora python app.py

A model is a checkpoint or an adapter, folder or Hub id. Listens on this machine only (127.0.0.1:7860) unless
GRADIO_SERVER_NAME says otherwise, as it does on a Space.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

import spaces  # noqa: F401  before torch, which it patches on ZeroGPU; elsewhere it does nothing

from demo.captioners import Captioner, load
from demo.examples import make_examples
from demo.limits import UploadLimits
from demo.page import build_page, launch_options
from modeling.captioner import EMBEDDED_MODEL


def load_models() -> list[Captioner]:
    """The models that the environment names; the embedded one where it names none."""
    names = [os.environ.get("KOCAP_MODEL") or EMBEDDED_MODEL, os.environ.get("KOCAP_COMPARE_MODEL")]
    captioners = []
    for name in filter(None, names):
        try:
            captioners.append(load(name))
        except OSError as error:
            sys.exit(f"모델을 불러올 수 없습니다: {name}\n{error}")
    return captioners


def main() -> None:
    """Load the models, draw the examples, open the page."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    limits = UploadLimits()
    captioners = load_models()
    examples = make_examples(Path(tempfile.gettempdir()) / "kocap-examples")
    build_page(captioners, examples, limits).launch(**launch_options(limits))


if __name__ == "__main__":
    main()
