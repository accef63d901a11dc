"""Paint the busy places: harbor, market alley, subway station, bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, mix
from .scene_buildings import SIGNS, road, windows
from .scene_elements import GRASS, LAMPLIGHT, SLOPE, SNOW, Painter, ground, ridge, snow_patches, tree, tree_row, water
from .scene_values import Place, Season

if TYPE_CHECKING:
    from .scenes import Scene

CONCRETE: RGB = (186, 184, 178)
ROPE: RGB = (84, 78, 74)
WOOD: RGB = (132, 98, 68)


def _fishing_boat(brush: Brush, x: float, y: float, size: float, colour: RGB, *, far: float) -> None:
    hull = ((-1.0, -0.26), (1.15, -0.4), (0.8, 0.12), (-0.85, 0.12))
    brush.line([(x - 0.55 * size, y), (x - 0.55 * size, y - 1.1 * size)], ROPE, 0.07 * size, far=far)
    brush.line([(x + 0.3 * size, y), (x + 0.3 * size, y - 1.7 * size)], ROPE, 0.09 * size, far=far)
    ropes = [(x - 0.95 * size, y - 0.3 * size), (x + 0.3 * size, y - 1.65 * size), (x + 1.1 * size, y - 0.4 * size)]
    brush.line(ropes, ROPE, 0.003, far=far)
    brush.polygon([(x + a * size, y + b * size) for a, b in hull], colour, far=far, own=0.2)
    brush.line([(x - size, y - 0.26 * size), (x + 1.15 * size, y - 0.4 * size)], (248, 248, 244), 0.1 * size, far=far)
    brush.rect(x - 0.5 * size, y - 0.85 * size, x + 0.12 * size, y - 0.28 * size, (244, 244, 238), far=far)
    brush.rect(x - 0.56 * size, y - 0.94 * size, x + 0.18 * size, y - 0.83 * size, colour, far=far)
    lit = brush.light.is_night
    box = x - 0.4 * size, y - 0.75 * size, x + 0.04 * size, y - 0.54 * size
    brush.rect(*box, LAMPLIGHT if lit else (74, 108, 136), far=far, own=0.9 if lit else 0.0)


def harbor(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, winter = brush.extent, scene.season == Season.WINTER
    ridge(brush, rng, 0.41, 0.2, SLOPE[scene.season], far=0.6, foot=0.41)
    tree_row(brush, rng, 0.4, 0.15, scene.season, count=15, far=0.35)
    walls: tuple[RGB, ...] = ((226, 222, 212), (176, 196, 208), (214, 176, 146), (196, 206, 180))
    roofs: tuple[RGB, ...] = ((58, 104, 168), (186, 70, 56), (70, 130, 110), (92, 96, 106))
    for k in range(round((extent.right - extent.left) / 0.38) + 1):  # warehouses on the far quay
        x, wide, top = extent.left + (k + rng.uniform(-0.1, 0.1)) * 0.38, rng.uniform(0.2, 0.27), rng.uniform(0.3, 0.33)
        brush.rect(x, top, x + wide, 0.42, walls[rng.integers(4)], far=0.2)
        roof = [(x - 0.012, top), (x + wide / 2, top - 0.055), (x + wide + 0.012, top)]
        brush.polygon(roof, SNOW if winter else roofs[rng.integers(4)], far=0.2)
        windows(brush, rng, (x + 0.01, top + 0.005, x + wide - 0.01, 0.36), 4, 1, (104, 126, 146), far=0.2)
        brush.rect(x + 0.36 * wide, 0.365, x + 0.64 * wide, 0.42, roofs[rng.integers(4)], far=0.2)
    water(brush, scene, rng, 0.435, 0.75, (22, 84, 140), (58, 136, 156))
    brush.rect(extent.left, 0.412, extent.right, 0.425, mix(CONCRETE, SNOW, 0.8 if winter else 0.2), far=0.2)
    brush.rect(extent.left, 0.425, extent.right, 0.445, (112, 110, 108), far=0.2)
    hulls: tuple[RGB, ...] = ((48, 96, 170), (196, 62, 52), (42, 132, 106), (238, 238, 232), (228, 150, 50))
    for k in range(round((extent.right - extent.left) / 0.3) + 1):  # fishing boats moored side by side
        x = extent.left + (k + rng.uniform(-0.14, 0.14)) * 0.3
        _fishing_boat(brush, x, 0.49 + 0.014 * (k % 2), 0.105, hulls[rng.integers(5)], far=0.1)
    brush.rect(extent.left, 0.53, extent.right, 0.545, WOOD, far=0.05)  # the pier they are tied to
    for k in range(round((extent.right - extent.left) / 0.13)):
        x = extent.left + k * 0.13
        brush.rect(x, 0.515, x + 0.014, 0.575, mix(WOOD, (0, 0, 0), 0.35), far=0.05)
    brush.rect(extent.left, 0.715, extent.right, 0.745, (104, 102, 100))
    ground(brush, 0.735, CONCRETE)
    snow_patches(brush, scene, rng, 0.79, 1.2)
    for k in range(round((extent.right - extent.left) / 0.3) + 1):  # tyres and bollards along the quay
        x = extent.left + (k + 0.2) * 0.3
        brush.ellipse(x + 0.15, 0.728, 0.026, 0.022, (40, 40, 44))
        brush.ellipse(x + 0.15, 0.728, 0.012, 0.01, (104, 102, 100))
        brush.rect(x - 0.014, 0.722, x + 0.014, 0.758, (66, 64, 66))
        brush.ellipse(x, 0.722, 0.024, 0.011, (88, 86, 88))
    brush.rect(extent.left, 0.765, extent.right, 0.775, (238, 196, 60))
    for u in (0.14, 0.42, 0.83):  # fish boxes in front
        x = extent.at(u + rng.uniform(-0.08, 0.08))
        for dx, y in ((0.0, 0.99), (0.115, 0.99), (0.055, 0.925)):
            box = SIGNS[rng.integers(2)]
            brush.rect(x + dx - 0.055, y - 0.06, x + dx + 0.055, y, box)
            brush.rect(x + dx - 0.055, y - 0.06, x + dx + 0.055, y - 0.045, mix(box, (255, 255, 255), 0.5))


class _Alley:
    """Places points by their share of the half width, height, and depth: 1 is near, larger is farther."""

    def __init__(self, centre: float):
        self.centre = centre

    def at(self, share: float, height: float, depth: float) -> tuple[float, float]:
        return self.centre + 0.78 * share / depth, 0.47 + height / depth

    def band(self, side: int, ends: tuple[tuple[float, float], tuple[float, float]], far: float, near: float) -> list:
        """Return the polygon of a strip that runs along the alley between two depths."""
        (share0, height0), (share1, height1) = ends
        return [
            self.at(side * share0, height0, far),
            self.at(side * share0, height0, near),
            self.at(side * share1, height1, near),
            self.at(side * share1, height1, far),
        ]


_FRUIT: tuple[RGB, ...] = ((226, 44, 40), (255, 156, 40), (250, 214, 60), (118, 180, 60), (150, 70, 150))


def _stall(brush: Brush, rng: np.random.Generator, alley: _Alley, side: int, far: float, near: float) -> None:
    """Paint a shop front: wall, lit inside, a table of fruit, a sign and a striped awning."""
    haze, night = min(0.5, 0.1 * far), brush.light.is_night
    wall = mix((206, 176, 148), (168, 160, 160), rng.uniform())
    roof = -rng.uniform(0.36, 0.46)
    brush.polygon(alley.band(side, ((1.0, roof), (1.0, 0.34)), far, near), wall, far=haze)
    brush.polygon(
        alley.band(side, ((1.0, -0.1), (1.0, 0.2)), far, near),
        LAMPLIGHT if night else (126, 96, 76),
        far=haze,
        own=0.6 if night else 0.0,
    )
    sign, stripe = (SIGNS[rng.integers(len(SIGNS))] for _ in range(2))
    brush.polygon(alley.band(side, ((0.99, -0.33), (0.99, -0.25)), far, near), sign, far=haze, own=0.5)
    brush.polygon(alley.band(side, ((0.8, 0.18), (0.8, 0.34)), far, near), mix(WOOD, sign, 0.25), far=haze)
    brush.polygon(alley.band(side, ((1.0, 0.14), (0.8, 0.18)), far, near), (238, 226, 200), far=haze)
    for k in range(4):
        fruit = _FRUIT[rng.integers(len(_FRUIT))]
        for share in (0.95, 0.88, 0.82):
            depth = 1 / (1 / far + (k + 0.5) / 4 * (1 / near - 1 / far))
            x, y = alley.at(side * share, 0.165 - 0.2 * (share - 0.82), depth)
            brush.ellipse(x, y, 0.034 / depth, 0.022 / depth, fruit, far=haze, own=0.3)
    for k in range(6):
        a, b = (1 / (1 / far + (k + j) / 6 * (1 / near - 1 / far)) for j in (0, 1))
        colour = stripe if k % 2 else (250, 246, 238)
        brush.polygon(alley.band(side, ((1.0, -0.23), (0.66, -0.12)), a, b), colour, far=haze, own=0.3)
        brush.polygon(
            alley.band(side, ((0.66, -0.12), (0.66, -0.085)), a, b), mix(colour, (0, 0, 0), 0.15), far=haze, own=0.3
        )


def market(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent = brush.extent
    alley = _Alley(extent.at(0.5) + rng.uniform(-0.08, 0.08))
    for k in range(7):  # houses behind the far end
        x = extent.at((k + 0.2) / 7)
        brush.rect(x, rng.uniform(0.3, 0.38), x + 0.3, 0.55, (196, 186, 176), far=0.6)
    ground(brush, 0.5, (178, 170, 160))
    snow_patches(brush, scene, rng, 0.72, 1.2)
    for share in (-0.4, -0.13, 0.13, 0.4):
        brush.line([alley.at(share, 0.34, 5.0), alley.at(share, 0.34, 0.4)], (146, 138, 130), 0.005)
    for depth in (3.4, 2.3, 1.6, 1.15, 0.85, 0.62):
        brush.line([alley.at(-0.8, 0.34, depth), alley.at(0.8, 0.34, depth)], (146, 138, 130), 0.004)
    tree(brush, rng, *alley.at(0.0, 0.34, 5.5), 0.2, scene.season, far=0.3)
    depths = 0.5 * 1.36 ** np.arange(8)
    for k in range(6, -1, -1):
        for side in (-1, 1):
            _stall(brush, rng, alley, side, float(depths[k + 1]), float(depths[k]))
            if k in (3, 5):
                tree(brush, rng, *alley.at(side * 0.84, 0.34, depths[k]), 0.72 / depths[k], scene.season, far=0.1)
        if k in (1, 2, 4):  # bulbs on a string from side to side
            depth = float(depths[k])
            string = [alley.at(share, -0.3 + 0.09 * (1 - share**2), depth) for share in np.linspace(-0.95, 0.95, 13)]
            brush.line(string, ROPE, 0.004)
            for x, y in string[1:-1]:
                brush.ellipse(x, y + 0.014 / depth, 0.016 / depth, 0.02 / depth, (255, 226, 140), own=0.9)
                brush.glow(x, y, 0.07 / depth, LAMPLIGHT)


_STROKES = {  # the digits of the exits, as lines in a box of 1 x 1
    1: ((0.35, 0.2, 0.5, 0.05), (0.5, 0.05, 0.5, 0.95)),
    2: ((0.2, 0.1, 0.8, 0.1), (0.8, 0.1, 0.8, 0.45), (0.8, 0.45, 0.2, 0.95), (0.2, 0.95, 0.85, 0.95)),
    3: ((0.2, 0.1, 0.8, 0.1), (0.8, 0.1, 0.45, 0.45), (0.45, 0.45, 0.8, 0.7), (0.8, 0.7, 0.2, 0.95)),
    4: ((0.6, 0.95, 0.6, 0.05), (0.6, 0.05, 0.15, 0.65), (0.15, 0.65, 0.85, 0.65)),
}


def _digit(brush: Brush, digit: int, x: float, y: float, size: float, colour: RGB) -> None:
    for x0, y0, x1, y1 in _STROKES[digit]:
        ends = [(x + (a - 0.5) * size, y + (b - 0.5) * size * 1.3) for a, b in ((x0, y0), (x1, y1))]
        brush.line(ends, colour, 0.24 * size, own=0.8)


def _station_entrance(brush: Brush, rng: np.random.Generator, x: float, side: int) -> None:
    """Paint stairs that go down under a glass roof with a coloured line sign, and the exit's number beside them."""
    lines: tuple[RGB, ...] = ((0, 82, 164), (0, 168, 77), (239, 124, 28), (0, 164, 227), (153, 108, 172))
    line, steel = lines[rng.integers(len(lines))], (112, 118, 126)
    brush.rect(x - 0.3, 0.44, x + 0.3, 0.6, (176, 206, 220))  # glass at the back
    for k in range(7):
        brush.rect(x - 0.3 + k * 0.0985, 0.44, x - 0.292 + k * 0.0985, 0.6, steel)
    brush.rect(x - 0.24, 0.54, x + 0.24, 0.745, (34, 36, 42))
    lit = brush.light.is_night
    for k in range(7):  # steps, darker the deeper
        y, half = 0.742 - 0.026 * k, 0.235 - 0.011 * k
        tone = mix((206, 202, 196), (60, 60, 66), k / 7)
        brush.rect(x - half, y - 0.015, x + half, y, tone, own=0.25 if lit else 0.0)
    for edge in (-1, 1):
        inner, outer = x + edge * 0.22, x + edge * 0.31
        brush.rect(min(inner, outer), 0.585, max(inner, outer), 0.745, (168, 164, 158))
        brush.rect(min(inner, outer) - 0.006, 0.575, max(inner, outer) + 0.006, 0.59, (212, 208, 202))
        brush.rect(x + edge * 0.3 - 0.01, 0.4, x + edge * 0.3 + 0.01, 0.745, steel)
    brush.rect(x - 0.012, 0.6, x + 0.012, 0.745, (196, 200, 206))  # handrail
    roof = [(x - 0.38, 0.4), (x - 0.3, 0.345), (x, 0.32), (x + 0.3, 0.345), (x + 0.38, 0.4)]
    brush.polygon(roof, (146, 186, 206))
    brush.line([*roof, roof[0]], steel, 0.012)
    brush.rect(x - 0.36, 0.4, x + 0.36, 0.475, line, own=0.75)  # the station's sign, in the colour of its line
    brush.ellipse(x - 0.27, 0.437, 0.028, 0.028, (255, 255, 255), own=0.9)
    for k in range(4):
        brush.rect(x - 0.16 + k * 0.075, 0.417, x - 0.105 + k * 0.075, 0.458, (255, 255, 255), own=0.9)
    brush.rect(x + 0.2, 0.425, x + 0.32, 0.45, (255, 255, 255), own=0.9)
    post = x + side * 0.45
    brush.rect(post - 0.05, 0.38, post + 0.05, 0.745, (92, 98, 106))
    brush.rect(post - 0.05, 0.36, post + 0.05, 0.5, (250, 204, 50), own=0.75)
    brush.rect(post - 0.05, 0.5, post + 0.05, 0.53, line, own=0.75)
    _digit(brush, int(rng.integers(1, 5)), post, 0.43, 0.062, (24, 26, 30))
    brush.glow(x, 0.45, 0.4, line)
    brush.glow(post, 0.43, 0.16, (250, 204, 50))


