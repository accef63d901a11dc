"""benchmarks/gpu without a GPU: its rehearsal, its limits, what it leaves behind; and the memory plan against it."""

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from configuration.gpu_tiers import TIERS
from configuration.memory_plan import GIB
from training.adapters import KINDS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "benchmarks", ROOT / "benchmarks" / "gpu")
WITHIN = 0.10  # of the measured peak


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    """Import a file of benchmarks/gpu by name, as its scripts import each other."""
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent in FOLDERS:
            del sys.modules[name]


def machine(cells, out: Path, limit_s: float = 60):
    return cells.Machine(torch.device("cpu"), True, time.monotonic() + limit_s, out)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_weighs_what_is_planned(benchmark, kind, dtype):
    fits = benchmark("fits")
    run = dataclasses.replace(fits.Run.of(TIERS["cpu"], kind, small=True), dtype=dtype)
    parameters = list(fits.build_trained(run, torch.device("cpu")).parameters())
    frozen = sum(weight.numel() * weight.element_size() for weight in parameters if not weight.requires_grad)
    plan = run.plan()
    assert plan.frozen_weights == pytest.approx(frozen, rel=0.01)
    assert plan.trainable_parameters == sum(weight.numel() for weight in parameters if weight.requires_grad)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["lora", "qlora", "qdora", "full"])
def test_checkpointing_keeps_the_planned_bytes_of_a_layer(benchmark, kind, dtype):
    """What a layer is given, and the checkpoint keeps, has the residual stream's planned type."""
    fits, stream_bytes = benchmark("fits"), benchmark("configuration.activation_memory").stream_bytes
    run = dataclasses.replace(fits.Run.of(TIERS["cpu"], kind, small=True), dtype=dtype)
    model = fits.build_trained(run, torch.device("cpu"))
    inner = model if kind == "full" else model.get_base_model()
    seen = []
    inner.model.language_model.layers[1].register_forward_pre_hook(
        lambda module, inputs, named: seen.append((inputs[0] if inputs else named["hidden_states"]).element_size()),
        with_kwargs=True,
    )
    with torch.autocast("cpu", getattr(torch, dtype)):
        model(**fits.random_batch(run, torch.device("cpu")), use_cache=False)
    assert set(seen) == {stream_bytes(kind, dtype, four_bit=run.four_bit)}


@pytest.mark.parametrize("kind", ["qlora", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("lora", "full"))])
def test_a_small_shape_trains(benchmark, kind, tmp_path):
    fits, cells = benchmark("fits"), benchmark("cells")
    row = fits.measure(TIERS["cpu"], kind, machine(cells, tmp_path))
    # A random model over 1,000 tokens starts at ln 1000 = 6.9 and, on one batch again and again, goes nowhere but down.
    assert 0 < row["loss"] < 7.5
    assert row["tokens_per_s"] > 0 and row["trainable_parameters"] > 0 and row["steps"] >= 1


def far_from_plan(cells: dict[str, dict], fits) -> list[str]:
    """Measured cells of part b whose peak is further from today's plan than `WITHIN`."""
    found = []
    for name, outcome in cells.items():
        if outcome["state"] == "measured":
            plan = fits.Run.of((TIERS | {fits.BASELINE.name: fits.BASELINE})[outcome["tier"]], outcome["kind"]).plan()
            planned = (plan.total - plan.overhead) / GIB
            if abs(planned - outcome["peak_gib"]) > WITHIN * outcome["peak_gib"]:
                found.append(f"{name}: planned {planned:.2f} GiB, measured {outcome['peak_gib']}")
    return found


def test_the_plan_is_what_a_gpu_measured(benchmark):
    fits, report = benchmark("fits"), benchmark("report")
    path = report.RESULTS / "gpu_fits.json"
    if path.is_file():
        assert far_from_plan(json.loads(path.read_text(encoding="utf-8"))["result"]["cells"], fits) == []
    else:
        assert report.NOT_YET in report.PAGE.read_text(encoding="utf-8")


def test_a_plan_that_is_wrong_would_be_found(benchmark):
    fits = benchmark("fits")
    plan = fits.Run.of(TIERS["l4"], "qlora").plan()
    true = (plan.total - plan.overhead) / GIB
    cell = {"state": "measured", "tier": "l4", "kind": "qlora"}
    assert far_from_plan({"l4 qlora": cell | {"peak_gib": true}}, fits) == []
    assert far_from_plan({"l4 qlora": cell | {"peak_gib": 1.2 * true}}, fits)


