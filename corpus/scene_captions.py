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
from .scene_values import Landmark, Place, Thing, Time, Weather
from .scenes import Scene

# What every picture of a place shows, near enough to be seen in fog; stems of predicates.
SCENERY: dict[Place, tuple[str, ...]] = {
    Place.COAST: (
        "넓은 모래사장이 바닷물과 완만한 곡선을 그리며 맞닿아 있",
        "화면 아래쪽에는 모래사장이, 그 너머로는 바다가 펼쳐져 있",
        "모래밭 앞으로 드넓은 바다가 이어지",
        "젖은 모래가 바닷물을 따라 길게 이어져 있",
    ),
    Place.MOUNTAIN: (
        "능선이 화면을 가로질러 겹겹이 이어지",
        "크고 작은 봉우리들이 화면을 가득 채우",
        "비탈을 따라 나무들이 촘촘히 서 있",
        "가파른 비탈 아래로 흙길이 나 있",
    ),
    Place.RIVER: (
        "물길이 굽이치며 멀리까지 뻗어 있",
        "구불구불한 물줄기 양옆으로 나무들이 늘어서 있",
        "물가를 따라 붉은색 자전거 도로가 나 있",
        "화면 가운데로 물줄기가 굽이쳐 흐르",
    ),
    Place.FOREST: (
        "굵은 나무줄기들이 화면을 가득 메우",
        "키 큰 나무들이 빽빽이 서 있",
        "나무들 사이로 좁은 흙길이 나 있",
        "곧게 뻗은 나무들 사이로 오솔길이 이어지",
    ),
    Place.SKY: (
        "시야를 가로막는 것 없이 사방이 트여 있",
        "화면 아래쪽에는 나무들이 나지막이 늘어서 있",
        "하늘이 화면 대부분을 차지하",
        "나무 꼭대기 위로 하늘이 한없이 펼쳐져 있",
    ),
    Place.STREET: (
        "색색의 간판을 단 상가 건물들이 줄지어 있",
        "도로를 따라 가게들이 나란히 늘어서 있",
        "줄무늬 차양을 단 가게들이 도로 옆에 이어지",
        "상점 건물 앞으로 차도가 곧게 뻗어 있",
    ),
    Place.APARTMENTS: (
        "같은 모양의 높은 건물들이 나란히 서 있",
        "창문이 빼곡한 주거용 건물들이 화면을 채우",
        "똑같이 생긴 건물 여러 동이 줄지어 있",
        "나란히 선 건물들 앞으로 차도가 지나가",
    ),
    Place.HANOK: (
        "기와지붕들이 겹겹이 이어져 있",
        "나지막한 기와지붕이 층층이 늘어서 있",
        "돌담 너머로 기와를 얹은 집들이 모여 있",
        "곡선을 그리는 처마들이 돌담 위로 이어지",
    ),
    Place.PALACE: (
        "넓은 돌마당 뒤로 이층 지붕의 전각이 우뚝 서 있",
        "붉은 기둥과 단청으로 꾸민 큰 전각이 중앙에 자리하",
        "돌로 쌓은 월대 위에 웅장한 전각이 서 있",
        "이층 기와지붕을 올린 전각이 마당을 내려다보",
    ),
    Place.TEMPLE: (
        "법당 옆 마당에 석탑이 서 있",
        "석탑과 단청을 입힌 법당이 나란히 자리하",
        "흙마당에는 여러 층으로 쌓은 석탑이 서 있",
        "기와지붕을 얹은 법당 곁으로 석탑이 보이",
    ),
    Place.TOWERS: (
        "유리로 덮인 건물들이 높이 솟아 있",
        "높이가 제각각인 유리 건물들이 촘촘히 서 있",
        "하늘을 찌를 듯한 건물들이 도로 뒤로 늘어서 있",
        "매끈한 유리 외벽의 건물들이 화면을 채우",
    ),
    Place.PARK: (
        "넓은 잔디밭을 나무들이 둘러싸고 있",
        "둥근 산책로가 잔디밭을 감싸며 나 있",
        "잔디밭 가운데로 둥근 길이 휘돌아 나 있",
        "나무들이 줄지어 선 잔디밭에 산책로가 놓여 있",
    ),
    Place.FIELD: (
        "밭고랑이 한 점을 향해 가지런히 뻗어 있",
        "가지런한 이랑이 멀리까지 이어지",
        "밭이랑 너머로 농가 몇 채가 보이",
        "넓은 경작지가 고랑을 따라 펼쳐져 있",
    ),
    Place.LAKE: (
        "고요한 수면이 화면을 넓게 채우",
        "잔잔한 수면 앞으로 나무 데크 길이 놓여 있",
        "물가를 따라 나무 데크가 길게 이어지",
        "너른 수면이 능선으로 둘러싸여 있",
    ),
}

