"""What several places share: sky, mountains, ground, water, trees and their seasons."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, Extent, mix
from .scene_values import Season, Time, Weather

if TYPE_CHECKING:
    from .scenes import Scene

FOLIAGE: dict[Season, tuple[RGB, ...]] = {
    Season.SPRING: ((247, 178, 200), (252, 205, 220), (158, 205, 110), (243, 160, 188)),
    Season.SUMMER: ((38, 118, 48), (56, 138, 56), (30, 98, 44), (78, 150, 62)),
    Season.AUTUMN: ((206, 72, 36), (232, 150, 36), (180, 52, 40), (226, 184, 60)),
    Season.WINTER: ((120, 104, 92), (134, 118, 106), (108, 94, 84), (126, 112, 102)),
}
GRASS: dict[Season, RGB] = {
    Season.SPRING: (150, 196, 96),
    Season.SUMMER: (84, 156, 62),
    Season.AUTUMN: (196, 168, 88),
    Season.WINTER: (222, 227, 233),
}
SLOPE: dict[Season, RGB] = {
    Season.SPRING: (112, 158, 92),
    Season.SUMMER: (52, 112, 62),
    Season.AUTUMN: (172, 100, 52),
    Season.WINTER: (150, 154, 160),
}
SNOW: RGB = (240, 244, 250)
PINE: RGB = (36, 88, 58)
TRUNK: RGB = (92, 66, 46)
LAMPLIGHT: RGB = (255, 214, 120)


@dataclass(frozen=True)
class Painter:
    """How a place is painted, and where its sky ends."""

    horizon: float
    paint: Callable[[Brush, Scene, np.random.Generator], None]


def paint_sky(brush: Brush, scene: Scene, rng: np.random.Generator, horizon: float) -> None:
    """Paint the sky down to the horizon: sun or moon when it is clear, banks of cloud when it is grey."""
    light, extent = brush.light, brush.extent
    brush.gradient(extent.top - 0.05, horizon, light.sky_top, light.sky_bottom)
    brush.gradient(horizon, extent.bottom + 0.01, light.sky_bottom, light.sky_bottom)
    if scene.weather == Weather.CLEAR:
        _sun_or_moon(brush, scene.time, rng, horizon)
    elif scene.weather != Weather.FOG:
        _cloud_banks(brush, rng, horizon)


# Per time of day: halos as (radius, alpha), colour of the halos, radius and colour of the disc.
_DISCS: dict[Time, tuple[tuple[tuple[float, float], ...], RGB, float, RGB]] = {
    Time.DAWN: (((0.42, 0.12), (0.3, 0.15), (0.2, 0.22)), (255, 226, 214), 0.085, (255, 240, 232)),
    Time.DAY: (((0.16, 0.16), (0.12, 0.25)), (255, 250, 220), 0.07, (255, 248, 205)),
    Time.DUSK: (((0.42, 0.12), (0.3, 0.15), (0.2, 0.22)), (255, 196, 84), 0.085, (255, 236, 170)),
    Time.NIGHT: (((0.13, 0.10), (0.1, 0.16)), (200, 210, 255), 0.062, (250, 246, 220)),
}


def _sun_or_moon(brush: Brush, time: Time, rng: np.random.Generator, horizon: float) -> None:
    extent = brush.extent
    x, y = extent.at(rng.uniform(0.2, 0.8)), rng.uniform(0.08, 0.2)
    if time in (Time.DAWN, Time.DUSK):  # low, and wide in the haze
        y = horizon - (0.05 if time == Time.DUSK else 0.0)
    if time == Time.NIGHT:
        for u, v, size in rng.uniform(0, 1, (70, 3)):
            radius = 0.003 + 0.003 * size
            brush.ellipse(extent.at(u), extent.top + v * (horizon - extent.top), radius, radius, (235, 238, 255), own=1)
    halos, halo_colour, radius, colour = _DISCS[time]
    wider = 1.5 if time in (Time.DAWN, Time.DUSK) else 1.0
    for halo, alpha in halos:
        brush.disc(x, y, halo * wider, halo, halo_colour, alpha)
    brush.ellipse(x, y, radius, radius, colour, own=1)


def _cloud_banks(brush: Brush, rng: np.random.Generator, horizon: float) -> None:
    light, extent = brush.light, brush.extent
    dark = mix(light.sky_top, (30, 32, 40), 0.35)
    for u, v, wide, shade in rng.uniform(0, 1, (14, 4)):
        y = extent.top + v * (horizon - extent.top) * 0.75
        colour = mix(dark, light.sky_bottom, 0.2 + 0.5 * shade)
        for k in range(4):
            x = extent.at(u) + (k - 1.5) * 0.2
            brush.disc(x, y + 0.02 * (k % 2), 0.22 + 0.2 * wide, 0.05 + 0.03 * shade, colour, 0.4)


def ridge_line(
    extent: Extent, rng: np.random.Generator, base: float, height: float, *, rough: float = 0.3, points: int = 64
):
    """Return a mountain outline as float arrays x, y."""
    x = np.linspace(extent.left - 0.05, extent.right + 0.05, points)
    phase = rng.uniform(0, 2 * math.pi, 5)
    y = (
        0.5 * np.abs(np.sin(x * 1.3 + phase[0]))
        + 0.35 * np.abs(np.sin(x * 2.7 + phase[1]))
        + 0.15 * np.sin(x * 6 + phase[2])
    )
    y += rough * (0.2 * np.abs(np.sin(x * 13 + phase[3])) + 0.1 * np.sin(x * 29 + phase[4]))
    return x, base - height * y


def ridge(
    brush: Brush,
    rng: np.random.Generator,
    base: float,
    height: float,
    colour: RGB,
    *,
    far: float,
    rough: float = 0.3,
    foot: float = 1.3,
):
    """Paint a mountain range and return its outline."""
    x, y = ridge_line(brush.extent, rng, base, height, rough=rough)
    outline = list(zip(x.tolist(), y.tolist(), strict=True))
    brush.polygon([*outline, (outline[-1][0], foot), (outline[0][0], foot)], colour, far=far)
    return outline


def ground(brush: Brush, top: float, colour: RGB) -> None:
    """Fill everything below `top`, a little lighter towards the viewer."""
    seen = brush.light.shade(colour, 0.25)
    near = brush.light.shade(mix(colour, (0, 0, 0), 0.12))
    brush.gradient(top, brush.extent.bottom + 0.01, seen, near)


def water(
    brush: Brush, scene: Scene, rng: np.random.Generator, top: float, bottom: float, deep: RGB, shallow: RGB
) -> None:
    """Paint a sheet of water with glints; it takes part of its colour from the sky."""
    sky = brush.light.sky_bottom
    brush.gradient(top, bottom, mix(brush.light.shade(deep), sky, 0.35), mix(brush.light.shade(shallow), sky, 0.12))
    for u, v, length in rng.uniform(0, 1, (36, 3)):
        y = top + (bottom - top) * v**1.4
        x, half = brush.extent.at(u), 0.02 + 0.05 * length * (0.4 + v)
        brush.line([(x - half, y), (x + half, y)], mix(shallow, (255, 255, 255), 0.35), 0.004)


def snow_patches(brush: Brush, scene: Scene, rng: np.random.Generator, top: float, bottom: float) -> None:
    """Lay snow on the ground in winter: all over while it snows, in patches otherwise."""
    spots = rng.uniform(0, 1, (16, 3))
    if scene.season != Season.WINTER:
        return
    if scene.weather == Weather.SNOW:
        brush.rect(brush.extent.left, top, brush.extent.right, bottom, SNOW)
        return
    for u, v, size in spots:
        brush.ellipse(brush.extent.at(u), top + v * (bottom - top), 0.1 + 0.12 * size, 0.012 + 0.018 * size, SNOW)


def tree(
    brush: Brush, rng: np.random.Generator, x: float, y: float, size: float, season: Season, *, far: float = 0.0
) -> None:
    """Paint a broad-leaved tree standing at (x, y): blossom, green, red and gold, or bare."""
    brush.polygon(
        [
            (x - 0.05 * size, y),
            (x - 0.03 * size, y - 0.5 * size),
            (x + 0.03 * size, y - 0.5 * size),
            (x + 0.05 * size, y),
        ],
        TRUNK,
        far=far,
    )
    colours = FOLIAGE[season]
    colour = colours[rng.integers(len(colours))]
    offsets = rng.uniform(-1, 1, (6, 2))
    if season == Season.WINTER:
        for dx, dy in offsets:
            top = (x + 0.3 * size * dx, y - (0.8 + 0.18 * dy) * size)
            brush.line([(x, y - 0.42 * size), top], colour, 0.02 * size + 0.002, far=far)
        brush.ellipse(x, y - 0.78 * size, 0.16 * size, 0.05 * size, SNOW, far=far)
        return
    dark, bright = mix(colour, (0, 0, 0), 0.18), mix(colour, (255, 255, 255), 0.14)
    for (dx, dy), tone in zip(offsets, (dark, dark, colour, colour, colour, bright), strict=True):
        brush.ellipse(
            x + 0.2 * size * dx, y - (0.68 + 0.16 * dy) * size, 0.21 * size, 0.18 * size, tone, far=far, own=0.25
        )


def conifer(brush: Brush, x: float, y: float, size: float, season: Season, *, far: float = 0.0) -> None:
    """Paint a fir; in winter it carries snow."""
    brush.rect(x - 0.025 * size, y - 0.2 * size, x + 0.025 * size, y, TRUNK, far=far)
    for step, width in ((0.12, 0.26), (0.36, 0.2), (0.6, 0.14)):
        top, low = y - (step + 0.4) * size, y - step * size
        brush.polygon([(x - width * size, low), (x, top), (x + width * size, low)], PINE, far=far)
        if season == Season.WINTER:
            brush.polygon(
                [(x - 0.45 * width * size, low - 0.22 * size), (x, top), (x + 0.45 * width * size, low - 0.22 * size)],
                SNOW,
                far=far,
            )


def tree_row(
    brush: Brush, rng: np.random.Generator, y: float, size: float, season: Season, *, count: int, far: float = 0.0
) -> None:
    """Paint trees side by side over the whole width."""
    for index in range(count):
        x = brush.extent.at((index + rng.uniform(0.1, 0.9)) / count)
        tree(brush, rng, x, y + rng.uniform(-0.01, 0.01), size * rng.uniform(0.75, 1.2), season, far=far)
