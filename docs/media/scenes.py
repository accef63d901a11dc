"""Draw the scene gallery of docs/data.md, and write its example captions into it.

python docs/media/scenes.py
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image, ImageDraw, ImageFont

from corpus.scene_captions import describe
from corpus.scene_finish import CLEAN, Finish
from corpus.scene_values import Place, Season, Time, Weather
from corpus.scenes import HELD_OUT_SEED, Scene, render_frames, sample_scene

HERE = Path(__file__).resolve().parent
FIRST_SEED = HELD_OUT_SEED + 30_000
TILE, LABEL_HEIGHT = (240, 135), 22  # pixels
FONT = "NanumGothic.ttf"
FINISHES = {
    "clean": CLEAN,
    "exposure 0.85": Finish(exposure=0.85),
    "warmth 0.06": Finish(warmth=0.06),
    "vignette 0.3": Finish(vignette=0.3),
    "noise 9": Finish(noise=9.0),
    "blur 0.01": Finish(blur=0.01),
    "jpeg 30": Finish(jpeg=30),
    "all of them": Finish(0.85, 0.06, 0.86, 0.3, 9.0, 0.01, 30),
}


def first_with(place: Place, **wanted) -> Scene:
    """The first held-out scene with these attributes."""
    seeds = range(FIRST_SEED, FIRST_SEED + 100_000)
    wanted["place"] = place
    return next(s for s in map(sample_scene, seeds) if all(getattr(s, name) == value for name, value in wanted.items()))


def labelled_sheet(scenes: dict[str, Scene], *, columns: int) -> Image.Image:
    """The middle frame of every scene in a grid, each with its label under it where a Korean font is installed."""
    (width, height), rows = TILE, -(-len(scenes) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + LABEL_HEIGHT)), "white")
    draw = ImageDraw.Draw(sheet)
    try:
        font = ImageFont.truetype(FONT, 14)
    except OSError:
        font = None
    for index, (label, scene) in enumerate(scenes.items()):
        (frame,) = render_frames(scene, [scene.duration_s / 2], height=height, width=width)
        x, y = index % columns * width, index // columns * (height + LABEL_HEIGHT)
        sheet.paste(Image.fromarray(frame.transpose(1, 2, 0)), (x, y))
        if font:
            draw.text((x + width / 2, y + height + LABEL_HEIGHT / 2), label, "black", font, "mm")
    return sheet


def conditions() -> dict[str, Scene]:
    """One park at every time in every weather, then in every season."""
    park = replace(first_with(Place.PARK), movers=(), finish=CLEAN)
    scenes = {
        f"{time} · {weather}": replace(
            park, time=time, weather=weather, season=Season.WINTER if weather == Weather.SNOW else Season.SUMMER
        )
        for time in Time
        for weather in Weather
    }
    return scenes | {str(s): replace(park, time=Time.DAY, weather=Weather.CLEAR, season=s) for s in Season}


def write_examples(document: Path) -> None:
    """Put the captions of the seeds that the document names behind them."""

    def example(found: re.Match) -> str:
        return f"{found[1]}{describe(sample_scene(int(found[2])))}"

    text = document.read_text(encoding="utf-8")
    document.write_text(re.sub(r"(> \*\*seed (\d+)\*\*: ).*", example, text), encoding="utf-8")


def main() -> None:
    """Write scenes_places.jpg, scenes_conditions.jpg and scenes_finish.jpg beside this file."""
    places = {str(p): replace(first_with(p, time=Time.DAY, weather=Weather.CLEAR), finish=CLEAN) for p in Place}
    street = first_with(Place.STREET, time=Time.DAY, weather=Weather.CLEAR)
    finishes = {label: replace(street, finish=finish) for label, finish in FINISHES.items()}
    for name, scenes, columns in (("places", places, 4), ("conditions", conditions(), 5), ("finish", finishes, 4)):
        labelled_sheet(scenes, columns=columns).save(HERE / f"scenes_{name}.jpg", quality=82, optimize=True)
    write_examples(HERE.parent / "data.md")


if __name__ == "__main__":
    main()
