"""Scripts in terminals and pipes that know no Korean, or no emoji: everything is said, as escapes where it must be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("encoding", ["ascii", "euc-kr"])
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("prepare.py --help", "aihub"),
        ("publish.py check checkpoints/kocap-tiny", "vLLM"),  # says ✗, which EUC-KR has not
        ("score.py nothing.jsonl nothing.jsonl", "E_CAPTIONS"),
        ("train.py --preset cpu --output nowhere --dry_run", "GiB"),
    ],
)
def test_no_script_dies_of_what_it_cannot_print(command, told, encoding):
    env = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command.split()], cwd=ROOT, env=env, capture_output=True, timeout=300)
    said = (done.stdout + done.stderr).decode(encoding, "replace")
    assert told in said, said
    assert "UnicodeEncodeError" not in said and "PYTHONIOENCODING" not in said, said
    assert done.returncode in (0, 1), said
