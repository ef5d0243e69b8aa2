"""Train features that do not tell the noise: a classifier of the noise, whose gradient reaches the enhancer reversed.

C.-F. Liao, Y. Tsao, H.-Y. Lee, H.-M. Wang, "Noise adaptive speech enhancement using domain adversarial training",
Interspeech 2019; the reversal is that of Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
There, the domains are noises with and without clean targets. Here, they are kinds of noise, found by their names.
"""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError, nearest
from rased.losses.base import Loss
from rased.losses.feature import listening
from rased.losses.waveform import SNR
from rased.models.base import Enhancer, Generators, Prediction, generators
from rased.signal.features import log_power
from rased.signal.stft import STFT
from rased.training.base import Enhancement
from rased.training.hidden import first_tensor
from rased.training.players import Player
from rased.training.suitable import check_numbers

CLASSIFIER = "classifier"
Pooled = Float[Tensor, "batch twice_feature"]


class NoiseAdversarial(Enhancement):
    """Trains an enhancer, and a classifier of the noise that hears the output of one of its layers."""

    def __init__(
        self,
        enhancer: Enhancer,
        noises: Sequence[str],
        layer: str | None = None,
        loss: nn.Module | None = None,
        adversarial_weight: float = 0.1,
        axis: int = -1,
        hidden: int = 128,
        classifier_lr: float | None = None,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train.
            noises: patterns of noise keys, such as *babble*, one for each kind; what matches none is a kind, too. Of
                several matches, the first one counts.
            layer: dotted name of a layer of the enhancer, such as network.encoder, whose output the classifier gets;
                None: the log-power of the estimate, which should not tell either what noise there was.
            loss: see `Enhancement`; None: negative SNR.
            adversarial_weight: factor on the reversed gradient.
            axis: axis of the features in the output of the layer; means and deviations over all others but the batch
                are classified.
            hidden: width of the classifier.
            classifier_lr: learning rate of the classifier; None: that of the enhancer.
            training: the other arguments of `Enhancement`; optimiser and schedule count for both players.

        Raises:
            RasedError: see `Enhancement`; no such layer or axis, or no kind of noise.
        """
        super().__init__(enhancer, loss, **training)
        check_numbers("model", adversarial_weight=(adversarial_weight, 0, None))
        if not noises:
            raise RasedError("model.noises is empty: give at least one pattern, such as *babble*.")
        self.layer, self.axis, self.noises = layer, axis, tuple(noises)
        self.adversarial_weight = adversarial_weight
        self._transform = STFT()
        self.classifier = nn.Sequential(
            nn.Linear(self._size(), hidden), nn.ReLU(), nn.Linear(hidden, len(noises) + 1)
        )
        lr = self.optimisation.lr if classifier_lr is None else classifier_lr
        self._classifying = replace(self.optimisation, lr=lr, lr_factors={})
        self._made: Prediction | None = None

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    def players(self) -> list[Player]:
        """Return the classifier, then the enhancer."""
        return [Player(CLASSIFIER, self.classifier, self._classifying), *super().players()]

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the cross-entropy for the classifier, or the loss and the reversed cross-entropy for the enhancer.

        The enhancer runs once in a step.
        """
        kinds = self.kinds(batch)
        if player == CLASSIFIER or self._made is None:
            # With its graph, which the turn of the enhancer differentiates.
            self._made = self.trained_prediction(batch)
        if player == CLASSIFIER:
            return {"noise": self.surprise(self._pooled.detach(), kinds)}
        prediction, self._made = self._made, None
        turned = reverse_gradient(self._pooled, self.adversarial_weight)
        return {**self.terms_of(prediction, batch), "noise": self.surprise(turned, kinds)}

    def predicted(self, enhancer: Enhancer, batch: Mixture, generator: Generators) -> Prediction:
        """Run an enhancer on a batch, and keep what the classifier gets."""
        with listening(enhancer, [] if self.layer is None else [self.layer]) as heard:
            prediction = super().predicted(enhancer, batch, generator)
        if self.layer is None:
            # Frequency is axis 1 of (batch, freq, frames).
            spectrum = self._transform.analysis(prediction.estimate.float())
            self._pooled = pooled(log_power(spectrum), 1, "the estimate")
        else:
            self._pooled = pooled(first_tensor(heard[-1]) if heard else None, self.axis, self.layer)
        return prediction

    def surprise(self, features: Pooled, kinds: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the cross-entropy of the classifier."""
        with torch.autocast(features.device.type, enabled=False):
            return functional.cross_entropy(self.classifier(features.float()), kinds)

    def kinds(self, batch: Mixture) -> Int[Tensor, " batch"]:
        """Return the kind of noise of each row: the first pattern that its key matches, or their number."""
        found = [
            next(
                (n for n, glob in enumerate(self.noises) if fnmatchcase(key, glob)),
                len(self.noises),
            )
            for key in batch["noise_key"]
        ]
        return torch.tensor(found, device=batch["noisy"].device)

    def validate(self, batch: Mixture) -> dict[str, Tensor]:
        """Add the share of rows whose noise the classifier finds, from the averaged enhancer."""
        scores = super().validate(batch)
        found = self.classifier(self._pooled.float()).argmax(-1)
        return {**scores, "noise_accuracy": (found == self.kinds(batch)).float()}

    def _skip(self, player: Player) -> None:
        """Skip this step for a player; restored statistics make the graph of the estimates invalid."""
        super()._skip(player)
        self._made = None

    def _size(self) -> int:
        """Return the size of what the classifier gets, by running the averaged enhancer on half a second of silence."""
        enhancer = self.average.eval()
        if enhancer.conditions:
            raise RasedError(
                f"NoiseAdversarial trains enhancers without conditions, but {type(enhancer).__name__} needs "
                f"{', '.join(enhancer.conditions)}: choose another model."
            )
        layers = [name for name, _ in enhancer.named_modules() if name]
        if self.layer is not None and self.layer not in layers:
            near = nearest(self.layer, layers)
            raise RasedError(
                f"model.layer: {type(enhancer).__name__} has no layer '{self.layer}'; {near}"
            )
        channels = () if enhancer.channels == 1 else (enhancer.channels,)
        silence: Any = {"noisy": torch.zeros(1, *channels, enhancer.sample_rate // 2)}
        with torch.no_grad():
            self.predicted(enhancer, silence, generators([""]) if enhancer.samples else None)
        return self._pooled.shape[1]


def pooled(output: Tensor | None, axis: int, layer: str) -> Pooled:
    """Return mean and deviation of each feature over all axes but the batch.

    Raises:
        RasedError: there is no output, or it has no such axis.
    """
    if output is None or axis == 0 or not -output.ndim < axis < output.ndim or output.ndim < 2:
        shape = "nothing" if output is None else f"the shape {tuple(output.shape)}"
        raise RasedError(
            f"model.layer '{layer}' gives {shape}, without features in axis {axis}: choose another model.layer or "
            "model.axis."
        )
    features = output.movedim(axis, 1).flatten(2) if output.ndim > 2 else output[..., None]
    # The gradient of a root is infinite at 0, where a feature is constant.
    spread = (features.var(-1, correction=0) + 1e-5).sqrt()
    return torch.cat([features.mean(-1), spread], dim=1)


class _Reversal(torch.autograd.Function):
    """Returns its input; the gradient is multiplied by a negative factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        # A new tensor, so that the node of this function is between input and output.
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # None: the factor has no gradient.
        return -ctx.factor * gradients[0], None


def reverse_gradient(values: Pooled, factor: float) -> Pooled:
    """Return the values; their gradient is reversed and multiplied by the factor."""
    reversed_values: Tensor = _Reversal.apply(values, factor)
    return reversed_values
