"""The things that move: where each one is at a time, and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .scene_attributes import Colour, Direction, Place, Thing, Time
from .scene_brush import RGB, Brush, Extent, mix

if TYPE_CHECKING:
    from .scenes import Scene

PAINT: dict[Colour, RGB] = {
    Colour.RED: (224, 30, 36),
    Colour.BLUE: (28, 84, 220),
    Colour.YELLOW: (252, 212, 20),
    Colour.GREEN: (20, 160, 70),
    Colour.WHITE: (252, 252, 252),
    Colour.GREY: (112, 118, 128),
    Colour.PINK: (255, 128, 178),
    Colour.PURPLE: (140, 60, 190),
    Colour.ORANGE: (255, 128, 20),
    Colour.BLACK: (24, 24, 28),
}
SKIN: RGB = (240, 200, 170)
DARK: RGB = (38, 38, 44)
OWN = 0.6  # share of its own colour that a mover keeps in any light


@dataclass(frozen=True)
class Mover:
    """One moving thing.

    Attributes:
        middle: Where its way is centred, as a share of the view's width.
        reach: How far it comes during the clip, as a share of the view's width.
        phase: Makes two of the same kind differ, 0 to 1.
    """

    thing: Thing
    colour: Colour | None
    direction: Direction | None
    middle: float
    reach: float
    phase: float


def mover_x(mover: Mover, view: Extent, progress: float) -> float:
    """Return the world x of a mover at a share of the clip."""
    sign = {Direction.LEFT: -1.0, Direction.RIGHT: 1.0, None: 0.0}[mover.direction]
    return view.at(mover.middle + sign * mover.reach * (progress - 0.5))


def _sign(mover: Mover) -> int:
    return -1 if mover.direction == Direction.LEFT else 1


def _cloud(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    shade = mix(colour, (120, 128, 150), 0.28)
    for k, (dx, y, size) in enumerate(((-0.62, 0.13, 0.8), (0.0, 0.2, 1.15), (0.66, 0.09, 0.9))):
        left, y = x + dx, y + 0.05 * math.sin(9 * mover.phase + k)
        puffs = ((-0.17, 0.012, 0.1, 0.05), (0.17, 0.012, 0.11, 0.05), (-0.06, -0.03, 0.11, 0.07), (0.07, -0.018, 0.11, 0.065))
        for px, py, rx, ry in puffs:
            brush.ellipse(left + px * size, y + (py + 0.016) * size, rx * size, ry * size, shade, own=OWN)
        for px, py, rx, ry in puffs:
            brush.ellipse(left + px * size, y + py * size, rx * size, ry * 0.86 * size, colour, own=OWN)


def _birds(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign = _sign(mover)
    for k, (dx, dy) in enumerate(((0, 0), (-0.14, 0.05), (-0.13, -0.06), (-0.29, 0.1), (-0.28, -0.02))):
        bx, by = x + sign * dx, 0.2 + 0.06 * mover.phase + dy
        lift = 0.035 * math.sin(9 * t + k * 1.7)
        brush.line([(bx - 0.055, by - lift), (bx, by), (bx + 0.055, by - lift)], colour, 0.014, own=0.8)
        brush.ellipse(bx + sign * 0.012, by, 0.026, 0.012, colour, own=0.8)


def _waves(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    extent = brush.extent
    xs = np.linspace(extent.left, extent.right, 28)
    for k in range(4):
        run = (t * 0.32 + k / 4 + mover.phase) % 1.0  # 0 out at sea, 1 on the sand
        y = 0.50 + 0.215 * run**0.8
        bend = 0.012 * np.sin(xs * 5 + k * 2 + t) + 0.008 * np.sin(xs * 11 + k)
        thick = 0.004 + 0.02 * run * (1.4 - run)
        upper = list(zip(xs.tolist(), (y + bend).tolist(), strict=True))
        lower = list(zip(xs.tolist(), (y + bend + thick * (1 + 0.5 * np.sin(xs * 9 + k))).tolist(), strict=True))
        brush.polygon([*upper, *reversed(lower)], colour, own=0.7)


def _ship(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = _sign(mover), 0.60 + 0.006 * math.sin(3 * t)
    hull = [(-0.17, -0.045), (0.19, -0.055), (0.13, 0.015), (-0.14, 0.015)]
    brush.polygon([(x + sign * a, y + b) for a, b in hull], colour, own=OWN)
    brush.line([(x - sign * 0.17, y - 0.045), (x + sign * 0.19, y - 0.055)], (250, 250, 250), 0.01, own=OWN)
    brush.rect(x - 0.09, y - 0.1, x + 0.05, y - 0.048, (246, 246, 240), own=OWN)
    for k in range(3):
        brush.rect(x - 0.075 + 0.04 * k, y - 0.088, x - 0.05 + 0.04 * k, y - 0.068, (70, 110, 150), own=OWN)
    brush.rect(x - 0.05, y - 0.14, x - 0.015, y - 0.1, colour, own=OWN)
    brush.line([(x - sign * 0.3, y + 0.02), (x + sign * 0.16, y + 0.018)], (235, 245, 250), 0.008, own=0.4)


def _ducks(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign = _sign(mover)
    for dx, y in ((0.0, 0.66), (-0.22, 0.68)):
        bx = x + sign * dx
        brush.ellipse(bx, y, 0.065, 0.028, colour, own=OWN)
        brush.polygon([(bx - sign * 0.05, y - 0.01), (bx - sign * 0.095, y - 0.03), (bx - sign * 0.04, y + 0.015)], colour, own=OWN)
        brush.ellipse(bx + sign * 0.052, y - 0.04, 0.023, 0.023, colour, own=OWN)
        brush.polygon([(bx + sign * 0.068, y - 0.048), (bx + sign * 0.1, y - 0.036), (bx + sign * 0.068, y - 0.028)], (255, 150, 30), own=OWN)
        brush.line([(bx - 0.09, y + 0.03), (bx + 0.09, y + 0.03)], (220, 236, 240), 0.006, own=0.3)


def _figure(brush: Brush, colour: RGB, x: float, foot: float, t: float, sign: int) -> None:
    swing = 0.03 * math.sin(7 * t)
    for step in (swing, -swing):
        brush.line([(x, foot - 0.12), (x + step, foot)], DARK, 0.022, own=0.4)
    brush.polygon([(x - 0.036, foot - 0.23), (x + 0.036, foot - 0.23), (x + 0.052, foot - 0.1), (x - 0.052, foot - 0.1)], colour, own=OWN)
    brush.line([(x, foot - 0.21), (x + sign * 0.03 + 1.2 * swing, foot - 0.13)], mix(colour, (0, 0, 0), 0.25), 0.016, own=OWN)
    brush.ellipse(x, foot - 0.26, 0.03, 0.033, SKIN, own=0.5)
    brush.ellipse(x - sign * 0.006, foot - 0.273, 0.03, 0.022, DARK, own=0.4)


def _person(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    _figure(brush, colour, x, 0.835, t + mover.phase, _sign(mover))


def _umbrella(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    _figure(brush, (92, 98, 112), x, 0.835, t + mover.phase, _sign(mover))
    brush.line([(x + 0.02, 0.66), (x + 0.02, 0.52)], DARK, 0.008)
    dome = [(x + 0.02 + 0.13 * math.cos(a), 0.575 - 0.095 * math.sin(a)) for a in np.linspace(0, math.pi, 12)]
    brush.polygon(dome, colour, own=OWN)


def _cyclist(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = _sign(mover), 0.835
    for dx in (-0.085, 0.085):
        brush.ellipse(x + dx, y - 0.055, 0.056, 0.056, DARK, own=0.4)
        brush.ellipse(x + dx, y - 0.055, 0.038, 0.038, (170, 172, 176), own=0.3)
    brush.line([(x - sign * 0.085, y - 0.055), (x - sign * 0.02, y - 0.13), (x + sign * 0.07, y - 0.13), (x + sign * 0.085, y - 0.055)], (225, 225, 228), 0.012, own=OWN)
    knee = 0.02 * math.sin(8 * t)
    brush.line([(x - sign * 0.03, y - 0.15), (x + sign * 0.03, y - 0.09 + knee), (x, y - 0.035)], DARK, 0.02, own=0.4)
    brush.polygon([(x - sign * 0.06, y - 0.15), (x - sign * 0.005, y - 0.27), (x + sign * 0.045, y - 0.25), (x + sign * 0.005, y - 0.14)], colour, own=OWN)
    brush.line([(x + sign * 0.025, y - 0.24), (x + sign * 0.085, y - 0.165)], colour, 0.018, own=OWN)
    brush.ellipse(x + sign * 0.04, y - 0.3, 0.028, 0.032, SKIN, own=0.5)
    brush.ellipse(x + sign * 0.034, y - 0.315, 0.029, 0.022, DARK, own=0.4)


def _wheels(brush: Brush, x: float, y: float, offsets: tuple[float, ...], radius: float) -> None:
    for dx in offsets:
        brush.ellipse(x + dx, y - radius, radius, radius, DARK)
        brush.ellipse(x + dx, y - radius, radius * 0.45, radius * 0.45, (190, 190, 194))


def _car(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = _sign(mover), 0.855
    body = [(-0.2, -0.03), (-0.2, -0.085), (-0.13, -0.1), (-0.08, -0.155), (0.06, -0.155), (0.11, -0.1), (0.19, -0.082), (0.2, -0.03)]
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
    sign, y = _sign(mover), 0.86
    brush.rect(x - 0.34, y - 0.25, x + 0.34, y - 0.025, colour, own=OWN)
    brush.rect(x - 0.34, y - 0.262, x + 0.34, y - 0.245, mix(colour, (255, 255, 255), 0.4), own=OWN)
    for k in range(5):
        left = x - 0.3 + k * 0.122
        brush.rect(left, y - 0.215, left + 0.1, y - 0.125, (255, 236, 180) if brush.light.is_night else (84, 112, 134), own=0.6)
    brush.rect(x - 0.34, y - 0.095, x + 0.34, y - 0.075, (250, 250, 250), own=OWN)
    _wheels(brush, x, y, (-0.21, 0.21), 0.042)
    _lights(brush, x, y - 0.06, 0.33, sign)


def _tractor(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = _sign(mover), 0.855
    brush.polygon([(x + sign * a, y + b) for a, b in ((-0.13, -0.06), (-0.13, -0.14), (0.15, -0.14), (0.16, -0.06))], colour, own=OWN)
    brush.polygon([(x + sign * a, y + b) for a, b in ((-0.12, -0.14), (-0.11, -0.25), (0.01, -0.25), (0.03, -0.14))], (110, 140, 160))
    brush.rect(x - 0.13 if sign > 0 else x - 0.03, y - 0.265, x + 0.03 if sign > 0 else x + 0.13, y - 0.245, colour, own=OWN)
    brush.line([(x + sign * 0.11, y - 0.14), (x + sign * 0.11, y - 0.22)], DARK, 0.014)
    _wheels(brush, x, y, (-sign * 0.08,), 0.075)
    _wheels(brush, x, y, (sign * 0.11,), 0.048)


def _cable_car(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    extent, y = brush.extent, 0.36
    brush.line([(extent.left - 0.1, y - 0.1), (extent.right + 0.1, y - 0.1)], (60, 62, 70), 0.008)
    brush.line([(x, y - 0.1), (x, y)], (60, 62, 70), 0.01)
    brush.polygon([(x - 0.1, y), (x + 0.1, y), (x + 0.115, y + 0.06), (x + 0.09, y + 0.13), (x - 0.09, y + 0.13), (x - 0.115, y + 0.06)], colour, own=OWN)
    for dx in (-0.085, -0.025, 0.035):
        brush.rect(x + dx, y + 0.02, x + dx + 0.05, y + 0.07, (90, 126, 150) if not brush.light.is_night else (255, 230, 170), own=0.6)


def _balloon(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    y = 0.3 + 0.1 * mover.phase + 0.015 * math.sin(1.5 * t)
    brush.polygon([(x - 0.11, y + 0.06), (x + 0.11, y + 0.06), (x + 0.03, y + 0.17), (x - 0.03, y + 0.17)], colour, own=OWN)
    brush.ellipse(x, y, 0.135, 0.145, colour, own=OWN)
    brush.ellipse(x, y, 0.06, 0.145, mix(colour, (255, 255, 255), 0.55), own=OWN)
    for dx in (-0.025, 0.025):
        brush.line([(x + dx, y + 0.16), (x + dx, y + 0.2)], (90, 70, 50), 0.005)
    brush.rect(x - 0.032, y + 0.195, x + 0.032, y + 0.24, (140, 96, 56))


def _plane(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign, y = _sign(mover), 0.2 + 0.1 * mover.phase
    brush.polygon([(x + sign * a, y + b) for a, b in ((-0.19, -0.015), (-0.24, -0.09), (-0.2, -0.09), (-0.13, -0.022))], (40, 96, 190), own=OWN)
    brush.polygon([(x + sign * a, y + b) for a, b in ((-0.21, 0), (-0.18, -0.025), (0.16, -0.028), (0.22, 0.004), (0.16, 0.026), (-0.12, 0.026))], colour, own=0.8)
    brush.polygon([(x + sign * a, y + b) for a, b in ((0.04, 0.005), (-0.1, 0.085), (-0.05, 0.085), (0.1, 0.01))], mix(colour, (90, 100, 120), 0.35), own=OWN)
    brush.line([(x - sign * 0.12, y - 0.006), (x + sign * 0.15, y - 0.006)], (70, 90, 120), 0.008)


def _kite(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    x, y = x + 0.08 * math.sin(1.6 * t + 6 * mover.phase), 0.22 + 0.045 * math.cos(2.1 * t)
    brush.line([(x, y), (x + 0.25, 0.95)], (230, 230, 230), 0.004)
    brush.polygon([(x - 0.08, y - 0.1), (x + 0.08, y - 0.1), (x + 0.08, y + 0.1), (x - 0.08, y + 0.1)], colour, own=0.75)
    brush.ellipse(x, y, 0.035, 0.035, (255, 255, 255), own=OWN)
    tail = [(x - 0.02 * math.sin(5 * t + k), y + 0.1 + 0.04 * k) for k in range(5)]
    brush.line(tail, mix(colour, (255, 255, 255), 0.3), 0.014, own=OWN)


def _flag(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    for dx in (-0.34, 0.34):
        pole = x + dx
        brush.line([(pole, 0.84), (pole, 0.42)], (84, 60, 44), 0.014)
        top = [(pole + 0.034 * k, 0.43 + 0.016 * math.sin(7 * t - k) * k / 3) for k in range(6)]
        brush.polygon([*top, *((px, py + 0.15) for px, py in reversed(top))], colour, own=OWN)


def _lanterns(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    extent = brush.extent
    count = round((extent.right - extent.left) / 0.19)
    sway = 0.028 * math.sin(3 * t + 6 * mover.phase)
    brush.line([(extent.left - 0.1, 0.33), (extent.right + 0.1, 0.33)], (60, 50, 44), 0.006)
    for k in range(count + 1):
        lx = round(extent.left / 0.19) * 0.19 + k * 0.19 + sway
        brush.line([(lx - sway, 0.33), (lx, 0.36)], (60, 50, 44), 0.005)
        brush.ellipse(lx, 0.39, 0.046, 0.04, colour, own=0.85)
        brush.rect(lx - 0.018, 0.428, lx + 0.018, 0.45, mix(colour, (255, 255, 255), 0.4), own=0.85)


def _falling(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    extent = brush.extent
    wide, high = extent.right - extent.left, extent.bottom - extent.top
    for k in range(26):
        u, v = (k * 0.618 + mover.phase) % 1.0, (k * 0.381 + mover.phase + t * (0.16 + 0.04 * (k % 3))) % 1.0
        px = extent.left + wide * ((u + 0.04 * math.sin(3 * t + k)) % 1.0)
        turn = 0.5 + 0.5 * abs(math.sin(4 * t + k))
        brush.ellipse(px, extent.top + high * v, 0.019 * high * turn + 0.004, 0.015 * high, colour, own=0.7)


def _butterfly(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    for k, (dx, y) in enumerate(((-0.2, 0.62), (0.22, 0.54))):
        bx, by = x + dx + 0.09 * math.sin(2 * t + k * 2 + 6 * mover.phase), y + 0.06 * math.cos(3 * t + k)
        wing = 0.016 + 0.034 * abs(math.sin(10 * t + k))
        for side in (-1, 1):
            brush.ellipse(bx + side * wing, by - 0.016, wing, 0.034, colour, own=0.8)
            brush.ellipse(bx + side * wing * 0.8, by + 0.02, wing * 0.75, 0.022, mix(colour, (0, 0, 0), 0.15), own=0.8)
        brush.line([(bx, by - 0.03), (bx, by + 0.035)], DARK, 0.01)


def _smoke(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    for k in range(9):
        run = (k / 9 + t * 0.18) % 1.0
        brush.ellipse(x + 0.16 * run + 0.03 * math.sin(6 * run + t), 0.46 - 0.36 * run, 0.022 + 0.06 * run, 0.02 + 0.045 * run, mix(colour, (190, 192, 198), 0.5 * run), own=OWN)


def _fountain(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    brush.ellipse(x, 0.665, 0.24, 0.05, (150, 146, 140))
    brush.ellipse(x, 0.66, 0.215, 0.038, (90, 170, 210))
    height = 0.25 + 0.03 * math.sin(4 * t)
    for k in range(-3, 4):
        points = [(x + 0.055 * k * s, 0.655 - 4 * height * (1 - 0.08 * abs(k)) * s * (1 - s)) for s in np.linspace(0, 1, 9)]
        brush.line(points, colour, 0.016, own=0.75)
        drop = (t * 1.3 + 0.17 * k) % 1.0
        brush.ellipse(x + 0.055 * k * drop, 0.655 - 4 * height * 0.9 * drop * (1 - drop), 0.016, 0.02, (210, 236, 250), own=0.75)


_DRAWERS: dict[Thing, Callable[[Brush, Mover, RGB, float, float], None]] = {
    Thing.WAVES: _waves,
    Thing.CLOUDS: _cloud,
    Thing.BIRDS: _birds,
    Thing.SHIP: _ship,
    Thing.DUCKS: _ducks,
    Thing.PERSON: _person,
    Thing.UMBRELLA: _umbrella,
    Thing.CYCLIST: _cyclist,
    Thing.CAR: _car,
    Thing.BUS: _bus,
    Thing.TRACTOR: _tractor,
    Thing.CABLE_CAR: _cable_car,
    Thing.BALLOON: _balloon,
    Thing.PLANE: _plane,
    Thing.KITE: _kite,
    Thing.FLAG: _flag,
    Thing.LANTERNS: _lanterns,
    Thing.PETALS: _falling,
    Thing.LEAVES: _falling,
    Thing.BUTTERFLY: _butterfly,
    Thing.SMOKE: _smoke,
    Thing.FOUNTAIN: _fountain,
}


def draw_mover(brush: Brush, mover: Mover, scene: Scene, view: Extent, t: float) -> None:
    """Draw a mover where it is at `t` seconds while the camera sees `view`."""
    colour = PAINT[mover.colour]
    _DRAWERS[mover.thing](brush, mover, colour, mover_x(mover, view, t / scene.duration_s), t)
