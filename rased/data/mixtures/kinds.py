"""Kinds of distortions: wind, microphone, clipping, bandwidth, codec, packet loss."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from rased.signal.convolution import fft_length

Format = Literal["mp3", "vorbis", "opus"]
FORMATS: tuple[Format, ...] = get_args(Format)
Waveform = Float[Tensor, " time"]
Waveforms = Float[Tensor, "batch time"]
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


class Wind(NamedTuple):
    """Gusts of low-frequency noise at the microphone, `snr_db` below the mixture.

    Wind noise falls off above `corner_hz` and comes in bursts: Mirabilii, Lodermeyer, Czwielong,
    Becker, Habets, "Simulating wind noise with airflow speed-dependent characteristics", IWAENC
    2022; a distortion of the URGENT 2025 challenge, whose range of levels is the default. Here the
    spectrum has a second-order roll-off, and the envelope is log-normal.
    """

    snr_db: float
    corner_hz: float
    seed: int

    def apply(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """Add the wind; silence stays silent."""
        time = waveform.shape[-1]
        random = _generator(self.seed)
        length = fft_length(time)
        # The spectrum of the gusts falls off above 1 Hz; a standard deviation of their level is 13 dB (e^1.5).
        hertz = np.fft.rfftfreq(length, 1 / sample_rate)
        gusts = np.exp(1.5 * _shaped(random, np.exp(-0.5 * np.square(hertz)), length)[:time])
        rumble = _shaped(random, 1 / (1 + np.square(hertz / self.corner_hz)), length)[:time]
        wind = gusts * rumble
        wind /= math.sqrt(float(np.square(wind).mean()))
        level = waveform.square().mean().sqrt() * 10 ** (-self.snr_db / 20)
        return waveform + level * torch.from_numpy(wind).to(waveform)


class Microphone(NamedTuple):
    """A random second-order response: (1 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2), each within +-3/8.

    Valin, "A hybrid DSP/deep learning approach to real-time full-band speech enhancement", MMSP
    2018 (arXiv 1709.08243), equation 8; for noisy speech, Braun and Tashev, "Data augmentation and
    loss normalization for deep noise suppression", SPECOM 2020 (arXiv 2008.06412).
    """

    b1: float
    b2: float
    a1: float
    a2: float

    def apply(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """Filter."""
        return _microphones(waveform[None], [self], sample_rate)[0]


class Clipping(NamedTuple):
    """Clips everything outside the quantiles `low` and `high` of the amplitudes.

    Zhang et al., "URGENT challenge: universality, robustness, and generalizability for speech
    enhancement", Interspeech 2024 (arXiv 2406.04660), whose quantiles are the default.
    """

    low: float
    high: float

    def apply(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """Clip."""
        last = waveform.shape[-1] - 1
        # A quantile without interpolation: an amplitude that occurs.
        floor, ceiling = (
            waveform.kthvalue(1 + round(share * last)).values for share in (self.low, self.high)
        )
        return waveform.clamp(floor, ceiling)


class BandLimit(NamedTuple):
    """Removes everything above `cutoff_hz`, like resampling down and up again, without delay.

    `width` is the transition band as a share of the cutoff (a raised cosine), because resamplers
    differ. Bandwidth limitation of the URGENT 2024 challenge (see `Clipping`).
    """

    cutoff_hz: float
    width: float

    def apply(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """Filter."""
        return _band_limits(waveform[None], [self], sample_rate)[0]


class Codec(NamedTuple):
    """Encode and decode in memory with libsndfile, without delay; `compression` ranges from 0 (best) to 1.

    MP3, Vorbis and Opus as in the URGENT 2025 challenge (Saijo et al., "Interspeech 2025 URGENT speech
    enhancement challenge", arXiv 2505.23212). At 16 kHz MP3 has 67 to 29 kbit/s, Vorbis 82 to 32,
    Opus 32 to 8. A codec decides by thresholds: an input that differs in its last bit may give
    another output, so outputs are no longer equal between devices.
    """

    format: Format
    compression: float

    def apply(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """Encode and decode on the host."""
        container, subtype, best, worst = _CODECS[self.format]
        level = best + self.compression * (worst - best)
        audio = waveform.detach().clamp(-1, 1).cpu().numpy().astype(np.float32)
        file = io.BytesIO()
        soundfile.write(
            file, audio, sample_rate, format=container, subtype=subtype, compression_level=level
        )
        file.seek(0)
        # Codecs work in blocks and may return a few samples more or less.
        decoded = soundfile.read(file, dtype="float32")[0][: len(audio)]
        heard = np.zeros_like(audio)
        heard[: len(decoded)] = decoded
        return torch.from_numpy(heard).to(waveform)


class PacketLoss(NamedTuple):
    """Silences lost packets of `packet_ms`: a share `lost` of them, in bursts of mean length `burst`.

    A two-state model after Gilbert, "Capacity of a burst-noise channel", Bell System Technical Journal 39
    (1960); packet loss of the URGENT 2025 challenge (see `Codec`), whose shares are the default.
    """

    lost: float
    burst: float
    packet_ms: float
    seed: int

    def apply(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """Set the lost packets to zero."""
        time = waveform.shape[-1]
        packet = max(1, round(self.packet_ms * sample_rate / 1000))
        arrived = ~self.losses(-(-time // packet))
        mask = torch.from_numpy(np.repeat(arrived, packet)[:time])
        return waveform * mask.to(waveform)

    def losses(self, packets: int) -> NDArray[np.bool_]:
        """Return which packets of a sequence are lost."""
        # Gilbert's model: an arrived packet follows a lost one with probability `leave` (mean burst 1 / leave), and a
        # lost one an arrived one with probability `enter`; the share of lost packets is enter / (enter + leave).
        chances = _generator(self.seed).random(packets)
        leave = 1 / self.burst
        enter = min(1.0, self.lost * leave / (1 - self.lost))
        lost = np.zeros(packets, np.bool_)
        state = bool(chances[0] < self.lost) if packets else False
        for number in range(packets):
            if number:
                state = bool(chances[number] >= leave) if state else bool(chances[number] < enter)
            lost[number] = state
        return lost


Distortion = Wind | Microphone | Clipping | BandLimit | Codec | PacketLoss
_CODECS = {
    # libsndfile's own range is 0 to 1; these ends give the bit rates of `Codec`.
    "mp3": ("MP3", "MPEG_LAYER_III", 0.0, 0.9),
    "vorbis": ("OGG", "VORBIS", 0.0, 1.0),
    "opus": ("OGG", "OPUS", 0.9, 1.0),
}
"""Container, subtype, and libsndfile's compression level for our 0 and 1."""


def _microphones(waveforms: Waveforms, many: Sequence[Microphone], sample_rate: int) -> Waveforms:
    """Filter with transforms of impulse responses that are long enough to decay (their poles are below 0.83)."""
    b1, b2, a1, a2 = _columns(many, waveforms)

    def response(delay: Tensor) -> Tensor:
        square = delay.square()
        return (1 + b1 * delay + b2 * square) / (1 + a1 * delay + a2 * square)

    return _filtered(waveforms, response, ringing=512)


def _band_limits(waveforms: Waveforms, many: Sequence[BandLimit], sample_rate: int) -> Waveforms:
    cutoff_hz, width = _columns(many, waveforms)

    def response(delay: Tensor) -> Tensor:
        hertz = torch.linspace(
            0, sample_rate / 2, delay.shape[-1], dtype=waveforms.dtype, device=waveforms.device
        )
        # 0 at the beginning of the transition band, 1 at the cutoff.
        place = (hertz / cutoff_hz - 1 + width) / width
        return 0.5 + 0.5 * (math.pi * place.clamp(0, 1)).cos()

    return _filtered(waveforms, response, ringing=4096)


FILTERS: dict[type, Callable[[Waveforms, Any, int], Waveforms]] = {
    Microphone: _microphones,
    BandLimit: _band_limits,
}


def _columns(many: Sequence[tuple[float, ...]], like: Tensor) -> Sequence[Float[Tensor, "rows 1"]]:
    """Return the numbers of several distortions of a kind, each as a column."""
    numbers = torch.tensor(many, dtype=like.dtype)
    if like.device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(like.device, non_blocking=True).T[..., None].unbind()


def _generator(seed: int) -> np.random.Generator:
    # Keyed without hashing, and the same on every machine.
    return np.random.Generator(np.random.Philox(key=seed))


def _shaped(
    random: np.random.Generator, amplitude: NDArray[np.float64], length: int
) -> NDArray[np.float64]:
    """Return Gaussian noise with the given amplitude spectrum and an rms of 1."""
    noise = np.fft.irfft(amplitude * np.fft.rfft(random.standard_normal(length)), length)
    return noise / math.sqrt(float(np.square(noise).mean()))


def _filtered(
    waveforms: Waveforms, response: Callable[[Tensor], Tensor], *, ringing: int
) -> Waveforms:
    """Filter by transfer functions, given as functions of z^-1 on the unit circle, with a tail of `ringing` samples."""
    time = waveforms.shape[-1]
    length = fft_length(time + ringing)
    spectra = torch.fft.rfft(waveforms, n=length)
    angle = torch.linspace(
        0, -math.pi, spectra.shape[-1], dtype=waveforms.dtype, device=waveforms.device
    )
    delay = torch.polar(torch.ones_like(angle), angle)
    return torch.fft.irfft(spectra * response(delay), n=length)[..., :time]
