"""Pack audio files into tar shards: decoded, resampled, checked, and written in a fixed order.

The shards are plain WebDataset files. Equal input gives equal bytes for any number of jobs. An
interrupted run continues after its last complete shard. Unreadable files are skipped, counted and
listed in skipped.json.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rased.audio import RATES
from rased.data.corpora.base import VOICEBANK_TEST_SPEAKERS
from rased.data.corpora.listing import Listing, SourceFile, collect
from rased.data.preparation.encoding import MOST_CHANNELS
from rased.data.preparation.pairing import MAX_DELAY_MS, Pairing, pairing
from rased.data.preparation.samples import Attempt, attempt, share_of_task
from rased.data.schemas import CODECS, PARTS, Codec, Role, read_index_head
from rased.data.shards import opus
from rased.data.shards.folder import SKIPPED, Skipped, Writer, begin, read_skipped, recover, writing
from rased.data.shards.index import INDEX, write_index
from rased.data.shards.tars import Rows
from rased.disk import write_json
from rased.errors import ProblemsFound, RasedError, nearest
from rased.parallel import Cluster, in_order

VALID_SHARE = 0.1
"""Share of the labels that goes into the split valid if nothing else defines a split: a training needs one."""
_FEW = 10
"""This many bad files never stop a run, however small the corpus."""
Results = Callable[[Iterator[SourceFile]], Iterator[Attempt]]

_TEST_SPEECH = re.compile(rf"(?:.*/)?(?:{'|'.join(VOICEBANK_TEST_SPEAKERS)})_\d{{3}}[._][^/]*")
"""Paths such as clean_testset_wav/p232_001.wav."""


@dataclass(frozen=True)
class Packed:
    """Result of `pack`.

    Attributes:
        folder: folder of the shards.
        samples: total number of samples in it.
        seconds: their total length.
        bytes: total size of the shards.
        resumed: number of samples from an earlier run.
        skipped: bad files.
        passed_over: number of entries ignored on purpose, by reason.
        remarks: warnings about files that were packed in this run, a sentence with the name of each.
        delays: of the pairs packed in this run, in milliseconds; None where they could not be measured.
        division: sentence on how recordings were put into the split valid; "" if folders or a manifest define it.
    """

    folder: Path
    samples: int
    seconds: float
    bytes: int
    resumed: int
    skipped: tuple[Skipped, ...]
    passed_over: dict[str, int]
    division: str = ""
    remarks: tuple[str, ...] = ()
    delays: tuple[float | None, ...] = ()


def pack(
    given: Sequence[Path],
    out: Path,
    *,
    role: Role,
    codec: Codec = "flac",
    sample_rate: int = 16_000,
    kbits: float = opus.USUAL,
    split: str = "train",
    valid_share: float = 0.0,
    shard_mb: float = 256.0,
    keep_channels: bool = False,
    jobs: int = 0,
    engine: Cluster | None = None,
    max_bad: float = 0.1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack audio of any rate, channels and format into OUT/{split}-{number:06d}.tar with an index.

    The JSON of a rir holds its T60 and direct-to-reverberant ratio, like that of a simulated one.

    Args:
        given: folders, manifests and files (see `sources.collect`).
        out: folder of the shards; created if missing.
        role: speech, noise or rir (see `pack_pairs` for pairs). The channels of a rir are kept, those of other
            roles are mixed to one.
        codec: "flac", "pcm16" (raw: larger, several times faster to read) or "opus" (lossy: a tenth of the size).
        sample_rate: resample to this rate in Hz.
        kbits: kbit/s of opus; ignored by other codecs.
        split: split of files for which neither the manifest nor a folder gives one.
        valid_share: share of the labels of these files in the split valid (see `sources.Listing.divide`).
        shard_mb: a shard ends before it exceeds this many megabytes (a larger sample gets its own shard).
        keep_channels: keep the channels of noise, too, for mixtures of several microphones.
        jobs: files decoded in parallel; 0: one per CPU core. The result does not depend on it.
        engine: a Ray cluster (`rased.parallel.cluster`); None: this machine. The result does not depend on it.
        max_bad: the run stops if more than this share of all files, and more than ten, are bad.
        progress: called with (files done, total files).

    Raises:
        RasedError: wrong arguments; `out` contains something else, or another process writes to it; full
            disk (complete shards are kept).
        ProblemsFound: too many bad files, or only bad files.
    """
    check(codec, sample_rate, kbits, shard_mb, jobs, max_bad)
    if role not in PARTS:
        raise RasedError(f"Unknown role '{role}': {nearest(role, PARTS)}")
    return pack_listing(
        collect(given, role=role, split=split, valid_share=valid_share),
        out,
        role=role,
        codec=codec,
        sample_rate=sample_rate,
        kbits=kbits,
        shard_mb=shard_mb,
        keep_channels=keep_channels,
        jobs=jobs,
        engine=engine,
        max_bad=max_bad,
        progress=progress,
    )


