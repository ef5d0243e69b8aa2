"""Convert a public corpus into shards, and its test set into a frozen one: download, list, pack."""

import hashlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rased.audio import BadAudioError
from rased.data.corpora.base import Archive, Item, Pair, PublicCorpus
from rased.data.corpora.listing import Listing, SourceFile, check_split, key_of, size_of
from rased.data.preparation.download import FOLDER, Fetched, obtain
from rased.data.preparation.frozen import write_frozen
from rased.data.preparation.pack import Packed, pack_listing
from rased.data.preparation.waveform import read_mono
from rased.data.schemas import Codec, Role
from rased.data.testset import TESTSET
from rased.data.testset import read as read_frozen
from rased.disk import on_disk, write_json
from rased.errors import RasedError, nearest
from rased.parallel import Cluster

CORPUS_FILE = "corpus.json"
"""File next to the folders of the roles: a record of what was prepared, from which files."""
_FULL_SCALE = 32767 / 32768
_FACTS = ("condition", "snr_db", "speaker", "noise", "noise_type", "rir", "room", "t60", "drr_db")
_KEPT = "Complete shards are kept, but nothing of the test set: free some space, or choose another --out"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Result of `prepare`.

    Attributes:
        out: the folder.
        packed: result of packing, by role.
        testset: folder of the frozen set; None without one.
        pairs: utterances in it.
        archives: what was downloaded, by name.
        passed_over: number of entries ignored on purpose, by reason.
    """

    out: Path
    packed: dict[Role, Packed]
    testset: Path | None
    pairs: int
    archives: dict[str, Fetched]
    passed_over: dict[str, int]


def prepare(
    corpus: PublicCorpus,
    root: Path,
    out: Path,
    *,
    download: bool = False,
    roles: Sequence[Role] = (),
    parts: Sequence[str] = (),
    licences: Sequence[str] = (),
    all_channels: bool = False,
    codec: Codec = "flac",
    sample_rate: int = 16_000,
    shard_mb: float = 256.0,
    jobs: int = 0,
    engine: Cluster | None = None,
    max_bad: float = 0.1,
    progress: Progress = lambda what, done, total: None,
) -> Prepared:
    """Write OUT/{speech,noise,rir} as shards and OUT/testset as a frozen test set.

    Args:
        corpus: the corpus.
        root: where it is, or where to download it to.
        out: folder for the shards.
        download: download missing files.
        roles: only these; empty: all roles of the corpus.
        parts: only these downloads, and only their content; empty: all.
        licences: only recordings under these ("CC0", "CC-BY"), in any version; empty: all.
        all_channels: every microphone that has its own file, not only the first.
        codec: see `pack`, also for the following.
        sample_rate: Hz.
        shard_mb: megabytes in a shard.
        jobs: files decoded in parallel.
        engine: a Ray cluster; None: this machine.
        max_bad: allowed share of bad files.
        progress: called with (current task, done, total).

    Raises:
        RasedError: an unknown part or role, nothing found and nothing to download, a speaker or room
            in two splits, a test set that is not the published one, or an error of `obtain` or `pack_listing`.
        ProblemsFound: too many bad files.
    """
    chosen = _chosen(corpus, parts)
    for role in roles:
        if role not in corpus.roles:
            raise RasedError(f"{corpus.title} has no {role}: {nearest(role, corpus.roles)}")
    archives = _obtained(corpus, chosen, root, download, progress)
    inside = tuple(archive.holds for archive in chosen) if parts else ()
    listings, passed_over = _list(
        corpus, root, tuple(roles) or corpus.roles, inside, licences, all_channels
    )
    pairs = _pairs(corpus, root, listings, passed_over)
    packed: dict[Role, Packed] = {}
    with tempfile.TemporaryDirectory(prefix="rased-") as folder:
        attribution = Path(folder) / "LICENSES.md"
        attribution.write_text(_attribution(corpus, root))
        for role, listing in listings.items():
            listing.licence_files.append(attribution)
            packed[role] = pack_listing(
                listing,
                out / role,
                role=role,
                codec=codec,
                sample_rate=sample_rate,
                shard_mb=shard_mb,
                jobs=jobs,
                engine=engine,
                max_bad=max_bad,
                # role=role: a closure would see the last role.
                progress=lambda done, total, role=role: progress(role, done, total),
            )
        if pairs:
            freeze_pairs(
                corpus,
                pairs,
                out / "testset",
                sample_rate=sample_rate,
                jobs=jobs
                if engine
                else 1,  # new processes here would take longer to start than the set takes
                engine=engine,
                progress=progress,
            )
            with on_disk(out, _KEPT):
                shutil.copyfile(attribution, out / "testset" / "LICENSES.md")
    testset = out / "testset" if pairs else None
    done = Prepared(out, packed, testset, len(pairs), archives, dict(passed_over))
    with on_disk(out, _KEPT):
        write_json(out / CORPUS_FILE, _record(corpus, done))
    return done


def _obtained(
    corpus: PublicCorpus, chosen: Sequence[Archive], root: Path, download: bool, progress: Progress
) -> dict[str, Fetched]:
    """Download what is missing, or check that there is a folder; return what was downloaded, by name."""
    if download:
        if not corpus.archives:
            raise RasedError(f"{corpus.title} cannot be downloaded: {corpus.by_hand}.")
        return obtain(chosen, root, progress=progress)
    if not root.is_dir():
        raise RasedError(f"The folder '{root}' does not exist. {_where_from(corpus)}")
    return {}


def _pairs(
    corpus: PublicCorpus, root: Path, listings: Mapping[Role, Listing], passed_over: Counter[str]
) -> list[Pair]:
    """Return the test set; check that it is the published one, and that the folder is that of the corpus at all."""
    pairs = list(corpus.pairs(root)) if corpus.pairs is not None else []
    if not listings and not pairs:
        aside = "".join(f" Ignored: {count} {why}." for why, count in passed_over.items())
        raise RasedError(
            f"'{root}' does not contain {corpus.title}, with files such as {corpus.layout}.{aside} "
            f"{_where_from(corpus)}"
        )
    # Before anything is packed: hours of work would come before the refusal.
    _refuse_other_pairs(corpus, root, pairs)
    return pairs


def freeze_pairs(
    corpus: PublicCorpus,
    pairs: Sequence[Pair],
    out: Path,
    *,
    sample_rate: int,
    jobs: int = 1,
    engine: Cluster | None = None,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Write a corpus's own test set as OUT/{testset.json, noisy/ID.flac, target/ID.flac}.

    Both files of a pair are resampled in the same way and get the same gain, which is 1 unless the resampled
    signals exceed
    full scale. A shorter target is padded with silence, a longer one is cut.

    Raises:
        RasedError: a file cannot be read, `out` contains another test set, or the disk is full.
    """
    request = _digest(pairs, sample_rate)
    if (out / TESTSET).is_file():
        if read_frozen(out).request_sha256 != request:
            raise RasedError(
                f"'{out}' already contains another test set, and a frozen set never changes: choose another "
                "--out."
            )
        return
    about = {
        "name": corpus.name,
        "seed": None,
        "sample_rate": sample_rate,
        "target": corpus.target,
        "early_ms": None,
        "split": "test",
        "recipe": None,
        "sources": {"corpus": corpus.title, "citation": corpus.citation, "licence": corpus.licence},
        "request_sha256": request,
    }
    write_frozen(
        out,
        pairs,
        partial(_pair, sample_rate=sample_rate),
        about,
        kept=_KEPT,
        progress=lambda done: progress("testset", done, len(pairs)),
        jobs=jobs,
        engine=engine,
    )


