"""Cost of a model: latency, parameters, and multiply-accumulates per second of audio."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from rased.conditions import Condition
from rased.models.base import Enhancer


@dataclass(frozen=True)
class Latency:
    """Latency of a stream, in samples; None for a system that needs the whole file.

    Attributes:
        algorithmic: window and look-ahead: input samples needed before the first of them is output.
        buffering: the hop: samples that are collected while the previous ones are processed.
        sample_rate: Hz.
    """

    algorithmic: int | None
    buffering: int | None
    sample_rate: int

    @classmethod
    def of(cls, enhancer: Enhancer) -> "Latency":
        """Return the latency of an enhancer."""
        return cls(enhancer.algorithmic_latency, enhancer.buffering, enhancer.sample_rate)

    @classmethod
    def of_milliseconds(cls, algorithmic: float, buffering: float) -> "Latency":
        """Return the latency of a system with known delays in ms; stored in microseconds.

        >>> Latency.of_milliseconds(32.0, 16.0).shown("all")
        '48 (32 + 16)'
        """
        return cls(round(1000 * algorithmic), round(1000 * buffering), 1_000_000)

    @property
    def total_ms(self) -> float | None:
        """Return the sum of both, the latency of the DNS Challenge (limit: 40 ms)."""
        if self.algorithmic is None or self.buffering is None:
            return None
        return self.milliseconds(self.algorithmic + self.buffering)

    def milliseconds(self, samples: int) -> float:
        """Convert samples to ms."""
        return 1000 * samples / self.sample_rate

    def shown(self, whole: str) -> str:
        """Format the sum in ms, and its parts; `whole` for a system that needs the whole file.

        >>> Latency(512, 256, 16_000).shown("all"), Latency(None, None, 16_000).shown("all")
        ('48 (32 + 16)', 'all')
        """
        return whole if self.total_ms is None else f"{self.total_ms:.3g} ({self.parts})"

    @property
    def parts(self) -> str:
        """Format both parts in ms; "" for a system that needs the whole file.

        >>> Latency(512, 256, 16_000).parts
        '32 + 16'
        """
        if self.algorithmic is None or self.buffering is None:
            return ""
        both = (self.algorithmic, self.buffering)
        return " + ".join(f"{self.milliseconds(samples):.3g}" for samples in both)


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, including frozen ones, without buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs_per_second(enhancer: Enhancer, *, condition: Condition | None = None) -> float:
    """Return the multiply-accumulates of matrix products and convolutions for a second of one-channel audio.

    The model runs on tensors without data ("meta"). The cost of 1 s is subtracted from that of 3 s, so
    that effects of the edges cancel. Attention over time, whose cost grows with the length, is counted at these
    lengths.

    Counted:
    - linear layers and convolutions: each weight once per output position; the zeros that pad a convolution count.
    - transposed convolutions: each weight once per input position, without the zeros between them.
    - recurrent layers: the products of input and state with their weights, for each layer and direction.
    - matrix products, such as fixed filterbanks and both products of attention.

    Not counted: norms, activations, biases, element-wise products (gates, masks, the recurrences of state spaces),
    and Fourier transforms. Other tools count some of these; see `rased/models/gtcrn.py` for an example.

    Args:
        enhancer: any enhancer.
        condition: additional inputs of the model, one row.
    """
    shadow = copy.deepcopy(enhancer).to("meta").eval()  # shapes alone: nothing is computed
    _replace_recurrent(shadow)
    given = {name: tensor.to("meta") for name, tensor in (condition or {}).items()}
    return (_macs(shadow, 3.0, given) - _macs(shadow, 1.0, given)) / 2.0


def _macs(shadow: Enhancer, seconds: float, condition: Condition) -> float:
    shape = (1,) if shadow.channels == 1 else (1, shadow.channels)
    noisy = torch.zeros(*shape, int(seconds * shadow.sample_rate), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(noisy, condition=condition)
    # The counter takes a multiplication and an addition as two operations.
    return counter.get_total_flops() / 2


def _products(
    layer: nn.RNNBase, frames: Float[Tensor, "*batch inputs"], state: Any = None
) -> tuple[Float[Tensor, "*batch hidden"], Any]:
    """Run the matrix products of a recurrent layer for all frames at once, to count its cost without its loop.

    Products of input and hidden state with their weights, for each layer and direction; and the projection of an LSTM.
    """
    # One entry for each layer and direction: weights of input and state, biases, and the projection last.
    weights, directions = layer.all_weights, 2 if layer.bidirectional else 1
    for index in range(0, len(weights), directions):
        outputs = []
        for of_direction in weights[index : index + directions]:
            from_input, from_hidden = of_direction[:2]
            functional.linear(frames, from_input)
            hidden = frames.new_zeros(*frames.shape[:-1], from_hidden.shape[1])
            functional.linear(hidden, from_hidden)
            if layer.proj_size > 0:
                cell = frames.new_zeros(*frames.shape[:-1], layer.hidden_size)
                hidden = functional.linear(cell, of_direction[-1])
            outputs.append(hidden)
        frames = torch.cat(outputs, dim=-1)
    return frames, state


def _replace_recurrent(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            # The counter does not see into recurrent kernels.
            layer.forward = partial(_products, layer)
