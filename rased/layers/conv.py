"""Causal convolutions, with the past input that they need as state."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.signal.state import State


class CausalConv1d(nn.Conv1d):
    """Convolution over (batch, channel, frames) whose last tap is the current frame.

    Its state is `memory`, the (kernel_size - 1) * dilation frames before the first one; zeros at the start.
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
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames"], State]:
        """Convolve, continuing from `state`; return the memory after the last frame."""
        extended, state = remembered(frames, state, self.memory)
        return super().forward(extended), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, self.in_channels, self.memory))


class CentredConv1d(nn.Conv1d):
    """Convolution centred on the current frame: not causal, without state; kernel_size is odd."""

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
        """Convolve; return the state unchanged."""
        return super().forward(frames), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the empty state."""
        return {}


class CausalConv2d(nn.Conv2d):
    """Convolution over (batch, channel, frames, freq): causal in frames, centred in frequency.

    Its state is `memory`, the (kernel_size[0] - 1) * dilation frames before the first one.
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
        self, frames: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames freq"], State]:
        """Convolve, continuing from `state`; return the memory after the last frame."""
        extended, state = remembered(frames, state, self.memory)
        return super().forward(extended), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, self.in_channels, self.memory, freq))


class CentredConv2d(nn.Conv2d):
    """The same over past and future alike: not causal, without state; kernel sizes are odd."""

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
            padding="same",
            dilation=(dilation, 1),
            groups=groups,
        )

    def forward(  # type: ignore[override]
        self, frames: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames freq"], State]:
        """Convolve; the state passes through."""
        return super().forward(frames), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return the empty state."""
        return {}


def remembered(
    frames: Float[Tensor, "batch channel frames *freq"], state: State, memory: int
) -> tuple[Float[Tensor, "batch channel longer *freq"], State]:
    """Return the frames with the memory in front of them, and the memory after them."""
    if not memory:
        return frames, {}
    extended = torch.cat([state["memory"], frames], dim=2)
    return extended, {"memory": extended[:, :, extended.shape[2] - memory :]}


def silent(memory: Tensor) -> State:
    """Return the state with a memory of zeros; empty if the memory has no frames."""
    return {"memory": memory} if memory.numel() else {}
