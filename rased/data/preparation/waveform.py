"""Decode audio files to the form of a corpus: one channel or all channels, one rate, 16-bit samples."""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple, cast

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from rased.audio import AudioInfo, BadAudioError, Recording, Resampler, open_audio
from rased.data.schemas import Role

_BLOCK = 1 << 18
"""Samples scaled at a time."""
_SPOOL = 16 << 20
"""Bytes of decoded audio above which it is stored in a temporary file: four minutes at 16 kHz."""
_RIR_PEAK = 0.99


@dataclass(frozen=True)
class Decoded:
    """Decoded audio as 16-bit samples; long audio is in a temporary file.

    Attributes:
        waveform: samples before scaling, as bytes of float32, with interleaved channels.
        scale: factor for the samples.
        frames: number of samples per channel.
        gain_db: part of the scale that prevents clipping (0: none).
        note: what was done to channels and level, and how the file was read; "" for nothing.
        remark: warning on how the file was read; part of the note.
        channels: number of channels.
    """

    waveform: IO[bytes]
    scale: np.float32
    frames: int
    gain_db: float
    note: str
    remark: str = ""
    channels: int = 1

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """Yield blocks of samples: (time,), or (time, channel) for several channels."""
        self.waveform.seek(0)
        while data := self.waveform.read(4 * _BLOCK * self.channels):
            samples = np.rint(np.frombuffer(data, np.float32) * self.scale).astype(np.int16)
            yield samples if self.channels == 1 else samples.reshape(-1, self.channels)

    @property
    def samples(self) -> NDArray[np.int16]:
        """Return all samples."""
        return np.concatenate(list(self.blocks()))


def decode(
    file: Path, *, sample_rate: int, role: Role = "speech", keep_channels: bool = False
) -> Decoded:
    """Read a file of any rate, channels and format as 16-bit samples.

    All channels of a rir are kept, and those of other roles if `keep_channels` is set; otherwise they are mixed
    to one.

    16-bit samples that need neither resampling nor mixing are kept bit for bit. Audio that would exceed
    full scale (overshoot of the resampler, floating-point files) is attenuated as a whole, by
    `gain_db`. A rir that is not 16-bit already, or is resampled, is scaled to 0.99 of full
    scale: its level has no meaning, but its tail needs the precision.

    Raises:
        BadAudioError: not audio, empty, truncated, NaN or infinite samples, or only zeros.
    """
    read = _read(file, sample_rate, role, keep_channels)
    note = _note(read.info, read.channels, read.gain)
    return _decoded(read.waveform, read, read.gain, note, read.info.note)


def decode_pair(clean: Path, noisy: Path, *, sample_rate: int) -> Decoded:
    """Read both files of a recorded pair as two channels, clean and noisy, with one gain.

    Raises:
        BadAudioError: as of `decode`; or the files have different sample rates or lengths.
    """
    one = _read(clean, sample_rate, "pairs", False)
    try:
        other = _read(noisy, sample_rate, "pairs", False)
    except BadAudioError as error:
        one.waveform.close()
        raise BadAudioError(clean, f"has a noisy file that {error.reason}") from None
    both = cast(IO[bytes], SpooledTemporaryFile(max_size=2 * _SPOOL))
    with one.waveform, other.waveform:
        different = _difference(one, other, sample_rate)
        if different:
            both.close()
            raise BadAudioError(clean, different)
        for read in (one, other):
            read.waveform.seek(0)
        while data := one.waveform.read(4 * _BLOCK):
            parts = (
                np.frombuffer(part, np.float32) for part in (data, other.waveform.read(4 * _BLOCK))
            )
            both.write(np.stack([*parts], axis=1).data)
    # One gain, so that the noise is still the difference.
    gain = min(one.gain, other.gain)
    notes = [_note(one.info, 1, 1.0), _note(other.info, 1, gain)]
    remarks = [one.info.note, other.info.note]
    note, remark = ("; ".join(dict.fromkeys(filter(None, each))) for each in (notes, remarks))
    return _decoded(both, one._replace(channels=2), gain, note, remark)


def _difference(clean: "_Read", noisy: "_Read", sample_rate: int) -> str:
    """Return why two files cannot be a pair; "" if they can."""
    ours, theirs = clean.info.sample_rate, noisy.info.sample_rate
    if ours != theirs:
        return f"has {ours} Hz, but its noisy file has {theirs} Hz: resample one of them"
    if clean.frames != noisy.frames:
        return (
            f"has {clean.frames} samples at {sample_rate} Hz, but its noisy file has {noisy.frames}: cut both to the "
            "same part of the recording"
        )
    return ""