def _refuse_other_pairs(corpus: PublicCorpus, root: Path, pairs: Sequence[Pair]) -> None:
    """Check that a test set with a published list has exactly these utterances, if it is present at all."""
    known, there = set(corpus.test_ids), {pair.id for pair in pairs}
    if not known or not there or known == there:
        return
    wrong = [
        f"{len(ids)} {what} ({', '.join(sorted(ids)[:3])}{', ...' if len(ids) > 3 else ''})"
        for ids, what in ((known - there, "missing"), (there - known, "not of it"))
        if ids
    ]
    raise RasedError(
        f"The test set in '{root}' is not the {len(known)} utterances of {corpus.title}: "
        f"{', '.join(wrong)}. Get the complete set, or remove it from '{root}': scores on a part of it are not "
        "comparable with published ones."
    )


def _pair(pair: Pair, *, sample_rate: int) -> tuple[dict[str, Any], dict[str, NDArray[np.int16]]]:
    signals: dict[str, NDArray[np.float32]] = {}
    for part, file in (("noisy", pair.noisy), ("target", pair.target)):
        try:
            signals[part] = read_mono(file, sample_rate=sample_rate)[0]
        except BadAudioError as error:
            raise RasedError(f"The test set is incomplete: {error} Get it again.") from error
    frames = len(signals["noisy"])
    target = signals["target"][:frames]
    signals["target"] = np.pad(target, (0, frames - len(target)))
    peak = max(float(np.abs(signal).max()) for signal in signals.values())
    # The same for both: their ratio must not change.
    gain = min(1.0, _FULL_SCALE / peak) if peak > _FULL_SCALE else 1.0
    item: dict[str, Any] = {"id": re.sub(r"[^A-Za-z0-9_-]+", "-", pair.id)}
    item |= {name: pair.facts.get(name) for name in _FACTS}
    item |= {"seconds": round(frames / sample_rate, 4), "speech": pair.id, "gain": gain}
    scaled = {
        part: np.rint(signal.astype(np.float64) * gain * 32768).clip(-32768, 32767).astype(np.int16)
        for part, signal in signals.items()
    }
    return item, scaled


