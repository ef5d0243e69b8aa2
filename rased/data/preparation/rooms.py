"""Simulate rooms and write impulse responses as shards; a room is a function of (seed, number), for any number of jobs.

Rooms are empty boxes whose walls have different absorption, with an omnidirectional source and omnidirectional
microphones or arrays. Image sources give the first reflections, ray tracing the tail (Scheibler, Bezzam,
Dokmanic, "Pyroomacoustics: a Python package for audio room simulation and array processing
algorithms", ICASSP 2018, arXiv 1710.04196).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from rased.data.preparation.pack import MOST_CHANNELS, encode
from rased.data.preparation.responses import describe
from rased.data.schemas import Codec
from rased.data.shards.folder import Writer, begin, recover, writing
from rased.data.shards.index import write_index
from rased.data.shards.tars import Details
from rased.errors import RasedError
from rased.parallel import in_order

Response = Float[np.ndarray, " _"]
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
# Reflections that are computed exactly; the rays give the rest of the decay.
_IMAGE_ORDER = 10
_RAYS = 5000
_QUIET_DB = -70.0
_PEAK = 0.99


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


@dataclass(frozen=True)
class Simulated:
    """Result of `simulate`: the folder, its responses, and how many come from an earlier run."""

    folder: Path
    samples: int
    seconds: float
    bytes: int
    resumed: int


def simulate(
    out: Path,
    *,
    recipe: RoomRecipe,
    codec: Codec = "flac",
    shard_mb: float = 16.0,
    jobs: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Simulated:
    """Write the responses of `recipe.count` rooms to OUT/{split}-{number:06d}.tar with an index.

    The same recipe gives the same files for any number of jobs. An interrupted run continues
    after its last complete shard. The JSON of a response holds its room, and its measured T60 and direct-to-
    reverberant ratio.

    Args:
        out: folder of the shards; created if missing.
        recipe: what to simulate.
        codec: flac or pcm16.
        shard_mb: a shard ends before it exceeds this many megabytes.
        jobs: number of processes; 0: one per CPU core.
        progress: called with (responses done, total responses).

    Raises:
        RasedError: pyroomacoustics is missing; `out` contains something else, or another process writes to
            it; or the disk is full.
    """
    version = _pyroomacoustics().__version__
    if jobs < 0 or not shard_mb > 0:
        raise RasedError(f"jobs is {jobs} and shard_mb {shard_mb}: give 0 or more, and above 0.")
    request = {
        "schema": 1,
        "role": "rir",
        "codec": codec,
        "shard_mb": shard_mb,
        "simulator": f"pyroomacoustics {version}",
        "recipe": recipe.plain(),
    }
    total = recipe.count * recipe.positions
    with writing(out):
        finished = begin(out, request)
        rows = recover(out)
        resumed = len(rows)
        if not finished:
            done = set(rows.columns["key"])
            todo = (
                number
                for number in range(recipe.count)
                if any(key(recipe, number, place) not in done for place in range(recipe.positions))
            )
            count = resumed
            progress(count, total)
            with Writer(out, rows, codec, shard_mb=shard_mb) as writer:
                rendering = partial(render, recipe=recipe, codec=codec)
                for responses in in_order(rendering, todo, jobs=jobs, engine="processes"):
                    for details, audio in responses:
                        if details["key"] not in done:
                            writer.write(details, audio)
                            count += 1
                    progress(count, total)
            write_index(
                out,
                role="rir",
                codec=codec,
                sample_rate=recipe.sample_rate,
                shards=rows.shards,
                licences=rows.licences,
                columns=rows.columns,
            )
    return Simulated(
        folder=out,
        samples=len(rows),
        seconds=rows.frames / recipe.sample_rate,
        bytes=sum(shard.bytes for shard in rows.shards),
        resumed=resumed,
    )


def key(recipe: RoomRecipe, number: int, place: int) -> str:
    """Return the name of a response; the part before "_p" is the label of its room."""
    return f"sim{recipe.seed}-{number:06d}_p{place}"


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


def responses(room: Room, *, seed: int, sample_rate: int) -> list[Response]:
    """Simulate a room; return one response for each microphone."""
    acoustics = _pyroomacoustics()
    # With more threads, sums are computed in random order.
    acoustics.constants.set("num_threads", 1)
    acoustics.random.seed(seed)
    names = ("west", "east", "south", "north", "floor", "ceiling")
    walls = {
        name: acoustics.Material(absorbed, room.scattering)
        for name, absorbed in zip(names, room.absorption, strict=True)
    }
    box = acoustics.ShoeBox(
        list(room.size),
        fs=sample_rate,
        materials=walls,
        max_order=_IMAGE_ORDER,
        air_absorption=True,
        ray_tracing=True,
    )
    box.set_ray_tracing(n_rays=_RAYS)
    box.add_source(list(room.source))
    for place in room.microphones:
        box.add_microphone(list(place))
    box.compute_rir()
    return [np.asarray(of_microphone[0]) for of_microphone in box.rir]


def render(number: int, *, recipe: RoomRecipe, codec: Codec) -> list[tuple[Details, bytes]]:
    """Draw, simulate, measure and encode one room."""
    room = draw(recipe, number)
    # >> 1: within a signed integer of 32 bits.
    seed = int(np.random.SeedSequence((recipe.seed, number, 1)).generate_state(1)[0]) >> 1
    made, count = [], recipe.microphones
    simulated = responses(room, seed=seed, sample_rate=recipe.sample_rate)
    for place in range(recipe.positions):
        own = slice(place * count, (place + 1) * count)
        # One scale for the whole array keeps the level differences.
        response = _shortened(simulated[own])
        scale = _PEAK / float(np.abs(response).max())
        samples = np.rint(response * (32768 * scale)).astype(np.int16)
        microphones = room.microphones[own]
        name = key(recipe, number, place)
        distance = math.dist(room.source, microphones[0])
        details = {
            "key": name,
            "role": "rir",
            "split": recipe.split(number),
            "label": name.rpartition("_p")[0],
            "sample_rate": recipe.sample_rate,
            "frames": samples.shape[1],
            "seconds": round(samples.shape[1] / recipe.sample_rate, 3),
            **({"channels": count} if count > 1 else {}),
            "licence": "CC0-1.0",
            "source": f"simulated (pyroomacoustics {_pyroomacoustics().__version__})",
            "path": "",
            "note": "image sources and ray tracing in an empty box",
            **describe(samples[0], sample_rate=recipe.sample_rate),
            "distance": round(distance, 3),
            "room": {
                "size": list(room.size),
                "t60": room.t60,
                "absorption": list(room.absorption),
                "scattering": room.scattering,
                "source": list(room.source),
                "microphone": list(microphones[0]),
                **({"array": [list(each) for each in microphones]} if count > 1 else {}),
            },
        }
        stored = samples[0] if count == 1 else samples.T
        made.append((details, encode(stored, codec, recipe.sample_rate)))
    return made


def _pyroomacoustics() -> Any:
    try:
        import pyroomacoustics
    except ImportError as error:
        raise RasedError(
            "Simulating rooms needs pyroomacoustics, which is not installed: pip install 'rased[rooms]'."
        ) from error
    return pyroomacoustics


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


def _shortened(several: Sequence[Response]) -> Float[np.ndarray, "channel time"]:
    """Return the responses of an array, cut where the energy of each has decayed by 70 dB."""
    end = max(_end(response) for response in several)
    together = np.zeros((len(several), end), several[0].dtype)
    for channel, response in zip(together, several, strict=True):
        channel[: len(response)] = response[:end]
    return together


def _end(response: Response) -> int:
    energy = np.square(response.astype(np.float64))
    # Schroeder's backward integral: energy from each sample on.
    remaining = np.cumsum(energy[::-1])[::-1]
    return int(np.flatnonzero(remaining > remaining[0] * 10 ** (_QUIET_DB / 10))[-1]) + 1
