"""Scores on the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .caption_files import CaptionNote
from .score_words import (
    ATTRIBUTE_HEAD,
    COMPARISON_HEAD,
    COMPARISON_KO,
    SCORE_HEAD,
    SIGNATURES_KO,
    write_diversity,
    write_score,
)
from .scoring import ScoreSheet


def print_scores(
    console: Console,
    sheet: ScoreSheet,
    *,
    notes: Sequence[CaptionNote],
    baseline: str,
    comparison: Sequence[Sequence[str]],
    attributes: Sequence[Sequence[str]] = (),
) -> None:
    """Scores beside their floors, variety, alarms, a second system, the published score, and what numbers depend on.

    Args:
        baseline: About the published score; "" to leave it out.
        comparison: Rows under `COMPARISON_HEAD`; none without a second system.
        attributes: Rows under `ATTRIBUTE_HEAD`; of generated scenes only.
    """
    rows = [write_score(score) for score in sheet.scores.values()]
    _print_table(console, f"영상 {len(sheet.ids):,}개", SCORE_HEAD, rows)
    constant = sheet.constant_caption
    _say(console, f"모두 같은 설명: {constant if len(constant) <= 200 else constant[:199] + '…'}\n", "dim")
    _print_table(console, "다양성", ("", "예측", "정답"), write_diversity(sheet.diversity))
    if attributes:
        _print_table(console, "그려 낸 장면의 속성", ATTRIBUTE_HEAD, attributes)
    for alarm in sheet.alarms:
        _say(console, f"{alarm.code}: {alarm.message_ko}", "bold red")
    for note in notes:
        _say(console, f"{note.code}: {note.message_ko}", "yellow")
    if comparison:
        console.print()
        _print_table(console, "두 시스템 비교(짝지은 부트스트랩)", COMPARISON_HEAD, comparison)
        _say(console, COMPARISON_KO, "dim")
    if baseline:
        _say(console, f"\n{baseline}")
    _say(console, f"\n서명: {SIGNATURES_KO}")
    for score in sheet.scores.values():
        _say(console, score.signature, "dim")


def _print_table(console: Console, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(escape(text), style=style, highlight=False, soft_wrap=True)
