"""Every Korean wording of what a scene can be, one table per attribute, and the search for them in a text.

A phrase marks the words that name its value with brackets: `"[카메라가 위로] 천천히 움직이"`. Captions print the phrase
without brackets; `named_attributes` looks for the bracketed words. So a wording is written once, and what is said is
what is found.
"""

import re
from enum import StrEnum

from .scene_values import Camera, Colour, Direction, Landmark, Place, Season, Thing, Time, Weather

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
}

TIME_NOUNS: dict[Time, tuple[str, ...]] = {
    Time.DAWN: ("[새벽]", "이른 [새벽]", "[동틀 무렵]", "[동이 틀 무렵]"),
    Time.DAY: ("[낮]", "[한낮]", "[대낮]", "[낮] 시간"),
    Time.DUSK: ("[해 질 녘]", "[해 질 무렵]", "[노을 질 무렵]", "[저녁 무렵]"),
    Time.NIGHT: ("[밤]", "[한밤]", "[밤]", "[밤] 시간"),
}

# What the light looks like, as the stem of a predicate.
TIME_CLAUSES: dict[Time, tuple[str, ...]] = {
    Time.DAWN: ("[새벽]의 푸르스름한 빛이 감돌", "[새벽] 특유의 옅은 분홍빛이 번지", "[동틀 무렵]의 은은한 빛이 퍼지"),
    Time.DAY: ("[한낮]이라 주위가 밝", "[대낮]의 빛이 풍경을 고르게 비추", "[낮]의 빛이 화면 전체에 퍼지"),
    Time.DUSK: (
        "[노을]빛이 화면을 주황색으로 물들이",
        "[저녁 무렵]의 붉은 기운이 번지",
        "[해 질 녘]의 따뜻한 빛이 내려앉",
    ),
    Time.NIGHT: ("[밤]의 어둠이 짙게 깔려 있", "[밤]이 깊어 사방이 어두워져 있", "[한밤]의 어둠이 풍경을 감싸"),
}

WEATHER_MODIFIERS: dict[Weather, tuple[str, ...]] = {
    Weather.CLEAR: ("[맑은]", "[맑게] 갠", "[쾌청한]"),
    Weather.CLOUDY: ("[흐린]", "잔뜩 [흐린]", "하늘이 [흐린]"),
    Weather.RAIN: ("[비 내리는]", "[비가 오는]", "[빗줄기]가 떨어지는", "[비가 쏟아지는]"),
    Weather.SNOW: ("[눈 내리는]", "[눈이 오는]", "[눈발]이 날리는", "[함박눈]이 내리는"),
    Weather.FOG: ("[안개] 낀", "[안개]가 자욱한", "뿌연 [안개]가 깔린", "짙은 [안개]가 낀"),
}

WEATHER_CLAUSES: dict[Weather, tuple[str, ...]] = {
    Weather.CLEAR: ("날씨가 [맑아] 시야가 또렷하", "공기가 [맑고] 풍경이 선명하", "날씨는 [쾌청하]"),
    Weather.CLOUDY: ("하늘이 온통 [흐려] 있", "하늘은 잔뜩 [흐리]", "[흐린] 하늘이 낮게 드리워져 있"),
    Weather.RAIN: ("[빗줄기]가 화면 전체에 쏟아지", "[빗방울]이 쉼 없이 떨어지", "[비가 내려] 풍경이 촉촉이 젖어 있"),
    Weather.SNOW: ("[눈송이]가 화면 가득 흩날리", "하얀 [눈발]이 쉼 없이 내려오", "[함박눈]이 소복소복 내리"),
    Weather.FOG: ("[안개]가 먼 곳을 뿌옇게 가리", "짙은 [안개]가 주변을 감싸", "희뿌연 [안개]가 풍경 위에 깔려 있"),
}

SEASON_NOUNS: dict[Season, tuple[str, ...]] = {
    Season.SPRING: ("[봄날]", "[봄날]", "[봄철]", "[봄]"),
    Season.SUMMER: ("[여름날]", "[여름날]", "[여름철]", "[여름]"),
    Season.AUTUMN: ("[가을날]", "[가을날]", "[가을철]", "[가을]"),
    Season.WINTER: ("[겨울날]", "[겨울날]", "[겨울철]", "[겨울]"),
}

