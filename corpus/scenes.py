"""Generated scenes: short clips of Korean scenery whose every attribute is known.

scene = sample_scene(7)
frames = render_frames(scene, [0.0, 1.0, 2.0], height=112, width=112)  # uint8 [3, 3, 112, 112]
write_clip(scene, "scene.mp4")
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from .scene_brush import ASPECT, Brush, Extent, Light
from .scene_finish import Finish, apply_finish, sample_finish, shake_offset
from .scene_movers import Mover, draw_mover
from .scene_painting import paint_world
from .scene_sampling import sample_attributes, sample_place
from .scene_values import Camera, Landmark, Place, Season, Thing, Time, Weather
from .scene_weather import draw_weather

HELD_OUT_SEED = 1_000_000_000  # training seeds stay below, evaluation seeds start here


@dataclass(frozen=True)
class Scene:
    """Everything a clip shows. What is not listed here follows from the seed.

    Attributes:
        camera_amount: Pan or tilt in view widths or heights, or the zoom factor.
        focus: World x and y that a zoom goes to.
        landmark_at: Where the landmark stands, as a share of the width that the camera sees.
        finish: What the camera does to the picture.
    """

    seed: int
    place: Place
    time: Time
    weather: Weather
    season: Season
    camera: Camera
    duration_s: float
    camera_amount: float
    focus: tuple[float, float]
    landmark: Landmark | None
    landmark_at: float
    movers: tuple[Mover, ...]
    finish: Finish

    def __post_init__(self):
        if not self.duration_s > 0:
            raise ValueError(f"duration_s is {self.duration_s}; a clip lasts longer than 0 s.")
        if self.weather == Weather.SNOW and self.season != Season.WINTER:
            raise ValueError(f"it can't snow in {self.season}; snow needs {Season.WINTER}.")
        if self.weather == Weather.RAIN and self.season == Season.WINTER:
            raise ValueError("rain in winter is left out; choose snow or another season.")


def sample_scene(seed: int) -> Scene:
    """Draw a scene; the same seed always gives the same scene."""
    finish = sample_finish(np.random.default_rng([seed, 4]))
    return Scene(seed=seed, finish=finish, **sample_attributes(_attribute_rng(seed)))


def scene_seeds(first_seed: int, count: int, *, without: Collection[Place] = ()) -> Sequence[int]:
    """The first `count` seeds from `first_seed` on whose scenes show none of the places left out, ascending.

    Raises:
        ValueError: If every place is left out.
    """
    if not without:
        return range(first_seed, first_seed + count)
    if set(Place) <= set(without):
        raise ValueError("every place is left out, so there is no scene; leave one in.")
    shown = (seed for seed in itertools.count(first_seed) if sample_place(_attribute_rng(seed)) not in without)
    return list(itertools.islice(shown, count))


def _attribute_rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 0])


def camera_view(scene: Scene, t: float) -> Extent:
    """Return the part of the world that a steady camera sees at `t` seconds."""
    share = min(1.0, max(0.0, t / scene.duration_s))
    amount = scene.camera_amount
    dx, dy = {
        Camera.LEFT: (0.5 - share, 0.0),
        Camera.RIGHT: (share - 0.5, 0.0),
        Camera.UP: (0.0, 0.5 - share),
        Camera.DOWN: (0.0, share - 0.5),
    }.get(scene.camera, (0.0, 0.0))
    left, top, wide, high = dx * amount * ASPECT, dy * amount, ASPECT, 1.0
    if scene.camera in (Camera.ZOOM_IN, Camera.ZOOM_OUT):
        closeness = share if scene.camera == Camera.ZOOM_IN else 1.0 - share
        size = amount**-closeness
        # The focus moves to the middle as the view shrinks.
        pull = (1.0 - size) / (1.0 - 1.0 / amount)
        x = ASPECT / 2 + (scene.focus[0] - ASPECT / 2) * pull
        y = 0.5 + (scene.focus[1] - 0.5) * pull
        wide, high = ASPECT * size, size
        left, top = x - wide / 2, y - high / 2
    return Extent(left, top, left + wide, top + high)


def shaken_view(scene: Scene, t: float) -> Extent:
    """Return the part of the world that the camera sees at `t` seconds: the planned view, in an unsteady hand."""
    view = camera_view(scene, t)
    dx, dy = (shift * (view.bottom - view.top) for shift in shake_offset(scene.finish, scene.seed, t))
    return Extent(view.left + dx, view.top + dy, view.right + dx, view.bottom + dy)


def world_extent(scene: Scene) -> Extent:
    """Return everything that the camera can see during the clip."""
    views, room = [camera_view(scene, t) for t in (0.0, scene.duration_s)], scene.finish.shake
    return Extent(
        min(v.left for v in views) - room,
        min(v.top for v in views) - room,
        max(v.right for v in views) + room,
        max(v.bottom for v in views) + room,
    )


def render_frames(scene: Scene, times_s: ArrayLike, *, height: int, width: int) -> np.ndarray:
    """Render the frames at the given times; the 16:9 view is fitted onto any height and width.

    Returns:
        uint8 `[T, 3, height, width]`.
    """
    if height < 8 or width < 8:
        raise ValueError(f"a frame of {height}x{width} is too small to draw; use 8x8 or more.")
    extent = world_extent(scene)
    finer = 2.0 if max(height, width) <= 256 else 1.5  # painted finer than shown: smooth edges, sharp zooms
    per_x, per_y = finer * width / ASPECT, finer * height
    size = round((extent.right - extent.left) * per_x), round((extent.bottom - extent.top) * per_y)
    world = paint_world(scene, extent, size)
    times = np.asarray(times_s, np.float64)
    frames = np.empty((len(times), 3, height, width), np.uint8)
    for index, t in enumerate(times):
        frames[index] = np.asarray(_render(scene, float(t), world, extent, (width, height))).transpose(2, 0, 1)
    return frames


def _render(scene: Scene, t: float, world: tuple, extent: Extent, size: tuple[int, int]) -> Image.Image:
    """Draw one frame: sky, clouds, land, things, weather, and what the camera makes of it."""
    sky, land, mask = world
    planned, view, light = camera_view(scene, t), shaken_view(scene, t), Light(scene.time, scene.weather)
    per_x, per_y = land.width / (extent.right - extent.left), land.height / (extent.bottom - extent.top)
    box = (
        (view.left - extent.left) * per_x,
        (view.top - extent.top) * per_y,
        min(land.width, (view.right - extent.left) * per_x),
        min(land.height, (view.bottom - extent.top) * per_y),
    )
    x0, y0 = int(box[0]), int(box[1])
    x1, y1 = min(land.width, int(box[2]) + 1), min(land.height, int(box[3]) + 1)
    around = Extent(
        extent.left + x0 / per_x, extent.top + y0 / per_y, extent.left + x1 / per_x, extent.top + y1 / per_y
    )
    image = sky.crop((x0, y0, x1, y1))
    brush = Brush(image, around, light)
    for mover in scene.movers:
        if mover.thing == Thing.CLOUDS:
            draw_mover(brush, mover, scene, planned, t)
    image.paste(land.crop((x0, y0, x1, y1)), mask=mask.crop((x0, y0, x1, y1)))
    for mover in scene.movers:
        if mover.thing != Thing.CLOUDS:
            draw_mover(brush, mover, scene, planned, t)
    image = image.resize(size, Image.Resampling.BILINEAR, box=(box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0))
    if scene.weather in (Weather.RAIN, Weather.SNOW, Weather.FOG):
        draw_weather(Brush(image, Extent(0.0, 0.0, ASPECT, 1.0), light, blends=True), scene, t)
    return apply_finish(image, scene.finish, scene.seed, t)


def write_clip(scene: Scene, path: str | Path, *, height: int = 360, width: int = 640, fps: int = 15) -> None:
    """Write the scene as an mp4 (H.264, yuv420p).

    Raises:
        ValueError: If height or width is odd, which yuv420p can't hold.
    """
    if height % 2 or width % 2:
        raise ValueError(f"yuv420p needs even sizes, got {height}x{width}.")
    times = np.arange(round(scene.duration_s * fps)) / fps
    frames = render_frames(scene, times.tolist(), height=height, width=width)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
