"""Losses on what the network puts out (a mask, a log-power), and on what a mask gives."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.losses.base import Loss
from rased.losses.spectral import FLOOR, SpectralLoss
from rased.signal.domains import Spectrum
from rased.signal.features import power


class OutputMSE(Loss):
    """Mean squared difference of the network's output and its ideal.

    With a mask: mask approximation; with a log-power: regression as in Xu 2014. A complex output counts by
    the distance in the complex plane.
    """

    domain = "output"

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """At least 0."""
        difference = estimate - target
        if difference.is_complex():
            return torch.view_as_real(difference).square().sum(-1).mean()
        return difference.square().mean()


class PhaseSensitiveApproximation(SpectralLoss):
    """Signal approximation with the phase-sensitive target.

    H. Erdogan, J. R. Hershey, S. Watanabe, J. Le Roux, "Phase-sensitive and recognition-boosted
    speech separation using deep recurrent neural networks", ICASSP 2015:
    (|E| - |S| cos(arg S - arg E))^2, where E has the phase of the noisy spectrum. Beyond the paper,
    the target is kept above zero as its masks are.
    """

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """At least 0."""
        magnitude = (power(estimate) + FLOOR).sqrt()
        direction = (estimate / magnitude).detach()
        projected = (target * direction.conj()).real.clamp(min=0.0)
        return ((estimate * direction.conj()).real - projected).square().mean()
