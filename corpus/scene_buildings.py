"""What buildings share: windows, tiled roofs, wooden halls, and the road in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, mix
from .scene_elements import LAMPLIGHT, SNOW
from .scene_values import Season

if TYPE_CHECKING:
    from .scenes import Scene

TILE: RGB = (78, 86, 98)
COLUMN_RED: RGB = (186, 52, 40)
DANCHEONG_GREEN: RGB = (34, 124, 104)
STONE: RGB = (188, 184, 176)
SIGNS: tuple[RGB, ...] = ((222, 52, 52), (38, 110, 214), (250, 196, 40), (32, 158, 92), (240, 120, 40), (150, 70, 190))


def windows(
    brush: Brush,
    rng: np.random.Generator,
    box: tuple[float, float, float, float],
    columns: int,
    rows: int,
    glass: RGB,
    *,
    far: float = 0.0,
) -> None:
    """Paint a grid of windows; by night about half of them are lit."""
    x0, y0, x1, y1 = box
    wide, high = (x1 - x0) / columns, (y1 - y0) / rows
    lit = rng.uniform(0, 1, (rows, columns)) < 0.5
    for row in range(rows):
        for column in range(columns):
            x, y = x0 + (column + 0.2) * wide, y0 + (row + 0.22) * high
            bright = brush.light.is_night and lit[row, column]
            brush.rect(
                x,
                y,
                x + 0.6 * wide,
                y + 0.56 * high,
                LAMPLIGHT if bright else glass,
                far=far,
                own=0.95 if bright else 0.0,
            )


def road(brush: Brush, scene: Scene, top: float) -> None:
    """Paint a kerb, asphalt and lane marks across the whole width."""
    extent = brush.extent
    brush.rect(extent.left, top - 0.035, extent.right, top, (198, 194, 188))
    brush.rect(extent.left, top, extent.right, 1.3, (86, 88, 94))
    if scene.season == Season.WINTER:
        brush.rect(extent.left, top - 0.04, extent.right, top - 0.022, SNOW)
        brush.rect(extent.left, 0.955, extent.right, 0.985, SNOW)
    count = round((extent.right - extent.left) / 0.2)
    for k in range(count + 1):
        x = extent.left + k * 0.2
        brush.rect(x, 0.865, x + 0.11, 0.878, (244, 244, 238), own=0.2)
    brush.rect(extent.left, 0.99, extent.right, 1.3, (198, 194, 188))


def tiled_roof(
    brush: Brush, x: float, eaves: float, half: float, height: float, colour: RGB, *, snow: bool, far: float = 0.0
) -> None:
    """Paint a Korean roof: a curved ridge, and eaves that rise at both ends."""
    side = [(half * a, height * b) for a, b in ((1.0, -0.22), (0.86, -0.05), (0.6, 0.03), (0.0, 0.06))]
    lower = [(x + dx, eaves + dy) for dx, dy in side] + [(x - dx, eaves + dy) for dx, dy in reversed(side[:-1])]
    ridge_left = [(x - 0.62 * half, eaves - height), (x - 0.4 * half, eaves - 0.93 * height), (x, eaves - 0.9 * height)]
    top = ridge_left + [(2 * x - px, py) for px, py in reversed(ridge_left[:-1])]
    left_slope, right_slope = (x - 0.8 * half, eaves - 0.5 * height), (x + 0.8 * half, eaves - 0.5 * height)
    brush.polygon([*lower, left_slope, *top, right_slope], SNOW if snow else colour, far=far)
    line = mix(colour, (0, 0, 0), 0.35)
    for share in (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75):
        brush.line(
            [(x + share * half * 0.66, eaves - 0.9 * height), (x + share * half, eaves)],
            mix(SNOW, colour, 0.35) if snow else line,
            0.004,
            far=far,
        )
    brush.line(top, line, 0.014, far=far)
    brush.line(lower, line, 0.01, far=far)


def hall(
    brush: Brush, x: float, floor: float, half: float, height: float, *, snow: bool, bays: int = 5, far: float = 0.0
) -> None:
    """Paint a wooden hall: red columns, green beams with coloured bands, dark doors."""
    top = floor - height
    night = brush.light.is_night
    brush.rect(x - half, top, x + half, floor, (128, 70, 52), far=far)
    bay = 2 * half / bays
    for k in range(bays):
        left = x - half + k * bay
        door = LAMPLIGHT if night else (150, 104, 74)
        brush.rect(
            left + 0.16 * bay,
            top + 0.36 * height,
            left + 0.84 * bay,
            floor - 0.06 * height,
            door,
            far=far,
            own=0.7 if night else 0.0,
        )
        brush.line([(left + 0.5 * bay, top + 0.36 * height), (left + 0.5 * bay, floor)], (110, 66, 46), 0.005, far=far)
    brush.rect(x - half, top, x + half, top + 0.16 * height, DANCHEONG_GREEN, far=far)
    brush.rect(x - half, top + 0.16 * height, x + half, top + 0.25 * height, (206, 84, 56), far=far)
    for k in range(bays * 2 + 1):
        brush.rect(
            x - half + k * bay / 2 - 0.008,
            top,
            x - half + k * bay / 2 + 0.008,
            top + 0.14 * height,
            (240, 200, 90),
            far=far,
        )
    for k in range(bays + 1):
        brush.rect(x - half + k * bay - 0.013, top, x - half + k * bay + 0.013, floor, COLUMN_RED, far=far)
