"""Draw the geometry of rooms: size, walls, source and microphones. A room is a function of (seed, number)."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from rased.data.preparation.encoding import MOST_CHANNELS
from rased.errors import RasedError

Array = Literal["circle", "line"]
SMALLEST = (2.5, 2.5, 2.3)
LARGEST = (10.0, 8.0, 4.0)
"""Ranges of length, width and height in metres."""
SHORTEST_T60 = 0.1
"""Shortest reverberation time in seconds; the walls of the largest room then absorb 82 %."""
# Metres to the walls.
_TO_WALL = 0.4
_REACH = 0.25
"""Largest radius of an array in metres: it stays inside the room, and away from the source."""
# Metres between microphones and source.
_DISTANCE = (0.3, 4.0)


@dataclass(frozen=True)
class RoomRecipe:
    """How rooms are drawn.

    Attributes:
        count: number of rooms.
        seed: seed of all random choices.
        t60: range of the reverberation time in seconds (by Eyring's formula; the real value is measured).
        positions: positions of the microphone or array in each room, with one response each.
        splits: shares of the rooms by split; they need not add up to 1.
        sample_rate: Hz.
        microphones: channels of a response: an array in a horizontal plane, with random orientation.
        array: "circle" or "line".
        spacing: distance between neighbouring microphones of an array in metres.
    """

    count: int
    seed: int
    t60: tuple[float, float] = (0.15, 1.0)
    positions: int = 1
    splits: Mapping[str, float] = field(default_factory=lambda: {"train": 1.0})
    sample_rate: int = 16_000
    microphones: int = 1
    array: Array = "circle"
    spacing: float = 0.05

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.count < 1 or self.positions < 1:
            raise RasedError(
                f"There are {self.count} rooms with {self.positions} positions; give 1 or more of each."
            )
        if self.seed < 0:
            raise RasedError(f"The seed is {self.seed}; it must be 0 or more.")
        low, high = self.t60
        if not SHORTEST_T60 <= low <= high <= 3:
            raise RasedError(
                f"T60 is {low} to {high} s; the lower end must come first, within {SHORTEST_T60} to 3."
            )
        if not self.splits or min(self.splits.values()) < 0 or sum(self.splits.values()) <= 0:
            raise RasedError(
                f"The splits are {dict(self.splits)}; give shares of 0 or more, such as train=0.8,valid=0.2."
            )
        if not 8000 <= self.sample_rate <= 48_000:
            raise RasedError(
                f"The sample rate is {self.sample_rate} Hz; allowed are 8000 to 48000."
            )
        self._check_array()

    def _check_array(self) -> None:
        if not 1 <= self.microphones <= MOST_CHANNELS["flac"]:
            raise RasedError(
                f"An array has {self.microphones} microphones; allowed are 1 to {MOST_CHANNELS['flac']}."
            )
        if self.array not in get_args(Array):
            raise RasedError(f"The array is '{self.array}'; allowed are circle and line.")
        if not 0 < self.spacing < math.inf or self.radius > _REACH:
            raise RasedError(
                f"{self.microphones} microphones on a {self.array}, {self.spacing} m apart, reach {self.radius:.3g} m "
                f"from its centre; allowed are a spacing above 0, and up to {_REACH} m."
            )

    @property
    def radius(self) -> float:
        """Return the distance in metres from the centre of an array to its outermost microphones."""
        if self.microphones == 1:
            return 0.0
        if self.array == "line":
            return self.spacing * (self.microphones - 1) / 2
        return self.spacing / (2 * math.sin(math.pi / self.microphones))

    def plain(self) -> dict[str, Any]:
        """Return the recipe in the form of JSON; the array only if there is one."""
        fields = {
            **asdict(self),
            "t60": list(self.t60),
            "splits": dict(sorted(self.splits.items())),
        }
        if self.microphones == 1:
            for name in ("microphones", "array", "spacing"):
                del fields[name]
        return fields

    def split(self, number: int) -> str:
        """Return the split of a room: rooms are assigned to the splits in alphabetical order, by their shares."""
        total, share = sum(self.splits.values()), 0.0
        for name, part in sorted(self.splits.items()):
            # Cumulated before rounding, so that the numbers of rooms add up.
            share += part
            if number < round(self.count * share / total):
                return name
        return max(name for name, part in self.splits.items() if part)


@dataclass(frozen=True)
class Room:
    """Geometry of one room: lengths and positions in metres, absorption of the walls as a share of the energy.

    Attributes:
        size: length, width, height.
        t60: reverberation time for which the walls were chosen, by Eyring's formula.
        absorption: of the walls west, east, south, north, floor and ceiling.
        scattering: share of reflected energy that is scattered.
        source: position of the source.
        microphones: positions of the microphones; those of an array follow each other.
    """

    size: tuple[float, float, float]
    t60: float
    absorption: tuple[float, ...]
    scattering: float
    source: tuple[float, float, float]
    microphones: tuple[tuple[float, float, float], ...]


def draw(recipe: RoomRecipe, number: int) -> Room:
    """Draw the geometry of one room."""
    random = np.random.default_rng((recipe.seed, number))
    t60 = float(random.uniform(*recipe.t60))
    size = random.uniform(SMALLEST, LARGEST)
    absorbed = _absorption(size, t60)
    areas = _areas(size)
    # How the walls differ from the mean.
    walls = random.uniform(0.5, 1.5, 6)
    # The mean over the areas becomes the absorption of Eyring's formula; if one wall cannot absorb that much,
    # all get the mean.
    walls *= absorbed * areas.sum() / (walls @ areas)
    if walls.max() > 0.99:
        walls[:] = absorbed
    source = _place(random, size)
    places: list[Float[np.ndarray, " 3"]] = []
    while len(places) < recipe.positions:
        place = _place(random, size)
        if _DISTANCE[0] <= float(np.linalg.norm(place - source)) <= _DISTANCE[1]:
            places.append(place)
    # A generator of its own: rooms with one microphone keep their draws.
    turns = np.random.default_rng((recipe.seed, number, 2)).uniform(0, 2 * math.pi, len(places))
    around = zip(places, turns, strict=True)
    return Room(
        size=_point(size),
        t60=round(t60, 4),
        absorption=tuple(round(float(wall), 4) for wall in walls),
        scattering=round(float(random.uniform(0.1, 0.4)), 3),
        source=_point(source),
        microphones=tuple(point for place, turn in around for point in _array(recipe, place, turn)),
    )


def _array(
    recipe: RoomRecipe, middle: Float[np.ndarray, " 3"], turn: float
) -> list[tuple[float, float, float]]:
    """Return the positions of the microphones of an array in a horizontal plane, in order."""
    count = recipe.microphones
    if recipe.array == "line":
        along, angles = recipe.spacing * (np.arange(count) - (count - 1) / 2), np.full(count, turn)
    else:
        along, angles = np.full(count, recipe.radius), turn + 2 * math.pi * np.arange(count) / count
    offsets = np.stack([along * np.cos(angles), along * np.sin(angles), np.zeros(count)], axis=1)
    return [_point(middle + offset) for offset in offsets]


def _areas(size: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 6"]:
    length, width, height = size
    return np.repeat([width * height, length * height, length * width], 2)


def _absorption(size: Float[np.ndarray, " 3"], t60: float) -> float:
    """Return the mean absorption for a T60 (Eyring, "Reverberation time in dead rooms", JASA 1, 1930)."""
    volume, surface = float(size.prod()), float(_areas(size).sum())
    # T60 = 24 ln(10) V / (-c S ln(1 - a)), with c = 343 m/s.
    return 1 - math.exp(-24 * math.log(10) / 343 * volume / (surface * t60))


def _place(random: np.random.Generator, size: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    """Draw a position in the room, at the height of a mouth or of a table."""
    low = np.array([_TO_WALL, _TO_WALL, 0.8])
    high = np.array([size[0] - _TO_WALL, size[1] - _TO_WALL, min(1.9, size[2] - _TO_WALL)])
    return random.uniform(low, high)


def _point(place: Float[np.ndarray, " 3"]) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in place)
    return x, y, z
