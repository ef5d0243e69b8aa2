"""Audio files into tar shards: decoded, resampled, checked, written in a fixed order, nothing lost.

The shards are plain WebDataset files. Equal input gives equal bytes for any number of jobs; a run
that was cut off goes on behind its last complete shard; what cannot be read is skipped, counted and
listed in skipped.json.
"""

import io
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.audio import CHANNELS, RATES, BadAudioError, printable
from rased.data.corpora.base import VOICEBANK_TEST_SPEAKERS
from rased.data.corpora.listing import Listing, SourceFile, collect
from rased.data.preparation.responses import describe
from rased.data.preparation.waveform import decode
from rased.data.schemas import CODECS, ROLES, Codec, Role, read_index_head
from rased.data.shards import opus
from rased.data.shards.folder import SKIPPED, Skipped, Writer, begin, read_skipped, recover, writing
from rased.data.shards.index import INDEX, write_index
from rased.data.shards.tars import Details, Rows
from rased.disk import sha256, write_json
from rased.errors import ProblemsFound, RasedError, nearest
from rased.parallel import in_order

MOST_CHANNELS: dict[Codec, int] = {"flac": 8, "pcm16": CHANNELS, "opus": 1}
"""That a sample may have in a shard."""
VALID_SHARE = 0.1
"""Of the labels into the split valid, where nothing names a split: a training needs one."""
_FEW = 10
"""Bad files that never stop a run, however small the corpus."""


_TEST_SPEECH = re.compile(rf"(?:.*/)?(?:{'|'.join(VOICEBANK_TEST_SPEAKERS)})_\d{{3}}[._][^/]*")
"""Paths such as clean_testset_wav/p232_001.wav."""


