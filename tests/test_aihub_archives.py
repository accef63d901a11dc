"""Zips as aihubshell leaves them."""

import io
import random
import stat
import zipfile
from pathlib import Path

import pytest
from aihub_tree import cut, put, zip_bytes

from corpus.aihub_archives import extract, find_archives, member_name
from corpus.aihub_errors import ArchiveError

LABEL = b'{"description": "ok"}'
BULK = random.Random(0).randbytes(40_000)


def extract_all(root: Path, folder: Path):
    rejections = []
    for archive in find_archives(root, sorted(root.rglob("*.*"))):
        rejections += extract(archive, folder)
    return rejections


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def put_parts(root: Path, parts: list[bytes], names: list[str]) -> None:
    for name, part in zip(names, parts):
        put(root / name, part)


@pytest.mark.parametrize("form", ["x.zip.part{}", "x.zip.{:03d}"])
@pytest.mark.parametrize("first", [0, 1])
def test_eleven_parts_are_read_in_numeric_order(tmp_path, form, first):
    parts = cut(zip_bytes({"a.mp4": BULK, "b.json": LABEL}), 11)
    put_parts(tmp_path / "in", parts, [form.format(number + first) for number in range(11)])
    assert extract_all(tmp_path / "in", tmp_path / "out") == []
    assert (tmp_path / "out/a.mp4").read_bytes() == BULK


