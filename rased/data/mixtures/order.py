"""Which sample comes when: pure functions of (seed, epoch, index), whatever the number of workers or ranks.

An epoch is a sequence of `count` samples. A position in it is a plain integer: the number of
samples that all ranks together have consumed. Steps are laid out from a position on: every rank
gets a batch in every step, every sample is in exactly one batch (but see `batches` for a rest of
fewer samples than ranks), and the batch of a rank does not depend on how many workers read it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from rased.errors import RasedError

SEEDS = 1 << 63
EPOCHS = 1 << 19
"""Seeds and epochs that `generator` tells apart."""


@dataclass(frozen=True)
class Span:
    """Samples [start, stop) of an epoch: one batch of one rank; `step` counts from the position that was asked for."""

    step: int
    start: int
    stop: int


def generator(seed: int, epoch: int, index: int, stream: int = 0) -> np.random.Generator:
    """The generator of one sample: Philox, a counter-based one, keyed by what the sample is called.

    What one stream of a sample gives moves no draw of another.
    """
    name = np.array([seed, epoch << 44 | index & (1 << 44) - 1], dtype=np.int64)
    key = cast(np.random.SeedSequence, _Key(name.view(np.uint64)))
    return np.random.Generator(np.random.Philox(key, counter=stream << 128))


class _Key(np.random.bit_generator.ISeedSequence):
    """A key as it is, in place of a seed that it is made from: eight times faster than Philox's own `key`."""

    def __init__(self, words: np.ndarray) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """The two words that Philox asks for."""
        return self.words


def permutation(seed: int, epoch: int, turn: int, count: int) -> np.ndarray:
    """Order in which `count` recordings come in the given turn through them within an epoch."""
    return generator(seed, epoch, -1 - turn).permutation(count)


def blockwise(
    seed: int, epoch: int, turn: int, *, blocks: np.ndarray, window: int = 1, stream: int = 0
) -> np.ndarray:
    """Order in which recordings come in a turn, where neighbours (of one block) come at about the same time.

    Blocks come in a random order, one after the other, and the recordings of each are scattered
    over as long as `window` blocks take: about so many blocks are in use at any time.

    Args:
        seed: of everything.
        epoch: number of the epoch.
        turn: number of the turn within it.
        blocks: block of each recording, from 0 on.
        window: 1 for one block after the other, each shuffled.
        stream: of the generator; orders of several corpora differ by it.
    """
    random = generator(seed, epoch, -1 - turn, stream)
    place = random.permutation(int(blocks.max()) + 1)
    return np.argsort(place[blocks] + window * random.random(len(blocks)), kind="stable")


def steps(position: int, count: int, *, batch_size: int, world_size: int) -> int:
    """Number of steps from a position to the end of an epoch of `count` samples.

    A rest with fewer samples than ranks joins the step before it, so that no rank is left without a
    batch. Where there is no step before it, because a run went on with more ranks so close to the
    end, it is a step of its own (see `batches`).

    Raises:
        RasedError: fewer samples in the epoch than ranks, or a position behind its end.
    """
    left = count - position
    if left < 0:
        raise RasedError(
            f"The position {position} lies behind the end of an epoch of {count} samples: "
            "samples_per_epoch, or the number of utterances, is less than it was."
        )
    if position == 0 and left < world_size:
        raise RasedError(
            f"An epoch of {count} samples cannot be shared by {world_size} ranks: lower the number of "
            "devices or raise samples_per_epoch."
        )
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
    """The batches that one worker of one rank reads, from a position on to the end of the epoch.

    Worker w of W takes every W-th step, as a DataLoader collects them. All ranks share the samples
    of a step in turn, each a run of its own; in the last step the rest is shared as evenly as it
    goes. A step of fewer samples than ranks gives one to every rank, going round: only then are
    samples repeated, within that step, and none is lost.
    """
    total = steps(position, count, batch_size=batch_size, world_size=world_size)
    for step in range(worker, total, workers):
        start = position + step * batch_size * world_size
        stop = count if step == total - 1 else start + batch_size * world_size
        share, rest = divmod(stop - start, world_size)
        if share:
            first = start + rank * share + min(rank, rest)
            yield Span(step, first, first + share + (1 if rank < rest else 0))
        else:
            first = start + rank % rest
            yield Span(step, first, first + 1)


def consumed(step: int, position: int, count: int, *, batch_size: int, world_size: int) -> int:
    """Position after `step` steps from `position`."""
    total = steps(position, count, batch_size=batch_size, world_size=world_size)
    return count if step >= total else position + step * batch_size * world_size
