"""What a scene can be: one enum per attribute; a value is its shortest Korean name."""

from enum import StrEnum


class Place(StrEnum):
    COAST = "해안"
    MOUNTAIN = "산"
    RIVER = "강"
    FOREST = "숲"
    SKY = "하늘 풍경"
    STREET = "도심 거리"
    APARTMENTS = "아파트 단지"
    HANOK = "한옥 마을"
    PALACE = "궁궐"
    TEMPLE = "사찰"
    TOWERS = "고층 빌딩"
    PARK = "공원"
    FIELD = "논밭"
    LAKE = "호수"
    HARBOR = "항구"
    MARKET = "시장 골목"
    SUBWAY = "지하철역 앞"
    PADDY = "계단식 논"
    VALLEY = "계곡"
    FORTRESS = "성곽"
    RAILWAY = "기찻길"
    BRIDGE = "대교"


class Time(StrEnum):
    DAWN = "새벽"
    DAY = "낮"
    DUSK = "해질녘"
    NIGHT = "밤"


class Weather(StrEnum):
    CLEAR = "맑음"
    CLOUDY = "흐림"
    RAIN = "비"
    SNOW = "눈"
    FOG = "안개"


class Season(StrEnum):
    SPRING = "봄"
    SUMMER = "여름"
    AUTUMN = "가을"
    WINTER = "겨울"


class Camera(StrEnum):
    FIXED = "카메라 고정"
    LEFT = "카메라 왼쪽 이동"
    RIGHT = "카메라 오른쪽 이동"
    UP = "카메라 위쪽 이동"
    DOWN = "카메라 아래쪽 이동"
    ZOOM_IN = "카메라 확대"
    ZOOM_OUT = "카메라 축소"


class Direction(StrEnum):
    LEFT = "왼쪽으로"
    RIGHT = "오른쪽으로"


class Speed(StrEnum):
    SLOW = "천천히"
    FAST = "빠르게"


class Side(StrEnum):
    """Where in the picture something stays."""

    LEFT = "왼쪽"
    MIDDLE = "가운데"
    RIGHT = "오른쪽"


class Colour(StrEnum):
    RED = "빨간"
    BLUE = "파란"
    YELLOW = "노란"
    GREEN = "초록색"
    WHITE = "흰"
    GREY = "회색"
    PINK = "분홍색"
    PURPLE = "보라색"
    ORANGE = "주황색"
    BLACK = "검은"


class Thing(StrEnum):
    """Something that moves."""

    WAVES = "파도"
    CLOUDS = "구름"
    BIRDS = "새"
    SHIP = "배"
    DUCKS = "오리"
    PERSON = "옷을 입은 사람"
    UMBRELLA = "우산을 쓴 사람"
    CYCLIST = "자전거를 탄 사람"
    CAR = "승용차"
    BUS = "버스"
    TRACTOR = "트랙터"
    CABLE_CAR = "케이블카"
    BALLOON = "열기구"
    PLANE = "비행기"
    KITE = "연"
    FLAG = "깃발"
    LANTERNS = "연등"
    PETALS = "꽃잎"
    LEAVES = "낙엽"
    BUTTERFLY = "나비"
    SMOKE = "연기"
    FOUNTAIN = "분수"
    TRAIN = "기차"
    MOTORCYCLE = "오토바이를 탄 사람"
    HANDCART = "손수레를 끄는 사람"
    WATERFALL = "폭포"
    EGRET = "백로"


class Landmark(StrEnum):
    """Something that stands still, on the left or on the right."""

    LIGHTHOUSE = "등대"
    ROCK = "바위"
    PINE = "소나무"
    PAVILION = "정자"
    BENCH = "벤치"
    LAMP = "가로등"
    STONE_LANTERN = "석등"
    JARS = "항아리"
    SCARECROW = "허수아비"
    HUT = "원두막"
    SLIDE = "미끄럼틀"
    BUS_STOP = "정류장"
    SIGNALS = "신호등"
    REEDS = "갈대"
    TURBINE = "풍력 발전기"
    SIGNPOST = "이정표"
    CRANE = "크레인"
    CLOCK = "시계탑"
    TOTEM = "장승"
    TENT = "포장마차"
