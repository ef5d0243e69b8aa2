"""x = r * s + n as batched tensor code: the same on the CPU and on an accelerator, one gain for all parts."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rased.data.sample import Batch, Mixture
from rased.errors import RasedError
from rased.signal import levels, room

Target = Literal["anechoic", "direct", "early", "reverberant"]
PEAK = 0.99
"""A mixture that would exceed this amplitude at its wanted level is turned down as a whole: nothing clips."""


@dataclass(frozen=True)
class Mixing:
    """What a mixture is made like, and what of it the enhancer should give.

    Every choice of target is a filtered version of the dry speech, aligned to the direct path, in the gain of the mixture:
    `anechoic` the dry speech at the level of its direct path, `direct` what arrives within 2.5 ms of the direct path,
    `early` what arrives within `early_ms` behind it, `reverberant` everything (noise alone is removed).

    Attributes:
        target: see above.
        early_ms: where early reflections end and late reverberation begins, in milliseconds behind the direct path.
        sample_rate: Hz.
    """

    target: Target = "early"
    early_ms: float = 50.0
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        """Check once."""
        if self.early_ms < 0:
            raise RasedError(
                f"early_ms is {self.early_ms}; it is a time behind the direct path, 0 or more."
            )

    def __call__(self, batch: Batch) -> Mixture:
        """Mix a batch on the device it lies on.

        The parts add up: `noisy == early + late + noise` to float precision. The noise lies `snr_db` below the active level of
        the reverberant speech; the mixture has the level `level_dbfs` (rms) unless it would clip, then its peak is 0.99.
        An infinite snr_db means no noise. Silence stays silence.
        """
        clean, rir, direct = batch["clean"], batch["rir"], batch["direct_path"]
        early_rir = room.early_part(
            rir, direct, early_ms=self.early_ms, sample_rate=self.sample_rate
        )
        time = clean.shape[-1]
        length = room.fft_length(time + rir.shape[-1])
        speech = torch.fft.rfft(clean, n=length)

        def in_room(response: Float[Tensor, "batch taps"]) -> Float[Tensor, "batch time"]:
            return torch.fft.irfft(speech * room.spectrum(response, direct, length), n=length)[
                :, :time
            ]

        early, late = in_room(early_rir), in_room(rir - early_rir)
        reverberant = early + late
        noise = batch["noise"] * _column(
            levels.gain_for_snr(speech=reverberant, noise=batch["noise"], snr_db=batch["snr_db"])
        )
        match self.target:
            case "anechoic":
                target = clean * _column(_direct_amplitude(rir, direct, self.sample_rate))
            case "direct":
                direct_rir = room.early_part(
                    rir, direct, early_ms=room.DIRECT_MS, sample_rate=self.sample_rate
                )
                target = in_room(direct_rir)
            case "early":
                target = early
            case "reverberant":
                target = reverberant
        gain = _column(_gain(reverberant + noise, batch["level_dbfs"]))
        early, late, noise = gain * early, gain * late, gain * noise
        return Mixture(
            noisy=early + late + noise,
            target=gain * target,
            early=early,
            late=late,
            noise=noise,
            snr_db=batch["snr_db"],
            index=batch["index"],
            key=batch["key"],
            noise_key=batch["noise_key"],
            rir_key=batch["rir_key"],
        )


def _column(factor: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1"]:
    return factor[:, None]


def _gain(
    noisy: Float[Tensor, "batch time"], level_dbfs: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    level = levels.rms(noisy)
    wanted = levels.amplitude(level_dbfs) / level.clamp_min(levels.FLOOR)
    loudest = PEAK / noisy.abs().amax(-1).clamp_min(levels.FLOOR)
    return torch.where(level > levels.FLOOR, torch.minimum(wanted, loudest), torch.ones_like(level))


def _direct_amplitude(
    rir: Float[Tensor, "batch taps"], direct: Tensor, sample_rate: int
) -> Float[Tensor, " batch"]:
    """Signed amplitude of the direct path: root of its energy within half a millisecond, sign of its peak."""
    position = torch.arange(rir.shape[-1], device=rir.device)
    near = (position - direct[:, None]).abs() <= sample_rate // 2000
    peak = rir.gather(-1, direct[:, None])[:, 0]
    return (rir * near).square().sum(-1).sqrt() * peak.sign()
