"""Distortions by microphones, converters and networks, drawn with the sample's own generator.

A distortion is drawn with the other properties of a mixture (plain numbers and a seed), and applied to the
mixed waveform on its device. Codecs, wind and packet loss run on the host, which waits for the device.
The order follows the signal path: wind and microphone, converter, bandwidth, codec, network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rased.data.mixtures.batched import to_device
from rased.data.mixtures.kinds import (
    FILTERS,
    FORMATS,
    OPUS_RATES,
    BandLimit,
    Clipping,
    Codec,
    Distortion,
    Format,
    Microphone,
    PacketLoss,
    Waveforms,
    Wind,
)
from rased.errors import RasedError

_CHANCES = 5
"""Number of uniform random numbers for each kind."""


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
        if self.codec and "opus" in self.codecs and sample_rate not in OPUS_RATES:
            raise RasedError(
                f"Opus supports {', '.join(map(str, OPUS_RATES))} Hz, but the shards have {sample_rate} Hz: "
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
        if kind in FILTERS:
            some = FILTERS[kind](some, many, sample_rate)
        else:
            applied = [
                one.apply(waveform, sample_rate) for one, waveform in zip(many, some, strict=True)
            ]
            some = torch.stack(applied)
        waveforms = waveforms.index_copy(0, place, some)
    return waveforms


_OUTSIDE = (Wind, Microphone)
_INSIDE = (Clipping, BandLimit, Codec, PacketLoss)


def _in(ends: tuple[float, float], chance: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * chance
