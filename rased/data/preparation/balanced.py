"""Choose the components of the mixtures of a frozen test set, balanced for any number of mixtures.

Speakers, noise types, rooms and SNRs are used in rounds: each once before any is used again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.mixing import Target
from rased.data.mixtures.scene import SHORTEST
from rased.data.preparation.encoding import MOST_CHANNELS
from rased.errors import RasedError

T = TypeVar("T")
CONDITIONS = ("noise", "reverb+noise", "reverb")


@dataclass(frozen=True)
class FrozenRecipe:
    """How a test set is drawn.

    Attributes:
        count: number of mixtures.
        seed: seed of all random choices.
        snr_db: values used in turn; with `snr_range`, the two ends of a range.
        snr_range: draw evenly spread SNRs between the two values of snr_db.
        seconds: longest mixture; longer utterances are cut at quiet places.
        min_seconds: shorter utterances are not used.
        proportions: shares of the conditions noise, reverb+noise and reverb; any scale.
        level_dbfs: range of the level of the mixtures (rms, dB relative to full scale).
        target: target of the enhancer (see `mixing.Mixing`).
        early_ms: end of the early reflections after the direct path in ms, for target "early".
        microphones: channels of the noisy files; see `Scene.microphones`.
        enrolment: seconds of another utterance of the same speaker for each mixture; see `Scene.enrolment`.
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
    enrolment: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.enrolment is not None and not SHORTEST <= self.enrolment < math.inf:
            raise RasedError(f"The enrolment is {self.enrolment} s; give {SHORTEST} s or more.")
        if self.count < 1:
            raise RasedError(f"The number of mixtures is {self.count}; --count must be 1 or more.")
        if not 1 <= self.microphones <= MOST_CHANNELS["flac"]:
            raise RasedError(
                f"The number of microphones is {self.microphones}; allowed are 1 to {MOST_CHANNELS['flac']}."
            )
        if self.seed < 0:
            raise RasedError(f"The seed is {self.seed}; it must be 0 or more.")
        if not self.snr_db or not all(math.isfinite(value) for value in self.snr_db):
            raise RasedError(
                f"The SNRs are {self.snr_db}; give one or more numbers in dB, such as 0,5,10,15."
            )
        if self.snr_range and (len(self.snr_db) != 2 or self.snr_db[0] > self.snr_db[1]):
            raise RasedError(f"The SNR range is {self.snr_db}; give a lower and an upper end.")
        if not 0 < self.min_seconds <= self.seconds:
            raise RasedError(
                f"Utterances of {self.min_seconds} to {self.seconds} s: the shortest must be more than "
                "0 and at most the longest (--min-seconds, --seconds)."
            )
        shares = self.proportions
        if len(shares) != 3 or min(shares) < 0 or sum(shares) <= 0:
            raise RasedError(
                f"The shares are {shares}; give three numbers of 0 or more, for {', '.join(CONDITIONS)}."
            )
        levels_dbfs = self.level_dbfs
        if len(levels_dbfs) != 2 or not levels_dbfs[0] <= levels_dbfs[1] <= 0:
            raise RasedError(
                f"The levels are {levels_dbfs} dBFS; give two, lower end first, at most 0."
            )

    def plain(self) -> dict[str, Any]:
        """Return the recipe in the form of testset.json."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if (name != "microphones" or value > 1) and (name != "enrolment" or value is not None)
        }


@dataclass(frozen=True)
class Corpora:
    """The recordings that mixtures are drawn from; rir is None without rooms."""

    speech: Corpus
    noise: Corpus
    rir: Corpus | None

    def __post_init__(self) -> None:
        """Check that the sample rates are equal."""
        rates = {c.sample_rate for c in (self.speech, self.noise, self.rir) if c is not None}
        if len(rates) > 1:
            raise RasedError(
                f"Speech, noise and rooms have different sample rates ({sorted(rates)} Hz); pack them with one."
            )


@dataclass(frozen=True)
class DrawnItem:
    """All random choices for a mixture, before anything is read.

    Attributes:
        index: position in the set.
        condition: one of CONDITIONS.
        snr_db: infinite without noise.
        level_dbfs: level of the mixture.
        speech: number of the utterance in the corpus.
        noise: number of the recording; None without noise.
        rir: number of the response; None without a room.
        enrolment: number of another utterance of the speaker; None without an enrolment.
    """

    index: int
    condition: str
    snr_db: float
    level_dbfs: float
    speech: int
    noise: int | None
    rir: int | None
    enrolment: int | None = None


def plan(recipe: FrozenRecipe, sources: Corpora) -> list[DrawnItem]:
    """Choose the components of each mixture.

    Raises:
        RasedError: rooms are required but missing, no utterance is long enough, or a speaker has only one utterance
            but needs an enrolment.
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
    utterances = _balanced(sources.speech, long_enough, generator(recipe, 1))
    noises = _balanced(sources.noise, np.arange(len(sources.noise)), generator(recipe, 2))
    rooms = None
    if sources.rir is not None:
        rooms = _balanced(sources.rir, np.arange(len(sources.rir)), generator(recipe, 3))
    noisy = sum(condition != "reverb" for condition in conditions)
    snrs = _snrs(recipe, noisy, generator(recipe, 4))
    low, high = recipe.level_dbfs
    levels_dbfs = generator(recipe, 5).uniform(low, high, size=recipe.count)
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
    if recipe.enrolment is not None:
        return [replace(one, enrolment=_enrol(one, recipe, sources.speech)) for one in drawn]
    return drawn


