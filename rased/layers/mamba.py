"""Selective state spaces in plain PyTorch: linear recurrences whose decay and input depend on the token.

Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces", COLM 2024, arXiv:2312.00752.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.layers.conv import FrameConv1d
from rased.signal.state import State, joined, parted

Tokens = Float[Tensor, "batch token channel"]
LARGEST = 1 << 23
"""Approximate number of states in memory at a time."""


def linear_recurrence(
    decay: Float[Tensor, "batch token channel state"],
    added: Float[Tensor, "batch token channel state"],
    before: Float[Tensor, "batch channel state"],
) -> Float[Tensor, "batch token channel state"]:
    """Return h with h[k] = decay[k] h[k - 1] + added[k], h[-1] = before; sequential: exact for any cut of a stream."""
    if decay.is_meta:  # shapes alone, of which costs are counted
        return torch.empty_like(added)
    states = []
    for one_decay, one_added in zip(decay.unbind(1), added.unbind(1), strict=True):
        before = torch.addcmul(one_added, one_decay, before)
        states.append(before)
    return torch.stack(states, dim=1)


def selective_scan(
    tokens: Tokens,
    step: Tokens,
    rate: Float[Tensor, "channel state"],
    into: Float[Tensor, "batch token state"],
    out: Float[Tensor, "batch token state"],
    before: Float[Tensor, "batch channel state"],
) -> tuple[Tokens, Float[Tensor, "batch channel state"]]:
    """Run the recurrence, and read the output after each token; return the outputs and the last state.

    Args:
        tokens: input of the states.
        step: time that a token advances each channel by; above 0.
        rate: decay rate of each state; below 0.
        into: weights from a token to the states.
        out: weights from the states to the output.
        before: states before the first token.
    """
    # In pieces, because decay and input have a number for every token, channel and state.
    read, piece = [], max(1, min(64, LARGEST // before.numel()))
    for start in range(0, tokens.shape[1], piece):
        at = slice(start, start + piece)
        # Zero-order hold for the decay, a step of Euler for the input, as in the authors' code.
        decay = (step[:, at, :, None] * rate).exp()
        added = (step[:, at] * tokens[:, at])[..., None] * into[:, at, None]
        states = linear_recurrence(decay, added, before)
        read.append((states @ out[:, at, :, None])[..., 0])
        before = states[:, -1]
    return torch.cat(read, dim=1), before.clone()


class Mamba(nn.Module):
    """A gated layer of selective state spaces; causal.

    Args:
        channels: channels of a token.
        expand: inner channels per channel.
        states: states per inner channel.
        kernel_size: tokens that the convolution before the states covers.
    """

    def __init__(
        self, channels: int, *, expand: int = 2, states: int = 16, kernel_size: int = 4
    ) -> None:
        super().__init__()
        # This rank of the step is "auto" in the authors' code.
        inner, rank = expand * channels, math.ceil(channels / 16)
        self.sizes = [rank, states, states]
        self.expand = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = FrameConv1d(inner, inner, kernel_size, groups=inner)
        self.select = nn.Linear(inner, rank + 2 * states, bias=False)
        self.step = nn.Linear(rank, inner)
        # Rates of 1 to `states`: each channel remembers at several time scales.
        self.log_rate = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.direct = nn.Parameter(torch.ones(inner))
        self.reduce = nn.Linear(inner, channels, bias=False)
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():  # steps between 0.001 and 0.1
            steps = torch.exp(torch.rand(inner) * math.log(100.0) + math.log(1e-3))
            # The inverse of the softplus that is applied to it.
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, tokens: Tokens, state: State) -> tuple[Tokens, State]:
        """Run from the states in `state`, or from zeros if it is empty."""
        parts = parted(state or self.initial_state(len(tokens), tokens))
        inner, gate = self.expand(tokens).chunk(2, dim=-1)
        inner, conv = self.conv(rearrange(inner, "n t c -> n c t"), parts["conv"])
        inner = functional.silu(rearrange(inner, "n c t -> n t c"))
        step, into, out = self.select(inner).float().split(self.sizes, dim=-1)
        step = functional.softplus(self.step(step)).float()
        rate = -self.log_rate.float().exp()  # always below 0, so that all states decay
        # A product of many decays needs float32, also under autocast.
        read, last = selective_scan(inner.float(), step, rate, into, out, parts["scan"]["states"])
        read = (read + inner * self.direct) * functional.silu(gate)
        return self.reduce(read), joined({"conv": conv, "scan": {"states": last}})

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        scan = {"states": like.new_zeros(batch, *self.log_rate.shape)}
        return joined({"conv": self.conv.initial_state(batch, like), "scan": scan})


class ResidualMamba(nn.Module):
    """Norm and Mamba, with a residual connection."""

    def __init__(self, channels: int, *, expand: int, states: int, kernel_size: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(channels, eps=1e-5)
        self.mamba = Mamba(channels, expand=expand, states=states, kernel_size=kernel_size)

    def forward(self, tokens: Tokens, state: State) -> tuple[Tokens, State]:
        """Run the layer; see `Mamba`."""
        added, state = self.mamba(self.norm(tokens), state)
        return tokens + added, state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return self.mamba.initial_state(batch, like)
