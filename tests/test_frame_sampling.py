"""When a clip is looked at: properties every caller relies on."""

import json
import pickle
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.frame_sampling_kocap import Sampling, sample_indices, sample_times

durations = st.floats(min_value=0, max_value=1e9, exclude_min=True, allow_nan=False)
counts = st.integers(min_value=1, max_value=500)


@given(durations, counts)
def test_uniform_times_are_as_many_as_asked_ascending_and_inside(duration_s, num_frames):
    times = sample_times(duration_s, num_frames=num_frames)
    assert times.shape == (num_frames,) and times.dtype == np.float64
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < duration_s


@given(durations, st.floats(min_value=1e-6, max_value=1e6), counts)
def test_fps_keeps_to_its_ceiling(duration_s, fps, max_frames):
    times = sample_times(duration_s, fps=fps, max_frames=max_frames)
    assert 1 <= len(times) <= max_frames and times[0] >= 0 and times[-1] < duration_s
    assert (np.diff(times) >= 0).all()
    if len(times) < max_frames:
        assert abs(len(times) - duration_s * fps) <= 1


@given(st.floats(min_value=1e-3, max_value=1e5), counts)
def test_times_lie_symmetrically_and_evenly(duration_s, num_frames):
    times = sample_times(duration_s, num_frames=num_frames)
    assert np.allclose(times, duration_s - times[::-1])
    assert np.allclose(np.diff(times), duration_s / num_frames)


@given(st.integers(min_value=1, max_value=10**6), counts)
def test_indices_agree_with_times(total, num_frames):
    indices = sample_indices(total, num_frames)
    assert indices.shape == (num_frames,) and indices.dtype == np.int64
    assert (np.diff(indices) >= 0).all() and indices[0] >= 0 and indices[-1] < total
    assert (np.abs(indices + 0.5 - sample_times(float(total), num_frames=num_frames)) <= 0.5 + 1e-6).all()


@given(counts)
def test_every_frame_once_when_there_are_as_many_as_asked(total):
    assert sample_indices(total, total).tolist() == list(range(total))


def test_examples():
    assert sample_times(8.0, num_frames=4).tolist() == [1.0, 3.0, 5.0, 7.0]
    assert sample_times(3.0, fps=1).tolist() == [0.5, 1.5, 2.5]
    assert sample_times(100.0, fps=30, max_frames=2).tolist() == [25.0, 75.0]
    assert sample_times(0.01, fps=1).tolist() == [0.005]
    assert sample_indices(10, 4).tolist() == [1, 3, 6, 8]
    assert sample_indices(2, 4).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"duration_s": 0.0, "num_frames": 8}, "duration_s is 0.0"),
        ({"duration_s": -1.0, "num_frames": 8}, "duration_s is -1.0"),
        ({"duration_s": float("nan"), "num_frames": 8}, "duration_s is nan"),
        ({"duration_s": float("inf"), "fps": 1.0}, "duration_s is inf"),
        ({"duration_s": 1.0}, "give exactly one"),
        ({"duration_s": 1.0, "num_frames": 8, "fps": 1.0}, "give exactly one"),
        ({"duration_s": 1.0, "num_frames": 0}, "num_frames is 0"),
        ({"duration_s": 1.0, "num_frames": 1.5}, "num_frames is 1.5"),
        ({"duration_s": 1.0, "fps": 0.0}, "fps is 0.0"),
        ({"duration_s": 1.0, "fps": 1.0, "max_frames": 0}, "max_frames is 0"),
    ],
)
def test_a_wrong_number_is_named(arguments, culprit):
    with pytest.raises(ValueError, match=culprit):
        sample_times(**arguments)


@pytest.mark.parametrize(("total", "count"), [(0, 8), (8, 0), (-1, 8)])
def test_a_wrong_count_is_refused(total, count):
    with pytest.raises(ValueError, match="whole number >= 1"):
        sample_indices(total, count)


def scenes(colours: list[int], seed: int = 0) -> np.ndarray:
    """Thumbnails, uint8 `[K, 3, 18, 32]`: one scene per number, never twice the same picture."""
    draw, images = np.random.default_rng(seed), []
    for colour in colours:
        image = np.random.default_rng(colour).integers(0, 256, (3, 3, 4)).repeat(6, 1).repeat(8, 2)
        images.append(np.clip(image + draw.integers(-8, 9, (3, 18, 32)), 0, 255).astype(np.uint8))
    return np.stack(images)


