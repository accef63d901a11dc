"""Every Korean wording of what a scene can be, one table per attribute, and the search for them in a text.

A phrase marks the words that name its value with brackets: `"[카메라가 위로] 천천히 움직이"`. Captions print the phrase
without brackets; `named_attributes` looks for the bracketed words. So a wording is written once, and what is said is
what is found.
"""

import re
from enum import StrEnum

from .scene_clauses import CAMERA_CLAUSES, SEASON_CLAUSES, TIME_CLAUSES, WEATHER_CLAUSES
from .scene_values import Colour, Direction, Landmark, Place, Season, Speed, Thing, Time, Weather

PLACE_NOUNS: dict[Place, tuple[str, ...]] = {
    Place.COAST: ("[해안]", "[바닷가]", "[해변]", "모래 [해안]"),
    Place.MOUNTAIN: ("[산]", "[산줄기]", "[산악] 지대", "높은 [산봉우리]"),
    Place.RIVER: ("[강]", "[강변]", "[강줄기]", "굽이진 [강]"),
    Place.FOREST: ("[숲]", "[숲속]", "나무가 빽빽한 [숲]", "깊은 [숲속]"),
    Place.SKY: ("[하늘 풍경]", "탁 [트인 하늘]", "[드넓은 하늘]", "[높은 하늘]"),
    Place.STREET: ("[도심 거리]", "[시내 거리]", "[번화가]", "[상가 거리]"),
    Place.APARTMENTS: ("[아파트 단지]", "[주거 단지]", "[아파트촌]", "[주거지]"),
    Place.HANOK: ("[한옥 마을]", "[한옥촌]", "[기와집] 마을", "[한옥] 골목"),
    Place.PALACE: ("[궁궐]", "[고궁]", "[궁궐] 마당", "[왕궁]"),
    Place.TEMPLE: ("[사찰]", "[산사]", "[사찰] 경내", "고즈넉한 [사찰]"),
    Place.TOWERS: ("[고층 빌딩]가", "[고층 빌딩] 지구", "[마천루]", "[초고층] 빌딩가"),
    Place.PARK: ("[공원]", "[공원] 산책로", "[공원] 잔디밭", "[시민 공원]"),
    Place.FIELD: ("[논밭]", "[들녘]", "[농촌] 들판", "[시골 들판]"),
    Place.LAKE: ("[호수]", "[호숫가]", "잔잔한 [호수]", "[호반]"),
    Place.HARBOR: ("[항구]", "[포구]", "[부둣가]", "어선이 모인 [항구]"),
    Place.MARKET: ("[시장 골목]", "[전통 시장]", "[재래시장]", "[시장통]"),
    Place.SUBWAY: ("[지하철역 앞]", "[전철역 앞]", "[지하철역] 출입구", "시내 [지하철역]"),
    Place.PADDY: ("[계단식 논]", "[다랑논]", "비탈진 [다랑논]", "[다랑이논]"),
    Place.VALLEY: ("[계곡]", "[골짜기]", "깊은 [계곡]", "[계곡] 물가"),
    Place.FORTRESS: ("[성곽]", "[옛 성곽]", "[성벽] 길", "돌로 쌓은 [성곽]"),
    Place.RAILWAY: ("[기찻길]", "[철길]", "[철로]", "[기찻길] 건널목"),
    Place.BRIDGE: ("[대교]", "[사장교]", "긴 [대교]", "웅장한 [대교]"),
}

TIME_NOUNS: dict[Time, tuple[str, ...]] = {
    Time.DAWN: ("[새벽]", "이른 [새벽]", "[동틀 무렵]", "[동이 틀 무렵]"),
    Time.DAY: ("[낮]", "[한낮]", "[대낮]", "[낮] 시간"),
    Time.DUSK: ("[해 질 녘]", "[해 질 무렵]", "[노을 질 무렵]", "[저녁 무렵]"),
    Time.NIGHT: ("[밤]", "[한밤]", "[밤]", "[밤] 시간"),
}

WEATHER_MODIFIERS: dict[Weather, tuple[str, ...]] = {
    Weather.CLEAR: ("[맑은]", "[맑게] 갠", "[쾌청한]"),
    Weather.CLOUDY: ("[흐린]", "잔뜩 [흐린]", "하늘이 [흐린]"),
    Weather.RAIN: ("[비 내리는]", "[비가 오는]", "[빗줄기]가 떨어지는", "[비가 쏟아지는]"),
    Weather.SNOW: ("[눈 내리는]", "[눈이 오는]", "[눈발]이 날리는", "[함박눈]이 내리는"),
    Weather.FOG: ("[안개] 낀", "[안개]가 자욱한", "뿌연 [안개]가 깔린", "짙은 [안개]가 낀"),
}

