"""Distortions by microphones, converters and networks, drawn with the sample's own generator.

A distortion is drawn with the other properties of a mixture (plain numbers and a seed), and applied to the
mixed waveform on its device. Codecs, wind and packet loss run on the host, which waits for the device.
The order follows the signal path: wind and microphone, converter, bandwidth, codec, network.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from rased.data.mixtures.batched import to_device
from rased.errors import RasedError
from rased.signal.convolution import fft_length

Format = Literal["mp3", "vorbis", "opus"]
FORMATS: tuple[Format, ...] = get_args(Format)
Waveform = Float[Tensor, " time"]
Waveforms = Float[Tensor, "batch time"]
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_CHANCES = 5
"""Number of uniform random numbers for each kind."""


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


@dataclass(frozen=True)
class Distortions:
    """How often each distortion is applied to a mixture, and how strongly; none by default.

    Ranges are uniform and include both ends. Shares are independent: a mixture may get several distortions.

    Attributes:
        wind: share of mixtures with wind at the microphone.
        wind_snr_db: range of the level of the mixture over that of the wind.
        microphone: share with a random microphone response.
        clipping: share that is clipped.
        clipped: range of the share of samples clipped at each side.
        band_limit: share with reduced bandwidth.
        band_limit_hz: range of the highest frequency, drawn on a logarithmic scale.
        codec: share that goes through a codec. Each takes 20 to 100 ms of a CPU core for 4 s,
            so use worker processes if this share is large.
        codecs: codecs to draw from.
        packet_loss: share with lost packets.
        lost: range of the share of packets that are lost.
        burst: range of the mean number of packets lost in a row.
        packet_ms: length of a packet in ms.
    """

    wind: float = 0.0
    wind_snr_db: tuple[float, float] = (-10.0, 15.0)
    microphone: float = 0.0
    clipping: float = 0.0
    clipped: tuple[float, float] = (0.0, 0.1)
    band_limit: float = 0.0
    band_limit_hz: tuple[float, float] = (2000.0, 6000.0)
    codec: float = 0.0
    codecs: tuple[Format, ...] = FORMATS
    packet_loss: float = 0.0
    lost: tuple[float, float] = (0.05, 0.25)
    burst: tuple[float, float] = (1.0, 3.0)
    packet_ms: float = 20.0

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in TABLE:
            if not 0 <= getattr(self, name) <= 1:
                raise RasedError(f"{name} is {getattr(self, name)}; it must be between 0 and 1.")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, tuple) and field.name != "codecs" and value[0] > value[1]:
                raise RasedError(f"{field.name} is {list(value)}; the lower end must come first.")
        if not 0 <= self.clipped[0] <= self.clipped[1] < 0.5:
            raise RasedError(
                f"clipped is {list(self.clipped)}; it must be shares from 0 to below 0.5."
            )
        if not 0 <= self.lost[0] <= self.lost[1] < 1:
            raise RasedError(f"lost is {list(self.lost)}; it must be shares from 0 to below 1.")
        if self.burst[0] < 1 or self.packet_ms <= 0 or self.band_limit_hz[0] <= 0:
            raise RasedError(
                "burst must be 1 or more, and packet_ms and band_limit_hz above 0; given are "
                f"{list(self.burst)}, {self.packet_ms}, {list(self.band_limit_hz)}."
            )
        if self.codec and not self.codecs:
            raise RasedError(f"codec is {self.codec}, but codecs is empty; give some of {FORMATS}.")

    @property
    def any(self) -> bool:
        """Return whether any distortion can occur."""
        return any(getattr(self, name) for name in TABLE)

    def check(self, sample_rate: int) -> None:
        """Reject distortions that are not possible at a sample rate.

        Raises:
            RasedError: Opus at an unsupported rate, or a band limit above half the rate.
        """
        if self.codec and "opus" in self.codecs and sample_rate not in _OPUS_RATES:
            raise RasedError(
                f"Opus supports {', '.join(map(str, _OPUS_RATES))} Hz, but the shards have {sample_rate} Hz: "
                "set codecs to [mp3, vorbis]."
            )
        if self.band_limit and self.band_limit_hz[1] > sample_rate / 2:
            raise RasedError(
                f"band_limit_hz goes up to {self.band_limit_hz[1]} Hz, but audio of {sample_rate} Hz only to "
                f"{sample_rate // 2}: lower it."
            )

    def draw(self, random: np.random.Generator) -> tuple[Distortion, ...]:
        """Draw the distortions of one mixture, in order. The share of one kind does not affect the draws of another."""
        # All numbers of all kinds are drawn, whether they are used or not.
        chances = random.random((len(TABLE), 1 + _CHANCES))
        seeds = random.integers(1 << 62, size=len(TABLE)).tolist()
        return tuple(
            make(self, chance[1:].tolist(), seed)
            for (name, make), chance, seed in zip(TABLE.items(), chances, seeds, strict=True)
            if chance[0] < getattr(self, name)
        )


# Fixed ranges: 40 to 150 Hz for the corner of wind, 2 to 20 % for the transition of a band limit.
TABLE: dict[str, Callable[[Distortions, list[float], int], Distortion]] = {
    "wind": lambda s, u, seed: Wind(_in(s.wind_snr_db, u[0]), 40 + 110 * u[1], seed),
    "microphone": lambda s, u, seed: Microphone(*(0.75 * chance - 0.375 for chance in u[:4])),
    "clipping": lambda s, u, seed: Clipping(_in(s.clipped, u[0]), 1 - _in(s.clipped, u[1])),
    "band_limit": lambda s, u, seed: BandLimit(
        s.band_limit_hz[0] * (s.band_limit_hz[1] / s.band_limit_hz[0]) ** u[0], 0.02 + 0.18 * u[1]
    ),
    "codec": lambda s, u, seed: Codec(s.codecs[int(u[0] * len(s.codecs))], u[1]),
    "packet_loss": lambda s, u, seed: PacketLoss(
        _in(s.lost, u[0]), _in(s.burst, u[1]), s.packet_ms, seed
    ),
}
"""All kinds in the order of the signal path, with constructors from settings, numbers in [0, 1) and a seed."""

_NAMES: dict[type, str] = dict(
    zip((Wind, Microphone, Clipping, BandLimit, Codec, PacketLoss), TABLE, strict=True)
)


def names(distortions: Sequence[Distortion]) -> str:
    """Return the names of distortions, in order.

    >>> names((Clipping(0.1, 0.9), Codec("opus", 0.5))), names(())
    ('clipping+codec', '')
    """
    return "+".join(_NAMES[type(distortion)] for distortion in distortions)


def distort(
    waveforms: Waveforms,
    distortions: Sequence[Sequence[Distortion]],
    *,
    sample_rate: int,
    peak: float,
    by_rows: bool = True,
) -> tuple[Waveforms, Float[Tensor, " batch"]]:
    """Apply its distortions to each mixture, in order; mixtures without distortions are unchanged.

    Args:
        waveforms: mixtures.
        distortions: distortions of each, in the order of the signal path.
        sample_rate: Hz.
        peak: largest amplitude after wind and microphone: a louder mixture is attenuated as
            a whole, as by a level control. After all distortions, amplitudes above full scale are clipped.
        by_rows: process one mixture at a time, so that its bits do not depend on the others; otherwise all mixtures
            with the same distortion together.

    Returns:
        The distorted mixtures, and the gains of the attenuation, which apply to every part of a mixture.
    """
    heard, gains = waveforms.clone(), waveforms.new_ones(len(waveforms))
    touched = [row for row, several in enumerate(distortions) if several]
    for rows in [[row] for row in touched] if by_rows else [touched] if touched else []:
        place = to_device(rows, heard)
        some, several = heard[place], [distortions[row] for row in rows]
        some = _apply(some, several, _OUTSIDE, sample_rate)
        gain = (peak / some.abs().amax(-1)).clamp_max(1.0)
        some = _apply(some * gain[:, None], several, _INSIDE, sample_rate)
        heard.index_copy_(0, place, some.clamp(-1, 1))
        gains.index_copy_(0, place, gain)
    return heard, gains


def _apply(
    waveforms: Waveforms,
    distortions: Sequence[Sequence[Distortion]],
    kinds: Sequence[type],
    sample_rate: int,
) -> Waveforms:
    """Apply the distortions of some kinds, kind by kind, and filters to all rows at once."""
    for kind in kinds:
        found = {
            row: one
            for row, several in enumerate(distortions)
            for one in several
            if type(one) is kind
        }
        if not found:
            continue
        place = to_device(list(found), waveforms)
        some, many = waveforms[place], list(found.values())
        if kind in _FILTERS:
            some = _FILTERS[kind](some, many, sample_rate)
        else:
            applied = [
                one.apply(waveform, sample_rate) for one, waveform in zip(many, some, strict=True)
            ]
            some = torch.stack(applied)
        waveforms = waveforms.index_copy(0, place, some)
    return waveforms


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


_FILTERS: dict[type, Callable[[Waveforms, Any, int], Waveforms]] = {
    Microphone: _microphones,
    BandLimit: _band_limits,
}
_OUTSIDE = (Wind, Microphone)
_INSIDE = (Clipping, BandLimit, Codec, PacketLoss)


def _columns(many: Sequence[tuple[float, ...]], like: Tensor) -> Sequence[Float[Tensor, "rows 1"]]:
    """Return the numbers of several distortions of a kind, each as a column."""
    numbers = torch.tensor(many, dtype=like.dtype)
    if like.device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(like.device, non_blocking=True).T[..., None].unbind()


def _in(ends: tuple[float, float], chance: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * chance


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
