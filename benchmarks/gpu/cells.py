"""The cells of a part: each is measured by itself, and its result is on disk before the next one begins.

A part that is killed leaves what it had; started again, it goes on with what is missing.
"""

import argparse
import gc
import json
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from run_record import RESULTS, describe_machine, save_result

COMMAND = "bash benchmarks/gpu/run.sh"


@dataclass(frozen=True)
class Machine:
    """Where a part runs, and how long it may.

    Attributes:
        device: The GPU; the CPU in a rehearsal.
        rehearse: Toy sizes, to try the code.
        ends_at: `time.monotonic()` at which the part is stopped.
        out: Folder for what the part makes.
    """

    device: torch.device
    rehearse: bool
    ends_at: float
    out: Path

    @property
    def left_s(self) -> float:
        """Seconds until the part is stopped."""
        return self.ends_at - time.monotonic()

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        name: Its own within the part.
        measure: Returns what was measured, as JSON holds it. Raises `NotMeasured` where it makes no sense here.
        least_s: With less time left it is not begun.
    """

    name: str
    measure: Callable[[], dict[str, Any]]
    least_s: float = 5.0


class NotMeasured(Exception):
    """Why a cell has no result, though nothing is wrong."""


def run_part(part: str, list_cells: Callable[[Machine], Iterable[Cell]]) -> int:
    """Measure a part's cells in their order; returns the exit code, 1 where a cell failed or is missing.

    Args:
        part: The results are `gpu_{part}.json`.
        list_cells: All cells, the most worthwhile first.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="seconds")
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    device = torch.device("cpu" if arguments.rehearse or not torch.cuda.is_available() else "cuda")
    machine = Machine(device, arguments.rehearse, time.monotonic() + arguments.limit, arguments.out)
    results = Results(f"gpu_{part}", machine)
    is_whole = True
    for cell in list_cells(machine):
        if results.has(cell.name):
            continue
        if machine.left_s < cell.least_s:
            print(f"{part} {cell.name}: not begun, {machine.left_s:.0f} s left of {cell.least_s:.0f}", flush=True)
            is_whole = False
            continue
        results.note(cell.name, {"state": "begun"})
        outcome = _measure(cell, machine)
        results.note(cell.name, outcome)
        is_whole &= outcome["state"] != "failed"
        print(f"{part} {cell.name}: {json.dumps(outcome, ensure_ascii=False)}", flush=True)
    return 0 if is_whole else 1


class Results:
    """The file of a part's cells; goes on from what earlier runs on the same card have left."""

    def __init__(self, name: str, machine: Machine):
        self.name, self.folder = name, machine.out
        self.cells: dict[str, dict] = {}
        kept = [machine.out] if machine.rehearse else [machine.out, RESULTS]
        for path in (folder / f"{name}.json" for folder in kept):
            if path.is_file() and not self.cells:
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["hardware"] == describe_machine():
                    self.cells = record["result"]["cells"]

    def has(self, cell: str) -> bool:
        """Whether it was measured, or there is a reason why not; what failed or was cut off is tried again."""
        return self.cells.get(cell, {}).get("state") in ("measured", "not measured")

    def note(self, cell: str, outcome: dict[str, Any]) -> None:
        """Take a cell down, on disk."""
        self.cells[cell] = outcome
        save_result(self.name, {"cells": self.cells}, folder=self.folder, command=COMMAND)


def _measure(cell: Cell, machine: Machine) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        outcome = {"state": "measured"} | cell.measure()
    except NotMeasured as reason:
        outcome = {"state": "not measured", "reason": str(reason)}
    except torch.OutOfMemoryError as error:
        outcome = {"state": "not measured", "reason": f"out of memory: {str(error).splitlines()[0]}"}
    except Exception as error:  # another cell may well work
        traceback.print_exc()
        outcome = {"state": "failed", "reason": f"{type(error).__name__}: {error}"[:500]}
    free_memory(machine.device)
    return outcome | {"seconds": round(time.perf_counter() - started, 1)}


def free_memory(device: torch.device) -> None:
    """Give back what finished cells held, and begin to watch the peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
