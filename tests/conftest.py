"""What every test shares."""

from pathlib import Path

import pytest
import torch

import modeling.auto_classes  # noqa: F401
from training.tiny_model import build_tiny, train_tokenizer

torch.set_num_threads(1)  # small tensors: more threads only wait for each other


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random model and its processor, saved from the source tree: weights and settings, no code."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(
        ["잔잔한 파도가 모래 해변으로 밀려옵니다.", "해가 지는 산 위로 구름이 천천히 흘러갑니다."]
    )
    model, processor = build_tiny(tokenizer, image_size=64, num_frames=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)  # large enough that the frames move the caption
    folder = tmp_path_factory.mktemp("checkpoint") / "kocap-tiny"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
