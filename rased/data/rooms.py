"""Simulated rooms as shards of impulse responses: a room is a function of (seed, number), whatever the number of jobs.

Empty boxes with walls of different absorption, an omnidirectional source and omnidirectional
microphones: image sources for the first reflections, ray tracing for the tail (Scheibler, Bezzam,
Dokmanic, "Pyroomacoustics: a Python package for audio room simulation and array processing
algorithms", ICASSP 2018, arXiv 1710.04196).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rased.data.folder import Writer, begin, recover, writing
from rased.data.pack import encode
from rased.data.responses import describe
from rased.data.schemas import Codec
from rased.data.shards import write_index
from rased.data.tars import Details
from rased.errors import RasedError
from rased.parallel import in_order

Response = Float[np.ndarray, " _"]
SMALLEST = (2.5, 2.5, 2.3)
LARGEST = (10.0, 8.0, 4.0)
"""Metres: length, width and height lie between these."""
SHORTEST_T60 = 0.1
"""Seconds; the walls of the largest room then absorb 82 %."""
_TO_WALL = 0.4
_DISTANCE = (0.3, 4.0)
_IMAGE_ORDER = 10
_RAYS = 5000
_QUIET_DB = -70.0
_PEAK = 0.99


@dataclass(frozen=True)
class Recipe:
    """How rooms are drawn.

    Attributes:
        count: number of rooms.
        seed: of everything.
        t60: range of the reverberation time in seconds (Eyring's; what came out is measured).
        positions: microphones in each room, each a response of its own.
        splits: shares of the rooms by split; they need not add up to 1.
        sample_rate: Hz.
    """

    count: int
    seed: int
    t60: tuple[float, float] = (0.15, 1.0)
    positions: int = 1
    splits: Mapping[str, float] = field(default_factory=lambda: {"train": 1.0})
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        if self.count < 1 or self.positions < 1:
            raise RasedError(
                f"{self.count} rooms with {self.positions} microphones; give 1 or more of each."
            )
        if self.seed < 0:
            raise RasedError(f"The seed is {self.seed}; it is 0 or more.")
        low, high = self.t60
        if not SHORTEST_T60 <= low <= high <= 3:
            raise RasedError(
                f"T60 from {low} to {high} s; the lower end comes first, allowed: {SHORTEST_T60} to 3."
            )
        if not self.splits or min(self.splits.values()) < 0 or sum(self.splits.values()) <= 0:
            raise RasedError(
                f"Splits {dict(self.splits)}: give shares of 0 or more, as train=0.8,valid=0.2."
            )
        if not 8000 <= self.sample_rate <= 48_000:
            raise RasedError(f"The sample rate is {self.sample_rate} Hz; allowed: 8000 to 48000.")

    def split(self, number: int) -> str:
        """The split of a room: the splits, in the order of their names, get their shares of the rooms in a row."""
        total, share = sum(self.splits.values()), 0.0
        for name, part in sorted(self.splits.items()):
            share += part
            if number < round(self.count * share / total):
                return name
        return max(name for name, part in self.splits.items() if part)


@dataclass(frozen=True)
class Room:
    """Geometry of one room: lengths and places in metres, absorption of the walls as a share of the energy.

    Attributes:
        size: length, width, height.
        t60: reverberation time that the walls were made for, after Eyring.
        absorption: of the walls west, east, south, north, floor and ceiling.
        scattering: share of what is reflected that leaves in any direction.
        source: place of the source.
        microphones: places of the microphones.
    """

    size: tuple[float, float, float]
    t60: float
    absorption: tuple[float, ...]
    scattering: float
    source: tuple[float, float, float]
    microphones: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Simulated:
    """What a run of `simulate` left: the folder, its responses, and how many an earlier run had made."""

    folder: Path
    samples: int
    seconds: float
    bytes: int
    resumed: int


def simulate(
    out: Path,
    *,
    recipe: Recipe,
    codec: Codec = "flac",
    shard_mb: float = 16.0,
    jobs: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Simulated:
    """Write the responses of `recipe.count` rooms into OUT/{split}-{number:06d}.tar with an index.

    The same recipe gives the same files for any number of jobs. A run that was cut off goes on
    behind its last complete shard. The json of a response holds its room, T60 and direct-to-
    reverberant ratio as measured.

    Args:
        out: folder of the shards; made where it is missing.
        recipe: what to simulate.
        codec: flac or pcm16.
        shard_mb: a shard ends before it exceeds this many megabytes.
        jobs: processes; 0: one per CPU core.
        progress: called with (responses done, responses in all).

    Raises:
        RasedError: pyroomacoustics is missing; out holds something else, or another process writes into
            it; no space left.
    """
    version = _pyroomacoustics().__version__
    if jobs < 0 or not shard_mb > 0:
        raise RasedError(f"{jobs} jobs, {shard_mb} MB a shard: give 0 or more, and above 0.")
    request = {
        "schema": 1,
        "role": "rir",
        "codec": codec,
        "shard_mb": shard_mb,
        "simulator": f"pyroomacoustics {version}",
        "recipe": {
            **asdict(recipe),
            "t60": list(recipe.t60),
            "splits": dict(sorted(recipe.splits.items())),
        },
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


def key(recipe: Recipe, number: int, place: int) -> str:
    """Name of a response; what is in front of "_p" is the label of its room."""
    return f"sim{recipe.seed}-{number:06d}_p{place}"


def draw(recipe: Recipe, number: int) -> Room:
    """The geometry of one room."""
    random = np.random.default_rng((recipe.seed, number))
    t60 = float(random.uniform(*recipe.t60))
    size = random.uniform(SMALLEST, LARGEST)
    absorbed = _absorption(size, t60)
    areas = _areas(size)
    walls = random.uniform(0.5, 1.5, 6)
    walls *= absorbed * areas.sum() / (walls @ areas)
    if walls.max() > 0.99:
        walls[:] = absorbed
    source = _place(random, size)
    microphones: list[tuple[float, float, float]] = []
    while len(microphones) < recipe.positions:
        place = _place(random, size)
        if _DISTANCE[0] <= float(np.linalg.norm(place - source)) <= _DISTANCE[1]:
            microphones.append(_point(place))
    return Room(
        size=_point(size),
        t60=round(t60, 4),
        absorption=tuple(round(float(wall), 4) for wall in walls),
        scattering=round(float(random.uniform(0.1, 0.4)), 3),
        source=_point(source),
        microphones=tuple(microphones),
    )


def responses(room: Room, *, seed: int, sample_rate: int) -> list[Response]:
    """Simulate a room: one response for each microphone, cut where 70 dB of its energy have gone."""
    acoustics = _pyroomacoustics()
    acoustics.constants.set("num_threads", 1)  # with more, sums come in any order
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
    return [_shortened(np.asarray(of_microphone[0])) for of_microphone in box.rir]


def render(number: int, *, recipe: Recipe, codec: Codec) -> list[tuple[Details, bytes]]:
    """Draw, simulate, measure and encode one room."""
    room = draw(recipe, number)
    seed = int(np.random.SeedSequence((recipe.seed, number, 1)).generate_state(1)[0]) >> 1
    made = []
    for place, response in enumerate(responses(room, seed=seed, sample_rate=recipe.sample_rate)):
        scale = _PEAK / float(np.abs(response).max())
        samples = np.rint(response * (32768 * scale)).astype(np.int16)
        name = key(recipe, number, place)
        distance = math.dist(room.source, room.microphones[place])
        details = {
            "key": name,
            "role": "rir",
            "split": recipe.split(number),
            "label": name.rpartition("_p")[0],
            "sample_rate": recipe.sample_rate,
            "frames": len(samples),
            "seconds": round(len(samples) / recipe.sample_rate, 3),
            "licence": "CC0-1.0",
            "source": f"simulated (pyroomacoustics {_pyroomacoustics().__version__})",
            "path": "",
            "note": "image sources and ray tracing in an empty box",
            **describe(samples, sample_rate=recipe.sample_rate),
            "distance": round(distance, 3),
            "room": {
                "size": list(room.size),
                "t60": room.t60,
                "absorption": list(room.absorption),
                "scattering": room.scattering,
                "source": list(room.source),
                "microphone": list(room.microphones[place]),
            },
        }
        made.append((details, encode(samples, codec, recipe.sample_rate)))
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
    """Mean absorption that gives a room this T60: Eyring, "Reverberation time in dead rooms", JASA 1, 1930."""
    volume, surface = float(size.prod()), float(_areas(size).sum())
    return 1 - math.exp(-24 * math.log(10) / 343 * volume / (surface * t60))


def _place(random: np.random.Generator, size: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    """Somewhere in the room, at the height of a mouth or of a table."""
    low = np.array([_TO_WALL, _TO_WALL, 0.8])
    high = np.array([size[0] - _TO_WALL, size[1] - _TO_WALL, min(1.9, size[2] - _TO_WALL)])
    return random.uniform(low, high)


def _point(place: Float[np.ndarray, " 3"]) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 3) for value in place)
    return x, y, z


def _shortened(response: Response) -> Response:
    energy = np.square(response.astype(np.float64))
    remaining = np.cumsum(energy[::-1])[::-1]
    last = np.flatnonzero(remaining > remaining[0] * 10 ** (_QUIET_DB / 10))[-1]
    return response[: int(last) + 1]
