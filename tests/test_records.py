"""Records: every accepted form reads alike, every wrong row is named, and a killed writer goes on."""

import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.records import (
    CAPTION_PROMPT,
    Record,
    RecordError,
    RecordWriter,
    caption_record,
    check_records,
    load_records,
    parse_row,
    read_records,
)

ROOT = Path(__file__).parent.parent
QUESTION, ANSWER = "무엇이 보이나요?", "파도가 밀려옵니다."
MESSAGES = [{"role": "user", "content": f"<video>{QUESTION}"}, {"role": "assistant", "content": ANSWER}]
SPOKEN = [{"from": "human", "value": f"<video>{QUESTION}"}, {"from": "gpt", "value": ANSWER}]
GOOD = {"id": "a", "video": "a.mp4", "messages": MESSAGES}

FORMS = {
    "ours": GOOD,
    "ms-swift": {"messages": MESSAGES, "videos": ["a.mp4"]},
    "ms-swift with empty columns": {"messages": MESSAGES, "videos": ["a.mp4"], "images": [], "audios": None},
    "LLaMA-Factory": {"messages": [dict(reversed(turn.items())) for turn in MESSAGES], "videos": ["a.mp4"]},
    "ShareGPT": {"conversations": SPOKEN, "videos": ["a.mp4"]},
    "ShareGPT with video": {"id": "a", "conversations": SPOKEN, "video": "a.mp4"},
    "no mark": {"video": "a.mp4", "messages": [{"role": "user", "content": QUESTION}, MESSAGES[1]]},
    "columns filled up with null": {
        "video": "a.mp4",
        "videos": None,
        "messages": [t | {"loss": None} for t in MESSAGES],
    },
}


SEEN = [{"role": "user", "content": f"<image>{QUESTION}"}, MESSAGES[1]]
IMAGE_FORMS = {
    "ours": {"id": "p", "image": "p.png", "messages": SEEN},
    "ms-swift": {"messages": SEEN, "images": ["p.png"]},
    "ms-swift with empty columns": {"messages": SEEN, "images": ["p.png"], "videos": [], "audios": None},
    "LLaVA": {"id": "p", "image": "p.png", "conversations": [SPOKEN[0] | {"value": f"<image>{QUESTION}"}, SPOKEN[1]]},
    "no mark": {"image": "p.png", "messages": [{"role": "user", "content": QUESTION}, MESSAGES[1]]},
    "columns filled up": {"video": "", "videos": None, "image": "p.png", "images": ["p.png"], "messages": SEEN},
}


def said(*turns: tuple[str, object], **fields) -> dict:
    return {"id": "b", "video": "b.mp4", "messages": [{"role": r, "content": c} for r, c in turns]} | fields


