"""The report: whole or not there, and showing what the scores say."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpus.scenes import sample_scene, write_clip
from evaluation.caption_files import CaptionPairs
from evaluation.score_report import ReportParts, write_score_report
from evaluation.scoring import ScoreError, score_captions

PLACES = ("바다", "산", "거리", "공원")
BASELINE = "공개된 METEOR와는 비교할 수 없습니다."
PARTS = ReportParts({"예측": "said.jsonl", "정답": "true.jsonl"}, BASELINE, facts={"clips": 8})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> CaptionPairs:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(sample_scene(1), folder / "clip.mp4", height=64, width=64, fps=2)
    (folder / "broken.mp4").write_bytes(b"no video")
    ids = [f"{place}_{number}" for place in PLACES for number in (1, 2)]
    said = {name: f"{name[0]} 모습이 보입니다 *별표* <b>" if name.endswith("1") else "하늘이 맑습니다." for name in ids}
    return CaptionPairs(
        said,
        {name: (f"{name[0]} 모습이 화면에 보입니다.",) for name in ids},
        {name: folder / ("broken.mp4" if name == "산_1" else "clip.mp4") for name in ids[:5]},
        {name: "자연" if name[0] in "바산" else "시가지" for name in ids},
    )


@pytest.fixture(scope="module")
def folder(pairs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "report"
    write_score_report(folder, score_captions(pairs.predictions, pairs.references, resamples=50), pairs, PARTS)
    return folder


def test_every_picture_and_thumbnail_is_there_and_drawn(folder):
    page = (folder / "report.md").read_text("utf-8")
    pictures = [part.split(")")[0] for part in page.split("](")[1:]]
    assert {"histogram.png", "categories.png", "lengths.png", "repeats.png"} <= set(pictures)
    assert sum(picture.startswith("clips/") for picture in pictures) == 4  # four of eight clips have a readable video
    for picture in pictures:
        assert np.ptp(np.asarray(Image.open(folder / picture))) > 50, picture
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*pictures, "report.md", "scores.json"}, "nothing else is left behind"


def test_alarms_stand_first_and_signatures_last(folder):
    page = (folder / "report.md").read_text("utf-8")
    assert page.index("W_FLOOR") < page.index("## 점수") < page.index("## 서명")
    assert "nltk" in page.split("## 서명")[1]
    assert BASELINE in page
    assert json.loads((folder / "scores.json").read_text("utf-8")) == {"clips": 8}


def test_captions_are_shown_as_they_are(folder):
    page = (folder / "report.md").read_text("utf-8")
    assert r"\*별표\* \<b\>" in page


def test_a_report_is_replaced_and_another_folder_is_not(folder, pairs, tmp_path):
    sheet = score_captions(pairs.predictions, pairs.references, resamples=50, metrics=["rouge_l"])
    (folder / "stale.png").touch()
    write_score_report(folder, sheet, pairs, PARTS)
    assert not (folder / "stale.png").exists()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["report"]
    (tmp_path / "photos").mkdir()
    with pytest.raises(ScoreError, match="no score report"):
        write_score_report(tmp_path / "photos", sheet, pairs, PARTS)


def test_one_clip_alone(tmp_path):
    pairs = CaptionPairs({"a": "바다입니다."}, {"a": ("바다가 보입니다.", "바다입니다.")})
    sheet = score_captions(pairs.predictions, pairs.references, resamples=10)
    page = write_score_report(tmp_path / "report", sheet, pairs, PARTS).read_text("utf-8")
    assert page.count("**정답:**") == 4  # both references, as the worst and as the best
