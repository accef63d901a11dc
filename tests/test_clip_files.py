"""Folders as people have them: every clip once, nothing that was not meant."""

import os
import unicodedata
from pathlib import Path

import pytest

from corpus.clip_files import FileSet, FoundClips, find_clips

NFC, NFD = "바다.mp4", unicodedata.normalize("NFD", "바다.mp4")


def make(folder: Path, *names: str) -> list[str]:
    """Files with their own names in them; absolute paths."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(path))
    return [str(path) for path in paths]


def codes(found: FoundClips) -> list[tuple[str, str]]:
    return [(Path(left_out.path).name, left_out.code) for left_out in found.left_out]


def test_a_folder_gives_its_videos_in_order_and_counts_the_rest(tmp_path):
    clips = make(tmp_path, "B.MP4", "a.mkv", "안/쪽/c d.webm")
    make(tmp_path, "captions.jsonl", "사진.jpg", "a.ko.srt", "이름없음", ".git/x.mp4", "._a.mp4", "안/.숨김.mp4")
    found = find_clips([tmp_path])
    assert found.paths == tuple(clips)
    assert found.num_others == 4
    assert found.left_out == ()


def test_what_is_named_is_taken_whatever_it_is_called(tmp_path):
    named, missing = make(tmp_path, "clip.bin")[0], str(tmp_path / "없음.mp4")
    assert find_clips([named, missing]).paths == (named, missing)


def test_patterns(tmp_path):
    clips = make(tmp_path, "a.mp4", "안/b.mp4", "안/속/c.mp4", "[1].mp4")
    assert set(find_clips([tmp_path / "**/*.mp4"]).paths) == set(clips)
    assert find_clips([f"{tmp_path}/?.mp4"]).paths == (clips[0],)
    assert find_clips([tmp_path / "[1].mp4"]).paths == (clips[3],), "a name that is there is no pattern"
    assert find_clips([tmp_path / "x*"]).paths == (str(tmp_path / "x*"),), "told as missing later"


def test_overlapping_arguments_give_every_clip_once(tmp_path):
    clips = make(tmp_path, "a.mp4", "안/b.mp4")
    found = find_clips([clips[1], tmp_path, f"{tmp_path}/*", tmp_path / "안", os.path.relpath(clips[0])])
    assert sorted(found.paths) == sorted(clips)
    assert found.left_out == ()


def test_the_output_is_no_clip(tmp_path):
    clip, output = make(tmp_path, "a.mp4", "captions.jsonl")
    found = find_clips([f"{tmp_path}/*", tmp_path], output=os.path.relpath(output))
    assert found.paths == (clip,)
    assert found.num_others == 0


def test_two_names_of_one_file_are_one_clip(tmp_path):
    (clip,) = make(tmp_path, "a.mp4")
    os.link(clip, tmp_path / "b.mp4")
    (tmp_path / "c.mp4").symlink_to("a.mp4")
    (tmp_path / "d").symlink_to(".")  # a loop
    found = find_clips([tmp_path])
    assert found.paths == (clip,)
    assert codes(found) == [("b.mp4", "W_SAME_FILE"), ("c.mp4", "W_SAME_FILE")]


def test_links_out_of_a_folder_are_left_out_unless_named(tmp_path):
    (secret,) = make(tmp_path, "밖/secret.mp4")
    (clip,) = make(tmp_path, "안/a.mp4")
    inside = tmp_path / "안"
    (inside / "x.mp4").symlink_to(secret)
    (inside / "y").symlink_to(tmp_path / "밖")
    (tmp_path / "안쪽").mkdir()
    make(tmp_path, "안쪽/b.mp4")
    (inside / "z.mp4").symlink_to(tmp_path / "안쪽/b.mp4")  # its folder's name only begins alike
    found = find_clips([inside])
    assert found.paths == (clip,)
    assert codes(found) == [("y", "W_LINK"), ("x.mp4", "W_LINK"), ("z.mp4", "W_LINK")]
    assert find_clips([inside / "*.mp4"]).paths == tuple(str(inside / name) for name in ("a.mp4", "x.mp4", "z.mp4"))
    (tmp_path / "문").symlink_to(inside)
    assert find_clips([tmp_path / "문"]).paths == (str(tmp_path / "문/a.mp4"),), "the folder itself may be a link"


def test_two_files_in_nfc_and_nfd_are_two_clips(tmp_path):
    clips = make(tmp_path, NFC, NFD)
    assert set(find_clips([tmp_path]).paths) == set(clips)


@pytest.mark.parametrize(("on_disk", "typed"), [(NFC, NFD), (NFD, NFC)], ids=["nfc", "nfd"])
def test_names_typed_in_the_other_form_are_found(tmp_path, on_disk, typed):
    (clip,) = make(tmp_path, f"{on_disk}/{on_disk}")
    for argument in (tmp_path / typed, tmp_path / typed / typed, tmp_path / typed / "*.mp4"):
        assert find_clips([argument]).paths == (clip,)


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode("바다.mp4".encode("cp949"))
    (clip,) = make(tmp_path, name)
    assert find_clips([tmp_path]).paths == (clip,)


def make_deep(folder: Path, name: str, depth: int) -> None:
    """Folders in each other."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    (clip,) = make(tmp_path, "a.mp4")
    make_deep(tmp_path, "깊" * 80, 20)  # too long a path to open, for root as well
    found = find_clips([tmp_path])
    assert found.paths == (clip,)
    assert [left_out.code for left_out in found.left_out] == ["E_FOLDER"]


@pytest.mark.parametrize(("before", "now"), [(NFC, NFD), (NFD, NFC)], ids=["nfc", "nfd"])
def test_a_file_that_is_gone_is_known_by_its_name_in_either_form(tmp_path, before, now):
    files = FileSet([str(tmp_path / before)])
    (clip,) = make(tmp_path, now)
    assert clip in files
    assert make(tmp_path, "other.mp4")[0] not in files


def test_files_are_known_by_what_they_are(tmp_path):
    old, other = make(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "link.mp4").symlink_to(old)
    files = FileSet([old])
    assert str(tmp_path / "link.mp4") in files
    assert files.add(other) is None
    assert files.add(other) == other
