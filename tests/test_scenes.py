"""Generated scenes: the caption tells the truth, and the picture shows it."""

import re
from collections import Counter
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from corpus.scene_attributes import SPEED_FORMS, key_of, named_attributes
from corpus.scene_captions import describe, describe_briefly, describe_shortly, season_is_visible
from corpus.scene_finish import CLEAN
from corpus.scene_korean import adnominal, final_consonant, linking, polite, with_particle
from corpus.scene_movers import mover_x
from corpus.scene_phrases import ACTIONS
from corpus.scene_values import Camera, Direction, Place, Season, Side, Speed, Time, Weather
from corpus.scenes import (
    Scene,
    camera_view,
    render_frames,
    sample_scene,
    shaken_view,
    world_extent,
    write_clip,
)

SEEDS = range(2000)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def captions(scenes) -> list[str]:
    return [describe(scene) for scene in scenes]


def truth(scene: Scene) -> dict[str, set[str]]:
    movers = scene.movers
    return {
        "place": {str(scene.place)},
        "time": {str(scene.time)},
        "weather": {str(scene.weather)},
        "camera": {str(scene.camera)},
        "season": {str(scene.season)} if season_is_visible(scene) else set(),
        "thing": {str(mover.thing) for mover in movers},
        "landmark": {str(scene.landmark)} if scene.landmark else set(),
        "colour": {f"{mover.thing} {mover.colour}" for mover in movers},
        "direction": {f"{mover.thing} {mover.direction}" for mover in movers if mover.direction},
        "speed": {f"{mover.thing} {mover.speed}" for mover in movers if mover.speed},
    }


def first_with(**wanted) -> Scene:
    return next(s for s in map(sample_scene, range(10_000)) if all(getattr(s, k) == v for k, v in wanted.items()))


def test_a_seed_always_gives_the_same_scene_picture_and_caption():
    first, again = sample_scene(5), sample_scene(5)
    assert first == again
    assert describe(first) == describe(again)
    pictures = [render_frames(scene, [0.0, 1.5], height=48, width=64) for scene in (first, again)]
    assert np.array_equal(*pictures)


def test_a_frame_does_not_depend_on_the_frames_around_it():
    scene = sample_scene(11)
    alone = render_frames(scene, [1.0], height=48, width=64)
    among = render_frames(scene, [0.0, 1.0, 2.0], height=48, width=64)
    assert np.array_equal(alone[0], among[1])


def test_captions_name_the_scenes_facts_and_nothing_else(scenes, captions):
    for scene, caption in zip(scenes, captions, strict=True):
        assert named_attributes(caption) == truth(scene), caption


@pytest.mark.parametrize("write", [describe_shortly, describe_briefly])
def test_short_captions_name_the_same_facts(scenes, write):
    for scene in scenes:
        assert named_attributes(write(scene)) == truth(scene)


def test_short_descriptions_read_like_captions(scenes):
    for text in map(describe_shortly, scenes):
        assert 60 <= len(text) <= 330 and text.endswith("니다.") and "  " not in text and "[" not in text, text


def test_the_nearest_mover_is_told_first(scenes, captions):
    for scene, caption in zip(scenes, captions, strict=True):
        told = [thing for clause in re.split(r"[.,]", caption) for thing in named_attributes(clause)["thing"]]
        assert told == [str(mover.thing) for mover in reversed(scene.movers)]


def test_text_without_facts_names_nothing():
    named = named_attributes("나지막한 담장 위로 낮은 지붕이 보이고, 빌딩숲은 눈부시게 비칩니다.")
    assert not any(named.values()), named


def test_captions_are_unique_and_of_the_right_length(captions):
    assert len(set(captions)) > 0.995 * len(captions)
    lengths = [len(caption) for caption in captions]
    assert min(lengths) >= 250 and max(lengths) <= 600 and 320 <= np.mean(lengths) <= 380
    assert {len(re.findall(r"니다\.(?: |$)", caption)) for caption in captions} <= set(range(4, 15))
    assert all(caption.endswith("니다.") and "[" not in caption and "  " not in caption for caption in captions)


def test_a_caption_says_nothing_twice(captions):
    for caption in captions:
        clauses = [clause for clause in re.split(r"[.,] ?", caption) if clause]
        assert len(set(clauses)) == len(clauses), caption


def test_only_the_speed_says_how_fast():
    paces = [key_of(form) for forms in SPEED_FORMS.values() for form in forms]
    phrases = [phrase for wheres, verbs in ACTIONS.values() for phrase in (*wheres, *verbs)]
    assert not [(phrase, pace) for phrase in phrases for pace in paces if pace and pace in phrase]


