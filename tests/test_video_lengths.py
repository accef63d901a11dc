"""How long a clip is, and what lies at its end: as the last shown picture says, whatever the header claims."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from video_fixtures import make_clip, read_bars

import processing.video_readers_kocap as video_readers
from processing.frame_sampling_kocap import Sampling, sample_times
from processing.video_reading_kocap import probe, read_frames

NUM_FRAMES = 30
EVEN_MS = [i * 100 for i in range(NUM_FRAMES)]
# A screen recording: something moves for two seconds, then a slide stands for seconds at a time.
SLIDES_MS = [*range(0, 2000, 100), 4000, 4100, 7000, 13000, 13100, 13200, 19000, 19100, 25000, 30000]
FAR_MS = 70_000

WRAPPINGS: dict[str, dict] = {
    "mp4": {"container": "mp4", "bframes": 3},
    "mov": {"container": "mov", "bframes": 3},
    "3gp": {"container": "3gp", "codec": "mpeg4", "bframes": 2},
    "mp4, one keyframe": {"container": "mp4", "bframes": 3, "gop": 250},
    "mp4 without reordering": {"container": "mp4"},
    "hevc": {"container": "mp4", "codec": "libx265", "bframes": 3},
    "mpeg4": {"container": "mp4", "codec": "mpeg4", "bframes": 2},
    "av1": {"container": "mp4", "codec": "libsvtav1"},
    "vp9 in mp4": {"container": "mp4", "codec": "libvpx-vp9"},
    "fragments": {"container": "mp4", "bframes": 3, "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "fragments after a first one that is listed": {
        "container": "mp4",
        "bframes": 3,
        "muxer": {"movflags": "frag_keyframe"},
    },
    "matroska": {"container": "matroska", "bframes": 3},
    "hevc in matroska": {"container": "matroska", "codec": "libx265", "bframes": 3},
    "webm": {"container": "webm", "codec": "libvpx"},
    "vp9": {"container": "webm", "codec": "libvpx-vp9"},
    "piped webm": {"container": "webm", "codec": "libvpx-vp9", "piped": True},
    "transport stream": {"container": "mpegts", "bframes": 3},
    "hevc in a transport stream": {"container": "mpegts", "codec": "libx265", "bframes": 3},
    "flv": {"container": "flv", "bframes": 3},
    "nut": {"container": "nut", "codec": "mpeg4"},
    "asf": {"container": "asf", "codec": "mpeg4"},
}


@pytest.mark.parametrize("start_ms", [0, FAR_MS], ids=["from zero", "far from zero"])
@pytest.mark.parametrize("rate", ["even", "slides"])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_clip_lasts_until_its_last_picture_has_been_shown(name, rate, start_ms):
    shown_ms = EVEN_MS if rate == "even" else SLIDES_MS
    clip = make_clip(NUM_FRAMES, times_ms=[start_ms + shown for shown in shown_ms], **WRAPPINGS[name])
    shown_s = np.array(shown_ms) / 1000
    frames = read_frames(clip, shown_s + 0.02, mode="exact")
    assert read_bars(frames.data) == list(range(NUM_FRAMES))
    assert np.allclose(frames.times_s, shown_s, atol=3e-3)
    assert shown_s[-1] < frames.facts.duration_s <= shown_s[-1] + 1.01  # how long it stands, no file says for sure
    assert frames.warnings == ()


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts"])
def test_pictures_are_chosen_from_all_of_a_slide_show(container, codec):
    clip = make_clip(NUM_FRAMES, container=container, codec=codec, times_ms=SLIDES_MS, bframes=3, gop=5)
    frames = read_frames(clip, Sampling(num_frames=15), mode="exact")
    wanted_s = sample_times(frames.facts.duration_s, num_frames=15)
    assert wanted_s[-1] > 28
    places = np.searchsorted(np.array(SLIDES_MS) / 1000 - 0.003, wanted_s, side="right") - 1
    assert read_bars(frames.data) == places.tolist()
    keyframes = read_frames(clip, Sampling(num_frames=15), mode="keyframe")
    assert keyframes.times_s[-1] == pytest.approx(13.2, abs=3e-3)
    assert read_bars(keyframes.data) == [SLIDES_MS.index(round(shown_s * 10) * 100) for shown_s in keyframes.times_s]


def test_a_plan_for_a_slide_show_leads_to_its_keyframes_at_once(monkeypatch):
    sought = []
    seek = video_readers.RunDecoder._seek

    def count(self, place, wanted_s):
        sought.append(place)
        return seek(self, place, wanted_s)

    monkeypatch.setattr(video_readers.RunDecoder, "_seek", count)
    clip = make_clip(NUM_FRAMES, times_ms=SLIDES_MS, bframes=3, gop=5)
    assert read_bars(read_frames(clip, [13.25, 19.05, 30.0], mode="exact").data) == [25, 26, 29]
    assert sought == [0, 5]  # the first picture, and the last keyframe


def claim_length(clip: bytes, box: bytes, at: int, length_ticks: int) -> bytes:
    """Make a header box of an mp4 state another length; `at` bytes after its name, 32 bits."""
    begin = clip.index(box) + 4 + at
    return clip[:begin] + struct.pack("!I", length_ticks) + clip[begin + 4 :]


def claim_mp4(clip: bytes, factor: float) -> bytes:
    """Make all three headers of an mp4, and its edit list, multiply the clip's length."""
    for box, at in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16), (b"elst", 8)):
        begin = clip.index(box) + 4 + at
        (length,) = struct.unpack("!I", clip[begin : begin + 4])
        clip = claim_length(clip, box, at, int(length * factor))
    return clip


