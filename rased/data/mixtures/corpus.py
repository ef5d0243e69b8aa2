"""The recordings of one role and split, from one or several shard folders, as one numbered list."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from rased.data.columns import Names, hexadecimal, joined
from rased.data.mixtures.cache import FULL_SCALE, Kept
from rased.data.schemas import CHANNELS, Role
from rased.data.shards.address import RemoteError
from rased.data.shards.block_cache import BLOCK_MB, blocks
from rased.data.shards.index import DIGITS, locate, read_index
from rased.data.shards.reader import Reader, ShardError
from rased.errors import RasedError


class Corpus:
    """The recordings of one role and split, from one or several shard folders, as one numbered list.

    Attributes:
        role: speech, noise, rir or pairs.
        sample_rate: Hz, the same in every folder.
        key, label, sha256: strings, one per recording; label is the speaker, the type of noise or the
            room.
        frames: samples of each recording; channels: its number of channels.
        remote: some of the shards are remote.
        kept: cache of decoded recordings, or None (see `rased.data.mixtures.cache`).
    """

    def __init__(
        self,
        names: Sequence[str | Path],
        *,
        role: Role,
        split: str,
        block_mb: float = BLOCK_MB,
    ) -> None:
        """Open the split in every folder.

        Args:
            names: folders, URLs of folders, or `bundle` (see `locate`).
            role: required role of the shards.
            split: train, valid, test or any other split in the index.
            block_mb: megabytes in a block, see `blocks` and `rased.data.shards.remote`.

        Raises:
            RasedError: no shards, another role in the index, an empty split, or different sample
                rates.
        """
        self.role, self.split = role, split
        indices = [read_index(locate(name, role)) for name in names]
        for index in indices:
            if index.role != role:
                raise RasedError(f"{index.place} contains {index.role}, but was given as {role}.")
        rates = {index.sample_rate for index in indices}
        if len(rates) != 1:
            raise RasedError(
                f"{role} has several sample rates ({', '.join(map(str, sorted(rates)))} Hz): pack it again with one "
                "--sample-rate."
            )
        self.sample_rate = rates.pop()
        self._readers = [Reader(index.only(split), block_mb=block_mb) for index in indices]
        self.remote = any(index.origin for index in indices)
        self._block_mb = block_mb
        self.kept: Kept | None = None
        parts = [reader.index.columns for reader in self._readers]
        self.key, self.label = (
            Names(joined([of[name].encoded for of in parts])) for name in ("key", "label")
        )
        self.sha256, self.frames, self.channels = (
            joined([of[name] for of in parts]) for name in ("sha256", "frames", CHANNELS)
        )
        self._ends = np.cumsum([len(reader.index) for reader in self._readers])
        if len(indices) > 1 and len(np.unique(self.key.encoded)) != len(self):
            raise RasedError(
                f"{role} has duplicate keys in {', '.join(i.place for i in indices)}: was a folder given twice?"
            )
        self.licences = sorted(
            {
                reader.index.licences[code]
                for reader in self._readers
                for code in np.flatnonzero(np.bincount(reader.index.columns["licence"]))
            }
        )

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.frames)

    @property
    def seconds(self) -> float:
        """Return the total length of all recordings."""
        return float(self.frames.sum()) / self.sample_rate

    def read(
        self,
        number: int,
        start: int = 0,
        frames: int = -1,
        *,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the samples [start, start + frames) of a recording, from the cache if possible; see `Reader.read`."""
        kept = self.kept
        # What is cached on the device is cropped there (see `cache.complete`).
        if kept is not None and not kept.device and kept.takes(number):
            if not kept.has(number):
                whole = self.whole(number)
                if whole is not None:
                    kept.keep(number, whole)
            if kept.has(number):
                end = None if frames < 0 else start + frames
                scale = np.float32(1 / FULL_SCALE)
                return np.multiply(kept.find(number)[start:end], scale, out=out)
        reader, row = self._find(number)
        return reader.read(row, start, frames, out=out)

    def read_channels(
        self, number: int, start: int = 0, frames: int = -1
    ) -> Float[np.ndarray, "channel time"]:
        """Return all channels of the samples [start, start + frames) of one recording; never from the cache."""
        reader, row = self._find(number)
        return reader.read_channels(row, start, frames)

    def beside(self, number: int) -> NDArray[np.int64]:
        """Return the numbers of the other recordings with the same label, such as other positions in a room."""
        labels = self.label.encoded
        same = np.flatnonzero(labels == labels[number])
        return same[same != number]

    def refuse_fewer(self, channels: int) -> None:
        """Check that every recording has at least a number of channels.

        Raises:
            RasedError: a recording has fewer.
        """
        fewer = np.flatnonzero(self.channels < channels)
        if len(fewer):
            raise RasedError(
                f"{len(fewer)} recordings of {self.role} have fewer than {channels} channels, such as "
                f"'{self.key[int(fewer[0])]}' with {self.channels[fewer[0]]}: use at most as many microphones as "
                "all of them have, or remove these recordings."
            )

    def _find(self, number: int) -> tuple[Reader, int]:
        """Return the folder of a recording, and its row there."""
        place = int(np.searchsorted(self._ends, number, side="right"))
        reader = self._readers[place]
        # _ends[place] - len(index) is the number of the first recording of the folder.
        return reader, int(number - self._ends[place]) + len(reader.index)

    def whole(self, number: int) -> NDArray[np.float32] | None:
        """Return a whole recording for the cache; None if a part of it is damaged."""
        try:
            reader, row = self._find(number)
            return reader.read(row)
        # Not one recording but all of them cannot be read.
        except (RemoteError, ShardError):
            raise
        except RasedError:
            return None

    def digest(self) -> str:
        """Return a SHA-256 over everything that draws depend on, in order: equal digests give equal mixtures."""
        digest = hashlib.sha256()
        offsets = np.concatenate([reader.index.columns["offset"] for reader in self._readers])
        hashes = hexadecimal(self.sha256)
        for column in (self.key, self.label, hashes, self.frames, offsets):
            # A zero byte ends each column.
            digest.update("\n".join(map(str, column)).encode() + b"\0")
        if self.remote:  # by default, remote corpora are shuffled by blocks
            digest.update(str(self._block_mb).encode())
        return digest.hexdigest()

    def blocks(self) -> NDArray[np.int64]:
        """Return the block of each recording, from 0: consecutive recordings in a shard."""
        parts, first = [], 0
        for reader in self._readers:
            number = blocks(reader.index.columns, self._block_mb).number
            parts.append(first + number)
            first += int(number.max()) + 1
        return np.concatenate(parts)

    def in_use(self, window: int) -> int:
        """Return the bytes of the blocks that a shuffle uses at the same time, about `window` blocks."""
        # The recordings of a block are spread over the places of `window` others, so a few more are partly in use.
        return round(min(window + 2, int(self.blocks().max()) + 1) * self._block_mb * 1e6)

    def manifest(self, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the content of the split as plain data, for cards and for the overlap check of the leaderboard.

        `contents` holds the first digits of each recording's SHA-256 as stored, sorted; they identify a
        recording with another key.

        Args:
            kept: an earlier manifest to merge; its recordings with other keys or contents are added.
        """
        kept = kept or {}
        earlier = np.array([key.encode() for key in kept.get("keys", [])], dtype=np.bytes_)
        new = ~np.isin(self.key.encoded, earlier)
        before = kept.get("contents", [])
        known = set(before)
        contents = [digest[:DIGITS] for digest in hexadecimal(self.sha256)]
        added = [
            digits
            for digits, fresh in zip(contents, new, strict=True)
            # A known key with another content is a changed recording: both contents stay in the list.
            if fresh or digits not in known
        ]
        contents = sorted([*before, *added])
        # No new recording, at most new contents.
        if kept and not new.any():
            return {**kept, "contents": contents}
        hashes = hexadecimal(np.sort(self.sha256))
        digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        if kept:
            # Chained, because the contents of the earlier recordings are known only by their first digits.
            digest = hashlib.sha256(f"{kept['sha256']}\n{digest}".encode()).hexdigest()
        hours = float(self.frames[new].sum()) / self.sample_rate / 3600
        return {
            "recordings": kept.get("recordings", 0) + int(new.sum()),
            "hours": round(kept.get("hours", 0.0) + hours, 3),
            "licences": sorted({*self.licences, *kept.get("licences", [])}),
            "labels": sorted({*self.label.tolist(), *kept.get("labels", [])}),
            "keys": sorted({*self.key.tolist(), *kept.get("keys", [])}),
            "contents": contents,
            "sha256": digest,
        }


def refuse_overlap(first: Corpus, second: Corpus) -> None:
    """Check that two splits share no recording and, except for noise (whose types may recur), no speaker or room.

    Raises:
        RasedError: they do; the message names what is shared.
    """
    shared = {
        "recording": np.intersect1d(first.sha256, second.sha256),
        "key": np.intersect1d(first.key.encoded, second.key.encoded),
    }
    if first.role != "noise":
        name = "room" if first.role == "rir" else "speaker"
        shared[name] = np.intersect1d(first.label.encoded, second.label.encoded)
    for what, names in shared.items():
        if len(names):
            some = ", ".join(hexadecimal(names[:3]) if what == "recording" else Names(names[:3]))
            raise RasedError(
                f"The {first.role} splits '{first.split}' and '{second.split}' share {len(names)} {what}(s), "
                f"for example {some}: use disjoint {what}s, because scores on training data are meaningless."
            )
