"""Losses on the output of the network (a mask, a log-power), and on the masked spectrum."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.losses.base import Loss
from rased.losses.spectral import FLOOR, SpectralLoss
from rased.signal.domains import Spectrum
from rased.signal.features import power


class OutputMSE(Loss):
    """Mean squared difference between the output of the network and the ideal output.

    With a mask, this is mask approximation; with a log-power, regression as in Xu 2014. For a complex output, it is
    the squared distance in the complex plane.
    """

    domain = "output"
    degree = 2.0

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        difference = estimate - target
        if difference.is_complex():
            return torch.view_as_real(difference).square().sum(-1).mean()
        return difference.square().mean()


class PhaseSensitiveApproximation(SpectralLoss):
    """Signal approximation with the phase-sensitive target.

    H. Erdogan, J. R. Hershey, S. Watanabe, J. Le Roux, "Phase-sensitive and recognition-boosted
    speech separation using deep recurrent neural networks", ICASSP 2015:
    (|E| - |S| cos(arg S - arg E))^2, where E has the phase of the noisy spectrum. Unlike in the paper,
    the target is limited to non-negative values, as its masks are.
    """

    degree = 2.0

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        magnitude = (power(estimate) + FLOOR).sqrt()
        # Detached: E has the phase of the mixture, which the mask does not change.
        direction = (estimate / magnitude).detach()
        projected = (target * direction.conj()).real.clamp(min=0.0)
        # The first term is |E|, without the floor.
        return ((estimate * direction.conj()).real - projected).square().mean()
