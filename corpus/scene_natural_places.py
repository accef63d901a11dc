"""Paint the places that nature made: coast, mountain, river, forest, sky, park, field, lake."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, mix
from .scene_elements import (
    FOLIAGE,
    GRASS,
    LAMPLIGHT,
    SLOPE,
    SNOW,
    TRUNK,
    Painter,
    conifer,
    ground,
    ridge,
    snow_patches,
    tree,
    tree_row,
    water,
)
from .scene_values import Place, Season, Weather

if TYPE_CHECKING:
    from .scenes import Scene

SAND: RGB = (236, 212, 160)
PATH: RGB = (206, 186, 150)


def coast(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent = brush.extent
    horizon = 0.42
    headland = rng.uniform() < 0.6
    if headland:  # a wooded cape on one side
        side = rng.choice([-1, 1])
        edge = extent.left if side > 0 else extent.right
        points = [
            (edge + side * d, horizon - h)
            for d, h in ((-0.1, 0.16), (0.25, 0.15), (0.45, 0.09), (0.7, 0.05), (0.9, 0.0))
        ]
        brush.polygon([*points, (edge - side * 0.1, horizon + 0.01)], SLOPE[scene.season], far=0.55)
    water(brush, scene, rng, horizon, 0.75, (24, 92, 168), (66, 178, 196))
    x = np.linspace(extent.left - 0.05, extent.right + 0.05, 40)
    bend = 0.03 * np.sin(x * rng.uniform(1.2, 2.2) + rng.uniform(0, 6))
    shore = list(zip(x.tolist(), (0.69 + bend).tolist(), strict=True))
    wet = list(zip(x.tolist(), (0.725 + bend).tolist(), strict=True))
    below = [(extent.right + 0.1, 1.3), (extent.left - 0.1, 1.3)]
    brush.polygon([*shore, *below], (186, 160, 116))
    brush.polygon([*wet, *below], SAND)
    for u, v in rng.uniform(0, 1, (30, 2)):
        brush.ellipse(extent.at(u), 0.8 + 0.35 * v, 0.012, 0.006, (214, 188, 138))
    snow_patches(brush, scene, rng, 0.86, 1.2)
    for u in rng.uniform(0, 1, 7):  # dune plants show the season
        brush.ellipse(extent.at(u), 0.985, 0.09, 0.055, FOLIAGE[scene.season][rng.integers(4)])


def mountain(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, slope = brush.extent, SLOPE[scene.season]
    ridge(brush, rng, 0.5, 0.40, mix(slope, (96, 112, 150), 0.55), far=0.75)
    peaks = ridge(brush, rng, 0.66, 0.50, mix(slope, (84, 92, 110), 0.35), far=0.4, rough=0.5)
    for (x0, y0), (x1, y1), (x2, y2) in zip(peaks, peaks[1:], peaks[2:], strict=False):
        if y1 < y0 and y1 < y2:  # shade or snow under every summit
            cap = SNOW if scene.season == Season.WINTER else mix(slope, (60, 60, 70), 0.5)
            brush.polygon(
                [(x0 - 0.03, y1 + 0.09), (x1, y1), (x2 + 0.03, y1 + 0.09), (x1 + 0.01, y1 + 0.05)], cap, far=0.4
            )
    ridge(brush, rng, 0.80, 0.22, slope, far=0.15)
    for u, v, size in sorted(rng.uniform(0, 1, (26, 3)).tolist(), key=lambda row: row[1]):
        y, size = 0.66 + 0.1 * v, 0.09 + 0.06 * size
        if rng.uniform() < 0.35:
            conifer(brush, extent.at(u), y, size * 1.3, scene.season, far=0.12)
        else:
            tree(brush, rng, extent.at(u), y, size, scene.season, far=0.1)
    ground(brush, 0.755, mix(GRASS[scene.season], slope, 0.4))
    snow_patches(brush, scene, rng, 0.77, 1.2)
    brush.rect(extent.left, 0.80, extent.right, 0.85, (168, 146, 116))
    for u, v in rng.uniform(0, 1, (14, 2)):
        brush.ellipse(extent.at(u), 0.9 + 0.25 * v, 0.05, 0.026, (134, 132, 130))


def river(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, grass = brush.extent, GRASS[scene.season]
    ridge(brush, rng, 0.42, 0.2, SLOPE[scene.season], far=0.75)
    ground(brush, 0.40, grass)
    snow_patches(brush, scene, rng, 0.42, 0.74)
    tree_row(brush, rng, 0.425, 0.07, scene.season, count=20, far=0.5)
    # The stream winds from a thin line at the horizon to a broad sheet in front.
    t = np.linspace(0, 1, 36)
    y = 0.42 + 0.32 * t**1.25
    sway = rng.choice([-1, 1]) * 0.42 * np.sin(t * math.pi * 1.8) * (1 - 0.75 * t)
    half = 0.03 + 1.35 * t**1.3
    centre = (extent.left + extent.right) / 2 + sway
    bank = [
        *zip((centre - half - 0.02).tolist(), y.tolist(), strict=True),
        *reversed(list(zip((centre + half + 0.02).tolist(), y.tolist(), strict=True))),
    ]
    stream = [
        *zip((centre - half).tolist(), y.tolist(), strict=True),
        *reversed(list(zip((centre + half).tolist(), y.tolist(), strict=True))),
    ]
    brush.polygon(bank, (190, 172, 132))
    seen = mix((58, 132, 176), brush.light.sky_bottom, 0.25 if not brush.light.is_night else 0.0)
    brush.polygon(stream, seen)
    for share in rng.uniform(0.2, 1, 26):
        k = int(share * 35)
        x = centre[k] + half[k] * rng.uniform(-0.8, 0.8)
        brush.line([(x - 0.06 * share, y[k]), (x + 0.06 * share, y[k])], (176, 216, 232), 0.004)
    for u, size in rng.uniform(0, 1, (8, 2)):  # trees on both banks, away from the water
        k = int(u * 24)
        for side in (-1, 1):
            tree(
                brush,
                rng,
                centre[k] + side * (half[k] + 0.12 + 0.3 * size),
                y[k],
                0.08 + 0.12 * u,
                scene.season,
                far=0.3 * (1 - u),
            )
    brush.rect(extent.left, 0.735, extent.right, 1.3, grass)
    snow_patches(brush, scene, rng, 0.86, 1.2)
    brush.rect(extent.left, 0.775, extent.right, 0.855, (188, 108, 92))
    brush.rect(extent.left, 0.812, extent.right, 0.818, (240, 236, 226))


def forest(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, leaves = brush.extent, FOLIAGE[scene.season]
    back = mix(leaves[2], (20, 34, 28), 0.45)
    if scene.season == Season.WINTER:
        back = (150, 152, 160)
    brush.rect(extent.left, extent.top - 0.1, extent.right, 0.75, back, far=0.45)
    for u, width in rng.uniform(0, 1, (26, 2)):
        x, half = extent.at(u), 0.008 + 0.01 * width
        brush.rect(x - half, extent.top - 0.1, x + half, 0.7, mix(TRUNK, back, 0.45), far=0.3)
    for u, v, size in rng.uniform(0, 1, (30, 3)):  # leaves in the distance
        if scene.season != Season.WINTER:
            brush.ellipse(
                extent.at(u),
                extent.top + v * 0.55,
                0.1 + 0.08 * size,
                0.07,
                mix(leaves[rng.integers(4)], back, 0.45),
                far=0.3,
                own=0.25,
            )
    floor = {
        Season.SPRING: (122, 156, 84),
        Season.SUMMER: (66, 112, 54),
        Season.AUTUMN: (176, 104, 52),
        Season.WINTER: (224, 228, 234),
    }
    ground(brush, 0.68, floor[scene.season])
    snow_patches(brush, scene, rng, 0.70, 1.2)
    middle = extent.at(0.5) + rng.uniform(-0.3, 0.3)
    brush.polygon(
        [(middle - 0.05, 0.68), (middle + 0.05, 0.68), (middle + 0.8, 1.3), (middle - 0.8, 1.3)], (178, 150, 112)
    )
    for u, v in rng.uniform(0, 1, (40, 2)):
        brush.ellipse(
            extent.at(u), 0.7 + 0.45 * v, 0.014, 0.008, mix(leaves[rng.integers(4)], floor[scene.season], 0.3)
        )
    count = 9
    for k in rng.permutation(count):  # big trunks
        x, half = extent.at((k + rng.uniform(0.2, 0.8)) / count), rng.uniform(0.022, 0.042)
        foot = rng.uniform(0.7, 0.8)
        brush.polygon(
            [
                (x - half, extent.top - 0.1),
                (x + half, extent.top - 0.1),
                (x + half * 1.5, foot),
                (x - half * 1.5, foot),
            ],
            TRUNK,
        )
        brush.rect(x - half, extent.top - 0.1, x - half * 0.3, foot - 0.02, mix(TRUNK, (255, 230, 190), 0.25))
        if scene.season == Season.WINTER:
            for dx, dy in rng.uniform(0, 1, (4, 2)):
                y = extent.top + 0.1 + 0.4 * dy
                brush.line([(x, y + 0.1), (x + (dx - 0.5) * 0.4, y)], TRUNK, 0.012)
    if scene.season != Season.WINTER:
        for u, v, size in rng.uniform(0, 1, (44, 3)):
            tone = mix(leaves[rng.integers(4)], (0, 0, 0), 0.25 * size)
            brush.ellipse(
                extent.at(u), extent.top - 0.04 + 0.32 * v * v, 0.1 + 0.08 * size, 0.07 + 0.04 * size, tone, own=0.25
            )


def sky_view(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    """Little land: the tops of hills and trees at the lower edge."""
    ridge(brush, rng, 0.97, 0.10, SLOPE[scene.season], far=0.5)
    brush.rect(brush.extent.left, 0.965, brush.extent.right, 1.3, GRASS[scene.season])
    tree_row(brush, rng, 0.99, 0.13, scene.season, count=15)


def park(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, grass = brush.extent, GRASS[scene.season]
    tree_row(brush, rng, 0.50, 0.26, scene.season, count=14, far=0.3)
    ground(brush, 0.47, grass)
    snow_patches(brush, scene, rng, 0.5, 1.2)
    # A light path curls around a round flower bed.
    centre = extent.at(0.5) + rng.uniform(-0.1, 0.1)
    brush.ellipse(centre, 0.63, 0.52, 0.105, PATH)
    brush.ellipse(centre, 0.63, 0.38, 0.07, mix(grass, (255, 255, 255), 0.12))
    flowers = ((232, 64, 92), (250, 204, 64), (168, 92, 200), (250, 250, 250))
    if scene.season != Season.WINTER:
        for angle in np.linspace(0, 2 * math.pi, 22):
            brush.ellipse(
                centre + 0.33 * math.cos(angle), 0.63 + 0.055 * math.sin(angle), 0.014, 0.014, flowers[rng.integers(4)]
            )
    brush.polygon([(extent.left, 0.775), (extent.right, 0.775), (extent.right, 0.855), (extent.left, 0.855)], PATH)
    for u, size in rng.uniform(0, 1, (5, 2)):
        x = extent.at(0.5 + (u - 0.5) * 1.2)
        if abs(x - centre) > 0.5:
            tree(brush, rng, x, 0.62 + 0.08 * size, 0.3 + 0.1 * size, scene.season)
    for u in (0.1, 0.36, 0.64, 0.9):
        x = extent.at(u)
        brush.line([(x, 0.76), (x, 0.6)], (70, 74, 80), 0.008)
        brush.ellipse(x, 0.59, 0.02, 0.02, LAMPLIGHT if brush.light.is_night else (240, 240, 236), own=0.9)
        brush.glow(x, 0.6, 0.16, LAMPLIGHT)


def field(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent = brush.extent
    ridge(brush, rng, 0.42, 0.17, SLOPE[scene.season], far=0.7)
    crop = {
        Season.SPRING: (168, 196, 96),
        Season.SUMMER: (92, 168, 56),
        Season.AUTUMN: (228, 184, 64),
        Season.WINTER: (166, 140, 106),
    }
    colour = crop[scene.season]
    dark = mix(colour, (70, 50, 30), 0.42)
    ground(brush, 0.41, colour)
    snow_patches(brush, scene, rng, 0.46, 1.2)
    vanish = extent.at(rng.uniform(0.3, 0.7))
    for k in range(-22, 23):  # furrows run to one point
        brush.polygon([(vanish + k * 0.012, 0.42), (vanish + k * 0.24, 1.3), (vanish + k * 0.24 + 0.09, 1.3)], dark)
    for y in (0.455, 0.53, 0.66):  # dikes
        brush.rect(extent.left, y, extent.right, y + 0.006 + 0.03 * (y - 0.44), GRASS[scene.season])
    for u in rng.uniform(0.05, 0.95, 3):  # farmhouses and their trees
        x, roof = extent.at(u), ((64, 110, 170), (190, 74, 58), (96, 100, 108))[rng.integers(3)]
        brush.rect(x - 0.06, 0.385, x + 0.06, 0.425, (238, 232, 220), far=0.3)
        brush.polygon([(x - 0.075, 0.388), (x - 0.045, 0.352), (x + 0.045, 0.352), (x + 0.075, 0.388)], roof, far=0.3)
        brush.rect(x - 0.015, 0.395, x + 0.015, 0.412, LAMPLIGHT if brush.light.is_night else (120, 130, 140), own=0.8)
        tree(brush, rng, x + 0.13, 0.425, 0.13, scene.season, far=0.3)
    brush.rect(extent.left, 0.78, extent.right, 0.855, (178, 152, 116))


def lake(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, slope = brush.extent, SLOPE[scene.season]
    shore = 0.44
    outline = ridge(brush, rng, shore, 0.32, mix(slope, (96, 112, 150), 0.35), far=0.6, foot=shore)
    near = ridge(brush, rng, shore, 0.14, slope, far=0.3, foot=shore)
    water(brush, scene, rng, shore, 0.78, (70, 128, 150), (98, 168, 178))
    if scene.weather != Weather.FOG:  # the mountains stand on their heads
        for line, colour, far in (
            (outline, mix(slope, (70, 110, 140), 0.6), 0.6),
            (near, mix(slope, (60, 100, 120), 0.45), 0.3),
        ):
            mirrored = [(x, shore + 0.62 * (shore - y)) for x, y in line]
            brush.polygon([*mirrored, (extent.right + 0.1, shore), (extent.left - 0.1, shore)], colour, far=far)
        for u, v, length in rng.uniform(0, 1, (26, 3)):
            x, y = extent.at(u), shore + 0.02 + 0.28 * v
            brush.line([(x - 0.03 - 0.06 * length, y), (x + 0.03 + 0.06 * length, y)], (170, 206, 214), 0.004)
    tree_row(brush, rng, shore + 0.005, 0.06, scene.season, count=24, far=0.35)
    x = np.linspace(extent.left - 0.05, extent.right + 0.05, 30)
    edge = 0.735 + 0.02 * np.sin(x * 3 + rng.uniform(0, 6))
    brush.polygon(
        [*zip(x.tolist(), edge.tolist(), strict=True), (extent.right + 0.1, 1.3), (extent.left - 0.1, 1.3)],
        GRASS[scene.season],
    )
    snow_patches(brush, scene, rng, 0.86, 1.2)
    for k in range(30):  # a boardwalk along the shore
        x0 = extent.at(k / 30)
        brush.rect(
            x0, 0.785, x0 + (extent.right - extent.left) / 30, 0.855, (164, 122, 82) if k % 2 else (146, 106, 70)
        )
    for u in rng.uniform(0, 1, 6):
        brush.ellipse(extent.at(u), 0.985, 0.1, 0.06, FOLIAGE[scene.season][rng.integers(4)])


NATURAL_PAINTERS: dict[Place, Painter] = {
    Place.COAST: Painter(0.42, coast),
    Place.MOUNTAIN: Painter(0.50, mountain),
    Place.RIVER: Painter(0.42, river),
    Place.FOREST: Painter(0.50, forest),
    Place.SKY: Painter(0.95, sky_view),
    Place.PARK: Painter(0.48, park),
    Place.FIELD: Painter(0.42, field),
    Place.LAKE: Painter(0.44, lake),
}
