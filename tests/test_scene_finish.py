"""What a camera adds: each field changes the picture the way it says, and nothing depends on other frames."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from corpus.scene_finish import CLEAN, Finish, apply_finish, sample_finish, shake_offset
from corpus.scenes import render_frames, sample_scene

GREY = Image.new("RGB", (96, 64), (120, 120, 120))
RAMP = Image.fromarray(np.tile(np.linspace(40, 215, 96).astype(np.uint8)[None, :, None], (64, 1, 3)))
EDGE = Image.fromarray(
    np.repeat(np.where(np.arange(96) < 48, 60, 190).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
)


def finished(image: Image.Image, seed: int = 1, t: float = 0.5, **fields) -> np.ndarray:
    return np.asarray(apply_finish(image, Finish(**fields), seed, t)).astype(float)


def test_clean_changes_nothing():
    assert np.array_equal(np.asarray(apply_finish(RAMP, CLEAN, 1, 0.5)), np.asarray(RAMP))


def test_exposure_brightens_and_darkens():
    assert finished(GREY, exposure=0.85).mean() == pytest.approx(102, abs=1)
    assert finished(GREY, exposure=1.15).mean() == pytest.approx(138, abs=1)


def test_warmth_moves_red_and_blue_apart():
    red, green, blue = finished(GREY, warmth=0.05).mean((0, 1))
    assert red - green == pytest.approx(6, abs=1) and green - blue == pytest.approx(6, abs=1)


def test_contrast_spreads_the_tones():
    assert (
        finished(RAMP, contrast=1.1).std()
        > 1.05 * finished(RAMP).std()
        > 1.05 * 1.05 * finished(RAMP, contrast=0.9).std()
    )


def test_a_vignette_darkens_the_corners_and_not_the_middle():
    picture = finished(GREY, vignette=0.3)
    assert picture[32, 48].mean() == pytest.approx(120, abs=1)
    assert picture[0, 0].mean() == pytest.approx(120 * 0.7, abs=2)


def test_noise_has_the_strength_it_says_in_every_channel_on_its_own():
    picture = finished(GREY, noise=6.0)
    assert picture.mean() == pytest.approx(120, abs=0.5)
    assert picture.std((0, 1)) == pytest.approx(6.0, rel=0.06)
    assert abs(np.corrcoef(picture[..., 0].ravel(), picture[..., 1].ravel())[0, 1]) < 0.05


def test_noise_follows_from_seed_and_time_alone():
    assert np.array_equal(finished(GREY, noise=5.0), finished(GREY, noise=5.0))
    assert not np.array_equal(finished(GREY, noise=5.0, t=0.5), finished(GREY, noise=5.0, t=0.6))
    assert not np.array_equal(finished(GREY, noise=5.0, seed=1), finished(GREY, noise=5.0, seed=2))


def test_blur_softens_an_edge_alike_at_every_size():
    def width_of_edge(image: Image.Image) -> float:
        row = finished(image, blur=0.02)[image.height // 2, :, 0]
        return 130 / np.abs(np.diff(row)).max() / image.height  # a straight edge would be this share of the height wide

    assert np.abs(np.diff(finished(EDGE)[32, :, 0])).max() == 130
    small, large = EDGE.resize((192, 128), Image.Resampling.NEAREST), EDGE.resize((768, 512), Image.Resampling.NEAREST)
    assert 0.03 < width_of_edge(large) == pytest.approx(width_of_edge(small), rel=0.25)


def test_compression_costs_detail_and_leaves_seams_between_blocks():
    rng = np.random.default_rng(0)
    busy = Image.fromarray(rng.integers(90, 150, (64, 96, 3), np.uint8)).resize((96, 64), Image.Resampling.BILINEAR)
    losses = [np.abs(finished(busy, jpeg=quality) - finished(busy)).mean() for quality in (30, 60, 90)]
    assert losses[0] > losses[1] > losses[2] > 0.5
    steps = np.abs(np.diff(finished(busy, jpeg=10)[..., 0], axis=1)).mean(0)
    assert steps[7::8].mean() > 1.2 * np.delete(steps, np.arange(7, 95, 8)).mean()


def test_shake_is_small_smooth_and_has_no_drift():
    for seed in range(20):
        path = np.array([shake_offset(Finish(shake=0.006), seed, t) for t in np.arange(0, 5, 1 / 15)])
        assert 0.001 < np.hypot(*path.T).max() <= 0.006
        assert np.hypot(*np.diff(path, axis=0).T).max() < 0.006 * math.tau * 1.6 / 15
    assert shake_offset(CLEAN, 3, 1.0) == (0.0, 0.0)


def test_finishes_stay_in_bounds_and_a_third_is_nearly_clean():
    finishes = [sample_finish(np.random.default_rng(seed)) for seed in range(1000)]
    assert 0.3 < np.mean([f == replace(CLEAN, exposure=f.exposure, noise=f.noise) for f in finishes]) < 0.4
    low = {
        "exposure": 0.85,
        "warmth": -0.06,
        "contrast": 0.86,
        "vignette": 0.0,
        "noise": 0.0,
        "blur": 0.0,
        "shake": 0.0,
    }
    high = {
        "exposure": 1.16,
        "warmth": 0.06,
        "contrast": 1.1,
        "vignette": 0.3,
        "noise": 9.0,
        "blur": 0.01,
        "shake": 0.006,
    }
    for finish in finishes:
        fields = asdict(finish)
        assert all(low[name] <= fields[name] <= high[name] for name in low)
        assert finish.jpeg is None or 30 <= finish.jpeg < 85


def test_a_finished_frame_does_not_depend_on_the_frames_around_it():
    everything = Finish(1.1, 0.04, 0.9, 0.2, 6.0, 0.004, 50, 0.006)
    scene = replace(sample_scene(4), finish=everything)
    alone = render_frames(scene, [1.0], height=64, width=96)
    among = render_frames(scene, [0.0, 1.0, 2.0], height=64, width=96)
    assert np.array_equal(alone[0], among[1])
    assert not np.array_equal(alone[0], render_frames(replace(scene, finish=CLEAN), [1.0], height=64, width=96)[0])


@pytest.mark.parametrize("seed", range(5))
def test_a_shaken_fixed_camera_shows_the_same_picture_within_a_pixel_or_two(seed):
    scene = replace(sample_scene(seed), finish=Finish(shake=0.006))
    steady, shaken = (
        render_frames(s, [1.0], height=112, width=112)[0].astype(float) for s in (replace(scene, finish=CLEAN), scene)
    )
    assert 0 < np.abs(steady - shaken).mean() < 12
