"""Impulse responses in the form that mixtures use: cut just before the direct path, the same for all channels."""

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
"""Default megabytes of decoded rooms that a process caches."""


def read_response(
    rir: Corpus, number: int, *, microphones: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "channel taps"], int]:
    """Read a response from 5 ms before the direct path of its first channel; return it with that index.

    Raises:
        RasedError: it cannot be read, or is silent.
    """
    several = rir.read_channels(number)[:microphones] if microphones > 1 else rir.read(number)[None]
    stored = torch.from_numpy(several).to(dtype)
    if not bool(stored[0].any()):
        raise RasedError(f"the impulse response '{rir.key[number]}' is silent; remove it.")
    first, direct = room.from_direct_path(stored[0], sample_rate=rir.sample_rate)
    # The same number of samples is cut from the beginning of each channel.
    return stored[:, stored.shape[-1] - len(first) :], direct


class Rooms:
    """Cache of decoded impulse responses of `taps` samples, of which `tail` are after the direct path.

    With several microphones, all channels are cut and faded in the same way, by the direct path of the first one.
    Each process has its own cache of at most `limit` bytes.
    """

    def __init__(
        self, rir: Corpus, taps: int, tail: int, *, limit: int, microphones: int = 1
    ) -> None:
        self.rir, self.taps, self.tail, self.limit = rir, taps, tail, limit
        self.microphones = microphones
        self._kept: OrderedDict[int, tuple[Responses, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cache out of a pickle."""
        return self.__dict__ | {"_kept": OrderedDict()}

    @property
    def bytes(self) -> int:
        """Return the bytes in the cache."""
        return len(self._kept) * self.microphones * self.taps * np.dtype(np.float32).itemsize

    def __getitem__(self, number: int) -> tuple[Responses, int]:
        """Return a response, zero-padded, or faded out over its last 50 ms, and its direct path.

        The shape is (taps,), with several microphones (channel, taps).

        Raises:
            RasedError: it cannot be read, or is silent.
        """
        found = self._kept.pop(number, None)
        if found is None:
            found = self._cut(number)
            # All entries have the same size.
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
            # 50 ms.
            fade = min(self.tail // 2, self.rir.sample_rate // 20)
            response[:, end - fade : end] *= np.linspace(1, 0, fade, dtype=np.float32)
        return response[0] if self.microphones == 1 else response, direct
