"""A frozen test set: fixed mixtures with everything that was drawn written down, the same for everyone.

What a mixture holds follows from the recipe, its seed and the sources. Speakers, noise types, rooms
and SNRs come in rounds (each once before any comes again), so that the set is balanced at any size.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from rased.data.columns import hexadecimal
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.mixing import PEAK, Mixer, Mixing, Target
from rased.data.mixtures.sample import Batch, Mixture, reference
from rased.data.preparation.pack import MOST_CHANNELS, encode
from rased.data.schemas import LOSSLESS
from rased.data.shards.index import DIGITS
from rased.data.testset import SCHEMA, TESTSET, list_sha256, put_in_place
from rased.disk import on_disk
from rased.errors import RasedError
from rased.names import component
from rased.signal import levels, room

T = TypeVar("T")
CONDITIONS = ("noise", "reverb+noise", "reverb")
_CANDIDATES = 16
"""Places in a recording that are looked at to find a good one."""


@dataclass(frozen=True)
class FrozenRecipe:
    """How a test set is drawn.

    Attributes:
        count: number of mixtures.
        seed: of everything that is drawn.
        snr_db: values that come in turn; two values with `snr_range` are the ends of a range.
        snr_range: draw evenly spread SNRs between the two values of snr_db.
        seconds: longest mixture; longer utterances are cut at quiet places.
        min_seconds: shorter utterances are not used.
        proportions: shares of the conditions noise, reverb+noise and reverb; any scale.
        level_dbfs: range of the level of the mixtures (rms, dB re full scale).
        target: what of the mixture the enhancer should give (see `mixing.Mixing`).
        early_ms: end of the early reflections behind the direct path, for target "early".
        microphones: channels of the noisy files; see `Scene.microphones`.
    """

    count: int
    seed: int
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0)
    snr_range: bool = False
    seconds: float = 4.0
    min_seconds: float = 2.0
    proportions: tuple[float, ...] = (60.0, 30.0, 10.0)
    level_dbfs: tuple[float, ...] = (-32.0, -20.0)
    target: Target = "early"
    early_ms: float = 50.0
    microphones: int = 1

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        if self.count < 1:
            raise RasedError(f"A test set of {self.count} mixtures is none; --count is 1 or more.")
        if not 1 <= self.microphones <= MOST_CHANNELS["flac"]:
            raise RasedError(
                f"{self.microphones} microphones; allowed: 1 to {MOST_CHANNELS['flac']}."
            )
        if self.seed < 0:
            raise RasedError(f"The seed is {self.seed}; it is 0 or more.")
        if not self.snr_db or not all(math.isfinite(value) for value in self.snr_db):
            raise RasedError(f"SNRs {self.snr_db}: give one or more numbers in dB, as 0,5,10,15.")
        if self.snr_range and (len(self.snr_db) != 2 or self.snr_db[0] > self.snr_db[1]):
            raise RasedError(f"An SNR range has a lower and an upper end; given: {self.snr_db}.")
        if not 0 < self.min_seconds <= self.seconds:
            raise RasedError(
                f"Utterances of {self.min_seconds} to {self.seconds} s: the shortest must be more than "
                "0 and at most the longest (--min-seconds, --seconds)."
            )
        shares = self.proportions
        if len(shares) != 3 or min(shares) < 0 or sum(shares) <= 0:
            raise RasedError(
                f"Shares {shares}: give three of 0 or more, for {', '.join(CONDITIONS)}."
            )
        levels_dbfs = self.level_dbfs
        if len(levels_dbfs) != 2 or not levels_dbfs[0] <= levels_dbfs[1] <= 0:
            raise RasedError(f"Levels {levels_dbfs} dBFS: give two, lower end first, at most 0.")


@dataclass(frozen=True)
class Corpora:
    """The recordings that mixtures are drawn from; rir is None where there are no rooms."""

    speech: Corpus
    noise: Corpus
    rir: Corpus | None

    def __post_init__(self) -> None:
        """Check once."""
        rates = {c.sample_rate for c in (self.speech, self.noise, self.rir) if c is not None}
        if len(rates) > 1:
            raise RasedError(
                f"Speech, noise and rooms have the sample rates {sorted(rates)} Hz; pack them with one."
            )


@dataclass(frozen=True)
class DrawnItem:
    """What chance decides about mixture `index` before anything is read.

    Attributes:
        index: its place in the set.
        condition: one of CONDITIONS.
        snr_db: infinite without noise.
        level_dbfs: level of the mixture.
        speech: number of the utterance in the corpus.
        noise: number of the recording, None without noise.
        rir: number of the response, None without a room.
    """

    index: int
    condition: str
    snr_db: float
    level_dbfs: float
    speech: int
    noise: int | None
    rir: int | None


def freeze(
    speech: str | Path,
    noise: str | Path,
    rir: str | Path | None,
    out: Path,
    *,
    recipe: FrozenRecipe,
    split: str = "test",
    name: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write OUT/{testset.json, noisy/ID.flac, target/ID.flac} and return what testset.json holds.

    Args:
        speech: folder of packed shards, or `bundle`.
        noise: the same for noise.
        rir: the same for rooms; None leaves only the condition "noise".
        out: new or empty folder; a complete set of the same recipe in it is made again and must be equal.
        recipe: how to draw.
        split: of all three.
        name: of the set in results; the folder's name where it is empty.
        progress: called with (mixtures done, mixtures in all).

    Raises:
        RasedError: sources that do not serve, `out` holds something else, no space left.
    """
    sources = Corpora(
        speech=Corpus([speech], role="speech", split=split),
        noise=Corpus([noise], role="noise", split=split),
        rir=None if rir is None else Corpus([rir], role="rir", split=split),
    )
    _check_channels(recipe, sources)
    drawn = plan(recipe, sources)
    _check_out(out)
    title = component(name or out.resolve().name, what="the name of the test set")
    with on_disk(out, "Nothing of the set is kept: make room or choose another --out"):
        return put_in_place(
            out.resolve(),
            lambda work: _write(work, drawn, recipe, sources, split, title, progress),
        )


