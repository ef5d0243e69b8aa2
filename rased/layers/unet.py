"""Convolutions that lower or raise the number of frequencies; causal in time, with the past frames as state."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.layers.conv import remembered, silent
from rased.signal.state import State


class DownConv(nn.Conv2d):
    """Convolution over (batch, channel, frames, freq) whose last tap in time is the current frame.

    Args:
        channels: input channels.
        outputs: output channels.
        kernel_size: frames and bins.
        stride: bins between outputs.
        padding: zero bins added below and above.
        groups: number of independent groups of channels.
        bias: add a bias.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: tuple[int, int],
        *,
        stride: int = 2,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(channels, outputs, kernel_size, (1, stride), groups=groups, bias=bias)
        self.around, self.memory = padding, kernel_size[0] - 1

    def forward(  # type: ignore[override]
        self,
        frames: Float[Tensor, "batch channel frames freq"],
        state: State,
    ) -> tuple[Float[Tensor, "batch outputs frames low_freq"], State]:
        """Convolve, continuing from `state`; return the past frames that the next call needs."""
        extended, state = remembered(frames, state, self.memory)
        padded = functional.pad(extended, self.around) if any(self.around) else extended
        return super().forward(padded), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, self.in_channels, self.memory, freq))

    def size(self, freq: int) -> int:
        """Return the number of output bins for a number of input bins."""
        return (freq + sum(self.around) - self.kernel_size[1]) // self.stride[1] + 1


class UpConv(nn.ConvTranspose2d):
    """Transposed convolution over (batch, channel, frames, freq): output frame k depends on input frames up to k.

    Args:
        channels: input channels.
        outputs: output channels.
        kernel_size: frames and bins.
        stride: output bins per input bin.
        crop: output bins removed below and above; a negative number adds bins above.
        groups: number of independent groups of channels.
        bias: add a bias.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: tuple[int, int],
        *,
        stride: int = 2,
        crop: tuple[int, int] = (0, 0),
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        # In time, torch's padding drops the outputs for remembered frames, and the tail after the last frame.
        memory, more = kernel_size[0] - 1, max(0, -crop[1])
        super().__init__(
            channels,
            outputs,
            kernel_size,
            (1, stride),
            padding=(memory, 0),
            output_padding=(0, more),
            groups=groups,
            bias=bias,
        )
        self.crop, self.memory = (crop[0], max(0, crop[1])), memory

    def forward(  # type: ignore[override]
        self,
        frames: Float[Tensor, "batch channel frames freq"],
        state: State,
    ) -> tuple[Float[Tensor, "batch outputs frames high_freq"], State]:
        """Convolve, continuing from `state`; return the past frames that the next call needs."""
        extended, state = remembered(frames, state, self.memory)
        bins = super().forward(extended)
        low, high = self.crop
        # Not `-high`: it may be 0.
        cropped = bins[..., low : bins.shape[-1] - high]
        return cropped, state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, self.in_channels, self.memory, freq))
