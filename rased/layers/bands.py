"""Split a spectrum into bands of different widths, map each to the same number of channels, and merge them again.

Yu and Luo, "Music source separation with band-split RNN", IEEE/ACM TASLP 31, 2023, arXiv:2209.15174. Weights are
stored without padding, one row for each number of a spectrum. For the computation they are padded to the widest band,
so that one batched matrix product handles all bands. Tensors are (band, batch, frames, channel): the band is the batch
axis of that product, and the bands form a sequence without a copy.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from rased.signal.state import State

Scope = Literal["utterance", "past", "frame"]
"""What a norm takes its mean and variance from; all but "utterance" can stream."""

EPSILON = torch.finfo(torch.float32).eps


def standardisation(
    bands: Float[Tensor, "band batch frames channel"],
    state: State,
    *,
    scope: Scope,
    joint: bool,
    numbers: Float[Tensor, " band"] | None = None,
) -> tuple[
    Float[Tensor, "some_bands batch some_frames 1"],
    Float[Tensor, "some_bands batch some_frames 1"],
    State,
]:
    """Return scale and shift that give zero mean and unit variance, and the state after the last frame.

    Args:
        bands: the values; narrow bands are padded with zeros at the end.
        state: `moments`: sum, sum of squares and count of past values; empty for other scopes.
        scope: the frames that are normalised together.
        joint: normalise all bands together, instead of each one separately.
        numbers: values in a frame of each band; None: all channels.
    """
    together = (0, 3) if joint else (3,)
    sums, squares = bands.sum(together), bands.square().sum(together)
    # Values per frame that are summed together: with `joint` those of all bands, else the channels of one.
    count = bands.new_full((), bands[:, 0, 0].numel() if joint else bands.shape[3])
    if numbers is not None:
        count = numbers.sum() if joint else numbers[:, None, None]
    # In double precision: the variance is a difference of large sums that grow with the stream.
    moments = torch.stack([sums, squares, count.expand_as(sums)], dim=-1).double()
    if scope == "utterance":
        moments = moments.sum(-2, keepdim=True)
    elif scope == "past":
        moments = state["moments"][..., None, :] + moments.cumsum(-2)
        # A view would keep the moments of all frames of the chunk in memory.
        state = {"moments": moments[..., -1, :].clone()}
    total, square, number = moments.unbind(-1)
    mean = total / number
    # By rounding, the difference can be below 0.
    scale = (square / number - mean.square()).clamp(min=0.0).add(EPSILON).rsqrt()
    shift = (-mean * scale).to(bands)[..., None]
    scale = scale.to(bands)[..., None]
    return (scale[None], shift[None], state) if joint else (scale, shift, state)


def initial_moments(scope: Scope, shape: Sequence[int], like: Tensor) -> State:
    """Return the state before the first frame; empty if the scope uses no past."""
    if scope != "past":
        return {}
    return {"moments": like.new_zeros(*shape, 3, dtype=torch.float64)}


class JointNorm(nn.Module):
    """Normalises all bands together to zero mean and unit variance, then applies a weight and bias per channel."""

    def __init__(self, channels: int, scope: Scope) -> None:
        super().__init__()
        self.scope = scope
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, bands: Float[Tensor, "band batch frames channel"], state: State
    ) -> tuple[Float[Tensor, "band batch frames channel"], State]:
        """Normalise; continue from `state`."""
        scale, shift, state = standardisation(bands, state, scope=self.scope, joint=True)
        return torch.addcmul(shift * self.weight + self.bias, bands, scale * self.weight), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame."""
        return initial_moments(self.scope, (batch,), like)


class _Bands(nn.Module):
    """Maps the numbers of a spectrum to their positions in bands that are padded to the widest band.

    A spectrum has `parts` numbers per bin, stored next to each other.
    """

    place: Int[Tensor, " number"]
    numbers: Float[Tensor, " band"]

    def __init__(self, widths: Sequence[int], parts: int) -> None:
        super().__init__()
        self.count, self.widest, self.parts = len(widths), parts * max(widths), parts
        numbers = [parts * width for width in widths]
        # Band i begins at row i * widest of the padded weights.
        place = [i * self.widest + j for i, number in enumerate(numbers) for j in range(number)]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        self.register_buffer("numbers", torch.tensor(numbers).float(), persistent=False)

    def pad(self, rows: Float[Tensor, "number ..."]) -> Float[Tensor, "band widest ..."]:
        """Arrange the rows of all numbers by band, padded with zeros."""
        # `place` is the row of each number in the padded array, band by band; all other rows stay zero.
        padded = rows.new_zeros(self.count * self.widest, *rows.shape[1:])
        return padded.index_copy(0, self.place, rows).unflatten(0, (self.count, self.widest))


