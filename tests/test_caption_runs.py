"""One file, many runs: nothing twice, nothing missing, and nobody else's file touched."""

import json
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from corpus.records import CaptionFileError
from modeling.caption_lines import CaptionLine
from modeling.caption_runs import CaptionFile, caption_missing, count_lines
from modeling.clip_reading import Clip

MADE_BY = {"model": "kocap-tiny", "revision": "sha256:1", "settings": {"num_frames": 8, "prompt": "설명해 주세요."}}
NAMES = ("가.mp4", "b.mp4", "c.mp4")


def lines_of(clips: Sequence[Clip]) -> Iterator[CaptionLine]:
    for clip in clips:
        yield CaptionLine({**clip.names(), "caption": f"{clip.path}: 바다가 보입니다.", **MADE_BY})


def run(clips: Sequence[Clip], path: Path) -> list[str]:
    """What a run has captioned."""
    return [captioned.line["file"] for captioned in caption_missing(clips, path, MADE_BY, lines_of)]


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    return [Clip(str(folder / name)) for name in NAMES]


def test_wherever_a_kill_cuts_the_file_the_next_run_completes_it(clips, tmp_path):
    path = tmp_path / "captions.jsonl"
    assert run(clips, path) == [clip.path for clip in clips]
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        run(clips, path)
        assert path.read_bytes() == whole, f"cut after {cut} of {len(whole)} bytes"
    assert run(clips, path) == []


def test_clips_with_ids_are_known_by_them(tmp_path):
    path = tmp_path / "captions.jsonl"
    assert run([Clip("a.mp4", "1"), Clip("a.mp4", "2")], path) == ["a.mp4", "a.mp4"]
    assert run([Clip("moved.mp4", "1"), Clip("a.mp4", "3")], path) == ["a.mp4"]


def test_a_folder_that_gained_clips_gets_lines_for_those(clips, tmp_path):
    path = tmp_path / "captions.jsonl"
    run(clips[:2], path)
    before = path.read_bytes()
    assert run(clips, path) == [clips[2].path]
    assert path.read_bytes().startswith(before)


def test_another_name_of_a_finished_clip_is_not_captioned_again(clips, tmp_path):
    path = tmp_path / "captions.jsonl"
    run(clips, path)
    link = tmp_path / "link.mp4"
    link.symlink_to(clips[0].path)
    renamed = unicodedata.normalize("NFD", clips[0].path)
    os.rename(clips[0].path, renamed)  # as a copy by way of macOS does
    assert run([Clip(str(link)), Clip(renamed)], path) == [str(link)], "the link points nowhere now"
    assert run([Clip(renamed)], path) == []


def test_names_that_are_not_utf8_come_back_as_they_were(tmp_path):
    path, clip = tmp_path / "captions.jsonl", Clip(os.fsdecode(bytes(tmp_path) + "/바다.mp4".encode("cp949")))
    assert run([clip], path) == [clip.path]
    assert json.loads(path.read_bytes().decode("utf-8"))["file"] == clip.path
    assert run([clip], path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x00\x00\x18ftypmp42\n\x00moov",
        "메모".encode(),
        b'{"a": 1}',
        b'{"file": "a.mp4", "label": 3}',
        b'{"file": "a.mp4", "label": 3}\n{"file": "b.mp4", "la',
        b'[{"file": "a.mp4", "caption": "x"}]\n',
        b"null\n",
    ],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(clips, tmp_path, content):
    path = tmp_path / "captions.jsonl"
    path.write_bytes(content)
    with pytest.raises(CaptionFileError, match=r"E_CAPTIONS: .*captions.jsonl line 1: .*write to another place"):
        run(clips, path)
    assert path.read_bytes() == content


def test_other_settings_are_refused_by_name(clips, tmp_path):
    path = tmp_path / "captions.jsonl"
    run(clips[:1], path)
    before = path.read_bytes()
    for change, told in (
        ({"revision": "sha256:2"}, "revision sha256:1, now sha256:2"),
        ({"settings": MADE_BY["settings"] | {"num_frames": 16}}, "num_frames 8, now 16"),
        ({"settings": {"num_frames": 8}}, "prompt 설명해 주세요., now None"),
    ):
        with pytest.raises(CaptionFileError) as caught:
            list(caption_missing(clips, path, MADE_BY | change, lines_of))
        assert f"made otherwise ({told})" in str(caught.value)
        assert told in caught.value.message_ko
    assert path.read_bytes() == before


def test_only_jsonl_is_written(clips, tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"pixels")
    with pytest.raises(CaptionFileError, match="jsonl"):
        run(clips, video)
    assert video.read_bytes() == b"pixels"


def test_a_second_run_into_the_same_file_is_refused(clips, tmp_path):
    path = tmp_path / "captions.jsonl"
    with CaptionFile(path, MADE_BY), pytest.raises(CaptionFileError, match="another run"):
        run(clips, path)
    assert run(clips, path) == [clip.path for clip in clips]


def test_what_failed_is_counted_by_code(tmp_path):
    path = tmp_path / "captions.jsonl"
    rows = [{"file": "a", "caption": "x"}, *({"file": name, "error": {"code": "E_EMPTY"}} for name in "bc")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert count_lines(path) == (1, {"E_EMPTY": ["b", "c"]})
