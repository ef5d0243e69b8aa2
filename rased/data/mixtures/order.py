"""The order of samples: pure functions of (seed, epoch, index), for any number of workers and ranks.

An epoch is a sequence of `count` samples. A position in it is an integer: the number of
samples that all ranks together have used. Steps are counted from a position: every rank
gets a batch in every step, every sample is in exactly one batch (except in a last step with
fewer samples than ranks, see `batches`), and the batch of a rank does not depend on its number of workers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import numpy as np

from rased.errors import RasedError

SEEDS = 1 << 63
EPOCHS = 1 << 19
"""Number of different seeds and epochs for `generator`."""
LARGE = 1 << 18
"""Recordings from which on an order is `Shuffled`, not a list."""
_ROUNDS = 6
_WORD = (1 << 64) - 1


class Stream(IntEnum):
    """Streams of a sample's generator: a property with a stream of its own leaves the other draws as they are."""

    MIXTURE = 0
    FURTHER = 1
    """Noises after the first."""
    DISTORTIONS = 2
    SHAPING = 3
    ELSEWHERE = 4
    """Another place instead of a silent noise; the number of the noise is added."""
    SPEED = (1 << 16) + 1
    """From here on, out of reach of any number of noises."""
    BABBLE = (1 << 16) + 2
    SPEECH = (1 << 16) + 3
    NOISE_ROOM = (1 << 16) + 4
    ENROLMENT = (1 << 16) + 5
    T60 = (1 << 16) + 6
    PAIR = (1 << 16) + 7


@dataclass(frozen=True)
class Span:
    """Samples [start, stop) of an epoch: one batch of one rank; `step` counts from the starting position."""

    step: int
    start: int
    stop: int


def generator(seed: int, epoch: int, index: int, stream: int = 0) -> np.random.Generator:
    """Return the generator of one sample: Philox, a counter-based generator, keyed by (seed, epoch, index, stream).

    Draws from one stream of a sample do not affect those from another.
    """
    # 20 bits for the epoch and 44 for the index share one word of the key; a negative index (the order of a
    # pass) becomes a large one, which no sample has.
    name = np.array([seed, epoch << 44 | index & (1 << 44) - 1], dtype=np.int64)
    key = cast(np.random.SeedSequence, _Key(name.view(np.uint64)))
    # The counter has 256 bits: each stream has 2^128 blocks of random numbers to itself.
    return np.random.Generator(np.random.Philox(key, counter=stream << 128))


