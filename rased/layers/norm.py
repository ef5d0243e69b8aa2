"""Normalisation over channels and time together: over the whole utterance, or over its past.

The first two are from Luo and Mesgarani, "Conv-TasNet", IEEE/ACM TASLP 27(8), 2019 (gLN and cLN). They have
the same signature, so that the causal and the non-causal version of a model share their code.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.signal.state import State


class _Affine(nn.Module):
    """Base class: weight and bias for each channel."""

    def __init__(self, channels: int, *, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))


class GlobalLayerNorm(_Affine):
    """Normalises to zero mean and unit variance over all channels and frames; not causal, without state."""

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Normalise; return the state unchanged."""
        # One group: the norm covers all channels and frames.
        one_group = functional.group_norm(frames, 1, self.weight, self.bias, self.epsilon)
        return one_group, state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the empty state."""
        return {}


class CumulativeLayerNorm(_Affine):
    """Normalises to zero mean and unit variance over all channels and the frames so far; causal.

    The sums are kept in double precision, so that a stream of hours stays exact.
    """

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Normalise, continuing from `sums` (batch, 3): sum, sum of squares and count of all values so far."""
        count = torch.full_like(frames[:, 0], frames.shape[1])  # values in a frame
        new = torch.stack([frames.sum(1), frames.square().sum(1), count], dim=1)
        sums = state["sums"][..., None] + new.cumsum(-1, dtype=torch.float64)
        total, squares, number = sums.unbind(1)
        mean = total / number
        scale = (squares / number - mean.square()).clamp(min=0.0).add(self.epsilon).rsqrt()
        # Rounded to the type of the frames only now, after the difference of large sums.
        shift = (-mean * scale)[:, None].to(frames)
        normal = torch.addcmul(shift, frames, scale[:, None].to(frames))
        outputs = torch.addcmul(self.bias[:, None], normal, self.weight[:, None])
        return outputs, {"sums": sums[..., -1]}

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame."""
        return {"sums": like.new_zeros(batch, 3, dtype=torch.float64)}


class FrameNorm(nn.Module):
    """Normalises each frame over its channels and bins to zero mean and unit variance, then applies weights and biases.

    Args:
        channels: number of channels with separate weights, or 1.
        freq: number of bins; they share the weights.
    """

    def __init__(self, channels: int, freq: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, freq))
        self.bias = nn.Parameter(torch.zeros(channels, 1, freq))

    def forward(
        self, bins: Float[Tensor, "batch channel frames freq"]
    ) -> Float[Tensor, "batch channel frames freq"]:
        """Normalise in float32."""
        bins = bins.float()
        variance, mean = torch.var_mean(bins, dim=(1, 3), correction=0, keepdim=True)
        return (bins - mean) * (variance + 1e-5).rsqrt() * self.weight + self.bias


class MeanNorm(nn.Module):
    """Divides by the mean of all values of an utterance, or of those of each row in the frames so far.

    Hao et al., "FullSubNet", ICASSP 2021: "offline" and "cumulative Laplace norm" in the authors' code.
    """

    # Epsilons of the authors' code.
    floors: ClassVar[dict[str, float]] = {
        "utterance": 1e-5,
        "past": torch.finfo(torch.float32).eps,
    }

    def __init__(self, scope: Literal["utterance", "past"]) -> None:
        super().__init__()
        self.scope = scope

    def forward(
        self, values: Float[Tensor, "*row frames number"], state: State
    ) -> tuple[Float[Tensor, "*row frames number"], State]:
        """Normalise, from `sum` and `count` of the values before."""
        if self.scope == "utterance":
            mean = values.mean(tuple(range(1, values.ndim)), keepdim=True)
            return values / (mean + self.floors["utterance"]), {}
        # In double precision, because the sums grow with the stream.
        totals = state["sum"][..., None] + values.sum(-1).double().cumsum(-1)
        # Number of values in the frames so far.
        added = values.shape[-1] * torch.arange(1, values.shape[-2] + 1, device=values.device)
        counts = state["count"][..., None] + added
        mean = (totals / counts).to(values)[..., None]
        after = {"sum": totals[..., -1].clone(), "count": counts[..., -1].clone()}
        return values / (mean + self.floors["past"]), after

    def initial_state(self, rows: tuple[int, ...], like: Tensor) -> State:
        """Return the state before the first frame."""
        if self.scope == "utterance":
            return {}
        zeros = like.new_zeros(rows, dtype=torch.float64)
        return {"sum": zeros, "count": zeros.clone()}