SEASON_NOUNS: dict[Season, tuple[str, ...]] = {
    Season.SPRING: ("[봄날]", "[봄날]", "[봄철]", "[봄]"),
    Season.SUMMER: ("[여름날]", "[여름날]", "[여름철]", "[여름]"),
    Season.AUTUMN: ("[가을날]", "[가을날]", "[가을철]", "[가을]"),
    Season.WINTER: ("[겨울날]", "[겨울날]", "[겨울철]", "[겨울]"),
}

DIRECTION_FORMS: dict[Direction, tuple[str, ...]] = {
    Direction.LEFT: ("오른쪽에서 [왼쪽으로]", "[왼쪽으로]", "[왼쪽을 향해]"),
    Direction.RIGHT: ("왼쪽에서 [오른쪽으로]", "[오른쪽으로]", "[오른쪽을 향해]"),
}

SPEED_FORMS: dict[Speed, tuple[str, ...]] = {
    Speed.SLOW: ("[천천히]", "[느린 속도로]", "[느릿하게]"),
    Speed.FAST: ("[빠르게]", "[빠른 속도로]", "[속도를 내어]"),
}

COLOUR_FORMS: dict[Colour, tuple[str, ...]] = {
    Colour.RED: ("[빨간]", "[빨간색]"),
    Colour.BLUE: ("[파란]", "[파란색]"),
    Colour.YELLOW: ("[노란]", "[노란색]"),
    Colour.GREEN: ("[초록색]", "[녹색]"),
    Colour.WHITE: ("[흰]", "[하얀]"),
    Colour.GREY: ("[회색]", "[잿빛]"),
    Colour.PINK: ("[분홍색]", "[분홍]"),
    Colour.PURPLE: ("[보라색]",),
    Colour.ORANGE: ("[주황색]",),
    Colour.BLACK: ("[검은]",),
}

THING_NOUNS: dict[Thing, tuple[str, ...]] = {
    Thing.WAVES: ("[파도]", "[물결]"),
    Thing.CLOUDS: ("[구름]", "[뭉게구름]", "[구름] 덩이"),
    Thing.BIRDS: ("[새] 몇 마리", "[새들]", "[새] 떼"),
    Thing.SHIP: ("[배] 한 척", "[배]", "[선박]"),
    Thing.DUCKS: ("[오리] 두 마리", "[오리]들", "[오리] 한 쌍"),
    Thing.PERSON: ("[옷을 입은 사람]", "[옷을 입은 행인]", "[옷차림의 사람]"),
    Thing.UMBRELLA: ("[우산을 쓴 사람]", "[우산을 든 행인]", "[우산을 받쳐 든 사람]"),
    Thing.CYCLIST: ("옷을 입고 [자전거를 탄 사람]", "옷차림으로 [자전거를 타는 사람]"),
    Thing.CAR: ("[승용차]", "[자동차]", "[승용차] 한 대"),
    Thing.BUS: ("[버스]", "[버스] 한 대", "[시내버스]"),
    Thing.TRACTOR: ("[트랙터]", "[트랙터] 한 대"),
    Thing.CABLE_CAR: ("[케이블카]", "[케이블카] 한 대"),
    Thing.BALLOON: ("[열기구]", "[열기구] 하나"),
    Thing.PLANE: ("[비행기]", "[여객기]", "[비행기] 한 대"),
    Thing.KITE: ("[연]", "[방패연]", "[연] 하나"),
    Thing.FLAG: ("[깃발]", "[깃발]들"),
    Thing.LANTERNS: ("[연등]", "[연등]들"),
    Thing.PETALS: ("[꽃잎]", "[꽃잎]들"),
    Thing.LEAVES: ("[낙엽]", "[낙엽]들"),
    Thing.BUTTERFLY: ("[나비]", "[나비] 두 마리"),
    Thing.SMOKE: ("[연기]",),
    Thing.FOUNTAIN: ("[분수]", "[분수대]"),
    Thing.TRAIN: ("[기차]", "[열차]", "[전동차]"),
    Thing.MOTORCYCLE: ("[오토바이를 탄 사람]", "[오토바이를 모는 사람]", "[오토바이를 몰고 가는 사람]"),
    Thing.HANDCART: ("[손수레를 끄는 사람]", "[손수레를 끌고 가는 사람]", "[수레를 끄는 사람]"),
    Thing.WATERFALL: ("[폭포]", "[폭포수]", "[폭포] 물줄기"),
    Thing.EGRET: ("[백로] 두 마리", "[백로] 한 쌍", "[백로]들"),
}

