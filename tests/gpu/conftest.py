"""Tests that want a GPU. Without one they are skipped, unless `--device cpu` tries the tests themselves:

python -m pytest tests/gpu                  # on a GPU
python -m pytest tests/gpu --device cpu     # a rehearsal
"""

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cuda", choices=["cuda", "cpu"], help="where tests/gpu run")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where to run."""
    # Where the whole suite runs, this file is read too late for its option.
    name = request.config.getoption("--device", default="cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return torch.device(name)


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """A GPU, also in a rehearsal."""
    if device.type != "cuda":
        pytest.skip("only a GPU has this")
    return device
