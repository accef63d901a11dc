"""Say in Korean what a scene shows: a caption in the dataset's style, and one line of facts."""

from __future__ import annotations

import numpy as np

from .scene_attributes import (
    CAMERA_CLAUSES,
    COLOUR_FORMS,
    DIRECTION_FORMS,
    LANDMARK_NOUNS,
    PLACE_NOUNS,
    SEASON_CLAUSES,
    SEASON_NOUNS,
    THING_NOUNS,
    TIME_CLAUSES,
    TIME_NOUNS,
    WEATHER_CLAUSES,
    WEATHER_MODIFIERS,
    plain,
)
from .scene_korean import linking, polite, with_particle
from .scene_movers import ROADSIDE, Mover
from .scene_phrases import ACTIONS, LANDMARK_VERBS, OPENINGS, SCENERY
from .scene_values import Landmark, Place, Thing, Time, Weather
from .scenes import Scene


class _Word(str):
    """A word whose format spec is a particle: `{place:을}`."""

    def __format__(self, particle: str) -> str:
        return with_particle(str(self), particle) if particle else str(self)


def season_is_visible(scene: Scene) -> bool:
    """Say whether leaves, grass or snow show the season: not in the dark or in fog, save for falling snow."""
    return scene.weather == Weather.SNOW or not (scene.time == Time.NIGHT or scene.weather == Weather.FOG)


def _pick(rng: np.random.Generator, phrases: tuple[str, ...]) -> str:
    return plain(phrases[int(rng.integers(len(phrases)))])


def _opening(rng: np.random.Generator, scene: Scene, *, season: bool) -> str:
    weather, time = _pick(rng, WEATHER_MODIFIERS[scene.weather]), _pick(rng, TIME_NOUNS[scene.time])
    day = "날 " if rng.uniform() < 0.5 else ""
    if season:
        day = _pick(rng, SEASON_NOUNS[scene.season]) + " "
    template = OPENINGS[int(rng.integers(len(OPENINGS)))]
    return template.format(weather=weather, day=day, time=time, place=_Word(_pick(rng, PLACE_NOUNS[scene.place])))


def _mover_clause(rng: np.random.Generator, mover: Mover, place: Place) -> str:
    places, verbs = ACTIONS[mover.thing]
    if place in ROADSIDE and mover.thing in (Thing.PERSON, Thing.UMBRELLA):
        places = ("보도 위에서는", "길가에서는", "인도에서는")
    noun = f"{_pick(rng, COLOUR_FORMS[mover.colour])} {_pick(rng, THING_NOUNS[mover.thing])}"
    way = f"{_pick(rng, DIRECTION_FORMS[mover.direction])} " if mover.direction else ""
    where = f"{_pick(rng, places)} " if rng.uniform() < 0.6 else ""
    verb = _pick(rng, verbs)
    return f"{where}{with_particle(noun, '이')} {way}{verb}{'고 있' if rng.uniform() < 0.6 else ''}"


def _landmark_side(scene: Scene) -> str:
    return "왼쪽" if scene.landmark_at < 0.5 else "오른쪽"


def _landmark_clause(rng: np.random.Generator, landmark: Landmark, side: str) -> str:
    noun = _pick(rng, LANDMARK_NOUNS[landmark])
    where = _pick(rng, (f"화면 {side}에는", f"{side} 앞에는", f"화면 {side}에"))
    return f"{where} {with_particle(noun, '이')} {_pick(rng, LANDMARK_VERBS[landmark])}"


def describe(scene: Scene) -> str:
    """Describe a scene in 3 to 6 Korean sentences; the same scene is always described alike."""
    rng = np.random.default_rng([scene.seed, 2])
    season = season_is_visible(scene)
    # The clauses speak of trees, which the coast lacks; its dunes and cape still show the season.
    season_in_opening = season and (scene.place == Place.COAST or rng.uniform() < 0.5)
    opening = _opening(rng, scene, season=season_in_opening)
    camera = _pick(rng, CAMERA_CLAUSES[scene.camera]) + "고 있"
    clauses = [_pick(rng, SCENERY[scene.place])]
    if scene.landmark is not None:
        clauses.append(_landmark_clause(rng, scene.landmark, _landmark_side(scene)))
    movers = [_mover_clause(rng, mover, scene.place) for mover in scene.movers]
    air = []
    if season and not season_in_opening:
        air.append(_pick(rng, SEASON_CLAUSES[scene.season]))
    brief = len(clauses) + len(movers) + len(air) < 4
    if brief or rng.uniform() < 0.3:
        air.append(_pick(rng, TIME_CLAUSES[scene.time]))
    if rng.uniform() < (0.6 if brief else 0.3):
        air.append(_pick(rng, WEATHER_CLAUSES[scene.weather]))
    order = int(rng.integers(4))
    middle = {
        0: [*clauses, *movers, *air],
        1: [*clauses, *air, *movers],
        2: [*air, *clauses, *movers],
        3: [*movers[:1], *clauses, *movers[1:], *air],
    }[order]
    camera_at = int(rng.choice([0, len(middle), len(middle)]))
    middle.insert(camera_at, camera)
    return " ".join([opening, *_sentences(rng, middle)])


def _sentences(rng: np.random.Generator, clauses: list[str]) -> list[str]:
    """Join clauses to between 2 and 5 sentences."""
    number = min(len(clauses), 5, max(2, round(len(clauses) * rng.uniform(0.6, 0.85))))
    cuts = sorted(rng.permutation(len(clauses) - 1)[: number - 1] + 1)
    while max(b - a for a, b in zip([0, *cuts], [*cuts, len(clauses)], strict=True)) > 2 and len(clauses) <= 2 * number:
        cuts = sorted(rng.permutation(len(clauses) - 1)[: number - 1] + 1)
    groups = [clauses[a:b] for a, b in zip([0, *cuts], [*cuts, len(clauses)], strict=True)]
    return [_sentence(group) for group in groups]


def _sentence(clauses: list[str]) -> str:
    links = [linking(clause, "고" if index % 2 else "며") for index, clause in enumerate(clauses[:-1])]
    return ", ".join([*links, polite(clauses[-1])]) + "."


def describe_briefly(scene: Scene) -> str:
    """Return the facts in a fixed order: place, time, weather, season when it can be seen, camera, things, landmark."""
    facts = [scene.place, scene.time, scene.weather]
    if season_is_visible(scene):
        facts.append(scene.season)
    facts.append(scene.camera)
    for mover in scene.movers:
        facts.append(f"{mover.colour} {mover.thing}" + (f" {mover.direction}" if mover.direction else ""))
    if scene.landmark is not None:
        facts.append(f"{_landmark_side(scene)} {scene.landmark}")
    return ", ".join(str(fact) for fact in facts)
