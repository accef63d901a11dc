"""Images upright, in RGB, small, and refused with a code where they cannot be used; here or in a process of its own."""

import io
import struct
import sys

import numpy as np
import pytest
from picture_bombs import flat_png, progressive_jpeg
from PIL import Image
from record_files import write_image
from video_fixtures import corners

from processing.image_reading_kocap import IMAGE_FORMATS, MAX_JPEG_SCANS, count_scans, read_image
from processing.video_errors_kocap import VideoError
from processing.video_isolation_kocap import read_image_isolated
from processing.video_limits_kocap import Limits

UPRIGHT = corners().transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transpositions, inverted
    picture = Image.fromarray(corners())
    if orientation in undo:
        picture = picture.transpose(Image.Transpose(undo[orientation]))
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), UPRIGHT)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_any_kind_of_pixels_becomes_rgb(tmp_path, mode):
    grey = np.repeat(corners()[..., :1], 3, 2)
    if mode == "I;16":
        picture = Image.fromarray(grey[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(grey).quantize(8) if mode == "P" else Image.fromarray(grey).convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    picture.save(path)
    read = read_image(path)
    assert read.dtype == np.uint8 and read.shape == UPRIGHT.shape
    if mode != "1":  # which is black and white
        assert np.abs(read.astype(int) - grey.transpose(2, 0, 1)).max() <= 1


def test_transparent_pixels_are_black(tmp_path):
    Image.new("RGBA", (8, 6), (200, 100, 50, 0)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png").any()


def test_what_cannot_be_read_is_told_with_a_code(tmp_path):
    whole = write_image(tmp_path / "a.jpg", width=300, height=200).read_bytes()
    files = {"E_EMPTY": b"", "E_NOT_IMAGE": b"no image", "E_CORRUPT": whole[: len(whole) // 2]}
    for code, content in files.items():
        (tmp_path / code).write_bytes(content)
    for code in (*files, "E_NOT_FOUND"):
        with pytest.raises(VideoError, match=code) as caught:
            read_image(tmp_path / code)
        assert caught.value.code == code and caught.value.message_ko
    with pytest.raises(VideoError, match="E_NOT_FILE"):
        read_image(tmp_path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    Image.new("1", (7_000, 7_000)).save(tmp_path / "large.png")
    for name in ("bomb.png", "large.png"):
        with pytest.raises(VideoError, match="E_TOO_LARGE"):
            read_image(tmp_path / name)
    path = write_image(tmp_path / "a.png")
    with pytest.raises(VideoError, match="50x40"):
        read_image(path, limits=Limits(max_pixels=1_999))
    assert read_image(path, limits=Limits(max_pixels=2_000)).shape == (3, 40, 50)


def encoded(format: str, picture: Image.Image | None = None, **options) -> bytes:
    sink = io.BytesIO()
    (picture or Image.fromarray(corners())).save(sink, format, **options)
    return sink.getvalue()


def outcome(read, source, **options) -> tuple:
    try:
        image = read(source, **options)
    except (ValueError, TypeError) as error:
        return type(error), str(error)
    return image.shape, image.tobytes()


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
ONES = {
    "palette": encoded("GIF"),
    "grey 16": encoded("TIFF", Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)),
    "lab": encoded("TIFF", Image.new("LAB", (30, 20), (50, 100, 150))),
    "lzw": encoded("TIFF", PHOTO, compression="tiff_lzw"),
    "cmyk": encoded("JPEG", PHOTO.convert("CMYK")),
    "progressive": encoded("JPEG", PHOTO, progressive=True),
    "interlaced": encoded("PNG", PHOTO.convert("RGBA")),
    "telephone": encoded("MPO", PHOTO, save_all=True, append_images=[PHOTO]),
    "empty": b"",
    "text": b"no picture" * 99,
    "cut": encoded("JPEG", PHOTO)[:5000],
    "large": flat_png(7000),
    "scans": progressive_jpeg(64, MAX_JPEG_SCANS + 1),
}


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("size", [None, (8, 12)])
@pytest.mark.parametrize("content", [*ONES.values(), *map(encoded, IMAGE_FORMATS)], ids=[*ONES, *IMAGE_FORMATS])
def test_an_isolated_reading_is_the_same(content, size):
    assert outcome(read_image_isolated, content, size=size) == outcome(read_image, content, size=size)


def test_an_image_is_shrunk_to_what_the_model_sees_and_never_enlarged():
    content = encoded("PNG", PHOTO)
    small = np.asarray(PHOTO.resize((64, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(read_image(content, size=(64, 64)), small)
    for size, shape in {(64, 900): (3, 64, 400), (900, 900): (3, 300, 400)}.items():
        assert read_image(content, size=size).shape == shape


def test_scans_are_counted_as_the_decoder_meets_them():
    assert count_scans(encoded("JPEG", PHOTO)) == 1
    assert 5 < count_scans(encoded("JPEG", PHOTO, progressive=True)) <= 20
    thumbnail = encoded("JPEG", PHOTO.resize((50, 50)), progressive=True)
    whole = encoded("JPEG", PHOTO, comment=thumbnail * 30) + thumbnail * 30  # neither is a scan of this picture
    assert count_scans(whole) == 1
    assert read_image(whole).shape == (3, 300, 400)
    assert count_scans(progressive_jpeg(64, 500)) == 501
    for scans, fine in ((MAX_JPEG_SCANS - 1, True), (MAX_JPEG_SCANS, False)):
        assert (outcome(read_image, progressive_jpeg(64, scans))[0] == (3, 64, 64)) is fine


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_of_a_moving_picture_the_first_frame_is_read(format):
    frames = [Image.new("RGB", (40, 30), (number, 200 - number, 7)) for number in range(200)]
    options = {"lossless": True} if format == "WEBP" else {}
    moving = encoded(format, frames[0], save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(read_image(moving), read_image(encoded(format, frames[0], **options)))


def test_damaged_exif_costs_no_picture():
    generator = np.random.default_rng(0)
    refused = 0
    for number in range(600):
        content = encoded(("JPEG", "PNG", "WEBP")[number % 3], exif=damaged_exif(generator))
        try:
            assert sorted(read_image(content).shape) == sorted(UPRIGHT.shape)
        except VideoError:  # Pillow does not even open one in a thousand
            refused += 1
    assert refused < 6


def damaged_exif(generator: np.random.Generator) -> bytes:
    """A picture lies on its side, says the first tag; the others are of wrong types and point anywhere."""
    tags = [struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)]
    for _ in range(generator.integers(1, 6)):
        tag, place = generator.choice([0x0112, 0x8769, 0x8825, 0xA005, 0x8298, 0x011A, 0x0128]), [6, 8, 20, 0xFFFFFFFF]
        tags.append(
            struct.pack("<HHII", tag, generator.integers(1, 14), generator.integers(0, 4), generator.choice(place))
        )
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags) + generator.bytes(44)