SEASON_CLAUSES: dict[Season, tuple[str, ...]] = {
    Season.SPRING: (
        "연분홍 꽃이 핀 나무들이 [봄]의 기운을 전하",
        "곳곳에 분홍빛 꽃이 피어 [봄] 분위기가 나",
        "꽃나무가 [봄]을 알리",
    ),
    Season.SUMMER: (
        "짙은 녹색 잎이 [여름]의 싱그러움을 더하",
        "녹음이 우거져 [여름]임을 알려 주",
        "무성한 초록 잎이 [여름]을 느끼게 하",
    ),
    Season.AUTUMN: (
        "붉고 노랗게 물든 잎이 [가을] 정취를 더하",
        "단풍이 들어 [가을] 분위기가 나",
        "울긋불긋한 단풍이 [가을]을 알리",
    ),
    Season.WINTER: (
        "잎을 떨군 나무들이 [겨울] 풍경을 이루",
        "하얗게 덮인 땅이 [겨울] 분위기를 더하",
        "앙상한 가지가 [겨울]임을 보여 주",
    ),
}

CAMERA_CLAUSES: dict[Camera, tuple[str, ...]] = {
    Camera.FIXED: (
        "카메라는 [고정된 상태]로 촬영하",
        "카메라는 [움직임 없이] 풍경을 담",
        "카메라는 [한자리에서] 같은 곳을 비추",
        "화면은 [고정된 구도]를 유지하",
    ),
    Camera.LEFT: (
        "[카메라는 왼쪽으로] 천천히 이동하",
        "[카메라가 왼쪽으로] 부드럽게 움직이",
        "[시점이 왼쪽으로] 서서히 옮겨 가",
        "[카메라는 오른쪽에서 왼쪽으로] 풍경을 천천히 훑",
    ),
    Camera.RIGHT: (
        "[카메라는 오른쪽으로] 천천히 이동하",
        "[카메라가 오른쪽으로] 부드럽게 움직이",
        "[시점이 오른쪽으로] 서서히 옮겨 가",
        "[카메라는 왼쪽에서 오른쪽으로] 풍경을 천천히 훑",
    ),
    Camera.UP: (
        "[카메라는 위쪽으로] 천천히 올라가",
        "[카메라가 위로] 부드럽게 움직이",
        "[시점이 위쪽으로] 서서히 옮겨 가",
        "[카메라는 아래에서 위로] 풍경을 천천히 훑",
    ),
    Camera.DOWN: (
        "[카메라는 아래쪽으로] 천천히 내려가",
        "[카메라가 아래로] 부드럽게 움직이",
        "[시점이 아래쪽으로] 서서히 옮겨 가",
        "[카메라는 위에서 아래로] 풍경을 천천히 훑",
    ),
    Camera.ZOOM_IN: (
        "카메라는 풍경을 점점 [확대하]",
        "카메라가 앞으로 천천히 [다가가]",
        "화면이 서서히 [확대되]",
        "카메라는 천천히 [줌 인]하",
    ),
    Camera.ZOOM_OUT: (
        "카메라는 화면을 점점 [축소하]",
        "카메라가 뒤로 천천히 [물러나]",
        "화면이 서서히 [축소되]",
        "카메라는 천천히 [줌 아웃]하",
    ),
}

DIRECTION_FORMS: dict[Direction, tuple[str, ...]] = {
    Direction.LEFT: ("오른쪽에서 [왼쪽으로]", "[왼쪽으로]", "[왼쪽을 향해]"),
    Direction.RIGHT: ("왼쪽에서 [오른쪽으로]", "[오른쪽으로]", "[오른쪽을 향해]"),
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
_DIRECTIONS, _COLOURS = _value_patterns((DIRECTION_FORMS,)), _value_patterns((COLOUR_FORMS,))


def named_attributes(text: str) -> dict[str, set[str]]:
    """Find every attribute value that a Korean text names.

    Returns:
        For place, time, weather, season, camera, thing and landmark: the named values. For colour and direction:
        the thing and its colour ("버스 빨간"), the thing and where it goes ("버스 왼쪽으로"). Nothing: an empty set.
    """
    named = {
        name: {str(value) for value, pattern in patterns.items() if pattern.search(text)}
        for name, patterns in _PATTERNS.items()
    }
    named["colour"], named["direction"] = set(), set()
    for pattern in _PATTERNS["camera"].values():
        text = pattern.sub("", text)
    hits = sorted((m.start(), m.end(), thing) for thing, p in _PATTERNS["thing"].items() for m in p.finditer(text))
    for index, (start, end, thing) in enumerate(hits):
        before = re.split(r"[.,]", text[max(0, start - 16) : start])[-1]
        after = text[end : hits[index + 1][0] if index + 1 < len(hits) else len(text)].split(".")[0].split(",")[0]
        named["colour"] |= {f"{thing} {colour}" for colour, p in _COLOURS.items() if p.search(before)}
        named["direction"] |= {f"{thing} {way}" for way, p in _DIRECTIONS.items() if p.search(after)}
    return named
