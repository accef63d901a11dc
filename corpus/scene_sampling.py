"""Draw a scene's attributes: close to independent, and only what can go together."""

import numpy as np

from .scene_brush import ASPECT
from .scene_movers import ROADSIDE, Mover
from .scene_values import Camera, Colour, Direction, Landmark, Place, Season, Side, Speed, Thing, Time, Weather

C = Colour
_BRIGHT = (C.RED, C.BLUE, C.YELLOW, C.GREEN, C.WHITE)
_CLOTHES = (C.RED, C.BLUE, C.YELLOW, C.GREEN, C.WHITE, C.PINK, C.PURPLE, C.ORANGE)
THING_COLOURS: dict[Thing, tuple[Colour, ...]] = {
    Thing.WAVES: (C.WHITE,),
    Thing.CLOUDS: (C.WHITE,),
    Thing.BIRDS: (C.WHITE, C.BLACK),
    Thing.SHIP: _BRIGHT,
    Thing.DUCKS: (C.WHITE, C.YELLOW),
    Thing.PERSON: _CLOTHES,
    Thing.UMBRELLA: _CLOTHES,
    Thing.CYCLIST: _CLOTHES,
    Thing.CAR: (*_BRIGHT, C.ORANGE),
    Thing.BUS: (C.RED, C.BLUE, C.YELLOW, C.GREEN),
    Thing.TRACTOR: (C.RED, C.BLUE, C.ORANGE),
    Thing.CABLE_CAR: (C.RED, C.BLUE, C.YELLOW, C.WHITE),
    Thing.BALLOON: (C.RED, C.BLUE, C.YELLOW, C.GREEN, C.PURPLE, C.ORANGE),
    Thing.PLANE: (C.WHITE,),
    Thing.KITE: (C.RED, C.BLUE, C.YELLOW, C.GREEN, C.PURPLE),
    Thing.FLAG: (C.RED, C.BLUE, C.YELLOW, C.GREEN),
    Thing.LANTERNS: (C.RED, C.YELLOW, C.PINK, C.GREEN, C.ORANGE),
    Thing.PETALS: (C.PINK,),
    Thing.LEAVES: (C.RED, C.YELLOW, C.ORANGE),
    Thing.BUTTERFLY: (C.YELLOW, C.WHITE, C.BLUE, C.PURPLE),
    Thing.SMOKE: (C.WHITE,),
    Thing.FOUNTAIN: (C.WHITE,),
    Thing.TRAIN: (*_BRIGHT, C.ORANGE),
    Thing.MOTORCYCLE: (*_BRIGHT, C.ORANGE),
    Thing.HANDCART: (C.RED, C.BLUE, C.YELLOW, C.GREEN),
    Thing.WATERFALL: (C.WHITE,),
    Thing.EGRET: (C.WHITE,),
}
STATIONARY = {
    Thing.WAVES,
    Thing.KITE,
    Thing.FLAG,
    Thing.LANTERNS,
    Thing.PETALS,
    Thing.LEAVES,
    Thing.BUTTERFLY,
    Thing.SMOKE,
    Thing.FOUNTAIN,
    Thing.WATERFALL,
    Thing.EGRET,
}
LEISURELY = {Thing.CLOUDS, Thing.DUCKS, Thing.TRACTOR, Thing.CABLE_CAR, Thing.BALLOON, Thing.HANDCART}  # never fast
ON_ITS_SPOT = {Thing.KITE, Thing.FOUNTAIN, Thing.SMOKE, Thing.EGRET}  # small enough to be on one side of the picture
_SAME_COLUMNS = (Camera.FIXED, Camera.UP, Camera.DOWN)  # cameras that never move a spot sideways
# From back to front. Two things of one layer would cover each other, so a scene takes at most one of each.
_LAYERS: tuple[set[Thing], ...] = (
    {Thing.CLOUDS},
    {Thing.BIRDS, Thing.BALLOON, Thing.PLANE, Thing.KITE, Thing.CABLE_CAR, Thing.LANTERNS, Thing.SMOKE, Thing.TRAIN},
    {Thing.WAVES, Thing.FLAG, Thing.FOUNTAIN, Thing.WATERFALL},
    {Thing.SHIP, Thing.DUCKS, Thing.EGRET},
    {Thing.PERSON, Thing.CYCLIST, Thing.CAR, Thing.BUS, Thing.TRACTOR, Thing.MOTORCYCLE, Thing.HANDCART},
    {Thing.PETALS, Thing.LEAVES, Thing.BUTTERFLY},
)
_T, _L = Thing, Landmark
PLACE_THINGS: dict[Place, tuple[Thing, ...]] = {
    Place.COAST: (_T.WAVES, _T.WAVES, _T.SHIP, _T.PERSON, _T.BIRDS),
    Place.MOUNTAIN: (_T.CABLE_CAR, _T.PERSON, _T.BIRDS, _T.PETALS, _T.LEAVES),
    Place.RIVER: (_T.SHIP, _T.DUCKS, _T.PERSON, _T.CYCLIST, _T.BIRDS),
    Place.FOREST: (_T.PERSON, _T.PETALS, _T.LEAVES, _T.BUTTERFLY, _T.BIRDS),
    Place.SKY: (_T.BALLOON, _T.PLANE, _T.KITE, _T.BIRDS),
    Place.STREET: (_T.CAR, _T.BUS, _T.PERSON, _T.CYCLIST, _T.MOTORCYCLE),
    Place.APARTMENTS: (_T.CAR, _T.BUS, _T.PERSON, _T.CYCLIST, _T.BIRDS),
    Place.HANOK: (_T.PERSON, _T.CYCLIST, _T.SMOKE, _T.PETALS, _T.LEAVES),
    Place.PALACE: (_T.PERSON, _T.FLAG, _T.BIRDS, _T.PETALS, _T.LEAVES),
    Place.TEMPLE: (_T.PERSON, _T.LANTERNS, _T.PETALS, _T.LEAVES, _T.BIRDS),
    Place.TOWERS: (_T.CAR, _T.BUS, _T.PLANE, _T.PERSON),
    Place.PARK: (_T.PERSON, _T.CYCLIST, _T.FOUNTAIN, _T.KITE, _T.BUTTERFLY, _T.PETALS, _T.LEAVES),
    Place.FIELD: (_T.TRACTOR, _T.PERSON, _T.BIRDS, _T.KITE, _T.BUTTERFLY),
    Place.LAKE: (_T.SHIP, _T.DUCKS, _T.PERSON, _T.BIRDS),
    Place.HARBOR: (_T.SHIP, _T.SHIP, _T.PERSON, _T.HANDCART, _T.BIRDS),
    Place.MARKET: (_T.PERSON, _T.HANDCART, _T.HANDCART, _T.MOTORCYCLE, _T.CYCLIST),
    Place.SUBWAY: (_T.PERSON, _T.CAR, _T.BUS, _T.MOTORCYCLE, _T.CYCLIST),
    Place.PADDY: (_T.EGRET, _T.EGRET, _T.TRACTOR, _T.PERSON, _T.BIRDS, _T.KITE),
    Place.VALLEY: (_T.WATERFALL, _T.WATERFALL, _T.PERSON, _T.DUCKS, _T.BIRDS, _T.PETALS, _T.LEAVES),
    Place.FORTRESS: (_T.PERSON, _T.CYCLIST, _T.KITE, _T.BIRDS, _T.PETALS, _T.LEAVES),
    Place.RAILWAY: (_T.TRAIN, _T.TRAIN, _T.PERSON, _T.CYCLIST, _T.MOTORCYCLE, _T.BIRDS),
    Place.BRIDGE: (_T.TRAIN, _T.SHIP, _T.PERSON, _T.CYCLIST, _T.DUCKS, _T.BIRDS),
}
PLACE_LANDMARKS: dict[Place, tuple[Landmark, ...]] = {
    Place.COAST: (_L.LIGHTHOUSE, _L.ROCK, _L.PINE),
    Place.MOUNTAIN: (_L.PINE, _L.ROCK, _L.TURBINE, _L.SIGNPOST, _L.PAVILION),
    Place.RIVER: (_L.BENCH, _L.REEDS, _L.LAMP, _L.PAVILION),
    Place.FOREST: (_L.BENCH, _L.SIGNPOST, _L.ROCK),
    Place.SKY: (_L.TURBINE,),
    Place.STREET: (_L.BUS_STOP, _L.SIGNALS, _L.LAMP),
    Place.APARTMENTS: (_L.SLIDE, _L.LAMP, _L.BENCH, _L.BUS_STOP),
    Place.HANOK: (_L.JARS, _L.PINE, _L.STONE_LANTERN, _L.TOTEM),
    Place.PALACE: (_L.STONE_LANTERN, _L.PINE),
    Place.TEMPLE: (_L.STONE_LANTERN, _L.PINE, _L.ROCK),
    Place.TOWERS: (_L.SIGNALS, _L.LAMP, _L.BUS_STOP, _L.BENCH),
    Place.PARK: (_L.BENCH, _L.PAVILION, _L.SLIDE, _L.PINE, _L.CLOCK),
    Place.FIELD: (_L.SCARECROW, _L.HUT, _L.PINE, _L.TURBINE),
    Place.LAKE: (_L.PAVILION, _L.REEDS, _L.ROCK, _L.BENCH),
    Place.HARBOR: (_L.CRANE, _L.CRANE, _L.LIGHTHOUSE, _L.LAMP),
    Place.MARKET: (_L.TENT, _L.JARS, _L.LAMP),
    Place.SUBWAY: (_L.CLOCK, _L.TENT, _L.BUS_STOP, _L.LAMP),
    Place.PADDY: (_L.SCARECROW, _L.HUT, _L.PINE, _L.TOTEM),
    Place.VALLEY: (_L.ROCK, _L.PAVILION, _L.TOTEM, _L.SIGNPOST),
    Place.FORTRESS: (_L.PINE, _L.TOTEM, _L.SIGNPOST, _L.LAMP),
    Place.RAILWAY: (_L.SIGNPOST, _L.BENCH, _L.REEDS, _L.LAMP),
    Place.BRIDGE: (_L.BENCH, _L.REEDS, _L.LAMP),
}
# Every pair of season and weather weighs the same; snow, which only winter has, weighs more.
_CLIMATES = [(s, w) for s in Season for w in Weather if w != (Weather.RAIN if s == Season.WINTER else Weather.SNOW)]
_CLIMATE_WEIGHTS = np.array([2.5 if weather == Weather.SNOW else 1.0 for _, weather in _CLIMATES])


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def can_move(thing: Thing, *, time: Time, weather: Weather, season: Season) -> bool:
    """Say whether a thing would be out in such a light, weather and season."""
    wet = weather in (Weather.RAIN, Weather.SNOW)
    if thing == Thing.CLOUDS:
        return weather == Weather.CLEAR and time != Time.NIGHT
    if thing == Thing.PETALS:
        return season == Season.SPRING and not wet
    if thing == Thing.LEAVES:
        return season == Season.AUTUMN and not wet
    if thing == Thing.BUTTERFLY:
        return season in (Season.SPRING, Season.SUMMER) and not wet and time != Time.NIGHT
    if thing in (Thing.KITE, Thing.BALLOON):
        return not wet and time != Time.NIGHT
    if thing == Thing.EGRET:
        return season != Season.WINTER
    if thing in (Thing.SMOKE, Thing.CYCLIST, Thing.MOTORCYCLE, Thing.PLANE):
        return not wet
    return True


