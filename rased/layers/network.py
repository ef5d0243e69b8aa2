"""Base class of networks inside a frequency-domain enhancer: frames in, frames out, with state."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.signal.state import State


class Network(nn.Module):
    """Base class of networks; the enhancer builds one by `network(inputs, outputs, **other_arguments)`.

    Attributes:
        causal: output frame k depends only on input frames up to k, so that `forward` may
            be called chunk by chunk with the state in between.
        paper: authors, title, venue, DOI or arXiv.
        published_parameters: number of parameters that others give for a network of this size; None if nobody does.
        published_in: where this number is from; counted in that code, if it is code.
    """

    causal: bool = True
    paper: str = ""
    published_parameters: int | None = None
    published_in: str = ""

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process any number of frames, continuing from `state`; return the state after them."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(frames, state)")

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame, on the device and with the type of `like`; empty without memory."""
        return {}


@torch.no_grad()
def start_near(layer: nn.Conv2d | nn.ConvTranspose2d, values: Sequence[float]) -> None:
    """Make the output channels of a new layer almost constant, by small weights and these values as biases.

    A mask that starts near 1 lets the noisy speech through; training from there is faster than from noise.
    """
    assert layer.bias is not None
    layer.weight.mul_(0.1)
    layer.bias.copy_(torch.tensor(values))
