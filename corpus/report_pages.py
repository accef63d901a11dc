"""What reports in Korean are made of: Markdown tables, plots with Korean labels, files that appear complete."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from configuration.disk_writing import finish_file, partial_path, writing

KOREAN_FONTS = ("NanumGothic", "Noto Sans CJK KR", "Malgun Gothic", "AppleGothic")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; one that says so where there are no rows."""
    rows = rows or [["없음"] + [""] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
        for row in (head, ["---"] * len(head), *rows)
    )


@contextlib.contextmanager
def korean_plots() -> Iterator[bool]:
    """Draw with a Korean font inside; gives False where there is none, and labels must be English."""
    import matplotlib  # takes a second, and only reports need it
    from matplotlib.font_manager import get_font_names

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # one line for every missing glyph otherwise
    font = next((name for name in KOREAN_FONTS if name in get_font_names()), None)
    with matplotlib.rc_context({"font.family": [font or "DejaVu Sans"], "axes.unicode_minus": False}):
        yield font is not None


def new_plot(width: float, height: float):
    """A figure and its axes, without a window or pyplot's memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def save_plot(figure, path: Path) -> Path:
    """Write a figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    partial = path.with_suffix(".partial")
    with writing(path, "a plot"):
        FigureCanvasAgg(figure).print_png(str(partial))
        partial.replace(path)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all, also after a power cut.

    Raises:
        DiskError: If it does not fit.
    """
    partial = partial_path(path)
    with writing(path, "a file", needed_bytes=len(content)):
        partial.write_bytes(content)
        finish_file(partial, path)