@st.composite
def cut_clips(draw):
    """A clip of several shots: duration, thumbnails once a second, when the cuts are."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8))
    duration_s = sum(lengths) + draw(st.floats(0.0, 0.9))
    colours = [shot for shot, length in enumerate(lengths) for _ in range(length)]
    return max(duration_s, 0.5), scenes(colours), np.arange(len(colours), dtype=float), np.cumsum(lengths)[:-1]


@settings(deadline=None)  # a hundred thumbnails a run
@given(cut_clips(), st.integers(1, 40))
def test_every_shot_is_looked_at_while_the_frames_last(clip, num_frames):
    duration_s, images, times_s, cuts_s = clip
    times = Sampling("scene", num_frames=num_frames).times(duration_s, lambda: (images, times_s))
    assert times.shape == (num_frames,) and times.dtype == np.float64
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < duration_s
    shots_seen = len(np.unique(np.searchsorted(cuts_s, times, side="right")))
    assert shots_seen == min(num_frames, len(cuts_s) + 1)
    again = Sampling("scene", num_frames=num_frames).times(duration_s, lambda: (images, times_s))
    assert (times == again).all()


@settings(deadline=None)
@given(st.floats(0.5, 1e4), counts, st.integers(0, 30))
def test_without_a_cut_scenes_are_sampled_evenly(duration_s, num_frames, num_thumbnails):
    same = np.repeat(scenes([3]), num_thumbnails, axis=0)
    at = np.linspace(0, duration_s, num_thumbnails, endpoint=False)
    times = Sampling("scene", num_frames=num_frames).times(duration_s, lambda: (same, at))
    assert (times == sample_times(duration_s, num_frames=num_frames)).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(1, 30), st.floats(0.1, 100))
def test_no_thumbnails_can_lead_out_of_the_clip(seed, num_thumbnails, num_frames, duration_s):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (num_thumbnails, 3, 1, 1), dtype=np.uint8)
    at = np.sort(draw.uniform(-1, 2 * duration_s, num_thumbnails)).round(1)  # some equal, some outside
    times = Sampling("scene", num_frames=num_frames).times(duration_s, lambda: (images, at))
    assert len(times) == num_frames and times[0] >= 0 and times[-1] < duration_s and (np.diff(times) >= 0).all()


def test_a_moving_camera_is_no_cut_and_a_cut_within_motion_is():
    wide = scenes([1, 2, 3]).transpose(1, 2, 0, 3).reshape(3, 18, 96)
    pan = np.stack([wide[:, :, x : x + 32] for x in range(0, 33, 4)])
    at = np.arange(18.0)
    sampling = Sampling("scene", num_frames=6)
    evenly = sample_times(9.0, num_frames=6)
    assert (sampling.times(9.0, lambda: (pan, at[:9])) == evenly).all()
    both = np.concatenate([pan, 255 - pan])
    assert sampling.times(18.0, lambda: (both, at)).tolist() == [1.5, 4.5, 7.5, 10.5, 13.5, 16.5]
    assert Sampling("scene", num_frames=2).times(12.0, lambda: (both[6:], at[:12])).tolist() == [1.5, 7.5]


def test_fades_and_brightness_are_seen_as_in_a_picture():
    light = np.stack([np.full((3, 9, 16), value, np.uint8) for value in (100, 104, 108, 112)])
    times = Sampling("scene", fps=1.0).times(4.0, lambda: (light, np.arange(4.0)))
    assert times.tolist() == [0.5, 1.5, 2.5, 3.5]


def test_thumbnails_are_made_only_if_they_matter():
    def never():
        raise AssertionError

    assert Sampling(num_frames=2).times(4.0, never).tolist() == [1.0, 3.0]
    assert Sampling("fps", fps=1.0).times(2.0, never).tolist() == [0.5, 1.5]
    assert Sampling("scene", num_frames=1).times(2.0, never).tolist() == [1.0]
    assert len(Sampling("fps", fps=30.0, max_frames=5).times(100.0)) == 5


@pytest.mark.parametrize(
    "sampling", [Sampling(num_frames=8), Sampling("fps", fps=2.0, max_frames=16), Sampling("scene", num_frames=8)]
)
def test_a_setting_can_be_stored_and_sent(sampling):
    assert Sampling(**json.loads(json.dumps(asdict(sampling)))) == sampling
    assert pickle.loads(pickle.dumps(sampling)) == sampling


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"strategy": "random", "num_frames": 8}, "strategy is 'random'; it must be one of uniform, fps, scene"),
        ({}, "give num_frames and no fps"),
        ({"strategy": "uniform", "fps": 1.0}, "or strategy='fps'"),
        ({"strategy": "fps", "num_frames": 8}, "or strategy='uniform'"),
        ({"strategy": "scene"}, "give exactly one"),
        ({"strategy": "scene", "num_frames": 8, "fps": 1.0}, "give exactly one"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"strategy": "fps", "fps": float("nan")}, "fps is nan"),
        ({"num_frames": 8, "max_frames": 0}, "max_frames is 0"),
    ],
)
def test_a_wrong_setting_is_named(arguments, culprit):
    with pytest.raises(ValueError, match=culprit):
        Sampling(**arguments)


def test_scenes_need_thumbnails_that_fit():
    sampling = Sampling("scene", num_frames=4)
    with pytest.raises(ValueError, match="pass thumbnails"):
        sampling.times(4.0)
    with pytest.raises(ValueError, match=r"they must be \[K, 3, h, w\]"):
        sampling.times(4.0, lambda: (scenes([1, 2]), np.zeros(3)))
    with pytest.raises(ValueError, match="ascending"):
        sampling.times(4.0, lambda: (scenes([1, 2]), np.array([1.0, 0.0])))
