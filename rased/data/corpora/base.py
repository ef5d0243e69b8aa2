"""What every public corpus says about itself: licence, splits, how to get it, how to walk it."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rased import audio
from rased.data.corpora.listing import place_of
from rased.data.schemas import Role

VOICEBANK_TEST_SPEAKERS = ("p232", "p257")
"""Of VCTK, and of the VCTK in other corpora: never trained on, so that VoiceBank+DEMAND stays a test."""


class Item(NamedTuple):
    """One recording of a corpus.

    Attributes:
        path: below the root, with slashes.
        role: speech, noise or rir.
        split: train, valid or test.
        label: speaker, type of noise or room.
        licence: of this recording, as an SPDX name where there is one.
        source: where it comes from.
        note: anything else.
        channel: number of the microphone where each has a file of its own; 1 is the one to take.
        sha256: of the file, where the corpus says it.
    """

    path: str
    role: Role
    split: str
    label: str
    licence: str
    source: str
    note: str = ""
    channel: int = 1
    sha256: str = ""


class Pair(NamedTuple):
    """One utterance of a corpus's own test set: two files and what is known of them."""

    id: str
    noisy: Path
    target: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Archive:
    """A file to download and unpack.

    Attributes:
        part: what it is called on the command line; archives of one part belong together.
        name: of the file.
        urls: where it is, mirrors behind the first.
        holds: path below the root that is there when it is unpacked.
        checksum: "sha256:..." or "md5:..." as published; "" where none was found: then only length
            and format are checked, and what came is recorded.
        into: folder below the root that it is unpacked into.
        joined: names of the files of a split zip that come before this one.
    """

    part: str
    name: str
    urls: tuple[str, ...]
    holds: str
    checksum: str = ""
    into: str = ""
    joined: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublicCorpus:
    """A corpus that others publish.

    Attributes:
        name: on the command line.
        title: as its authors call it.
        roles: what it holds.
        hours: about, of all of it; None where nobody says, or for responses of rooms.
        sample_rate: Hz; 0 where it differs.
        licence: of the corpus as a whole.
        citation: authors, title, venue, year.
        homepage: where it is described.
        splits: how it is divided, in one sentence.
        layout: the path of one file below the root, as an example.
        walk: yields every recording that is used, by root; in no order.
        archives: what can be downloaded.
        by_hand: what must be fetched by hand, and how; "" where nothing is.
        pairs: yields the corpus's own test set, by root, in its order.
        test_ids: of those pairs, where the field knows them by one list; then nothing else is taken.
        target: what the targets of those pairs are.
        texts: licence texts below the root, as patterns.
    """

    name: str
    title: str
    roles: tuple[Role, ...]
    hours: int | float | None
    sample_rate: int
    licence: str
    citation: str
    homepage: str
    splits: str
    layout: str
    walk: Callable[[Path], Iterator[Item]]
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""
    pairs: Callable[[Path], Iterator[Pair]] | None = None
    test_ids: tuple[str, ...] = ()
    target: str = "clean"
    texts: tuple[str, ...] = field(default=("LICENSE*", "license*"))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what can be downloaded, each once."""
        return tuple(dict.fromkeys(archive.part for archive in self.archives))

    @property
    def how(self) -> str:
        """How to get it, in a few words."""
        if not self.archives:
            return self.by_hand
        count = len(self.archives)
        download = f"--download ({count} file{'s' if count > 1 else ''})"
        return f"{download}; {self.by_hand}" if self.by_hand else download


def split_by(name: str, *, valid: float = 0.05, test: float = 0.05) -> str:
    """Put a speaker, recording or room into a split by a hash of its name: the same everywhere.

    >>> [split_by(name) for name in ("p226", "p230", "smallroom-Room009")]
    ['train', 'valid', 'test']
    """
    place = place_of(name.encode())
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def below(root: Path, *folders: str) -> Path:
    """Return the first of the folders that is below the root; the root itself where none is."""
    return next((root / folder for folder in folders if (root / folder).is_dir()), root)


def audio_below(folder: Path) -> Iterator[Path]:
    """Yield the audio files of a folder and all below it, sorted; nothing where it is missing."""
    if folder.is_dir():
        yield from sorted(folder / path for path in audio.audio_below(folder))


def creative_commons(url: str) -> str:
    """Return the name of a licence by its address; the address where it is another one.

    >>> creative_commons("http://creativecommons.org/licenses/by-nc/3.0/")
    'CC-BY-NC-3.0'
    >>> creative_commons("http://creativecommons.org/publicdomain/zero/1.0/")
    'CC0-1.0'
    """
    found = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z+-]+)/([0-9.]+)", url)
    if not found:
        return url or "unknown"
    kind, version = found.groups()
    return f"CC0-{version}" if kind == "zero" else f"CC-{kind.upper()}-{version}"


def of_openslr(number: int, name: str, holds: str, *, md5: str = "", part: str = "all") -> Archive:
    """Return a file of OpenSLR, with its mirrors; see `Archive`."""
    hosts = ("www.openslr.org", "us.openslr.org", "openslr.elda.org", "openslr.magicdatatech.com")
    urls = tuple(f"https://{host}/resources/{number}/{name}" for host in hosts)
    return Archive(part, name, urls, holds, checksum=f"md5:{md5}" if md5 else "")
