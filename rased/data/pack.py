"""Audio files into tar shards: decoded, resampled, checked, written in a fixed order, nothing lost.

The shards are plain WebDataset files. Equal input gives equal bytes for any number of jobs; a run
that was cut off goes on behind its last complete shard; what cannot be read is skipped, counted and
listed in skipped.json.
"""

import io
import os
import re
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from rased.data.corpora.base import VOICEBANK_TEST_SPEAKERS
from rased.data.folder import SKIPPED, Skipped, Writer, begin, read_skipped, recover, writing
from rased.data.responses import describe
from rased.data.schemas import CODECS, ROLES, Codec, Role, read_index_head
from rased.data.shards import INDEX, write_index
from rased.data.sources import Listing, Source, collect
from rased.data.tars import Details, Rows
from rased.disk import sha256, write_json
from rased.errors import ProblemsFound, RasedError, nearest
from rased.parallel import in_order

_BLOCK = 1 << 18
"""Samples decoded at once."""
_SPOOL = 16 << 20
"""Bytes of decoded audio beyond which it goes to a temporary file: four minutes at 16 kHz."""
_RIR_PEAK = 0.99
_OGG_PAGE = 65_307
"""Bytes of the largest page of an Ogg file."""
_OGG_END = 4
"""The bit of a page's header that marks the end of a stream."""
_FEW = 10
"""Bad files that never stop a run, however small the corpus."""


_TEST_SPEECH = re.compile(rf"(?:.*/)?(?:{'|'.join(VOICEBANK_TEST_SPEAKERS)})_\d{{3}}[._][^/]*")
"""Paths such as clean_testset_wav/p232_001.wav."""


