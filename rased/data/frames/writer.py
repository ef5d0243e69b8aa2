"""Write recordings or mixtures into one HDF5 file of frame features (`rased.data.frames.file`) in constant memory.

The file grows at its end and is committed every few seconds of work (`rased.data.frames.journal`): an
interrupted run continues at its last commit and gives the same content. Mean and variance are computed
from the stored values, utterance by utterance.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from einops import rearrange

from rased import __version__
from rased.data.frames import probe as frame_probe
from rased.data.frames.file import (
    SCHEMA,
    UTTERANCE,
    FrameFile,
    Framing,
    read_configuration,
    read_moments,
    write_moments,
)
from rased.data.frames.journal import SUFFIX, JournalledFile
from rased.data.frames.pieces import Computed, Values, compute
from rased.data.frames.probe import CHUNK
from rased.data.frames.sources import FrameSource, Position
from rased.disk import NO_ROOM, PART
from rased.errors import ProblemsFound, RasedError
from rased.layers.frontend import Moments
from rased.parallel import Cluster

COMMIT = 1 << 17
"""Frames between two commits: half an hour of audio, seconds of work."""
_ROWS = 4096
"""Rows of the index read at once."""
_FEW = 10
"""This many bad utterances never stop a run."""
_METADATA = 1 << 20
"""Limit of HDF5's metadata cache in bytes; by default it may grow to 32 times as much in a long run."""
_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}


@dataclass(frozen=True)
class Written:
    """What a run of `write_frames` did.

    Attributes:
        path: the file.
        utterances, frames: number in the file.
        seconds: duration of the audio.
        bytes: size of the file.
        resumed: frames that an earlier run had written.
        skipped: utterances that could not be read, one sentence each.
    """

    path: Path
    utterances: int
    frames: int
    seconds: float
    bytes: int
    resumed: int
    skipped: tuple[str, ...]