LANDMARK_NOUNS: dict[Landmark, tuple[str, ...]] = {
    Landmark.LIGHTHOUSE: ("[등대]",),
    Landmark.ROCK: ("커다란 [바위]", "[바위]"),
    Landmark.PINE: ("[소나무]", "[소나무] 한 그루"),
    Landmark.PAVILION: ("[정자]", "[정자] 한 채"),
    Landmark.BENCH: ("[벤치]", "나무 [벤치]"),
    Landmark.LAMP: ("[가로등]", "키 큰 [가로등]"),
    Landmark.STONE_LANTERN: ("[석등]", "돌로 만든 [석등]"),
    Landmark.JARS: ("[항아리]들", "[장독대]"),
    Landmark.SCARECROW: ("[허수아비]",),
    Landmark.HUT: ("[원두막]", "작은 [원두막]"),
    Landmark.SLIDE: ("[미끄럼틀]", "놀이터 [미끄럼틀]"),
    Landmark.BUS_STOP: ("[정류장]", "지붕이 있는 [정류장]"),
    Landmark.SIGNALS: ("[신호등]",),
    Landmark.REEDS: ("[갈대]", "[갈대] 무더기"),
    Landmark.TURBINE: ("[풍력 발전기]",),
    Landmark.SIGNPOST: ("[이정표]", "나무 [이정표]"),
    Landmark.CRANE: ("[크레인]", "높은 [크레인]", "[크레인] 한 대"),
    Landmark.CLOCK: ("[시계탑]", "둥근 시계가 달린 [시계탑]"),
    Landmark.TOTEM: ("[장승] 한 쌍", "나무 [장승]들"),
    Landmark.TENT: ("[포장마차]", "주황색 천을 두른 [포장마차]"),
}

_TABLES: dict[str, tuple[dict, ...]] = {
    "place": (PLACE_NOUNS,),
    "time": (TIME_NOUNS, TIME_CLAUSES),
    "weather": (WEATHER_MODIFIERS, WEATHER_CLAUSES),
    "season": (SEASON_NOUNS, SEASON_CLAUSES),
    "camera": (CAMERA_CLAUSES,),
    "thing": (THING_NOUNS,),
    "landmark": (LANDMARK_NOUNS,),
}
_ONE_SYLLABLE_END = r"(?=$|[\s,.]|(?:의|에|이|가|을|를|과|와|으로|도)(?![가-힣]))"


def plain(phrase: str) -> str:
    """Return a phrase as it is printed, without its brackets."""
    return phrase.replace("[", "").replace("]", "")


def key_of(phrase: str) -> str | None:
    """Return the words in brackets, which name the value."""
    found = re.search(r"\[(.+?)\]", phrase)
    return found.group(1) if found else None


def _pattern(keys: set[str]) -> re.Pattern:
    """Match any key at the start of a word; a key of one syllable must be the whole word: 낮의, but not 낮은."""
    parts = [
        re.escape(key) + (_ONE_SYLLABLE_END if len(key) == 1 else "") for key in sorted(keys, key=len, reverse=True)
    ]
    return re.compile(rf"(?<![가-힣])(?:{'|'.join(parts)})")


def _value_patterns(tables: tuple[dict, ...]) -> dict[StrEnum, re.Pattern]:
    values = tables[0]
    found = {value: {key_of(p) for table in tables for p in table[value]} for value in values}
    return {value: _pattern({key for key in keys if key} | {str(value)}) for value, keys in found.items()}


_PATTERNS = {name: _value_patterns(tables) for name, tables in _TABLES.items()}
_DIRECTIONS, _SPEEDS, _COLOURS = (_value_patterns((table,)) for table in (DIRECTION_FORMS, SPEED_FORMS, COLOUR_FORMS))


def named_attributes(text: str) -> dict[str, set[str]]:
    """Find every attribute value that a Korean text names.

    Returns:
        For place, time, weather, season, camera, thing and landmark: the named values. For colour, direction and
        speed: the thing and its colour ("버스 빨간"), where it goes ("버스 왼쪽으로"), how fast ("버스 빠르게").
        Nothing: an empty set.
    """
    named = {
        name: {str(value) for value, pattern in patterns.items() if pattern.search(text)}
        for name, patterns in _PATTERNS.items()
    }
    named["colour"], named["direction"], named["speed"] = set(), set(), set()
    for pattern in _PATTERNS["camera"].values():
        text = pattern.sub("", text)
    hits = sorted((m.start(), m.end(), thing) for thing, p in _PATTERNS["thing"].items() for m in p.finditer(text))
    for index, (start, end, thing) in enumerate(hits):
        before = re.split(r"[.,]", text[max(0, start - 16) : start])[-1]
        after = text[end : hits[index + 1][0] if index + 1 < len(hits) else len(text)].split(".")[0].split(",")[0]
        named["colour"] |= {f"{thing} {colour}" for colour, p in _COLOURS.items() if p.search(before)}
        named["direction"] |= {f"{thing} {way}" for way, p in _DIRECTIONS.items() if p.search(after)}
        named["speed"] |= {f"{thing} {pace}" for pace, p in _SPEEDS.items() if p.search(after)}
    return named