def _layer(thing: Thing, place: Place) -> float:
    """Return how near a thing is: the number of its layer; people on a pavement are behind the road."""
    number = next(index for index, layer in enumerate(_LAYERS) if thing in layer)
    return number - 0.5 if thing == Thing.PERSON and place in ROADSIDE else number


def _pace(rng: np.random.Generator, thing: Thing) -> tuple[Speed | None, float]:
    """Draw a speed, and how far the thing comes during a clip: speeds differ whatever the clip's length."""
    speed = _pick(rng, (Speed.SLOW, None) if thing in LEISURELY else (Speed.SLOW, None, Speed.FAST))
    span = {Speed.SLOW: (0.29, 0.36), None: (0.5, 0.6), Speed.FAST: (0.84, 0.94)}[speed]
    return speed, float(rng.uniform(*span))


def _mover(
    rng: np.random.Generator, thing: Thing, middle: float, *, taken: Side, camera: Camera, time: Time, weather: Weather
) -> Mover:
    colours = THING_COLOURS[thing]
    if thing == Thing.BIRDS:  # black at night and white in fog or snow couldn't be seen
        colours = (
            (C.WHITE,) if time == Time.NIGHT else (C.BLACK,) if weather in (Weather.FOG, Weather.SNOW) else colours
        )
    if thing == Thing.PERSON and weather == Weather.RAIN:
        thing = Thing.UMBRELLA
    direction = None if thing in STATIONARY else _pick(rng, tuple(Direction))
    speed, reach = _pace(rng, thing) if direction else (None, 0.0)
    if speed == Speed.FAST:
        middle = 0.5  # it crosses the whole view
    if direction is None:
        middle = 0.5 + (middle - 0.5) / 2  # it stays where a pan doesn't lose it
    side = None
    if thing in ON_ITS_SPOT and camera in _SAME_COLUMNS:
        side = _pick(rng, [side for side in Side if side != taken])
        middle = {Side.LEFT: 0.28, Side.MIDDLE: 0.5, Side.RIGHT: 0.72}[side]
    middle = float(middle + rng.uniform(-0.03, 0.03))
    return Mover(thing, _pick(rng, colours), direction, speed, side, middle, reach, float(rng.uniform()))