WRONG = {
    "[1, 2]": "not an object",
    '{"id": "b", "video"': "not JSON",
    '{"id": "b", "video": "b.mp4", "messages": [], "score": NaN}': "no message has the role user",
    json.dumps(said(("user", "?"), ("assistant", "!"), score=float("nan"))): "cannot be written as JSON",
    json.dumps(said(("user", "?"), ("assistant", "\ud800"))): "cannot be written as JSON",
    json.dumps({"messages": MESSAGES}): "names no video",
    json.dumps({"video": "b.mp4"}): "no conversation",
    json.dumps({"video": "b.mp4", "messages": MESSAGES, "conversations": SPOKEN}): "messages and conversations",
    json.dumps({"video": "b.mp4", "messages": ANSWER}): "write a list",
    json.dumps({"video": "", "messages": MESSAGES}): "video is ''",
    json.dumps({"video": 7, "messages": MESSAGES}): "video is 7",
    json.dumps({"id": "", "video": "b.mp4", "messages": MESSAGES}): "id is ''",
    json.dumps({"id": True, "video": "b.mp4", "messages": MESSAGES}): "id is True",
    json.dumps({"video": "https://example.com/b.mp4", "messages": MESSAGES}): "URL",
    json.dumps({"videos": ["b.mp4", "c.mp4"], "messages": MESSAGES}): "more than one video",
    json.dumps({"video": "b.mp4", "videos": ["c.mp4"], "messages": MESSAGES}): "more than one video",
    json.dumps({"videos": ["b.mp4"], "images": ["b.png"], "messages": MESSAGES}): "a video .* and an image",
    json.dumps({"videos": ["b.mp4"], "audios": ["b.mp3"], "messages": MESSAGES}): "audios",
    json.dumps({"images": ["b.png", "c.png"], "messages": SEEN}): "more than one image",
    json.dumps({"image": 7, "messages": SEEN}): "image is 7",
    json.dumps({"image": "https://example.com/b.png", "messages": SEEN}): "URL",
    json.dumps({"image": "b.png", "messages": MESSAGES}): "names no video",
    json.dumps({"video": "b.mp4", "messages": SEEN}): "names no image",
    json.dumps({"image": "b.png", "messages": [SEEN[0], MESSAGES[1] | {"content": "<image>"}]}): "2 times",
    json.dumps(said(("tool", "?"), ("user", "?"), ("assistant", "!"))): "message 1",
    json.dumps(said(("user", "?"), ("assistant", ["!"]))): "message 2",
    json.dumps(said(("user", "?"), ("assistant", " \n"))): "empty answer",
    json.dumps(said(("user", "?"))): "role assistant",
    json.dumps(said(("assistant", "!"))): "role user",
    json.dumps(said(("user", "<video><video>?"), ("assistant", "!"))): "2 times",
    json.dumps(said(("user", "<video>?"), ("assistant", "!"), ("user", "<video>"), ("assistant", "!"))): "2 times",
    json.dumps(said(("user", "?"), ("assistant", "<video>"))): "user turn",
    json.dumps({"video": "b.mp4", "messages": [MESSAGES[0], MESSAGES[1] | {"loss": False}]}): "loss",
    json.dumps({"video": "b.mp4", "conversations": [{"from": "bird", "value": "?"}]}): "bird",
    json.dumps(GOOD): "already on line 2",
}