def _digest(pairs: Sequence[Pair], sample_rate: int) -> str:
    # Sizes instead of hashes, which would read every file.
    lines = [f"{pair.id} {size_of(pair.noisy)} {size_of(pair.target)}\n" for pair in pairs]
    return hashlib.sha256("".join([f"{sample_rate}\n", *lines]).encode()).hexdigest()


def _chosen(corpus: PublicCorpus, parts: Sequence[str]) -> list[Archive]:
    for part in parts:
        if part not in corpus.parts:
            raise RasedError(f"{corpus.title} has no part '{part}': {nearest(part, corpus.parts)}")
    return [archive for archive in corpus.archives if not parts or archive.part in parts]


def _list(
    corpus: PublicCorpus,
    root: Path,
    roles: Sequence[Role],
    inside: tuple[str, ...],
    licences: Sequence[str],
    all_channels: bool,
) -> tuple[dict[Role, Listing], Counter[str]]:
    """Return what to pack, by role, and how many recordings are ignored, by reason."""
    passed_over: Counter[str] = Counter()
    split_of: dict[tuple[Role, str], str] = {}
    listings = {role: Listing() for role in roles}
    for item in _kept(corpus.walk(root), roles, inside, licences, all_channels, passed_over):
        check_split(item.split)
        # Kinds of noise may be in all splits; speakers and rooms may not.
        if item.role != "noise":
            known = split_of.setdefault((item.role, item.label), item.split)
            if known != item.split:
                what = "speaker" if item.role == "speech" else "room"
                raise RasedError(
                    f"The {what} '{item.label}' of '{root}' is in both {known} and {item.split}: put "
                    f"each {what} into one split, because scores on training data are meaningless."
                )
        listings[item.role].extend([_source(root, item)])
    for listing in listings.values():
        listing.settle()
    return {role: listing for role, listing in listings.items() if len(listing)}, passed_over


def _kept(
    items: Iterator[Item],
    roles: Sequence[Role],
    inside: tuple[str, ...],
    licences: Sequence[str],
    all_channels: bool,
    passed_over: Counter[str],
) -> Iterator[Item]:
    # CC-BY matches CC-BY-4.0, but not CC-BY-NC-4.0.
    wanted = [re.compile(rf"{re.escape(name)}(-[0-9.]+)?", re.IGNORECASE) for name in licences]
    for item in items:
        if item.role not in roles:
            passed_over[f"recordings of {item.role}"] += 1
        elif inside and not any(f"/{item.path}".find(f"/{place}/") >= 0 for place in inside):
            passed_over["recordings of other parts"] += 1
        elif wanted and not any(name.fullmatch(item.licence) for name in wanted):
            passed_over[f"recordings under {item.licence}"] += 1
        elif item.channel != 1 and not all_channels:
            passed_over["recordings of other microphones"] += 1
        else:
            yield item


def _source(root: Path, item: Item) -> SourceFile:
    return SourceFile(
        root=root,
        path=item.path,
        key=key_of(item.path, item.role),
        split=item.split,
        label=item.label,
        licence=item.licence,
        source=item.source,
        note=item.note,
        sha256=item.sha256,
        bytes=size_of(root / item.path),
    )


def _where_from(corpus: PublicCorpus) -> str:
    ways = ["add --download"] if corpus.archives else []
    ways += [f"by hand: {corpus.by_hand}"] if corpus.by_hand else []
    return f"To get it, {'; '.join(ways)}; then --root is the folder that holds '{corpus.layout}'."


def _attribution(corpus: PublicCorpus, root: Path) -> str:
    head = [f"# {corpus.title}", f"Licence: {corpus.licence}", corpus.citation, corpus.homepage]
    files = {file for pattern in corpus.texts for file in root.glob(pattern) if file.is_file()}
    for file in sorted(files):
        text = file.read_text(encoding="utf-8", errors="replace").strip()
        head += [f"## {file.relative_to(root).as_posix()}", text]
    return "\n\n".join(line for line in head if line) + "\n"


def _record(corpus: PublicCorpus, done: Prepared) -> dict[str, Any]:
    named = ("name", "title", "licence", "citation", "homepage", "splits")
    return {
        "schema": 1,
        **{name: getattr(corpus, name) for name in named},
        "roles": {
            role: {"samples": packed.samples, "seconds": round(packed.seconds, 3)}
            for role, packed in done.packed.items()
        },
        "testset": done.pairs,
        "passed_over": done.passed_over,
        FOLDER: {name: asdict(fetched) for name, fetched in done.archives.items()},
    }
