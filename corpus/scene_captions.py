"""Say in Korean what a scene shows: a caption in the dataset's style, and one line of facts."""

from __future__ import annotations

import numpy as np

from .scene_attributes import (
    COLOUR_FORMS,
    DIRECTION_FORMS,
    LANDMARK_NOUNS,
    PLACE_NOUNS,
    SEASON_NOUNS,
    SPEED_FORMS,
    THING_NOUNS,
    TIME_NOUNS,
    WEATHER_MODIFIERS,
    key_of,
    plain,
)
from .scene_clauses import CAMERA_CLAUSES, OPENINGS, SEASON_CLAUSES, TIME_CLAUSES, WEATHER_CLAUSES
from .scene_korean import adnominal, linking, polite, with_particle
from .scene_movers import ROADSIDE, Mover
from .scene_phrases import ACTIONS, LANDMARK_VERBS, SCENERY
from .scene_values import Landmark, Place, Thing, Time, Weather
from .scenes import Scene

_LENGTH = (275.0, 415.0)  # characters; a caption takes further clauses until it is about this long
TREELESS = {Place.COAST}  # no tree shows the season there


class _Word(str):
    """A word whose format spec is a particle: `{place:을}`."""

    def __format__(self, particle: str) -> str:
        return with_particle(str(self), particle) if particle else str(self)


def season_is_visible(scene: Scene) -> bool:
    """Say whether leaves, grass or snow show the season: not in the dark or in fog, save for falling snow."""
    return scene.weather == Weather.SNOW or not (scene.time == Time.NIGHT or scene.weather == Weather.FOG)


def _pick(rng: np.random.Generator, phrases: tuple[str, ...]) -> str:
    return plain(phrases[int(rng.integers(len(phrases)))])


def _pick_new(rng: np.random.Generator, phrases: tuple[str, ...], text: str) -> str:
    """Pick a phrase whose value is not named in the words of `text`, if there is one."""
    return _pick(rng, tuple(phrase for phrase in phrases if str(key_of(phrase)) not in text) or phrases)


def _opening(rng: np.random.Generator, scene: Scene, *, season: bool) -> str:
    weather, time = _pick(rng, WEATHER_MODIFIERS[scene.weather]), _pick(rng, TIME_NOUNS[scene.time])
    day = "날 " if rng.uniform() < 0.5 else ""
    if season:
        day = _pick(rng, SEASON_NOUNS[scene.season]) + " "
    template = OPENINGS[int(rng.integers(len(OPENINGS)))]
    return template.format(weather=weather, day=day, time=time, place=_Word(_pick(rng, PLACE_NOUNS[scene.place])))


def _mover_clause(rng: np.random.Generator, mover: Mover, place: Place, ending: str) -> str:
    places, verbs = ACTIONS[mover.thing]
    if place in ROADSIDE and mover.thing in (Thing.PERSON, Thing.UMBRELLA):
        places = ("보도 위에서는", "길가에서는", "인도에서는")
    noun = f"{_pick(rng, COLOUR_FORMS[mover.colour])} {_pick(rng, THING_NOUNS[mover.thing])}"
    words = [with_particle(noun, "이")]
    if mover.side:
        words.insert(0, f"화면 {mover.side}에서는")
    elif rng.uniform() < 0.6:
        words.insert(0, _pick(rng, places))
    manner = [_pick(rng, DIRECTION_FORMS[mover.direction])] if mover.direction else []
    if mover.speed:
        manner.insert(int(rng.uniform() < 0.7), _pick(rng, SPEED_FORMS[mover.speed]))
    verb = _pick(rng, verbs)
    predicate = {"plain": verb, "going on": verb + "고 있", "seen": adnominal(verb) + " 모습이 보이"}[ending]
    return " ".join([*words, *manner, predicate])


def _mover_clauses(rng: np.random.Generator, scene: Scene) -> list[str]:
    """One clause per mover, the nearest first; neighbours end differently."""
    endings = [("going on", "plain", "seen")[k] for k in rng.permutation(3)]
    nearest_first = reversed(scene.movers)
    return [_mover_clause(rng, mover, scene.place, endings[k % 3]) for k, mover in enumerate(nearest_first)]


def _landmark_side(scene: Scene) -> str:
    return "왼쪽" if scene.landmark_at < 0.5 else "오른쪽"


def _landmark_clause(rng: np.random.Generator, landmark: Landmark, side: str) -> str:
    noun = _pick(rng, LANDMARK_NOUNS[landmark])
    where = _pick(rng, (f"화면 {side}에는", f"{side} 앞에는", f"화면 {side}에", f"{side} 가까이에는"))
    return f"{where} {with_particle(noun, '이')} {_pick(rng, LANDMARK_VERBS[landmark])}"


def _scenery(rng: np.random.Generator, place: Place) -> list[str]:
    """Every phrase of a place in the order they are taken: at random, those that end like an earlier one last."""
    phrases, fresh, alike = SCENERY[place], [], []
    for k in rng.permutation(len(phrases)):
        ends = {_verb(phrase) for phrase in fresh}
        (alike if _verb(phrases[k]) in ends else fresh).append(phrases[k])
    return fresh + alike


