"""What records are about: images upright, in RGB, and refused with a code where they cannot be used."""

import numpy as np
import pytest
from PIL import Image
from record_files import write_image
from small_models import small_processor
from video_fixtures import corners

from processing.video_errors_kocap import VideoError
from processing.video_limits_kocap import Limits
from training.record_media import Source, read_image, read_source

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


def test_an_image_is_one_frame_without_a_time(tmp_path):
    path = write_image(tmp_path / "a.png")
    frames, times_s = read_source(Source("a", str(path), "image"), small_processor())
    assert frames.shape == (1, 3, 40, 50) and times_s is None
