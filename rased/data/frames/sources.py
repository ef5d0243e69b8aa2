"""Sources of a file of frames: the recordings of speech shards, or mixtures of the deterministic stream."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.data.columns import hexadecimal
from rased.data.mixtures import order, stages
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.mixing import Mixer, Mixing
from rased.data.mixtures.order import Span
from rased.data.mixtures.pairs import in_use
from rased.data.mixtures.plan import Plan, Scene
from rased.data.schemas import Codec, Head, Role, Shard, read_index_head
from rased.data.shards.address import address, is_remote
from rased.data.shards.index import INDEX, locate, read_index
from rased.data.shards.reader import decode
from rased.data.shards.tars import StoredSample, read_shard
from rased.disk import sha256
from rased.errors import RasedError

BATCH = 4
"""Mixtures made at once."""
_SPECTRA = 16 << 20
"""Bytes of the cache of room spectra."""

Position = tuple[int, int]
Samples = Callable[[int, int], NDArray[np.float32]]
"""Function (start, count) -> samples of a recording; raises RasedError if it cannot be read."""


class Item(NamedTuple):
    """An utterance: its row in the file's index, its length in samples, and its audio by stream."""

    key: str
    label: str
    split: str
    sha256: str
    length: int
    audio: Mapping[str, Samples]


class Group(NamedTuple):
    """Utterances that are made together, those that could not be read, and the position after them."""

    items: list[Item]
    bad: list[str]
    position: Position


class FrameSource:
    """A source of utterances in a fixed order.

    Attributes:
        streams: names of the signals of an utterance.
        sample_rate: Hz.
        folders: what a process must see to make a group.
    """

    streams: tuple[str, ...]
    sample_rate: int
    folders: Sequence[Path] = ()

    def describe(self) -> dict[str, Any]:
        """Return everything that the utterances depend on, as plain data."""
        raise NotImplementedError

    def groups(self, position: Position) -> Iterator[Group]:
        """Yield utterances from a position; (0, 0) is the beginning."""
        raise NotImplementedError

    def parts(self, position: Position) -> Iterator[Any]:
        """Yield what `group` makes the groups from: small, so that it can be sent to another process."""
        return self.groups(position)

    def group(self, part: Any) -> Group:
        """Make a group, in any process."""
        return part

    def longest(self, part: Any) -> int | None:
        """Return the samples of the longest utterance of a group; None if the group cannot be made in pieces."""
        return max((item.length for item in part.items), default=0)

    def progress(self, position: Position) -> tuple[int, int]:
        """Return how much is done at a position, and the total."""
        raise NotImplementedError


class Recordings(FrameSource):
    """The recordings of speech shards, split by split, read sequentially.

    The index is not loaded, except for a tar file that differs from it, so memory does not
    depend on the number of recordings. From such a file, only samples that agree with the index
    are used. A position counts tar files, and samples within one.
    """

    streams = ("clean",)

    def __init__(self, names: Sequence[str | Path]) -> None:
        """Find the tar files.

        Raises:
            RasedError: no speech shards, missing files, several sample rates, or remote shards.
        """
        for name in names:
            if is_remote(name):
                raise RasedError(
                    f"'{address(str(name))}' is remote: copy its shards to this machine, and give their folder."
                )
        self.folders = [locate(name, "speech") for name in names]
        heads = [_head(folder) for folder in self.folders]
        named = [
            (shard.name.rpartition("-")[0], place, shard.name, shard)
            for place, head in enumerate(heads)
            for shard in head.shards
        ]
        # All tar files of a split follow each other (SPLIT-NUMBER.tar), also those of several folders.
        named.sort(key=lambda entry: entry[:3])
        self._shards = [(self.folders[place], shard) for _, place, _, shard in named]
        for folder, shard in self._shards:
            if not (folder / shard.name).is_file():
                raise RasedError(
                    f"{shard.name} is missing from {folder}, but is in its index: restore it, or drop its samples with "
                    f"`rased data verify {folder} --repair`."
                )
        rates = {head.sample_rate for head in heads}
        roles = {head.role for head in heads}
        if roles != {"speech"} or len(rates) != 1:
            raise RasedError(
                f"{', '.join(map(str, self.folders))} contain {'/'.join(sorted(roles))} at "
                f"{'/'.join(map(str, sorted(rates)))} Hz; speech at one sample rate is needed."
            )
        self.sample_rate: int = rates.pop()

    def describe(self) -> dict[str, Any]:
        """Return the SHA-256 of the indices, which contain those of all recordings."""
        return {"speech": [sha256(folder / INDEX) for folder in self.folders]}

    def groups(self, position: Position) -> Iterator[Group]:
        """Yield one recording per group; after a damaged tar file, also what is missing in it."""
        for part in range(position[0], len(self._shards)):
            # Only the tar file of the position has been read in part.
            done = position[1] if part == position[0] else 0
            folder, shard = self._shards[part]
            if _is_whole(folder / shard.name, shard):
                for number, stored in enumerate(read_shard(folder / shard.name)):
                    if number >= done:
                        item = _recording(stored, folder / shard.name)
                        yield Group([item], [], (part, number + 1))
            else:
                yield from _damaged(folder, shard, part, done)

    def progress(self, position: Position) -> tuple[int, int]:
        """Count tar files."""
        return position[0], len(self._shards)