def pack_pairs(
    noisy: Path,
    clean: Path,
    out: Path,
    *,
    codec: Codec = "flac",
    sample_rate: int = 16_000,
    split: str = "train",
    valid_share: float = 0.0,
    shard_mb: float = 256.0,
    jobs: int = 0,
    engine: Cluster | None = None,
    max_bad: float = 0.1,
    max_delay: float = MAX_DELAY_MS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack recorded pairs as recordings of two channels, clean and noisy; see `pack`.

    Splits, labels and licences are those of the clean files. Both files of a pair get the same gain.

    Args:
        noisy: folder with the noisy files, with the same paths as the clean ones.
        clean: folder with the clean files, with a manifest.csv if there is one.
        out: folder of the shards.
        codec: "flac" or "pcm16".
        sample_rate: see `pack`, also for all arguments that are not listed here.
        split: see `pack`.
        valid_share: see `pack`.
        shard_mb: see `pack`.
        jobs: see `pack`.
        engine: see `pack`.
        max_bad: see `pack`; pairs of different length, rate or polarity are bad, and those beyond `max_delay`.
        max_delay: largest delay between noisy and clean in milliseconds.
        progress: see `pack`.

    Raises:
        RasedError: see `pack`; or a file without a counterpart.
        ProblemsFound: see `pack`.
    """
    check(codec, sample_rate, opus.USUAL, shard_mb, jobs, max_bad)
    if MOST_CHANNELS[codec] < 2:
        raise RasedError(
            f"Pairs have two channels, which {codec} does not keep: use flac or pcm16."
        )
    for folder in (noisy, clean):
        if not folder.is_dir():
            raise RasedError(f"'{folder}' is not a folder; give the folders --pairs NOISY CLEAN.")
    if noisy.samefile(clean):
        raise RasedError(
            f"'{noisy}' was given for both noisy and clean; give two folders, --pairs NOISY CLEAN."
        )
    listing = collect([clean], role="speech", split=split, valid_share=valid_share)
    return pack_listing(
        listing,
        out,
        role="pairs",
        codec=codec,
        sample_rate=sample_rate,
        shard_mb=shard_mb,
        jobs=jobs,
        engine=engine,
        max_bad=max_bad,
        paired=pairing(listing, clean, noisy, max_delay),
        progress=progress,
    )


def pack_listing(
    listing: Listing,
    out: Path,
    *,
    role: Role,
    codec: Codec = "flac",
    sample_rate: int = 16_000,
    kbits: float = opus.USUAL,
    shard_mb: float = 256.0,
    keep_channels: bool = False,
    jobs: int = 0,
    engine: Cluster | None = None,
    max_bad: float = 0.1,
    paired: Pairing | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack the files of a settled listing; see `pack`. Of pairs, it lists the clean files.

    Raises:
        RasedError: see `pack`; or test speech of VoiceBank+DEMAND outside the split test.
    """
    check(codec, sample_rate, kbits, shard_mb, jobs, max_bad)
    if keep_channels and role == "speech":
        raise RasedError(
            "Speech is packed with one channel: rooms simulate the others. Use keep_channels for noise or rir."
        )
    _refuse_test_speakers(listing)
    request = {
        "schema": 1,
        "role": role,
        "codec": codec,
        "sample_rate": sample_rate,
        "shard_mb": shard_mb,
        "files": len(listing),
        # Further keys only where they matter: `begin` compares the whole request with that of an interrupted run.
        "listing_sha256": listing.digest(),
        **({"kbits": kbits} if codec == "opus" else {}),
        **({"keep_channels": True} if keep_channels and role == "noise" else {}),
        **({} if paired is None else paired.request()),
    }
    with writing(out):
        if begin(out, request):
            return _summary(out, listing)
        results = partial(
            in_order,
            partial(attempt, request=request, paired=paired),
            jobs=jobs,
            engine=engine,
            share=share_of_task,
            folders=[*listing.roots, *([] if paired is None else [paired.noisy])],
        )
        return _pack(out, listing, recover(out), request, results, max_bad, progress)


def check(
    codec: str,
    sample_rate: int,
    kbits: float,
    shard_mb: float,
    jobs: int,
    max_bad: float,
) -> None:
    """Check the settings of a run.

    Raises:
        RasedError: one is out of its range.
    """
    if codec not in CODECS:
        raise RasedError(f"Unknown codec '{codec}': {nearest(codec, CODECS)}")
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise RasedError(
            f"The sample rate is {sample_rate} Hz; allowed are {RATES[0]} to {RATES[1]}, usual is 16000."
        )
    if codec == "opus":
        opus.check(sample_rate, kbits)
    if not shard_mb > 0:
        raise RasedError(
            f"The size of a shard is {shard_mb} MB; give a number above 0, such as 256."
        )
    if jobs < 0:
        raise RasedError(f"The number of jobs is {jobs}; give 1 or more, or 0 for one per core.")
    if not 0 <= max_bad <= 1:
        raise RasedError(f"The share of bad files is {max_bad}; it must be between 0 and 1.")


def _refuse_test_speakers(listing: Listing) -> None:
    found = [
        source.path
        for source in listing.sources
        if source.split != "test" and _TEST_SPEECH.fullmatch(source.path)
    ]
    if found:
        raise RasedError(
            f"{len(found)} of the files, such as '{found[0]}', have names of the test set of "
            "VoiceBank+DEMAND, which must be used for testing only: leave them out, or pack them with --split test."
        )


def _pack(
    out: Path,
    listing: Listing,
    rows: Rows,
    request: dict[str, Any],
    results: Results,
    max_bad: float,
    progress: Callable[[int, int], None],
) -> Packed:
    """Pack what an earlier run has not packed yet, and write the index."""
    resumed = len(rows)
    skipped, remarks, delays = _fill(out, listing, rows, request, results, max_bad, progress)
    write_json(out / SKIPPED, [asdict(entry) for entry in skipped])
    if not len(rows):
        raise ProblemsFound(
            f"None of the {len(listing)} files could be packed; the reasons are in {out / SKIPPED}. "
            f"{_examples(skipped)}"
        )
    # Last: a folder with an index is complete.
    write_index(
        out,
        role=request["role"],
        codec=request["codec"],
        sample_rate=request["sample_rate"],
        shards=rows.shards,
        licences=rows.licences,
        columns=rows.columns,
        attribution=_attribute(out, listing.licence_files),
    )
    return Packed(
        folder=out,
        samples=len(rows),
        seconds=rows.frames / request["sample_rate"],
        bytes=sum(shard.bytes for shard in rows.shards),
        resumed=resumed,
        skipped=tuple(skipped),
        passed_over=dict(listing.passed_over),
        division=listing.division,
        remarks=tuple(remarks),
        delays=tuple(delays),
    )


def _fill(
    out: Path,
    listing: Listing,
    rows: Rows,
    request: dict[str, Any],
    results: Results,
    max_bad: float,
    progress: Callable[[int, int], None],
) -> tuple[list[Skipped], list[str], list[float | None]]:
    """Write the shards; return the files that were skipped, warnings about others, and the delays of pairs.

    Raises:
        ProblemsFound: too many files are bad.
    """
    done, total = rows.columns["key"], len(listing)
    resumed, limit = len(done), max(_FEW, max_bad * total)
    skipped: list[Skipped] = []
    remarks: list[str] = []
    delays: list[float | None] = []
    progress(resumed, total)
    # A generator: `in_order` takes from it as it goes.
    todo = (source for source in listing.sources if not resumed or source.key not in done)
    with Writer(out, rows, request["codec"], shard_mb=request["shard_mb"]) as writer:
        for count, result in enumerate(results(todo), 1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                details, data, remark = result
                writer.write(details, data)
                delays += [details["delay_ms"]] if "delay_ms" in details else []
                remarks += [f"'{details['path']}': {remark}"] if remark else []
            if len(skipped) > limit:
                write_json(out / SKIPPED, [asdict(entry) for entry in skipped])
                raise ProblemsFound(
                    f"Stopped: {len(skipped)} of {count} files are bad, listed in {out / SKIPPED}. "
                    f"{_examples(skipped)} Allow more with --max-bad."
                )
            progress(resumed + count, total)
    return skipped, remarks, delays


def _summary(out: Path, listing: Listing) -> Packed:
    """Return the result for a folder that was complete already."""
    mend = f"Rebuild it with `rased data verify {out} --repair`."
    head = read_index_head(out / INDEX, repair=mend)
    return Packed(
        folder=out,
        samples=head.samples,
        seconds=head.seconds,
        bytes=sum(shard.bytes for shard in head.shards),
        resumed=head.samples,
        skipped=read_skipped(out),
        passed_over=dict(listing.passed_over),
        division=listing.division,
    )


def _attribute(out: Path, licence_files: Sequence[Path]) -> str | None:
    """Copy the licence texts to the folder of the shards, in one file."""
    if not licence_files:
        return None
    target = out / "LICENSES.md"
    if len(licence_files) == 1:
        shutil.copyfile(licence_files[0], target)
    else:
        texts = (
            f"<!-- {file.resolve().parent.name} -->\n{file.read_text().strip()}\n"
            for file in licence_files
        )
        target.write_text("\n".join(texts))
    return target.name


def _examples(skipped: Sequence[Skipped]) -> str:
    return " ".join(f"'{entry.path}' {entry.reason}." for entry in skipped[:3])
