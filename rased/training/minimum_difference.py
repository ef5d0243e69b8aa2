"""Train several enhancers, and a network that finds out which of them is closest to speech in each bin.

H. Shi, L. Wang, M. Ge, S. Li, J. Dang, "Spectrograms fusion with minimum difference masks estimation for monaural
speech dereverberation", ICASSP 2020. There, the enhancers are outputs of one network that is trained first. Here, all
are trained together, by the terms of the authors' later loss (H. Shi et al., "Singing voice extraction with
attention-based spectrograms fusion", Interspeech 2020): errors of the masks, of the enhancers, and of the result.
"""

from typing import Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.data.mixtures.sample import Mixture
from rased.losses.base import Domain, Loss
from rased.losses.spectral import CompressedSpectrum
from rased.models.base import Prediction
from rased.models.selection import MinimumDifferenceFusion
from rased.signal import masks
from rased.signal.domains import Spectrum
from rased.training.base import Enhancement
from rased.training.suitable import check_numbers


class MinimumDifference(Enhancement):
    """Trains the enhancers of a `MinimumDifferenceFusion`, their fusion, and the masks."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform", "spectrum")

    def __init__(
        self,
        enhancer: MinimumDifferenceFusion,
        loss: nn.Module | None = None,
        mask_weight: float = 1.0,
        enhancer_weight: float = 0.5,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the enhancers and the network.
            loss: compares the result, and the estimate of each enhancer, with the target; None: compressed spectra.
            mask_weight: weight of the mean squared error of the masks.
            enhancer_weight: weight of the loss of each enhancer.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Enhancement`, or a weight is negative.
        """
        super().__init__(enhancer, loss, **training)
        check_numbers(
            "model", mask_weight=(mask_weight, 0, None), enhancer_weight=(enhancer_weight, 0, None)
        )
        self.mask_weight, self.enhancer_weight = mask_weight, enhancer_weight

    def default_loss(self) -> Loss:
        """Return the distance of compressed spectra."""
        return CompressedSpectrum()

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of the result, of the masks (`masks`), and of each enhancer (`enhancer_1` and so on)."""
        fusion = cast(MinimumDifferenceFusion, self.enhancer)
        noisy, target = batch["noisy"], batch["target"].float()
        made = fusion.choice(noisy)
        wanted = masks.minimum_difference_masks(
            target=fusion.stft.analysis(target), estimates=made.spectra.detach()
        )
        terms = self.terms_of(self._heard(made.spectrum, batch), batch)
        terms["masks"] = self.mask_weight * functional.mse_loss(made.shares.float(), wanted)
        for index, spectrum in enumerate(made.spectra.unbind(1), 1):
            value = self.loss_of(self._heard(spectrum, batch), batch)
            terms[f"enhancer_{index}"] = self.enhancer_weight * value
        return terms

    def _heard(self, spectrum: Spectrum, batch: Mixture) -> Prediction:
        stft = cast(MinimumDifferenceFusion, self.enhancer).stft
        return Prediction(stft.synthesis(spectrum, batch["noisy"].shape[-1]), spectrum)