class Mixtures(FrameSource):
    """The first mixtures of epoch 0 of a plan, each a pair (noisy, target).

    The index of a mixture in the epoch is its row in the file; its sha256 is the one that `rased data stream
    --hashes` prints.
    """

    streams = ("noisy", "target")

    def __init__(self, plan: Plan, mixing: Mixing, count: int, split: str = "train") -> None:
        """Use `count` mixtures."""
        if plan.scene.microphones > 1:
            raise RasedError(
                f"Frames need mixtures of one channel, but scene.microphones is {plan.scene.microphones}: remove it."
            )
        self.plan, self.mixing, self.count, self.split = plan, mixing, count, split
        self.sample_rate = plan.sample_rate
        self._mixer = Mixer(mixing, limit=_SPECTRA)

    def describe(self) -> dict[str, Any]:
        """Return corpora, scene, mixing, seed and count."""
        return {"mixtures": self.count, **describe_mixtures(self.plan, self.mixing)}

    def parts(self, position: Position) -> Iterator[Span]:
        """Yield a few mixtures per group."""
        return order.batches(position[1], self.count, batch_size=BATCH)

    def groups(self, position: Position) -> Iterator[Group]:
        """Yield a few mixtures per group."""
        return map(self.group, self.parts(position))

    def longest(self, part: Span) -> None:
        """Return None: a piece would mix all of them again."""
        return None

    def group(self, part: Span) -> Group:
        """Read and mix."""
        draws = stages.draw([part], plan=self.plan, epoch=0)
        (batch,) = stages.collate(stages.fetch(draws, plan=self.plan), plan=self.plan)
        mixture = self._mixer(batch)
        items = []
        for place, index in enumerate(mixture["index"].tolist()):
            audio = {name: mixture[name][place].numpy() for name in self.streams}  # type: ignore[literal-required]
            # Drawn again, which is cheap: a batch does not tell the recordings.
            drawn = self.plan.draw(0, index)
            of = self.plan.pairs.corpus if drawn.pair and self.plan.pairs else self.plan.speech
            speaker = (drawn.pair or drawn.speech[0]).recording
            content = b"".join(signal.tobytes() for signal in audio.values())
            items.append(
                Item(
                    key=mixture["key"][place],
                    label=str(of.label[speaker]),
                    split=self.split,
                    sha256=hashlib.sha256(content).hexdigest(),
                    length=self.plan.frames,
                    audio={name: partial(_cut, signal) for name, signal in audio.items()},
                )
            )
        return Group(items, batch["skipped"], (0, part.stop))

    def progress(self, position: Position) -> tuple[int, int]:
        """Return the number of mixtures."""
        return position[1], self.count


@dataclass(frozen=True)
class MixtureRecipe:
    """The arguments of a data module that determine its training mixtures.

    Attributes: see `rased.data.datamodule.MixtureDataModule`.
    """

    speech: tuple[str, ...] = ("bundle",)
    noise: tuple[str, ...] = ("bundle",)
    rir: tuple[str, ...] = ("bundle",)
    pairs: tuple[str, ...] = ()
    scene: Scene = Scene()  # noqa: RUF009 - frozen values
    mixing: Mixing = Mixing()  # noqa: RUF009
    seed: int = 0

    def plan(self) -> Plan:
        """Open the training split of the shards."""
        sources: dict[Role, Sequence[str]] = {
            "speech": self.speech,
            "noise": self.noise,
            "rir": self.rir,
            "pairs": self.pairs,
        }
        corpora = {
            role: Corpus(names, role=role, split="train")
            for role, names in in_use(sources, self.scene).items()
        }
        return Plan(
            speech=corpora.get("speech"),
            noise=corpora.get("noise"),
            rir=corpora.get("rir"),
            pairs=corpora.get("pairs"),
            scene=self.scene,
            seed=self.seed,
            # The order must not depend on where the shards are.
            shuffle="samples",
        )


