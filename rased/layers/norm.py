"""Layer normalisation over channels and time together: of the whole utterance, or of its past.

Both are from Luo and Mesgarani, "Conv-TasNet", IEEE/ACM TASLP 27(8), 2019 (gLN and cLN), and share
one signature, so that a causal model and its non-causal twin are the same code.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

State = Any


class GlobalLayerNorm(nn.Module):
    """Zero mean and unit variance over all channels and frames; not causal, without state."""

    def __init__(self, channels: int, *, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Normalise; the state passes through."""
        variance, mean = torch.var_mean(frames, dim=(1, 2), correction=0, keepdim=True)
        normal = (frames - mean) / (variance + self.epsilon).sqrt()
        return normal * self.weight + self.bias, state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """None."""
        return None


class CumulativeLayerNorm(nn.Module):
    """Zero mean and unit variance over all channels and the frames so far; causal.

    The sums are kept in double precision: a stream of hours stays exact.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: Float[Tensor, "batch 3"]
    ) -> tuple[Float[Tensor, "batch channel frames"], Float[Tensor, "batch 3"]]:
        """Normalise from `state`: sum, sum of squares and number of all values so far."""
        count = torch.full_like(frames[:, 0], frames.shape[1])
        new = torch.stack([frames.sum(1), frames.square().sum(1), count], dim=1)
        sums = state[..., None] + new.cumsum(-1, dtype=torch.float64)
        total, squares, number = sums.unbind(1)
        mean = total / number
        scale = (squares / number - mean.square()).clamp(min=0.0).add(self.epsilon).rsqrt()
        normal = (frames - mean[:, None].to(frames)) * scale[:, None].to(frames)
        return normal * self.weight + self.bias, sums[..., -1]

    def initial_state(self, batch: int, like: Tensor) -> Float[Tensor, "batch 3"]:
        """Nothing seen."""
        return like.new_zeros(batch, 3, dtype=torch.float64)
