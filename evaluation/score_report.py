"""A folder with a page in Korean about how captions score: tables, pictures, the best and the worst with thumbnails."""

import json
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from configuration.disk_writing import writing
from corpus.report_pages import markdown_table

from .caption_files import CaptionPairs
from .intervals import bootstrap_mean
from .score_plots import CategoryScore, draw_plots
from .score_words import (
    ATTRIBUTE_HEAD,
    COMPARISON_HEAD,
    COMPARISON_KO,
    METRICS_KO,
    SCORE_HEAD,
    SIGNATURES_KO,
    write_diversity,
    write_number,
    write_score,
)
from .scoring import Score, ScoreError, ScoreSheet

EXTREMES = 10  # clips shown at either end
INTERVAL_CLIPS = 5  # with fewer a bootstrap knows nothing
STRIP_FRAMES, STRIP_HEIGHT = 4, 120
FLOORS_KO = (
    "**모두 같은 설명**은 모든 영상에 설명 하나를 똑같이 붙였을 때의 점수이고, **영상을 뒤섞음**은 이 설명들을 서로"
    " 다른 영상에 붙였을 때의 점수입니다. 둘 다 영상을 보지 않고 얻는 점수이니, 이보다 뚜렷이 높은 만큼만 영상을 본"
    " 덕분입니다."
)
PLOTS_KO = {
    "histogram": "영상별 점수",
    "categories": "분류별 점수",
    "lengths": "설명의 길이",
    "repeats": "되풀이되는 설명의 점수",
}


