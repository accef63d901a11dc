"""Draw what wind and water move, and animals: waves, clouds, birds, flags, leaves, smoke."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .scene_brush import ASPECT, RGB, Brush, mix
from .scene_traffic import DARK, OWN, Drawer, sign_of
from .scene_values import Thing

if TYPE_CHECKING:
    from .scene_movers import Mover


def _cloud(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    shade = mix(colour, (120, 128, 150), 0.28)
    for k, (dx, y, size) in enumerate(((-0.62, 0.13, 0.8), (0.0, 0.2, 1.15), (0.66, 0.09, 0.9))):
        left, y = x + dx, y + 0.05 * math.sin(9 * mover.phase + k)
        puffs = (
            (-0.17, 0.012, 0.1, 0.05),
            (0.17, 0.012, 0.11, 0.05),
            (-0.06, -0.03, 0.11, 0.07),
            (0.07, -0.018, 0.11, 0.065),
        )
        for px, py, rx, ry in puffs:
            brush.ellipse(left + px * size, y + (py + 0.016) * size, rx * size, ry * size, shade, own=OWN)
        for px, py, rx, ry in puffs:
            brush.ellipse(left + px * size, y + py * size, rx * size, ry * 0.86 * size, colour, own=OWN)


def _birds(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign = sign_of(mover)
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


def _ducks(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    sign = sign_of(mover)
    for dx, y in ((0.0, 0.66), (-0.22, 0.68)):
        bx = x + sign * dx
        brush.ellipse(bx, y, 0.065, 0.028, colour, own=OWN)
        brush.polygon(
            [(bx - sign * 0.05, y - 0.01), (bx - sign * 0.095, y - 0.03), (bx - sign * 0.04, y + 0.015)],
            colour,
            own=OWN,
        )
        brush.ellipse(bx + sign * 0.052, y - 0.04, 0.023, 0.023, colour, own=OWN)
        brush.polygon(
            [(bx + sign * 0.068, y - 0.048), (bx + sign * 0.1, y - 0.036), (bx + sign * 0.068, y - 0.028)],
            (255, 150, 30),
            own=OWN,
        )
        brush.line([(bx - 0.09, y + 0.03), (bx + 0.09, y + 0.03)], (220, 236, 240), 0.006, own=0.3)


def _kite(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    x, y = x + 0.08 * math.sin(1.6 * t + 6 * mover.phase), 0.22 + 0.045 * math.cos(2.1 * t)
    brush.line([(x, y), (x + 0.25, 0.95)], (230, 230, 230), 0.004)
    brush.polygon(
        [(x - 0.08, y - 0.1), (x + 0.08, y - 0.1), (x + 0.08, y + 0.1), (x - 0.08, y + 0.1)], colour, own=0.75
    )
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
        brush.ellipse(
            x + 0.16 * run + 0.03 * math.sin(6 * run + t),
            0.46 - 0.36 * run,
            0.022 + 0.06 * run,
            0.02 + 0.045 * run,
            mix(colour, (190, 192, 198), 0.5 * run),
            own=OWN,
        )


def _fountain(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    brush.ellipse(x, 0.665, 0.24, 0.05, (150, 146, 140))
    brush.ellipse(x, 0.66, 0.215, 0.038, (90, 170, 210))
    height = 0.25 + 0.03 * math.sin(4 * t)
    for k in range(-3, 4):
        points = [
            (x + 0.055 * k * s, 0.655 - 4 * height * (1 - 0.08 * abs(k)) * s * (1 - s)) for s in np.linspace(0, 1, 9)
        ]
        brush.line(points, colour, 0.016, own=0.75)
        drop = (t * 1.3 + 0.17 * k) % 1.0
        brush.ellipse(
            x + 0.055 * k * drop, 0.655 - 4 * height * 0.9 * drop * (1 - drop), 0.016, 0.02, (210, 236, 250), own=0.75
        )


def _waterfall(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    """Fall down the hollow of the valley's back wall, whatever `x` says."""
    x = ASPECT / 2
    brush.polygon([(x - 0.07, 0.235), (x + 0.07, 0.235), (x + 0.1, 0.58), (x - 0.1, 0.58)], colour, own=0.6)
    for k in range(18):  # streaks run down
        run = (k * 0.739 + mover.phase + (0.9 + 0.1 * (k % 3)) * t) % 1.0
        across, y = ((k * 7 % 18 + 0.5) / 18 - 0.5) * 0.14, 0.235 + 0.27 * run
        ends = [(x + across * (1 + 0.4 * run), y), (x + across * (1.1 + 0.4 * run), y + 0.075)]
        brush.line(ends, (142, 192, 222), 0.008, own=0.5)
    for k in range(7):  # spray
        lift = abs(0.02 * math.sin(6 * t + 2 * k))
        brush.ellipse(x + (k - 3) * 0.04, 0.585 - lift, 0.036, 0.016 + lift, colour, own=0.6)


def _egret(brush: Brush, mover: Mover, colour: RGB, x: float, t: float) -> None:
    for dx, foot, turn in ((-0.12, 0.735, 1), (0.17, 0.69, 1)):
        bx, dip = x + dx, 0.035 * math.sin(2.5 * t + 6 * mover.phase + dx * 9)  # the neck bends down and up
        brush.line([(bx - 0.012, foot), (bx - 0.008, foot - 0.08)], DARK, 0.007)
        brush.line([(bx + 0.016, foot), (bx + 0.012, foot - 0.08)], DARK, 0.007)
        body = [(-0.085, -0.06), (-0.03, -0.115), (0.045, -0.11), (0.03, -0.075)]
        brush.polygon([(bx + turn * a, foot + b) for a, b in body], colour, own=0.8)
        brush.ellipse(bx, foot - 0.092, 0.05, 0.026, colour, own=0.8)
        head = bx + turn * (0.07 + 0.6 * max(0.0, dip)), foot - 0.19 + dip
        brush.line(
            [(bx + turn * 0.04, foot - 0.1), (bx + turn * 0.035, foot - 0.155 + 0.4 * dip), head],
            colour,
            0.018,
            own=0.8,
        )
        brush.ellipse(*head, 0.018, 0.015, colour, own=0.8)
        beak = [
            (head[0] + turn * 0.012, head[1] - 0.009),
            (head[0] + turn * 0.06, head[1] + 0.012),
            (head[0], head[1] + 0.01),
        ]
        brush.polygon(beak, (250, 190, 40), own=0.7)


DRIFTER_DRAWERS: dict[Thing, Drawer] = {
    Thing.WAVES: _waves,
    Thing.CLOUDS: _cloud,
    Thing.BIRDS: _birds,
    Thing.DUCKS: _ducks,
    Thing.KITE: _kite,
    Thing.FLAG: _flag,
    Thing.LANTERNS: _lanterns,
    Thing.PETALS: _falling,
    Thing.LEAVES: _falling,
    Thing.BUTTERFLY: _butterfly,
    Thing.SMOKE: _smoke,
    Thing.FOUNTAIN: _fountain,
    Thing.WATERFALL: _waterfall,
    Thing.EGRET: _egret,
}
