"""Which recording comes at which position of an epoch: in the order of a pass, or from a neighbourhood of blocks."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np

from rased.data.mixtures import order
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.order import Shuffled
from rased.data.schemas import Role

STREAMS: dict[Role, int] = {"speech": 0, "noise": 1, "rir": 2, "pairs": 3}
"""Streams of the generators of orders."""


Order = Callable[[int, int], np.ndarray | Shuffled]
"""A function of (epoch, pass): which recording comes at which place of the pass."""


def samples(seed: int, count: int, stream: int) -> Order:
    """Return the order of single recordings."""
    kind = order.permutation if count < order.LARGE else Shuffled
    return partial(kind, seed, count=count, stream=stream)


def by_blocks(seed: int, blocks: np.ndarray, stream: int, window: int = 1) -> Order:
    """Return the order of recordings in which those of a block stay close; see `order.blockwise`."""
    if len(blocks) < order.LARGE or (np.diff(blocks) < 0).any():
        return partial(order.blockwise, seed, blocks=blocks, window=window, stream=stream)
    # Groups of equal numbers of recordings: each is in at most two blocks, or in some more where recordings are short.
    return partial(
        Shuffled,
        seed,
        count=len(blocks),
        group=-(-len(blocks) // (int(blocks[-1]) + 1)),
        window=max(1, window // 2),
        stream=stream,
    )


class Turns:
    """The orders of a corpus, pass after pass; the last two are cached."""

    def __init__(self, order: Order, length: int) -> None:
        """Store an order and its length."""
        self.order, self.length = order, length
        self._kept: OrderedDict[tuple[int, int], np.ndarray | Shuffled] = OrderedDict()

    def __call__(self, epoch: int, index: int) -> int:
        """Return the recording at a position that counts through all passes of an epoch."""
        turn, place = divmod(index, self.length)
        found = self._kept.get((epoch, turn))
        if found is None:
            found = self._kept[epoch, turn] = self.order(epoch, turn)
            # Two, because a neighbourhood reaches from the end of a pass into the next one.
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return int(found[place])


class Nearby:
    """Draws recordings from a neighbourhood of blocks that moves over the whole corpus with the index.

    It moves by one recording per `uses` samples. This is fast enough to read the whole corpus at most once
    while all speech is read, and slow enough not to read more bytes than a segment per sample needs.
    """

    def __init__(self, corpus: Corpus, *, seed: int, window: int, uses: int) -> None:
        blocks = corpus.blocks()
        # Each recording stands `uses` times in a row: position // uses is its number.
        self.length, self.uses = uses * len(corpus), uses
        # The share of the corpus that `window` of its blocks make, rounded up.
        self.reach = min(self.length, -(-self.length * window // (int(blocks.max()) + 1)))
        self._order = Turns(
            by_blocks(seed, np.repeat(blocks, uses), STREAMS[corpus.role]),
            self.length,
        )

    def __call__(self, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording near a sample."""
        return self._order(epoch, index + int(random.integers(self.reach))) // self.uses