def test_the_page_says_what_was_measured_and_what_was_not(benchmark, tmp_path):
    report = benchmark("report")
    assert report.PAGE.read_text(encoding="utf-8") == report.write_page(), "run benchmarks/gpu/report.py"
    assert report.write_page(tmp_path).count(report.NOT_YET) == len(report.NAMES)
    row = {"state": "measured", "tier": "l4", "kind": "qlora", "peak_gib": 12.5}
    record = {
        "date": "2026-01-02",
        "command": "bash benchmarks/gpu/run.sh",
        "hardware": {"gpu": "A card", "gpu_gib": 79.1},
        "versions": {"torch": "2.11", "transformers": "5.24"},
        "result": {"cells": {"l4 qlora": row, "l4 full": {"state": "not measured", "reason": "too large"}}},
    }
    (tmp_path / "gpu_fits.json").write_text(json.dumps(record), encoding="utf-8")
    page = report.write_page(tmp_path)
    assert page.count(report.NOT_YET) == len(report.NAMES) - 1
    assert "A card" in page and "12.5" in page and "- l4 full: not measured. too large" in page


def test_a_cell_that_breaks_leaves_the_others(benchmark, tmp_path, monkeypatch):
    cells = benchmark("cells")
    calls = []

    def listed(broken: bool):
        def work(name):
            calls.append(name)
            if broken and name == "two":
                raise ZeroDivisionError("no number")
            if name == "none":
                raise cells.NotMeasured("it makes no sense here")
            return {"value": name}

        names = ("one", "two", "none", "three")
        return lambda machine: [cells.Cell(name, lambda name=name: work(name), least_s=0) for name in names]

    monkeypatch.setattr(sys, "argv", ["part", "--out", str(tmp_path), "--limit", "60", "--rehearse"])
    assert cells.run_part("toy", listed(broken=True)) == 1
    kept = json.loads((tmp_path / "gpu_toy.json").read_text(encoding="utf-8"))["result"]["cells"]
    assert {name: outcome["state"] for name, outcome in kept.items()} == {
        "one": "measured",
        "two": "failed",
        "none": "not measured",
        "three": "measured",
    }
    assert "ZeroDivisionError: no number" in kept["two"]["reason"]
    calls.clear()
    assert cells.run_part("toy", listed(broken=False)) == 0
    assert calls == ["two"], "what was measured is measured again, or what failed is not"


def test_nothing_is_measured_without_a_gpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = start(tmp_path).wait(timeout=120)
    assert done == 2 and list(tmp_path.iterdir()) == []


def start(out: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHON": sys.executable}
    script = ["bash", str(ROOT / "benchmarks" / "gpu" / "run.sh"), "--out", str(out), *arguments]
    return subprocess.Popen(script, env=environment, stdin=subprocess.DEVNULL)


def states(out: Path, part: str) -> dict[str, dict]:
    path = out / f"gpu_{part}.json"
    return json.loads(path.read_text(encoding="utf-8"))["result"]["cells"] if path.is_file() else {}


@pytest.mark.slow
def test_the_rehearsal_survives_a_kill_of_every_part(benchmark, tmp_path):
    """Each part is killed as soon as it has begun a cell; what is left is whole, and the next run does the rest."""
    names = benchmark("run").NAMES
    process, killed, over = start(tmp_path, "--rehearse", "--limit", "600"), set(), threading.Event()

    def kill_parts() -> None:
        while not over.wait(0.05):
            for child in psutil.Process(process.pid).children(recursive=True):
                part = next((name for name in names if f"gpu/{name}.py" in " ".join(child.cmdline())), None)
                if part and part not in killed and states(tmp_path, part):
                    killed.add(part)
                    child.send_signal(signal.SIGKILL)

    watcher = threading.Thread(target=_quietly(kill_parts))
    watcher.start()
    code = process.wait(timeout=600)
    over.set()
    watcher.join()
    assert code == 1 and killed == set(names)
    before = {name: states(tmp_path, name) for name in names}
    assert all(any(outcome["state"] == "begun" for outcome in cells.values()) for cells in before.values())

    assert start(tmp_path, "--rehearse", "--limit", "600").wait(timeout=600) == 0
    for name in names:
        after = states(tmp_path, name)
        assert after and all(outcome["state"] == "measured" for outcome in after.values()), (name, after)
        kept = {cell: outcome for cell, outcome in before[name].items() if outcome["state"] == "measured"}
        assert kept.items() <= after.items()
    assert (tmp_path / "tiny_round.safetensors").stat().st_size > 1_000_000


def _quietly(work):
    """psutil raises where a process has just ended."""

    def run() -> None:
        while True:
            try:
                return work()
            except psutil.Error:
                time.sleep(0.05)

    return run
