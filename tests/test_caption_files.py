"""Files of captions: every form is read, ids are matched, and what is wrong is named with its file and line."""

import json
from pathlib import Path
from unicodedata import normalize

import pytest

from corpus.records import caption_record
from evaluation.caption_files import CaptionFileError, read_pairs

SEA, CITY = "푸른 바다가 넓게 펼쳐져 있습니다.", "높은 건물이 줄지어 서 있습니다."


def write(path: Path, rows: list) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def references(tmp_path) -> Path:
    rows = [caption_record("곳/가", "videos/가.mp4", SEA, category="자연"), caption_record("나", "videos/b.mp4", CITY)]
    return write(tmp_path / "val.jsonl", [record.row() for record in rows])


def test_ids_and_captions_in_the_references_order(tmp_path, references):
    said = write(
        tmp_path / "said.jsonl", [{"id": "나", "caption": " 건물입니다. "}, {"id": "곳/가", "caption": "바다"}]
    )
    pairs = read_pairs(said, references)
    assert list(pairs.predictions.items()) == [("곳/가", "바다"), ("나", "건물입니다.")]
    assert pairs.references == {"곳/가": (SEA,), "나": (CITY,)}
    assert pairs.categories == {"곳/가": "자연"}
    assert pairs.videos["곳/가"] == tmp_path / "videos/가.mp4"
    assert pairs.notes == ()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_lines_of_caption_py_belong_to_the_video(tmp_path, references, form):
    rows = [
        {"file": str(tmp_path / normalize(form, "videos/가.mp4")), "caption": normalize(form, SEA), "revision": "0"},
        {"file": "elsewhere/나.webm", "caption": CITY},
    ]
    pairs = read_pairs(write(tmp_path / "said.jsonl", rows), references)
    assert pairs.predictions == {"곳/가": SEA, "나": CITY}


def test_a_file_that_could_not_be_captioned_counts_as_an_empty_caption(tmp_path, references):
    error = {"code": "E_EMPTY", "message": "...", "message_ko": "..."}
    rows = [{"file": "b.mp4", "error": error}, {"id": "곳/가", "caption": SEA}]
    pairs = read_pairs(write(tmp_path / "said.jsonl", rows), references)
    assert pairs.predictions == {"곳/가": SEA, "나": ""}
    (note,) = pairs.notes
    assert note.code == "W_NOT_CAPTIONED"
    assert "E_EMPTY" in note.message and "나" in note.message_ko


def test_several_references_and_a_json_list(tmp_path):
    true = tmp_path / "true.json"
    true.write_text(json.dumps([{"id": 7, "caption": [SEA, CITY]}]), encoding="utf-8")
    pairs = read_pairs(write(tmp_path / "said.jsonl", [{"id": "7", "caption": [SEA]}]), true)
    assert pairs.references == {"7": (SEA, CITY)}
    assert pairs.predictions == {"7": SEA}


def test_records_of_two_runs_are_compared(references):
    pairs = read_pairs(references, references)
    assert pairs.predictions == {"곳/가": SEA, "나": CITY}


def test_missing_ids_are_named_or_left_out(tmp_path, references):
    said = write(tmp_path / "said.jsonl", [{"id": "나", "caption": CITY}, {"id": "다", "caption": SEA}])
    with pytest.raises(CaptionFileError, match="곳/가") as told:
        read_pairs(said, references)
    assert "--allow-missing" in told.value.message_ko
    pairs = read_pairs(said, references, allow_missing=True)
    assert list(pairs.predictions) == list(pairs.references) == ["나"]
    (note,) = pairs.notes
    assert note.code == "W_LEFT_OUT" and "only 1 " in note.message


def test_captions_without_a_reference_are_named(tmp_path, references):
    rows = [{"id": name, "caption": SEA} for name in ("곳/가", "나", "다")]
    with pytest.raises(CaptionFileError, match=r"1 ids of .* have no reference: 다"):
        read_pairs(write(tmp_path / "said.jsonl", rows), references)


def test_nothing_in_common_is_an_error_even_where_missing_is_allowed(tmp_path, references):
    with pytest.raises(CaptionFileError, match="2 ids"):
        read_pairs(write(tmp_path / "said.jsonl", [{"id": "x", "caption": SEA}]), references, allow_missing=True)


GOOD = {"id": "나", "caption": CITY}


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        ([GOOD, '{"id": "가", "cap'], 2, "not JSON"),
        ([GOOD, "[1, 2]"], 2, "not an object"),
        ([GOOD, GOOD], 2, "already on line 1"),
        ([GOOD, {"file": "b.mp4", "caption": SEA}], 2, "already on line 1"),
        ([{"caption": SEA}], 1, "neither id nor file"),
        ([{"id": "가", "captoin": SEA}], 1, "no video"),
        ([{"id": ["가"], "caption": SEA}], 1, "id is"),
        ([{"id": "가", "caption": None}], 1, "caption is None"),
        ([{"id": "가", "caption": [SEA, CITY]}], 1, "2 captions"),
        ([""], None, "no rows"),
    ],
)
def test_a_bad_prediction_is_named_with_its_line(tmp_path, references, rows, line, reason):
    path = write(tmp_path / "said.jsonl", rows)
    with pytest.raises(CaptionFileError, match=reason) as told:
        read_pairs(path, references)
    where = f"{path} line {line}: " if line else f"{path}: "
    assert str(told.value).startswith(f"E_CAPTIONS: {where}")
    assert told.value.message_ko.startswith(f"{path} {line}번째 줄: " if line else f"{path}: ")


@pytest.mark.parametrize("caption", ["", "  ", [], [SEA, ""]])
def test_an_empty_reference_is_named_with_its_line(tmp_path, caption):
    true = write(tmp_path / "true.jsonl", [{"id": "가", "caption": SEA}, {"id": "나", "caption": caption}])
    with pytest.raises(CaptionFileError, match=r"true.jsonl line 2: the reference is empty"):
        read_pairs(true, true)


def test_a_stem_that_fits_two_references_is_not_guessed(tmp_path):
    rows = [{"id": f"{folder}/a", "video": f"{folder}/a.mp4", "caption": SEA} for folder in ("x", "y")]
    true = write(tmp_path / "true.jsonl", rows)
    with pytest.raises(CaptionFileError, match="could be any of x/a, y/a"):
        read_pairs(write(tmp_path / "said.jsonl", [{"file": "z/a.mp4", "caption": SEA}]), true)


def test_a_file_that_is_not_there(tmp_path, references):
    with pytest.raises(CaptionFileError, match="no such file"):
        read_pairs(tmp_path / "said.jsonl", references)


def test_a_record_of_an_image_is_a_reference_without_a_video(tmp_path):
    image = {"id": "산", "image": "산.png", "messages": list(caption_record("a", "a.mp4", CITY).messages)}
    image["messages"] = [turn | {"content": turn["content"].replace("<video>", "")} for turn in image["messages"]]
    references = write(tmp_path / "val.jsonl", [caption_record("나", "b.mp4", SEA).row(), image])
    pairs = read_pairs(
        write(tmp_path / "said.jsonl", [{"id": "나", "caption": SEA}, {"file": "산.png", "caption": CITY}]), references
    )
    assert pairs.predictions == {"나": SEA, "산": CITY}
    assert set(pairs.videos) == {"나", "산"} and pairs.videos["산"].name == "산.png"
