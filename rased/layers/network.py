"""The contract of a network inside a frequency-domain enhancer: frames in, frames out, state."""

from jaxtyping import Float
from torch import Tensor, nn

from rased.signal.state import State


class Network(nn.Module):
    """Base of every network: built by `network(inputs, outputs, **its own arguments)`.

    Attributes:
        causal: whether frame k of the output depends on frames up to k only, so that `forward` may
            be called chunk by chunk with the state in between.
        paper: authors, title, venue, DOI or arXiv.
        published_parameters: what the paper counts for a network of these sizes; None where it does
            not say.
    """

    causal: bool = True
    paper: str = ""
    published_parameters: int | None = None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Map any number of frames from `state`; return the state after them."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(frames, state)")

    def initial_state(self, batch: int, like: Tensor) -> State:
        """State before the first frame, with device and type of `like`; empty without memory."""
        return {}