@dataclass(frozen=True)
class Packed:
    """What a run of `pack` did.

    Attributes:
        folder: where the shards are.
        samples: number of samples packed in all.
        seconds: their length.
        bytes: size of all shards.
        resumed: how many samples an earlier run had packed already.
        skipped: the files left out.
        passed_over: entries left aside on purpose, by reason.
        remarks: what is unusual about files that were packed in this run, a sentence with the name of each.
        division: how recordings came into the split valid, as a sentence; "" where folders or a manifest say it.
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
    max_bad: float = 0.1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack audio of any rate, channels and format into OUT/{split}-{number:06d}.tar with an index.

    The json of a rir holds T60 and direct-to-reverberant ratio, as that of a simulated one does.

    Args:
        given: folders, manifests and files (see `sources.collect`).
        out: folder of the shards; made where it is missing.
        role: speech, noise or rir. A rir keeps its channels, those of the others are mixed to one.
        codec: "flac", "pcm16" (raw: larger, several times faster to read) or "opus" (lossy: a tenth of the size).
        sample_rate: Hz to resample to.
        kbits: kbit/s of opus; the others take no notice.
        split: for files whose split neither manifest nor folder names.
        valid_share: of the labels of these files in the split valid (see `sources.Listing.divide`).
        shard_mb: a shard ends before it exceeds this many megabytes (a larger sample gets its own).
        keep_channels: of noise too, for mixtures of several microphones.
        jobs: files decoded at the same time; 0: one per CPU core. The result does not depend on it.
        max_bad: the run stops when more than this share of all files, and more than ten, are bad.
        progress: called with (files done, files in all).

    Raises:
        RasedError: wrong arguments; out holds something else, or another process writes into it; no
            space left (complete shards stay).
        ProblemsFound: too many bad files, or nothing but bad files.
    """
    _check(role, codec, sample_rate, kbits, shard_mb, jobs, max_bad)
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
        max_bad=max_bad,
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
    max_bad: float = 0.1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack the files of a settled listing; as `pack`.

    Raises:
        RasedError: as `pack`; and the test speech of VoiceBank+DEMAND outside the split test.
    """
    _check(role, codec, sample_rate, kbits, shard_mb, jobs, max_bad)
    if keep_channels and role == "speech":
        raise RasedError(
            "Speech is packed as one channel: its several channels come from rooms. Keep those of noise or rir."
        )
    _refuse_test_speakers(listing)
    request = {
        "schema": 1,
        "role": role,
        "codec": codec,
        "sample_rate": sample_rate,
        "shard_mb": shard_mb,
        "files": len(listing),
        "listing_sha256": listing.digest(),
        **({"kbits": kbits} if codec == "opus" else {}),
        **({"keep_channels": True} if keep_channels and role == "noise" else {}),
    }
    with writing(out):
        if begin(out, request):
            return _summary(out, listing)
        return _pack(out, listing, recover(out), request, jobs, max_bad, progress)


def encode(
    samples: NDArray[np.int16], codec: Codec, sample_rate: int, kbits: float = opus.USUAL
) -> bytes:
    """Return the samples, (time,) or (time, channel), as they lie in a shard.

    A FLAC file, raw little-endian 16-bit, or Opus in Ogg.

    FLAC of the level that decodes fastest: a fifth less time than the highest, for 2 to 6 % more bytes.
    """
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return encode_blocks([samples], codec, sample_rate, kbits, channels=channels)


def encode_blocks(
    blocks: Iterable[NDArray[np.int16]],
    codec: Codec,
    sample_rate: int,
    kbits: float = opus.USUAL,
    *,
    channels: int = 1,
) -> bytes:
    """As `encode`, of samples that come some at a time."""
    data = io.BytesIO()
    if codec == "pcm16":
        for samples in blocks:
            data.write(samples.astype("<i2").tobytes())
        return data.getvalue()
    if codec == "opus":
        return opus.encode(blocks, sample_rate, kbits)
    with soundfile.SoundFile(
        data, "w", sample_rate, channels, "PCM_16", format="FLAC", compression_level=0.0
    ) as file:
        for samples in blocks:
            file.write(samples)
    return data.getvalue()


def _check(
    role: str,
    codec: str,
    sample_rate: int,
    kbits: float,
    shard_mb: float,
    jobs: int,
    max_bad: float,
) -> None:
    for what, given, known in (("role", role, ROLES), ("codec", codec, CODECS)):
        if given not in known:
            raise RasedError(f"Unknown {what} '{given}': {nearest(given, known)}")
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise RasedError(
            f"The sample rate is {sample_rate} Hz; allowed: {RATES[0]} to {RATES[1]}, usual: 16000."
        )
    if codec == "opus":
        opus.check(sample_rate, kbits)
    if not shard_mb > 0:
        raise RasedError(
            f"The shards are to hold {shard_mb} MB; give a number above 0, usual: 256."
        )
    if jobs < 0:
        raise RasedError(f"{jobs} jobs cannot run; give 1 or more, or 0 for one per core.")
    if not 0 <= max_bad <= 1:
        raise RasedError(f"The share of bad files is {max_bad}; it lies between 0 and 1.")


def _refuse_test_speakers(listing: Listing) -> None:
    found = [
        source.path
        for source in listing.sources
        if source.split != "test" and _TEST_SPEECH.fullmatch(source.path)
    ]
    if found:
        raise RasedError(
            f"{len(found)} of the files, such as '{found[0]}', are by their names speech of the test set of "
            "VoiceBank+DEMAND, which is for testing alone: leave them out, or pack them with --split test."
        )


def _pack(
    out: Path,
    listing: Listing,
    rows: Rows,
    request: dict[str, Any],
    jobs: int,
    max_bad: float,
    progress: Callable[[int, int], None],
) -> Packed:
    role, codec, sample_rate = request["role"], request["codec"], request["sample_rate"]
    done = rows.columns["key"]
    resumed = len(done)
    total = len(listing)
    limit = max(_FEW, max_bad * total)
    skipped: list[Skipped] = []
    progress(resumed, total)

    remarks: list[str] = []

    def prepare(source: SourceFile) -> tuple[Details, bytes, str] | Skipped:
        try:
            return _sample(source, request)
        except BadAudioError as error:
            return Skipped(printable(source.path), error.reason)

    todo = (source for source in listing.sources if not resumed or source.key not in done)
    with Writer(out, rows, codec, shard_mb=request["shard_mb"]) as writer:
        for count, result in enumerate(in_order(prepare, todo, jobs=jobs), 1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                details, data, remark = result
                writer.write(details, data)
                remarks += [f"'{details['path']}': {remark}"] if remark else []
            if len(skipped) > limit:
                write_json(out / SKIPPED, [asdict(entry) for entry in skipped])
                raise ProblemsFound(
                    f"Stopped: {len(skipped)} of {count} files are bad, listed in {out / SKIPPED}. "
                    f"{_examples(skipped)} Allow more with --max-bad."
                )
            progress(resumed + count, total)
    write_json(out / SKIPPED, [asdict(entry) for entry in skipped])
    if not len(rows):
        raise ProblemsFound(
            f"None of the {total} files could be packed, reasons in {out / SKIPPED}. "
            f"{_examples(skipped)}"
        )
    attribution = _attribute(out, listing.licence_files)
    write_index(
        out,
        role=role,
        codec=codec,
        sample_rate=sample_rate,
        shards=rows.shards,
        licences=rows.licences,
        columns=rows.columns,
        attribution=attribution,
    )
    return Packed(
        folder=out,
        samples=len(rows),
        seconds=rows.frames / sample_rate,
        bytes=sum(shard.bytes for shard in rows.shards),
        resumed=resumed,
        skipped=tuple(skipped),
        passed_over=dict(listing.passed_over),
        division=listing.division,
        remarks=tuple(remarks),
    )


def _summary(out: Path, listing: Listing) -> Packed:
    """Tell about a folder that is complete already."""
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


def _sample(source: SourceFile, request: Mapping[str, Any]) -> tuple[Details, bytes, str]:
    """Return what a shard holds of a recording, and what is unusual about its file."""
    role, codec, sample_rate = request["role"], request["codec"], request["sample_rate"]
    try:
        if source.sha256 and sha256(source.file) != source.sha256:
            raise BadAudioError(
                source.file,
                "is changed: its sha256 is not that of the manifest",
            )
    except OSError:
        pass  # decoding says why it cannot be read
    keep = request.get("keep_channels", False)
    decoded = decode(source.file, sample_rate=sample_rate, role=role, keep_channels=keep)
    if decoded.channels > MOST_CHANNELS[codec]:
        raise BadAudioError(
            source.file,
            f"has {decoded.channels} channels; {codec} takes {MOST_CHANNELS[codec]}, pcm16 any number (--codec)",
        )
    data = encode_blocks(
        decoded.blocks(),
        codec,
        sample_rate,
        request.get("kbits", opus.USUAL),
        channels=decoded.channels,
    )
    details = {
        "key": source.key,
        "role": role,
        "split": source.split,
        "label": source.label,
        "sample_rate": sample_rate,
        "frames": decoded.frames,
        "seconds": round(decoded.frames / sample_rate, 3),
        "licence": source.licence,
        "source": source.source,
        "path": printable(source.path),
        "note": "; ".join(part for part in (source.note, decoded.note) if part),
        "gain_db": decoded.gain_db,
        **({"channels": decoded.channels} if decoded.channels > 1 else {}),
    }
    if role == "rir":
        samples = decoded.samples
        first = samples if decoded.channels == 1 else samples[:, 0]
        details |= describe(first, sample_rate=sample_rate)
    return details, data, decoded.remark


def _attribute(out: Path, licence_files: Sequence[Path]) -> str | None:
    """Copy the licence texts beside the shards, several ones below each other."""
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
