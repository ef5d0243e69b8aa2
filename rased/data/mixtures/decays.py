"""Reverberation times of the rooms of a corpus, and how to choose a room by them."""

from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import torch
from jaxtyping import Float

from rased.data.mixtures.corpus import Corpus
from rased.disk import replacing
from rased.errors import RasedError
from rased.machine import cache_folder
from rased.signal import room

_VERSION = 1
"""Version of the measurement: files in the cache of another version are not used."""


class Decays:
    """The rooms of a corpus, ordered by their reverberation time.

    The times are measured from the responses, once per corpus, and kept in the cache folder. A response that does not
    decay by 25 dB, or cannot be read, has none and is never chosen.

    Attributes:
        t60: seconds for each response; nan if it has none.
    """

    def __init__(self, rir: Corpus) -> None:
        self.split = rir.split
        self.t60 = _measured(rir)
        known = np.flatnonzero(np.isfinite(self.t60))
        # Sorted by time, so that a range is a slice.
        self._rooms = known[np.argsort(self.t60[known], kind="stable")]
        self._times = self.t60[self._rooms]

    def check(self, ends: tuple[float, float], name: str) -> None:
        """Check that a room is within a range.

        Raises:
            RasedError: none is; the message says which times there are.
        """
        first, last = self._between(ends)
        if first < last:
            return
        there = "none of them has a reverberation time"
        if len(self._times):
            there = f"they have {self._times[0]:.2f} to {self._times[-1]:.2f} s"
        raise RasedError(
            f"{name} is {list(ends)}, but no room of the split '{self.split}' is within that range ({there}): "
            "change the range, or add rooms with `rased data rooms --t60`."
        )

    def draw(
        self,
        ends: tuple[float, float],
        random: np.random.Generator,
        *,
        other_than: int | None = None,
    ) -> int:
        """Draw a room within a range; if there is none, return the one that is closest to it.

        The room `other_than` is avoided, unless it is the only one within the range.
        """
        first, last = self._between(ends)
        if first == last:  # between the ends of a curriculum there may be a gap
            return self.closest(self._rooms.tolist(), ends, other_than=other_than)
        found = self._rooms[first:last]
        if other_than is not None and len(found) > 1:
            found = found[found != other_than]
        return int(random.choice(found))

    def closest(
        self, rooms: Iterable[int], ends: tuple[float, float], *, other_than: int | None = None
    ) -> int:
        """Return the first of some rooms within a range, or the one that is closest to it."""

        def distance(number: int) -> tuple[bool, float]:
            time = self.t60[number]
            off = max(ends[0] - time, time - ends[1], 0.0) if np.isfinite(time) else np.inf
            # False sorts first: the avoided room is the last resort.
            return number == other_than, off

        return min(rooms, key=distance)

    def _between(self, ends: tuple[float, float]) -> tuple[int, int]:
        """Return the places [first, last) of a range in the ordered rooms."""
        return (
            int(np.searchsorted(self._times, ends[0], side="left")),
            int(np.searchsorted(self._times, ends[1], side="right")),
        )


def _measured(rir: Corpus) -> Float[np.ndarray, " recordings"]:
    """Return the reverberation times of all responses, from the cache if possible."""
    path = cache_folder() / "t60" / f"{_VERSION}-{rir.digest()}.npy"
    if path.is_file():
        try:
            kept: np.ndarray = np.load(path)
            if kept.shape == (len(rir),) and kept.dtype == np.float64:
                return kept
        except (OSError, ValueError):
            pass  # a damaged file is measured and written again
    times = np.array([_of(rir, number) for number in range(len(rir))], np.float64)
    # A cache that cannot be written only costs time: the next process measures again.
    with suppress(OSError), replacing(path) as part, part.open("wb") as file:
        np.save(file, times)
    return times


def _of(rir: Corpus, number: int) -> float:
    """Return the reverberation time of the first channel of a response, rounded as in the JSON of a shard."""
    response = rir.whole(number)
    if response is None or not response.any():
        return float("nan")
    return round(room.t60(torch.from_numpy(response), sample_rate=rir.sample_rate), 3)