# Where a thing is, and what it does.
ACTIONS: dict[Thing, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Thing.WAVES: (("모래사장 쪽으로", "바다에서는"), ("잇따라 밀려오", "쉼 없이 밀려와 부서지", "일렁이며 밀려오")),
    Thing.CLOUDS: (("하늘에는", "하늘에서는"), ("천천히 흘러가", "유유히 떠가", "느리게 움직이")),
    Thing.BIRDS: (("공중에서는", "하늘에서는"), ("날아가", "훨훨 날아가", "날갯짓하며 날아가")),
    Thing.SHIP: (("물 위에서는", "수면 위로"), ("나아가", "미끄러지듯 나아가", "지나가")),
    Thing.DUCKS: (("물 위에서는", "수면 위로"), ("헤엄치", "유유히 헤엄쳐 가", "물살을 가르며 헤엄치")),
    Thing.PERSON: (("화면 앞쪽에서는", "화면 아래쪽에서는"), ("걸어가", "천천히 걸어가", "걸음을 옮기")),
    Thing.UMBRELLA: (("화면 앞쪽에서는", "화면 아래쪽에서는"), ("걸어가", "천천히 걸어가", "걸음을 옮기")),
    Thing.CYCLIST: (("화면 앞쪽에서는", "화면 아래쪽에서는"), ("달리", "지나가", "힘차게 달리")),
    Thing.CAR: (("도로 위에서는", "앞쪽 차도에서는"), ("달리", "지나가", "주행하")),
    Thing.BUS: (("도로 위에서는", "앞쪽 차도에서는"), ("달리", "지나가", "운행하")),
    Thing.TRACTOR: (("밭 앞길에서는", "화면 앞쪽에서"), ("지나가", "천천히 움직이", "이동하")),
    Thing.CABLE_CAR: (("공중에서는", "비탈 위로"), ("줄을 타고 이동하", "천천히 지나가", "움직이")),
    Thing.BALLOON: (("공중에는", "하늘에는"), ("천천히 떠가", "두둥실 떠가", "움직이")),
    Thing.PLANE: (("하늘에서는", "공중에서는"), ("날아가", "하늘을 가로질러 날아가", "지나가")),
    Thing.KITE: (("하늘에서는", "공중에서는"), ("바람을 타고 흔들리", "높이 떠서 너울거리", "꼬리를 흔들며 날")),
    Thing.FLAG: (("마당 양쪽에서는", "마당에서는"), ("바람에 펄럭이", "나부끼", "힘차게 펄럭이")),
    Thing.LANTERNS: (("마당 위에서는", "줄에 매달린 채"), ("바람에 흔들리", "나란히 흔들리", "살랑살랑 흔들리")),
    Thing.PETALS: (("화면 곳곳에서", "공중에서는"), ("흩날리", "바람을 타고 흩날리", "나풀나풀 떨어지")),
    Thing.LEAVES: (("화면 곳곳에서", "공중에서는"), ("흩날리", "바람을 타고 떨어지", "하나둘 떨어지")),
    Thing.BUTTERFLY: (("화면 가운데에서", "꽃과 풀 위로"), ("날아다니", "팔랑팔랑 날아다니", "춤추듯 날아다니")),
    Thing.SMOKE: (("지붕 위로", "처마 너머로"), ("피어오르", "모락모락 피어오르", "가늘게 피어오르")),
    Thing.FOUNTAIN: (
        ("잔디밭 가운데에서", "화면 중앙에서"),
        ("물줄기를 뿜어내", "시원하게 솟아오르", "물을 뿜어 올리"),
    ),
}

_STANDS, _LIES = ("서 있", "서 있", "자리하고 있", "보이"), ("놓여 있", "놓여 있", "자리하고 있", "보이")
LANDMARK_VERBS: dict[Landmark, tuple[str, ...]] = {
    Landmark.ROCK: _LIES,
    Landmark.BENCH: _LIES,
    Landmark.JARS: _LIES,
    Landmark.SLIDE: _LIES,
    Landmark.STONE_LANTERN: _LIES,
    Landmark.PAVILION: ("자리하고 있", "세워져 있", "보이"),
    Landmark.REEDS: ("자라 있", "자라고 있", "보이"),
    Landmark.BUS_STOP: ("자리하고 있", "마련되어 있", "보이"),
}

OPENINGS = (
    "이 영상은 {weather} {day}{time}의 {place:을} 담고 있습니다.",
    "영상에는 {weather} {day}{time}의 {place:이} 담겨 있습니다.",
    "{weather} {day}{time}의 {place:을} 촬영한 영상입니다.",
    "화면에는 {weather} {day}{time}의 {place:이} 펼쳐집니다.",
    "{weather} {day}{time}, {place}의 모습을 담은 영상입니다.",
    "이 영상은 {weather} {day}{time}에 {place:을} 비추고 있습니다.",
    "{weather} {day}{time}의 {place:을} 보여 주는 영상입니다.",
    "이 영상에서는 {weather} {day}{time}의 {place:을} 볼 수 있습니다.",
)


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
    return f"{where} {with_particle(noun, '이')} {_pick(rng, LANDMARK_VERBS.get(landmark, _STANDS))}"


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
