"""Label files to captions."""

import json
import pickle
import unicodedata

import pytest
from aihub_tree import CAPTION, put

from corpus.aihub_errors import LabelError, NoCaptionKeyError
from corpus.aihub_labels import CAPTION_KEYS, read_label
from corpus.caption_text import normalise_caption


def nested(keys: dict[str, str]) -> dict:
    data: dict = {}
    for key, value in keys.items():
        *above, last = key.split(".")
        inner = data
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return data


@pytest.mark.parametrize("key", CAPTION_KEYS)
def test_every_caption_key_is_found(tmp_path, key):
    label = read_label(put(tmp_path / "a.json", nested({key: CAPTION, "video_id": "1"})))
    assert (label.caption, label.key) == (CAPTION, key)


def test_keys_are_tried_in_order(tmp_path):
    keys = [key for key in CAPTION_KEYS if key != "caption"]  # caption.korean makes an object of it
    for number, key in enumerate(keys):
        data = nested({other: f"설명 {other}" for other in keys[number:]})
        assert read_label(put(tmp_path / "a.json", data)).key == key


def test_an_empty_caption_gives_way_to_the_next_key(tmp_path):
    data = {"annotation": {"description_kr": " "}, "caption": {"korean": CAPTION}}
    assert read_label(put(tmp_path / "a.json", data)).key == "caption.korean"


def test_given_key_and_list_of_one(tmp_path):
    data = {"annotations": [{"문장": CAPTION}], "description": "something else"}
    assert read_label(put(tmp_path / "a.json", data), "annotations.문장").caption == CAPTION


def test_no_key_fits_names_the_keys_seen(tmp_path):
    data = {"video_id": "1", "annotation": {"summary": "x"}, "caption": {"english": "x"}}
    with pytest.raises(NoCaptionKeyError) as caught:
        read_label(put(tmp_path / "a.json", data))
    for expected in ("video_id, annotation.summary, caption.english", "annotation.description_kr", "--caption-key"):
        assert expected in str(caught.value)
    assert caught.value.code == "E_NO_CAPTION_KEY" and "--caption-key" in caught.value.message_ko


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_encodings(tmp_path, encoding):
    raw = json.dumps({"description": CAPTION}, ensure_ascii=False).encode(encoding)
    assert read_label(put(tmp_path / "a.json", raw)).caption == CAPTION


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ('{\n  "a": 1,\n  "b": }\n', 3, "not JSON"),
        ("", 1, "not JSON"),
        ("[1]", None, "holds a list"),
        ('{"description": ""}', None, "empty"),
        ('{"description": "the #"}', None, "nothing is left"),
        (b'{"description": "\xff\xff\x81"}', None, "neither UTF-8 nor CP949"),
        ("[" * 100_000, None, "cannot be parsed"),
    ],
)
def test_broken_labels(tmp_path, content, line, reason):
    with pytest.raises(LabelError, match=reason) as caught:
        read_label(put(tmp_path / "a.json", content))
    assert (caught.value.code, caught.value.line) == ("E_LABEL", line)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_metadata(tmp_path):
    data = {
        "description": CAPTION,
        "category": {"main": "자연", "sub": "해안"},
        "metadata": {"location": " 부산  해운대 ", "year": 2023, "time": None},
    }
    expected = {"category": "자연", "subcategory": "해안", "location": "부산 해운대", "time": "2023"}
    assert read_label(put(tmp_path / "a.json", data)).metadata == expected
    assert read_label(put(tmp_path / "b.json", {"description": CAPTION, "category": "자연"})).metadata == {
        "category": "자연"
    }


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (CAPTION, CAPTION, set()),
        (unicodedata.normalize("NFD", "해안"), "해안", {"unicode"}),
        ("“바다”와 ‘산’", "\"바다\"와 '산'", {"quotes"}),
        (" 넓은\u00a0바다\n\n파도\u200b가 ", "넓은 바다 파도가", {"spaces"}),
        ("앞에 the # 간판이 있습니다.", "앞에 간판이 있습니다.", {"masks"}),
        ("간판은 #@상호# 입니다 ○○ .", "간판은 입니다.", {"masks"}),
        ("1#2 #해시 # 끝", "1#2 #해시 끝", {"masks"}),
    ],
)
def test_normalising_counts_what_it_changed(before, after, changed):
    text, changes = normalise_caption(before)
    assert (text, set(changes)) == (after, changed)
    assert normalise_caption(after) == (after, {})
