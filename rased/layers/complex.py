"""Complex layers made of two real ones, for the real and the imaginary part of the weights.

Trabelsi et al., "Deep complex networks", ICLR 2018, arXiv:1705.09792. The first half of the channels holds real parts,
the second half imaginary parts.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.recurrent import recur, silence
from rased.layers.unet import DownConv, UpConv
from rased.signal.state import State, joined, parted


def multiplied(real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of a complex product.

    Args:
        real: output of the real weights; the batch holds their products with the real, then with the imaginary parts.
        imaginary: the same for the imaginary weights.
    """
    # (a + ib)(A + iB) = aA - bB + i(bA + aB), where A + iB are the weights
    by_real, of_imaginary = real.chunk(2)
    turned, back = imaginary.chunk(2)
    return by_real - back, turned + of_imaginary


def beside(
    bins: Float[Tensor, "batch channel frames freq"],
    skip: Float[Tensor, "batch skipped frames freq"],
) -> Float[Tensor, "batch more_channels frames freq"]:
    """Concatenate real parts with real parts, and imaginary parts with imaginary parts."""
    parts = [rearrange(one, "n (part c) t f -> n part c t f", part=2) for one in (bins, skip)]
    return rearrange(torch.cat(parts, dim=2), "n part c t f -> n (part c) t f")


class ComplexMap(nn.Module):
    """A complex layer without memory, made of two real layers.

    Args:
        make: returns one of the two, for half of the channels.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.real, self.imaginary = make(), make()

    def forward(
        self, frames: Float[Tensor, "batch channel frames freq"]
    ) -> Float[Tensor, "batch outputs other_frames other_freq"]:
        """Process the whole batch at once."""
        # Both parts side by side in the batch: each real layer runs once instead of twice.
        parts = rearrange(frames, "n (part c) t f -> (part n) c t f", part=2)
        return torch.cat(multiplied(self.real(parts), self.imaginary(parts)), dim=1)


class ComplexConv(nn.Module):
    """A complex convolution that lowers or raises the number of frequencies.

    Args:
        make: builds one of the two real convolutions, for half of the channels.
    """

    def __init__(self, make: Callable[[], DownConv | UpConv]) -> None:
        super().__init__()
        self.real, self.imaginary = make(), make()

    def forward(
        self, frames: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames other_freq"], State]:
        """Convolve, continuing from `state`; return the past frames that the next call needs."""
        # Both parts side by side in the batch: each real layer runs once instead of twice.
        parts = rearrange(frames, "n (part c) t f -> (part n) c t f", part=2)
        real, after = self.real(parts, state)
        # Its memory is that of the inputs, the same for both.
        imaginary, _ = self.imaginary(parts, state)
        return torch.cat(multiplied(real, imaginary), dim=1), after

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return self.real.initial_state(2 * batch, freq, like)


class ComplexLSTM(nn.Module):
    """Two LSTMs, for the real and the imaginary part of the weights.

    Args:
        inputs: complex features of a frame.
        hidden: complex outputs of a frame.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.real = nn.LSTM(inputs, hidden, batch_first=True)
        self.imaginary = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(
        self, parts: Float[Tensor, "twice_batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "twice_batch frames hidden"], State]:
        """Process a batch that holds the real parts, then the imaginary parts."""
        states, after = parted(state), {}
        real, after["real"] = recur(self.real, parts, states["real"])
        imaginary, after["imaginary"] = recur(self.imaginary, parts, states["imaginary"])
        return torch.cat(multiplied(real, imaginary)), joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros for both LSTMs."""
        zeros = [silence(layer, 2 * batch, like) for layer in (self.real, self.imaginary)]
        return joined({"real": zeros[0], "imaginary": zeros[1]})