def test_parts_numbered_by_byte_offset(tmp_path):
    parts = cut(zip_bytes({"a.mp4": BULK}), 4)  # offsets of 5 digits: as text, 10019 comes before 0's neighbour
    offsets = [sum(map(len, parts[:k])) for k in range(4)]
    put_parts(tmp_path / "in", parts, [f"TL_시가지.zip.part{offset}" for offset in offsets])
    (archive,) = find_archives(tmp_path / "in", list((tmp_path / "in").iterdir()))
    assert archive.name == "TL_시가지.zip" and archive.numbers == tuple(offsets)
    assert list(extract(archive, tmp_path / "out")) == []
    assert (tmp_path / "out/a.mp4").read_bytes() == BULK


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_part_is_named(tmp_path, lost):
    parts = cut(zip_bytes({"a.mp4": BULK}), 4)
    offsets = [sum(map(len, parts[:k])) for k in range(4)]
    put_parts(tmp_path / "offset", parts, [f"x.zip.part{offset}" for offset in offsets])
    put_parts(tmp_path / "count", parts, [f"x.zip.part{number}" for number in range(4)])
    (tmp_path / f"offset/x.zip.part{offsets[lost]}").unlink()
    (tmp_path / f"count/x.zip.part{lost}").unlink()
    with pytest.raises(ArchiveError, match=rf"x\.zip\.part{offsets[lost]} is missing"):
        extract_all(tmp_path / "offset", tmp_path / "out")
    # Counting may begin at 1, so without part0 nothing is seen to be missing until the zip is opened.
    with pytest.raises(ArchiveError, match=rf"x\.zip\.part{lost} is missing" if lost else "before x.zip.part1"):
        extract_all(tmp_path / "count", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_last_part_is_named(tmp_path):
    parts = cut(zip_bytes({"a.mp4": BULK}), 4)
    offsets = [sum(map(len, parts[:k])) for k in range(4)]
    put_parts(tmp_path, parts[:3], [f"x.zip.part{offset}" for offset in offsets[:3]])
    with pytest.raises(ArchiveError, match=rf"x\.zip\.part{offsets[3]} is missing") as caught:
        extract_all(tmp_path, tmp_path / "out")
    assert caught.value.code == "E_ARCHIVE" and str(caught.value).startswith("E_ARCHIVE: ")


def test_a_part_that_was_cut_short_is_named(tmp_path):
    parts = cut(zip_bytes({"a.mp4": BULK}), 4)
    parts[1] = parts[1][:-1]
    put_parts(tmp_path, parts, [f"x.zip.part{number}" for number in range(4)])
    with pytest.raises(ArchiveError, match=r"x\.zip\.part1 is .* bytes long"):
        extract_all(tmp_path, tmp_path / "out")


def test_a_truncated_zip_is_named(tmp_path):
    put(tmp_path / "VS_자연.zip", zip_bytes({"a.mp4": BULK})[:-500])
    with pytest.raises(ArchiveError, match=r"VS_자연\.zip cannot be read .* download"):
        extract_all(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("cp949", [True, False])
def test_korean_names(tmp_path, cp949):
    put(tmp_path / "in/x.zip", zip_bytes({"시가지/똠방각하 펲시.json": LABEL}, cp949=cp949))
    extract_all(tmp_path / "in", tmp_path / "out")
    assert names_in(tmp_path / "out") == ["시가지/똠방각하 펲시.json"]


def test_utf8_name_without_its_flag():
    raw = zip_bytes({"가나다.json": LABEL}).replace(b"\x00\x08", b"\x00\x00")  # bit 11 of the flags
    (info,) = zipfile.ZipFile(io.BytesIO(raw)).infolist()
    assert info.flag_bits & 0x800 == 0
    assert member_name(info) == "가나다.json"


@pytest.mark.parametrize("name", ["../out.json", "a/../../out.json", "/tmp/out.json", "C:/out.json", "..\\out.json"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    put(tmp_path / "in/x.zip", zip_bytes({name: LABEL, "good.json": LABEL}))
    (rejection,) = extract_all(tmp_path / "in", tmp_path / "deep/out")
    assert rejection.code == "E_ARCHIVE" and "not extracted" in rejection.reason
    assert names_in(tmp_path / "deep") == ["out/good.json"]


def test_only_labels_and_videos_come_out(tmp_path):
    members = {"a.JSON": LABEL, "a.MP4": BULK, "x.exe": b"1", "__MACOSX/._a.json": b"1", "._a.mp4": b"1", "d/": b""}
    put(tmp_path / "in/x.zip", zip_bytes(members))
    extract_all(tmp_path / "in", tmp_path / "out")
    assert names_in(tmp_path / "out") == ["a.JSON", "a.MP4"]


def test_a_damaged_member_is_rejected_and_leaves_nothing(tmp_path):
    raw = zip_bytes({"a.mp4": BULK, "b.json": LABEL})
    put(tmp_path / "in/x.zip", raw.replace(BULK[:100], bytes(100)))
    (rejection,) = extract_all(tmp_path / "in", tmp_path / "out")
    assert rejection.file == "x.zip/a.mp4" and "CRC" in rejection.reason
    assert names_in(tmp_path / "out") == ["b.json"]


def test_what_is_there_is_not_extracted_again(tmp_path):
    put(tmp_path / "in/x.zip", zip_bytes({"a.mp4": BULK, "b.json": LABEL}))
    extract_all(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out/a.mp4").stat().st_mtime_ns, (tmp_path / "out/a.mp4").stat().st_ino
    (tmp_path / "out/b.json").unlink()
    extract_all(tmp_path / "in", tmp_path / "out")
    assert ((tmp_path / "out/a.mp4").stat().st_mtime_ns, (tmp_path / "out/a.mp4").stat().st_ino) == before
    assert names_in(tmp_path / "out") == ["a.mp4", "b.json"]


def encrypted(raw: bytes) -> bytes:
    """A zip whose members' headers say that they are encrypted."""
    raw = bytearray(raw)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := raw.find(mark, at + 1)) >= 0:
            raw[at + flags] |= 1
    return bytes(raw)


def test_an_encrypted_zip_is_told_as_such(tmp_path):
    put(tmp_path / "in/x.zip", encrypted(zip_bytes({"a.json": LABEL})))
    (rejection,) = extract_all(tmp_path / "in", tmp_path / "out")
    assert "encrypted" in rejection.reason and "password" in rejection.reason
    assert "Download" not in rejection.reason and names_in(tmp_path / "out") == []


def test_links_in_a_zip_are_not_extracted(tmp_path):
    link = zipfile.ZipInfo("a.mp4")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    put(tmp_path / "in/x.zip", b"")
    with zipfile.ZipFile(tmp_path / "in/x.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
        file.writestr("b.json", LABEL)
    (rejection,) = extract_all(tmp_path / "in", tmp_path / "out")
    assert "link" in rejection.reason and names_in(tmp_path / "out") == ["b.json"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_and_a_folder_of_one_name_cost_one_of_them(tmp_path, order):
    members = [("a.json", LABEL), ("a.json/b.json", LABEL), ("c.json", LABEL)][::order]
    put(tmp_path / "in/x.zip", zip_bytes(dict(members)))
    (rejection,) = extract_all(tmp_path / "in", tmp_path / "out")
    assert "same name" in rejection.reason
    assert len(names_in(tmp_path / "out")) == 2 and "c.json" in names_in(tmp_path / "out")


def test_names_as_long_as_a_disk_takes_them(tmp_path):
    names = ["가" * 81 + "x" * (length - 248) + ".json" for length in (250, 253, 255)]
    too_long = "나" * 84 + ".json"  # 257 bytes
    put(tmp_path / "in/x.zip", zip_bytes(dict.fromkeys([*names, too_long], LABEL)))
    (rejection,) = extract_all(tmp_path / "in", tmp_path / "out")
    assert "255 bytes" in rejection.reason
    assert names_in(tmp_path / "out") == sorted(names)
    assert extract_all(tmp_path / "in", tmp_path / "out") == [rejection], "what is there is not extracted again"
