"""The cheapest way to the wanted frames leads to the same frames as decoding everything."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_fixtures import bars, make_clip, read_bars

import processing.video_readers_kocap as video_readers
from processing.frame_sampling_kocap import Sampling
from processing.video_decoding_kocap import LostError
from processing.video_errors_kocap import VideoError
from processing.video_index_kocap import SEEK_COST, Index, choose_packets, nearest_keyframes, plan_runs
from processing.video_limits_kocap import Limits
from processing.video_opening_kocap import Opener, open_source
from processing.video_reading_kocap import read_frames

FPS = 10.0


@st.composite
def indices(draw) -> Index:
    num_packets = draw(st.integers(1, 400))
    keyframes = draw(st.sets(st.integers(0, num_packets - 1), max_size=20)) | {0}
    shown_s = np.arange(num_packets) / FPS
    return Index(shown_s, np.array(sorted(keyframes)), num_packets / FPS, num_packets)


wanted_times = st.lists(st.floats(0, 45), min_size=1, max_size=20).map(lambda times: np.array(sorted(times)))


@given(indices(), wanted_times, st.integers(1, 8))
def test_runs_serve_every_time_once_and_begin_before_it(index, wanted_s, parts):
    runs = plan_runs(index, wanted_s, parts=parts)
    places = index.place_of(wanted_s)
    assert [i for run in runs for i in range(len(wanted_s))[run.wanted]] == list(range(len(wanted_s)))
    for run in runs:
        begin = int(index.keyframes[run.keyframe])
        assert begin <= places[run.wanted][0]
        assert begin + run.cost == places[run.wanted][-1] + 1


def test_a_long_run_is_cut_at_keyframes_for_several_decoders():
    index = Index(np.arange(400) / FPS, np.arange(0, 400, 10), 400 / FPS, 400)
    every_tenth = np.arange(9, 400, 10) / FPS
    assert [run.cost for run in plan_runs(index, every_tenth)] == [400]
    assert [run.cost for run in plan_runs(index, every_tenth, parts=2)] == [100] * 4


@given(indices(), wanted_times)
def test_no_plan_costs_more_than_decoding_on_or_seeking_each_time(index, wanted_s):
    places = index.place_of(wanted_s)
    keys = index.keyframes[np.searchsorted(index.keyframes, places, side="right") - 1]
    runs = plan_runs(index, wanted_s)
    cost = sum(run.cost for run in runs) + SEEK_COST * len(runs)
    distinct = len(np.unique(places))
    assert cost <= SEEK_COST + places[-1] + 1 - keys[0]
    assert cost <= sum((places - keys + 1 + SEEK_COST)[np.unique(places, return_index=True)[1]]) + SEEK_COST * distinct


@given(indices(), wanted_times)
def test_nearest_keyframes_are_distinct_and_nearest(index, wanted_s):
    keyframes_s = index.shown_s[index.keyframes]
    found = nearest_keyframes(index, wanted_s)
    assert (np.diff(found) > 0).all()
    for time_s in wanted_s:
        assert np.abs(keyframes_s[found] - time_s).min() == np.abs(keyframes_s - time_s).min()


@dataclass
class FakePacket:
    pts: int
    dts: int | None
    is_discard: bool = False


@st.composite
def stored_packets(draw) -> list[FakePacket]:
    """Groups of B pictures after the picture they refer to, as encoders store them."""
    packets, now = [], 0
    for size in draw(st.lists(st.integers(0, 4), min_size=1, max_size=20)):
        packets += [FakePacket(now + size, 0), *[FakePacket(now + i, 0) for i in range(size)]]
        now += size + 1
    has_dts = draw(st.booleans())
    for i, packet in enumerate(packets):
        packet.dts = i - 4 if has_dts else None
    return packets


@given(
    stored_packets(), st.lists(st.floats(0, 120), min_size=1, max_size=10).map(lambda times: np.array(sorted(times)))
)
def test_the_packets_of_wanted_pictures_are_all_fed_and_marked(packets, wanted_s):
    chosen = list(choose_packets(iter(packets), 1.0, wanted_s))
    assert [packet for packet, _, _ in chosen] == packets[: len(chosen)]
    needed = {packet.pts for packet, _, is_wanted in chosen if is_wanted}
    shown = np.array(sorted(packet.pts for packet in packets))
    due = {int(shown[shown <= time_s].max()) for time_s in wanted_s}
    assert needed == due


def test_decoding_stops_at_the_last_wanted_picture():
    packets = [FakePacket(i, i) for i in range(100)]
    assert len(list(choose_packets(iter(packets), 1.0, np.array([3.0])))) == 4


CLIPS = {
    "closed groups": lambda: make_clip(60, gop=12, bframes=3),
    "one group": lambda: make_clip(60, gop=250, bframes=3),
    "all keyframes": lambda: make_clip(60, gop=1),
    "hevc, open groups": lambda: make_clip(60, codec="libx265", gop=12, bframes=3),
    "vp9": lambda: make_clip(60, container="webm", codec="libvpx-vp9", gop=12),
    "av1": lambda: make_clip(60, codec="libsvtav1", gop=24),
    "transport stream": lambda: make_clip(60, container="mpegts", gop=12, bframes=3),
    "matroska": lambda: make_clip(60, container="matroska", gop=12, bframes=3),
    "avi": lambda: make_clip(60, container="avi", codec="mpeg4", gop=12),
    "program stream": lambda: make_clip(60, container="vob", codec="mpeg2video", fps=25, gop=12, bframes=2),
    "interlaced": lambda: make_clip(60, gop=12, bframes=3, interlaced=True),
    "variable rate": lambda: make_clip(60, gop=12, times_ms=[int(i**1.5 * 20) for i in range(60)]),
}


@pytest.mark.parametrize("name", CLIPS)
def test_planned_frames_are_those_of_a_full_decode_bit_by_bit(name):
    with open_source(CLIPS[name](), Limits()) as file:
        opener = Opener(file, name, Limits())
        planned, in_order = video_readers.PlannedReader(opener), video_readers.InOrderReader(opener)
        assert planned.duration_s == pytest.approx(in_order.duration_s, abs=2e-3)
        draw = np.random.default_rng(0)
        for count in (1, 2, 7, 60):
            wanted_s = np.sort(draw.uniform(0, planned.duration_s, count))
            found, expected = (reader.read(wanted_s, (96, 64), "exact") for reader in (planned, in_order))
            assert (found.data == expected.data).all()
            assert found.times_s == pytest.approx(expected.times_s, abs=1e-6)


WITHOUT_A_PLAN = {
    "avi does not say when reordered pictures are shown": lambda: make_clip(
        60, container="avi", codec="mpeg4", gop=12, bframes=2
    ),
    "avi without its index does not say what is a keyframe": lambda: make_clip(
        60, container="avi", codec="mpeg4", gop=12
    ).replace(b"idx1", b"JUNK"),
}


@pytest.mark.parametrize("name", WITHOUT_A_PLAN)
def test_what_cannot_be_planned_is_read_in_order(name):
    clip = WITHOUT_A_PLAN[name]()
    with open_source(clip, Limits()) as file, pytest.raises(LostError):
        video_readers.PlannedReader(Opener(file, name, Limits()))
    found = read_frames(clip, np.arange(0, 60, 7) / FPS)
    assert read_bars(found.data) == list(range(0, 60, 7))


@pytest.mark.parametrize("name", ["closed groups", "hevc, open groups", "vp9", "av1", "transport stream"])
def test_every_picture_can_be_had_alone(name):
    clip = CLIPS[name]()
    for i in range(60):
        assert read_bars(read_frames(clip, [i / FPS]).data) == [i]


def test_several_decoders_side_by_side_change_nothing(monkeypatch):
    clip = make_clip(60, gop=6, bframes=2)
    together = read_frames(clip, Sampling(num_frames=20))
    monkeypatch.setattr(video_readers, "DECODER_BYTES", 0)
    alone = read_frames(clip, Sampling(num_frames=20))
    assert (together.data == alone.data).all() and (together.times_s == alone.times_s).all()


def test_keyframe_mode_gives_distinct_keyframes_and_says_which():
    frames = read_frames(make_clip(60, gop=12), Sampling(num_frames=8), mode="keyframe")
    assert frames.mode == "keyframe"
    assert frames.times_s.tolist() == pytest.approx([0.0, 1.2, 2.4, 3.6, 4.8])
    assert read_bars(frames.data) == [0, 12, 24, 36, 48]


def test_auto_takes_keyframes_where_exact_frames_cost_too_much(monkeypatch):
    clip = make_clip(60, gop=30)
    assert read_frames(clip, Sampling(num_frames=4)).mode == "exact"
    monkeypatch.setattr(video_readers, "AUTO_PIXELS", 1000)
    frames = read_frames(clip, Sampling(num_frames=4))
    assert frames.mode == "keyframe" and read_bars(frames.data) == [0, 30]
    assert frames.warnings[0].code == "W_KEYFRAMES" and frames.warnings[0].message_ko


def test_keyframe_mode_without_an_index_is_exact_and_says_so():
    frames = read_frames(make_clip(container="h264"), [0.0, 0.4], mode="keyframe")
    assert frames.mode == "exact" and "W_NO_INDEX" in [warning.code for warning in frames.warnings]


def test_scene_sampling_looks_at_every_shot():
    pictures = [np.full((64, 96, 3), (200, 20, 20), np.uint8)] * 50 + [
        np.full((64, 96, 3), (20, 20, 200), np.uint8)
    ] * 10
    clip = make_clip(pictures, gop=5)
    evenly = read_frames(clip, Sampling(num_frames=2)).data.mean((2, 3))
    by_scene = read_frames(clip, Sampling("scene", num_frames=2)).data.mean((2, 3))
    assert (evenly[:, 0] > 150).all()
    assert by_scene[0, 0] > 150 and by_scene[1, 2] > 150


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_bytes=100), "E_TOO_LONG"),
        (Limits(max_seconds=1e-6), "E_TIMEOUT"),
        (Limits(max_scan_s=1.0), "E_TOO_LONG"),
    ],
)
def test_limits_are_kept(limits, code):
    with pytest.raises(VideoError) as caught:
        read_frames(make_clip(60, container="mpegts"), [0.0], limits=limits)
    assert caught.value.code == code


def test_too_many_frames_are_the_callers_mistake():
    with pytest.raises(ValueError, match="max_frames"):
        read_frames(make_clip(), np.zeros(11), limits=Limits(max_frames=10))
    with pytest.raises(ValueError, match="max_pixels is 0"):
        Limits(max_pixels=0)


def test_a_codec_that_is_not_allowed_is_refused():
    with pytest.raises(VideoError) as caught:
        read_frames(make_clip([bars(1)] * 3, container="avi", codec="asv1"), [0.0])
    assert caught.value.code == "E_CODEC"


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="exact, keyframe or auto"):
        read_frames(make_clip(), [0.0], mode="fast")  # pyright: ignore[reportArgumentType]
