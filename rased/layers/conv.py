"""Convolutions over frames: causal, with the past input that they need as state, or centred."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.signal.state import State


class FrameConv1d(nn.Conv1d):
    """Convolution over (batch, channel, frames) whose last tap is the current frame.

    Its state is `memory`, the (kernel_size - 1) * dilation frames before the first one; zeros at the start.

    Args:
        channels: input channels.
        outputs: output channels.
        kernel_size: frames; an odd number if `centred`.
        dilation: distance between taps in frames.
        groups: number of independent groups of channels.
        bias: add a bias.
        centred: cover past and future frames alike: not causal, without state.
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
        centred: bool = False,
    ) -> None:
        super().__init__(
            channels,
            outputs,
            kernel_size,
            # "same" adds zeros at both ends. If causal, the memory stands in front of the frames instead.
            padding="same" if centred else 0,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.memory = 0 if centred else (kernel_size - 1) * dilation

    def forward(  # type: ignore[override]
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames"], State]:
        """Convolve, continuing from `state`; return the memory after the last frame."""
        extended, state = remembered(frames, state, self.memory)
        return super().forward(extended), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, self.in_channels, self.memory))


class FrameConv2d(nn.Conv2d):
    """Convolution over (batch, channel, frames, freq), centred in frequency; see `FrameConv1d`.

    Its state is `memory`, the (kernel_size[0] - 1) * dilation frames before the first one.

    Args:
        channels: input channels.
        outputs: output channels.
        kernel_size: frames and bins; odd numbers if `centred`.
        dilation: distance between taps in frames.
        groups: number of independent groups of channels.
        centred: cover past and future frames alike: not causal, without state.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: tuple[int, int],
        *,
        dilation: int = 1,
        groups: int = 1,
        centred: bool = False,
    ) -> None:
        super().__init__(
            channels,
            outputs,
            kernel_size,
            padding="same" if centred else (0, kernel_size[1] // 2),
            dilation=(dilation, 1),
            groups=groups,
        )
        self.memory = 0 if centred else (kernel_size[0] - 1) * dilation

    def forward(  # type: ignore[override]
        self, frames: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames freq"], State]:
        """Convolve, continuing from `state`; return the memory after the last frame."""
        extended, state = remembered(frames, state, self.memory)
        return super().forward(extended), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, self.in_channels, self.memory, freq))


def remembered(
    frames: Float[Tensor, "batch channel frames *freq"], state: State, memory: int
) -> tuple[Float[Tensor, "batch channel longer *freq"], State]:
    """Return the frames with the memory in front of them, and the memory after them."""
    if not memory:
        return frames, {}
    extended = torch.cat([state["memory"], frames], dim=2)
    # The new frames alone would not do: a chunk may be shorter than the memory.
    return extended, {"memory": extended[:, :, extended.shape[2] - memory :]}


def silent(memory: Tensor) -> State:
    """Return the state with a memory of zeros; empty if the memory has no frames."""
    return {"memory": memory} if memory.numel() else {}
