"""The light of a scene, and a brush that paints world coordinates into a picture of any size.

World units are view heights: the view at rest is `[0, ASPECT] x [0, 1]`, y downwards.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .scene_values import Time, Weather

ASPECT = 16 / 9
RGB = tuple[int, int, int]


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Blend two colours; `share` 0 gives the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


# Sky at the zenith, sky at the horizon, factor and offset for everything the sky lights.
_CLEAR_SKY = {
    Time.DAWN: ((110, 145, 205), (250, 198, 205)),
    Time.DAY: ((58, 132, 220), (186, 222, 246)),
    Time.DUSK: ((92, 66, 128), (255, 150, 62)),
    Time.NIGHT: ((8, 12, 38), (30, 40, 82)),
}
_GREY_SKY = {
    Time.DAWN: ((128, 136, 168), (212, 186, 200)),
    Time.DAY: ((150, 156, 164), (206, 210, 213)),
    Time.DUSK: ((116, 94, 110), (236, 150, 104)),
    Time.NIGHT: ((22, 26, 40), (56, 61, 80)),
}
_LIT = {
    Time.DAWN: ((0.76, 0.79, 0.96), (22, 14, 26)),
    Time.DAY: ((1.0, 1.0, 1.0), (0, 0, 0)),
    Time.DUSK: ((0.93, 0.72, 0.60), (20, 4, 2)),
    Time.NIGHT: ((0.38, 0.42, 0.56), (4, 7, 18)),
}
# Grey share, brightness, distance haze, haze on near things.
_AIR = {
    Weather.CLEAR: (0.0, 1.0, 0.35, 0.0),
    Weather.CLOUDY: (0.22, 0.90, 0.45, 0.0),
    Weather.RAIN: (0.28, 0.76, 0.60, 0.06),
    Weather.SNOW: (0.25, 0.98, 0.60, 0.05),
    Weather.FOG: (0.25, 0.97, 0.86, 0.10),
}


class Light:
    """How a colour looks at a time of day in a weather."""

    def __init__(self, time: Time, weather: Weather):
        self.is_night = time == Time.NIGHT
        self.sky_top, self.sky_bottom = (_CLEAR_SKY if weather == Weather.CLEAR else _GREY_SKY)[time]
        if weather == Weather.RAIN and not self.is_night:
            self.sky_top, self.sky_bottom = (
                mix(self.sky_top, (60, 66, 78), 0.4),
                mix(self.sky_bottom, (96, 100, 110), 0.35),
            )
        if weather == Weather.FOG:
            if time == Time.DUSK:
                self.sky_bottom = mix(self.sky_bottom, (226, 206, 196), 0.4)
            if self.is_night:  # lamps light the fog from within
                self.sky_bottom = mix(self.sky_bottom, (150, 154, 166), 0.35)
            self.sky_top = mix(self.sky_top, self.sky_bottom, 0.75)
        self._factor, self._offset = _LIT[time]
        self._grey, self._brightness, self._haze, self.near_haze = _AIR[weather]
        self._cache: dict[tuple, RGB] = {}

    def shade(self, colour: RGB, far: float = 0.0, own: float = 0.0) -> RGB:
        """Return the colour as seen.

        Args:
            colour: The thing's own colour.
            far: Distance, 0 near to 1 at the horizon.
            own: Share of the own colour that the light can't change: 1 for lamps.
        """
        key = (colour, far, own)
        if key not in self._cache:
            luma = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
            red, green, blue = (
                round(min(255.0, (c + (luma - c) * self._grey) * self._brightness * f + o))
                for c, f, o in zip(colour, self._factor, self._offset, strict=True)
            )
            seen = mix((red, green, blue), colour, own)
            haze = self.near_haze * (1 - 0.5 * own) + (self._haze - self.near_haze) * far
            self._cache[key] = mix(seen, self.sky_bottom, haze)
        return self._cache[key]


@dataclass(frozen=True)
class Extent:
    """A rectangle of the world."""

    left: float
    top: float
    right: float
    bottom: float

    def at(self, share: float) -> float:
        """Return the x at a share of the width."""
        return self.left + share * (self.right - self.left)


class Brush:
    """Paints in world units on a PIL image."""

    def __init__(self, image: Image.Image, extent: Extent, light: Light, *, blends: bool = False):
        """`blends` allows alpha in colours (RGB images only)."""
        self.image, self.extent, self.light = image, extent, light
        self.draw = ImageDraw.Draw(image, "RGBA" if blends else None)
        self.per_x = image.width / (extent.right - extent.left)
        self.per_y = image.height / (extent.bottom - extent.top)
        self.glows: list[tuple] = []
        self.least_own = 0.0  # raised for things that must be seen in any light

    def _points(self, points) -> list[tuple[float, float]]:
        left, top, per_x, per_y = self.extent.left, self.extent.top, self.per_x, self.per_y
        return [((x - left) * per_x, (y - top) * per_y) for x, y in points]

    def _seen(self, colour: RGB, far: float, own: float) -> RGB:
        return self.light.shade(colour, far, max(own, self.least_own))

    def polygon(self, points, colour: RGB, *, far: float = 0.0, own: float = 0.0) -> None:
        self.draw.polygon(self._points(points), fill=self._seen(colour, far, own))

    def rect(
        self, x0: float, y0: float, x1: float, y1: float, colour: RGB, *, far: float = 0.0, own: float = 0.0
    ) -> None:
        (a, b), (c, d) = self._points(((x0, y0), (x1, y1)))
        # PIL includes the last pixel; half a pixel less keeps neighbours apart.
        self.draw.rectangle((a, b, max(a, c - 0.6), max(b, d - 0.6)), fill=self._seen(colour, far, own))

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: RGB, *, far: float = 0.0, own: float = 0.0
    ) -> None:
        self.draw.ellipse(self._points(((x - rx, y - ry), (x + rx, y + ry))), fill=self._seen(colour, far, own))

    def line(self, points, colour: RGB, width: float, *, far: float = 0.0, own: float = 0.0) -> None:
        pixels = max(1, round(width * math.sqrt(self.per_x * self.per_y)))
        self.draw.line(self._points(points), fill=self._seen(colour, far, own), width=pixels)

    def wash(self, points, colour: RGB, alpha: float) -> None:
        """Lay a translucent colour over an area; needs `blends`."""
        self.draw.polygon(self._points(points), fill=(*colour, round(255 * alpha)))

    def disc(self, x: float, y: float, rx: float, ry: float, colour: RGB, alpha: float) -> None:
        """Lay a translucent ellipse; needs `blends`."""
        self.draw.ellipse(self._points(((x - rx, y - ry), (x + rx, y + ry))), fill=(*colour, round(255 * alpha)))

    def glow(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """Ask for a halo, drawn when the picture is finished and only at night."""
        if self.light.is_night:
            self.glows.append((x, y, radius, colour))

    def gradient(self, top: float, bottom: float, first: RGB, last: RGB) -> None:
        """Fill the whole width from `top` to `bottom` with seen (already lit) colours."""
        y0, y1 = (round((y - self.extent.top) * self.per_y) for y in (top, bottom))
        start, stop = max(0, y0), min(self.image.height, y1)
        if stop <= start:
            return
        share = ((np.arange(start, stop) - y0 + 0.5) / max(1, y1 - y0))[:, None]
        rows = np.asarray(first) * (1 - share) + np.asarray(last) * share
        strip = Image.fromarray(rows.round().astype(np.uint8)[:, None, :]).resize((self.image.width, stop - start))
        self.image.paste(strip, (0, start))
