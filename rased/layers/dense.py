"""Densely connected convolutions over frames and bins, and their encoder and decoders for magnitude and phase.

Pandey and Wang, "Densely connected neural network with dilated convolutions for real-time speech enhancement in the
time domain", ICASSP 2020, for the blocks; Lu et al., "MP-SENet", Interspeech 2023, arXiv:2305.13686, for the decoders.
Tensors are (batch, channel, frames, freq).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.conv import FrameConv2d
from rased.layers.stack import Stack
from rased.layers.unet import DownConv, UpConv
from rased.signal.state import State, joined, parted

Scope = Literal["utterance", "past"]
"""The frames that the mean and variance of a norm are computed from; "past" can stream."""
Bins = Float[Tensor, "batch channel frames freq"]
Mapped = Float[Tensor, "batch outputs frames other_freq"]


class ChannelNorm(nn.Module):
    """Normalise each channel over bins and frames to zero mean and unit variance; a weight and a bias per channel.

    Over all frames, this is instance normalisation. The sums of the past are kept in double precision.
    """

    epsilon = 1e-5

    def __init__(self, channels: int, scope: Scope) -> None:
        super().__init__()
        self.scope = scope
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, bins: Bins, state: State) -> tuple[Bins, State]:
        """Normalise with `moments` (batch, channel, 3): sum, sum of squares and number of the values so far."""
        # Half precision is too coarse for the sums.
        bins = bins.float()
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        if self.scope == "utterance":
            variance, mean = torch.var_mean(bins, dim=(2, 3), correction=0, keepdim=True)
            return (bins - mean) * (variance + self.epsilon).rsqrt() * weight + bias, {}
        # Sums over the bins of each frame; `cumsum` then runs over frames, so that a frame counts itself and its past.
        sums = bins.sum(-1)
        new = [sums, bins.square().sum(-1), torch.full_like(sums, bins.shape[-1])]
        # In double precision: the variance is a difference of large sums that grow with the stream.
        moments = torch.stack(new, dim=-1).double().cumsum(2) + state["moments"][:, :, None]
        total, squares, number = moments.unbind(-1)
        mean = total / number
        scale = (squares / number - mean.square()).clamp(min=0.0).add(self.epsilon).rsqrt()
        shift = (-mean * scale).to(bins)[..., None]
        normal = torch.addcmul(shift, bins, scale.to(bins)[..., None])
        # A copy: a view would keep the sums of all frames alive.
        return normal * weight + bias, {"moments": moments[:, :, -1].clone()}

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame."""
        if self.scope == "utterance":
            return {}
        return {"moments": like.new_zeros(batch, len(self.weight), 3, dtype=torch.float64)}


class BinNorm(nn.LayerNorm):
    """Normalise each channel of each frame over its bins to zero mean and unit variance; weight and bias per bin."""

    def forward(self, bins: Bins, state: State) -> tuple[Bins, State]:  # type: ignore[override]
        """Normalise; there is no state."""
        return super().forward(bins), {}

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the empty state."""
        return {}


class ConvBlock(nn.Module):
    """Convolution, norm, PReLU.

    Args:
        conv: the convolution.
        norm: the norm.
    """

    def __init__(
        self,
        conv: DownConv | UpConv | FrameConv2d,
        norm: ChannelNorm | BinNorm,
    ) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm
        self.activation = nn.PReLU(conv.out_channels)

    def forward(self, bins: Bins, state: State) -> tuple[Mapped, State]:
        """Continue from `state`."""
        parts, after = parted(state), {}
        bins, after["conv"] = self.conv(bins, parts["conv"])
        bins, after["norm"] = self.norm(bins, parts["norm"])
        return self.activation(bins), joined(after)

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence before the convolution, and the initial state of the norm."""
        conv = self.conv.initial_state(batch, freq, like)
        return joined({"conv": conv, "norm": self.norm.initial_state(batch, like)})