def _check_channels(recipe: FrozenRecipe, sources: Corpora) -> None:
    """Check that there are enough channels for the microphones.

    Raises:
        RasedError: there are not.
    """
    if recipe.microphones > 1:
        if sources.rir is not None:
            sources.rir.refuse_fewer(recipe.microphones)
        if int(sources.noise.channels.max()) > 1:
            sources.noise.refuse_fewer(recipe.microphones)


def _write(
    work: Path,
    drawn: Sequence[DrawnItem],
    recipe: FrozenRecipe,
    sources: Corpora,
    split: str,
    name: str,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    for folder in ("noisy", "target"):
        (work / folder).mkdir()
    items = []
    for item in drawn:
        mixture, details = mix(item, recipe, sources)
        for part in ("noisy", "target"):
            data = encode(_quantised(mixture, part), "flac", sources.speech.sample_rate)
            (work / part / f"{details['id']}.flac").write_bytes(data)
            details[f"sha256_{part}"] = hashlib.sha256(data).hexdigest()
        items.append(details)
        progress(len(items), recipe.count)
    return {
        "schema": SCHEMA,
        "name": name,
        "seed": recipe.seed,
        "sample_rate": sources.speech.sample_rate,
        "count": recipe.count,
        "target": recipe.target,
        "early_ms": recipe.early_ms,
        "split": split,
        "seconds": round(sum(item["seconds"] for item in items), 3),
        "recipe": _plain(recipe),
        "sources": {
            "speech": sources.speech.manifest(),
            "noise": sources.noise.manifest(),
            "rir": None if sources.rir is None else sources.rir.manifest(),
        },
        "contents": {
            "speech": _contents(sources.speech, {item.speech for item in drawn}),
            "noise": _contents(sources.noise, {item.noise for item in drawn}),
            "rir": _contents(sources.rir, {item.rir for item in drawn}),
        },
        "made_with": {
            "soundfile": soundfile.__version__,
            "libsndfile": soundfile.__libsndfile_version__,
        },
        "list_sha256": list_sha256(items),
        "items": items,
    }


def _contents(corpus: Corpus | None, drawn: Iterable[int | None]) -> dict[str, list[str]]:
    """What a manifest may hold of each recording that was drawn: packed here, or with another codec."""
    found = {}
    for number in sorted(number for number in drawn if number is not None):
        assert corpus is not None
        audio = (
            corpus.read_channels(number).T if corpus.channels[number] > 1 else corpus.read(number)
        )
        samples = np.rint(audio * np.float32(32768)).astype(np.int16)
        packed = (encode(samples, codec, corpus.sample_rate) for codec in LOSSLESS)
        digests = {hashlib.sha256(content).hexdigest() for content in packed}
        digests |= set(hexadecimal(corpus.sha256[number : number + 1]))
        found[corpus.key[number]] = sorted(digest[:DIGITS] for digest in digests)
    return dict(sorted(found.items()))


def plan(recipe: FrozenRecipe, sources: Corpora) -> list[DrawnItem]:
    """Decide what each mixture is made of.

    Raises:
        RasedError: rooms are wanted and there are none, or no utterance is long enough.
    """
    shares = recipe.proportions if sources.rir is not None else (1.0, 0.0, 0.0)
    conditions = _conditions(recipe, shares)
    shortest = recipe.min_seconds * sources.speech.sample_rate
    long_enough = np.flatnonzero(sources.speech.frames >= shortest)
    if not len(long_enough):
        raise RasedError(
            f"No utterance of the split '{sources.speech.split}' has {recipe.min_seconds} s; allow "
            "shorter ones with --min-seconds."
        )
    utterances = _balanced(sources.speech, long_enough, _generator(recipe, 1))
    noises = _balanced(sources.noise, np.arange(len(sources.noise)), _generator(recipe, 2))
    rooms = None
    if sources.rir is not None:
        rooms = _balanced(sources.rir, np.arange(len(sources.rir)), _generator(recipe, 3))
    noisy = sum(condition != "reverb" for condition in conditions)
    snrs = _snrs(recipe, noisy, _generator(recipe, 4))
    low, high = recipe.level_dbfs
    levels_dbfs = _generator(recipe, 5).uniform(low, high, size=recipe.count)
    drawn = []
    for index, condition in enumerate(conditions):
        with_noise, with_room = condition != "reverb", condition != "noise"
        drawn.append(
            DrawnItem(
                index=index,
                condition=condition,
                snr_db=next(snrs) if with_noise else math.inf,
                level_dbfs=float(levels_dbfs[index]),
                speech=next(utterances),
                noise=next(noises) if with_noise else None,
                rir=next(rooms) if with_room and rooms is not None else None,
            )
        )
    return drawn


def mix(drawn: DrawnItem, recipe: FrozenRecipe, sources: Corpora) -> tuple[Mixture, dict[str, Any]]:
    """Read, cut and mix one item; the hashes of the files are added where they are written.

    The mixture is in double precision, so that another processor rounds it to the same 16 bits.
    """
    random = _generator(recipe, 0, drawn.index)
    sample_rate = sources.speech.sample_rate
    clean = sources.speech.read(drawn.speech).astype(np.float64)
    frames = min(len(clean), round(recipe.seconds * sample_rate))
    speech_start = _quiet_ends(clean, frames, random, edge=sample_rate // 50)
    clean = clean[speech_start : speech_start + frames]
    noise, noise_start = np.zeros(frames), None
    if drawn.noise is not None:
        recording = sources.noise.read(drawn.noise).astype(np.float64)
        noise_start = _eventful(recording, frames, random)
        noise = np.resize(np.roll(recording, -noise_start), frames)
        if recipe.microphones > 1 and sources.noise.channels[drawn.noise] > 1:
            every = sources.noise.read_channels(drawn.noise)[: recipe.microphones]
            rolled = np.roll(every.astype(np.float64), -noise_start, axis=1)
            noise = np.stack([np.resize(channel, frames) for channel in rolled])
        if levels.rms(torch.from_numpy(noise if noise.ndim == 1 else noise[0])) < levels.SILENT:
            raise RasedError(
                f"The noise '{sources.noise.key[drawn.noise]}' is silent: leave it out."
            )
    several = recipe.microphones > 1
    rir, t60, drr_db = np.ones((recipe.microphones, 1) if several else 1), None, None
    noise_rir = None
    if drawn.rir is not None and sources.rir is not None:
        rir = _response(sources.rir, drawn.rir, recipe.microphones)
        if several and drawn.noise is not None and noise.ndim == 1:
            noise_rir = _elsewhere_in(sources.rir, drawn.rir, _generator(recipe, 7, drawn.index))
        first = rir[0] if several else rir
        if not first.any():
            raise RasedError(
                f"The response '{sources.rir.key[drawn.rir]}' is silent: leave it out."
            )
        t60 = room.t60(torch.from_numpy(first), sample_rate=sample_rate)
        drr_db = room.direct_to_reverberant_ratio_db(
            torch.from_numpy(first), sample_rate=sample_rate
        )
    mixer = Mixer(Mixing(target=recipe.target, early_ms=recipe.early_ms, sample_rate=sample_rate))
    level_dbfs = drawn.level_dbfs
    while True:
        batch = _batch(drawn, clean, noise, rir, level_dbfs, sample_rate)
        if noise_rir is not None and sources.rir is not None:
            response = torch.from_numpy(_response(sources.rir, noise_rir, recipe.microphones))
            batch["noise_rir"] = response[None]
            batch["noise_direct_path"] = room.direct_path(response[:1], sample_rate=sample_rate)
            batch["noise_rir_key"] = [str(noise_rir)]
        mixture = mixer(batch)
        peak = float(mixture["target"].abs().max())
        if peak <= PEAK:
            break
        level_dbfs -= 20 * math.log10(peak / PEAK) + 0.01
    speech, noises, rooms = sources.speech, sources.noise, sources.rir
    details = {
        "id": f"m{drawn.index:04d}",
        "condition": drawn.condition,
        "snr_db": drawn.snr_db if drawn.noise is not None else None,
        "seconds": round(frames / sample_rate, 4),
        "level_dbfs": round(float(levels.dbfs(levels.rms(reference(mixture["noisy"])))), 3),
        "speech": str(speech.key[drawn.speech]),
        "speaker": str(speech.label[drawn.speech]),
        "speech_start": speech_start,
        "noise": None if drawn.noise is None else str(noises.key[drawn.noise]),
        "noise_type": None if drawn.noise is None else str(noises.label[drawn.noise]),
        "noise_start": noise_start,
        "rir": None if drawn.rir is None or rooms is None else str(rooms.key[drawn.rir]),
        "room": None if drawn.rir is None or rooms is None else str(rooms.label[drawn.rir]),
        "t60": _number(t60),
        "drr_db": _number(drr_db),
    }
    if noise_rir is not None and rooms is not None:
        details["noise_rir"] = str(rooms.key[noise_rir])
    return mixture, details


def _response(rir: Corpus, number: int, microphones: int) -> NDArray[np.float64]:
    """(taps,), of several microphones (channel, taps), from 5 ms before the direct path of the first one on."""
    if microphones == 1:
        stored = torch.from_numpy(rir.read(number).astype(np.float64))
        return room.from_direct_path(stored, sample_rate=rir.sample_rate)[0].numpy()
    several = rir.read_channels(number)[:microphones].astype(np.float64)
    first = torch.from_numpy(several[0])
    length = len(room.from_direct_path(first, sample_rate=rir.sample_rate)[0])
    return several[:, several.shape[1] - length :]


def _elsewhere_in(rir: Corpus, number: int, random: np.random.Generator) -> int:
    """Another response of the same room for the noise, else any other one."""
    others = rir.beside(number)
    if not len(others):
        others = np.delete(np.arange(len(rir)), number)
    return int(random.choice(others)) if len(others) else number


def _batch(
    drawn: DrawnItem,
    clean: NDArray[np.float64],
    noise: NDArray[np.float64],
    rir: NDArray[np.float64],
    level_dbfs: float,
    sample_rate: int,
) -> Batch:
    response = torch.from_numpy(rir)[None]
    return Batch(
        clean=torch.from_numpy(clean)[None],
        noise=torch.from_numpy(noise)[None],
        rir=response,
        direct_path=room.direct_path(reference(response), sample_rate=sample_rate),
        snr_db=torch.tensor([drawn.snr_db], dtype=torch.float64),
        level_dbfs=torch.tensor([level_dbfs], dtype=torch.float64),
        index=torch.tensor([drawn.index]),
        key=[""],
        noise_key=[""],
        rir_key=["" if drawn.rir is None else str(drawn.rir)],
        shaping=torch.zeros(1, 2, 0),
        distortions=[()],
        skipped=[],
        rooms_bytes=0,
    )


def _generator(recipe: FrozenRecipe, *address: int) -> np.random.Generator:
    return np.random.default_rng((recipe.seed, *address))


def _conditions(recipe: FrozenRecipe, shares: Sequence[float]) -> list[str]:
    """Return each condition as often as its share says (largest remainders), in drawn order."""
    exact = [share / sum(shares) * recipe.count for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(3), key=lambda place: counts[place] - exact[place])
    for place in by_remainder[: recipe.count - sum(counts)]:
        counts[place] += 1
    in_turn = [name for name, count in zip(CONDITIONS, counts, strict=True) for _ in range(count)]
    order = _generator(recipe, 6).permutation(len(in_turn))
    return [in_turn[place] for place in order]


def _snrs(recipe: FrozenRecipe, count: int, random: np.random.Generator) -> Iterator[float]:
    if not recipe.snr_range:
        return _rounds(list(recipe.snr_db), random)
    low, high = recipe.snr_db
    places = (random.permutation(count) + random.random(count)) / max(1, count)
    return (round(float(low + place * (high - low)), 2) for place in places)


def _balanced(
    corpus: Corpus, numbers: NDArray[np.int64], random: np.random.Generator
) -> Iterator[int]:
    """Yield recordings for ever: labels in rounds, and within a label its recordings in rounds."""
    labels = np.array(corpus.label[numbers].tolist())
    of_label = {
        str(label): _rounds(numbers[labels == label].tolist(), random)
        for label in np.unique(labels)
    }
    for label in _rounds(sorted(of_label), random):
        yield next(of_label[label])


def _rounds(values: Sequence[T], random: np.random.Generator) -> Iterator[T]:
    while True:
        for place in random.permutation(len(values)):
            yield values[place]


def _quiet_ends(
    clean: NDArray[np.float64], frames: int, random: np.random.Generator, *, edge: int
) -> int:
    """Of some drawn places for a cut, return the one whose two ends fall into the quietest speech."""
    starts = random.integers(len(clean) - frames + 1, size=_CANDIDATES).tolist()

    def loudness(start: int) -> float:
        ends = (clean[start : start + edge], clean[start + frames - edge : start + frames])
        return sum(float(np.square(end).sum()) for end in ends)

    return int(min(starts, key=loudness))


def _eventful(noise: NDArray[np.float64], frames: int, random: np.random.Generator) -> int:
    """Return the first of some drawn places where the noise is at most 6 dB below its own mean power.

    A shorter recording goes round and may start anywhere. Where no place is loud enough, the loudest; where all are
    silent, the loudest place of the recording.
    """
    if len(noise) <= frames:
        return int(random.integers(len(noise)))
    starts = random.integers(len(noise) - frames + 1, size=_CANDIDATES).tolist()
    power = [float(np.square(noise[start : start + frames]).mean()) for start in starts]
    if max(power) < levels.SILENT**2:
        energy = np.concatenate([[0.0], np.square(noise).cumsum()])
        return int(np.argmax(energy[frames:] - energy[:-frames]))
    enough = 0.25 * float(np.square(noise).mean())
    return int(
        next(
            (s for s, p in zip(starts, power, strict=True) if p >= enough),
            starts[int(np.argmax(power))],
        )
    )


def _quantised(mixture: Mixture, part: str) -> NDArray[np.int16]:
    waveform = {"noisy": mixture["noisy"], "target": mixture["target"]}[part]
    assert float(waveform.abs().max()) < 1
    return np.rint(waveform[0].numpy().T * 32768).astype(np.int16)


def _number(value: float | None) -> float | None:
    """Return a rounded number; None where there is none, as JSON has neither nan nor infinity."""
    return None if value is None or not math.isfinite(value) else round(value, 3)


def _plain(recipe: FrozenRecipe) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(recipe).items()
        if name != "microphones" or value > 1
    }


def _check_out(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise RasedError(f"'{out}' is a file; --out is a folder for the test set.")
    names = {path.name for path in out.iterdir()}
    if names and TESTSET not in names:
        raise RasedError(
            f"'{out}' holds other things ({', '.join(sorted(names)[:3])}): choose an empty --out."
        )
