"""Read an HDF5 file of frame features: whole utterances, or random frames with context, from several processes.

   configuration   attribute, JSON: features, stft, sample_rate, and the data that the frames were made from
   frames/NAME     (frames, feature): NAME is clean, or noisy and target; the utterances one after the other
   utterances      one row each: key, label, split, offset, frames, sha256
   skipped         what could not be read
   statistics/NAME mean and variance of each feature over all frames

Chunks of 128 frames are compressed by gzip, which every HDF5 library supports, and have a checksum. Logarithmic
features are stored as float16, which rounds a log-power by at most 0.03 dB; power, magnitude and complex features
need float32. `rased data frames` writes such a file (`rased.data.frames.writer`).
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import h5py
import msgspec
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from rased import documents
from rased.data.frames import probe as frame_probe
from rased.data.frames.probe import CHUNK
from rased.documents import Count, Number, SampleRate, Word
from rased.errors import RasedError, cut, nearest, shown
from rased.layers.frontend import Features, Moments
from rased.signal.stft import STFT

SCHEMA = 1
UTTERANCE = np.dtype(
    [
        ("key", h5py.string_dtype()),
        ("label", h5py.string_dtype()),
        ("split", h5py.string_dtype()),
        ("offset", np.int64),
        ("frames", np.int64),
        ("sha256", "S64"),
    ]
)


_AGAIN = "Write it again with `rased data frames`."
_Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 17)]
_Splits = list[tuple[Word, Count, Count]]


class _Features(msgspec.Struct, forbid_unknown_fields=True):
    kinds: Annotated[list[Word], msgspec.Meta(min_length=1, max_length=20)]
    bands: Annotated[int, msgspec.Meta(ge=1, le=1 << 12)] = 40
    coefficients: _Size = 20
    floor: Number = 0.0
    exponent: Number = 0.3


class _Stft(msgspec.Struct):
    n_fft: _Size
    hop_length: _Size
    win_length: _Size


class _Framing(msgspec.Struct):
    features: _Features
    stft: _Stft
    sample_rate: SampleRate


class _Configuration(msgspec.Struct):
    framing: _Framing
    source: dict[str, Any]


@dataclass(frozen=True)
class Framing:
    """Definition of a frame.

    Attributes:
        features: its features.
        stft: the transform.
        sample_rate: Hz.
    """

    features: Features
    stft: STFT
    sample_rate: int

    def __post_init__(self) -> None:
        """Check the settings."""
        for kind in self.features.kinds:
            if not isinstance(kind, str):
                raise RasedError(
                    f"a file of frames stores features by name, but {type(kind).__name__} has none: remove it."
                )
        for name, part in zip(self.features.names, self.features.parts, strict=True):
            if part.learned:
                raise RasedError(
                    f"the feature '{name}' is learned with a network, so a file of frames cannot store it: remove it."
                )

    @property
    def size(self) -> int:
        """Return the number of values in a frame."""
        return self.features.size(self.stft.freq)

    @property
    def dtype(self) -> torch.dtype:
        """Return the stored type: float16 if its range is sufficient, else float32."""
        return torch.float32 if any(part.wide for part in self.features.parts) else torch.float16

    @property
    def silence(self) -> Float[np.ndarray, " feature"]:
        """Return the frame of digital silence."""
        spectrum = torch.zeros(1, self.stft.freq, 1, dtype=torch.complex64)
        values = self.features(spectrum, self.sample_rate)[0, :, 0]
        return values.to(self.dtype).float().numpy()

    def plain(self) -> dict[str, Any]:
        """Return the definition in the form of the JSON."""
        # Through JSON, so that tuples become lists and the definition equals a stored one.
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_plain(cls, stored: dict[str, Any]) -> "Framing":
        """Invert `plain`."""
        features = {**stored["features"], "kinds": tuple(stored["features"]["kinds"])}
        return cls(
            features=Features(**features),
            stft=STFT(**stored["stft"]),
            sample_rate=stored["sample_rate"],
        )


class FrameFile:
    """A complete file, read only. Each process opens it for itself, so it can be sent to workers.

    Attributes:
        path: the file.
        framing: definition of a frame.
        source: the data that the frames were made from.
        streams: (clean,) or (noisy, target).
        statistics: count, mean and variance, by stream.
        offset, frames: first frame and number of frames of each utterance.
        splits: utterances [first, last) of each split.
        skipped: what could not be read when the file was written, one sentence each.
    """

    def __init__(self, path: str | Path, *, cache: int = 64 << 20) -> None:
        """Read everything except the frames.

        Args:
            path: the file.
            cache: bytes of decompressed frames that a process caches.

        Raises:
            RasedError: no such file, not a complete file of frames, damaged, or from a newer version of rased.
        """
        self.path, self.cache = Path(path), cache
        self._kept: OrderedDict[tuple[str, int], NDArray[Any]] = OrderedDict()
        self._file: h5py.File | None = None
        self._process = -1
        with self._guarded():
            frame_probe.check(self.path)
            with self._open() as file:
                self._read_head(file)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.offset)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process: no open file, no frames."""
        return {**self.__dict__, "_file": None, "_kept": OrderedDict()}

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return int(self.frames.sum())

    def split(self, name: str) -> tuple[int, int]:
        """Return the first frame and the end of a split.

        Raises:
            RasedError: the file has no such split.
        """
        if name not in self.splits:
            raise RasedError(
                f"'{self.path}' has no split '{name}': {nearest(name, list(self.splits))}"
            )
        first, last = self.splits[name]
        return int(self.offset[first]), int(self.offset[last - 1] + self.frames[last - 1])

    def names(self, first: int, last: int) -> list[dict[str, str]]:
        """Return key, label, split and sha256 of the utterances [first, last)."""
        with self._guarded():
            rows = self._opened()["utterances"][first:last]
        return [
            {name: row[name].decode() for name in ("key", "label", "split", "sha256")}
            for row in rows
        ]

    def utterance(self, stream: str, number: int) -> Float[np.ndarray, "frames feature"]:
        """Return all frames of one utterance.

        Raises:
            RasedError: the file is damaged there.
        """
        first = int(self.offset[number])
        return self._read(stream, first, first + int(self.frames[number])).astype(np.float32)

    def windows(
        self,
        stream: str,
        numbers: Int[np.ndarray, " batch"],
        *,
        past: int = 0,
        future: int = 0,
    ) -> Float[np.ndarray, "batch context feature"]:
        """Return frames by their numbers in the file, each with its context, oldest first.

        A context never contains frames of another utterance: before the first frame of an utterance
        it is filled with the mean of the file, which an `InputStage` with global statistics maps to zeros, and
        after the last one with silence. Frames from a few chunks need only a few reads.

        Raises:
            RasedError: the file is damaged there.
        """
        rows = numbers[:, None] + np.arange(-past, future + 1)
        return self._padded(stream, numbers, rows)

    def noise(
        self, stream: str, numbers: Int[np.ndarray, " batch"], *, future: int, count: int
    ) -> Float[np.ndarray, "batch feature"]:
        """Return the static noise estimate for these frames, as an `InputStage` computes it.

        It is the mean of the first `count` frames of the utterance, or of all frames up to the one `future`
        frames ahead if these are fewer.
        """
        first = self.offset[self._utterances(numbers)]
        opening = self._padded(stream, numbers, first[:, None] + np.arange(count))
        # Frames that the stage has heard by then, at most `count`; they have equal weights.
        seen = np.minimum(numbers - first + future + 1, count)
        weights = (np.arange(count) < seen[:, None]) / seen[:, None]
        return np.einsum("bc,bcf->bf", weights.astype(np.float32), opening)

    def close(self) -> None:
        """Close the file in this process; the next read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _utterances(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        # "right": the first frame of an utterance belongs to it, not to the one before.
        return np.searchsorted(self.offset, numbers, side="right") - 1

    def _padded(
        self, stream: str, numbers: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return rows of the file for each frame; rows outside of its utterance are padding."""
        of = self._utterances(numbers)
        before = rows < self.offset[of][:, None]
        behind = rows >= (self.offset[of] + self.frames[of])[:, None]
        inside = ~(before | behind)
        result = np.empty((*rows.shape, self.framing.size), np.float32)
        result[inside] = self._gather(stream, rows[inside])
        # The same padding as the states of an InputStage at the beginning and end of a file.
        result[before] = self.statistics[stream].mean.numpy()
        result[behind] = self._silence
        return result

    def _gather(self, stream: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return any rows of the file, chunk by chunk."""
        # `order` lists the places in `rows` by chunk; `starts` are the first ones of each chunk in it.
        order = np.argsort(rows)
        chunks, starts = np.unique(rows[order] // CHUNK, return_index=True)
        result = np.empty((len(rows), self.framing.size), np.float32)
        for chunk, places in zip(chunks.tolist(), np.split(order, starts[1:]), strict=True):
            result[places] = self._chunk(stream, chunk)[rows[places] % CHUNK]
        return result

    def _chunk(self, stream: str, number: int) -> NDArray[Any]:
        """Return one chunk; it is decompressed once while it is in use."""
        # Popped and put back at the end: the order of the dictionary is that of the last use.
        chunk = self._kept.pop((stream, number), None)
        if chunk is None:
            chunk = self._read(stream, number * CHUNK, (number + 1) * CHUNK)
            while self._kept and (len(self._kept) + 1) * chunk.nbytes > self.cache:
                self._kept.popitem(last=False)
        self._kept[stream, number] = chunk
        return chunk

    def _read(self, stream: str, start: int, stop: int) -> NDArray[Any]:
        with self._guarded():
            return self._opened()["frames"][stream][start:stop]

    def _opened(self) -> h5py.File:
        # A file that HDF5 opened before a fork cannot be used in the child.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = self._open(), os.getpid()
        return self._file

    def _open(self) -> h5py.File:
        # Nobody writes to a complete file, so no locks are needed (some network file systems do not support them).
        return h5py.File(self.path, "r", locking=False)

    def _read_head(self, file: h5py.File) -> None:
        schema = int(file.attrs["schema"])
        if schema > SCHEMA:
            raise RasedError(
                f"'{self.path}' has schema {schema}, but this version of rased reads only up to "
                f"{SCHEMA}: upgrade rased, or write the file again."
            )
        configuration = read_configuration(file.attrs["configuration"], self.path)
        self.framing = Framing.from_plain(configuration["framing"])
        self.source: dict[str, Any] = configuration["source"]
        self.streams = tuple(file["frames"])
        if self.streams not in (("clean",), ("noisy", "target")):
            raise ValueError(f"its streams are {', '.join(self.streams)}")
        self.statistics = {name: read_moments(file["statistics"][name]) for name in self.streams}
        utterances = file["utterances"]
        if utterances.dtype != UTTERANCE:
            raise ValueError("its utterances have other columns")
        self.offset: NDArray[np.int64] = utterances.fields("offset")[:]
        self.frames: NDArray[np.int64] = utterances.fields("frames")[:]
        splits = documents.fit(
            _json(file.attrs["splits"], self.path), _Splits, of=self.path, repair=_AGAIN
        )
        self.splits = {name: (first, last) for name, first, last in splits}
        self.skipped = tuple(sentence.decode() for sentence in file["skipped"][:])
        # `_utterances` and all reads rely on utterances that follow each other without gaps.
        ends = np.cumsum(self.frames)
        if (self.frames < 0).any() or (self.offset != ends - self.frames).any():
            raise ValueError("its utterances are not contiguous")
        if any(not 0 <= first < last <= len(self) for first, last in self.splits.values()):
            raise ValueError("its splits do not match its utterances")
        self._silence = self.framing.silence
        for name in self.streams:
            frames = file["frames"][name]
            # torch's name of a type is that of numpy with a prefix.
            kind = str(self.framing.dtype).removeprefix("torch.")
            if frames.shape != (self.count, self.framing.size) or frames.dtype != kind:
                raise ValueError("frames, utterances and features are inconsistent")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Convert an error of h5py for a bad file to one sentence."""
        try:
            yield
        except FileNotFoundError as error:
            raise RasedError(
                f"The file of frames '{self.path}' does not exist: write it with `rased data frames`."
            ) from error
        except RasedError as error:
            # It names the file already.
            if str(self.path) in str(error):
                raise
            raise self._damaged(error) from error
        except Exception as error:  # h5py raises many kinds of exceptions
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RasedError:
        reason = cut(str(error).strip("'\"").partition("\n")[0] or type(error).__name__).rstrip(".")
        return RasedError(f"'{self.path}' is damaged or not a file of frames ({reason}). {_AGAIN}")


def read_configuration(stored: Any, path: Path) -> dict[str, Any]:
    """Return the settings of frames and their source, from the attribute `configuration`.

    Raises:
        RasedError: it is damaged.
    """
    plain: dict[str, Any] = _json(stored, path)
    documents.fit(plain, _Configuration, of=path, repair=_AGAIN)
    return plain


def _json(stored: Any, path: Path) -> Any:
    """Return the plain values of a JSON attribute."""
    if not isinstance(stored, str):
        raise RasedError(
            f"'{path}' is damaged: an attribute is {shown(stored)}; expected text. {_AGAIN}"
        )
    return documents.plain(stored, of=path, repair=_AGAIN)


def read_moments(group: h5py.Group) -> Moments:
    """Read statistics that `write_moments` wrote."""
    mean, variance = (torch.from_numpy(group[name][:]) for name in ("mean", "variance"))
    if not (mean.isfinite().all() and variance.isfinite().all() and (variance >= 0).all()):
        raise ValueError("its statistics are not finite")
    return Moments(int(group.attrs["count"]), mean, variance)


def write_moments(group: h5py.Group, moments: Moments) -> None:
    """Write count, mean and variance, replacing existing ones."""
    group.attrs["count"] = moments.count
    group["mean"][:] = moments.mean.numpy()
    group["variance"][:] = moments.variance.numpy()