def _sample_movers(
    rng: np.random.Generator,
    *,
    place: Place,
    camera: Camera,
    time: Time,
    weather: Weather,
    season: Season,
    taken: Side,
) -> tuple[Mover, ...]:
    wanted = [thing for thing in PLACE_THINGS[place] if can_move(thing, time=time, weather=weather, season=season)]
    wanted = [wanted[k] for k in rng.permutation(len(wanted))]
    if can_move(Thing.CLOUDS, time=time, weather=weather, season=season) and place != Place.FOREST:
        wanted.insert(int(rng.integers(1, 3)), Thing.CLOUDS)
    number, chosen = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.35, 0.3, 0.2])), {}
    for thing in wanted:
        if len(chosen) < number:
            chosen.setdefault(_layer(thing, place), thing)
    # Apart, so that two that go the same way don't hide each other.
    middles = rng.permutation((0.3, 0.43, 0.57, 0.7)).tolist()
    given = {"taken": taken, "camera": camera, "time": time, "weather": weather}
    back_to_front = [chosen[layer] for layer in sorted(chosen)]
    return tuple(_mover(rng, thing, middle, **given) for thing, middle in zip(back_to_front, middles, strict=False))


def sample_place(rng: np.random.Generator) -> Place:
    """Draw what is drawn first, so that a scene's place is known without the rest."""
    return _pick(rng, tuple(Place))


