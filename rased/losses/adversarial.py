"""Criteria of adversarial training: what a discriminator minimises, and what the network that it judges minimises.

A discriminator gives scores, one or more per row: high for clean speech, low for estimates.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.construction import Remembered

Scores = Float[Tensor, "batch *position"]


class Criterion(Remembered, nn.Module):
    """Base class: the two sides of an adversarial training."""

    def discriminate(self, *, real: Scores, fake: Scores) -> dict[str, Float[Tensor, ""]]:
        """Return what the discriminator minimises, as named terms.

        Args:
            real: scores of clean speech.
            fake: scores of estimates.
        """
        raise NotImplementedError(f"{type(self).__name__} must define discriminate(real=, fake=)")

    def please(self, fake: Scores) -> Float[Tensor, ""]:
        """Return what the network minimises, for the scores of its estimates."""
        raise NotImplementedError(f"{type(self).__name__} must define please(fake)")


class LeastSquares(Criterion):
    """Scores are regressed on 1 (clean) and 0 (estimate): X. Mao et al., LSGAN, ICCV 2017, arXiv 1611.04076."""

    def discriminate(self, *, real: Scores, fake: Scores) -> dict[str, Float[Tensor, ""]]:
        """Return the mean squared distances from 1 and from 0."""
        return {"real": (real - 1).square().mean(), "fake": fake.square().mean()}

    def please(self, fake: Scores) -> Float[Tensor, ""]:
        """Return the mean squared distance from 1."""
        return (fake - 1).square().mean()


class Hinge(Criterion):
    """Scores beyond a margin of 1 count no more: J. Lim, J. Ye, "Geometric GAN", arXiv 1705.02894."""

    def discriminate(self, *, real: Scores, fake: Scores) -> dict[str, Float[Tensor, ""]]:
        """Return how far the scores are on the wrong side of 1 and of -1."""
        # relu: no gradient beyond the margin.
        return {"real": (1 - real).relu().mean(), "fake": (1 + fake).relu().mean()}

    def please(self, fake: Scores) -> Float[Tensor, ""]:
        """Return the negative mean score."""
        return -fake.mean()


class MetricRegression(LeastSquares):
    """Scores are regressed on a metric of each estimate: S.-W. Fu et al., MetricGAN, ICML 2019, arXiv 1905.04874."""

    def regress(
        self, *, real: Scores, fake: Scores, quality: Float[Tensor, " batch"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the mean squared distances from 1 (clean) and from the metric (estimates).

        Args:
            real: scores of clean speech.
            fake: scores of estimates.
            quality: the metric, 1 for perfect; rows whose value is NaN have none and are left out.
        """
        known = quality.isfinite()
        # `nan_to_num`, because a NaN that `where` drops would still spoil the gradient.
        error = (fake.flatten(1).mean(1) if fake.ndim > 1 else fake) - quality.nan_to_num()
        squared = torch.where(known, error.square(), 0.0)
        return {
            "real": (real - 1).square().mean(),
            "fake": squared.sum() / known.sum().clamp(min=1),
        }
