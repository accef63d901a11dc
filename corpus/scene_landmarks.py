"""Paint the one thing that stands still in front: on the left or on the right of the view."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .scene_brush import Brush
from .scene_buildings import TILE, tiled_roof
from .scene_elements import LAMPLIGHT, PINE, SNOW, TRUNK
from .scene_values import Landmark, Place, Season

if TYPE_CHECKING:
    from .scenes import Scene

FOOT = 0.765  # where landmarks stand


def _lighthouse(brush: Brush, x: float, scene: Scene) -> None:
    brush.polygon([(x - 0.2, FOOT), (x - 0.12, 0.68), (x + 0.13, 0.69), (x + 0.2, FOOT)], (112, 108, 104))
    colour = (214, 40, 36) if scene.seed % 2 else (246, 246, 244)
    brush.polygon([(x - 0.06, 0.69), (x - 0.04, 0.34), (x + 0.04, 0.34), (x + 0.06, 0.69)], colour, own=0.35)
    brush.rect(x - 0.055, 0.32, x + 0.055, 0.345, (60, 60, 66))
    brush.rect(x - 0.032, 0.265, x + 0.032, 0.32, LAMPLIGHT, own=0.9)
    brush.polygon([(x - 0.045, 0.27), (x, 0.215), (x + 0.045, 0.27)], (190, 40, 36), own=0.3)
    brush.glow(x, 0.29, 0.2, LAMPLIGHT)


def _rock(brush: Brush, x: float, scene: Scene) -> None:
    brush.polygon(
        [(x - 0.24, FOOT), (x - 0.19, 0.62), (x - 0.06, 0.53), (x + 0.06, 0.57), (x + 0.2, 0.64), (x + 0.25, FOOT)],
        (112, 106, 102),
    )
    brush.polygon([(x - 0.19, 0.62), (x - 0.06, 0.53), (x + 0.06, 0.57), (x - 0.04, 0.65)], (160, 152, 144))
    brush.polygon([(x + 0.02, FOOT), (x + 0.06, 0.57), (x + 0.2, 0.64), (x + 0.25, FOOT)], (84, 80, 80))


def _pine(brush: Brush, x: float, scene: Scene) -> None:
    trunk = [(x, FOOT), (x - 0.03, 0.64), (x + 0.03, 0.52), (x - 0.01, 0.4), (x + 0.02, 0.28)]
    brush.line(trunk, (120, 74, 50), 0.03)
    for dx, y, rx in ((0.02, 0.26, 0.12), (-0.09, 0.37, 0.13), (0.11, 0.42, 0.14), (-0.08, 0.51, 0.11)):
        brush.ellipse(x + dx, y, rx, 0.042, PINE)
        brush.ellipse(x + dx, y - 0.014, rx * 0.85, 0.024, SNOW if scene.season == Season.WINTER else (62, 124, 78))


def _pavilion(brush: Brush, x: float, scene: Scene) -> None:
    brush.rect(x - 0.2, 0.72, x + 0.2, FOOT, (176, 170, 160))
    for dx in (-0.16, -0.055, 0.055, 0.16):
        brush.rect(x + dx - 0.012, 0.5, x + dx + 0.012, 0.72, (178, 58, 44))
    brush.rect(x - 0.17, 0.665, x + 0.17, 0.68, (120, 78, 50))
    brush.rect(x - 0.18, 0.49, x + 0.18, 0.52, (40, 124, 104))
    tiled_roof(brush, x, 0.49, 0.27, 0.15, TILE, snow=scene.season == Season.WINTER)


def _bench(brush: Brush, x: float, scene: Scene) -> None:
    for y in (0.63, 0.66):
        brush.rect(x - 0.17, y, x + 0.17, y + 0.018, (170, 108, 60))
    brush.rect(x - 0.18, 0.7, x + 0.18, 0.722, (186, 122, 70))
    for dx in (-0.15, 0.15):
        brush.line([(x + dx, 0.63), (x + dx, FOOT)], (56, 56, 60), 0.016)


def _lamp(brush: Brush, x: float, scene: Scene) -> None:
    brush.line([(x, FOOT), (x, 0.26), (x + 0.1, 0.24)], (64, 68, 74), 0.016)
    brush.rect(x - 0.025, 0.735, x + 0.025, FOOT, (64, 68, 74))
    brush.ellipse(x + 0.1, 0.252, 0.034, 0.02, LAMPLIGHT if brush.light.is_night else (244, 244, 236), own=0.9)
    brush.glow(x + 0.1, 0.27, 0.26, LAMPLIGHT)


def _stone_lantern(brush: Brush, x: float, scene: Scene) -> None:
    stone, shade = (206, 202, 194), (160, 156, 150)
    brush.rect(x - 0.08, 0.73, x + 0.08, FOOT, shade)
    brush.rect(x - 0.026, 0.6, x + 0.026, 0.73, stone)
    brush.rect(x - 0.07, 0.575, x + 0.07, 0.6, shade)
    brush.rect(x - 0.055, 0.5, x + 0.055, 0.575, stone)
    brush.rect(
        x - 0.025,
        0.515,
        x + 0.025,
        0.565,
        LAMPLIGHT if brush.light.is_night else (60, 56, 54),
        own=0.9 if brush.light.is_night else 0.0,
    )
    brush.polygon(
        [(x - 0.11, 0.5), (x - 0.05, 0.455), (x + 0.05, 0.455), (x + 0.11, 0.5)],
        SNOW if scene.season == Season.WINTER else stone,
    )
    brush.ellipse(x, 0.445, 0.022, 0.022, shade)
    brush.glow(x, 0.54, 0.16, LAMPLIGHT)


def _jars(brush: Brush, x: float, scene: Scene) -> None:
    for dx, y, r in (
        (-0.13, 0.7, 0.055),
        (0.0, 0.69, 0.065),
        (0.13, 0.7, 0.055),
        (-0.07, 0.745, 0.05),
        (0.07, 0.745, 0.05),
    ):
        brush.ellipse(x + dx, y, r, r * 0.95, (116, 62, 40))
        brush.ellipse(x + dx - r * 0.3, y - r * 0.2, r * 0.3, r * 0.4, (164, 96, 66))
        brush.ellipse(x + dx, y - r * 0.9, r * 0.7, r * 0.24, SNOW if scene.season == Season.WINTER else (84, 46, 32))


def _scarecrow(brush: Brush, x: float, scene: Scene) -> None:
    brush.line([(x, FOOT), (x, 0.5)], (128, 90, 56), 0.016)
    brush.line([(x - 0.15, 0.56), (x + 0.15, 0.56)], (128, 90, 56), 0.016)
    brush.polygon(
        [
            (x - 0.13, 0.535),
            (x + 0.13, 0.535),
            (x + 0.13, 0.59),
            (x + 0.06, 0.6),
            (x + 0.07, 0.7),
            (x - 0.07, 0.7),
            (x - 0.06, 0.6),
            (x - 0.13, 0.59),
        ],
        (200, 78, 62),
    )
    brush.ellipse(x, 0.49, 0.04, 0.042, (236, 214, 170))
    brush.polygon([(x - 0.09, 0.47), (x - 0.03, 0.455), (x, 0.41), (x + 0.03, 0.455), (x + 0.09, 0.47)], (206, 166, 86))


def _hut(brush: Brush, x: float, scene: Scene) -> None:
    for dx in (-0.15, 0.15):
        brush.line([(x + dx, FOOT), (x + dx, 0.48)], (120, 84, 54), 0.02)
    brush.rect(x - 0.18, 0.64, x + 0.18, 0.67, (160, 114, 72))
    brush.polygon(
        [(x - 0.25, 0.51), (x, 0.36), (x + 0.25, 0.51)], SNOW if scene.season == Season.WINTER else (196, 160, 90)
    )
    brush.line([(x - 0.25, 0.51), (x + 0.25, 0.51)], (130, 96, 54), 0.014)


def _slide(brush: Brush, x: float, scene: Scene) -> None:
    for dx in (-0.14, -0.04):
        brush.line([(x + dx, FOOT), (x + dx, 0.5)], (40, 110, 200), 0.018, own=0.3)
    brush.polygon([(x - 0.17, 0.5), (x - 0.09, 0.42), (x - 0.01, 0.5)], (220, 50, 50), own=0.3)
    brush.rect(x - 0.15, 0.59, x - 0.03, 0.61, (40, 110, 200), own=0.3)
    brush.line([(x - 0.04, 0.6), (x + 0.1, 0.73), (x + 0.2, 0.745)], (250, 200, 40), 0.036, own=0.4)


def _bus_stop(brush: Brush, x: float, scene: Scene) -> None:
    brush.rect(x - 0.19, 0.5, x + 0.19, 0.735, (168, 200, 214))
    for dx in (-0.19, 0.0, 0.19):
        brush.line([(x + dx, 0.49), (x + dx, FOOT)], (66, 72, 80), 0.012)
    brush.rect(x - 0.22, 0.465, x + 0.22, 0.5, (36, 90, 170), own=0.3)
    brush.rect(x - 0.13, 0.69, x + 0.13, 0.705, (150, 104, 66))
    brush.line([(x + 0.27, FOOT), (x + 0.27, 0.44)], (66, 72, 80), 0.012)
    brush.ellipse(x + 0.27, 0.42, 0.042, 0.042, (36, 90, 200), own=0.6)


def _signals(brush: Brush, x: float, scene: Scene) -> None:
    brush.line([(x, FOOT), (x, 0.32), (x + 0.26, 0.32)], (86, 90, 96), 0.018)
    brush.rect(x + 0.1, 0.285, x + 0.32, 0.36, (30, 32, 36))
    for k, colour in enumerate(((240, 40, 36), (250, 190, 30), (30, 200, 90))):
        brush.ellipse(x + 0.14 + 0.07 * k, 0.322, 0.026, 0.028, colour, own=0.9)


def _reeds(brush: Brush, x: float, scene: Scene) -> None:
    stem = (120, 160, 80) if scene.season in (Season.SPRING, Season.SUMMER) else (196, 166, 106)
    for k in range(13):
        foot, lean = x + (k - 6) * 0.032, 0.03 * math.sin(k * 2.4)
        top = 0.52 + 0.05 * math.sin(k * 1.9)
        brush.line([(foot, FOOT + 0.01), (foot + lean, top)], stem, 0.011)
        brush.ellipse(foot + lean, top, 0.014, 0.042, (150, 104, 62) if k % 2 else (214, 186, 140))


def _turbine(brush: Brush, x: float, scene: Scene) -> None:
    foot = 1.0 if scene.place == Place.SKY else FOOT  # the open sky has its ground lower
    brush.polygon(
        [(x - 0.016, foot), (x - 0.008, 0.26), (x + 0.008, 0.26), (x + 0.016, foot)], (240, 242, 244), own=0.3
    )
    for k in range(3):
        angle = 0.6 + scene.seed % 7 + k * 2 * math.pi / 3
        brush.line(
            [(x, 0.26), (x + 0.17 * math.cos(angle), 0.26 + 0.17 * math.sin(angle))], (246, 248, 250), 0.018, own=0.3
        )
    brush.ellipse(x, 0.26, 0.02, 0.02, (220, 222, 226))


def _signpost(brush: Brush, x: float, scene: Scene) -> None:
    brush.line([(x, FOOT), (x, 0.48)], TRUNK, 0.022)
    for y, sign in ((0.51, 1), (0.58, -1)):
        brush.polygon(
            [
                (x - sign * 0.08, y - 0.028),
                (x + sign * 0.12, y - 0.028),
                (x + sign * 0.17, y),
                (x + sign * 0.12, y + 0.028),
                (x - sign * 0.08, y + 0.028),
            ],
            (214, 164, 98),
        )
        brush.line([(x - 0.05, y), (x + 0.07, y)], (110, 72, 44), 0.01)


def _crane(brush: Brush, x: float, scene: Scene) -> None:
    orange, dark = (236, 120, 30), (70, 72, 78)
    for dx in (-0.07, 0.07):
        brush.line([(x + dx, FOOT), (x + 0.4 * dx, 0.24)], orange, 0.02)
    for k in range(5):  # lattice
        y, half = 0.72 - 0.095 * k, 0.065 - 0.008 * k
        brush.line([(x - half, y), (x + half, y - 0.09)], orange, 0.009)
        brush.line([(x - half, y), (x + half, y)], orange, 0.009)
    brush.rect(x - 0.19, 0.222, x + 0.33, 0.25, orange)
    brush.line([(x - 0.19, 0.23), (x, 0.12), (x + 0.33, 0.23)], orange, 0.014)
    brush.line([(x, 0.12), (x, 0.24)], orange, 0.016)
    brush.rect(x - 0.2, 0.235, x - 0.12, 0.3, dark)
    brush.rect(x - 0.035, 0.25, x + 0.045, 0.31, (150, 190, 210))
    brush.line([(x + 0.29, 0.25), (x + 0.29, 0.42)], dark, 0.007)
    brush.rect(x + 0.26, 0.42, x + 0.32, 0.45, dark)


def _clock(brush: Brush, x: float, scene: Scene) -> None:
    brush.rect(x - 0.1, 0.72, x + 0.1, FOOT, (150, 146, 140))
    brush.rect(x - 0.055, 0.4, x + 0.055, 0.72, (206, 188, 160))
    brush.rect(x - 0.025, 0.45, x + 0.025, 0.7, (176, 156, 128))
    brush.rect(x - 0.09, 0.24, x + 0.09, 0.41, (176, 92, 70))
    brush.polygon([(x - 0.11, 0.245), (x, 0.15), (x + 0.11, 0.245)], (60, 92, 96))
    lit = 0.9 if brush.light.is_night else 0.3
    brush.ellipse(x, 0.325, 0.068, 0.068, (60, 50, 46))
    brush.ellipse(x, 0.325, 0.058, 0.058, (255, 250, 232), own=lit)
    hour, minute = scene.seed % 12 * math.pi / 6, scene.seed % 7 * 0.9
    for angle, length, width in ((hour, 0.032, 0.012), (minute, 0.048, 0.008)):
        brush.line([(x, 0.325), (x + length * math.sin(angle), 0.325 - length * math.cos(angle))], (20, 20, 24), width)
    brush.glow(x, 0.325, 0.16, LAMPLIGHT)


def _totem(brush: Brush, x: float, scene: Scene) -> None:
    for dx, wood, hat in ((-0.09, (176, 112, 66), (60, 48, 44)), (0.09, (198, 136, 84), (150, 52, 44))):
        middle = x + dx
        trunk = [(middle - 0.05, FOOT), (middle - 0.06, 0.37), (middle + 0.06, 0.37), (middle + 0.05, FOOT)]
        brush.polygon(trunk, wood)
        brim = [(middle - 0.085, 0.385), (middle - 0.05, 0.31), (middle + 0.05, 0.31), (middle + 0.085, 0.385)]
        brush.polygon(brim, hat)
        for eye in (-0.027, 0.027):  # big eyes, a broad nose, bared teeth
            brush.ellipse(middle + eye, 0.43, 0.024, 0.024, (252, 250, 240))
            brush.ellipse(middle + eye, 0.433, 0.011, 0.011, (20, 18, 18))
        brush.polygon([(middle, 0.43), (middle - 0.022, 0.49), (middle + 0.022, 0.49)], (120, 70, 40))
        brush.rect(middle - 0.036, 0.505, middle + 0.036, 0.535, (170, 40, 36))
        brush.rect(middle - 0.03, 0.512, middle + 0.03, 0.526, (250, 246, 234))
        for k in range(4):  # the writing down its front
            y = 0.575 + 0.042 * k
            brush.line([(middle - 0.018, y), (middle + 0.018, y)], (44, 30, 24), 0.008)
            brush.line([(middle, y - 0.01), (middle, y + 0.022)], (44, 30, 24), 0.008)


def _tent(brush: Brush, x: float, scene: Scene) -> None:
    night = brush.light.is_night
    brush.rect(x - 0.21, 0.52, x + 0.21, FOOT, (255, 206, 130) if night else (150, 110, 84), own=0.7 if night else 0.0)
    for dx in (-0.12, 0.0, 0.12):  # stools in front of the counter
        brush.line([(x + dx, FOOT), (x + dx, 0.72)], (60, 60, 66), 0.012)
        brush.ellipse(x + dx, 0.715, 0.03, 0.012, (40, 90, 180))
    brush.rect(x - 0.22, 0.63, x + 0.22, 0.69, (236, 96, 34), own=0.4)
    for dx in (-0.22, 0.22):
        brush.rect(x + dx - 0.02, 0.5, x + dx + 0.02, FOOT, (226, 84, 28), own=0.4)
    roof = [(x - 0.27, 0.52), (x - 0.19, 0.42), (x + 0.19, 0.42), (x + 0.27, 0.52)]
    brush.polygon(roof, SNOW if scene.season == Season.WINTER else (244, 112, 40), own=0.4)
    for k in range(9):
        left = x - 0.27 + 0.06 * k
        brush.rect(left, 0.515, left + 0.06, 0.55, (250, 246, 236) if k % 2 else (226, 60, 40), own=0.4)
    brush.ellipse(x, 0.59, 0.02, 0.024, (255, 226, 140), own=0.9)
    brush.glow(x, 0.58, 0.3, LAMPLIGHT)


_PAINTERS: dict[Landmark, Callable[[Brush, float, Scene], None]] = {
    Landmark.LIGHTHOUSE: _lighthouse,
    Landmark.ROCK: _rock,
    Landmark.PINE: _pine,
    Landmark.PAVILION: _pavilion,
    Landmark.BENCH: _bench,
    Landmark.LAMP: _lamp,
    Landmark.STONE_LANTERN: _stone_lantern,
    Landmark.JARS: _jars,
    Landmark.SCARECROW: _scarecrow,
    Landmark.HUT: _hut,
    Landmark.SLIDE: _slide,
    Landmark.BUS_STOP: _bus_stop,
    Landmark.SIGNALS: _signals,
    Landmark.REEDS: _reeds,
    Landmark.TURBINE: _turbine,
    Landmark.SIGNPOST: _signpost,
    Landmark.CRANE: _crane,
    Landmark.CLOCK: _clock,
    Landmark.TOTEM: _totem,
    Landmark.TENT: _tent,
}


def paint_landmark(brush: Brush, scene: Scene) -> None:
    """Paint the scene's landmark, if it has one, at its side of the view."""
    if scene.landmark is not None:
        brush.least_own = 0.3
        _PAINTERS[scene.landmark](brush, brush.extent.at(scene.landmark_at), scene)
