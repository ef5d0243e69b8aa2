"""Recordings kept decoded as 16-bit samples: in memory that all workers share, or on the device of the mixing.

What is kept is what the shards hold, bit for bit. It fills while an epoch streams: whoever needs a
recording first decodes all of it. What does not fit, and what has more than 16 bits, keeps
streaming.
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
FULL_SCALE = 2**15
_READY = 1
_LEFT = 2


class Kept:
    """The first recordings of a corpus that fit into so many bytes, one behind the other.

    Attributes:
        device: whether they lie on the device, in `store`, else in memory, in `samples`.
        bytes: what they take when all of them have been met.
        state: of each recording, in memory that all workers share.
    """

    def __init__(self, frames: NDArray[np.int64], *, limit: int, device: bool) -> None:
        """Make room.

        Args:
            frames: samples of each recording of the corpus.
            limit: bytes, two a sample.
            device: keep them on the device.
        """
        ends = np.cumsum(frames)
        count = int(np.searchsorted(ends, limit // 2, side="right"))
        self.device = device
        self.ends, self.frames = ends[:count], frames[:count]
        self.bytes = 2 * int(ends[count - 1]) if count else 0
        # Anonymous, freed with the last process that has it, and sent to workers however they are started.
        self.state = RawArray("b", count)
        self.samples = RawArray("h", 0 if device else self.bytes // 2)
        self.store: Tensor | None = None

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.ends)

    @property
    def filled(self) -> int:
        """Bytes of the recordings that are there."""
        return 2 * int(self.frames[np.frombuffer(self.state, np.int8) == _READY].sum())

    def takes(self, number: int) -> bool:
        """Whether a recording is to be kept."""
        return number < len(self.ends) and self.state[number] != _LEFT

    def has(self, number: int) -> bool:
        """Whether a recording is there."""
        return number < len(self.ends) and self.state[number] == _READY

    def find(self, number: int) -> Int16[np.ndarray, " samples"]:
        """A recording that is there in memory, not a copy."""
        end = self.ends[number]
        return np.frombuffer(self.samples, np.int16)[end - self.frames[number] : end]

    def keep(self, number: int, waveform: Float[np.ndarray, " samples"]) -> None:
        """Keep a recording in memory."""
        samples = self.exact(number, waveform)
        if samples is not None:
            self.find(number)[:] = samples
            self.state[number] = _READY  # after the samples, for others may look at any time

    def exact(
        self, number: int, waveform: Float[np.ndarray, " samples"]
    ) -> Int16[np.ndarray, " samples"] | None:
        """A recording as 16-bit samples, None (for good) where these are not all of it."""
        scaled = waveform * np.float32(FULL_SCALE)
        samples = scaled.astype(np.int16)
        if np.array_equal(samples, scaled):
            return samples
        self.state[number] = _LEFT
        return None

    def leave(self, number: int) -> None:
        """Never keep a recording."""
        self.state[number] = _LEFT

    def upload(self, number: int, samples: Int16[Tensor, " samples"]) -> None:
        """Keep a recording on the device that its samples lie on."""
        if self.store is None:
            self.store = samples.new_empty(self.bytes // 2)
        self.find_stored(number).copy_(samples)
        self.state[number] = _READY

    def find_stored(self, number: int) -> Int16[Tensor, " samples"]:
        """A recording that is there on the device, not a copy."""
        assert self.store is not None
        end = int(self.ends[number])
        return self.store[end - int(self.frames[number]) : end]


def keep(corpora: Sequence["Corpus"], *, where: Cache, limit: int) -> list[tuple[str, int, int]]:
    """Let corpora keep what they read, the smallest ones first; return (name, bytes, bytes of the whole) of each.

    Rooms stay out: the readers keep their own (`stages.Rooms`).

    Args:
        corpora: any number.
        where: `ram`, shared by the workers of this process, or `device`.
        limit: bytes in all.

    Raises:
        RasedError: room for nothing.
    """
    if limit <= 0:
        raise RasedError(
            f"A cache of {limit} bytes holds nothing: raise cache_gb, or leave out cache."
        )
    sizes = []
    for corpus in sorted(corpora, key=lambda corpus: int(corpus.frames.sum())):
        if corpus.role != "rir":
            corpus.kept = Kept(corpus.frames, limit=limit, device=where == "device")
            limit -= corpus.kept.bytes
            whole = 2 * int(corpus.frames.sum())
            sizes.append((f"{corpus.split} {corpus.role}", corpus.kept.bytes, whole))
    return sizes


def runs(start: int, frames: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Pieces (at, start, frames) of a crop that goes round where the recording, of `length`, is shorter.

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
    """Put into a batch, on the device it lies on, what is kept there, and keep what it brought along."""
    stored = batch["stored"]
    kept = {corpus.role: corpus.kept for corpus in corpora if corpus.split == stored["split"]}
    at = 0
    for fresh, number in stored["fresh"]:
        holder = kept[fresh]
        assert holder is not None
        frames = int(holder.frames[number])
        holder.upload(number, stored["samples"][at : at + frames])
        at += frames
    rows = len(batch["key"])
    for part in ("clean", "noise"):
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
    """Write crops of kept recordings where they belong."""
    for place in places:
        recording = kept.find_stored(place.recording)
        row = out[place.row, place.at :]
        for at, start, frames in runs(place.start, place.frames, len(recording)):
            torch.mul(recording[start : start + frames], 1 / FULL_SCALE, out=row[at : at + frames])


def crop_at_once(kept: Kept, places: Sequence[Place], out: Float[Tensor, "batch time"]) -> None:
    """The same in a few calls, whatever the number of crops: a call a crop is what costs on a device."""
    assert kept.store is not None
    time = out.shape[-1]
    numbers = [place.recording for place in places]
    frames = np.array([place.frames for place in places])
    lengths = kept.frames[numbers]
    columns = {
        "first": np.cumsum(frames) - frames,  # of each crop, all of them one behind the other
        "source": kept.ends[numbers] - lengths,
        "start": np.array([place.start for place in places]),
        "length": lengths,
        "target": np.array([place.row * time + place.at for place in places]),
    }
    table = to_device(np.concatenate(list(columns.values())).tolist(), out).view(len(columns), -1)
    count = int(frames.sum())
    crop = torch.repeat_interleave(to_device(frames.tolist(), out), output_size=count)
    first, source, start, length, target = table[:, crop]
    within = torch.arange(count, device=out.device) - first
    samples = kept.store[source + (start + within) % length]
    out.view(-1).index_copy_(0, target + within, samples.to(out.dtype) * (1 / FULL_SCALE))
