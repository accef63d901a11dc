"""Odd videos give the right frames, bad ones a clear answer."""

import gc
import http.server
import io
import os
import pickle
import threading
import time
import unicodedata
from fractions import Fraction

import av
import av.container
import numpy as np
import pytest
from video_fixtures import (
    bars,
    claim_size,
    corners,
    cut_start,
    damage,
    make_clip,
    make_song_with_cover,
    make_sound,
    read_bars,
)

import processing.video_readers_kocap as video_readers
from processing.frame_sampling_kocap import Sampling, sample_times
from processing.video_decoding_kocap import Tally
from processing.video_errors_kocap import FramesError, VideoError, VideoNotFoundError
from processing.video_limits_kocap import Limits
from processing.video_reading_kocap import Frames, probe, read_frames

NOISE = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8) for i in range(20)]


def middles(duration_s: float) -> np.ndarray:
    """One time per frame of a clip at 10 frames per second."""
    return sample_times(duration_s, num_frames=round(duration_s * 10))


def resized_midway() -> bytes:
    second_half = [bars(i, 192, 128) for i in range(10, 20)]
    return make_clip(10, container="mpegts") + make_clip(
        second_half, container="mpegts", times_ms=range(1000, 2000, 100)
    )


# 20 frames at 10 frames per second, in every wrapping
WHOLE = {
    "mp4": lambda: make_clip(),
    "b-frames": lambda: make_clip(bframes=2),
    "one keyframe": lambda: make_clip(gop=250, bframes=2),
    "matroska with b-frames": lambda: make_clip(container="matroska", bframes=2),
    "webm": lambda: make_clip(container="webm", codec="libvpx"),
    "piped webm without duration": lambda: make_clip(container="webm", codec="libvpx", piped=True),
    "fragmented mp4": lambda: make_clip(muxer={"movflags": "frag_keyframe+empty_moov"}),
    "mp4 that starts late": lambda: make_clip(times_ms=range(1600, 3600, 100)),
    "transport stream": lambda: make_clip(container="mpegts", bframes=2),
    "transport stream that starts late": lambda: make_clip(container="mpegts", times_ms=range(70_000, 72_000, 100)),
    "avi": lambda: make_clip(container="avi", codec="mpeg4"),
    "h264 with b-frames in avi": lambda: make_clip(container="avi", bframes=2),
    "flv": lambda: make_clip(container="flv", codec="flv"),
    "gif": lambda: make_clip(container="gif", codec="gif", pix_fmt="rgb8"),
    "size changes midway": resized_midway,
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_frame_comes_back_at_its_own_time(name):
    frames = read_frames(WHOLE[name](), middles)
    assert read_bars(frames.data) == list(range(20))
    assert np.allclose(frames.times_s, np.arange(20) / 10, atol=2e-3)  # containers count milliseconds
    assert frames.facts.duration_s == pytest.approx(2.0, abs=2e-3)
    assert frames.warnings == ()


@pytest.mark.parametrize("name", WHOLE)
def test_seeking_changes_nothing(name, monkeypatch):
    clip = WHOLE[name]()
    from_start = [read_frames(clip, [t]) for t in (0.0, 0.75, 1.25, 1.95, 5.0)]
    monkeypatch.setattr(video_readers, "SEEK_AFTER_S", 0.0)
    for expected in from_start:
        sought = read_frames(clip, [expected.times_s[0]])
        assert sought.times_s == pytest.approx(expected.times_s)
        assert (sought.data == expected.data).all()


def test_frames_of_variable_rate_are_chosen_by_time():
    shown_ms = [0, 100, 150, 900, 1000, 2000]
    frames = read_frames(make_clip(6, times_ms=shown_ms), [-1.0, 0.1, 0.149, 0.15, 0.8, 0.95, 1.999, 2.0, 99.0])
    assert read_bars(frames.data) == [0, 1, 1, 2, 2, 3, 4, 5, 5]
    assert np.allclose(frames.times_s, [0, 0.1, 0.1, 0.15, 0.15, 0.9, 1.0, 2.0, 2.0])


def test_an_edit_list_hides_frames():
    frames = read_frames(cut_start(make_clip(bframes=2), 400), middles)
    assert read_bars(frames.data) == list(range(4, 20))
    assert frames.times_s[0] == 0 and frames.facts.duration_s == pytest.approx(1.6)


@pytest.mark.parametrize(("container", "codec", "bframes"), [("h264", "libx264", 2), ("hevc", "libx265", 0)])
def test_raw_streams_get_times_from_the_rate_and_say_so(container, codec, bframes):
    frames = read_frames(make_clip(container=container, codec=codec, bframes=bframes), np.arange(20) / 25)
    assert read_bars(frames.data) == list(range(20))
    assert frames.facts.duration_s == pytest.approx(20 / 25)
    assert "no timestamps" in str(frames.warnings[0])


def test_recordings_joined_end_to_end_are_read_whole():
    joined = make_clip(10, container="mpegts", times_ms=range(60_000, 61_000, 100)) + make_clip(
        [bars(i) for i in range(10, 20)], container="mpegts", times_ms=range(0, 1000, 100)
    )
    frames = read_frames(joined, np.arange(20) / 10 + 0.05)
    assert read_bars(frames.data) == list(range(20))
    assert any("jump back" in str(warning) for warning in frames.warnings)


def test_a_single_frame_is_repeated():
    frames = read_frames(make_clip(1), lambda duration_s: sample_times(duration_s, num_frames=4))
    assert read_bars(frames.data) == [0, 0, 0, 0]
    assert frames.times_s.tolist() == [0, 0, 0, 0] and frames.facts.duration_s > 0


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_all_eight_orientations_come_upright(turn, mirrored, flipped):
    frames = read_frames(make_clip([corners()] * 2, turn=(turn, mirrored, flipped)), [0.0])
    expected = np.rot90(corners(), turn // 90)  # counterclockwise, as the matrix
    expected = expected[:: -1 if flipped else 1, :: -1 if mirrored else 1].transpose(2, 0, 1)
    assert frames.data[0].shape == expected.shape
    assert (frames.facts.height, frames.facts.width) == expected.shape[1:]
    assert np.abs(frames.data[0].astype(int) - expected).mean() < 6  # JPEG-like ringing at the edges
    if not mirrored and not flipped:
        assert frames.facts.rotation_degrees == (360 - turn) % 360


def test_pixels_that_are_not_square_are_stretched():
    clip = make_clip(aspect=Fraction(4, 3))
    assert (probe(clip).width, probe(clip).height) == (128, 64)
    assert read_frames(clip, [0.0], size=32).data.shape == (1, 3, 32, 64)
    turned = make_clip(aspect=Fraction(4, 3), turn=(90, False, False))
    assert (probe(turned).width, probe(turned).height) == (64, 128)


def test_odd_sizes_are_exact_and_small_clips_stay_small():
    clip = make_clip([bars(i, 97, 65) for i in range(3)], pix_fmt="yuv444p")
    assert read_frames(clip, [0.0]).data.shape == (1, 3, 65, 97)
    assert read_frames(clip, [0.0], size=33).data.shape == (1, 3, 33, 49)
    assert read_frames(clip, [0.0], size=500).data.shape == (1, 3, 65, 97)


def test_colours_come_back():
    red = np.zeros((64, 96, 3), np.uint8)
    red[:] = (200, 30, 60)
    colour = read_frames(make_clip([red] * 3), [0.1]).data.mean(axis=(0, 2, 3))
    assert np.abs(colour - [200, 30, 60]).max() < 4  # two roundings through 4:2:0


def test_a_file_cut_short_gives_what_is_there_and_a_warning():
    whole = make_clip(NOISE, muxer={"moov_size": "4000"})  # moov first, as in "fast start"
    frames = read_frames(whole[: len(whole) * 2 // 3], middles)
    assert 10 <= len(frames) < 20
    assert (np.diff(frames.times_s) > 0).sum() >= len(frames) - 2
    assert any("cut short" in str(warning) for warning in frames.warnings)


def test_broken_packets_are_skipped():
    frames = read_frames(damage(make_clip(NOISE, gop=1), 12, seed=0), middles)
    assert len(frames) == 20
    assert len(np.unique(frames.times_s)) >= 10


SILENT_MP4 = make_clip()
BAD = {
    "zero bytes": (b"", "E_EMPTY"),
    "random bytes": (np.random.default_rng(0).bytes(5000), "E_NOT_VIDEO"),
    "text": ("이것은 영상이 아닙니다.\n".encode() * 50, "E_NOT_VIDEO"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), "E_NOT_VIDEO"),
    "mp4 without moov": (SILENT_MP4[: len(SILENT_MP4) // 2], "E_TRUNCATED"),
    "mp4 cut inside moov": (SILENT_MP4[:-200], "E_TRUNCATED"),
    "first bytes of an mp4": (SILENT_MP4[:40], "E_TRUNCATED"),
    "mp3": (make_sound("mp3", "libmp3lame"), "E_NO_VIDEO"),
    "m4a": (make_sound("mp4", "aac"), "E_NO_VIDEO"),
    "wav": (make_sound("wav", "pcm_s16le"), "E_NO_VIDEO"),
    "flac": (make_sound("flac", "flac"), "E_NO_VIDEO"),
    "song with a cover": (make_song_with_cover(), "E_NO_VIDEO"),
    "HLS playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n", "E_FORMAT"),
    "concat script": (b"ffconcat version 1.0\nfile 'a.mp4'\n", "E_FORMAT"),
    "session description": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 5004 RTP/AVP 96\r\n", "E_FORMAT"),
    "DASH manifest": (b"<?xml version='1.0'?>\n<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>", "E_FORMAT"),
    "nothing decodes": (damage(make_clip(NOISE), 60_000, seed=1), "E_CORRUPT"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_refused_with_their_code(name, tmp_path):
    content, code = BAD[name]
    path = tmp_path / "영상.mp4"
    path.write_bytes(content)
    for source in (content, path, io.BytesIO(content)):
        started = time.monotonic()
        with pytest.raises(VideoError) as caught:
            read_frames(source, [0.0])
        assert caught.value.code == code
        assert str(caught.value).startswith(f"{code}: ") and caught.value.message_ko.endswith(".")
        assert time.monotonic() - started < 2
    with pytest.raises(VideoError, match=code):
        probe(path)


@pytest.mark.parametrize("claimed", [(1280, 1280), (320, 240)])
def test_large_frames_are_refused_even_if_the_header_lies(claimed):
    clip = claim_size(make_clip([np.zeros((1280, 1280, 3), np.uint8)]), *claimed)
    with pytest.raises(VideoError, match="E_TOO_LARGE"):
        read_frames(clip, [0.0], limits=Limits(max_pixels=1_000_000))
    assert 7680 * 4320 < Limits().max_pixels < 8192 * 8192


def test_a_huge_clip_is_refused_before_anything_is_decoded(monkeypatch):
    clip = make_clip([np.zeros((8192, 8192, 3), np.uint8)], fps=1)
    monkeypatch.setattr(Tally, "decode", lambda *_: pytest.fail("decoded"))
    for look in (probe, lambda source: read_frames(source, [0.0])):
        with pytest.raises(VideoError, match=r"E_TOO_LARGE.*8192x8192 = 67\.1 MP"):
            look(clip)


def test_the_pixel_limit_is_the_callers():
    with pytest.raises(VideoError, match=r"96x64 = 0\.0 MP.*raise max_pixels"):
        probe(SILENT_MP4, limits=Limits(max_pixels=96 * 64 - 1))
    assert probe(SILENT_MP4, limits=Limits(max_pixels=96 * 64)).width == 96
    with pytest.raises(VideoError, match="E_TOO_LARGE"):
        read_frames(make_clip(container="gif", codec="gif", pix_fmt="rgb8"), [0.0], limits=Limits(max_pixels=1000))


def test_places_that_hold_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    for place, code in [
        (tmp_path, "E_NOT_FILE"),
        (tmp_path / "pipe.mp4", "E_NOT_FILE"),
        (tmp_path / "link.mp4", "E_NOT_FILE"),
        ("/dev/zero", "E_NOT_FILE"),
        (tmp_path / "gone.mp4", "E_NOT_FOUND"),
        (tmp_path / "missing.mp4", "E_NOT_FOUND"),
        (tmp_path / ("가" * 300), "E_NOT_FOUND"),
        ("nul\0byte.mp4", "E_NOT_FOUND"),
        ("", "E_NOT_FOUND"),
    ]:
        with pytest.raises(VideoError) as caught:
            probe(place)
        assert caught.value.code == code, place
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "missing.mp4")


def test_no_name_is_a_url_or_a_protocol(tmp_path):
    hits = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = tmp_path / "a.mp4"
        path.write_bytes(SILENT_MP4)
        address = f"127.0.0.1:{server.server_port}/a.mp4"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://{address}\n#EXT-X-ENDLIST\n".encode()
        for source in [
            *(f"http://{address}", f"https://{address}", f"concat:{path}|{path}", f"file:{path}", f"async:{path}"),
            *(f"subfile,,start,0,end,0,,:{path}", f"crypto:{path}", "data:video/mp4;base64,AAAA", "rtsp://127.0.0.1/a"),
            *(f"ffconcat version 1.0\nfile '{path}'\n".encode(), f"#EXTM3U\n{path}\n".encode(), playlist),
        ]:
            with pytest.raises(VideoError, match="E_FORMAT"):
                probe(source)
        server.shutdown()
    assert hits == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "name", ['한옥 마을\'s "봄" 100%.mp4', "http:가.mp4", "-i.mp4", "영상.txt", "%03d.png", "이름 없음"]
)
def test_any_name_opens_in_either_unicode_form(name, form, tmp_path):
    stored = tmp_path / unicodedata.normalize(form, name)
    stored.write_bytes(SILENT_MP4)
    for asked in (
        stored,
        str(stored),
        unicodedata.normalize("NFC", str(stored)),
        unicodedata.normalize("NFD", str(stored)),
    ):
        assert probe(asked).duration_s == pytest.approx(2.0)


def test_file_objects_are_rewound_and_left_open():
    file = io.BytesIO(SILENT_MP4)
    file.seek(100)
    assert len(read_frames(file, [0.0])) == 1
    assert not file.closed
    assert len(read_frames(bytearray(SILENT_MP4), [0.0])) == 1


def test_sources_of_a_wrong_kind_are_refused(tmp_path):
    with pytest.raises(TypeError, match="not int"):
        probe(3)  # pyright: ignore[reportArgumentType]
    path = tmp_path / "a.mp4"
    path.write_bytes(SILENT_MP4)
    with open(path, encoding="latin-1") as text, pytest.raises(TypeError, match="text mode"):
        probe(text)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("times", [[], [float("nan")], [1.0, 0.0], [[0.0]]])
def test_times_must_be_a_list_in_order(times):
    with pytest.raises(ValueError, match="times_s is"):
        read_frames(SILENT_MP4, times)


def test_frames_check_their_arrays():
    frames = read_frames(SILENT_MP4, [0.0, 0.5])
    assert repr(frames).startswith("Frames(data: uint8 [2, 3, 64, 96], times_s: 0.000 to 0.500, facts: VideoFacts(")
    for data, times_s in [
        (frames.data.astype(np.float32), frames.times_s),
        (frames.data.transpose(0, 2, 3, 1), frames.times_s),
        (frames.data[0], frames.times_s),
        (frames.data, frames.times_s[:1]),
        (frames.data[:0], frames.times_s[:0]),
    ]:
        with pytest.raises(FramesError, match="E_FRAMES"):
            Frames(data, times_s, frames.facts)


def test_errors_cross_process_borders():
    error = pickle.loads(pickle.dumps(VideoNotFoundError("'a' does not exist.")))
    assert (error.code, str(error)) == ("E_NOT_FOUND", "E_NOT_FOUND: 'a' does not exist.")


def overstate(clip: bytes, num_frames: int) -> bytes:
    """Make both headers of an AVI claim more frames than it has."""
    for at in (clip.index(b"avih") + 8 + 16, clip.index(b"strh") + 8 + 32):
        clip = clip[:at] + num_frames.to_bytes(4, "little") + clip[at + 4 :]
    return clip


def test_a_header_that_promises_too_many_frames_is_not_believed():
    frames = read_frames(overstate(make_clip(container="avi", codec="mpeg4"), 444), middles)
    assert read_bars(frames.data) == list(range(20))
    assert frames.facts.duration_s == pytest.approx(2.0)


SIDE = 60_000
GIF_BOMB = b"GIF89a" + SIDE.to_bytes(2, "little") * 2 + bytes(3) + b"," + bytes(4) + SIDE.to_bytes(2, "little") * 2
PNG_BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + SIDE.to_bytes(4, "big") * 2 + b"\x08\2\0\0\0" + bytes(4)


@pytest.mark.parametrize(
    ("bomb", "code"),
    [(GIF_BOMB + b"\0\2\0;", "E_TOO_LARGE"), (PNG_BOMB, "E_NOT_VIDEO")],
    ids=["gif", "png"],
)
def test_pictures_that_would_take_gigabytes_are_refused_at_once(bomb, code):
    probe(SILENT_MP4)  # imports are not counted
    started = time.process_time()
    with pytest.raises(VideoError) as caught:
        read_frames(bomb, [0.0])
    assert caught.value.code == code
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_ten_hours_and_a_gap_are_read_by_time(container):
    shown_ms = [0, 100, 200, *(i * 1_800_000 for i in range(1, 21))]
    limits = Limits(max_scan_s=40_000.0)
    frames = read_frames(
        make_clip(23, container=container, times_ms=shown_ms, gop=5), [0.15, 5_000, 36_000], limits=limits
    )
    assert read_bars(frames.data) == [1, 4, 22]
    assert frames.times_s == pytest.approx([0.1, 3_600, 36_000])


def test_a_thousand_frames_a_second_are_frames_like_others():
    frames = read_frames(make_clip(60, fps=1000), Sampling(num_frames=6))
    assert read_bars(frames.data) == [5, 15, 25, 35, 45, 55]


@pytest.mark.parametrize("container", ["mp4", "mpegts", "avi"])
def test_no_picture_or_decoder_waits_for_a_full_garbage_collection(container):
    clip = make_clip(40, container=container, codec="libx264" if container != "avi" else "mpeg4", fps=10)
    gc.collect()
    gc.disable()
    try:
        read_frames(clip, [0.0, 1.0, 3.0], size=32)
        gc.collect(0)
        kinds = av.VideoFrame, av.VideoStream, av.container.InputContainer
        left = [type(each).__name__ for each in gc.get_objects() if issubclass(type(each), kinds)]
    finally:
        gc.enable()
    assert not left
