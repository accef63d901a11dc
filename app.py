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

from demo.working_folder import WORKING_FOLDER  # before Gradio

# isort: split
import spaces  # before torch, which it patches on ZeroGPU; elsewhere it does nothing

from demo.examples import make_examples
from demo.limits import ConnectionLimits, UploadLimits
from demo.models import Models
from demo.page import build_page, launch_options
from modeling.checkpoint_names import EMBEDDED_MODEL


def main() -> None:
    """Open the page, then load the models that the environment names: the embedded one where it names none."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    names = [os.environ.get("KOCAP_MODEL") or EMBEDDED_MODEL, os.environ.get("KOCAP_COMPARE_MODEL")]
    models, limits = Models(list(filter(None, names))), UploadLimits()
    page = build_page(models, make_examples(WORKING_FOLDER / "examples"), limits)
    if spaces.config.Config.zero_gpu:  # lends GPUs with the weights that were loaded while the Space started
        load(models)
    connections = ConnectionLimits.of_environment(os.environ)
    page.launch(prevent_thread_lock=True, **launch_options(limits, connections))
    if not models.are_ready:
        load(models)
    page.block_thread()


def load(models: Models) -> None:
    """Load the models, or end the program."""
    try:
        models.load()
    except OSError as error:
        sys.exit(f"모델을 불러올 수 없습니다: {' · '.join(models.names)}\n{error}")


if __name__ == "__main__":
    main()
