"""Run the parts in order of worth, each in a process of its own with a time limit; run.sh starts this.

A part that fails, hangs or is killed costs its own cells only: what it had is on disk, and the next part begins.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TOTAL_S = 480.0
GRACE_S = 20.0  # from SIGTERM, which lets training save, to SIGKILL


@dataclass(frozen=True)
class Part:
    """One script.

    Attributes:
        limit_s: Its share of the time; None: what is left.
    """

    name: str
    limit_s: float | None


PARTS = (Part("right", 90), Part("fits", 180), Part("fast", 130), Part("features", 30), Part("tiny_round", None))
NAMES = [part.name for part in PARTS]


def run_part(part: Part, left_s: float, *, out: Path, rehearse: bool) -> str:
    """Run one part and say how it ended: `done`, or what was wrong."""
    limit_s = left_s if rehearse or part.limit_s is None else min(part.limit_s, left_s)
    command = [sys.executable, str(HERE / "stand_ins.py"), str(HERE / f"{part.name}.py")]
    command += ["--out", str(out), "--limit", str(limit_s), *(["--rehearse"] if rehearse else [])]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            code = None
        finally:
            _end_all(process.pid)  # data workers too
    return "done" if code == 0 else f"stopped after {limit_s:.0f} s" if code is None else f"exit code {code}"


def _end_all(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def main() -> int:
    """Run the parts that are asked for; 0 when each of them is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results", help="where results go")
    parser.add_argument("--limit", type=float, default=TOTAL_S, help="seconds for all parts together")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at toy size")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts).difference(NAMES):
        parser.error(f"there is no part {min(unknown)}; there are {', '.join(NAMES)}")
    if not arguments.rehearse and not _has_gpu():
        print("nothing measured: there is no GPU here. --rehearse tries the code without one.")
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    ends_at = time.monotonic() + arguments.limit
    ended: dict[str, str] = {}
    for part in PARTS:
        if arguments.parts and part.name not in arguments.parts:
            continue
        left_s = ends_at - time.monotonic()
        print(f"== {part.name}: {left_s:.0f} s left", flush=True)
        options = {"out": arguments.out, "rehearse": arguments.rehearse}
        ended[part.name] = run_part(part, left_s, **options) if left_s > 0 else "no time left"
    for name, how in ended.items():
        print(f"{name}: {how}")
    return 0 if set(ended.values()) <= {"done"} else 1


def _has_gpu() -> bool:
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
