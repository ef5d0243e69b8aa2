"""Simulate rooms and write impulse responses as shards; a room is a function of (seed, number), for any number of jobs.

Rooms are empty boxes whose walls have different absorption, with an omnidirectional source and omnidirectional
microphones or arrays. Image sources give the first reflections, ray tracing the tail (Scheibler, Bezzam,
Dokmanic, "Pyroomacoustics: a Python package for audio room simulation and array processing
algorithms", ICASSP 2018, arXiv 1710.04196).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rased.data.preparation.encoding import encode
from rased.data.preparation.geometry import Room, RoomRecipe, draw
from rased.data.preparation.responses import describe
from rased.data.schemas import Codec
from rased.data.shards.folder import Writer, begin, recover, writing
from rased.data.shards.index import write_index
from rased.data.shards.tars import Details
from rased.errors import RasedError
from rased.parallel import Cluster, in_order

Response = Float[np.ndarray, " _"]
# Reflections that are computed exactly; the rays give the rest of the decay.
_IMAGE_ORDER = 10
_RAYS = 5000
_QUIET_DB = -70.0
_PEAK = 0.99


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
    engine: Cluster | None = None,
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
        engine: a Ray cluster (`rased.parallel.cluster`); None: processes of this machine.
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
                for responses in in_order(
                    rendering, todo, jobs=jobs, workers="processes", engine=engine
                ):
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
