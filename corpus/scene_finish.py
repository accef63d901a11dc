"""What a real camera adds to a drawn picture: exposure, white balance, blur, noise, compression, an unsteady hand.

Everything depends on the scene's seed and on the time alone, so a frame is the same whatever is drawn around it.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

_GRAIN_SIGMA = 32  # of the stored grain, which has 128 in its middle
_PIVOT = 116.0  # the grey that contrast leaves alone


@dataclass(frozen=True)
class Finish:
    """How a camera changes the picture.

    Attributes:
        exposure: Gain of all channels.
        warmth: White balance: red times 1 + warmth, blue times 1 - warmth.
        contrast: Stretch around a middle grey; 1 changes nothing.
        vignette: How much darker the corners are, 0 to 1.
        noise: Standard deviation of the grain, of 255.
        blur: Radius of the blur of a lens out of focus, as a share of the height.
        jpeg: Quality of a JPEG compression, or None.
        shake: Largest distance of the view from where it should be, as a share of its height.
    """

    exposure: float = 1.0
    warmth: float = 0.0
    contrast: float = 1.0
    vignette: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    jpeg: int | None = None
    shake: float = 0.0


CLEAN = Finish()


def sample_finish(rng: np.random.Generator) -> Finish:
    """Draw a finish; about a third of them are nearly clean."""
    if rng.uniform() < 0.35:
        return Finish(exposure=float(rng.uniform(0.97, 1.03)), noise=float(rng.uniform(0, 1.5)))
    return Finish(
        exposure=float(rng.uniform(0.85, 1.16)),
        warmth=float(rng.uniform(-0.06, 0.06)),
        contrast=float(rng.uniform(0.86, 1.1)),
        vignette=round(float(rng.uniform(0.05, 0.3)), 2) if rng.uniform() < 0.5 else 0.0,
        noise=float(rng.uniform(1.5, 9.0)) if rng.uniform() < 0.7 else 0.0,
        blur=float(rng.uniform(0.004, 0.01)) if rng.uniform() < 0.3 else 0.0,
        jpeg=int(rng.integers(30, 85)) if rng.uniform() < 0.4 else None,
        shake=float(rng.uniform(0.0015, 0.006)) if rng.uniform() < 0.6 else 0.0,
    )


def shake_offset(finish: Finish, seed: int, t: float) -> tuple[float, float]:
    """Return how far right and down an unsteady hand moved the view at `t` seconds, as shares of its height."""
    if not finish.shake:
        return 0.0, 0.0
    rates, phases = np.random.default_rng([seed, 5]).uniform((0.4, 0.0), (1.6, math.tau), (2, 3, 2)).transpose(2, 0, 1)
    dx, dy = finish.shake * (np.sin(math.tau * rates * t + phases) * (0.5, 0.3, 0.2)).sum(1) / math.sqrt(2)
    return float(dx), float(dy)


def apply_finish(image: Image.Image, finish: Finish, seed: int, t: float) -> Image.Image:
    """Return the RGB picture as the camera would have recorded it at `t` seconds; shake is not part of it."""
    if finish.blur:
        image = image.filter(ImageFilter.BoxBlur(finish.blur * image.height))
    if finish.vignette:
        image = ImageChops.multiply(image, _vignette(image.size, finish.vignette))
    tones = finish.exposure, finish.warmth, finish.contrast
    if tones != (1.0, 0.0, 1.0):
        image = image.point(_tone_table(*tones))
    if finish.noise:
        rng = np.random.default_rng([seed, 6, round(t * 1e6)])
        image = ImageChops.add(image, _noise(image.size, finish.noise, rng), 1.0, -128)
    if finish.jpeg is not None:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=finish.jpeg)
        image = Image.open(file).convert("RGB")
    return image


@lru_cache(maxsize=256)
def _tone_table(exposure: float, warmth: float, contrast: float) -> list[int]:
    """256 values for each of red, green and blue."""
    values = np.arange(256) * exposure
    table = [(values * gain - _PIVOT) * contrast + _PIVOT for gain in (1 + warmth, 1.0, 1 - warmth)]
    return np.clip(table, 0, 255).round().astype(int).ravel().tolist()


@lru_cache(maxsize=64)
def _vignette(size: tuple[int, int], strength: float) -> Image.Image:
    width, height = size
    x, y = np.linspace(-1, 1, width)[None], np.linspace(-1, 1, height)[:, None]
    light = 1 - strength * ((x**2 + y**2) / 2) ** 1.5
    return Image.fromarray((light * 255).round().astype(np.uint8)).convert("RGB")


def _noise(size: tuple[int, int], sigma: float, rng: np.random.Generator) -> Image.Image:
    """Noise around 128: three cuts from one stored tile, one per channel."""
    width, height = size
    side = 2 ** math.ceil(math.log2(max(size) + 128))
    corners = rng.integers(0, (side - width, side - height), (3, 2)).tolist()
    bands = [_grain(side).crop((x, y, x + width, y + height)) for x, y in corners]
    table = [round(128 + (value - 128) * sigma / _GRAIN_SIGMA) for value in range(256)]
    return Image.merge("RGB", [band.point(table) for band in bands])


@lru_cache(maxsize=4)
def _grain(side: int) -> Image.Image:
    values = np.random.default_rng(0).standard_normal((side, side), np.float32) * _GRAIN_SIGMA + 128
    return Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8))