def _enrol(drawn: DrawnItem, recipe: FrozenRecipe, speech: Corpus) -> int:
    """Draw another utterance of the speaker."""
    others = speech.beside(drawn.speech)
    if not len(others):
        raise RasedError(
            f"--enrolment needs another utterance of the same speaker, but '{speech.label[drawn.speech]}' has "
            f"only '{speech.key[drawn.speech]}' in the split '{speech.split}': remove it from the shards."
        )
    # An address for each mixture, so that --enrolment leaves all other draws unchanged.
    return int(generator(recipe, 9, drawn.index).choice(others))


def generator(recipe: FrozenRecipe, *address: int) -> np.random.Generator:
    """Return the generator for one purpose, independent of the draws for others."""
    # Addresses: 0 crops, 1 speech, 2 noise, 3 rooms, 4 SNRs, 5 levels, 6 conditions, 7 the place of the noise
    # in a room, 8 crops of enrolments, 9 enrolments. A new purpose needs a new one: frozen sets never change.
    return np.random.default_rng((recipe.seed, *address))


def _conditions(recipe: FrozenRecipe, shares: Sequence[float]) -> list[str]:
    """Return each condition as often as its share says (largest remainders), in random order."""
    exact = [share / sum(shares) * recipe.count for share in shares]
    counts = [int(value) for value in exact]
    # The largest remainder first.
    by_remainder = sorted(range(3), key=lambda place: counts[place] - exact[place])
    for place in by_remainder[: recipe.count - sum(counts)]:
        counts[place] += 1
    in_turn = [name for name, count in zip(CONDITIONS, counts, strict=True) for _ in range(count)]
    order = generator(recipe, 6).permutation(len(in_turn))
    return [in_turn[place] for place in order]


def _snrs(recipe: FrozenRecipe, count: int, random: np.random.Generator) -> Iterator[float]:
    if not recipe.snr_range:
        return _rounds(list(recipe.snr_db), random)
    low, high = recipe.snr_db
    # One value in each of `count` equal parts of the range, in random order.
    places = (random.permutation(count) + random.random(count)) / max(1, count)
    return (round(float(low + place * (high - low)), 2) for place in places)


def _balanced(
    corpus: Corpus, numbers: NDArray[np.int64], random: np.random.Generator
) -> Iterator[int]:
    """Yield recordings endlessly: labels in rounds, and within a label its recordings in rounds."""
    labels = np.array(corpus.label[numbers].tolist())
    of_label = {
        str(label): _rounds(numbers[labels == label].tolist(), random)
        for label in np.unique(labels)
    }
    # Sorted: the order of labels must not depend on the order of recordings.
    for label in _rounds(sorted(of_label), random):
        yield next(of_label[label])


def _rounds(values: Sequence[T], random: np.random.Generator) -> Iterator[T]:
    while True:
        for place in random.permutation(len(values)):
            yield values[place]
