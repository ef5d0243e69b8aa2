"""Impulse responses as mixtures use them: from just before the direct path on, all channels cut alike."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rased.data.mixtures.corpus import Corpus
from rased.errors import RasedError
from rased.signal import room

Responses = Float[np.ndarray, "*channel taps"]
ROOMS_MB = 64.0
"""Megabytes of decoded rooms that a process keeps, where nothing else is said."""


def read_response(
    rir: Corpus, number: int, *, microphones: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "channel taps"], int]:
    """A response from 5 ms before the direct path of its first channel on, and where that is then.

    Raises:
        RasedError: it cannot be read, or is silent.
    """
    several = rir.read_channels(number)[:microphones] if microphones > 1 else rir.read(number)[None]
    stored = torch.from_numpy(several).to(dtype)
    if not bool(stored[0].any()):
        raise RasedError(f"the impulse response '{rir.key[number]}' is silent; leave it out.")
    first, direct = room.from_direct_path(stored[0], sample_rate=rir.sample_rate)
    return stored[:, stored.shape[-1] - len(first) :], direct


class Rooms:
    """Impulse responses, decoded once, in `taps` samples, of which `tail` count from the direct path.

    Of several microphones all are cut and faded alike, by the direct path of the first one.
    At most `limit` bytes are kept, in each process its own.
    """

    def __init__(
        self, rir: Corpus, taps: int, tail: int, *, limit: int, microphones: int = 1
    ) -> None:
        self.rir, self.taps, self.tail, self.limit = rir, taps, tail, limit
        self.microphones = microphones
        self._kept: OrderedDict[int, tuple[Responses, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What is kept stays behind."""
        return self.__dict__ | {"_kept": OrderedDict()}

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return len(self._kept) * self.microphones * self.taps * np.dtype(np.float32).itemsize

    def __getitem__(self, number: int) -> tuple[Responses, int]:
        """Response, zero-padded or faded out over its last 50 ms, and its direct path.

        (taps,), of several microphones (channel, taps).

        Raises:
            RasedError: it cannot be read, or is silent.
        """
        found = self._kept.pop(number, None)
        if found is None:
            found = self._cut(number)
            while self._kept and (len(self._kept) + 1) * found[0].nbytes > self.limit:
                self._kept.popitem(last=False)
        self._kept[number] = found
        return found

    def _cut(self, number: int) -> tuple[Responses, int]:
        heard, direct = read_response(self.rir, number, microphones=self.microphones)
        end = min(heard.shape[-1], direct + self.tail)
        response = np.zeros((self.microphones, self.taps), np.float32)
        response[:, :end] = heard[:, :end].numpy()
        if end < heard.shape[-1]:
            fade = min(self.tail // 2, self.rir.sample_rate // 20)
            response[:, end - fade : end] *= np.linspace(1, 0, fade, dtype=np.float32)
        return response[0] if self.microphones == 1 else response, direct