@dataclass(frozen=True)
class ReportParts:
    """What goes with the scores.

    Attributes:
        sources: The files, by what they are.
        baseline: About the published score, in Korean.
        comparison: Rows under `COMPARISON_HEAD`.
        attributes: Rows under `ATTRIBUTE_HEAD`.
        facts: Goes into `scores.json`.
    """

    sources: Mapping[str, str]
    baseline: str = ""
    comparison: Sequence[Sequence[str]] = ()
    attributes: Sequence[Sequence[str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_score_report(folder: Path, sheet: ScoreSheet, pairs: CaptionPairs, parts: ReportParts) -> Path:
    """Write `report.md`, `scores.json`, pictures and thumbnails into a folder that appears complete.

    Pictures, categories and examples go by the first metric of the sheet.

    Args:
        folder: Replaced where it holds a report from before.
    Returns:
        The page.
    Raises:
        ScoreError: If there is a folder that is no score report.
    """
    if folder.exists() and not (folder / "scores.json").is_file():
        raise ScoreError(
            f"{folder} is there and holds no score report; choose another output folder",
            f"{folder}이(가) 이미 있는데 채점 보고서가 아닙니다. 다른 출력 폴더를 사용해 주세요.",
        )
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    with writing(folder.parent, "a report"):
        partial.mkdir(parents=True)
        (partial / "report.md").write_bytes(_page(partial, sheet, pairs, parts).encode("utf-8", "replace"))
        (partial / "scores.json").write_text(json.dumps(parts.facts, ensure_ascii=False, indent=1) + "\n", "utf-8")
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder / "report.md"


def _page(folder: Path, sheet: ScoreSheet, pairs: CaptionPairs, parts: ReportParts) -> str:
    first = next(iter(sheet.scores.values()))
    name = METRICS_KO.get(first.name, first.name)
    categories = _score_categories(sheet, first, pairs)
    captions = [pairs.predictions[clip] for clip in sheet.ids], [pairs.references[clip][0] for clip in sheet.ids]
    plots = draw_plots(folder, first, categories, *captions)
    order = np.argsort(first.per_clip, kind="stable")
    shown = min(EXTREMES, (len(order) + 1) // 2)
    sections = [
        "# 채점 보고서",
        "\n".join(_alarms(sheet, pairs)) or "경고가 없습니다.",
        markdown_table(["", "파일"], [[what, f"`{path}`"] for what, path in parts.sources.items()]),
        f"## 점수 (영상 {len(sheet.ids):,}개)",
        markdown_table(SCORE_HEAD, [write_score(score) for score in sheet.scores.values()]),
        FLOORS_KO,
        f"> 모두 같은 설명: {_plain(sheet.constant_caption)}",
        *(["## 공개된 기준 점수", parts.baseline] if parts.baseline else []),
        *(
            ["## 두 시스템 비교", markdown_table(COMPARISON_HEAD, parts.comparison), COMPARISON_KO]
            if parts.comparison
            else []
        ),
        *(["## 그려 낸 장면의 속성", markdown_table(ATTRIBUTE_HEAD, parts.attributes)] if parts.attributes else []),
        "## 다양성",
        markdown_table(["", "예측", "정답"], write_diversity(sheet.diversity)),
    ]
    for plot, path in plots.items():
        sections += [f"## {PLOTS_KO[plot]}", f"![{PLOTS_KO[plot]}]({path.relative_to(folder).as_posix()})"]
        if plot == "categories":
            sections.append(_category_table(name, categories))
    if "repeats" not in plots:
        sections.append("같은 설명을 받은 영상이 없습니다. 설명이 모두 서로 다릅니다.")
    for kind, kind_ko, chosen in (("worst", "낮은", order[:shown]), ("best", "높은", order[::-1][:shown])):
        sections.append(f"## {name} 점수가 가장 {kind_ko} {shown}개")
        for rank, index in enumerate(chosen, 1):
            title = f"{sheet.ids[index]}: {first.per_clip[index]:.3f}"
            sections += _example(folder / "clips" / f"{kind}-{rank:02d}.jpg", rank, title, sheet.ids[index], pairs)
    signatures = "\n".join(f"- `{score.signature}`" for score in sheet.scores.values())
    return "\n\n".join([*sections, "## 서명", SIGNATURES_KO, signatures, ""])


def _alarms(sheet: ScoreSheet, pairs: CaptionPairs) -> list[str]:
    return [
        *(f"- 🚨 **{alarm.code}** {alarm.message_ko}" for alarm in sheet.alarms),
        *(f"- ⚠️ **{note.code}** {_plain(note.message_ko)}" for note in pairs.notes),
    ]


def _score_categories(sheet: ScoreSheet, score: Score, pairs: CaptionPairs) -> dict[str, CategoryScore]:
    """Scores by category, the largest category first."""
    values = defaultdict(list)
    for clip, value in zip(sheet.ids, score.per_clip, strict=True):
        if clip in pairs.categories:
            values[pairs.categories[clip]].append(value)
    by_size = sorted(values.items(), key=lambda item: -len(item[1]))
    scores = {}
    for name, own in by_size:
        mean, low, high = bootstrap_mean(np.array(own))
        known = len(own) >= INTERVAL_CLIPS
        scores[name] = CategoryScore(mean, low if known else math.nan, high if known else math.nan, len(own))
    return scores


def _category_table(name: str, categories: dict[str, CategoryScore]) -> str:
    rows = [
        [category, str(own.clips), write_number(own.mean), f"{write_number(own.low)} ~ {write_number(own.high)}"]
        for category, own in categories.items()
    ]
    return markdown_table(["분류", "영상 수", name, "95 % 신뢰 구간"], rows)


def _example(strip: Path, rank: int, title: str, clip: str, pairs: CaptionPairs) -> list[str]:
    category = f" ({_plain(pairs.categories[clip])})" if clip in pairs.categories else ""
    return [
        f"### {rank}. {_plain(title)}{category}",
        *([f"![{rank}](clips/{strip.name})"] if _write_strip(pairs.videos.get(clip), strip) else []),
        f"**예측:** {_plain(pairs.predictions[clip]) or '(없음)'}",
        *(f"**정답:** {_plain(reference)}" for reference in pairs.references[clip]),
    ]


def _write_strip(video: Path | None, path: Path) -> bool:
    """Save keyframes of a clip side by side, where there is a clip that can be read."""
    if video is None:
        return False
    from processing.frame_sampling_kocap import Sampling  # the package loads torch
    from processing.video_errors_kocap import VideoError
    from processing.video_reading_kocap import read_frames

    try:
        frames = read_frames(video, Sampling(num_frames=STRIP_FRAMES), size=STRIP_HEIGHT, mode="keyframe")
    except VideoError:
        return False
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(frames.data.transpose(0, 2, 3, 1), axis=1)).save(path, quality=80)
    return True


def _plain(text: str) -> str:
    """A text as Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", " ".join(text.split()))