class BandSplit(_Bands):
    """Normalises each band, then maps it to `channels` with its own linear layer.

    Args:
        widths: bins in each band, lowest band first.
        channels: channels of each band in the output.
        scope: what the norms take their mean and variance from.
        parts: numbers per bin.
    """

    def __init__(
        self, widths: Sequence[int], channels: int, *, scope: Scope, parts: int = 2
    ) -> None:
        super().__init__(widths, parts)
        self.scope = scope
        size = parts * sum(widths)
        self.norm_weight = nn.Parameter(torch.ones(size))
        self.norm_bias = nn.Parameter(torch.zeros(size))
        # As in `nn.Linear`, weights start within 1 / sqrt(inputs), which differs from band to band.
        reach = torch.cat(
            [torch.full((parts * width, 1), (parts * width) ** -0.5) for width in widths]
        )
        self.weight = nn.Parameter(reach * (2 * torch.rand(size, channels) - 1))
        self.bias = nn.Parameter(torch.zeros(len(widths), channels))

    def forward(
        self, bins: Float[Tensor, "batch frames freq part"], state: State
    ) -> tuple[Float[Tensor, "band batch frames channel"], State]:
        """Pad, normalise and map; the scale of the norm is folded into the weights."""
        numbers = rearrange(bins, "n t f part -> (f part) n t")  # batch, t frames, freq
        bands = rearrange(self.pad(numbers), "b i n t -> b n t i")  # band, number i
        # Padded zeros add nothing to the sums, and `numbers` counts the real values alone.
        scale, shift, state = standardisation(
            bands, state, scope=self.scope, joint=False, numbers=self.numbers
        )
        # The shift makes the padding nonzero again, but its weights are zero.
        normal = rearrange(torch.addcmul(shift, bands, scale), "b n t i -> b (n t) i")
        # W (gamma x + beta) + b = (W gamma) x + (W beta + b)
        weight = self.pad(self.norm_weight[:, None] * self.weight)
        bias = self.bias + self.pad(self.norm_bias[:, None] * self.weight).sum(1)
        split = torch.baddbmm(bias[:, None], normal, weight)
        return rearrange(split, "b (n t) c -> b n t c", n=bins.shape[0]), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame."""
        return initial_moments(self.scope, (self.count, batch), like)


class BandMerge(_Bands):
    """Maps the channels of each band back to its numbers: norm, linear, tanh, linear, gate; one or more heads.

    Args:
        widths: bins in each band, lowest band first.
        channels: channels of each band.
        hidden: width between the linear layers.
        heads: number of outputs per number, each with its own layers.
        scope: what the norms take their mean and variance from.
        parts: numbers per bin.
    """

    def __init__(
        self,
        widths: Sequence[int],
        channels: int,
        hidden: int,
        *,
        heads: int,
        scope: Scope,
        parts: int = 2,
    ) -> None:
        super().__init__(widths, parts)
        self.scope, self.heads = scope, heads
        size, bands = parts * sum(widths), len(widths)
        self.norm_weight = nn.Parameter(torch.ones(heads, bands, channels))
        self.norm_bias = nn.Parameter(torch.zeros(heads, bands, channels))
        self.hidden_weight = nn.Parameter(torch.empty(heads, bands, channels, hidden))
        self.hidden_bias = nn.Parameter(torch.zeros(heads, bands, hidden))
        self.weight = nn.Parameter(torch.empty(size, heads, 2, hidden))
        self.bias = nn.Parameter(torch.zeros(size, heads, 2))
        nn.init.uniform_(self.hidden_weight, -(channels**-0.5), channels**-0.5)
        nn.init.uniform_(self.weight, -(hidden**-0.5), hidden**-0.5)

    def forward(
        self, bands: Float[Tensor, "band batch frames channel"], state: State
    ) -> tuple[Float[Tensor, "head batch frames freq part"], State]:
        """Normalise once, then compute all heads and bands in two products; the norms are folded into the weights."""
        batch, frames = bands.shape[1:3]
        scale, shift, state = standardisation(bands, state, scope=self.scope, joint=False)
        # From here on, batch and frames are one axis (nt), and each band is one matrix product.
        normal = rearrange(torch.addcmul(shift, bands, scale), "b n t c -> b (n t) c")
        weight = self.norm_weight[..., None] * self.hidden_weight
        bias = self.hidden_bias + (self.norm_bias[..., None] * self.hidden_weight).sum(2)
        bias = rearrange(bias, "head b hidden -> b 1 (head hidden)")
        hidden = torch.baddbmm(bias, normal, rearrange(weight, "head b c i -> b c (head i)")).tanh()
        hidden = rearrange(hidden, "b nt (head i) -> (b head) nt i", head=self.heads)
        # `glu` multiplies the first half of the last axis by the sigmoid of the second: the gate.
        weight = rearrange(self.pad(self.weight), "b o head gate i -> (b head) i (gate o)")
        bias = rearrange(self.pad(self.bias), "b o head gate -> (b head) 1 (gate o)")
        padded = functional.glu(torch.baddbmm(bias, hidden, weight), dim=-1)
        padded = rearrange(padded, "(b head) nt o -> head nt (b o)", head=self.heads)
        # Leave out the padding: `place` lists the real numbers in the order of the spectrum.
        numbers = padded.index_select(-1, self.place).unflatten(1, (batch, frames))
        return rearrange(numbers, "head n t (f part) -> head n t f part", part=self.parts), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame."""
        return initial_moments(self.scope, (self.count, batch), like)
