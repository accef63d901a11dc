"""Paint the places in the country: terraced paddies, valley, fortress, railway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, mix
from .scene_buildings import TILE, hall, tiled_roof
from .scene_elements import (
    GRASS,
    LAMPLIGHT,
    SLOPE,
    SNOW,
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

CLIFF: RGB = (132, 126, 122)
WALL: RGB = (186, 176, 158)
PATH: RGB = (206, 186, 150)


def paddy(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, season = brush.extent, scene.season
    ridge(brush, rng, 0.42, 0.34, SLOPE[season], far=0.6)
    ridge(brush, rng, 0.40, 0.14, SLOPE[season], far=0.35)
    tree_row(brush, rng, 0.37, 0.12, season, count=15, far=0.3)
    mirror = mix(mix(brush.light.sky_top, brush.light.sky_bottom, 0.6), (150, 190, 216), 0.35)
    surfaces: dict[Season, tuple[RGB, RGB]] = {  # of the field, and of the rows on it
        Season.SPRING: (mirror, (122, 176, 92)),
        Season.SUMMER: ((96, 176, 62), (58, 136, 46)),
        Season.AUTUMN: ((236, 190, 66), (198, 146, 44)),
        Season.WINTER: ((176, 150, 116), (140, 116, 88)),
    }
    surface, rows = surfaces[season]
    bank = mix((128, 112, 92) if season == Season.WINTER else GRASS[season], (52, 48, 26), 0.45)
    x = np.linspace(extent.left - 0.05, extent.right + 0.05, 30)
    phase = rng.uniform(0, 6, 2)
    below = [(extent.right + 0.1, 1.3), (extent.left - 0.1, 1.3)]
    for level, near in enumerate(np.linspace(0.0, 1.0, 8).tolist()):  # from the top of the slope to its foot
        bend = np.sin(1.7 * x + phase[0] + 0.3 * level) + 0.4 * np.sin(4.3 * x + phase[1] - 0.4 * level)
        edge = 0.33 + 0.36 * near**1.2 + (0.024 + 0.02 * near) * bend
        thick, far = 0.014 + 0.02 * near, 0.35 * (1 - near)

        def along(offset: float, edge=edge) -> list:
            return list(zip(x.tolist(), (edge + offset).tolist(), strict=True))

        brush.polygon([*along(0.0), *below], bank, far=far)
        brush.line(along(0.002), SNOW if season == Season.WINTER else mix(bank, GRASS[season], 0.7), 0.008, far=far)
        lifted = SNOW if scene.weather == Weather.SNOW else mix(surface, (255, 255, 255), 0.2 * rng.uniform())
        brush.polygon([*along(thick), *below], lifted, far=far)
        for share in (0.3, 0.65):
            brush.line(along(thick + share * (0.014 + 0.03 * near)), mix(rows, lifted, 0.4), 0.004, far=far)
        if level in (2, 4, 6):
            at = rng.uniform(0.05, 0.95)
            foot = float(edge[int(at * 29)]) + 0.01
            tree(brush, rng, extent.at(at), foot, 0.09 + 0.07 * near, season, far=far)
    for u in (rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)):
        tree(brush, rng, extent.at(u), 0.735, 0.1, season)
    ground(brush, 0.765, GRASS[season])
    snow_patches(brush, scene, rng, 0.88, 1.2)
    brush.rect(extent.left, 0.785, extent.right, 0.86, (186, 160, 122))
    for u in rng.uniform(0, 1, 16):
        brush.line([(extent.at(u), 0.99), (extent.at(u) + 0.02, 0.93)], mix(GRASS[season], (50, 70, 30), 0.4), 0.008)


def _cliff(brush: Brush, scene: Scene, rng: np.random.Generator, centre: float, side: int) -> None:
    """Paint a wall of rock on one side, with lit faces, cracks and trees on its ledges."""
    profile = [
        (0.86, -0.2),
        (0.74, 0.02),
        (0.78, 0.13),
        (0.56, 0.24),
        (0.6, 0.37),
        (0.4, 0.46),
        (0.44, 0.54),
        (0.2, 0.6),
    ]
    profile = [(dx + rng.uniform(-0.03, 0.03), y) for dx, y in profile]
    foot = [(0.46, 0.635), (0.8, 0.66), (1.3, 0.68), (2.0, 0.69), (2.0, -0.2)]
    brush.polygon([(centre + side * dx, y) for dx, y in [*profile, *foot]], CLIFF)
    for (x0, y0), (x1, y1) in zip(profile[::2], profile[1::2], strict=True):  # faces towards the light
        face = [(x0, y0), (x1, y1), (x1 + 0.16, y1 + 0.03), (x0 + 0.12, y0 + 0.02)]
        brush.polygon([(centre + side * dx, y) for dx, y in face], mix(CLIFF, (255, 246, 228), 0.3))
    for dx, dy, length in rng.uniform(0, 1, (12, 3)):
        x, y = centre + side * (0.7 + 0.6 * dx), 0.05 + 0.5 * dy
        crack = [(x, y), (x + 0.02, y + 0.06 * length), (x - 0.015, y + 0.05 + 0.09 * length)]
        brush.line(crack, mix(CLIFF, (0, 0, 0), 0.35), 0.007)
    for dx, y in [*profile[2:7:2], (0.95, 0.2), (0.86, 0.42), (1.2, 0.34), (0.7, 0.5), (1.1, 0.58)]:
        x = centre + side * (dx + 0.05)
        if rng.uniform() < 0.35:
            conifer(brush, x, y + 0.02, 0.17, scene.season)
        else:
            tree(brush, rng, x, y + 0.02, rng.uniform(0.13, 0.19), scene.season)
    if scene.season == Season.WINTER:
        for dx, y in profile[2:7:2]:
            brush.ellipse(centre + side * (dx + 0.05), y + 0.012, 0.08, 0.012, SNOW)


def _boulder(brush: Brush, x: float, y: float, size: float, *, snow: bool) -> None:
    points = ((-1.0, 0.0), (-0.8, -0.5), (-0.25, -0.85), (0.4, -0.7), (0.85, -0.4), (1.0, 0.0))
    brush.polygon([(x + a * size, y + b * size * 0.8) for a, b in points], (112, 110, 110))
    lit = SNOW if snow else (168, 164, 158)
    brush.polygon([(x + a * size, y + b * size * 0.8) for a, b in (*points[1:4], (0.0, -0.4))], lit)


def valley(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, snow = brush.extent, scene.season == Season.WINTER
    centre = extent.at(0.5)
    ridge(brush, rng, 0.46, 0.28, SLOPE[scene.season], far=0.6)
    back = [(-0.75, 0.62), (-0.62, 0.34), (-0.4, 0.25), (-0.16, 0.21), (-0.09, 0.235), (0.09, 0.235), (0.17, 0.2)]
    brush.polygon([(centre + x, y) for x, y in [*back, (0.42, 0.26), (0.6, 0.36), (0.75, 0.62)]], CLIFF, far=0.3)
    hollow = [(-0.09, 0.235), (0.09, 0.235), (0.07, 0.33), (0.13, 0.42), (0.1, 0.5), (0.17, 0.6), (-0.15, 0.6)]
    hollow += [(-0.12, 0.48), (-0.14, 0.4), (-0.06, 0.31)]
    brush.polygon([(centre + x, y) for x, y in hollow], mix(CLIFF, (60, 62, 66), 0.4), far=0.3)
    for x, y, length in rng.uniform(-1, 1, (14, 3)):
        x, y = centre + 0.4 * x, 0.42 + 0.11 * y
        brush.line([(x, y), (x + 0.015, y + 0.05 + 0.03 * length)], mix(CLIFF, (0, 0, 0), 0.35), 0.006, far=0.3)
    for dx in (-0.46, -0.34, -0.24, -0.15, 0.15, 0.25, 0.35, 0.47):
        tree(brush, rng, centre + dx, 0.25 + 0.16 * max(0.0, abs(dx) - 0.22), 0.13, scene.season, far=0.2)
    water(brush, scene, rng, 0.585, 0.77, (40, 116, 124), (112, 186, 182))
    for side in (-1, 1):
        _cliff(brush, scene, rng, centre, side)
    for u, v, size in sorted(rng.uniform(0, 1, (18, 3)).tolist(), key=lambda row: row[1]):  # stones in the stream
        side, y = (1 if u > 0.5 else -1), 0.6 + 0.14 * v
        x = centre + side * (0.16 + (0.3 + 0.9 * v) * abs(2 * u - 1))
        size = 0.03 + 0.05 * size * (0.4 + v)
        brush.line([(x - 1.5 * size, y + 0.006), (x + 1.5 * size, y + 0.006)], (236, 246, 248), 0.009)
        _boulder(brush, x, y, size, snow=snow)
    xs = np.linspace(extent.left - 0.05, extent.right + 0.05, 30)
    edge = 0.745 + 0.014 * np.sin(xs * 3.4 + rng.uniform(0, 6))
    shore = list(zip(xs.tolist(), edge.tolist(), strict=True))
    brush.polygon([*shore, (extent.right + 0.1, 1.3), (extent.left - 0.1, 1.3)], (190, 182, 170))
    for u, v, tone in rng.uniform(0, 1, (60, 3)):  # gravel
        grey = mix((140, 136, 132), (222, 216, 206), tone)
        brush.ellipse(extent.at(u), 0.775 + 0.36 * v, 0.014 + 0.016 * v, 0.008 + 0.008 * v, grey)
    snow_patches(brush, scene, rng, 0.87, 1.2)
    for u, size in rng.uniform(0, 1, (6, 2)):
        _boulder(brush, extent.at(u), 1.0, 0.05 + 0.05 * size, snow=snow)


def _rampart(brush: Brush, rng: np.random.Generator, line: list, high: float, *, far: float, snow: bool) -> None:
    """Paint a stone wall along its foot line, with joints and battlements."""
    upper = [(x, y - high) for x, y in line]
    brush.polygon([*line, *reversed(upper)], WALL, far=far)
    for share in (0.25, 0.5, 0.75):
        brush.line([(x, y - share * high) for x, y in line], mix(WALL, (0, 0, 0), 0.25), 0.003, far=far)
    x, y = (np.array(part) for part in zip(*line, strict=True))
    step = 0.5 * high
    for k, left in enumerate(np.arange(x[0], x[-1], step)):
        foot = float(np.interp(left, x, y))
        for share in (0.0, 0.5):
            seam = left + share * 0.5 * step
            brush.line(
                [(seam, foot - share * high), (seam, foot - (share + 0.25) * high)], (140, 132, 118), 0.003, far=far
            )
        if k % 2:
            stone = mix(WALL, (236, 226, 206) if rng.uniform() < 0.5 else (130, 124, 114), 0.5)
            brush.rect(left, foot - 0.5 * high, left + step, foot - 0.27 * high, stone, far=far)
        merlon = foot - high
        brush.rect(left, merlon - 0.26 * high, left + 0.68 * step, merlon + 0.05 * high, WALL, far=far)
        cap = SNOW if snow else mix(WALL, (70, 70, 76), 0.5)
        brush.rect(left - 0.004, merlon - 0.32 * high, left + 0.68 * step + 0.004, merlon - 0.22 * high, cap, far=far)


def fortress(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, snow, grass = brush.extent, scene.season == Season.WINTER, GRASS[scene.season]
    ridge(brush, rng, 0.5, 0.3, SLOPE[scene.season], far=0.7)
    side = 1 if scene.landmark_at < 0.5 else -1  # the gate is on the side that the landmark leaves free
    gate = extent.at(0.5) + side * 0.24
    x = np.linspace(extent.left - 0.1, extent.right + 0.1, 40)
    away = -side * (x - gate)  # grows where the hill rises
    hill = 0.56 - 0.28 / (1 + np.exp(-4.5 * (away - 0.75))) + 0.02 * np.sin(x * 5)
    far_line = list(zip(x.tolist(), hill.tolist(), strict=True))
    brush.polygon(
        [*far_line, (extent.right + 0.1, 1.3), (extent.left - 0.1, 1.3)], mix(SLOPE[scene.season], grass, 0.5), far=0.3
    )
    _rampart(brush, rng, far_line, 0.05, far=0.3, snow=snow)  # the wall goes on behind, up the hill
    for u in rng.uniform(0, 1, 22):
        at = int(u * 39)
        tree(
            brush,
            rng,
            float(x[at]),
            float(hill[at]) + rng.uniform(0.03, 0.14),
            rng.uniform(0.1, 0.16),
            scene.season,
            far=0.2,
        )
    foot = 0.7 - 0.1 / (1 + np.exp(-6 * (away - 0.7))) - 0.07 / (1 + np.exp(6 * (away + 0.7)))
    line = list(zip(x.tolist(), foot.tolist(), strict=True))
    brush.polygon([*line, (extent.right + 0.1, 1.3), (extent.left - 0.1, 1.3)], grass)
    _rampart(brush, rng, line, 0.125, far=0.0, snow=snow)
    ground(brush, 0.72, grass)
    snow_patches(brush, scene, rng, 0.75, 1.2)
    brush.polygon([(gate - 0.1, 0.7), (gate + 0.1, 0.7), (gate + 0.36, 1.3), (gate - 0.36, 1.3)], PATH)
    brush.rect(extent.left, 0.785, extent.right, 0.86, PATH)
    for k, y in enumerate((0.52, 0.565, 0.61, 0.655)):  # the gate: big blocks, an arch, a pavilion on top
        brush.rect(gate - 0.31, y, gate + 0.31, y + 0.055, mix(WALL, (150, 142, 130), 0.35 * (k % 2)))
        for m in range(7):
            seam = gate - 0.31 + (m + 0.5 * (k % 2)) * 0.0886
            brush.line([(seam, y), (seam, y + 0.045)], (136, 128, 116), 0.004)
    brush.ellipse(gate, 0.61, 0.105, 0.072, mix(WALL, (255, 250, 236), 0.35))
    brush.ellipse(gate, 0.615, 0.088, 0.06, (52, 44, 40))
    brush.rect(gate - 0.088, 0.612, gate + 0.088, 0.71, (52, 44, 40))
    for edge in (-1, 1):  # its doors stand open
        brush.rect(gate + edge * 0.074 - 0.014, 0.6, gate + edge * 0.074 + 0.014, 0.71, (128, 62, 44))
    brush.rect(gate - 0.32, 0.5, gate + 0.32, 0.525, SNOW if snow else mix(WALL, (255, 255, 255), 0.3))
    hall(brush, gate, 0.5, 0.21, 0.1, snow=snow, bays=4)
    tiled_roof(brush, gate, 0.41, 0.32, 0.14, TILE, snow=snow)
    brush.glow(gate, 0.48, 0.36, LAMPLIGHT)
    for u in rng.uniform(0, 1, 7):
        tree(brush, rng, extent.at(u), 1.03, 0.13, scene.season)


def railway(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, grass = brush.extent, GRASS[scene.season]
    ridge(brush, rng, 0.5, 0.26, SLOPE[scene.season], far=0.7)
    ground(brush, 0.47, grass)
    snow_patches(brush, scene, rng, 0.52, 1.2)
    tree_row(brush, rng, 0.495, 0.11, scene.season, count=18, far=0.35)
    for k in range(round((extent.right - extent.left) / 0.3) + 1):  # a viaduct for the trains that cross
        x = extent.left + k * 0.3
        brush.polygon(
            [(x - 0.04, 0.43), (x + 0.04, 0.43), (x + 0.022, 0.5), (x - 0.022, 0.5)], (172, 172, 170), far=0.2
        )
    brush.rect(extent.left, 0.4, extent.right, 0.44, (172, 172, 174), far=0.12)
    brush.rect(extent.left, 0.432, extent.right, 0.445, (118, 118, 122), far=0.12)
    centre = extent.at(0.5) + rng.uniform(-0.06, 0.06)

    def at(across: float, height: float, depth: float) -> tuple[float, float]:
        return centre + across / depth, 0.465 + height / depth

    brush.polygon([at(-0.4, 0.33, 9), at(0.4, 0.33, 9), at(0.4, 0.33, 0.38), at(-0.4, 0.33, 0.38)], (158, 148, 138))
    for u, v, tone in rng.uniform(0, 1, (50, 3)):  # ballast
        depth = 0.45 + 2 * v
        x, y = at(0.8 * u - 0.4, 0.33, depth)
        brush.ellipse(x, y, 0.011 / depth, 0.006 / depth, mix((112, 104, 98), (206, 200, 192), tone))
    for depth in 9 / 1.135 ** np.arange(25):
        for track in (-0.19, 0.19):
            thick = 0.014 / depth
            (x0, y), (x1, _) = at(track - 0.13, 0.33, depth), at(track + 0.13, 0.33, depth)
            brush.rect(x0, y - thick, x1, y + thick, (98, 74, 58))
    brush.rect(extent.left, 0.785, extent.right, 0.865, (126, 124, 124))  # a road crosses the rails
    for y in (0.785, 0.857):
        brush.rect(extent.left, y, extent.right, y + 0.008, (236, 232, 220))
    for rail in (-0.275, -0.105, 0.105, 0.275):
        edges = [
            at(rail - 0.014, 0.33, 9),
            at(rail + 0.014, 0.33, 9),
            at(rail + 0.014, 0.33, 0.38),
            at(rail - 0.014, 0.33, 0.38),
        ]
        brush.polygon(edges, (92, 92, 98))
        brush.line([at(rail, 0.33, 9), at(rail, 0.33, 0.38)], (222, 226, 232), 0.006, own=0.15)
    steel = (96, 104, 112)
    for depth in (5.0, 3.3, 2.2, 1.5, 1.0):  # masts and wires
        for side in (-1, 1):
            mast = [at(side * 0.5, 0.33, depth), at(side * 0.5, -0.33, depth), at(side * 0.14, -0.33, depth)]
            brush.line(mast, steel, 0.016 / depth + 0.002)
            brush.line([at(side * 0.5, -0.2, depth), at(side * 0.19, -0.27, depth)], steel, 0.006 / depth + 0.001)
    for across in (-0.19, 0.19):
        for height in (-0.33, -0.26):
            brush.line([at(across, height, 9), at(across, height, 0.3)], (70, 74, 82), 0.004)
    for side in (-1, 1):  # the gates of the crossing stand open
        x = centre + side * 0.66
        brush.rect(x - 0.016, 0.6, x + 0.016, 0.785, (238, 200, 50))
        for turn in (-1, 1):
            brush.line(
                [(x - 0.05, 0.57 - 0.045 * turn), (x + 0.05, 0.57 + 0.045 * turn)], (244, 222, 70), 0.022, own=0.4
            )
            brush.ellipse(x + 0.034 * turn, 0.645, 0.02, 0.02, (196, 40, 36), own=0.5)
        for k in range(6):
            y0, y1 = 0.72 - 0.07 * k, 0.72 - 0.07 * (k + 1)
            lean = 0.05 + 0.004 * k
            ends = [(x + side * lean, y0), (x + side * (lean + 0.004), y1)]
            brush.line(ends, (222, 44, 40) if k % 2 else (250, 250, 246), 0.014, own=0.3)
    for u in (0.04, 0.96):
        tree(brush, rng, extent.at(u), 0.72, 0.24, scene.season)


COUNTRY_PAINTERS: dict[Place, Painter] = {
    Place.PADDY: Painter(0.4, paddy),
    Place.VALLEY: Painter(0.46, valley),
    Place.FORTRESS: Painter(0.5, fortress),
    Place.RAILWAY: Painter(0.47, railway),
}
