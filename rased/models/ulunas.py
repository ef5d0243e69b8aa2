"""UL-UNAS: a U-net on ERB bands, with blocks, kernels and widths found by architecture search, and a mask; causal.

Paper: Rong, Yang, Wang, Hu, Zhu, Chen and Lu, "UL-UNAS: ultra-lightweight U-Nets for real-time speech enhancement via
network architecture search", IEEE/ACM TASLP 34, 2026, doi:10.1109/TASLPRO.2026.3661271, arXiv:2503.00340.
Differences: follows the authors' code (GitHub Xiaobin-Rong/ul-unas). The architecture that they found is the default;
others of its kind are lists of settings. The ERB triangles are frozen parameters, which the authors count. Windows are
Hann in analysis and synthesis; a file starts in silence, like a stream, whereas the authors mirror its ends.
Parameters: 171.3 K with the 24.6 K of the fixed ERB bands (authors' code: the same).
MACs: 27.4 M/s in products and convolutions (34.3 by ptflops, which the authors use: norms and gates included).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.attention import TimeFrequencyAttention
from rased.layers.dual_path import GroupedDualPath
from rased.layers.erb import ErbBands
from rased.layers.unet import DownConv, UpConv
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.features import magnitude
from rased.signal.masks import apply_mask
from rased.signal.state import joined, numbered, parted
from rased.signal.stft import STFT

Kind = Literal["conv", "separable", "bottleneck"]
_FOUND: tuple[tuple[Kind, ...], tuple[int, ...], tuple[tuple[int, int], ...]] = (
    ("conv", "bottleneck", "separable", "bottleneck", "separable"),
    (12, 24, 24, 32, 16),
    ((3, 3), (2, 3), (2, 3), (1, 5), (1, 5)),
)
_STRIDES, _GROUPS = (2, 2, 1, 1, 1), (1, 2, 2, 2, 2)
_FLOOR = 1e-12
"""Floor of the magnitude in the logarithm."""


class AffinePReLU(nn.Module):
    """An affine function for each channel and band, plus a PReLU for each channel."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, bands))
        self.bias = nn.Parameter(torch.zeros(channels, bands))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"]
    ) -> Float[Tensor, "batch channel frames band"]:
        """Return the sum of both."""
        line = torch.addcmul(self.bias[:, None], self.weight[:, None], bands)
        return line + functional.prelu(bands, self.slope)


class Pointwise(nn.Module):
    """First part of a block: mixes the channels of each frame and band."""

    def __init__(self, channels: int, outputs: int, bands: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.conv = nn.Conv2d(channels, outputs, 1, groups=groups)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = AffinePReLU(outputs, bands)

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"]
    ) -> Float[Tensor, "batch outputs frames band"]:
        """Convolve, then interleave the groups."""
        return interleave(self.activation(self.norm(self.conv(bands))), self.groups)


