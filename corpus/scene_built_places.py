"""Paint the places that people built: street, apartments, towers, hanok village, palace, temple."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, mix
from .scene_buildings import SIGNS, STONE, TILE, hall, road, tiled_roof, windows
from .scene_elements import LAMPLIGHT, SLOPE, SNOW, TRUNK, Painter, ground, ridge, snow_patches, tree, tree_row
from .scene_values import Place, Season

if TYPE_CHECKING:
    from .scenes import Scene


def street(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent = brush.extent
    facades: tuple[RGB, ...] = (
        (206, 140, 110),
        (222, 206, 178),
        (170, 178, 190),
        (190, 160, 140),
        (232, 226, 216),
        (150, 120, 112),
    )
    x = extent.left - rng.uniform(0, 0.2)
    while x < extent.right:
        wide, top = rng.uniform(0.3, 0.46), rng.uniform(0.08, 0.34)
        facade = facades[rng.integers(len(facades))]
        brush.rect(x, top, x + wide, 0.7, facade)
        brush.rect(x, top, x + wide, top + 0.018, mix(facade, (0, 0, 0), 0.3))
        windows(
            brush,
            rng,
            (x + 0.01, top + 0.03, x + wide - 0.01, 0.5),
            4,
            max(2, int((0.5 - top) / 0.085)),
            (96, 124, 150),
        )
        sign = SIGNS[rng.integers(len(SIGNS))]
        brush.rect(x + 0.01, 0.51, x + wide - 0.01, 0.565, sign, own=0.75)  # shop sign
        for k in range(4):
            brush.rect(x + 0.05 + k * 0.055, 0.527, x + 0.085 + k * 0.055, 0.55, (255, 255, 250), own=0.75)
        brush.rect(
            x + 0.02, 0.575, x + wide - 0.02, 0.69, LAMPLIGHT if brush.light.is_night else (120, 150, 170), own=0.7
        )
        stripe = SIGNS[rng.integers(len(SIGNS))]
        for k in range(6):  # striped awning
            left = x + 0.01 + k * (wide - 0.02) / 6
            brush.rect(left, 0.565, left + (wide - 0.02) / 6, 0.6, stripe if k % 2 else (248, 246, 240), own=0.3)
        if rng.uniform() < 0.6:  # a sign that hangs from the wall
            brush.rect(x + wide - 0.05, top + 0.08, x + wide, top + 0.3, SIGNS[rng.integers(len(SIGNS))], own=0.75)
        brush.glow(x + wide / 2, 0.6, 0.22, sign)
        x += wide
    road(brush, scene, 0.725)
    for u in (0.14, 0.5, 0.86):
        tree(brush, rng, extent.at(u + rng.uniform(-0.06, 0.06)), 0.71, 0.24, scene.season)


def apartments(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent = brush.extent
    ridge(brush, rng, 0.5, 0.16, SLOPE[scene.season], far=0.8)
    accents: tuple[RGB, ...] = ((60, 120, 190), (210, 110, 60), (70, 150, 100), (150, 110, 170), (190, 150, 60))
    accent = accents[rng.integers(len(accents))]
    wall = mix((238, 232, 220), (214, 222, 230), rng.uniform())
    count = max(4, round((extent.right - extent.left) / 0.4))
    for depth in (1, 0):  # a row behind, a row in front: all alike, as they are
        far = 0.5 * depth
        for k in range(count + depth):
            wide = (extent.right - extent.left) / count
            x = extent.left + (k + 0.12 - 0.5 * depth) * wide
            top, right = 0.16 + rng.uniform(0, 0.05) - 0.08 * depth, x + 0.76 * wide
            brush.rect(x, top, right, 0.7, wall, far=far)
            brush.rect(x, top, x + 0.12 * wide, 0.7, accent, far=far)
            brush.rect(x + 0.3 * wide, top - 0.025, x + 0.5 * wide, top, mix(wall, (0, 0, 0), 0.3), far=far)
            windows(brush, rng, (x + 0.16 * wide, top + 0.035, right, 0.69), 4, 9, (104, 128, 150), far=far)
            brush.rect(x + 0.41 * wide, top, x + 0.47 * wide, 0.7, mix(wall, (0, 0, 0), 0.15), far=far)
    ground(brush, 0.68, (146, 186, 110) if scene.season in (Season.SPRING, Season.SUMMER) else (186, 172, 128))
    snow_patches(brush, scene, rng, 0.68, 0.72)
    tree_row(brush, rng, 0.70, 0.15, scene.season, count=11)
    road(brush, scene, 0.745)


def towers(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent = brush.extent
    for k in range(14):  # the city behind
        x, wide, top = extent.at((k + rng.uniform(0, 0.6)) / 14), rng.uniform(0.08, 0.16), rng.uniform(0.26, 0.48)
        brush.rect(x, top, x + wide, 0.72, (120, 140, 168), far=0.75)
    glasses: tuple[RGB, ...] = ((62, 112, 168), (52, 138, 160), (88, 104, 140), (38, 78, 128), (110, 150, 180))
    count = max(5, round((extent.right - extent.left) / 0.31))
    for k in rng.permutation(count):
        wide, top = rng.uniform(0.17, 0.25), rng.uniform(-0.02, 0.26)
        x = extent.at((k + rng.uniform(0.1, 0.3)) / count)
        glass, shape = glasses[rng.integers(len(glasses))], rng.integers(4)
        dark, bright = mix(glass, (0, 0, 0), 0.3), mix(glass, (220, 240, 255), 0.45)
        if shape == 0:  # slanted roof
            brush.polygon([(x, top + 0.09), (x + wide, top), (x + wide, 0.72), (x, 0.72)], glass, far=0.1)
        elif shape == 1:  # tapered, with a mast
            brush.polygon([(x, 0.72), (x + 0.25 * wide, top), (x + 0.75 * wide, top), (x + wide, 0.72)], glass, far=0.1)
            brush.line([(x + wide / 2, top), (x + wide / 2, top - 0.1)], (150, 156, 166), 0.008)
        else:
            brush.rect(x, top, x + wide, 0.72, glass, far=0.1)
            brush.rect(x + 0.2 * wide, top - 0.03, x + 0.8 * wide, top, dark, far=0.1)
        inset = 0.27 * wide if shape == 1 else 0.0
        brush.rect(x + inset, top + 0.1, x + inset + 0.14 * wide, 0.72, bright, far=0.1)  # the sky in the glass
        if brush.light.is_night:
            windows(brush, rng, (x + inset, top + 0.1, x + wide - inset, 0.68), 5, 12, dark, far=0.1)
        else:
            for y in np.arange(top + 0.11, 0.68, 0.042):
                brush.rect(x + inset, y, x + wide - inset, y + 0.012, dark, far=0.1)
    brush.rect(extent.left, 0.70, extent.right, 0.76, (176, 178, 182))
    tree_row(brush, rng, 0.715, 0.11, scene.season, count=12)
    road(brush, scene, 0.745)


def palace(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, snow = brush.extent, scene.season == Season.WINTER
    ridge(brush, rng, 0.5, 0.3, SLOPE[scene.season], far=0.7)
    tree_row(brush, rng, 0.53, 0.17, scene.season, count=14, far=0.3)
    for share in (0.05, 0.95):  # low galleries close the court
        x = extent.at(share)
        hall(brush, x, 0.6, 0.5, 0.09, snow=snow, bays=8, far=0.1)
        tiled_roof(brush, x, 0.52, 0.56, 0.07, TILE, snow=snow, far=0.1)
    court = mix((206, 198, 182), (214, 190, 156), rng.uniform())
    ground(brush, 0.595, court)
    centre = extent.at(0.5) + rng.uniform(-0.12, 0.12)
    for k in range(-9, 10):
        brush.line([(centre + k * 0.1, 0.7), (centre + k * 0.32, 1.3)], mix(court, (0, 0, 0), 0.2), 0.004)
    for y in (0.735, 0.79, 0.87, 0.98, 1.12):
        brush.line([(extent.left, y), (extent.right, y)], mix(court, (0, 0, 0), 0.2), 0.004)
    snow_patches(brush, scene, rng, 0.72, 1.2)
    size = rng.uniform(0.92, 1.1)
    for y, half in ((0.70, 0.66), (0.645, 0.58)):  # two stone terraces
        brush.rect(centre - half * size, y - 0.05, centre + half * size, y + 0.01, STONE)
        brush.rect(centre - half * size, y - 0.052, centre + half * size, y - 0.04, mix(STONE, (255, 255, 255), 0.5))
    for k in range(5):
        y = 0.60 + k * 0.022
        brush.rect(centre - 0.1, y, centre + 0.1, y + 0.012, mix(STONE, (255, 255, 255), 0.35))
    hall(brush, centre, 0.60, 0.46 * size, 0.17, snow=snow, bays=7)
    tiled_roof(brush, centre, 0.445, 0.60 * size, 0.13, TILE, snow=snow)
    hall(brush, centre, 0.335, 0.32 * size, 0.08, snow=snow, bays=5)
    tiled_roof(brush, centre, 0.27, 0.47 * size, 0.15, TILE, snow=snow)
    brush.glow(centre, 0.5, 0.5, LAMPLIGHT)


def temple(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, snow = brush.extent, scene.season == Season.WINTER
    ridge(brush, rng, 0.55, 0.48, SLOPE[scene.season], far=0.45)
    tree_row(brush, rng, 0.55, 0.24, scene.season, count=12, far=0.2)
    ground(brush, 0.58, (214, 190, 148))
    snow_patches(brush, scene, rng, 0.62, 1.2)
    side = 1 if scene.landmark_at < 0.5 else -1  # the pagoda stands free on the other side
    centre = extent.at(0.5) - side * 0.24
    brush.rect(centre - 0.46, 0.6, centre + 0.46, 0.66, STONE)
    hall(brush, centre, 0.6, 0.38, 0.16, snow=snow, bays=3)
    tiled_roof(brush, centre, 0.45, 0.54, 0.17, (66, 88, 92), snow=snow)
    x, floor, tiers = extent.at(0.5) + side * 0.47, 0.75, int(rng.choice([3, 5]))
    stone = (226, 220, 208)
    brush.rect(x - 0.13, floor - 0.04, x + 0.13, floor, stone)
    brush.rect(x - 0.10, floor - 0.09, x + 0.10, floor - 0.04, mix(stone, (0, 0, 0), 0.12))
    y, half, rise = floor - 0.09, 0.14, 0.36 / tiers
    for _ in range(tiers):  # each storey is smaller
        brush.rect(x - 0.6 * half, y - 0.62 * rise, x + 0.6 * half, y, mix(stone, (0, 0, 0), 0.14))
        brush.polygon(
            [
                (x - half, y - 0.72 * rise),
                (x - 0.7 * half, y - rise),
                (x + 0.7 * half, y - rise),
                (x + half, y - 0.72 * rise),
                (x + 0.9 * half, y - 0.58 * rise),
                (x - 0.9 * half, y - 0.58 * rise),
            ],
            SNOW if snow else stone,
        )
        y, half = y - rise, half * 0.84
    brush.line([(x, y), (x, y - 0.07)], mix(stone, (0, 0, 0), 0.3), 0.014)
    brush.glow(centre, 0.52, 0.4, LAMPLIGHT)


def hanok(brush: Brush, scene: Scene, rng: np.random.Generator) -> None:
    extent, snow = brush.extent, scene.season == Season.WINTER
    ridge(brush, rng, 0.34, 0.2, SLOPE[scene.season], far=0.65)
    ground(brush, 0.3, (176, 160, 132))
    night = brush.light.is_night
    for row, (eaves, half, height) in enumerate(((0.32, 0.22, 0.09), (0.43, 0.3, 0.12), (0.59, 0.42, 0.17))):
        count = round((extent.right - extent.left) / (2.1 * half)) + 1
        shift = rng.uniform(-0.5, 0.5)
        far = 0.3 - 0.15 * row
        for k in range(count + 1):
            x = extent.left + (k + shift) * 2.1 * half
            if rng.uniform() < 0.4:
                tree(brush, rng, x + 1.05 * half, eaves + 0.03, 0.5 * half + 0.06, scene.season, far=far)
            low = eaves + 0.62 * height
            brush.rect(x - 0.8 * half, eaves - 0.02, x + 0.8 * half, low, (240, 232, 214), far=far)
            for share in (-0.8, -0.4, 0.0, 0.4, 0.76):
                brush.rect(x + share * half, eaves - 0.02, x + (share + 0.05) * half, low, TRUNK, far=far)
            for share in (-0.62, -0.18, 0.22, 0.56):
                brush.rect(
                    x + share * half,
                    eaves + 0.2 * height,
                    x + (share + 0.17) * half,
                    low - 0.1 * height,
                    LAMPLIGHT if night else (196, 170, 130),
                    far=far,
                    own=0.85 if night else 0.0,
                )
            tiled_roof(brush, x, eaves, half, height, mix(TILE, (104, 108, 114), rng.uniform()), snow=snow, far=far)
    brush.rect(extent.left, 0.69, extent.right, 0.775, (164, 148, 126))  # stone wall
    for u, v in rng.uniform(0, 1, (70, 2)):
        brush.ellipse(extent.at(u), 0.705 + 0.06 * v, 0.022, 0.011, mix((120, 110, 98), (206, 196, 176), rng.uniform()))
    brush.rect(extent.left, 0.675, extent.right, 0.697, SNOW if snow else TILE)
    brush.rect(extent.left, 0.775, extent.right, 1.3, (196, 178, 150))
    snow_patches(brush, scene, rng, 0.80, 1.2)


BUILT_PAINTERS: dict[Place, Painter] = {
    Place.STREET: Painter(0.6, street),
    Place.APARTMENTS: Painter(0.55, apartments),
    Place.TOWERS: Painter(0.62, towers),
    Place.HANOK: Painter(0.34, hanok),
    Place.PALACE: Painter(0.5, palace),
    Place.TEMPLE: Painter(0.5, temple),
}
