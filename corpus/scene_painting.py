"""Paint a scene's world once: the sky, and the land in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .scene_brush import Brush, Extent, Light
from .scene_built_places import BUILT_PAINTERS
from .scene_city_places import CITY_PAINTERS
from .scene_country_places import COUNTRY_PAINTERS
from .scene_elements import paint_sky
from .scene_landmarks import paint_landmark
from .scene_natural_places import NATURAL_PAINTERS

if TYPE_CHECKING:
    from .scenes import Scene

PAINTERS = NATURAL_PAINTERS | BUILT_PAINTERS | CITY_PAINTERS | COUNTRY_PAINTERS


def paint_world(scene: Scene, extent: Extent, size: tuple[int, int]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Paint everything that stands still.

    Args:
        extent: The part of the world to paint.
        size: Width and height in pixels.
    Returns:
        The sky (RGB), the land in front of it (RGB), and the land's mask (L).
    """
    light = Light(scene.time, scene.weather)
    rng = np.random.default_rng([scene.seed, 1])
    sky = Image.new("RGB", size)
    paint_sky(Brush(sky, extent, light, blends=True), scene, rng, PAINTERS[scene.place].horizon)
    brush = Brush(Image.new("RGBA", size), extent, light)
    PAINTERS[scene.place].paint(brush, scene, rng)
    paint_landmark(brush, scene)
    mask = brush.image.getchannel("A")
    land = brush.image.convert("RGB")
    halo = Brush(land, extent, light, blends=True)
    for x, y, radius, colour in brush.glows:
        for share, alpha in ((1.0, 0.06), (0.75, 0.07), (0.5, 0.08), (0.28, 0.12)):
            halo.disc(x, y, radius * share, radius * share, colour, alpha)
    return sky, land, mask
