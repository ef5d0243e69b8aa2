"""Write frozen test sets: fixed mixtures with a record of all random choices, the same for everyone.

A mixture is determined by the recipe, its seed and the sources. Speakers, noise types, rooms
and SNRs are used in rounds (each once before any is used again), so a set of any size is balanced.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from rased.data.columns import hexadecimal
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.mixing import PEAK, Mixer, Mixing
from rased.data.mixtures.rooms import read_response
from rased.data.mixtures.sample import Batch, Mixture, reference
from rased.data.preparation.balanced import Corpora, DrawnItem, FrozenRecipe, generator, plan
from rased.data.preparation.encoding import encode
from rased.data.preparation.frozen import write_frozen
from rased.data.schemas import LOSSLESS
from rased.data.shards.index import DIGITS
from rased.data.testset import ENROLMENT, GIVEN, TESTSET
from rased.errors import RasedError
from rased.names import component
from rased.parallel import Cluster, in_order
from rased.signal import levels, room

_CANDIDATES = 16
"""Number of random positions in a recording from which the best one is chosen."""


def freeze(
    speech: str | Path,
    noise: str | Path,
    rir: str | Path | None,
    out: Path,
    *,
    recipe: FrozenRecipe,
    split: str = "test",
    name: str = "",
    jobs: int = 1,
    engine: Cluster | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write OUT/{testset.json, noisy/ID.flac, target/ID.flac}, and return the content of testset.json.

    Enrolments are written to OUT/conditions/enrolment/ID.flac.

    Args:
        speech: folder of packed shards, or `bundle`.
        noise: the same for noise.
        rir: the same for rooms; None: only the condition "noise".
        out: new or empty folder; a complete set of the same recipe in it is generated again and must be equal.
        recipe: how to draw.
        split: split of all three sources.
        name: name of the set in results; "": the folder's name.
        jobs: number of processes; 0: one per core. The result does not depend on it.
        engine: a Ray cluster (`rased.parallel.cluster`); None: this machine.
        progress: called with (mixtures done, total mixtures).

    Raises:
        RasedError: unsuitable sources, `out` contains something else, or the disk is full.
    """
    sources = Corpora(
        speech=Corpus([speech], role="speech", split=split),
        noise=Corpus([noise], role="noise", split=split),
        rir=None if rir is None else Corpus([rir], role="rir", split=split),
    )
    _check_channels(recipe, sources)
    drawn = plan(recipe, sources)
    check_out(out)
    about = {
        "name": component(name or out.resolve().name, what="the name of the test set"),
        "seed": recipe.seed,
        "sample_rate": sources.speech.sample_rate,
        "target": recipe.target,
        "early_ms": recipe.early_ms,
        "split": split,
        "recipe": recipe.plain(),
        "sources": {role: of and of.manifest() for role, of in vars(sources).items()},
        "contents": _contents(sources, drawn, jobs, engine),
    }
    return write_frozen(
        out.resolve(),
        drawn,
        partial(_item, recipe=recipe, sources=sources),
        about,
        kept="Nothing of the set is kept: free some space, or choose another --out",
        progress=lambda done: progress(done, recipe.count),
        jobs=jobs,
        engine=engine,
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


def _item(
    drawn: DrawnItem, recipe: FrozenRecipe, sources: Corpora
) -> tuple[dict[str, Any], dict[str, NDArray[np.int16]]]:
    mixture, details = mix(drawn, recipe, sources)
    parts = {
        "noisy": _quantised(mixture["noisy"]),
        "target": _quantised(mixture["target"]),
    }
    if drawn.enrolment is not None:
        samples, start = _enrolment(drawn.enrolment, drawn.index, recipe, sources.speech)
        parts[f"{GIVEN}/{ENROLMENT}"] = samples
        key = str(sources.speech.key[drawn.enrolment])
        details |= {"enrolment": key, "enrolment_start": start}
    return details, parts


def _contents(
    sources: Corpora, drawn: Sequence[DrawnItem], jobs: int, engine: Cluster | None
) -> dict[str, dict[str, list[str]]]:
    """Return the content hashes of each recording in the form of a manifest, by role and key."""
    used = {
        "speech": {number for item in drawn for number in (item.speech, item.enrolment)},
        "noise": {item.noise for item in drawn},
        "rir": {item.rir for item in drawn},
    }
    every = [
        (role, number)
        for role, numbers in used.items()
        for number in sorted(number for number in numbers if number is not None)
    ]
    content = partial(_content, sources=sources)
    found: dict[str, dict[str, list[str]]] = {role: {} for role in used}
    hashes = in_order(
        content, every, jobs=jobs, workers="processes", engine=engine, share=lambda _: 1 / 16
    )
    for (role, _), (key, digests) in zip(every, hashes, strict=True):
        found[role][key] = digests
    return {role: dict(sorted(contents.items())) for role, contents in found.items()}


def _content(place: tuple[str, int], *, sources: Corpora) -> tuple[str, list[str]]:
    """Return the key of a recording, and its content hashes, also for other codecs."""
    role, number = place
    corpus: Corpus = getattr(sources, role)
    audio = corpus.read_channels(number).T if corpus.channels[number] > 1 else corpus.read(number)
    # Recordings in shards have 16 bits, so this is exact.
    samples = np.rint(audio * np.float32(32768)).astype(np.int16)
    # The same recording has other bytes in shards of another codec.
    packed = (encode(samples, codec, corpus.sample_rate) for codec in LOSSLESS)
    digests = {hashlib.sha256(content).hexdigest() for content in packed}
    digests |= set(hexadecimal(corpus.sha256[number : number + 1]))
    return corpus.key[number], sorted(digest[:DIGITS] for digest in digests)


def mix(drawn: DrawnItem, recipe: FrozenRecipe, sources: Corpora) -> tuple[Mixture, dict[str, Any]]:
    """Read, cut and mix one item; the hashes of the files are added when they are written.

    The mixture is computed in double precision, so that every processor rounds it to the same 16-bit samples.
    """
    random = generator(recipe, 0, drawn.index)
    sample_rate, several = sources.speech.sample_rate, recipe.microphones > 1
    clean, speech_start = _speech(drawn, recipe, sources.speech, random)
    noise, noise_start = _noise(drawn, recipe, sources.noise, len(clean), random)
    # A response of one tap: no room.
    rir = torch.ones(recipe.microphones, 1, dtype=torch.float64)
    t60 = drr_db = noise_rir = None
    if drawn.rir is not None and sources.rir is not None:
        rir = _response(sources.rir, drawn.rir, recipe)
        # Noise of one channel needs a place of its own, or it would come from the direction of the speech.
        if several and drawn.noise is not None and noise.ndim == 1:
            noise_rir = _elsewhere_in(sources.rir, drawn.rir, generator(recipe, 7, drawn.index))
        t60 = room.t60(rir[0], sample_rate=sample_rate)
        drr_db = room.direct_to_reverberant_ratio_db(rir[0], sample_rate=sample_rate)
    # The mixer limits the peak of the mixture; that of the target alone may be higher.
    mixer = Mixer(Mixing(target=recipe.target, early_ms=recipe.early_ms, sample_rate=sample_rate))
    level_dbfs = drawn.level_dbfs
    while True:
        batch = _batch(drawn, clean, noise, rir if several else rir[0], level_dbfs, sample_rate)
        if noise_rir is not None and sources.rir is not None:
            response = _response(sources.rir, noise_rir, recipe)
            batch["noise_rir"] = response[None]
            batch["noise_direct_path"] = room.direct_path(response[:1], sample_rate=sample_rate)
            batch["noise_rir_key"] = [str(noise_rir)]
        mixture = mixer(batch)
        peak = float(mixture["target"].abs().max())
        if peak <= PEAK:
            break
        # A little more than needed, against rounding.
        level_dbfs -= 20 * math.log10(peak / PEAK) + 0.01
    speech, noises, rooms = sources.speech, sources.noise, sources.rir
    details = {
        "id": f"m{drawn.index:04d}",
        "condition": drawn.condition,
        "snr_db": drawn.snr_db if drawn.noise is not None else None,
        "seconds": round(len(clean) / sample_rate, 4),
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


def _speech(
    drawn: DrawnItem, recipe: FrozenRecipe, speech: Corpus, random: np.random.Generator
) -> tuple[NDArray[np.float64], int]:
    """Return a crop of the utterance with quiet ends, and its start."""
    clean = speech.read(drawn.speech).astype(np.float64)
    frames = min(len(clean), round(recipe.seconds * speech.sample_rate))
    # Ends of 20 ms.
    start = _quiet_ends(clean, frames, random, edge=speech.sample_rate // 50)
    return clean[start : start + frames], start


def _noise(
    drawn: DrawnItem,
    recipe: FrozenRecipe,
    noises: Corpus,
    frames: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.float64], int | None]:
    """Return noise of (frames,), or of (channel, frames) if it has a channel for each microphone; and its start.

    Raises:
        RasedError: the recording is silent.
    """
    if drawn.noise is None:
        return np.zeros(frames), None
    heard = noises.read(drawn.noise)[None]
    # The first channel decides for all.
    start = _eventful(heard[0].astype(np.float64), frames, random)
    several = recipe.microphones > 1 and noises.channels[drawn.noise] > 1
    if several:
        heard = noises.read_channels(drawn.noise)[: recipe.microphones]
    # `np.resize` repeats a shorter recording.
    rolled = np.roll(heard.astype(np.float64), -start, axis=1)
    noise = np.stack([np.resize(channel, frames) for channel in rolled])
    if levels.rms(torch.from_numpy(noise[0])) < levels.SILENT:
        raise RasedError(f"The noise '{noises.key[drawn.noise]}' is silent: remove it.")
    return noise if several else noise[0], start


def _enrolment(
    number: int, index: int, recipe: FrozenRecipe, speech: Corpus
) -> tuple[NDArray[np.int16], int]:
    """Return a crop of a recording, unchanged, or a shorter recording repeated; and its start."""
    assert recipe.enrolment is not None
    recording = speech.read(number)
    frames = round(recipe.enrolment * speech.sample_rate)
    # A recording that is repeated may start anywhere.
    places = len(recording) if len(recording) < frames else len(recording) - frames + 1
    start = int(generator(recipe, 8, index).integers(places))
    samples = np.resize(np.roll(recording, -start), frames)
    return np.rint(samples * np.float32(32768)).astype(np.int16), start


def _response(rir: Corpus, number: int, recipe: FrozenRecipe) -> Float[Tensor, "channel taps"]:
    return read_response(rir, number, microphones=recipe.microphones, dtype=torch.float64)[0]


def _elsewhere_in(rir: Corpus, number: int, random: np.random.Generator) -> int:
    """Return another response of the same room for the noise, else any other response."""
    others = rir.beside(number)
    if not len(others):
        others = np.delete(np.arange(len(rir)), number)
    return int(random.choice(others)) if len(others) else number


def _batch(
    drawn: DrawnItem,
    clean: NDArray[np.float64],
    noise: NDArray[np.float64],
    rir: Float[Tensor, "*channel taps"],
    level_dbfs: float,
    sample_rate: int,
) -> Batch:
    response = rir[None]
    return Batch(
        clean=torch.from_numpy(clean)[None],
        noise=torch.from_numpy(noise)[None],
        rir=response,
        direct_path=room.direct_path(reference(response), sample_rate=sample_rate),
        snr_db=torch.tensor([drawn.snr_db], dtype=torch.float64),
        level_dbfs=torch.tensor([level_dbfs], dtype=torch.float64),
        index=torch.tensor([drawn.index]),
        # Names are in `details`; the mixer needs none.
        key=[""],
        noise_key=[""],
        # The mixer keeps the spectra of rooms by this key.
        rir_key=["" if drawn.rir is None else str(drawn.rir)],
        shaping=torch.zeros(1, 2, 0),
        distortions=[()],
        skipped=[],
        rooms_bytes=0,
    )


def _quiet_ends(
    clean: NDArray[np.float64], frames: int, random: np.random.Generator, *, edge: int
) -> int:
    """Return the best of some random crops, the one whose two ends are in the quietest speech."""
    starts = random.integers(len(clean) - frames + 1, size=_CANDIDATES).tolist()

    def loudness(start: int) -> float:
        ends = (clean[start : start + edge], clean[start + frames - edge : start + frames])
        return sum(float(np.square(end).sum()) for end in ends)

    return int(min(starts, key=loudness))


def _eventful(noise: NDArray[np.float64], frames: int, random: np.random.Generator) -> int:
    """Return the first of some random positions where the noise is at most 6 dB below its own mean power.

    A shorter recording wraps around and may start anywhere. If no position is loud enough, return the loudest;
    if all are
    silent, the loudest position of the whole recording.
    """
    if len(noise) <= frames:
        return int(random.integers(len(noise)))
    starts = random.integers(len(noise) - frames + 1, size=_CANDIDATES).tolist()
    power = [float(np.square(noise[start : start + frames]).mean()) for start in starts]
    if max(power) < levels.SILENT**2:
        energy = np.concatenate([[0.0], np.square(noise).cumsum()])
        return int(np.argmax(energy[frames:] - energy[:-frames]))
    # -6 dB.
    enough = 0.25 * float(np.square(noise).mean())
    return int(
        next(
            (s for s, p in zip(starts, power, strict=True) if p >= enough),
            starts[int(np.argmax(power))],
        )
    )


def _quantised(waveform: Float[Tensor, "1 *channel time"]) -> NDArray[np.int16]:
    assert float(waveform.abs().max()) < 1
    # (channel, time) to (time, channel); a vector stays as it is.
    return np.rint(waveform[0].numpy().T * 32768).astype(np.int16)


def _number(value: float | None) -> float | None:
    """Return a rounded number; None for nan and infinity, which JSON does not have."""
    return None if value is None or not math.isfinite(value) else round(value, 3)


def check_out(out: Path) -> None:
    """Check that a folder is free for a test set, or has one.

    Raises:
        RasedError: it contains something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RasedError(f"'{out}' is a file; --out must be a folder for the test set.")
    names = {path.name for path in out.iterdir()}
    if names and TESTSET not in names:
        raise RasedError(
            f"'{out}' contains other files ({', '.join(sorted(names)[:3])}): choose an empty --out."
        )
