"""Pass batches from worker processes through a ring of reused shared memory.

By default, torch moves each tensor of a batch to newly allocated shared memory, passes its file descriptor by a
handshake, and frees it after the batch. Mapping new pages for every batch costs more than reading and cropping the
audio. Here, each worker has a ring of a few slots, allocated for its first batch, and again for a larger one. The
trainer's process copies a batch out and frees its slot.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

_LARGE = 1 << 14
"""Tensors of at least this many bytes go through the ring; smaller ones are part of the message."""
_ALIGNED = 64
_HEAD = 64
"""Bytes before the slots; the first eight hold the number of batches that have been copied out."""


class Message(NamedTuple):
    """A batch in transit: the tensors in the ring, by name, and everything else.

    Attributes:
        worker: number of the worker.
        ring: the ring itself with its first batch, else None.
        places: first byte, shape and type of each tensor in the ring.
        rest: the other entries of the batch, with tensors as arrays.
    """

    worker: int
    ring: Tensor | None
    places: dict[str, tuple[int, torch.Size, torch.dtype]]
    rest: dict[str, Any]


class Sender:
    """Puts batches into the ring of the worker that calls it; used as a DataLoader's `collate_fn`."""

    def __init__(self, slots: int) -> None:
        """Set the number of batches in transit; each takes 0.6 MB per mixture of 4 s at 16 kHz."""
        self.slots = slots
        self._ring: Tensor | None = None
        self._slot_bytes = self._sent = 0

    def __call__(self, batch: Any) -> Any:
        """Return the message for a batch; the batch itself outside of a worker, or if the ring has no free slot."""
        info = get_worker_info()
        if info is None:
            return batch
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        # A slot has room for all large tensors of a batch.
        large = {name: value for name, value in tensors.items() if value.nbytes >= _LARGE}
        needed = sum(_aligned(value.nbytes) for value in large.values())
        fresh = self._ring is None or needed > self._slot_bytes
        if self._ring is None or fresh:
            # The receiver copies the batches of an older ring out before it reads this message.
            self._slot_bytes, self._sent = needed, 0
            shared = torch.UntypedStorage._new_shared(_HEAD + self.slots * needed, device="cpu")
            self._ring = torch.empty(0, dtype=torch.uint8).set_(shared)
            _copied(self._ring)[0] = 0
        # All slots are in use: let torch send this batch itself, instead of waiting for the receiver.
        if self._sent - int(_copied(self._ring)[0]) >= self.slots:
            return batch
        at = _HEAD + self._sent % self.slots * self._slot_bytes
        places = {}
        for name, value in large.items():
            places[name] = (at, value.shape, value.dtype)
            _place(self._ring, *places[name]).copy_(value)
            at += _aligned(value.nbytes)
        # The message is sent after the copies above, so the receiver never reads a half-written slot.
        self._sent += 1
        rest = {n: v.numpy() if n in tensors else v for n, v in batch.items() if n not in large}
        return Message(info.id, self._ring if fresh else None, places, rest)


class Receiver:
    """Copies the batches of all workers out of their rings, in the order in which each worker sent them."""

    def __init__(self, *, pin_memory: bool = False) -> None:
        """Set whether to copy batches to page-locked memory."""
        self.pin_memory = pin_memory
        self._rings: dict[int, Tensor] = {}

    def __call__(self, message: Any) -> Any:
        """Return the batch of a message."""
        if not isinstance(message, Message):
            return message
        if message.ring is not None:
            self._rings[message.worker] = message.ring
        ring = self._rings[message.worker]
        batch = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in message.rest.items()
        }
        for name, place in message.places.items():
            found = _place(ring, *place)
            batch[name] = torch.empty_like(found, pin_memory=self.pin_memory).copy_(found)
        # Only after the copies: from now on, the worker may overwrite the slot.
        _copied(ring)[0] += 1
        return batch


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _copied(ring: Tensor) -> np.ndarray:
    return ring[:8].numpy().view(np.int64)


def _place(ring: Tensor, at: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return ring[at : at + shape.numel() * dtype.itemsize].view(dtype).view(shape)
