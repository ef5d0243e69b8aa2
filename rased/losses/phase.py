"""Losses on the phase of a spectrum, and on its consistency."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.errors import RasedError
from rased.losses.level import damped
from rased.losses.spectral import FLOOR, SpectralLoss
from rased.signal.domains import Bins, Spectrum
from rased.signal.features import power, power_law
from rased.signal.phase import project_consistent
from rased.signal.stft import STFT


class AntiWrapping(SpectralLoss):
    """Distance of phases modulo 2 pi: of phase, group delay and angular frequency.

    Y. Ai, Z.-H. Ling, "Neural speech phase prediction based on parallel estimation architecture and anti-wrapping
    losses", ICASSP 2023 (arXiv 2211.15974), as in MP-SENet (Y.-X. Lu, Y. Ai, Z.-H. Ling, Interspeech 2023, arXiv
    2305.13686): mean |w(e - s)| + mean |w(D_f e - D_f s)| + mean |w(D_t e - D_t s)|, with w(x) = x - 2 pi
    round(x / 2 pi). D_f and D_t are differences of neighbouring bins and frames; as in the authors' code, the first
    bin and the first frame stand for their own difference. Unlike there, bins in which the target is silent (power
    below `FLOOR`) have no phase and count 0. Magnitudes do not count, so add a magnitude loss.

    Args:
        phase: weight of the instantaneous phase.
        group_delay: weight of its difference over frequency.
        angular_frequency: weight of its difference over time.
    """

    degree = 0.0
    level_free = True

    def __init__(
        self, phase: float = 1.0, group_delay: float = 1.0, angular_frequency: float = 1.0
    ) -> None:
        super().__init__()
        self.weights = (phase, group_delay, angular_frequency)

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value between 0 and pi times the sum of the weights."""
        # The phase difference as a rotation: its angle is wrapped by definition, so w(x) needs no rounding.
        turned = _phasor(estimate) * _phasor(target).conj()
        heard = power(target) > FLOOR
        # The difference of two phase differences is the quotient of two rotations.
        over_freq = torch.cat([turned[:, :1], turned[:, 1:] * turned[:, :-1].conj()], dim=1)
        over_time = torch.cat([turned[..., :1], turned[..., 1:] * turned[..., :-1].conj()], dim=2)
        by_freq = torch.cat([heard[:, :1], heard[:, 1:] & heard[:, :-1]], dim=1)
        by_time = torch.cat([heard[..., :1], heard[..., 1:] & heard[..., :-1]], dim=2)
        pairs = ((turned, heard), (over_freq, by_freq), (over_time, by_time))
        terms = [weight * _mean(*pair) for weight, pair in zip(self.weights, pairs, strict=True)]
        return torch.stack(terms).sum()


class Consistency(SpectralLoss):
    """Squared distance of the estimate from the spectra that a waveform can have; the target does not count.

    S. Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement", ICASSP 2019 (arXiv
    1811.08521), as a loss as in MP-SENet (arXiv 2308.08926): mean |C(E) - C(STFT(iSTFT(E)))|^2, where C compresses
    magnitudes. Frames whose window reaches beyond the first or the last sample are ignored: they depend
    on the length of the waveform, which a spectrum does not contain. A spectrum without other frames gives 0.

    Args:
        stft: the transform of the model.
        exponent: C(X) = |X|^exponent e^(j arg X); 0.3 in MP-SENet, 1: no compression.
    """

    def __init__(self, stft: STFT = STFT(), exponent: float = 1.0) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.stft, self.exponent = stft, exponent
        self.degree = 2 * exponent

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0.

        Raises:
            RasedError: the spectrum does not fit `stft`.
        """
        if estimate.shape[1] != self.stft.freq:
            raise RasedError(
                f"Consistency got a spectrum of {estimate.shape[1]} bins, but its stft has {self.stft.freq}: give it "
                "the stft of the model (init_args: {stft: ...})."
            )
        # Frames that one window can reach from an end.
        edge = -(-self.stft.win_length // self.stft.hop_length)
        frames = estimate.shape[2]
        length = max(1, frames * self.stft.hop_length - self.stft.latency)
        possible = project_consistent(estimate, self.stft, length)[..., :frames]
        inner = slice(edge, max(edge, frames - edge))
        removed = self._compressed(estimate)[..., inner] - self._compressed(possible)[..., inner]
        squared = power(removed).sum((1, 2)) / max(1, removed[0].numel())
        return squared.mean()

    def _compressed(self, spectrum: Spectrum) -> Spectrum:
        return spectrum if self.exponent == 1 else power_law(spectrum, self.exponent)


_SOFT = 1e-6
"""The gradient of the phase of a bin is halved at this power, since it would be infinite at 0."""


def _phasor(spectrum: Spectrum) -> Spectrum:
    """Return X / |X|, and 1 for 0; the gradient is damped where the power is not far above `_SOFT`."""
    level = power(spectrum).detach()
    unit = spectrum / level.sqrt().clamp(min=1e-20)
    return torch.where(level > 0, damped(unit, level / (level + _SOFT)), 1.0 + 0.0j)


def _mean(turned: Spectrum, heard: Bins | Tensor) -> Float[Tensor, ""]:
    return (turned.angle().abs() * heard).mean()
