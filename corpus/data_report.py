"""What became of a download: a page in Korean with plots, and the list of what was left out."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .aihub_errors import REASONS_KO, Rejection
from .report_pages import korean_plots, markdown_table, new_plot, save_plot, write_whole

ATTRIBUTION = "The Open AI Dataset Project (AI-Hub, S. Korea)"
TOKENS_PER_CHARACTER = 402 / 575  # Qwen3 on this dataset's captions: mean tokens by mean characters
UNKNOWN = "알 수 없음"
CHANGES_KO = {"unicode": "NFC 정규화", "quotes": "따옴표", "masks": "가림 표시(#, ○○ 등) 삭제", "spaces": "공백"}
COUNTS_KO = {
    "labels": "라벨 파일",
    "videos": "영상 파일",
    "pairs": "짝이 맞은 것",
    "train": "학습용(train.jsonl)",
    "val": "검증용(val.jsonl)",
    "rejected": "제외",
    "near_duplicates": "거의 같은 영상의 쌍",
    "shared_locations": "학습용과 검증용에 함께 나오는 장소",
}


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows.

    Attributes:
        counts: By the names in `COUNTS_KO`.
        durations_s, characters, tokens, categories, sizes: One entry per record.
        tokens_exact: Whether a tokenizer counted, or characters were multiplied.
        changes: How many captions each step of normalising changed.
        caption_keys: How many captions each key gave.
        notes: Korean sentences about anything else worth knowing.
    """

    counts: dict[str, int]
    durations_s: Sequence[float]
    characters: Sequence[int]
    tokens: Sequence[float]
    tokens_exact: bool
    categories: Sequence[str]
    sizes: Sequence[str]
    changes: Counter[str]
    caption_keys: Counter[str]
    rejections: Sequence[Rejection]
    notes: Sequence[str] = field(default_factory=list)


def write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    """Write one JSON object per row that was left out."""
    rows = (json.dumps(asdict(rejection), ensure_ascii=False) + "\n" for rejection in rejections)
    write_whole(path, "".join(rows).encode("utf-8", "backslashreplace"))


def write_report(folder: Path, data: ReportData) -> Path:
    """Write `report.md` and its plots; each file appears complete.

    Returns:
        The page.
    """
    plots = _draw_plots(folder / "report", data)
    page = folder / "report.md"
    write_whole(page, _page(data, [plot.relative_to(folder).as_posix() for plot in plots]).encode("utf-8", "replace"))
    return page


def _page(data: ReportData, plots: list[str]) -> str:
    kind = "토큰(Qwen3 토크나이저)" if data.tokens_exact else "토큰(추정: 글자 수 × 402/575)"
    rows = [("길이(초)", data.durations_s), ("설명문 글자 수", data.characters), (kind, data.tokens)]
    codes = Counter(rejection.code for rejection in data.rejections)
    reasons = {rejection.code: rejection.reason_ko for rejection in data.rejections} | REASONS_KO
    examples = {rejection.code: rejection for rejection in reversed(data.rejections)}
    return "\n\n".join(
        [
            "# 데이터 보고서",
            f"출처: {ATTRIBUTION}. AI-Hub 데이터는 재배포할 수 없습니다. 이 폴더의 영상과 설명문도 공개하지 마세요.",
            markdown_table(["항목", "개수"], [[COUNTS_KO[name], str(data.counts[name])] for name in COUNTS_KO]),
            *data.notes,
            "## 길이",
            markdown_table(
                ["", "평균", "최소", "5 %", "중앙값", "95 %", "최대"], [_spread(name, values) for name, values in rows]
            ),
            *[f"![{Path(plot).stem}]({plot})" for plot in plots],
            "## 분류와 해상도",
            _counter_table("분류", Counter(data.categories)),
            _counter_table("해상도", Counter(data.sizes)),
            "## 설명문",
            _counter_table("설명문 키", data.caption_keys),
            _counter_table("고친 것", Counter({CHANGES_KO[name]: count for name, count in data.changes.items()})),
            "## 제외한 파일",
            markdown_table(
                ["코드", "사유", "개수", "예"],
                [[code, reasons[code], str(count), _example(examples[code])] for code, count in codes.most_common()],
            ),
            "파일마다 행 번호와 사유는 `rejected.jsonl`에 있습니다.\n",
        ]
    )


def _example(rejection: Rejection) -> str:
    line = f" {rejection.line}번째 줄" if rejection.line else ""
    reason = rejection.reason if len(rejection.reason) <= 300 else rejection.reason[:297] + "..."
    return f"`{rejection.file}`{line}: {reason}"


def _spread(name: str, values: Sequence[float]) -> list[str]:
    array = np.asarray(values, np.float64)
    return [name, *(f"{value:.1f}" for value in (array.mean(), *np.percentile(array, [0, 5, 50, 95, 100])))]


def _counter_table(name: str, counter: Counter[str]) -> str:
    return markdown_table([name, "개수"], [[key, str(count)] for key, count in counter.most_common()])


def _draw_plots(folder: Path, data: ReportData) -> list[Path]:
    """Histograms of lengths and bars of categories as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = []
    with korean_plots() as korean:
        estimate = "" if data.tokens_exact else (" (추정)" if korean else " (estimate)")
        histograms = [
            ("durations", data.durations_s, "길이(초)" if korean else "duration (s)"),
            ("characters", data.characters, "설명문 글자 수" if korean else "characters per caption"),
            ("tokens", data.tokens, ("Qwen3 토큰 수" if korean else "Qwen3 tokens per caption") + estimate),
        ]
        for name, values, label in histograms:
            figure, axes = new_plot(6, 3)
            axes.hist(values, bins=min(30, 1 + round(len(values) ** 0.5)), color="#4878a8")
            axes.set_xlabel(label)
            axes.set_ylabel("영상 수" if korean else "clips")
            axes.yaxis.get_major_locator().set_params(integer=True)
            plots.append(save_plot(figure, folder / f"{name}.png"))
        categories = Counter(data.categories).most_common(20)[::-1]
        names = [
            name if korean or name.isascii() else f"#{len(categories) - i}" for i, (name, _) in enumerate(categories)
        ]
        figure, axes = new_plot(6, 0.8 + 0.3 * len(names))
        axes.barh(names, [count for _, count in categories], color="#4878a8")
        axes.set_xlabel("영상 수" if korean else "clips (categories in the table's order)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        plots.append(save_plot(figure, folder / "categories.png"))
    return plots
