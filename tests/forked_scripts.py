"""Scripts as a user runs them, many times over: each in a process forked from one that has imported what is slow.

    python tests/forked_scripts.py jobs.json        # [{"argv": ["caption.py", ...], "env": {...}}, ...]

Writes one line of JSON for every job: `code` and `said`, stdout and stderr together. Every question is answered `y`.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def run_scripts(jobs: list[dict[str, Any]], *, timeout_s: float = 300) -> list[tuple[int, str]]:
    """Exit code and words of every job, which has `argv` and perhaps `env`."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "jobs.json"
        path.write_text(json.dumps(jobs))
        command = [sys.executable, __file__, path]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=timeout_s, check=True
        )
    return [(row["code"], row["said"]) for row in map(json.loads, done.stdout.splitlines())]


def _run(job: dict[str, Any], output: int) -> None:
    """In the forked process, which ends with it."""
    os.environ.update(job.get("env", {}))
    answers, asks = os.pipe()
    os.write(asks, b"y\n" * 8)
    os.close(asks)
    for stream, descriptor in enumerate((answers, output, output)):
        os.dup2(descriptor, stream)
    sys.argv = job["argv"]
    code: Any = 1
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(path: str) -> None:
    jobs = json.loads(Path(path).read_text())
    for script in sorted({job["argv"][0] for job in jobs}):
        importlib.import_module(Path(script).stem)  # what it imports is there in every fork
    for job in jobs:
        with tempfile.TemporaryFile() as output:
            child = os.fork()
            if not child:
                _run(job, output.fileno())
            _, status = os.waitpid(child, 0)
            output.seek(0)
            said = output.read().decode(errors="replace")
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "said": said}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _main(sys.argv[1])