class DilatedDense(nn.Module):
    """Convolutions that each see the input and the outputs of all previous ones, with doubling dilation in time.

    Args:
        channels: channels of the input and of each output.
        depth: number of convolutions.
        kernel_frames: frames of a kernel; it covers three bins.
        norm: returns the norm of a convolution.
        centred: kernels cover past and future frames (not causal).
    """

    def __init__(
        self,
        channels: int,
        *,
        depth: int,
        kernel_frames: int,
        norm: Callable[[], ChannelNorm | BinNorm],
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = Stack(
            ConvBlock(
                FrameConv2d(
                    channels * (i + 1),
                    channels,
                    (kernel_frames, 3),
                    dilation=2**i,
                    centred=centred,
                ),
                norm(),
            )
            for i in range(depth)
        )

    def forward(self, bins: Bins, state: State) -> tuple[Bins, State]:
        """Return the output of the last convolution."""
        seen, parts, after = bins, parted(state), {}
        for index, block in enumerate(self.blocks):
            bins, after[str(index)] = block(seen, parts[str(index)])
            # Newest first, the order of the authors' weights.
            seen = torch.cat([bins, seen], dim=1)
        return bins, joined(after)

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return self.blocks.initial_state(batch, freq, like)


def channel_normed(
    channels: int,
    depth: int,
    *,
    kernel_frames: int = 2,
    scope: Scope = "utterance",
    centred: bool = False,
) -> DilatedDense:
    """Return a dense block with a `ChannelNorm` after each convolution."""
    norm = partial(ChannelNorm, channels, scope)
    return DilatedDense(
        channels, depth=depth, kernel_frames=kernel_frames, norm=norm, centred=centred
    )


class DenseEncoder(nn.Module):
    """Expand to `channels`, apply a dense block, and halve the bins.

    Args:
        inputs: input channels.
        channels: channels of all layers.
        dense: the dense block.
        around: zero bins added below and above before the bins are halved.
        scope: scope of the norms.
    """

    def __init__(
        self, inputs: int, channels: int, dense: DilatedDense, *, around: int, scope: Scope
    ) -> None:
        super().__init__()
        first = DownConv(inputs, channels, (1, 1), stride=1)
        self.first = ConvBlock(first, ChannelNorm(channels, scope))
        self.dense = dense
        self.around = around
        down = DownConv(channels, channels, (1, 3), padding=(around, around))
        self.down = ConvBlock(down, ChannelNorm(channels, scope))

    def forward(self, bins: Bins, state: State) -> tuple[Mapped, State]:
        """Encode: from bins to half as many bands."""
        parts, after = parted(state), {}
        bins, after["first"] = self.first(bins, parts["first"])
        bins, after["dense"] = self.dense(bins, parts["dense"])
        bands, after["down"] = self.down(bins, parts["down"])
        return bands, joined(after)

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        parts: dict[str, Any] = {"first": self.first, "dense": self.dense, "down": self.down}
        return joined({name: part.initial_state(batch, freq, like) for name, part in parts.items()})

    def size(self, freq: int) -> int:
        """Return the number of bands for so many bins."""
        return (freq + 2 * self.around - 3) // 2 + 1  # as `DownConv.size` with 3 bins and stride 2


class SubPixelConv(DownConv):
    """Double the bins: a convolution gives two channels per channel, which become neighbouring bins."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels, (1, 3), stride=1, padding=(1, 1))

    def forward(self, frames: Bins, state: State) -> tuple[Mapped, State]:  # type: ignore[override]
        """Convolve; there is no state."""
        twice, state = super().forward(frames, state)
        return rearrange(twice, "n (bin c) t f -> n c t (f bin)", bin=2), state


class _Decoder(nn.Module):
    """Base class of decoders: a dense block, a layer that doubles the bins, and a norm."""

    norm: ChannelNorm

    def __init__(self, dense: DilatedDense, up: SubPixelConv | UpConv) -> None:
        super().__init__()
        self.dense, self.up = dense, up

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return silence, and the initial state of the norm."""
        norm = self.norm.initial_state(batch, like)
        return joined({"dense": self.dense.initial_state(batch, bands, like), "norm": norm})


class MaskDecoder(_Decoder):
    """A dense block, upsampling to twice the bins, one channel, and a gain for each bin.

    Args:
        channels: channels of the bands.
        dense: the dense block.
        up: layer that doubles the bins.
        width: bins of the kernel that reduces the channels to one.
        gain: maps numbers of any size to gains, with a parameter for each bin.
        scope: scope of the norm.
    """

    def __init__(
        self,
        channels: int,
        dense: DilatedDense,
        up: SubPixelConv | UpConv,
        *,
        width: int,
        gain: nn.Module,
        scope: Scope,
    ) -> None:
        super().__init__(dense, up)
        self.narrow = nn.Conv2d(channels, 1, (1, width))
        self.norm = ChannelNorm(1, scope)
        self.activation = nn.PReLU(1)
        self.last = nn.Conv2d(1, 1, 1)
        self.gain = gain

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch frames freq"], State]:
        """Return the gains."""
        parts, after = parted(state), {}
        inner, after["dense"] = self.dense(bands, parts["dense"])
        bins, _ = self.up(inner, {})
        bins, after["norm"] = self.norm(self.narrow(bins), parts["norm"])
        return self.gain(self.last(self.activation(bins))[:, 0].float()), joined(after)


class PhaseDecoder(_Decoder):
    """A dense block, upsampling to twice the bins, and a complex number per bin, of which only the phase is used.

    Args:
        channels: channels of the bands.
        dense: the dense block.
        up: layer that doubles the bins.
        width: bins of the last kernels.
        scope: scope of the norms.
    """

    def __init__(
        self,
        channels: int,
        dense: DilatedDense,
        up: SubPixelConv | UpConv,
        *,
        width: int,
        scope: Scope,
    ) -> None:
        super().__init__(dense, up)
        self.norm = ChannelNorm(channels, scope)
        self.activation = nn.PReLU(channels)
        self.real = nn.Conv2d(channels, 1, (1, width))
        self.imaginary = nn.Conv2d(channels, 1, (1, width))

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch 2 frames freq"], State]:
        """Return cosine and sine of the phase."""
        parts, after = parted(state), {}
        bands, after["dense"] = self.dense(bands, parts["dense"])
        bins, _ = self.up(bands, {})
        bins, after["norm"] = self.norm(bins, parts["norm"])
        bins = self.activation(bins)
        point = torch.cat([self.real(bins), self.imaginary(bins)], dim=1).float()
        # The floor keeps the gradient finite where the number is 0 and has no direction.
        length = point.square().sum(1, keepdim=True).clamp_min(1e-20)
        return point * length.rsqrt(), joined(after)


class LearnedSigmoid(nn.Module):
    """A sigmoid between 0 and `limit` with a learned slope for each bin."""

    def __init__(self, freq: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.slope = nn.Parameter(torch.ones(freq))

    def forward(
        self, bins: Float[Tensor, "batch frames freq"]
    ) -> Float[Tensor, "batch frames freq"]:
        """Apply the sigmoid of each bin."""
        return self.limit * (self.slope * bins).sigmoid()