def sample_attributes(rng: np.random.Generator) -> dict:
    """Return the fields of a Scene except its seed."""
    place, time, camera = sample_place(rng), _pick(rng, tuple(Time)), _pick(rng, tuple(Camera))
    season, weather = _CLIMATES[int(rng.choice(len(_CLIMATES), p=_CLIMATE_WEIGHTS / _CLIMATE_WEIGHTS.sum()))]
    side = _pick(rng, (-1, 1))  # the landmark's
    taken = Side.LEFT if side < 0 else Side.RIGHT
    movers = _sample_movers(rng, place=place, camera=camera, time=time, weather=weather, season=season, taken=taken)
    amount = {
        Camera.FIXED: 0.0,
        Camera.LEFT: rng.uniform(0.3, 0.42),
        Camera.RIGHT: rng.uniform(0.3, 0.42),
        Camera.UP: rng.uniform(0.25, 0.29),
        Camera.DOWN: rng.uniform(0.25, 0.29),
        Camera.ZOOM_IN: rng.uniform(1.45, 1.65),
        Camera.ZOOM_OUT: rng.uniform(1.45, 1.65),
    }[camera]
    low = place == Place.SKY or movers[0].thing in _LAYERS[1] | _LAYERS[0]
    focus = ((0.5 + 0.05 * side) * ASPECT, 0.42 if low else 0.58)
    return {
        "place": place,
        "time": time,
        "weather": weather,
        "season": season,
        "camera": camera,
        "duration_s": round(float(rng.uniform(3.0, 5.0)), 1),
        "camera_amount": float(amount),
        "focus": focus,
        "landmark": _pick(rng, PLACE_LANDMARKS[place]) if rng.uniform() < 0.75 else None,
        "landmark_at": float(0.5 + side * rng.uniform(0.22, 0.28)),
        "movers": movers,
    }