def claim_matroska(clip: bytes, factor: float) -> bytes:
    """Make a matroska's or webm's segment information multiply the clip's length."""
    begin = clip.index(b"\x44\x89\x88") + 3
    (length,) = struct.unpack("!d", clip[begin : begin + 8])
    return clip[:begin] + struct.pack("!d", length * factor) + clip[begin + 8 :]


CLAIMS: dict[str, tuple[Callable[[], bytes], Callable[[bytes, float], bytes]]] = {
    "mp4": (lambda: make_clip(NUM_FRAMES, bframes=2), claim_mp4),
    "mov": (lambda: make_clip(NUM_FRAMES, container="mov", bframes=2), claim_mp4),
    "matroska": (lambda: make_clip(NUM_FRAMES, container="matroska", bframes=2), claim_matroska),
    "webm": (lambda: make_clip(NUM_FRAMES, container="webm", codec="libvpx"), claim_matroska),
}


@pytest.mark.parametrize("factor", [1.2, 50.0])
@pytest.mark.parametrize("name", CLAIMS)
def test_a_length_that_is_promised_and_not_there_is_not_believed(name, factor):
    make, claim = CLAIMS[name]
    frames = read_frames(claim(make(), factor), np.arange(NUM_FRAMES) / 10 + 0.05)
    assert read_bars(frames.data) == list(range(NUM_FRAMES))
    assert frames.facts.duration_s == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("name", ["matroska", "webm"])
def test_a_length_that_is_understated_is_not_believed(name):
    make, claim = CLAIMS[name]
    assert probe(claim(make(), 0.3)).duration_s == pytest.approx(3.0, abs=0.01)


def test_a_late_clip_that_was_cut_short_still_says_so():
    clip = claim_matroska(
        make_clip(NUM_FRAMES, container="matroska", times_ms=[FAR_MS + shown for shown in EVEN_MS]), 1.05
    )
    assert [warning.code for warning in read_frames(clip, [0.0]).warnings] == ["W_CUT_SHORT"]


@pytest.mark.parametrize("bframes", [0, 3])
@pytest.mark.parametrize("rate", ["even", "slides"])
def test_an_edit_list_that_ends_early_hides_the_rest(rate, bframes):
    shown_ms = EVEN_MS if rate == "even" else SLIDES_MS
    clip = make_clip(NUM_FRAMES, times_ms=shown_ms, bframes=bframes)
    frames = read_frames(claim_length(clip, b"elst", 8, 1850), np.arange(19) / 10 + 0.05)  # in the movie's milliseconds
    assert read_bars(frames.data) == list(range(19))
    assert 1.8 < frames.facts.duration_s < 1.95
    assert read_bars(read_frames(claim_length(clip, b"elst", 8, 1850), [99.0]).data) == [18]