def _verb(phrase: str) -> str:
    """The first two syllables of the last verb, for both of 이어지 and 이어져 있."""
    *_, before, last = phrase.split()
    return (before if last == "있" else last)[:2]


def describe(scene: Scene) -> str:
    """Describe a scene in 250 to 600 Korean characters; the same scene is always described alike.

    Told always: the place, time and weather, two phrases of scenery, the landmark, every mover, the nearest first, the
    camera and, where it can be seen, the season. The light, the weather once more and further scenery follow until it
    is long enough.
    """
    rng = np.random.default_rng([scene.seed, 2])
    opening, camera, scenery, landmark, movers, air = _clauses(rng, scene)
    scenery, spare = scenery[:2], scenery[2:]

    light = [_pick_new(rng, table, opening) for table in (TIME_CLAUSES[scene.time], WEATHER_CLAUSES[scene.weather])]
    extra = [*light, *spare[:1]]
    extra = [extra[k] for k in rng.permutation(len(extra))] + spare[1:]
    wanted = rng.uniform(*_LENGTH)
    while extra and sum(map(_printed, [opening, *scenery, *landmark, *movers, *air, camera])) < wanted:
        clause = extra.pop(0)
        (air if clause in light else scenery).append(clause)
    scenery.sort(key=SCENERY[scene.place].index)  # in one order: a small model can tell what it has told

    return _compose(rng, opening, camera, scenery, landmark, movers, air)


def describe_shortly(scene: Scene) -> str:
    """Describe a scene in the same words without its scenery and light: every clause tells something of this scene."""
    rng = np.random.default_rng([scene.seed, 4])
    opening, camera, _, landmark, movers, air = _clauses(rng, scene)
    return _compose(rng, opening, camera, [], landmark, movers, air)


def _clauses(rng: np.random.Generator, scene: Scene) -> tuple[str, str, list[str], list[str], list[str], list[str]]:
    """The opening; the clauses of the camera, all scenery, the landmark, the movers and the season."""
    season = season_is_visible(scene)
    # The clauses speak of trees, which the coast lacks; its dunes and cape still show the season.
    season_in_opening = season and (scene.place in TREELESS or rng.uniform() < 0.5)
    opening = _opening(rng, scene, season=season_in_opening)
    camera = _pick(rng, CAMERA_CLAUSES[scene.camera]) + "고 있"
    scenery = _scenery(rng, scene.place)
    landmark = [_landmark_clause(rng, scene.landmark, _landmark_side(scene))] if scene.landmark else []
    movers = _mover_clauses(rng, scene)
    air = [_pick(rng, SEASON_CLAUSES[scene.season])] if season and not season_in_opening else []
    return opening, camera, scenery, landmark, movers, air


def _compose(rng: np.random.Generator, opening: str, camera: str, *parts: list[str]) -> str:
    """The text: clauses in some order, the camera's among them, joined to sentences."""
    middle = _arrange(rng, *parts)
    middle.insert(int(rng.choice([0, len(middle) // 2, len(middle), len(middle)])), camera)
    return " ".join([opening, *_sentences(rng, middle)])


def _printed(clause: str) -> int:
    """About how long a clause is in print, with its ending and the space after it."""
    return len(clause) + 4


def _arrange(
    rng: np.random.Generator, scenery: list[str], landmark: list[str], movers: list[str], air: list[str]
) -> list[str]:
    """Put the clauses in one of six orders."""
    orders = (
        [scenery, landmark, movers, air],
        [scenery, landmark, air, movers],
        [air[:1], scenery, landmark, movers, air[1:]],
        [scenery[:1], movers, landmark, scenery[1:], air],
        [movers[:1], scenery, landmark, movers[1:], air],
        [scenery[:2], air, landmark, movers, scenery[2:]],
    )
    return [clause for part in orders[int(rng.integers(len(orders)))] for clause in part]


def _sentences(rng: np.random.Generator, clauses: list[str]) -> list[str]:
    """Join neighbouring clauses to sentences of one to three."""
    sentences = []
    while clauses:
        size = int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))
        sentences.append(_sentence(clauses[:size]))
        clauses = clauses[size:]
    return sentences


def _sentence(clauses: list[str]) -> str:
    links = [linking(clause, "고" if index % 2 else "며") for index, clause in enumerate(clauses[:-1])]
    return ", ".join([*links, polite(clauses[-1])]) + "."


def describe_briefly(scene: Scene) -> str:
    """Return the facts in a fixed order: place, time, weather, season when it can be seen, camera, things, landmark.

    Things stand as captions tell them, the nearest first.
    """
    facts = [scene.place, scene.time, scene.weather]
    if season_is_visible(scene):
        facts.append(scene.season)
    facts.append(scene.camera)
    for mover in reversed(scene.movers):
        words = (mover.side, mover.colour, mover.thing, mover.direction, mover.speed)
        facts.append(" ".join(str(word) for word in words if word))
    if scene.landmark is not None:
        facts.append(f"{_landmark_side(scene)} {scene.landmark}")
    return ", ".join(str(fact) for fact in facts)