class BadAudioError(Exception):
    """Why one file cannot be packed; becomes a line of skipped.json."""


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
    """

    folder: Path
    samples: int
    seconds: float
    bytes: int
    resumed: int
    skipped: tuple[Skipped, ...]
    passed_over: dict[str, int]


@dataclass(frozen=True)
class Decoded:
    """Audio as it will be stored, 16-bit samples of one channel; a long one lies in a temporary file that goes with it.

    Attributes:
        waveform: the samples before they were scaled, as bytes of float32.
        scale: what they are multiplied by.
        frames: number of samples.
        gain_db: the part of scale that keeps them from clipping (0: untouched).
        note: what was done to channels and level, "" for nothing.
    """

    waveform: IO[bytes]
    scale: np.float32
    frames: int
    gain_db: float
    note: str

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """The samples, some at a time."""
        self.waveform.seek(0)
        while data := self.waveform.read(4 * _BLOCK):
            yield np.rint(np.frombuffer(data, np.float32) * self.scale).astype(np.int16)

    @property
    def samples(self) -> NDArray[np.int16]:
        """All samples."""
        return np.concatenate(list(self.blocks()))


def pack(
    given: Sequence[Path],
    out: Path,
    *,
    role: Role,
    codec: Codec = "flac",
    sample_rate: int = 16_000,
    split: str = "train",
    shard_mb: float = 256.0,
    jobs: int = 0,
    max_bad: float = 0.1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack audio of any rate, channels and format into OUT/{split}-{number:06d}.tar with an index.

    The json of a rir holds T60 and direct-to-reverberant ratio, as that of a simulated one does.

    Args:
        given: folders, manifests and files (see `sources.collect`).
        out: folder of the shards; made where it is missing.
        role: speech, noise or rir. A rir keeps its first channel, the others are mixed to one.
        codec: "flac", or "pcm16" (raw: larger, several times faster to read).
        sample_rate: Hz to resample to.
        split: for files whose split neither manifest nor folder names.
        shard_mb: a shard ends before it exceeds this many megabytes (a larger sample gets its own).
        jobs: files decoded at the same time; 0: one per CPU core. The result does not depend on it.
        max_bad: the run stops when more than this share of all files, and more than ten, are bad.
        progress: called with (files done, files in all).

    Raises:
        RasedError: wrong arguments; out holds something else, or another process writes into it; no
            space left (complete shards stay).
        ProblemsFound: too many bad files, or nothing but bad files.
    """
    _check(role, codec, sample_rate, shard_mb, jobs, max_bad)
    return pack_listing(
        collect(given, role=role, split=split),
        out,
        role=role,
        codec=codec,
        sample_rate=sample_rate,
        shard_mb=shard_mb,
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
    shard_mb: float = 256.0,
    jobs: int = 0,
    max_bad: float = 0.1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Pack the files of a settled listing; as `pack`.

    Raises:
        RasedError: as `pack`; and the test speech of VoiceBank+DEMAND outside the split test.
    """
    _check(role, codec, sample_rate, shard_mb, jobs, max_bad)
    _refuse_test_speakers(listing)
    request = {
        "schema": 1,
        "role": role,
        "codec": codec,
        "sample_rate": sample_rate,
        "shard_mb": shard_mb,
        "files": len(listing),
        "listing_sha256": listing.digest(),
    }
    with writing(out):
        if begin(out, request):
            return _summary(out, listing)
        return _pack(out, listing, recover(out), request, jobs, max_bad, progress)


def decode(file: Path, *, sample_rate: int, role: Role = "speech") -> Decoded:
    """Read a file of any rate, channels and format as 16-bit samples of one channel.

    16-bit samples that need neither resampling nor mixing survive bit for bit. What would exceed
    full scale (overshoot of the resampler, floating-point files) is turned down as a whole, by
    `gain_db`. A rir that is not 16-bit already, or that is resampled, is scaled to 0.99 of full
    scale: its level means nothing, its tail needs the bits.

    Raises:
        BadAudioError: not audio, empty, cut short, NaN or infinite samples, nothing but zeros.
    """
    peak, frames = 0.0, 0
    waveform = cast(IO[bytes], SpooledTemporaryFile(max_size=_SPOOL))
    try:
        with _opened(file) as sound:
            channels, exact = sound.channels, _is_exact(sound, sample_rate)
            for block in _read(sound, sample_rate, role):
                peak, frames = max(peak, float(np.abs(block).max(initial=0))), frames + len(block)
                waveform.write(block.data)
        gain = 1.0
        if role == "rir" and not exact and peak > 0:
            gain = _RIR_PEAK / peak
        elif round(peak * 32768) > 32767 and not (exact and channels == 1):
            gain = 32767 / 32768 / peak
        scale = np.float32(32768 * gain)
        if not np.rint(np.float32(peak) * scale):
            raise BadAudioError("silent: every 16-bit sample is zero")
    except BaseException:
        waveform.close()
        raise
    notes = []
    if channels > 1:
        notes.append(
            f"channel 1 of {channels}" if role == "rir" else f"mean of {channels} channels"
        )
    gain_db = round(20 * float(np.log10(gain)), 3)
    if gain != 1:
        notes.append(f"gain {gain_db:+.3f} dB")
    decoded = Decoded(waveform, scale, frames, gain_db, "; ".join(notes))
    weakref.finalize(decoded, waveform.close)
    return decoded


def read_mono(
    file: Path, *, sample_rate: int, role: Role = "speech"
) -> tuple[NDArray[np.float32], int, bool]:
    """Read a file as one channel at a rate, unscaled: full scale is 1 and may be exceeded.

    Returns:
        The samples, the number of channels of the file, and whether it has 16 bits or fewer at this
        rate, so that the samples of a file of one channel are exact in 16 bits.

    Raises:
        BadAudioError: not audio, empty, cut short, NaN or infinite samples.
    """
    with _opened(file) as sound:
        waveform = np.concatenate(list(_read(sound, sample_rate, role)))
        return waveform, sound.channels, _is_exact(sound, sample_rate)


def encode(samples: NDArray[np.int16], codec: Codec, sample_rate: int) -> bytes:
    """Return the samples as they lie in a shard: a FLAC file, or raw little-endian 16-bit.

    FLAC of the level that decodes fastest: a fifth less time than the highest, for 2 to 6 % more bytes.
    """
    return encode_blocks([samples], codec, sample_rate)


def encode_blocks(blocks: Iterable[NDArray[np.int16]], codec: Codec, sample_rate: int) -> bytes:
    """As `encode`, of samples that come some at a time."""
    data = io.BytesIO()
    if codec == "pcm16":
        for samples in blocks:
            data.write(samples.astype("<i2").tobytes())
        return data.getvalue()
    with soundfile.SoundFile(
        data, "w", sample_rate, 1, "PCM_16", format="FLAC", compression_level=0.0
    ) as file:
        for samples in blocks:
            file.write(samples)
    return data.getvalue()


def _check(
    role: str, codec: str, sample_rate: int, shard_mb: float, jobs: int, max_bad: float
) -> None:
    for what, given, known in (("role", role, ROLES), ("codec", codec, CODECS)):
        if given not in known:
            raise RasedError(f"Unknown {what} '{given}': {nearest(given, known)}")
    if not 1000 <= sample_rate <= 768_000:
        raise RasedError(
            f"The sample rate is {sample_rate} Hz; allowed: 1000 to 768000, usual: 16000."
        )
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

    def prepare(source: Source) -> tuple[Details, bytes] | Skipped:
        try:
            return _sample(source, role, codec, sample_rate)
        except BadAudioError as error:
            return Skipped(source.path, str(error))

    todo = (source for source in listing.sources if not resumed or source.key not in done)
    with Writer(out, rows, codec, shard_mb=request["shard_mb"]) as writer:
        for count, result in enumerate(in_order(prepare, todo, jobs=jobs), 1):
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                writer.write(*result)
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
    )


def _sample(source: Source, role: Role, codec: Codec, sample_rate: int) -> tuple[Details, bytes]:
    if source.bytes < 0:
        raise BadAudioError("no such file")
    if source.bytes == 0:
        raise BadAudioError("empty: 0 bytes")
    try:
        if source.sha256 and sha256(source.file) != source.sha256:
            raise BadAudioError("changed: its sha256 is not the one in the manifest")
    except OSError as error:
        raise BadAudioError(f"cannot be read ({error.strerror})") from error
    decoded = decode(source.file, sample_rate=sample_rate, role=role)
    data = encode_blocks(decoded.blocks(), codec, sample_rate)
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
        "path": source.path,
        "note": "; ".join(part for part in (source.note, decoded.note) if part),
        "gain_db": decoded.gain_db,
    }
    if role == "rir":
        details |= describe(decoded.samples, sample_rate=sample_rate)
    return details, data


@contextmanager
def _opened(file: Path) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(file) as sound:
            yield sound
    except soundfile.LibsndfileError as error:
        if not file.exists():
            raise BadAudioError("no such file") from error
        raise BadAudioError(f"not audio that libsndfile reads ({_reason(error)})") from error


def _is_exact(sound: soundfile.SoundFile, sample_rate: int) -> bool:
    """Whether a file has 16 bits or fewer at this rate."""
    few_bits = sound.subtype in ("PCM_16", "PCM_S8", "PCM_U8")
    return sound.samplerate == sample_rate and few_bits


def _read(
    sound: soundfile.SoundFile, sample_rate: int, role: Role
) -> Iterator[NDArray[np.float32]]:
    """Yield an open file as one channel at the wanted rate, block by block."""
    promised = sound.frames
    if promised == 0:
        raise BadAudioError("empty: no samples")
    if _cut_short(sound.extra_info):
        raise BadAudioError("cut short: the header promises more than the file holds")
    if sound.format == "OGG" and not _ogg_ends(Path(sound.name)):
        raise BadAudioError("cut short: its last Ogg page is not the end of the stream")
    resampler = None
    if sound.samplerate != sample_rate:
        resampler = soxr.ResampleStream(
            sound.samplerate, sample_rate, 1, dtype="float32", quality="VHQ"
        )
    count = 0
    while True:
        try:
            block = sound.read(_BLOCK, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise BadAudioError(
                f"damaged or cut short: {count} of {promised} samples decode ({_reason(error)})"
            ) from error
        if not np.isfinite(block).all():
            raise BadAudioError("NaN or infinite samples")
        count += len(block)
        mono = block[:, 0] if role == "rir" or sound.channels == 1 else block.mean(axis=1)
        last = len(block) < _BLOCK
        mono = np.ascontiguousarray(mono)
        yield resampler.resample_chunk(mono, last=last) if resampler else mono
        if last:
            break
    # The length in the header of an MP3 file is an estimate.
    if count < (0.98 if sound.format in ("MP3", "MPEG") else 1) * promised:
        raise BadAudioError(f"cut short: {count} of {promised} samples are there")


def _cut_short(log: str) -> bool:
    """Tell from libsndfile's log whether the data chunk of a RIFF file is longer than the file.

    A length of 0 or of all ones is what programs write that cannot go back to fill it in.
    """
    for line in log.splitlines():
        words = line.replace("(", " ").replace(")", " ").split()
        if words[:2] == ["data", ":"] and "should" in words and words[2].isdigit():
            promised, there = int(words[2]), words[-1]
            return there.isdigit() and promised not in (0, 2**32 - 1) and promised > int(there)
    return False


def _ogg_ends(file: Path) -> bool:
    """Tell whether the last page of an Ogg file is whole and says that the stream ends there.

    libsndfile decodes a Vorbis or Opus file that is cut anywhere as if it were meant so.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 2 * _OGG_PAGE))
        tail = stream.read()
    at = tail.rfind(b"OggS\0")
    while at >= 0:
        if at + 27 <= len(tail):
            table = tail[at + 27 : at + 27 + tail[at + 26]]
            if at + 27 + tail[at + 26] + sum(table) == len(tail):
                return bool(tail[at + 5] & _OGG_END)
        at = tail.rfind(b"OggS\0", 0, at)
    return False


def _reason(error: soundfile.LibsndfileError) -> str:
    text = error.error_string.removeprefix("Error :").strip().rstrip(".")
    return text[:1].lower() + text[1:]


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
    return " ".join(f"{entry.path}: {entry.reason}." for entry in skipped[:3])