class _Key(np.random.bit_generator.ISeedSequence):
    """A fixed key instead of hashed entropy: eight times faster than Philox's own argument `key`."""

    def __init__(self, words: np.ndarray) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return the two words that Philox requests."""
        return self.words


def permutation(seed: int, epoch: int, turn: int, count: int, stream: int = 0) -> np.ndarray:
    """Return the order of `count` recordings in a given pass through them within an epoch; see `blockwise`."""
    return generator(seed, epoch, -1 - turn, stream).permutation(count)


def blockwise(
    seed: int, epoch: int, turn: int, *, blocks: np.ndarray, window: int = 1, stream: int = 0
) -> np.ndarray:
    """Return the order of recordings in a pass, with recordings of one block close to each other.

    Blocks come in random order, one after the other, and the recordings of each block are spread
    over the length of `window` blocks, so that about so many blocks are in use at any time.

    Args:
        seed: seed of the plan.
        epoch: number of the epoch.
        turn: number of the pass within it.
        blocks: block of each recording, from 0.
        window: 1: one block after the other, each shuffled.
        stream: stream of the generator, to give corpora different orders.
    """
    # Sort by (random place of the block + a random offset below `window`): neighbours in the result come from
    # about `window` blocks.
    random = generator(seed, epoch, -1 - turn, stream)
    place = random.permutation(int(blocks.max()) + 1)
    return np.argsort(place[blocks] + window * random.random(len(blocks)), kind="stable")


class Shuffled:
    """The order of a pass as a function: it takes the same memory for any number of recordings.

    A place is permuted by a Feistel network, which permutes a power of two; results beyond the recordings are
    permuted again. With groups, recordings that are neighbours in the index stay close, as in `blockwise`: the
    groups come in random order, and those of each `window` groups are mixed.
    """

    def __init__(
        self,
        seed: int,
        epoch: int,
        turn: int,
        *,
        count: int,
        group: int = 1,
        window: int = 1,
        stream: int = 0,
    ) -> None:
        """Set a pass.

        Args:
            seed: seed of the plan.
            epoch: number of the epoch.
            turn: number of the pass within it.
            count: number of recordings.
            group: recordings in a group.
            window: groups that are mixed.
            stream: stream of the generator, to give corpora different orders.
        """
        self.count, self.group, self.span = count, group, window * group
        # Whole windows: the groups beyond the recordings are empty.
        self._groups = -(-count // self.span) * window
        keys = generator(seed, epoch, -1 - turn, stream).integers(1 << 63, size=(2, _ROUNDS))
        self._outer, self._inner = (tuple(map(int, each)) for each in keys)

    def __getitem__(self, place: int) -> int:
        """Return the recording at a place of the pass."""
        while True:
            number, inside = divmod(place, self.span)
            # Each window is mixed in its own way.
            inside = _permuted(inside, self.span, tuple(key + number for key in self._inner))
            turn, within = divmod(inside, self.group)
            group = number * (self.span // self.group) + turn
            place = _permuted(group, self._groups, self._outer) * self.group + within
            if place < self.count:
                return place


def _permuted(value: int, size: int, keys: tuple[int, ...]) -> int:
    """Return the value of a permutation of [0, size)."""
    half = ((size - 1).bit_length() + 1) // 2
    low = (1 << half) - 1
    while True:
        left, right = value >> half, value & low
        for key in keys:
            left, right = right, left ^ (_scrambled(right + key) & low)
        value = left << half | right
        if value < size:
            return value


def _scrambled(word: int) -> int:
    """Return the finaliser of SplitMix64 for a word."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return word ^ word >> 31


def steps(position: int, count: int, *, batch_size: int, world_size: int) -> int:
    """Return the number of steps from a position to the end of an epoch of `count` samples.

    If fewer samples than ranks remain, they join the previous step, so that every rank gets a batch. If
    there is no previous step, because a run resumed with more ranks close to the
    end, they form a step of their own (see `batches`).

    Raises:
        RasedError: fewer samples in the epoch than ranks, or a position after its end.
    """
    left = count - position
    if left < 0:
        raise RasedError(
            f"The position {position} is after the end of an epoch of {count} samples: "
            "samples_per_epoch, or the number of utterances, has decreased."
        )
    if position == 0 and left < world_size:
        raise RasedError(
            f"An epoch of {count} samples cannot be shared by {world_size} ranks: lower the number of "
            "devices or raise samples_per_epoch."
        )
    # A short last step needs one sample per rank; otherwise `batches` appends the rest to the step before.
    full, rest = divmod(left, batch_size * world_size)
    return full + (1 if rest >= world_size or (rest and full == 0) else 0)


def batches(
    position: int,
    count: int,
    *,
    batch_size: int,
    world_size: int = 1,
    rank: int = 0,
    worker: int = 0,
    workers: int = 1,
) -> Iterator[Span]:
    """Yield the batches that one worker of one rank reads, from a position to the end of the epoch.

    Worker w of W takes every W-th step, the order in which a DataLoader collects them. The samples
    of a step are divided among the ranks, a contiguous run for each; those of the last step as evenly as
    possible. A step with fewer samples than ranks gives one to every rank, cyclically: only then are
    samples repeated (within that step), and none is lost.
    """
    total = steps(position, count, batch_size=batch_size, world_size=world_size)
    for step in range(worker, total, workers):
        start = position + step * batch_size * world_size
        stop = count if step == total - 1 else start + batch_size * world_size
        share, rest = divmod(stop - start, world_size)
        if share:
            # The first `rest` ranks get one sample more.
            first = start + rank * share + min(rank, rest)
            yield Span(step, first, first + share + (1 if rank < rest else 0))
        else:
            first = start + rank % rest
            yield Span(step, first, first + 1)


def consumed(step: int, position: int, count: int, *, batch_size: int, world_size: int) -> int:
    """Return the position after `step` steps from `position`."""
    total = steps(position, count, batch_size=batch_size, world_size=world_size)
    return count if step >= total else position + step * batch_size * world_size
