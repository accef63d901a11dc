"""When a clip is looked at: properties every caller relies on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.frame_sampling_kocap import sample_indices, sample_times

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