def test_particles_follow_the_final_consonant(captions):
    for word, particle, expected in [
        ("바다", "을", "바다를"),
        ("숲", "을", "숲을"),
        ("강변", "이", "강변이"),
        ("버스", "이", "버스가"),
        ("산", "은", "산은"),
        ("물", "으로", "물로"),
        ("숲", "으로", "숲으로"),
        ("길가", "으로", "길가로"),
    ]:
        assert with_particle(word, particle) == expected
    for caption in captions:  # no noun carries the object particle of the other kind
        for noun in re.findall(r"([가-힣]+)을 (?:담고|촬영한|비추고|보여|볼)", caption):
            assert final_consonant(noun), caption
        for noun in re.findall(r"([가-힣]+)를 (?:담고|촬영한|비추고|보여|볼)", caption):
            assert not final_consonant(noun), caption


def test_endings_follow_the_final_consonant():
    assert [polite(stem) for stem in ("있", "흐르", "감돌", "하")] == ["있습니다", "흐릅니다", "감돕니다", "합니다"]
    assert [adnominal(stem) for stem in ("흐르", "날", "걷")] == ["흐르는", "나는", "걷는"]
    assert [linking(stem) for stem in ("있", "흐르", "감돌")] == ["있으며", "흐르며", "감돌며"]
    with pytest.raises(ValueError, match="Hangul"):
        with_particle("KoCap", "을")


def test_every_value_occurs_and_nothing_follows_from_anything_else(scenes):
    for name, values in {"place": Place, "time": Time, "camera": Camera, "weather": Weather, "season": Season}.items():
        share = Counter(getattr(scene, name) for scene in scenes)
        assert set(share) == set(values)
        assert max(share.values()) < 2.6 * min(share.values()), share
    for a, b in [
        ("place", "time"),
        ("place", "weather"),
        ("time", "weather"),
        ("place", "season"),
        ("place", "camera"),
    ]:
        pairs = Counter((getattr(s, a), getattr(s, b)) for s in scenes)
        left, right = Counter(getattr(s, a) for s in scenes), Counter(getattr(s, b) for s in scenes)
        information = sum(n / 2000 * np.log2(n * 2000 / (left[x] * right[y])) for (x, y), n in pairs.items())
        # In bits; chance alone gives (22 - 1)(7 - 1) / (2 N ln 2) = 0.045, and 0.006 more or less, for 22 x 7 pairs.
        assert information < 0.07, (a, b, information)


def test_snow_falls_in_winter_only_and_rain_never_does(scenes):
    assert {scene.season for scene in scenes if scene.weather == Weather.SNOW} == {Season.WINTER}
    assert Season.WINTER not in {scene.season for scene in scenes if scene.weather == Weather.RAIN}


@pytest.mark.parametrize(("height", "width"), [(112, 112), (90, 160), (64, 40)])
def test_frames_have_the_shape_asked_for(height, width):
    frames = render_frames(sample_scene(3), [0.0, 1.0, 2.0], height=height, width=width)
    assert frames.shape == (3, 3, height, width) and frames.dtype == np.uint8


