"""The web demo, and the entry point of a Hugging Face Space.

    python app.py
    KOCAP_MODEL=org/kocap-qwen3 GRADIO_SERVER_PORT=8000 python app.py
    KOCAP_MODEL=org/kocap-qwen3 KOCAP_COMPARE_MODEL=org/kocap-qwen3-lora python app.py

A model is a checkpoint or an adapter, folder or Hub id; KOCAP_TRUST_REMOTE_CODE=1 lets code from its repository run,
which may do anything. Listens on this machine only (127.0.0.1:7860) unless
GRADIO_SERVER_NAME says otherwise, as it does on a Space. The exit code is 1 when the page or a model cannot be opened.
"""

import logging
import os

from configuration.script_endings import coded_ending, quiet_until_main

if __name__ == "__main__":
    quiet_until_main()

from demo.working_folder import WORKING_FOLDER, remove_working_folder  # before Gradio

# isort: split
import spaces  # before torch, which it patches on ZeroGPU; elsewhere it does nothing

from demo.examples import make_examples
from demo.limits import ConnectionLimits, UploadLimits
from demo.models import Models
from demo.page import build_page, launch_options
from modeling.checkpoint_names import EMBEDDED_MODEL


@coded_ending()
def main() -> None:
    """Run the demo until it is stopped."""
    try:
        run()
    finally:
        remove_working_folder()


def run() -> None:
    """Open the page, then load the models that the environment names: the embedded one where it names none."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    names = [os.environ.get("KOCAP_MODEL") or EMBEDDED_MODEL, os.environ.get("KOCAP_COMPARE_MODEL")]
    trust = os.environ.get("KOCAP_TRUST_REMOTE_CODE", "") not in ("", "0", "false")
    models, limits = Models(list(filter(None, names)), trust_remote_code=trust), UploadLimits()
    models.check()
    page = build_page(models, make_examples(WORKING_FOLDER / "examples"), limits)
    if spaces.config.Config.zero_gpu:  # lends GPUs with the weights that were loaded while the Space started
        models.load()
    connections = ConnectionLimits.of_environment(os.environ)
    page.launch(prevent_thread_lock=True, **launch_options(limits, connections))
    if not models.are_ready:
        models.load()
    page.block_thread()


if __name__ == "__main__":
    main()
