"""What every public corpus declares: licence, splits, how to get it, how to list its files."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rased import audio
from rased.data.corpora.listing import place_of
from rased.data.schemas import Role

VOICEBANK_TEST_SPEAKERS = ("p232", "p257")
"""Speakers of VCTK, and of VCTK in other corpora: never used for training, so that VoiceBank+DEMAND stays a test."""


class Item(NamedTuple):
    """A recording of a corpus.

    Attributes:
        path: path relative to the root, with slashes.
        role: speech, noise or rir.
        split: train, valid or test.
        label: speaker, type of noise or room.
        licence: licence of this recording, as an SPDX name if there is one.
        source: origin of the recording.
        note: any remark.
        channel: number of the microphone if each has its own file; 1 is the one to use.
        sha256: SHA-256 of the file, if the corpus states it.
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
    """An utterance of the corpus's own test set: two files and what is known about them."""

    id: str
    noisy: Path
    target: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Archive:
    """A file to download and unpack.

    Attributes:
        part: its name on the command line; archives of one part belong together.
        name: file name.
        urls: its addresses; mirrors come after the first.
        holds: path relative to the root that exists once it is unpacked.
        checksum: "sha256:..." or "md5:..." as published; "" if none was found: then only length
            and format are checked, and the SHA-256 of the download is recorded.
        into: folder relative to the root that it is unpacked into.
        joined: names of the preceding parts of a split zip file.
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
        name: its name on the command line.
        title: its name as given by the authors.
        roles: the roles of its recordings.
        hours: approximate duration of all recordings; None if not published, or for room impulse responses.
        sample_rate: Hz; 0 if it differs between files.
        licence: licence of the corpus as a whole.
        citation: authors, title, venue, year.
        homepage: address of its description.
        splits: how it is split, in one sentence.
        layout: the path of one file relative to the root, as an example.
        walk: yields every recording that is used, by root; unordered.
        archives: what can be downloaded.
        by_hand: what must be downloaded manually, and how; "" if nothing.
        pairs: yields the corpus's own test set, by root, in its order.
        test_ids: ids of those pairs, if the field agrees on one list; any other list is refused.
        target: what the targets of those pairs are.
        texts: patterns of licence texts relative to the root.
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
        """Return the names of the parts that can be downloaded, each once."""
        return tuple(dict.fromkeys(archive.part for archive in self.archives))

    @property
    def how(self) -> str:
        """Return how to get the corpus, in a few words."""
        if not self.archives:
            return self.by_hand
        count = len(self.archives)
        download = f"--download ({count} file{'s' if count > 1 else ''})"
        return f"{download}; {self.by_hand}" if self.by_hand else download


def split_by(name: str, *, valid: float = 0.05, test: float = 0.05) -> str:
    """Return the split of a speaker, recording or room from a hash of its name: the same on every machine.

    >>> [split_by(name) for name in ("p226", "p230", "smallroom-Room009")]
    ['train', 'valid', 'test']
    """
    place = place_of(name.encode())
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def below(root: Path, *folders: str) -> Path:
    """Return the first of the folders that exists below the root, or the root itself."""
    return next((root / folder for folder in folders if (root / folder).is_dir()), root)


def audio_below(folder: Path) -> Iterator[Path]:
    """Yield the audio files in a folder and its subfolders, sorted; nothing if the folder is missing."""
    if folder.is_dir():
        yield from sorted(folder / path for path in audio.audio_below(folder))


def creative_commons(url: str) -> str:
    """Return the name of a licence from its address; for other licences, return the address.

    >>> creative_commons("http://creativecommons.org/licenses/by-nc/3.0/")
    'CC-BY-NC-3.0'
    >>> creative_commons("http://creativecommons.org/publicdomain/zero/1.0/")
    'CC0-1.0'
    """
    found = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z+-]+)/([0-9.]+)", url)
    if not found:
        return url or "unknown"
    kind, version = found.groups()
    # SPDX names.
    return f"CC0-{version}" if kind == "zero" else f"CC-{kind.upper()}-{version}"


def of_openslr(number: int, name: str, holds: str, *, md5: str = "", part: str = "all") -> Archive:
    """Return a file of OpenSLR, with its mirrors; see `Archive`."""
    hosts = ("www.openslr.org", "us.openslr.org", "openslr.elda.org", "openslr.magicdatatech.com")
    urls = tuple(f"https://{host}/resources/{number}/{name}" for host in hosts)
    return Archive(part, name, urls, holds, checksum=f"md5:{md5}" if md5 else "")