def write_frames(
    source: FrameSource,
    framing: Framing,
    out: Path,
    *,
    max_bad: float = 0.01,
    jobs: int = 1,
    engine: Cluster | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Write OUT, or continue an interrupted run with the same settings.

    An unfinished file is named OUT.part, with OUT.part.journal next to it.

    Args:
        source: recordings or mixtures.
        framing: the features to compute.
        out: the file.
        max_bad: the run stops if more than ten utterances, and more than this share, cannot be read.
        jobs: number of processes that compute features; 0: one per core. The content does not depend on it.
        engine: a Ray cluster (`rased.parallel.cluster`); None: this machine.
        progress: called with (done, total).

    Raises:
        RasedError: out was made from other input or settings; no space left (what was committed stays).
        ProblemsFound: too many utterances cannot be read.
    """
    configuration = {"framing": framing.plain(), "source": source.describe()}
    part = out.with_name(out.name + PART)
    if out.exists():
        file = FrameFile(out)
        _refuse_other(out, {"framing": file.framing.plain(), "source": file.source}, configuration)
        # A run that was killed right after it named the file has left its journal.
        part.with_name(part.name + SUFFIX).unlink(missing_ok=True)
        return _written(out, resumed=file.count)
    journal: JournalledFile | None = None
    threads = torch.get_num_threads()
    # Several threads may add up in another order.
    torch.set_num_threads(1)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        journal = JournalledFile(part)
        with _Writer(journal, framing, source.streams, configuration) as writer:
            resumed = writer.length
            results = compute(source, framing, writer.position, jobs=jobs, engine=engine)
            _fill(writer, source, results, max_bad, progress)
            writer.finish(out)
    except Exception as error:
        known = isinstance(error, OSError) and error.errno  # HDF5 raises OSErrors that tell nothing
        # HDF5 drops the reason of a failed write; the journal has kept it.
        failure = error if known else getattr(journal, "failure", None)
        if not isinstance(failure, OSError) or failure.errno not in NO_ROOM:
            raise
        kept = (
            f"What was committed is kept in '{part.name}'" if part.is_file() else "Nothing is kept"
        )
        raise RasedError(
            f"Cannot write to '{out}': {str(failure.strerror).lower()}. {kept}: free some space, or choose "
            "another --out, and run the same command again."
        ) from error
    finally:
        torch.set_num_threads(threads)
    return _written(out, resumed=resumed)


def _fill(
    writer: "_Writer",
    source: FrameSource,
    results: Iterator[Computed],
    max_bad: float,
    progress: Callable[[int, int], None],
) -> None:
    progress(*source.progress(writer.position))
    refused = -1
    for result in results:
        # An utterance that cannot be read gives errors for several pieces.
        bad = result.bad if result.group != refused else []
        refused = result.group if bad and not result.last else refused
        if result.group != refused:
            for values in result.done:
                writer.add(values)
        writer.skipped += bad
        if not result.last:
            continue
        writer.position = result.position
        seen = writer.utterances + len(writer.skipped)
        if bad and len(writer.skipped) > max(_FEW, max_bad * seen):
            raise ProblemsFound(
                f"Stopped: {len(writer.skipped)} of {seen} utterances cannot be read, such as: {bad[-1]} Check the "
                "shards with `rased data verify`, or allow more with --max-bad."
            )
        if writer.uncommitted >= COMMIT:
            writer.commit()
            progress(*source.progress(writer.position))


class _Writer:
    """The growing file; leaving the context discards what was not committed.

    Attributes:
        position: position in the source after what was added.
        utterances, length: number of utterances and frames added.
        skipped: utterances that could not be read.
    """

    def __init__(
        self,
        journal: JournalledFile,
        framing: Framing,
        streams: tuple[str, ...],
        configuration: dict[str, Any],
    ) -> None:
        """Continue an unfinished file, or lay out a new one."""
        self._journal, self._framing = journal, framing
        try:
            self._file = h5py.File(journal, "w" if journal.new else "r+")
            cache = self._file.id.get_mdc_config()
            cache.initial_size = cache.max_size = _METADATA
            self._file.id.set_mdc_config(cache)
            if journal.new:
                self._lay_out(streams, configuration)
            stored = read_configuration(self._file.attrs["configuration"], journal.path)
            # The name without .part.
            _refuse_other(journal.path.with_suffix(""), stored, configuration)
            part, number = json.loads(self._file.attrs["position"])
            self.position: Position = (part, number)
            self.skipped = [sentence.decode() for sentence in self._file["skipped"][:]]
            self.utterances = len(self._file["utterances"])
            self._frames = {name: self._file["frames"][name] for name in streams}
            self.length = len(self._frames[streams[0]])
            self._moments = {name: read_moments(self._file["statistics"][name]) for name in streams}
            self._open = self._moments
            self._rows: list[tuple[str, str, str, int, int, str]] = []
            self._committed = self.length
        except Exception as error:
            self.__exit__()
            known = isinstance(error, RasedError) or journal.failure is not None
            if known or journal.new:
                raise
            raise RasedError(  # h5py raises almost anything of a damaged file
                f"'{journal.path}', from an interrupted run, is damaged: remove it and run again."
            ) from error
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "_Writer":
        """Return this writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close; the file stays at its last commit."""
        self._journal.abandon()
        with suppress(Exception):  # HDF5 may not like to be closed where it could not write
            self._file.close()
        self._journal.close()

    @property
    def uncommitted(self) -> int:
        """Return the frames since the last commit."""
        return self.length - self._committed

    def add(self, values: Values) -> None:
        """Append frames of an utterance; nothing of it is kept before its last ones."""
        if not values.first:
            # Copies, which replace the old ones only if all of the utterance can be read.
            self._open = {
                name: Moments(m.count, m.mean, m.variance) for name, m in self._moments.items()
            }
        stop = values.first
        for name, dataset in self._frames.items():
            features = values.features[name]
            stop = values.first + len(features)
            # An utterance that fails leaves its frames behind; the next one overwrites them.
            if not values.first:
                dataset.resize(self.length + values.frames, axis=0)
            # A copy, because PyTorch dislikes arrays that cannot be written to.
            copied = torch.tensor(features)
            self._open[name].add(rearrange(copied, "frames feature -> 1 feature frames"))
            dataset[self.length + values.first : self.length + stop] = features
        if stop < values.frames:
            return
        self._moments = self._open
        row = (values.key, values.label, values.split, self.length, values.frames, values.sha256)
        self._rows.append(row)
        self.length += values.frames
        self.utterances += 1

    def commit(self) -> None:
        """Make everything that was added durable."""
        for name, dataset in self._frames.items():
            dataset.resize(self.length, axis=0)  # an utterance that could not be read is cut off
            write_moments(self._file["statistics"][name], self._moments[name])
        for name, rows in (
            ("utterances", np.array(self._rows, dtype=UTTERANCE)),
            ("skipped", np.array(self.skipped[len(self._file["skipped"]) :], dtype=object)),
        ):
            table = self._file[name]
            there = len(table)
            table.resize(there + len(rows), axis=0)
            table[there:] = rows
        self._file.attrs["position"] = json.dumps(self.position)
        self._file.flush()
        self._journal.commit()
        self._rows, self._committed = [], self.length

    def finish(self, out: Path) -> None:
        """Commit for the last time, and give the file its final name.

        Raises:
            ProblemsFound: it contains no utterances.
        """
        if not self.utterances:
            raise ProblemsFound(
                "None of the utterances could be read: check with `rased data verify`."
            )
        self.commit()
        # Written once, at the end; closing the file writes the last metadata, which the journal then commits.
        self._file.attrs["splits"] = json.dumps(self._splits())
        self._file.close()
        self._journal.commit()
        self._journal.finish(out)
        frame_probe.trust(out)

    def _splits(self) -> list[tuple[str, int, int]]:
        """Return split, first and end of each run of utterances of one split."""
        splits: list[tuple[str, int, int]] = []
        utterances = self._file["utterances"].fields("split")
        for start in range(0, self.utterances, _ROWS):
            for number, name in enumerate(utterances[start : start + _ROWS], start):
                # A source yields split by split.
                if not splits or splits[-1][0] != name.decode():
                    splits.append((name.decode(), number, number))
                splits[-1] = (*splits[-1][:2], number + 1)
        return splits

    def _lay_out(self, streams: tuple[str, ...], configuration: dict[str, Any]) -> None:
        file, size = self._file, self._framing.size
        file.attrs["schema"] = SCHEMA
        file.attrs["rased"] = __version__
        file.attrs["configuration"] = json.dumps(configuration)
        file.attrs["position"] = json.dumps((0, 0))
        for name in streams:
            file.create_dataset(
                f"frames/{name}",
                shape=(0, size),
                maxshape=(None, size),
                chunks=(CHUNK, size),
                dtype=str(self._framing.dtype).removeprefix("torch."),
                **_COMPRESSION,
            )
            statistics = file.create_group(f"statistics/{name}")
            for moment in ("mean", "variance"):
                statistics.create_dataset(moment, shape=size, dtype=np.float64)
            zeros = torch.zeros(size)
            write_moments(statistics, Moments(0, zeros, zeros))
        for name, kind in (("utterances", UTTERANCE), ("skipped", h5py.string_dtype())):
            file.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(1024,), dtype=kind)


def _refuse_other(out: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    differs = [
        name
        for section in ("framing", "source")
        for name in sorted(stored[section].keys() | asked[section].keys())
        if stored[section].get(name) != asked[section].get(name)
    ]
    if differs:
        raise RasedError(
            f"'{out}' is from other input or settings (different: {', '.join(differs)}): choose another --out, or "
            f"remove it{'' if out.exists() else f' ({out.name + PART})'}."
        )


def _written(out: Path, *, resumed: int) -> Written:
    file = FrameFile(out)
    return Written(
        path=out,
        utterances=len(file),
        frames=file.count,
        seconds=file.count * file.framing.stft.hop_length / file.framing.sample_rate,
        bytes=out.stat().st_size,
        resumed=resumed,
        skipped=file.skipped,
    )
