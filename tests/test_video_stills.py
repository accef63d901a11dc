"""A still picture in a video container is no video: it is told as such, not captioned as one second of a tile."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, features
from video_fixtures import make_clip, read_bars

from processing.video_errors_kocap import NotVideoError
from processing.video_isolation_kocap import read_frames_isolated
from processing.video_reading_kocap import probe, read_frames


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack("!I4s", 8 + len(body), name) + body


def full_box(name: bytes, *content: bytes, version: int = 0) -> bytes:
    return box(name, bytes([version, 0, 0, 0]), *content)


def heic(tiles: list[bytes], extra: bytes, side: int, brand: bytes = b"heic") -> bytes:
    """A HEIF file as phones write it: one grid, and one item of HEVC for each of its tiles.

    Args:
        tiles: The pictures' samples.
        extra: The decoder's configuration, what an `hvcC` box holds.
    """
    grid_id, ids = len(tiles) + 1, range(1, len(tiles) + 1)
    grid = struct.pack("!BBBBHH", 0, 0, 0, len(tiles) - 1, side * len(tiles), side)
    items = [full_box(b"infe", struct.pack("!HH4sB", i, 0, b"hvc1", 0), version=2) for i in ids]
    items.append(full_box(b"infe", struct.pack("!HH4sB", grid_id, 0, b"grid", 0), version=2))
    properties = [box(b"hvcC", extra), full_box(b"ispe", struct.pack("!II", side, side))]
    links = b"".join(struct.pack("!HBBB", i, 2, 0x81, 2) for i in ids)
    ftyp = box(b"ftyp", brand, bytes(4), b"mif1heic")

    def meta(data_at: int) -> bytes:
        places, at = [], data_at
        for item, content in enumerate([*tiles, grid], 1):
            places.append(struct.pack("!HHHII", item, 0, 1, at, len(content)))
            at += len(content)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", struct.pack("!H", grid_id)),
            full_box(b"iloc", struct.pack("!BBH", 0x44, 0, len(places)), *places),
            full_box(b"iinf", struct.pack("!H", len(items)), *items),
            full_box(b"iref", box(b"dimg", struct.pack(f"!HH{len(tiles)}H", grid_id, len(tiles), *ids))),
            box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", struct.pack("!I", len(tiles)), links)),
        )

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", *tiles, grid)


def tiled_heic() -> bytes:
    clip = make_clip(3, codec="libx265", gop=1)
    at = clip.index(b"hvcC")
    extra = clip[at + 4 : at - 4 + struct.unpack("!I", clip[at - 4 : at])[0]]
    mdat = clip.index(b"mdat") + 4
    (length,) = struct.unpack("!I", clip[mdat - 8 : mdat - 4])
    return heic([clip[mdat : mdat - 8 + length]] * 3, extra, 96)


def avif(count: int) -> bytes:
    pictures = [Image.fromarray(np.full((64, 96, 3), 40 + 50 * i, np.uint8)) for i in range(count)]
    file = io.BytesIO()
    pictures[0].save(file, "AVIF", save_all=count > 1, append_images=pictures[1:], duration=100)
    return file.getvalue()


needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
STILLS = [pytest.param(tiled_heic, id="tiled HEIC"), pytest.param(lambda: avif(1), id="AVIF", marks=needs_avif)]


@pytest.mark.parametrize("make", STILLS)
def test_a_still_is_no_video_and_told_what_to_do_with_it(make):
    still = make()
    for read in (lambda: read_frames(still, [0.0]), lambda: read_frames_isolated(still, [0.0]), lambda: probe(still)):
        with pytest.raises(NotVideoError, match=r"still picture.*JPEG or PNG") as caught:
            read()
        assert caught.value.code == "E_NOT_VIDEO"
        assert "사진" in caught.value.message_ko and caught.value.message_ko.endswith("주세요.")


@needs_avif
def test_pictures_that_move_are_a_video():
    frames = read_frames(avif(4), [0.05, 0.15, 0.25, 0.35])
    assert np.abs(frames.data.mean((1, 2, 3)) - [40, 90, 140, 190]).max() < 4
    assert frames.facts.duration_s == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_clip_of_one_picture_is_a_video(container):
    assert read_bars(read_frames(make_clip(1, container=container), [0.0]).data) == [0]
