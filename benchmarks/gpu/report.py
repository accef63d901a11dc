"""Write docs/gpu.md from page.md and what has been measured; it says plainly what has not.

PYTHONPATH=.:benchmarks python benchmarks/gpu/report.py
"""

import json
from pathlib import Path
from typing import Any

from run import NAMES
from run_record import RESULTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"
TEMPLATE = Path(__file__).with_name("page.md")
NOT_YET = "**Not measured on any GPU yet.**"

COLUMNS = {  # of parts whose cells are alike
    "fits": (
        *("tier", "kind", "text", "batch_size", "sequence_length", "peak_gib", "plan_without_overhead_gib"),
        *("reserved_gib", "context_gib", "plan_gib", "step_s", "tokens_per_s"),
    ),
    "features": (*("tier", "vision", "frames", "clips_per_s", "epoch_encoding_s", "epoch_decoding_s", "cache_gib"),),
}


def write_page(folder: Path = RESULTS) -> str:
    """The page's text, from a folder of results."""
    parts = {name: _part(name, folder / f"gpu_{name}.json") for name in NAMES}
    return TEMPLATE.read_text(encoding="utf-8").format_map(parts)


def _part(name: str, path: Path) -> str:
    if not path.is_file():
        return NOT_YET
    record = json.loads(path.read_text(encoding="utf-8"))
    hardware, versions, cells = record["hardware"], record["versions"], record["result"]["cells"]
    where = (
        f"{record['date']}, {hardware['gpu']} ({hardware['gpu_gib']} GiB), torch {versions['torch']},"
        f" transformers {versions['transformers']}: `{record['command']}`"
    )
    measured = {cell: outcome for cell, outcome in cells.items() if outcome["state"] == "measured"}
    table = _columns(COLUMNS[name], measured) if name in COLUMNS else _rows(measured)
    others = [
        f"- {cell}: {outcome['state']}. {outcome.get('reason', '')}"
        for cell, outcome in cells.items()
        if cell not in measured
    ]
    missing = "\n".join(["Not measured:", "", *others]) if others else ""
    return "\n\n".join(filter(None, [where, table if measured else NOT_YET, missing]))


def _columns(names: tuple[str, ...], cells: dict[str, dict]) -> str:
    rows = [[_plain(outcome.get(name, "")) for name in names] for outcome in cells.values()]
    return _table([name.replace("_", " ") for name in names], rows)


def _rows(cells: dict[str, dict]) -> str:
    rows = [
        [cell, "; ".join(f"{name} {_plain(value)}" for name, value in outcome.items() if name != "state")]
        for cell, outcome in cells.items()
    ]
    return _table(["cell", "measured"], rows)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " / ".join(map(_plain, value))
    return str(value).replace("|", "\\|").replace("\n", " ")


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
    print(PAGE)