def test_every_place_is_the_same_picture_at_two_sizes():
    for place in Place:
        scene = replace(first_with(place=place, weather=Weather.CLEAR, time=Time.DAY), finish=CLEAN)
        small, large = (render_frames(scene, [1.0], height=h, width=h * 16 // 9)[0] for h in (72, 216))
        shrunk = Image.fromarray(large.transpose(1, 2, 0)).resize((128, 72), Image.Resampling.BOX)
        difference = np.abs(np.asarray(shrunk).transpose(2, 0, 1).astype(int) - small).mean()
        assert difference < 9, (place, difference)  # of 255; edges fall on other pixels


def test_different_seeds_give_different_pictures():
    pictures = {render_frames(sample_scene(seed), [1.0], height=36, width=64).tobytes() for seed in range(40)}
    assert len(pictures) == 40


def test_a_pan_shifts_the_picture_by_the_amount_it_says():
    for camera, sign in ((Camera.RIGHT, 1), (Camera.LEFT, -1)):
        wanted = {"camera": camera, "weather": Weather.CLOUDY, "time": Time.DAY, "place": Place.STREET}
        scene = replace(first_with(**wanted), finish=CLEAN)
        first, last = render_frames(scene, [0.0, scene.duration_s], height=90, width=160)[:, :, :55].astype(int)
        shift = sign * round(scene.camera_amount * 160)

        def overlap_difference(by: int, first=first, last=last) -> float:
            a, b = (first[..., by:], last[..., : 160 - by]) if by > 0 else (first[..., :by], last[..., -by:])
            return np.abs(a - b).mean()

        assert overlap_difference(shift) < 0.4 * overlap_difference(-shift)


def test_zooms_mirror_each_other_and_tilts_move_the_view():
    for camera in Camera:
        scene = first_with(camera=camera)
        start, end = camera_view(scene, 0.0), camera_view(scene, scene.duration_s)
        grows = (end.right - end.left) - (start.right - start.left)
        assert (grows < -0.3) == (camera == Camera.ZOOM_IN) and (grows > 0.3) == (camera == Camera.ZOOM_OUT)
        assert (end.bottom < start.bottom - 0.2) == (camera == Camera.UP) or camera == Camera.ZOOM_IN
        assert (start == end) == (camera == Camera.FIXED)


def test_an_unsteady_hand_stays_near_the_plan_and_on_the_painted_world(scenes):
    for scene in scenes[:300]:
        world = world_extent(scene)
        for t in np.linspace(0, scene.duration_s, 9):
            planned, shaken = camera_view(scene, t), shaken_view(scene, t)
            room = scene.finish.shake * (planned.bottom - planned.top)
            assert np.hypot(shaken.left - planned.left, shaken.top - planned.top) <= room + 1e-9 <= 0.006 + 1e-9
            assert shaken.right - shaken.left == pytest.approx(planned.right - planned.left)
            assert world.left <= shaken.left and shaken.right <= world.right
            assert world.top <= shaken.top and shaken.bottom <= world.bottom


def test_slow_and_fast_differ_on_screen_and_spots_stay_on_their_side(scenes):
    pace = {Speed.SLOW: [], None: [], Speed.FAST: []}
    for scene in scenes:
        for mover in scene.movers:
            if mover.direction:
                pace[mover.speed].append(mover.reach / scene.duration_s)
            else:
                assert mover.speed is None
            if mover.side:
                for t in (0.0, scene.duration_s):
                    view = camera_view(scene, t)
                    at = (mover_x(mover, view, t / scene.duration_s) - view.left) / (view.right - view.left)
                    assert mover.side == (Side.LEFT if at < 0.35 else Side.RIGHT if at > 0.65 else Side.MIDDLE)
    assert max(pace[Speed.SLOW]) < 0.13 < 0.16 < min(pace[Speed.FAST])  # widths per second


def test_things_go_the_way_the_caption_says_and_fixtures_stay_in_the_world(scenes):
    for scene in scenes[:300]:
        start, end = camera_view(scene, 0.0), camera_view(scene, scene.duration_s)
        for mover in scene.movers:
            before, after = mover_x(mover, start, 0.0), mover_x(mover, end, 1.0)
            on_screen = (after - end.left) / (end.right - end.left) - (before - start.left) / (start.right - start.left)
            if mover.direction is None:
                assert before == after
            else:
                assert on_screen * (1 if mover.direction == Direction.RIGHT else -1) > 0.25


def test_night_is_darker_than_day_and_snow_brighter_ground_than_rain():
    def brightness(**wanted) -> float:
        scenes = [replace(first_with(place=place, **wanted), finish=CLEAN) for place in Place]
        return np.mean([render_frames(scene, [1.0], height=36, width=64).mean() for scene in scenes])

    assert brightness(time=Time.NIGHT) < 0.6 * brightness(time=Time.DAY)
    assert brightness(weather=Weather.SNOW, time=Time.DAY) > 1.2 * brightness(weather=Weather.RAIN, time=Time.DAY)


def test_a_written_clip_can_be_read(tmp_path):
    scene = sample_scene(8)
    write_clip(scene, tmp_path / "scene.mp4", height=90, width=160, fps=10)
    with av.open(str(tmp_path / "scene.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.duration * stream.time_base) == pytest.approx(scene.duration_s, abs=0.11)
    assert len(frames) == round(scene.duration_s * 10) and frames[0].shape == (90, 160, 3)
    shown = render_frames(scene, [0.0], height=90, width=160)[0].transpose(1, 2, 0)
    assert np.abs(frames[0].astype(int) - shown).mean() < 8


def test_callers_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="even"):
        write_clip(sample_scene(0), tmp_path / "odd.mp4", height=91)
    with pytest.raises(ValueError, match="too small"):
        render_frames(sample_scene(0), [0.0], height=2, width=2)
