"""Layers with weight normalisation: direction and length of each row of the weights are trained separately.

T. Salimans, D. P. Kingma, "Weight normalization: a simple reparameterization to accelerate training of
deep neural networks", NeurIPS 2016, arXiv:1602.07868. `weight` holds directions (of any length), `scale` the lengths
of the rows.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.layers.recurrent import full_precision


class WeightNormLinear(nn.Linear):
    """A linear layer without bias and with weight normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = nn.Parameter(_lengths(self.weight))

    def forward(self, input: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Multiply by the normalised weights."""
        return functional.linear(input, scaled_rows(self.weight, self.scale))


class WeightNormGRU(nn.GRU):
    """One GRU layer over (frames, batch, inputs) with weight normalisation of both matrices."""

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.scale_ih = nn.Parameter(_lengths(self.weight_ih_l0))
        self.scale_hh = nn.Parameter(_lengths(self.weight_hh_l0))

    # `nn.GRU.forward` would read the unscaled parameters.
    def forward(  # type: ignore[override]
        self,
        sequence: Float[Tensor, "frames batch inputs"],
        state: Float[Tensor, "1 batch hidden"],
    ) -> tuple[Float[Tensor, "frames batch hidden"], Float[Tensor, "1 batch hidden"]]:
        """Return the outputs of all frames, and the state after the last one."""
        parts = [
            scaled_rows(self.weight_ih_l0, self.scale_ih),
            scaled_rows(self.weight_hh_l0, self.scale_hh),
            self.bias_ih_l0,
            self.bias_hh_l0,
        ]
        # cuDNN expects all weights in one block of memory.
        flat = torch.cat([part.flatten() for part in parts])
        pieces = flat.split([part.numel() for part in parts])
        weights = [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
        gru: Callable[..., tuple[Tensor, Tensor]] = torch.gru
        with full_precision(sequence):
            sequence = sequence.float() if sequence.is_cuda else sequence
            # has_biases, num_layers, dropout, train, bidirectional, batch_first
            return gru(sequence, state, weights, True, 1, 0.0, self.training, False, False)


def scaled_rows(
    weight: Float[Tensor, "rows inputs"], scale: Float[Tensor, " rows"]
) -> Float[Tensor, "rows inputs"]:
    """Return the rows, scaled to these lengths."""
    return functional.normalize(weight, dim=1) * scale[:, None]


def _lengths(weight: Float[Tensor, "rows inputs"]) -> Float[Tensor, " rows"]:
    return weight.detach().norm(dim=1)
