"""The things that move: what they are and where each one is at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .scene_brush import ASPECT, RGB, Brush, Extent
from .scene_drifters import DRIFTER_DRAWERS
from .scene_traffic import TRAFFIC_DRAWERS
from .scene_values import Colour, Direction, Place, Side, Speed, Thing

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
_DRAWERS = TRAFFIC_DRAWERS | DRIFTER_DRAWERS
# Places with a carriageway in front.
ROADSIDE = (Place.STREET, Place.APARTMENTS, Place.TOWERS, Place.SUBWAY)


@dataclass(frozen=True)
class Mover:
    """One moving thing.

    Attributes:
        speed: Told when it is clearly slow or fast; a thing that goes nowhere has none.
        side: Where it stays in the picture during the whole clip, if it does.
        middle: Where its way is centred, as a share of the view's width.
        reach: How far it comes during the clip, as a share of the view's width.
        phase: Makes two of the same kind differ, 0 to 1.
    """

    thing: Thing
    colour: Colour
    direction: Direction | None
    speed: Speed | None
    side: Side | None
    middle: float
    reach: float
    phase: float


def mover_x(mover: Mover, view: Extent, progress: float) -> float:
    """Return the world x of a mover at a share of the clip."""
    if mover.direction is None:  # it stays at its place in the world, whatever the camera does
        return mover.middle * ASPECT
    sign = 1.0 if mover.direction == Direction.RIGHT else -1.0
    return view.at(mover.middle + sign * mover.reach * (progress - 0.5))


def draw_mover(brush: Brush, mover: Mover, scene: Scene, view: Extent, t: float) -> None:
    """Draw a mover where it is at `t` seconds while the camera sees `view`."""
    if scene.place in ROADSIDE and mover.thing in (Thing.PERSON, Thing.UMBRELLA):  # on the pavement, not among the cars
        lower = brush.extent.top + 0.085, brush.extent.bottom + 0.085
        brush = Brush(brush.image, Extent(brush.extent.left, lower[0], brush.extent.right, lower[1]), brush.light)
    colour = PAINT[mover.colour]
    _DRAWERS[mover.thing](brush, mover, colour, mover_x(mover, view, t / scene.duration_s), t)
