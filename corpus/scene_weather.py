"""Rain, snow and fog: drawn in front of everything, and never twice at the same place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .scene_brush import Brush
from .scene_values import Weather

if TYPE_CHECKING:
    from .scenes import Scene

_GOLDEN = 0.754878  # with 0.5698 it spreads drops evenly without a table of random numbers


def draw_weather(brush: Brush, scene: Scene, t: float) -> None:
    """Draw the weather over a view at `t` seconds; needs a blending brush over exactly the view."""
    extent = brush.extent
    wide, high = extent.right - extent.left, extent.bottom - extent.top
    night = brush.light.is_night
    if scene.weather == Weather.RAIN:
        colour = (178, 190, 214, 150) if night else (236, 242, 250, 185)
        width = max(1, round(0.007 * high * brush.per_y))
        for k in range(70):
            u, v = (k * _GOLDEN + scene.seed * 0.37) % 1.0, (k * 0.5698 + t * (1.9 + 0.5 * (k % 4))) % 1.0
            x, y = extent.left + wide * (u * 1.1 - 0.05), extent.top + high * (v * 1.2 - 0.15)
            brush.draw.line(
                brush._points([(x, y), (x - 0.016 * high, y + (0.09 + 0.02 * (k % 3)) * high)]),
                fill=colour,
                width=width,
            )
    elif scene.weather == Weather.SNOW:
        for k in range(80):
            speed, size = 0.22 + 0.09 * (k % 4), (0.008 + 0.0045 * (k % 4)) * high
            u, v = (k * _GOLDEN + scene.seed * 0.37 + 0.03 * math.sin(2 * t + k)) % 1.0, (k * 0.5698 + t * speed) % 1.0
            brush.disc(extent.left + wide * u, extent.top + high * v, size, size, (250, 252, 255), 0.92)
    elif scene.weather == Weather.FOG:
        colour = brush.light.sky_bottom
        whole = [
            (extent.left, extent.top),
            (extent.right, extent.top),
            (extent.right, extent.bottom),
            (extent.left, extent.bottom),
        ]
        brush.wash(whole, colour, 0.14)
        for k in range(5):  # drifting banks
            x = extent.left + wide * (((k * _GOLDEN + scene.seed * 0.37 + 0.04 * t) % 1.4) - 0.2)
            y = extent.top + high * (0.3 + 0.11 * k)
            for share in (1.0, 0.7):
                brush.disc(x, y, 0.55 * share * high, 0.075 * share * high, colour, 0.26)
