"""Cache decoded recordings as 16-bit samples, in memory shared by all workers, or on the device that mixes.

The cache holds exactly what the shards contain, bit for bit. It is filled during an epoch: the process that first
needs a recording decodes all of it. Recordings that do not fit, or have more than 16 bits, are
read from the shards each time.
"""

from collections.abc import Iterator, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int16
from numpy.typing import NDArray
from torch import Tensor

from rased.data.mixtures.batched import to_device
from rased.data.mixtures.sample import Batch, Place
from rased.data.schemas import Role
from rased.errors import RasedError

if TYPE_CHECKING:
    from rased.data.mixtures.corpus import Corpus

Cache = Literal["ram", "device"]
CACHED: tuple[Role, ...] = ("speech", "noise")
"""Roles that are cached. Rooms have a cache of their own (`rooms.Rooms`); pairs are read each time."""
FULL_SCALE = 2**15
# States of a recording: 0 is not stored yet, _READY stored, _LEFT never to be stored.
_READY = 1
_LEFT = 2


class Kept:
    """Storage for the first recordings of a corpus that fit into a number of bytes, one after the other.

    Attributes:
        device: they are stored on the device, in `store`; otherwise in memory, in `samples`.
        bytes: total size when all of them are stored.
        state: state of each recording, in memory shared by all workers.
    """

    def __init__(self, frames: NDArray[np.int64], *, limit: int, device: bool) -> None:
        """Allocate the storage.

        Args:
            frames: samples of each recording of the corpus.
            limit: maximum bytes, two per sample.
            device: store them on the device.
        """
        ends = np.cumsum(frames)
        # Two bytes for each sample.
        count = int(np.searchsorted(ends, limit // 2, side="right"))
        self.device = device
        self.ends, self.frames = ends[:count], frames[:count]
        self.bytes = 2 * int(ends[count - 1]) if count else 0
        # Anonymous memory: freed with the last process that has it, and shared with workers however they are started.
        self.state = RawArray("b", count)
        # Without a lock: `state` says what may be read, and two processes that store one recording write the same.
        self.samples = RawArray("h", 0 if device else self.bytes // 2)
        self.store: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.ends)

    @property
    def filled(self) -> int:
        """Return the bytes of the recordings that are stored now."""
        return 2 * int(self.frames[np.frombuffer(self.state, np.int8) == _READY].sum())

    def takes(self, number: int) -> bool:
        """Return whether a recording belongs to the cache."""
        return number < len(self.ends) and self.state[number] != _LEFT

    def has(self, number: int) -> bool:
        """Return whether a recording is stored now."""
        return number < len(self.ends) and self.state[number] == _READY

    def find(self, number: int) -> Int16[np.ndarray, " samples"]:
        """Return a recording stored in memory, without a copy."""
        end = self.ends[number]
        return np.frombuffer(self.samples, np.int16)[end - self.frames[number] : end]

    def keep(self, number: int, waveform: Float[np.ndarray, " samples"]) -> None:
        """Store a recording in memory."""
        samples = self.exact(number, waveform)
        if samples is not None:
            self.find(number)[:] = samples
            # Only after the samples are written: other processes may look at any time.
            self.state[number] = _READY

    def exact(
        self, number: int, waveform: Float[np.ndarray, " samples"]
    ) -> Int16[np.ndarray, " samples"] | None:
        """Return 16-bit samples, or None if rounding would lose information; such a recording is never cached."""
        scaled = waveform * np.float32(FULL_SCALE)
        # Without rounding: only recordings that are multiples of 2^-15 compare equal below.
        samples = scaled.astype(np.int16)
        if np.array_equal(samples, scaled):
            return samples
        self.state[number] = _LEFT
        return None

    def leave(self, number: int) -> None:
        """Mark a recording as never to be cached."""
        self.state[number] = _LEFT

    def upload(self, number: int, samples: Int16[Tensor, " samples"]) -> None:
        """Store a recording on the device of its samples."""
        if self.store is None:
            self.store = samples.new_empty(self.bytes // 2)
        self.find_stored(number).copy_(samples)
        self.state[number] = _READY

    def find_stored(self, number: int) -> Int16[Tensor, " samples"]:
        """Return a recording stored on the device, without a copy."""
        assert self.store is not None
        end = int(self.ends[number])
        return self.store[end - int(self.frames[number]) : end]


def keep(corpora: Sequence["Corpus"], *, where: Cache, limit: int) -> list[tuple[str, int, int]]:
    """Enable the cache for corpora, smallest first; return (name, cached bytes, total bytes) for each.

    Only `CACHED` roles are included.

    Args:
        corpora: any number of corpora.
        where: `ram`, shared by the workers of this process, or `device`.
        limit: maximum bytes in total.

    Raises:
        RasedError: no recording fits.
    """
    if limit <= 0:
        raise RasedError(
            f"A cache of {limit} bytes is too small for any recording: raise cache_gb, or remove cache."
        )
    sizes = []
    for corpus in sorted(corpora, key=lambda corpus: int(corpus.frames.sum())):
        if corpus.role in CACHED:
            corpus.kept = Kept(corpus.frames, limit=limit, device=where == "device")
            limit -= corpus.kept.bytes
            whole = 2 * int(corpus.frames.sum())
            sizes.append((f"{corpus.split} {corpus.role}", corpus.kept.bytes, whole))
    return sizes


def runs(start: int, frames: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Return the pieces (at, start, frames) of a crop; a crop longer than its recording (`length`) wraps around.

    >>> list(runs(7, 12, 10))
    [(0, 7, 3), (3, 0, 9)]
    """
    at = 0
    while at < frames:
        here = min(frames - at, length - start)
        yield at, start, here
        at, start = at + here, 0


_PARTS: tuple[tuple[Role, Literal["clean", "noise"]], ...] = (
    ("speech", "clean"),
    ("noise", "noise"),
)


def complete(batch: Batch, corpora: Sequence["Corpus"]) -> Batch:
    """Fill the cached parts into a batch on its device, and store the new recordings that it carries."""
    stored = batch["stored"]
    kept = {corpus.role: corpus.kept for corpus in corpora if corpus.split == stored["split"]}
    at = 0
    # First the new recordings: crops of the same batch may come from them.
    for fresh, number in stored["fresh"]:
        holder = kept[fresh]
        assert holder is not None
        frames = int(holder.frames[number])
        holder.upload(number, stored["samples"][at : at + frames])
        at += frames
    rows = len(batch["key"])
    for part in ("clean", "noise"):
        # All of this part is stored, so the loader has sent none of it.
        if not batch[part].shape[-1]:
            batch[part] = batch["snr_db"].new_zeros(rows, stored["frames"][part])
    for role, part in _PARTS:
        places = [place for place in stored["found"] if place.role == role]
        if places:
            holder = kept[role]
            assert holder is not None
            crop = _crop if batch[part].device.type == "cpu" else crop_at_once
            crop(holder, places, batch[part])
    return batch


def _crop(kept: Kept, places: Sequence[Place], out: Float[Tensor, "batch time"]) -> None:
    """Copy crops of stored recordings to their places."""
    for place in places:
        recording = kept.find_stored(place.recording)
        row = out[place.row, place.at :]
        for at, start, frames in runs(place.start, place.frames, len(recording)):
            torch.mul(recording[start : start + frames], 1 / FULL_SCALE, out=row[at : at + frames])


def crop_at_once(kept: Kept, places: Sequence[Place], out: Float[Tensor, "batch time"]) -> None:
    """Do the same in a few calls for any number of crops: on a device, one call per crop is the main cost."""
    assert kept.store is not None
    time = out.shape[-1]
    numbers = [place.recording for place in places]
    frames = np.array([place.frames for place in places])
    lengths = kept.frames[numbers]
    columns = {
        "first": np.cumsum(frames) - frames,  # start of each crop in the concatenation of all crops
        # Start of each recording in the store.
        "source": kept.ends[numbers] - lengths,
        "start": np.array([place.start for place in places]),
        "length": lengths,
        "target": np.array([place.row * time + place.at for place in places]),
    }
    table = to_device(np.concatenate(list(columns.values())).tolist(), out).view(len(columns), -1)
    count = int(frames.sum())
    crop = torch.repeat_interleave(to_device(frames.tolist(), out), output_size=count)
    first, source, start, length, target = table[:, crop]
    # One index per output sample: position in its crop, wrapped around the recording.
    within = torch.arange(count, device=out.device) - first
    samples = kept.store[source + (start + within) % length]
    out.view(-1).index_copy_(0, target + within, samples.to(out.dtype) * (1 / FULL_SCALE))