def describe_mixtures(plan: Plan, mixing: Mixing) -> dict[str, Any]:
    """Return everything that the mixtures of a plan depend on, as plain data."""
    corpora = {"speech": plan.speech, "noise": plan.noise, "rir": plan.rir}
    if plan.pairs is not None:
        corpora["pairs"] = plan.pairs.corpus
    scene = asdict(plan.scene)
    for name in ("microphones", "enrolment", "t60", *(name for name in scene if "pair_" in name)):
        # A new setting at its default must not change the description, which identifies a file.
        if scene[name] == getattr(Scene, name):
            del scene[name]
    described = {
        "seed": plan.seed,
        "scene": scene,
        "mixing": asdict(mixing),
        **{role: corpus and corpus.digest() for role, corpus in corpora.items()},
    }
    # As it will be read from the file, for a comparison.
    return json.loads(json.dumps(described))


def _head(folder: Path) -> Head:
    mend = f"Rebuild it with `rased data verify {folder} --repair`."
    return read_index_head(folder / INDEX, repair=mend)


def _is_whole(path: Path, shard: Shard) -> bool:
    return path.stat().st_size == shard.bytes and sha256(path) == shard.sha256


def _damaged(folder: Path, shard: Shard, part: int, done: int) -> Iterator[Group]:
    """Yield the recordings of a tar file that agree with the index, after the first `done`; the others are bad."""
    path = folder / shard.name
    # `resized`: the tar file may have another size than the index says.
    index = read_index(folder, resized=True)
    of_shard = np.flatnonzero(index.columns["shard"] == index.shards.index(shard))
    rows = {index.columns["key"][row]: row for row in of_shard}
    reasons: dict[str, str] = {}
    for number, stored in enumerate(read_shard(path, damaged=reasons.__setitem__)):
        row = rows.pop(stored.details["key"], None)
        if row is None or number < done:
            continue
        known = {name: index.columns[name][row] for name in ("label", "split")}
        known["frames"] = int(index.columns["frames"][row])
        item = _recording(stored._replace(details=stored.details | known), path)
        if item.sha256 == next(hexadecimal(index.columns["sha256"][row : row + 1])):
            yield Group([item], [], (part, number + 1))
        else:
            reason = _bad(item.key, path, "its bytes have changed since packing")
            yield Group([], [reason], (part, number + 1))
    missing = [_bad(key, path, reasons.get(key, "it is missing")) for key in rows]
    yield Group([], missing, (part + 1, 0))


def _bad(key: str, shard: Path, reason: str) -> str:
    return (
        f"Sample {key} of {shard} is damaged ({reason}): repair its folder with `rased data verify {shard.parent} "
        "--repair`."
    )


def _recording(stored: StoredSample, shard: Path) -> Item:
    details = stored.details
    digest = hashlib.sha256(stored.audio).hexdigest()
    place = _Place(
        shard,
        details["key"],
        stored.codec,
        stored.offset,
        len(stored.audio),
        digest,
        details["frames"],
    )
    return Item(
        key=details["key"],
        label=details["label"],
        split=details["split"],
        sha256=digest,
        length=details["frames"],
        audio={"clean": partial(_samples, place)},
    )


class _Place(NamedTuple):
    """Where a recording is, so that any process can read it."""

    shard: Path
    key: str
    codec: Codec
    offset: int
    size: int
    sha256: str
    frames: int


def _samples(place: _Place, start: int, count: int) -> NDArray[np.float32]:
    try:
        audio = decode(_stored(place), place.codec, start, count)
    except soundfile.LibsndfileError as error:
        raise RasedError(
            f"Sample {place.key} of {place.shard} does not decode ({error.error_string.rstrip('.')})."
        ) from error
    if len(audio) != count:
        raise RasedError(
            f"Sample {place.key} of {place.shard} ends before its {place.frames} samples."
        )
    return audio


@lru_cache(maxsize=1)
def _stored(place: _Place) -> bytes:
    """Return the bytes of a recording; a long one is decoded in several parts."""
    with place.shard.open("rb") as file:
        file.seek(place.offset)
        stored = file.read(place.size)
    if hashlib.sha256(stored).hexdigest() != place.sha256:
        raise RasedError(_bad(place.key, place.shard, "its bytes have changed since packing"))
    return stored


def _cut(audio: NDArray[np.float32], start: int, count: int) -> NDArray[np.float32]:
    return audio[start : start + count]