def write_lines(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


@pytest.fixture
def arrow_cache(tmp_path, monkeypatch) -> Path:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    return tmp_path / "arrow"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_record(form):
    assert parse_row(FORMS[form]) == Record("a", "a.mp4", tuple(MESSAGES), {})


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_every_form_of_an_image_gives_the_same_record(form):
    record = parse_row(IMAGE_FORMS[form])
    assert record == Record("p", "", tuple(SEEN), {}, "p.png")
    assert (record.medium, record.path, record.video) == ("image", "p.png", "")
    assert record.row() == IMAGE_FORMS["ours"]


def test_a_caption_of_an_image_does_not_answer_a_question_about_a_video():
    record = parse_row({"image": "p.png", "caption": ANSWER})
    assert "영상" not in record.messages[0]["content"] and record.caption == ANSWER


@pytest.mark.parametrize("key", ["text", "caption"])
def test_a_caption_alone_is_asked_for_with_the_prompt_of_the_model(key):
    record = parse_row({"file_name": "clips/a.mp4", key: ANSWER, "place": "해안"})
    assert record == caption_record("a", "clips/a.mp4", ANSWER, place="해안")
    assert [turn["content"] for turn in record.messages] == [f"<video>{CAPTION_PROMPT}", ANSWER]


def test_the_prompt_is_the_one_the_model_is_asked_with():
    file = ROOT / "processing" / "vision_tokens_kocap.py"  # by its path: its package would load transformers
    spec = importlib.util.spec_from_file_location("vision_tokens", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.CAPTION_PROMPT == CAPTION_PROMPT


def test_sharegpt_keeps_the_system_prompt_and_what_was_said_in_between():
    spoken = [*SPOKEN, {"from": "human", "value": "그리고요?"}, {"from": "gpt", "value": "배가 지나갑니다."}]
    record = parse_row({"system": "짧게 답하세요.", "conversations": spoken, "video": "a.mp4"})
    assert [turn["role"] for turn in record.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert record.messages[0]["content"] == "짧게 답하세요."
    assert record.caption == "배가 지나갑니다."


def test_what_no_form_uses_stays_as_metadata():
    extra = {"file_name": "x", "text": "y", "system": "z", "scene": {"place": "산", "things": ["구름", 3, None]}}
    assert parse_row(GOOD | extra).metadata == extra
    assert parse_row(GOOD | extra | {"id": 7}).id == "7"


@pytest.mark.parametrize("name", ["id", "video", "videos", "messages", "conversations"])
def test_metadata_cannot_take_a_name_of_the_form(name):
    with pytest.raises(RecordError, match=name):
        Record("a", "a.mp4", tuple(MESSAGES), {name: "x"})


text = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
filled = text.filter(str.strip)
unmarked = text.filter(lambda value: "<video>" not in value)
turn_pairs = st.lists(st.tuples(unmarked, unmarked.filter(str.strip)), min_size=1, max_size=3)
form_fields = ("id", "video", "videos", "messages", "conversations", "images", "audios")


@settings(deadline=None)
@given(
    filled,
    filled.filter(lambda value: "://" not in value),
    turn_pairs,
    st.dictionaries(text.filter(lambda name: name not in form_fields), plain, max_size=4),
)
def test_a_row_written_as_json_and_parsed_is_the_same_record(record_id, video, pairs, metadata):
    roles = ("user", "assistant")
    turns = tuple({"role": role, "content": said} for pair in pairs for role, said in zip(roles, pair))
    record = Record(record_id, video, turns, metadata)
    again = parse_row(json.loads(json.dumps(record.row(), ensure_ascii=False)))
    assert again == record
    assert sum(turn["content"].count("<video>") for turn in again.messages) == 1


odd_turns = st.lists(st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), plain) | plain, max_size=3)
odd_fields = st.sampled_from([*form_fields, "file_name", "text", "caption", "system"])


@settings(deadline=None)
@given(st.dictionaries(odd_fields, plain | odd_turns) | plain)
def test_whatever_json_a_row_is_it_is_a_record_or_a_record_error(row):
    try:
        record = parse_row(row)
    except RecordError as error:
        assert error.reason and error.message_ko
    else:
        assert record.caption.strip()


@pytest.mark.parametrize("row", WRONG, ids=range(len(WRONG)))
def test_a_wrong_row_is_named_with_its_file_and_line(tmp_path, row):
    file = write_lines(tmp_path / "train.jsonl", "", json.dumps(GOOD), "  ", row)
    rows = read_records(file)
    assert next(rows).id == "a"
    with pytest.raises(RecordError, match=WRONG[row]) as caught:
        next(rows)
    assert (caught.value.path, caught.value.line) == (file, 4)
    assert f"E_RECORD: {file} line 4: " in str(caught.value)
    assert "4번째 줄" in caught.value.message_ko
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_check_finds_every_wrong_row_and_spares_the_good_ones(tmp_path):
    file = write_lines(tmp_path / "train.jsonl", json.dumps(GOOD | {"id": "0"}), json.dumps(GOOD), *WRONG)
    assert [error.line for error in check_records(file)] == list(range(3, 3 + len(WRONG)))
    assert check_records(write_lines(tmp_path / "good.jsonl", json.dumps(GOOD))) == []


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    file = write_lines(tmp_path / "a.jsonl", json.dumps(GOOD), json.dumps(GOOD, ensure_ascii=False).encode("cp949"))
    (error,) = check_records(file)
    assert error.line == 2 and "UTF-8" in error.reason


@pytest.mark.parametrize("name", ["train.csv", "missing.jsonl", "."])
def test_a_path_without_records_is_named(tmp_path, name):
    (tmp_path / "train.csv").write_text("id,video\n")
    with pytest.raises(RecordError) as caught:
        list(read_records(tmp_path / name))
    assert str(tmp_path) in str(caught.value)
    assert [str(error) for error in check_records(tmp_path / name)] == [str(caught.value)]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    row = json.dumps(caption_record("a", "a.mp4", ANSWER).row(), ensure_ascii=False)
    for name, content in (("a.jsonl", f"{row}\r\n\r\n"), ("a.json", f"[\r\n{row}\r\n]")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert [record.caption for record in read_records(tmp_path / name)] == [ANSWER]


def test_a_json_list_is_read_with_line_numbers(tmp_path):
    file = tmp_path / "train.json"
    rows = [GOOD, {"id": "b"}, GOOD | {"id": "c"}, 5]
    file.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    assert [error.line for error in check_records(file)] == [3, 5]
    file.write_text(json.dumps([GOOD, GOOD | {"id": "c"}], indent=1))
    assert [record.id for record in read_records(file)] == ["a", "c"]
    file.write_text("[]")
    assert list(read_records(file)) == []


@pytest.mark.parametrize(
    ("content", "line"),
    [('{"id": 1}', 1), ("[\n5\n6]", 3), ("[5,\n\n{", 3), ("[5,\n6", 2), ("", 1), ("[5,\n", 2)],
)
def test_a_broken_json_list_is_named_with_the_line_where_it_breaks(tmp_path, content, line):
    file = tmp_path / "train.json"
    file.write_text(content)
    error = check_records(file)[-1]
    assert "not JSON" in error.reason and error.line == line


def test_a_video_folder_gives_absolute_paths_and_missing_videos_are_told(tmp_path, monkeypatch):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.mp4").touch()
    lines = (json.dumps({"file_name": name, "text": ANSWER}) for name in ("a.mp4", "b.mp4"))
    write_lines(folder / "metadata.jsonl", *lines)
    monkeypatch.chdir(tmp_path)
    assert [record.video for record in read_records(Path("clips"))] == [str(folder / n) for n in ("a.mp4", "b.mp4")]
    (error,) = check_records(folder, check_videos=True)
    assert error.line == 2 and "b.mp4" in error.reason
    with pytest.raises(RecordError, match="line 2"):
        list(read_records(folder, check_videos=True))


def test_images_and_videos_stand_in_one_file(tmp_path, arrow_cache):
    (tmp_path / "a.mp4").touch()
    file = write_lines(tmp_path / "a.jsonl", json.dumps(GOOD), json.dumps(IMAGE_FORMS["ours"]))
    (error,) = check_records(file, check_videos=True)
    assert error.line == 2 and "no image" in error.reason and "이미지" in error.reason_ko
    (tmp_path / "p.png").touch()
    records = list(read_records(file, check_videos=True))
    assert [record.path for record in records] == [str(tmp_path / name) for name in ("a.mp4", "p.png")]
    with RecordWriter(tmp_path / "b.jsonl") as writer:
        for record in records:
            writer.write(record)
    assert list(read_records(tmp_path / "b.jsonl")) == records
    media = [(row["video"], row["image"]) for row in load_records(file)]
    assert media == [(str(tmp_path / "a.mp4"), ""), ("", str(tmp_path / "p.png"))]


def test_a_record_read_and_written_elsewhere_still_finds_its_video(tmp_path):
    (tmp_path / "a.mp4").touch()
    write_lines(tmp_path / "one.jsonl", json.dumps(GOOD))
    with RecordWriter(tmp_path / "other" / "two.jsonl") as writer:
        writer.write(next(read_records(tmp_path / "one.jsonl")))
    assert check_records(tmp_path / "other" / "two.jsonl", check_videos=True) == []


def test_a_written_file_is_one_line_a_record_with_readable_korean(tmp_path):
    records = [caption_record(f"r{n}", "a.mp4", f"{ANSWER}\n둘째 줄\u2028셋째 줄", place="해안") for n in range(3)]
    with RecordWriter(tmp_path / "a.jsonl") as writer:
        for record in records:
            writer.write(record)
    lines = (tmp_path / "a.jsonl").read_bytes().decode().split("\n")
    assert len(lines) == 4 and lines[3] == ""
    assert '"place": "해안"' in lines[0] and ANSWER in lines[0]
    assert [record.row() | {"video": "a.mp4"} for record in read_records(tmp_path / "a.jsonl")] == [
        record.row() for record in records
    ]


def test_a_writer_refuses_an_id_that_is_in_the_file(tmp_path):
    for _ in range(2):
        with RecordWriter(tmp_path / "a.jsonl") as writer:
            for record_id in {"a", "b"} - writer.written:
                writer.write(caption_record(record_id, "a.mp4", ANSWER))
            with pytest.raises(RecordError, match="own id"):
                writer.write(caption_record("a", "a.mp4", ANSWER))
    assert sorted(record.id for record in read_records(tmp_path / "a.jsonl")) == ["a", "b"]


KILLED = """
import os, signal, sys
from pathlib import Path
from corpus.records import RecordWriter, caption_record
with RecordWriter(Path(sys.argv[1])) as writer:
    for record_id in ("a", "b"):
        writer.write(caption_record(record_id, "a.mp4", "파도"))
    with open(sys.argv[1], "ab") as half:
        half.write('{"id": "c", "video": "파'.encode()[:-1])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_killed_in_the_middle_of_a_row_loses_that_row_only(tmp_path):
    file = tmp_path / "a.jsonl"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], cwd=ROOT, env=os.environ | {"PYTHONPATH": "."})
    assert killed.returncode == -signal.SIGKILL
    assert [error.line for error in check_records(file)] == [3]
    with RecordWriter(file) as writer:
        assert writer.written == {"a", "b"}
        writer.write(caption_record("c", "a.mp4", "파도"))
    assert [record.id for record in read_records(file)] == ["a", "b", "c"]


def test_a_writer_does_not_go_on_after_a_damaged_line(tmp_path):
    file = write_lines(tmp_path / "a.jsonl", json.dumps(GOOD), "{", json.dumps(GOOD | {"id": "c"}))
    before = file.read_bytes()
    with pytest.raises(RecordError, match="line 2"), RecordWriter(file):
        pass
    assert file.read_bytes() == before


def test_reading_stops_where_the_reader_stops(tmp_path):
    file = write_lines(tmp_path / "a.jsonl", *(json.dumps(GOOD | {"id": str(n)}) for n in range(3)), "broken")
    assert [record.id for record in islice(read_records(file), 3)] == ["0", "1", "2"]


def test_a_loaded_data_set_has_the_records_and_follows_changes_of_the_file(tmp_path, arrow_cache):
    records = [caption_record("a", "a.mp4", ANSWER, place="해안"), caption_record("b", "b.mp4", ANSWER, score=[1, 2.5])]
    for count in (1, 2):
        with RecordWriter(tmp_path / "a.jsonl") as writer:
            writer.write(records[count - 1])
        rows = list(load_records(tmp_path / "a.jsonl"))
        assert [row["id"] for row in rows] == ["a", "b"][:count]
    assert [json.loads(row["metadata"]) for row in rows] == [{"place": "해안"}, {"score": [1, 2.5]}]
    assert "해안" in rows[0]["metadata"]
    assert rows[0]["messages"] == list(records[0].messages)
    assert rows[1]["video"] == str(tmp_path / "b.mp4")
    assert list(load_records(tmp_path / "a.jsonl", streaming=True)) == rows


def test_streaming_reads_no_further_than_it_is_asked(tmp_path, arrow_cache):
    file = write_lines(tmp_path / "a.jsonl", *(json.dumps(GOOD | {"id": str(n)}) for n in range(4)), "broken")
    stream = load_records(file, streaming=True)
    assert [row["id"] for row in stream.take(3)] == ["0", "1", "2"]
    assert not list(arrow_cache.rglob("*.arrow"))
    with pytest.raises(RecordError, match="line 5"):
        list(stream)
    with pytest.raises(RecordError, match="line 5"):
        load_records(file)