def subway(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, winter = brush.extent, scene.season == Season.WINTER
    facades: tuple[RGB, ...] = ((214, 204, 190), (176, 188, 200), (198, 160, 138), (226, 226, 222), (152, 166, 178))
    x = extent.left - rng.uniform(0, 0.2)
    while x < extent.right:
        wide, top, facade = rng.uniform(0.22, 0.4), rng.uniform(-0.02, 0.28), facades[rng.integers(5)]
        brush.rect(x, top, x + wide, 0.62, facade, far=0.35)
        windows(
            brush,
            rng,
            (x + 0.01, top + 0.02, x + wide - 0.01, 0.5),
            5,
            int((0.5 - top) / 0.06),
            (108, 134, 158),
            far=0.35,
        )
        brush.rect(x + 0.01, 0.5, x + wide - 0.01, 0.54, SIGNS[rng.integers(len(SIGNS))], far=0.25, own=0.4)
        x += wide + 0.01
    tree_row(brush, rng, 0.61, 0.22, scene.season, count=9, far=0.15)
    ground(brush, 0.6, (206, 200, 190))
    for y in (0.625, 0.66, 0.7):  # paving
        brush.line([(extent.left, y), (extent.right, y)], (176, 170, 162), 0.004)
    for k in range(-9, 10):
        brush.line([(extent.at(0.5) + k * 0.22, 0.6), (extent.at(0.5) + k * 0.28, 0.75)], (176, 170, 162), 0.004)
    if winter:
        snow_patches(brush, scene, rng, 0.61, 0.7)
    road(brush, scene, 0.765)
    side = -1 if scene.landmark_at < 0.5 else 1  # the entrance is on the side that the landmark leaves free
    _station_entrance(brush, rng, extent.at(0.5) - side * 0.26, -side)


def bridge(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, night = brush.extent, brush.light.is_night
    ridge(brush, rng, 0.45, 0.16, SLOPE[scene.season], far=0.8, foot=0.46)
    for k in range(22):  # the city on the other side
        x, wide, top = extent.at((k + rng.uniform(-0.3, 0.6)) / 22), rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.38)
        tone = mix((128, 148, 176), (196, 190, 186), rng.uniform())
        brush.rect(x, top, x + wide, 0.46, tone, far=0.6)
        if night:
            windows(brush, rng, (x, top + 0.01, x + wide, 0.42), 4, 7, mix(tone, (0, 0, 0), 0.3), far=0.6)
    water(brush, scene, rng, 0.46, 0.76, (44, 104, 156), (84, 150, 182))
    tree_row(brush, rng, 0.465, 0.07, scene.season, count=26, far=0.4)
    steel, deck = (240, 242, 244), (150, 156, 164)
    for k in (-1.5, -0.5, 0.5, 1.5):  # towers with their cables and piers
        x = extent.at(0.5) + k
        for m in range(1, 9):
            for edge in (-1, 1):
                brush.line(
                    [(x, 0.055 + 0.016 * m), (x + edge * 0.058 * m, 0.4)], (226, 228, 232), 0.005, far=0.05, own=0.2
                )
        brush.polygon([(x - 0.1, 0.56), (x - 0.065, 0.43), (x + 0.065, 0.43), (x + 0.1, 0.56)], deck)
        brush.rect(x - 0.13, 0.55, x + 0.13, 0.575, mix(deck, (0, 0, 0), 0.25))
        for edge in (-1, 1):
            brush.line([(x + edge * 0.06, 0.46), (x + edge * 0.012, 0.04)], steel, 0.024, own=0.2)
        brush.rect(x - 0.03, 0.24, x + 0.03, 0.255, steel, own=0.2)
        brush.rect(x - 0.08, 0.59, x + 0.08, 0.6, mix(deck, (40, 80, 110), 0.4))
        brush.ellipse(x, 0.035, 0.012, 0.012, (255, 80, 60), own=0.9)
        brush.glow(x, 0.25, 0.22, (150, 190, 255))
    brush.rect(extent.left, 0.4, extent.right, 0.445, deck)
    brush.rect(extent.left, 0.4, extent.right, 0.41, steel, own=0.2)
    brush.rect(extent.left, 0.436, extent.right, 0.45, mix(deck, (0, 0, 0), 0.35))
    for k in range(round((extent.right - extent.left) / 0.16)):  # lamps on the deck, and their light on the water
        x = extent.left + (k + 0.5) * 0.16
        brush.line([(x, 0.4), (x, 0.355)], (120, 126, 134), 0.005)
        brush.ellipse(x, 0.353, 0.008, 0.008, LAMPLIGHT if night else (246, 246, 240), own=0.9)
        brush.glow(x, 0.355, 0.06, LAMPLIGHT)
        if night:
            brush.rect(x - 0.008, 0.5, x + 0.008, 0.5 + rng.uniform(0.06, 0.14), LAMPLIGHT, own=0.4)
    brush.rect(extent.left, 0.735, extent.right, 1.3, GRASS[scene.season])
    snow_patches(brush, scene, rng, 0.88, 1.2)
    brush.rect(extent.left, 0.775, extent.right, 0.86, (198, 190, 178))
    brush.rect(extent.left, 0.814, extent.right, 0.82, (240, 236, 226))
    for u in (0.03, 0.97):
        tree(brush, rng, extent.at(u + rng.uniform(-0.02, 0.02)), 0.76, 0.26, scene.season)
    for u in rng.uniform(0, 1, 5):
        tree(brush, rng, extent.at(u), 1.03, 0.12, scene.season)


CITY_PAINTERS: dict[Place, Painter] = {
    Place.HARBOR: Painter(0.42, harbor),
    Place.MARKET: Painter(0.5, market),
    Place.SUBWAY: Painter(0.6, subway),
    Place.BRIDGE: Painter(0.46, bridge),
}
