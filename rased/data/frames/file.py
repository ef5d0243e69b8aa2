"""One HDF5 file of frame features: whole utterances, frames at random and their context, from any number of processes.

    configuration   attribute, JSON: features, stft, sample_rate, and what the frames were made from
    frames/NAME     (frames, feature): NAME is clean, or noisy and target; one utterance behind the other
    utterances      one row each: key, label, split, offset, frames, sha256
    skipped         what could not be read
    statistics/NAME mean and variance of each feature over all frames

Chunks of 128 frames are compressed by gzip, which every HDF5 reads, and carry a checksum. Logarithmic features are
stored as float16, which rounds a log-power by at most 0.03 dB; power, magnitude and complex need float32.
`rased data frames` writes such a file (`rased.data.frames.writer`).
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
    """What a frame is.

    Attributes:
        features: the numbers in it.
        stft: the transform that they are taken from.
        sample_rate: Hz.
    """

    features: Features
    stft: STFT
    sample_rate: int

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        for kind in self.features.kinds:
            if not isinstance(kind, str):
                raise RasedError(
                    f"a file of frames holds features by name, and {type(kind).__name__} has none: leave it out."
                )

    @property
    def size(self) -> int:
        """Numbers in a frame."""
        return self.features.size(self.stft.freq)

    @property
    def dtype(self) -> torch.dtype:
        """How they are stored: float16 where its range suffices, else float32."""
        return torch.float32 if any(part.wide for part in self.features.parts) else torch.float16

    @property
    def silence(self) -> Float[np.ndarray, " feature"]:
        """The frame of digital silence."""
        spectrum = torch.zeros(1, self.stft.freq, 1, dtype=torch.complex64)
        values = self.features(spectrum, self.sample_rate)[0, :, 0]
        return values.to(self.dtype).float().numpy()

    def plain(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_plain(cls, stored: dict[str, Any]) -> "Framing":
        """Inverse of `plain`."""
        features = {**stored["features"], "kinds": tuple(stored["features"]["kinds"])}
        return cls(
            features=Features(**features),
            stft=STFT(**stored["stft"]),
            sample_rate=stored["sample_rate"],
        )


class FrameFile:
    """A finished file, read only; each process opens it for itself, so that it may travel to workers.

    Attributes:
        path: of the file.
        framing: what a frame is.
        source: what the frames were made from.
        streams: (clean,) or (noisy, target).
        statistics: count, mean and variance, by stream.
        offset, frames: first frame and number of frames of each utterance.
        splits: utterances [first, last) of each split.
        skipped: what could not be read when the file was written, one sentence each.
    """

    def __init__(self, path: str | Path, *, cache: int = 64 << 20) -> None:
        """Read all but the frames.

        Args:
            path: of the file.
            cache: bytes of decompressed frames that a process keeps.

        Raises:
            RasedError: no such file, not a finished file of frames, damaged, or of a newer rased.
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
        """Number of utterances."""
        return len(self.offset)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: no open file, no frames."""
        return {**self.__dict__, "_file": None, "_kept": OrderedDict()}

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.frames.sum())

    def split(self, name: str) -> tuple[int, int]:
        """First frame and end of a split.

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
        """key, label, split and sha256 of the utterances [first, last)."""
        with self._guarded():
            rows = self._opened()["utterances"][first:last]
        return [
            {name: row[name].decode() for name in ("key", "label", "split", "sha256")}
            for row in rows
        ]

    def utterance(self, stream: str, number: int) -> Float[np.ndarray, "frames feature"]:
        """All frames of one utterance.

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
        """Frames by their numbers in the file, each with its context, oldest first.

        Nothing of another utterance gets into a context: before the first frame of an utterance
        stands the mean of the file, which an `InputStage` with global statistics sees as its zeros, and
        behind the last one silence. Frames of a few chunks cost a few reads, whatever their number.

        Raises:
            RasedError: the file is damaged there.
        """
        rows = numbers[:, None] + np.arange(-past, future + 1)
        return self._padded(stream, numbers, rows)

    def noise(
        self, stream: str, numbers: Int[np.ndarray, " batch"], *, future: int, count: int
    ) -> Float[np.ndarray, "batch feature"]:
        """The static noise estimate beside these frames, as an `InputStage` makes it.

        The mean of the first `count` frames of their utterances, of fewer where the frame `future`
        frames on comes before them.
        """
        first = self.offset[self._utterances(numbers)]
        opening = self._padded(stream, numbers, first[:, None] + np.arange(count))
        seen = np.minimum(numbers - first + future + 1, count)
        weights = (np.arange(count) < seen[:, None]) / seen[:, None]
        return np.einsum("bc,bcf->bf", weights.astype(np.float32), opening)

    def close(self) -> None:
        """Close the file of this process; the next reading opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _utterances(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.offset, numbers, side="right") - 1

    def _padded(
        self, stream: str, numbers: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Rows of the file beside each frame; those outside of its utterance are padding."""
        of = self._utterances(numbers)
        before = rows < self.offset[of][:, None]
        behind = rows >= (self.offset[of] + self.frames[of])[:, None]
        inside = ~(before | behind)
        result = np.empty((*rows.shape, self.framing.size), np.float32)
        result[inside] = self._gather(stream, rows[inside])
        result[before] = self.statistics[stream].mean.numpy()
        result[behind] = self._silence
        return result

    def _gather(self, stream: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Any rows of the file, chunk by chunk."""
        order = np.argsort(rows)
        chunks, starts = np.unique(rows[order] // CHUNK, return_index=True)
        result = np.empty((len(rows), self.framing.size), np.float32)
        for chunk, places in zip(chunks.tolist(), np.split(order, starts[1:]), strict=True):
            result[places] = self._chunk(stream, chunk)[rows[places] % CHUNK]
        return result

    def _chunk(self, stream: str, number: int) -> NDArray[Any]:
        """One chunk, decompressed once while it is in use."""
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
        if self._file is None or self._process != os.getpid():
            self._file, self._process = self._open(), os.getpid()
        return self._file

    def _open(self) -> h5py.File:
        # Nobody writes a finished file: no locks, which some network file systems do not have.
        return h5py.File(self.path, "r", locking=False)

    def _read_head(self, file: h5py.File) -> None:
        schema = int(file.attrs["schema"])
        if schema > SCHEMA:
            raise RasedError(
                f"'{self.path}' has schema {schema} and this rased reads up to {SCHEMA}: upgrade rased, or write "
                "the file again."
            )
        configuration = read_configuration(file.attrs["configuration"], self.path)
        self.framing = Framing.from_plain(configuration["framing"])
        self.source: dict[str, Any] = configuration["source"]
        self.streams = tuple(file["frames"])
        if self.streams not in (("clean",), ("noisy", "target")):
            raise ValueError(f"it holds the streams {', '.join(self.streams)}")
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
        ends = np.cumsum(self.frames)
        if (self.frames < 0).any() or (self.offset != ends - self.frames).any():
            raise ValueError("its utterances do not follow one another")
        if any(not 0 <= first < last <= len(self) for first, last in self.splits.values()):
            raise ValueError("its splits are not among its utterances")
        self._silence = self.framing.silence
        for name in self.streams:
            frames = file["frames"][name]
            kind = str(self.framing.dtype).removeprefix("torch.")
            if frames.shape != (self.count, self.framing.size) or frames.dtype != kind:
                raise ValueError("frames, utterances and features do not agree")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what h5py says of a bad file into one sentence."""
        try:
            yield
        except FileNotFoundError as error:
            raise RasedError(
                f"There is no file of frames '{self.path}': write it with `rased data frames`."
            ) from error
        except RasedError as error:
            if str(self.path) in str(error):
                raise
            raise self._damaged(error) from error
        except Exception as error:  # h5py raises almost anything
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RasedError:
        reason = cut(str(error).strip("'\"").partition("\n")[0] or type(error).__name__).rstrip(".")
        return RasedError(f"'{self.path}' is damaged or no file of frames ({reason}). {_AGAIN}")


def read_configuration(stored: Any, path: Path) -> dict[str, Any]:
    """What frames are and were made from, out of the attribute `configuration`.

    Raises:
        RasedError: it is damaged.
    """
    plain: dict[str, Any] = _json(stored, path)
    documents.fit(plain, _Configuration, of=path, repair=_AGAIN)
    return plain


def _json(stored: Any, path: Path) -> Any:
    """The plain values of an attribute that holds JSON."""
    if not isinstance(stored, str):
        raise RasedError(
            f"'{path}' is damaged: an attribute is {shown(stored)}; expected text. {_AGAIN}"
        )
    return documents.plain(stored, of=path, repair=_AGAIN)


def read_moments(group: h5py.Group) -> Moments:
    """The statistics that `write_moments` wrote."""
    mean, variance = (torch.from_numpy(group[name][:]) for name in ("mean", "variance"))
    if not (mean.isfinite().all() and variance.isfinite().all() and (variance >= 0).all()):
        raise ValueError("its statistics are not finite")
    return Moments(int(group.attrs["count"]), mean, variance)


def write_moments(group: h5py.Group, moments: Moments) -> None:
    """Write count, mean and variance over those that are there."""
    group.attrs["count"] = moments.count
    group["mean"][:] = moments.mean.numpy()
    group["variance"][:] = moments.variance.numpy()
