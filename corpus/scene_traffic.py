"""Draw people and vehicles, on the ground, on water and in the air."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import RGB, Brush, mix
from .scene_values import Direction, Thing

if TYPE_CHECKING:
    from .scene_movers import Mover

Drawer = Callable[[Brush, "Mover", RGB, float, float], None]  # brush, mover, its colour, world x, seconds
OWN = 0.6  # share of its own colour that a mover keeps in any light
SKIN: RGB = (240, 200, 170)
DARK: RGB = (38, 38, 44)


def sign_of(mover: Mover) -> int:
    """Return -1 for a mover that goes left, 1 otherwise."""
    return -1 if mover.direction == Direction.LEFT else 1


def _ship(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.63 + 0.006 * math.sin(3 * t)
    hull = [(-0.17, -0.045), (0.19, -0.055), (0.13, 0.015), (-0.14, 0.015)]
    brush.polygon([(x + sign * a, y + b) for a, b in hull], colour, own=OWN)
    brush.line([(x - sign * 0.17, y - 0.045), (x + sign * 0.19, y - 0.055)], (250, 250, 250), 0.01, own=OWN)
    brush.rect(x - 0.09, y - 0.1, x + 0.05, y - 0.048, (246, 246, 240), own=OWN)
    for k in range(3):
        brush.rect(x - 0.075 + 0.04 * k, y - 0.088, x - 0.05 + 0.04 * k, y - 0.068, (70, 110, 150), own=OWN)
    brush.rect(x - 0.05, y - 0.14, x - 0.015, y - 0.1, colour, own=OWN)
    brush.line([(x - sign * 0.3, y + 0.02), (x + sign * 0.16, y + 0.018)], (235, 245, 250), 0.008, own=0.4)


def _figure(brush: Brush, colour: RGB, x: float, foot: float, t: float, sign: int) -> None:
    swing = 0.03 * math.sin(7 * t)
    for step in (swing, -swing):
        brush.line([(x, foot - 0.12), (x + step, foot)], DARK, 0.022, own=0.4)
    brush.polygon(
        [(x - 0.036, foot - 0.23), (x + 0.036, foot - 0.23), (x + 0.052, foot - 0.1), (x - 0.052, foot - 0.1)],
        colour,
        own=OWN,
    )
    brush.line(
        [(x, foot - 0.21), (x + sign * 0.03 + 1.2 * swing, foot - 0.13)], mix(colour, (0, 0, 0), 0.25), 0.016, own=OWN
    )
    brush.ellipse(x, foot - 0.26, 0.03, 0.033, SKIN, own=0.5)
    brush.ellipse(x - sign * 0.006, foot - 0.273, 0.03, 0.022, DARK, own=0.4)


def _person(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    _figure(brush, colour, x, 0.835, t + mover.phase, sign_of(mover))


def _umbrella(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    _figure(brush, (92, 98, 112), x, 0.835, t + mover.phase, sign_of(mover))
    brush.line([(x + 0.02, 0.66), (x + 0.02, 0.52)], DARK, 0.008)
    dome = [(x + 0.02 + 0.13 * math.cos(a), 0.575 - 0.095 * math.sin(a)) for a in np.linspace(0, math.pi, 12)]
    brush.polygon(dome, colour, own=OWN)


def _cyclist(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.835
    for dx in (-0.085, 0.085):
        brush.ellipse(x + dx, y - 0.055, 0.056, 0.056, DARK, own=0.4)
        brush.ellipse(x + dx, y - 0.055, 0.038, 0.038, (170, 172, 176), own=0.3)
    brush.line(
        [
            (x - sign * 0.085, y - 0.055),
            (x - sign * 0.02, y - 0.13),
            (x + sign * 0.07, y - 0.13),
            (x + sign * 0.085, y - 0.055),
        ],
        (225, 225, 228),
        0.012,
        own=OWN,
    )
    knee = 0.02 * math.sin(8 * t)
    brush.line([(x - sign * 0.03, y - 0.15), (x + sign * 0.03, y - 0.09 + knee), (x, y - 0.035)], DARK, 0.02, own=0.4)
    brush.polygon(
        [
            (x - sign * 0.06, y - 0.15),
            (x - sign * 0.005, y - 0.27),
            (x + sign * 0.045, y - 0.25),
            (x + sign * 0.005, y - 0.14),
        ],
        colour,
        own=OWN,
    )
    brush.line([(x + sign * 0.025, y - 0.24), (x + sign * 0.085, y - 0.165)], colour, 0.018, own=OWN)
    brush.ellipse(x + sign * 0.04, y - 0.3, 0.028, 0.032, SKIN, own=0.5)
    brush.ellipse(x + sign * 0.034, y - 0.315, 0.029, 0.022, DARK, own=0.4)


def _wheels(brush: Brush, x: float, y: float, offsets: tuple[float, ...], radius: float) -> None:
    for dx in offsets:
        brush.ellipse(x + dx, y - radius, radius, radius, DARK)
        brush.ellipse(x + dx, y - radius, radius * 0.45, radius * 0.45, (190, 190, 194))


def _car(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.855
    body = [
        (-0.2, -0.03),
        (-0.2, -0.085),
        (-0.13, -0.1),
        (-0.08, -0.155),
        (0.06, -0.155),
        (0.11, -0.1),
        (0.19, -0.082),
        (0.2, -0.03),
    ]
    brush.polygon([(x + sign * a, y + b) for a, b in body], colour, own=OWN)
    glass = [(-0.1, -0.102), (-0.065, -0.143), (0.05, -0.143), (0.085, -0.102)]
    brush.polygon([(x + sign * a, y + b) for a, b in glass], (70, 92, 112))
    brush.rect(x - 0.012, y - 0.145, x + 0.002, y - 0.1, colour, own=OWN)
    _wheels(brush, x, y, (-0.12, 0.12), 0.034)
    _lights(brush, x, y - 0.07, 0.195, sign)


def _lights(brush: Brush, x: float, y: float, half: float, sign: int) -> None:
    lit = 1.0 if brush.light.is_night else 0.5
    brush.ellipse(x + sign * half, y, 0.014, 0.014, (255, 246, 190), own=lit)
    brush.ellipse(x - sign * half, y, 0.012, 0.014, (230, 30, 30), own=lit)


def _bus(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.86
    brush.rect(x - 0.34, y - 0.25, x + 0.34, y - 0.025, colour, own=OWN)
    brush.rect(x - 0.34, y - 0.262, x + 0.34, y - 0.245, mix(colour, (255, 255, 255), 0.4), own=OWN)
    for k in range(5):
        left = x - 0.3 + k * 0.122
        brush.rect(
            left, y - 0.215, left + 0.1, y - 0.125, (255, 236, 180) if brush.light.is_night else (84, 112, 134), own=0.6
        )
    brush.rect(x - 0.34, y - 0.095, x + 0.34, y - 0.075, (250, 250, 250), own=OWN)
    _wheels(brush, x, y, (-0.21, 0.21), 0.042)
    _lights(brush, x, y - 0.06, 0.33, sign)


def _tractor(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.855
    brush.polygon(
        [(x + sign * a, y + b) for a, b in ((-0.13, -0.06), (-0.13, -0.14), (0.15, -0.14), (0.16, -0.06))],
        colour,
        own=OWN,
    )
    brush.polygon(
        [(x + sign * a, y + b) for a, b in ((-0.12, -0.14), (-0.11, -0.25), (0.01, -0.25), (0.03, -0.14))],
        (110, 140, 160),
    )
    brush.rect(
        x - 0.13 if sign > 0 else x - 0.03, y - 0.265, x + 0.03 if sign > 0 else x + 0.13, y - 0.245, colour, own=OWN
    )
    brush.line([(x + sign * 0.11, y - 0.14), (x + sign * 0.11, y - 0.22)], DARK, 0.014)
    _wheels(brush, x, y, (-sign * 0.08,), 0.075)
    _wheels(brush, x, y, (sign * 0.11,), 0.048)


def _cable_car(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    extent, y = brush.extent, 0.36
    brush.line([(extent.left - 0.1, y - 0.1), (extent.right + 0.1, y - 0.1)], (60, 62, 70), 0.008)
    brush.line([(x, y - 0.1), (x, y)], (60, 62, 70), 0.01)
    brush.polygon(
        [
            (x - 0.1, y),
            (x + 0.1, y),
            (x + 0.115, y + 0.06),
            (x + 0.09, y + 0.13),
            (x - 0.09, y + 0.13),
            (x - 0.115, y + 0.06),
        ],
        colour,
        own=OWN,
    )
    for dx in (-0.085, -0.025, 0.035):
        brush.rect(
            x + dx,
            y + 0.02,
            x + dx + 0.05,
            y + 0.07,
            (90, 126, 150) if not brush.light.is_night else (255, 230, 170),
            own=0.6,
        )


def _balloon(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    y = 0.3 + 0.1 * mover.phase + 0.015 * math.sin(1.5 * t)
    brush.polygon(
        [(x - 0.11, y + 0.06), (x + 0.11, y + 0.06), (x + 0.03, y + 0.17), (x - 0.03, y + 0.17)], colour, own=OWN
    )
    brush.ellipse(x, y, 0.135, 0.145, colour, own=OWN)
    brush.ellipse(x, y, 0.06, 0.145, mix(colour, (255, 255, 255), 0.55), own=OWN)
    for dx in (-0.025, 0.025):
        brush.line([(x + dx, y + 0.16), (x + dx, y + 0.2)], (90, 70, 50), 0.005)
    brush.rect(x - 0.032, y + 0.195, x + 0.032, y + 0.24, (140, 96, 56))


def _plane(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.2 + 0.1 * mover.phase
    brush.polygon(
        [(x + sign * a, y + b) for a, b in ((-0.19, -0.015), (-0.24, -0.09), (-0.2, -0.09), (-0.13, -0.022))],
        (40, 96, 190),
        own=OWN,
    )
    brush.polygon(
        [
            (x + sign * a, y + b)
            for a, b in ((-0.21, 0), (-0.18, -0.025), (0.16, -0.028), (0.22, 0.004), (0.16, 0.026), (-0.12, 0.026))
        ],
        colour,
        own=0.8,
    )
    brush.polygon(
        [(x + sign * a, y + b) for a, b in ((0.04, 0.005), (-0.1, 0.085), (-0.05, 0.085), (0.1, 0.01))],
        mix(colour, (90, 100, 120), 0.35),
        own=OWN,
    )
    brush.line([(x - sign * 0.12, y - 0.006), (x + sign * 0.15, y - 0.006)], (70, 90, 120), 0.008)


def _train(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.4  # on the deck of a bridge
    glass = (255, 236, 180) if brush.light.is_night else (66, 92, 116)
    for k in (-1.5, -0.5, 0.5, 1.5):
        middle = x + sign * 0.27 * k
        nose = 0.06 if k == 1.5 else 0.0  # the first car is slanted in front
        body = [(-0.13, -0.012), (-0.13, -0.105), (0.13 - nose, -0.105), (0.13, -0.05), (0.13, -0.012)]
        brush.polygon([(middle + sign * a, y + b) for a, b in body], colour, own=OWN)
        brush.rect(middle - 0.13, y - 0.036, middle + 0.13, y - 0.024, (250, 250, 250), own=OWN)
        for m in range(4 if k < 1.5 else 3):
            left = middle + sign * (-0.088 + 0.055 * m) - 0.019
            brush.rect(left, y - 0.088, left + 0.038, y - 0.052, glass, own=0.6)
        _wheels(brush, middle, y, (-0.08, 0.08), 0.014)
    brush.ellipse(x + sign * 0.53, y - 0.03, 0.01, 0.01, (255, 246, 190), own=0.9)


def _motorcycle(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.845
    _wheels(brush, x, y, (-0.105, 0.105), 0.05)
    frame = [(-0.15, -0.11), (-0.02, -0.1), (0.05, -0.14), (0.09, -0.13), (0.06, -0.05), (-0.09, -0.04)]
    brush.polygon([(x + sign * a, y + b) for a, b in frame], colour, own=OWN)
    brush.line([(x + sign * 0.105, y - 0.05), (x + sign * 0.065, y - 0.19)], (190, 192, 196), 0.016)
    box = x - sign * 0.12
    brush.rect(box - 0.05, y - 0.21, box + 0.05, y - 0.115, mix(colour, (0, 0, 0), 0.2), own=OWN)
    rider = [(-0.07, -0.1), (-0.045, -0.23), (0.01, -0.24), (0.03, -0.12)]
    brush.polygon([(x + sign * a, y + b) for a, b in rider], (70, 74, 84), own=0.4)
    brush.line([(x - sign * 0.005, y - 0.21), (x + sign * 0.075, y - 0.18)], (70, 74, 84), 0.02, own=0.4)
    brush.line([(x, y - 0.12), (x + sign * 0.05, y - 0.1), (x + sign * 0.03, y - 0.035)], DARK, 0.024, own=0.4)
    brush.ellipse(x - sign * 0.005, y - 0.275, 0.036, 0.038, colour, own=OWN)  # helmet
    brush.ellipse(x + sign * 0.016, y - 0.27, 0.017, 0.015, DARK)
    _lights(brush, x, y - 0.125, 0.1, sign)


def _handcart(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = sign_of(mover), 0.835
    _figure(brush, (96, 100, 110), x + sign * 0.19, y, t + mover.phase, sign)
    brush.line([(x + sign * 0.2, y - 0.14), (x - sign * 0.05, y - 0.1)], (110, 84, 60), 0.014)
    for dx, size in ((-0.12, 0.05), (-0.06, 0.06), (0.01, 0.046)):  # its load
        brush.ellipse(x + sign * dx, y - 0.175, size, size, (196, 168, 124))
    tray = [(-0.2, -0.165), (0.07, -0.165), (0.05, -0.075), (-0.18, -0.075)]
    brush.polygon([(x + sign * a, y + b) for a, b in tray], colour, own=OWN)
    _wheels(brush, x - sign * 0.06, y, (0.0,), 0.06)


TRAFFIC_DRAWERS: dict[Thing, Drawer] = {
    Thing.SHIP: _ship,
    Thing.PERSON: _person,
    Thing.UMBRELLA: _umbrella,
    Thing.CYCLIST: _cyclist,
    Thing.CAR: _car,
    Thing.BUS: _bus,
    Thing.TRACTOR: _tractor,
    Thing.CABLE_CAR: _cable_car,
    Thing.BALLOON: _balloon,
    Thing.PLANE: _plane,
    Thing.TRAIN: _train,
    Thing.MOTORCYCLE: _motorcycle,
    Thing.HANDCART: _handcart,
}