class Block(nn.Module):
    """One block of the U-net.

    Args:
        kind: "conv" has one convolution; "separable" mixes channels, then filters each channel separately;
            "bottleneck" mixes channels once more after that, and adds its input if the sizes are equal.
        channels: input channels.
        outputs: output channels.
        bands: input bands.
        high: output bands.
        kernel_size: frames and bands.
        stride: input bands per output band, or output bands per input band.
        groups: groups of channels that are processed separately.
        up: whether the convolution is transposed.
        last: whether the block ends the U-net.
    """

    def __init__(
        self,
        kind: Kind,
        channels: int,
        outputs: int,
        bands: int,
        high: int,
        *,
        kernel_size: tuple[int, int],
        stride: int,
        groups: int,
        up: bool = False,
        last: bool = False,
    ) -> None:
        super().__init__()
        alone, twice = kind == "conv", kind == "bottleneck"
        self.bands = bands
        self.before = None if alone else Pointwise(channels, outputs, bands, groups)
        sizes = {"kernel_size": kernel_size, "stride": stride}
        around = (kernel_size[1] // 2, kernel_size[1] // 2)
        # In a block of several convolutions, this one filters every channel alone.
        inputs, own = (channels, groups) if alone else (outputs, outputs)
        self.conv: DownConv | UpConv
        if up:
            self.conv = UpConv(inputs, outputs, **sizes, crop=around, groups=own)  # type: ignore[arg-type]
        else:
            self.conv = DownConv(inputs, outputs, **sizes, padding=around, groups=own)  # type: ignore[arg-type]
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = None if last and not twice else AffinePReLU(outputs, high)
        self.after = None
        if twice:
            mixing = nn.Conv2d(outputs, outputs, 1, groups=groups)
            self.after = nn.Sequential(mixing, nn.BatchNorm2d(outputs))
        self.attention = TimeFrequencyAttention(outputs)
        self.residual = twice and (channels, bands) == (outputs, high)
        # A separable block interleaves its groups before the convolution; the last block has one channel.
        self.groups = 1 if last or kind == "separable" else groups

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames high"], State]:
        """Process frames, continuing from `state`: the memories of the convolution and of the attention."""
        states, given = parted(state), bands
        if self.before is not None:
            bands = self.before(bands)
        bands, conv = self.conv(bands, states["conv"])
        bands = self.norm(bands)
        if self.activation is not None:
            bands = self.activation(bands)
        if self.after is not None:
            bands = self.after(bands)
        bands, attention = self.attention(bands, states["attention"])
        if self.residual:
            bands = bands + given
        return interleave(bands, self.groups), joined({"conv": conv, "attention": attention})

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros for both memories."""
        conv = self.conv.initial_state(batch, self.bands, like)
        return joined({"conv": conv, "attention": self.attention.initial_state(batch, like)})


class ULUNAS(SpectralEnhancer):
    """Log-magnitudes in ERB bands, encoder, two dual-path blocks, decoder, mask; causal.

    Args:
        kinds: kinds of the encoder's blocks; the decoder mirrors them.
        channels: output channels of each block.
        kernels: frames and bands of each kernel.
        strides: stride over the bands in each block.
        groups: independent groups of channels in each block, 1 or 2.
        kept_bins: lowest bins, which are not combined.
        erb_bands: bands made of the remaining bins.
        stft: the transform.
        sample_rate: Hz.

    Raises:
        RasedError: the lists have different lengths, or the sizes do not fit together.
    """

    paper = (
        "Rong, Yang, Wang, Hu, Zhu, Chen, Lu: UL-UNAS: ultra-lightweight U-Nets for real-time speech enhancement via "
        "network architecture search. IEEE/ACM TASLP 34, 2026, doi:10.1109/TASLPRO.2026.3661271"
    )
    published_in = "authors' code"

    def __init__(
        self,
        *,
        kinds: tuple[Kind, ...] = _FOUND[0],
        channels: tuple[int, ...] = _FOUND[1],
        kernels: tuple[tuple[int, int], ...] = _FOUND[2],
        strides: tuple[int, ...] = _STRIDES,
        groups: tuple[int, ...] = _GROUPS,
        kept_bins: int = 65,
        erb_bands: int = 64,
        stft: STFT = STFT(window="hann"),  # noqa: B008 (frozen)
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(stft=stft, sample_rate=sample_rate)
        widths = _widths(kept_bins + erb_bands, strides)
        _check(kinds, channels, kernels, strides, groups, widths)
        found = (*_FOUND, _STRIDES, _GROUPS, 65, 64, 257)
        sizes = (kinds, channels, kernels, strides, groups, kept_bins, erb_bands, stft.freq)
        self.published_parameters = 171_300 if sizes == found else None
        self.inner = widths[-1]
        self.erb = ErbBands(kept_bins, erb_bands, stft.freq, sample_rate)
        encoder, decoder, inputs = [], [], (1, *channels)
        for index, kind in enumerate(kinds):
            low, high = (inputs[index], widths[index]), (inputs[index + 1], widths[index + 1])
            settings = {
                "kernel_size": kernels[index],
                "stride": strides[index],
                "groups": groups[index],
            }
            encoder.append(_block(kind, low, high, settings))
            decoder.append(_block(kind, high, low, {**settings, "up": True, "last": index == 0}))
        self.encoder = nn.ModuleList(encoder)
        self.dual_path = nn.ModuleList(GroupedDualPath(channels[-1], self.inner) for _ in range(2))
        self.decoder = nn.ModuleList(decoder[::-1])

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Apply bands, encoder with skip connections, dual-path blocks, decoder and mask."""
        level = magnitude(spectrum).clamp_min(_FLOOR).log10()
        bands = self.erb.compress(rearrange(level, "n f t -> n 1 t f"))
        states, after, skips = parted(state), {}, []
        parts: dict[str, list[State]] = {"encoder": [], "dual_path": [], "decoder": []}
        memories = {name: parted(states[name]) for name in parts}
        for index, block in enumerate(self.encoder):
            bands, memory = block(bands, memories["encoder"][str(index)])
            parts["encoder"].append(memory)
            skips.append(bands)
        for index, block in enumerate(self.dual_path):
            bands, memory = block(bands, memories["dual_path"][str(index)])
            parts["dual_path"].append(memory)
        for index, block in enumerate(self.decoder):
            bands, memory = block(bands + skips.pop(), memories["decoder"][str(index)])
            parts["decoder"].append(memory)
        mask = self.erb.expand(bands.float().sigmoid()).float()
        mask = rearrange(mask, "n 1 t f -> n f t")
        after = joined({name: numbered(memory) for name, memory in parts.items()})
        return Prediction.of_spectrum(apply_mask(mask, spectrum), mask=mask), after

    def initial_process_state(self, batch: int) -> State:
        """Return zeros for all parts."""
        like = next(self.parameters())
        paths = [block.initial_state(batch, self.inner, like) for block in self.dual_path]  # type: ignore[operator]
        return joined(
            {
                "encoder": _initial_states(self.encoder, batch, like),
                "dual_path": numbered(paths),
                "decoder": _initial_states(self.decoder, batch, like),
            }
        )


def interleave(
    bands: Float[Tensor, "batch channel frames band"], groups: int
) -> Float[Tensor, "batch channel frames band"]:
    """Interleave the channels of the groups."""
    if groups == 1:
        return bands
    return rearrange(bands, "n (group c) t b -> n (c group) t b", group=groups)


def _block(
    kind: Kind, into: tuple[int, int], out: tuple[int, int], settings: dict[str, Any]
) -> Block:
    """Build a block; `into` and `out` are (channels, bands)."""
    return Block(kind, into[0], out[0], into[1], out[1], **settings)


def _initial_states(blocks: nn.ModuleList, batch: int, like: Tensor) -> State:
    return numbered(block.initial_state(batch, like) for block in blocks)  # type: ignore[operator]


def _widths(bands: int, strides: Sequence[int]) -> tuple[int, ...]:
    """Return the number of bands before the first block and after each."""
    widths = [bands]
    for stride in strides:
        widths.append((widths[-1] - 1) // max(1, stride) + 1)  # rounded up
    return tuple(widths)


def _check(
    kinds: Sequence[str],
    channels: Sequence[int],
    kernels: Sequence[tuple[int, int]],
    strides: Sequence[int],
    groups: Sequence[int],
    widths: Sequence[int],
) -> None:
    lists = (kinds, channels, kernels, strides, groups)
    if len({len(item) for item in lists}) != 1 or not kinds:
        raise RasedError(
            f"UL-UNAS: kinds, channels, kernels, strides and groups have {', '.join(str(len(item)) for item in lists)} "
            "entries: give one entry for each block of the encoder."
        )
    inside = zip(widths, widths[1:], strides, strict=False)
    if min(strides) < 1 or any((low - 1) * stride + 1 != high for high, low, stride in inside):
        raise RasedError(
            f"UL-UNAS: strides {list(strides)} give {list(widths)} bands, which the decoder cannot restore: bands - 1 "
            "must be divisible by each stride, such as 129, 65, 33 by 2."
        )
    odd = any(time < 1 or band < 1 or band % 2 == 0 for time, band in kernels)
    mixed = any(size < 1 or size % group for size, group in zip(channels, groups, strict=True))
    if odd or mixed or not {*groups} <= {1, 2} or channels[-1] % 4:
        raise RasedError(
            f"UL-UNAS: channels {list(channels)}, kernels {[list(item) for item in kernels]}, groups {list(groups)}: "
            "kernels cover an odd number of bands, groups are 1 or 2 and divide the channels, 4 the last of these."
        )
