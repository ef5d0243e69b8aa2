"""Convolutions that look back only, and carry what they look back at from chunk to chunk."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

State = Any


class CausalConv1d(nn.Conv1d):
    """Convolution over (batch, channel, frames) whose newest tap is the current frame.

    The memory holds the (kernel_size - 1) * dilation frames before the first; zeros for silence.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            channels, outputs, kernel_size, dilation=dilation, groups=groups, bias=bias
        )
        self.memory = (kernel_size - 1) * dilation

    def forward(  # type: ignore[override]
        self,
        frames: Float[Tensor, "batch channel frames"],
        state: Float[Tensor, "batch channel memory"],
    ) -> tuple[Float[Tensor, "batch outputs frames"], Float[Tensor, "batch channel memory"]]:
        """Convolve from `state`; return the memory behind the last frame."""
        extended = torch.cat([state, frames], dim=2)
        return super().forward(extended), extended[:, :, extended.shape[2] - self.memory :]

    def initial_state(self, batch: int, like: Tensor) -> Float[Tensor, "batch channel memory"]:
        """Silence."""
        return like.new_zeros(batch, self.in_channels, self.memory)


class CentredConv1d(nn.Conv1d):
    """The same over past and future alike: not causal, without state; kernel_size is odd."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            channels,
            outputs,
            kernel_size,
            padding="same",
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(  # type: ignore[override]
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames"], State]:
        """Convolve; the state passes through."""
        return super().forward(frames), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """None."""
        return None


class CausalConv2d(nn.Conv2d):
    """Convolution over (batch, channel, frames, freq): causal in frames, centred in frequency.

    The memory holds the (kernel_size[0] - 1) * dilation frames before the first.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: tuple[int, int],
        *,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            channels,
            outputs,
            kernel_size,
            padding=(0, kernel_size[1] // 2),
            dilation=(dilation, 1),
            groups=groups,
        )
        self.memory = (kernel_size[0] - 1) * dilation

    def forward(  # type: ignore[override]
        self,
        frames: Float[Tensor, "batch channel frames freq"],
        state: Float[Tensor, "batch channel memory freq"],
    ) -> tuple[
        Float[Tensor, "batch outputs frames freq"], Float[Tensor, "batch channel memory freq"]
    ]:
        """Convolve from `state`; return the memory behind the last frame."""
        extended = torch.cat([state, frames], dim=2)
        return super().forward(extended), extended[:, :, extended.shape[2] - self.memory :]

    def initial_state(
        self, batch: int, freq: int, like: Tensor
    ) -> Float[Tensor, "batch channel memory freq"]:
        """Silence."""
        return like.new_zeros(batch, self.in_channels, self.memory, freq)
