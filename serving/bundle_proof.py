"""Load a bundle as a stranger would: `hub_bundle.bundle` ends with this.

    python -P serving/bundle_proof.py FOLDER

Imports nothing of this project: what it loads must come from the bundle.
"""

import sys

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoVideoProcessor
from transformers.dynamic_module_utils import get_class_from_dynamic_module


def prove(folder: str) -> None:
    """Load everything the bundle promises, with remote code, and caption two blank frames.

    Raises:
        ValueError: If weights are missing, unknown or of the wrong shape; whatever else fails raises by itself.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
    model, info = AutoModel.from_pretrained(
        folder,
        trust_remote_code=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told below, by name
        device_map="auto" if torch.cuda.is_available() else None,
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise ValueError(f"the weights have {len(info[kind])} {kind}, among them {sorted(info[kind])[:3]}.")
    pipeline_class = get_class_from_dynamic_module(config.custom_pipelines["video-text-to-text"]["impl"], folder)
    blank_frames = np.zeros((2, 3, 64, 64), np.uint8)
    pipeline_class(model=model, processor=processor)(blank_frames, max_new_tokens=4)


if __name__ == "__main__":
    prove(sys.argv[1])