class _Read(NamedTuple):
    """A file at the wanted rate: samples before scaling, and the gain that brings them to 16 bits."""

    waveform: IO[bytes]
    info: AudioInfo
    channels: int
    frames: int
    gain: float


def _read(file: Path, sample_rate: int, role: Role, keep_channels: bool) -> _Read:
    """Read a file into a temporary one.

    Raises:
        BadAudioError: see `decode`.
    """
    peak, frames = 0.0, 0
    waveform = cast(IO[bytes], SpooledTemporaryFile(max_size=_SPOOL))
    try:
        with open_audio(file) as recording:
            info, exact = recording.info, _is_exact(recording.info, sample_rate)
            channels = info.channels if keep_channels or role == "rir" else 1
            for block in _resampled(recording, sample_rate, channels):
                peak = max(peak, float(np.abs(block).max(initial=0)))
                frames += block.shape[1]
                # (channel, time) to interleaved samples.
                waveform.write(np.ascontiguousarray(block.T).data)
        gain = _gain(peak, role, exact=exact, mixed=channels < info.channels)
        # With the arithmetic of `Decoded.blocks`.
        if not np.rint(np.float32(peak) * np.float32(32768 * gain)):
            raise BadAudioError(file, "is silent: every 16-bit sample is zero")
    except BaseException:
        waveform.close()
        raise
    return _Read(waveform, info, channels, frames, gain)


def _decoded(waveform: IO[bytes], read: _Read, gain: float, note: str, remark: str) -> Decoded:
    scale = np.float32(32768 * gain)
    decoded = Decoded(waveform, scale, read.frames, _in_db(gain), note, remark, read.channels)
    # The temporary file goes with its last reader.
    weakref.finalize(decoded, waveform.close)
    return decoded


def read_mono(file: Path, *, sample_rate: int) -> tuple[NDArray[np.float32], int, bool]:
    """Read a file as one channel at a sample rate, unscaled: samples may exceed full scale, which is 1.

    Returns:
        The samples, the number of channels of the file, and whether it has at most 16 bits at this
        rate, so that the samples of a file of one channel are exact in 16 bits.

    Raises:
        BadAudioError: not audio, empty, truncated, or NaN or infinite samples.
    """
    with open_audio(file) as recording:
        waveform = np.concatenate(list(_mono(recording, sample_rate)))
        return waveform, recording.info.channels, _is_exact(recording.info, sample_rate)


def _is_exact(info: AudioInfo, sample_rate: int) -> bool:
    """Return whether a file has at most 16 bits at this rate."""
    return info.sample_rate == sample_rate and info.subtype in ("PCM_16", "PCM_S8", "PCM_U8")


def _mono(recording: Recording, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield a file as one channel at the wanted rate, block by block."""
    for block in _resampled(recording, sample_rate, 1):
        yield np.ascontiguousarray(block[0])


def _resampled(
    recording: Recording, sample_rate: int, channels: int
) -> Iterator[Float[np.ndarray, "channel time"]]:
    """Yield a file at the wanted rate, block by block: all of its channels, or their mean if one channel is wanted.

    The length is rounded, not rounded up, because recordings are identified by the hash of these samples.
    """
    source = recording.info.sample_rate
    resampler = Resampler(source, sample_rate, channels, quality="VHQ")
    count = 0
    for block in recording.blocks():
        count += block.shape[1]
        kept = block if block.shape[0] == channels else block.mean(axis=0, keepdims=True)
        yield resampler.push(np.ascontiguousarray(kept))
    # count * sample_rate / source, rounded half up, in integers.
    yield resampler.finish((2 * count * sample_rate + source) // (2 * source))


def _gain(peak: float, role: Role, *, exact: bool, mixed: bool) -> float:
    if role == "rir" and not exact and peak > 0:
        return _RIR_PEAK / peak
    # An exact recording may contain -32768, which fits 16 bits although its magnitude does not.
    if round(peak * 32768) > 32767 and (mixed or not exact):
        return 32767 / 32768 / peak
    return 1.0


def _in_db(gain: float) -> float:
    return round(20 * float(np.log10(gain)), 3)


def _note(info: AudioInfo, channels: int, gain: float) -> str:
    notes = [info.note] if info.note else []
    if channels < info.channels:
        notes.append(f"mean of {info.channels} channels")
    if _in_db(gain):
        notes.append(f"gain {_in_db(gain):+.3f} dB")
    return "; ".join(notes)
