"""Train an enhancer on several targets at once: its loss, and auxiliary targets that its hidden features must predict.

Y. Xu, J. Du, Z. Huang, L.-R. Dai, C.-H. Lee, "Multi-objective learning and mask-based post-processing for deep neural
network based speech enhancement", Interspeech 2015, arXiv 1703.07172: besides the clean spectrum, the network predicts
clean features and the ideal binary mask. Here any enhancer keeps its own output; the auxiliary targets are predicted by
linear layers, from what one of its layers returns. They are needed for training alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.losses.feature import listening
from rased.losses.waveform import SNR
from rased.models.base import Enhancer
from rased.names import plain
from rased.training.base import Enhancement
from rased.training.heads import Head
from rased.training.hidden import Hidden, find_layer
from rased.training.players import Player

HEADS = "heads"


class MultiTarget(Enhancement):
    """Trains an enhancer by its loss and by auxiliary targets, and the heads that predict these."""

    def __init__(
        self,
        enhancer: Enhancer,
        heads: Mapping[str, Head],
        loss: nn.Module | None = None,
        layer: str | None = None,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train.
            heads: auxiliary targets by name, such as those of `rased.training.heads`; the log shows each as
                train/loss/heads/NAME (weighted), train/heads/loss/NAME and valid/heads/NAME.
            loss: see `Enhancement`; None: negative SNR.
            layer: name of the layer of the enhancer whose output the heads get; None: the last one before the output
                layer (see `rased.training.hidden.find_layer`).
            training: the other arguments of `Enhancement`; optimiser and schedule count for the heads, too.

        Raises:
            RasedError: see `Enhancement`; there is no head, or no such layer.
        """
        if not heads:
            raise RasedError(f"{type(self).__name__} has no heads: give at least one.")
        super().__init__(enhancer, loss, **training)
        self.layer = find_layer(enhancer, layer)
        for name, head in heads.items():
            plain(name, what="the name of a head")
            head.connect(self.layer.width, enhancer.sample_rate)
        self.heads = nn.ModuleDict(heads)
        self._hidden: Hidden | None = None

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    def players(self) -> list[Player]:
        """Return the enhancer, then the heads."""
        # The patterns name parameters of the enhancer; without a match in the heads they would be an error.
        settings = replace(self.optimisation, lr_factors={})
        return [*super().players(), Player(HEADS, self.heads, settings)]

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss and the weighted distances for the enhancer, or the distances for the heads.

        The enhancer runs once in a step: the turn of the heads uses the hidden features of its turn.
        """
        if player == HEADS and self._hidden is not None:
            hidden, self._hidden = self._hidden, None
            return self.distances(hidden, batch)
        with self._listening(self.enhancer) as heard:
            prediction = self.trained_prediction(batch)
        hidden = self.layer.hidden(heard[0])
        # The enhancer has not run in this step.
        if player == HEADS:
            return self.distances(hidden.detach(), batch)
        # Detached: the turn of the heads must not need the graph of the enhancer, which backward has freed.
        self._hidden = hidden.detach()
        distances = self.distances(hidden, batch)
        weighted = {
            f"{HEADS}/{name}": self.head(name).weight * value for name, value in distances.items()
        }
        return {**self.terms_of(prediction, batch), **weighted}

    def validate(self, batch: Mixture) -> dict[str, Tensor]:
        """Score a batch like `Enhancement`, and add the distances of the auxiliary targets."""
        with self._listening(self.average) as heard:
            scores = super().validate(batch)
        distances = self.distances(self.layer.hidden(heard[0]), batch)
        return {**scores, **{f"{HEADS}/{name}": value for name, value in distances.items()}}

    def distances(self, hidden: Hidden, batch: Mixture) -> dict[str, Float[Tensor, ""]]:
        """Return the distance of each head from its target, in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            return {name: self.head(name).loss(hidden, batch) for name in self.heads}

    def head(self, name: str) -> Head:
        """Return a head."""
        head = self.heads[name]
        assert isinstance(head, Head)
        return head

    @contextmanager
    def _listening(self, enhancer: Enhancer) -> Iterator[list[Any]]:
        """Collect the output of the layer."""
        with listening(enhancer, [self.layer.name]) as heard:
            yield heard
