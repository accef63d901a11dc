"""Frames look as a player shows them: right colours, HDR made SDR, alpha on black, no comb."""

import io
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from video_fixtures import bars, make_clip, read_bars

from processing.tone_mapping_kocap import compress_nits, nits_to_pq, pq_to_nits, tone_map
from processing.video_picture_kocap import Picture

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="compares with the ffmpeg program")

BT601, BT709, BT2020 = 6, 1, 9  # AVColorSpace
PQ = {"colorspace": BT2020, "color_trc": ColorTrc.SMPTE2084, "color_primaries": ColorPrimaries.BT2020}
HLG = PQ | {"color_trc": ColorTrc.ARIB_STD_B67}
PATCHES = np.array([(200, 30, 60), (30, 180, 70), (40, 60, 220), (235, 235, 235), (20, 20, 20), (128, 128, 128)])


def patches(width: int = 96, height: int = 64) -> np.ndarray:
    """Six upright stripes of plain colour, uint8 `[H, W, 3]`."""
    columns = PATCHES[np.arange(width) * len(PATCHES) // width].astype(np.uint8)
    return np.broadcast_to(columns, (height, width, 3)).copy()


def stripe_colours(data: np.ndarray, count: int = len(PATCHES)) -> np.ndarray:
    """The colour in the middle of each stripe of a frame `[3, H, W]`: float64 `[count, 3]`."""
    height, width = data.shape[1:]
    middles = [int((i + 0.5) * width / count) for i in range(count)]
    return data[:, height // 2, middles].T.astype(float)


def lossless(picture: np.ndarray, **options) -> bytes:
    return make_clip([picture] * 2, container="matroska", codec="ffv1", **options)


def shown(clip: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Every frame of a clip, uint8 `[T, 3, H, W]`; size is (width, height), default as shown."""
    with av.open(io.BytesIO(clip)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        picture = Picture(frames[0], stream)
        width, height = size or (picture.width, picture.height)
        images = np.empty((len(frames), 3, height, width), np.uint8)
        for frame, image in zip(frames, images, strict=True):
            picture.render(frame, image)
        return images


def first_frame(clip: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    return shown(clip, size)[0]


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv444p10le", "yuv420p10le"])
@pytest.mark.parametrize("color_range", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("colorspace", [BT601, BT709, BT2020])
def test_colours_follow_the_matrix_and_range_the_file_states(colorspace, color_range, pix_fmt):
    clip = lossless(patches(), pix_fmt=pix_fmt, tags={"colorspace": colorspace, "color_range": color_range})
    # one rounding to 8-bit YUV moves RGB by up to 0.5 * (1 + 1.88 + ...) < 2
    assert np.abs(stripe_colours(first_frame(clip)) - PATCHES).max() <= 2


@needs_ffmpeg
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("color_range", [None, ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("colorspace", [None, BT601, BT709, BT2020])
def test_colours_are_those_of_the_ffmpeg_program(colorspace, color_range, pix_fmt, tmp_path):
    tags = {"colorspace": colorspace, "color_range": color_range}
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    path = tmp_path / "a.mkv"
    path.write_bytes(lossless(noise, pix_fmt=pix_fmt, tags={k: v for k, v in tags.items() if v is not None}))
    scale = "scale=48:32:flags=bicubic+accurate_rnd+full_chroma_int"
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", scale, "-frames:v", "1", "-pix_fmt", "rgb24"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(32, 48, 3).transpose(2, 0, 1).astype(int)
    difference = np.abs(first_frame(path.read_bytes(), (48, 32)) - expected)
    # the program is FFmpeg 5, PyAV holds FFmpeg 8: rounding differs; a wrong matrix or range is off by 4 on average
    assert difference.mean() < 0.6 and np.quantile(difference, 0.99) <= 4


@pytest.mark.parametrize("colorspace", range(18))
@pytest.mark.parametrize("transfer", [ColorTrc.BT709, ColorTrc.SMPTE2084])
def test_no_matrix_is_a_reason_to_fail(colorspace, transfer):
    stream = av.open(io.BytesIO(make_clip(1))).streams.video[0]
    for pix_fmt in ("yuv420p", "yuv444p10le", "gbrp", "gray", "yuva420p"):
        frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 128, np.uint8), format="rgb24").reformat(format=pix_fmt)
        frame.colorspace, frame.color_trc = colorspace, transfer
        Picture(frame, stream).render(frame, image := np.empty((3, 32, 48), np.uint8))
        assert image.min() > 100 and image.max() < 240 and np.ptp(image) <= 1


def grey_ramp(nits: list[float], code_of) -> np.ndarray:
    """Stripes of grey of so many nits, coded, uint16 `[64, W, 3]`."""
    codes = np.round(code_of(np.array(nits)) * 65535).astype(np.uint16)
    return np.broadcast_to(codes.repeat(16)[None, :, None], (64, 16 * len(nits), 3)).copy()


def nits_to_hlg(nits: np.ndarray) -> np.ndarray:
    """BT.2100 table 5, backwards, for a display of 1000 nits."""
    scene = (nits / 1000) ** (1 / 1.2)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


# nits -> SDR code: up to the knee 255 * (nits / 203) ** (1 / 2.4), above it by the curve of BT.2390
RAMP = {0: 0, 1: 28, 5: 54, 26: 108, 50: 142, 91: 182, 203: 230, 400: 250, 1000: 255}


@pytest.mark.parametrize("pix_fmt", ["yuv444p10le", "yuv420p10le", "gbrp10le"])
@pytest.mark.parametrize(("tags", "code_of"), [(PQ, nits_to_pq), (HLG, nits_to_hlg)], ids=["PQ", "HLG"])
def test_hdr_grey_comes_out_as_sdr_grey(tags, code_of, pix_fmt):
    tags = {k: v for k, v in tags.items() if k != "colorspace"} if pix_fmt == "gbrp10le" else tags
    clip = lossless(grey_ramp(list(RAMP), code_of), picture_format="rgb48le", pix_fmt=pix_fmt, tags=tags)
    colours = stripe_colours(first_frame(clip), len(RAMP))
    assert np.abs(colours - np.array(list(RAMP.values()))[:, None]).max() <= 2  # 10 bits, limited range
    assert (colours.max(axis=1) - colours.min(axis=1) <= 1).all()  # grey


def test_hdr_survives_a_lossy_file():
    clip = make_clip(
        [grey_ramp([26, 203], nits_to_pq)] * 2,
        codec="libx265",
        picture_format="rgb48le",
        pix_fmt="yuv420p10le",
        tags=PQ,
    )
    assert np.abs(stripe_colours(first_frame(clip), 2) - [[108], [230]]).max() <= 4


def test_the_tone_curve_joins_the_standards_points():
    assert np.allclose(nits_to_pq(np.array([0, 100, 1000, 10_000])), [0, 0.5081, 0.7518, 1], atol=1e-4)  # BT.2408
    assert np.allclose(pq_to_nits(nits_to_pq(np.geomspace(0.01, 10_000, 50))), np.geomspace(0.01, 10_000, 50))
    nits = np.geomspace(0.01, 4000, 2000)
    assert (np.diff(compress_nits(nits)) >= 0).all()
    assert np.allclose(compress_nits(nits[nits < 88]), nits[nits < 88])
    assert np.allclose(compress_nits(np.array([0, 203, 1000, 4000])), [0, 159, 203, 203], atol=0.5)


@pytest.mark.parametrize("nits", [50, 203, 1000])
@pytest.mark.parametrize("transfer", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67])
def test_saturated_hdr_colours_keep_their_hue(transfer, nits):
    code = round(float((nits_to_pq if transfer == ColorTrc.SMPTE2084 else nits_to_hlg)(np.array(nits))) * 65535)
    pure = np.eye(3, dtype=np.uint16)[None] * np.uint16(code)  # red, green, blue
    shown_colours = tone_map(pure, transfer, ColorPrimaries.BT2020)[0].astype(int)
    for i, colour in enumerate(shown_colours):
        assert colour[i] > 100 and np.delete(colour, i).max() == 0
    in_709 = tone_map(pure, transfer, ColorPrimaries.BT709)[0]
    assert (in_709[~np.eye(3, dtype=bool)] == 0).all()


def test_hdr_pictures_look_the_same_in_any_strip():
    image = np.random.default_rng(0).integers(0, 1 << 16, (700, 130, 3)).astype(np.uint16)
    whole = tone_map(image, ColorTrc.SMPTE2084, ColorPrimaries.BT2020)
    assert (whole[650:] == tone_map(image[650:], ColorTrc.SMPTE2084, ColorPrimaries.BT2020)).all()


@pytest.mark.parametrize("trc", [ColorTrc.BT709, ColorTrc.UNSPECIFIED, ColorTrc.BT2020_10])
def test_sdr_is_left_alone(trc):
    pictures = patches(), np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for picture in pictures:
        clip = lossless(picture, pix_fmt="bgr0", tags={"color_trc": trc})
        assert (first_frame(clip) == picture.transpose(2, 0, 1)).all()


def veiled(opacity: np.ndarray) -> np.ndarray:
    """Red (200, 30, 60) that is there as far as `opacity` says, stripe by stripe: uint8 `[64, W, 4]`."""
    picture = np.empty((64, 16 * len(opacity), 4), np.uint8)
    picture[..., :3] = (200, 30, 60)
    picture[..., 3] = opacity.repeat(16)
    return picture


@pytest.mark.parametrize(
    ("container", "codec", "pix_fmt", "tolerance"),
    [
        ("mov", "png", "rgba", 1),
        ("mov", "qtrle", "argb", 1),
        ("matroska", "ffv1", "bgra", 1),
        ("matroska", "ffv1", "yuva444p", 2),
        ("matroska", "ffv1", "yuva420p", 3),
        ("mov", "prores_ks", "yuva444p10le", 4),
    ],
)
def test_transparent_parts_lie_on_black(container, codec, pix_fmt, tolerance):
    opacity = np.array([0, 51, 128, 255], np.uint8)
    clip = make_clip([veiled(opacity)] * 2, container=container, codec=codec, pix_fmt=pix_fmt, picture_format="rgba")
    expected = opacity[:, None] / 255 * [200, 30, 60]
    for size in (None, (32, 32)):
        assert np.abs(stripe_colours(first_frame(clip, size), 4) - expected).max() <= tolerance


def test_transparent_gif_parts_lie_on_black():
    clip = bytearray(make_clip(1, container="gif", codec="gif", pix_fmt="rgb8"))
    white = 255  # rgb8's last palette entry
    at = clip.index(b"\x21\xf9\x04")
    clip[at + 3] |= 1
    clip[at + 6] = white
    assert first_frame(bytes(clip)).max() == 0  # what was white is gone


def test_hdr_with_alpha():
    picture = np.full((64, 96, 4), round(float(nits_to_pq(np.array(26.0))) * 65535), np.uint16)
    picture[..., 3] = 65535
    picture[:, 48:, 3] = 0
    clip = lossless(picture, picture_format="rgba64le", pix_fmt="gbrap16le", tags={"color_trc": ColorTrc.SMPTE2084})
    image = first_frame(clip).astype(int)
    assert np.abs(image[:, :, 10] - 108).max() <= 1 and image[:, :, 90].max() == 0


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("mpegts", "mpeg2video"), ("matroska", "ffv1")])
def test_interlaced_frames_come_in_order(container, codec):
    clip = make_clip(10, container=container, codec=codec, interlaced=True)
    assert read_bars(shown(clip)) == list(range(10))


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("mpegts", "mpeg2video")])
@pytest.mark.parametrize("size", [(96, 64), (48, 32), (47, 31), (30, 20)])
def test_interlaced_frames_show_one_moment(container, codec, size):
    woven = bars(0)
    woven[0::2], woven[1::2] = bars(21)[0::2], bars(42)[1::2]  # 010101 and 101010: a comb if both are shown
    image = first_frame(make_clip([woven] * 12, container=container, codec=codec, interlaced=True), size)
    assert image.shape == (3, size[1], size[0])
    assert read_bars(image[None]) == [21]
    assert np.abs(np.diff(image.astype(int), axis=1)).max() < 40  # a comb jumps by 255


def test_every_thread_may_have_its_own_picture():
    clip = lossless(grey_ramp(list(RAMP), nits_to_pq), picture_format="rgb48le", pix_fmt="yuv444p10le", tags=PQ)
    alone = first_frame(clip)
    with ThreadPoolExecutor(4) as pool:
        assert all((image == alone).all() for image in pool.map(first_frame, [clip] * 16))
