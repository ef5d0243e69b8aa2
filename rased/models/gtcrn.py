"""GTCRN: grouped temporal convolutions and dual-path recurrence on ERB bands, a complex mask; causal.

Paper: Rong, Sun, Zhang, Hu, Zhu and Lu, "GTCRN: a speech enhancement model requiring ultralow
computational resources", ICASSP 2024, doi:10.1109/ICASSP48485.2024.10448310.
Differences: the decoder's transposed convolutions of stride 1 are written as the equivalent causal convolutions
(the importer flips their kernels). The ERB triangles are those of the authors' code (GitHub
Xiaobin-Rong/gtcrn), with centres rounded to bins, and are frozen parameters, which the authors count.
Parameters: 48.2 K with the 24.6 K of the fixed ERB bands, 23.7 K without (the authors' README: both).
MACs: 26.3 M/s in products and convolutions. The authors' README counts 33.0 M with ptflops 0.7.0: 26.5 M for their 63
frames in a second, and norms (1.5 M), PReLUs (0.6 M), gates and biases of GRUs (1.8 M), biases of convolutions (0.7 M)
and the zeros that transposed convolutions insert between bands (1.9 M). The 39.6 M of the paper are these and 6.6 M
for multiplying all 257 bins by the ERB matrix, where 65 are only copied. A test adds it up.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.layers.attention import TemporalAttention
from rased.layers.conv import FrameConv2d
from rased.layers.dual_path import GroupedDualPath
from rased.layers.erb import ErbBands
from rased.layers.stack import Stack
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.masks import apply_mask
from rased.signal.state import joined, parted
from rased.signal.stft import STFT


class SubbandFeatures(nn.Module):
    """Adds the lower and the upper neighbour of each band as channels: three times the channels."""

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"]
    ) -> Float[Tensor, "batch features frames band"]:
        """Return the features; missing neighbours at the ends are zeros."""
        neighbours = functional.pad(bands, (1, 1)).unfold(-1, 3, 1)
        return rearrange(
            neighbours,
            "batch channel frames band neighbour -> batch (channel neighbour) frames band",
        )


class ConvBlock(nn.Module):
    """(Transposed) convolution over five bands with stride two, batch normalisation, activation."""

    def __init__(
        self, channels: int, outputs: int, *, groups: int = 1, up: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        layer = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = layer(channels, outputs, (1, 5), (1, 2), (0, 2), groups=groups)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.Tanh() if last else nn.PReLU()

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"]
    ) -> Float[Tensor, "batch outputs frames other_band"]:
        """Halve or double the bands."""
        return self.activation(self.norm(self.conv(bands)))


class TemporalBlock(nn.Module):
    """Processes half of the channels with a dilated causal bottleneck, then interleaves both halves."""

    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.subbands = SubbandFeatures()
        self.expand = nn.Sequential(
            nn.Conv2d(3 * half, channels, 1), nn.BatchNorm2d(channels), nn.PReLU()
        )
        self.depthwise = FrameConv2d(channels, channels, (3, 3), dilation=dilation, groups=channels)
        self.activation = nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU())
        self.reduce = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))
        self.attention = TemporalAttention(half)

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames band"], State]:
        """Process the first half of the channels, keep the second."""
        states = parted(state)
        worked, kept = bands.chunk(2, dim=1)
        worked = self._expanded(worked)
        worked, depthwise = self.depthwise(worked, states["depthwise"])
        worked = self.reduce(self.activation(worked))
        worked, attention = self.attention(worked, states["attention"])
        # Interleaved, the half that was kept is among those that the next block processes.
        shuffled = rearrange(
            [worked, kept], "half batch channel frames band -> batch (channel half) frames band"
        )
        return shuffled, joined({"depthwise": depthwise, "attention": attention})

    def _expanded(
        self, bands: Float[Tensor, "batch half frames band"]
    ) -> Float[Tensor, "batch channel frames band"]:
        """Expand the bands and their neighbours; in an exported graph by one convolution over three bands."""
        if not torch.compiler.is_exporting():
            return self.expand(self.subbands(bands))
        mixing, *rest = self.expand
        assert isinstance(mixing, nn.Conv2d)
        weight = rearrange(mixing.weight, "o (c neighbour) 1 1 -> o c 1 neighbour", neighbour=3)
        worked = functional.conv2d(bands, weight, mixing.bias, padding=(0, 1))
        for layer in rest:
            worked = layer(worked)
        return worked

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return zeros for the convolution and for the attention."""
        depthwise = self.depthwise.initial_state(batch, bands, like)
        attention = self.attention.initial_state(batch, like)
        return joined({"depthwise": depthwise, "attention": attention})


class DecoderBlock(TemporalBlock):
    """The same on the sum of a skip connection and the output of the previous block."""

    def forward(  # type: ignore[override]
        self,
        bands: Float[Tensor, "batch channel frames band"],
        skip: Float[Tensor, "batch channel frames band"],
        state: State,
    ) -> tuple[Float[Tensor, "batch channel frames band"], State]:
        """Process the first half of the channels, keep the second."""
        return super().forward(bands + skip, state)


class GTCRN(SpectralEnhancer):
    """ERB bands, encoder, two dual-path blocks, mirrored decoder, complex ratio mask; causal.

    Args:
        channels: channels of the encoder.
        stft: the transform.
        kept_bins: lowest bins, which are not combined.
        erb_bands: bands made of the remaining bins; kept_bins + erb_bands must be 4 n + 1.
        sample_rate: Hz.
    """

    paper = (
        "Rong, Sun, Zhang, Hu, Zhu, Lu: GTCRN: a speech enhancement model requiring ultralow "
        "computational resources. ICASSP 2024, doi:10.1109/ICASSP48485.2024.10448310"
    )
    published_in = "authors' README"

    def __init__(
        self,
        *,
        channels: int = 16,
        stft: STFT = STFT(),  # noqa: B008 (frozen)
        kept_bins: int = 65,
        erb_bands: int = 64,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(stft=stft, sample_rate=sample_rate)
        paper_sizes = (channels, stft.freq, kept_bins, erb_bands) == (16, 257, 65, 64)
        self.published_parameters = 48_200 if paper_sizes else None
        self.inner_bands = (kept_bins + erb_bands - 1) // 4 + 1  # after two strides of 2
        self.erb = ErbBands(kept_bins, erb_bands, stft.freq, sample_rate)
        self.subbands = SubbandFeatures()
        # 9: three channels, each with two neighbours
        self.down = nn.ModuleList([ConvBlock(9, channels), ConvBlock(channels, channels, groups=2)])
        self.encoder = Stack(TemporalBlock(channels, dilation=d) for d in (1, 2, 5))
        self.dual_path = Stack(GroupedDualPath(channels, self.inner_bands) for _ in range(2))
        self.decoder = Stack(DecoderBlock(channels, dilation=d) for d in (5, 2, 1))
        self.up = nn.ModuleList(
            [
                ConvBlock(channels, channels, groups=2, up=True),
                ConvBlock(channels, 2, up=True, last=True),
            ]
        )

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Apply bands, encoder with skip connections, dual-path blocks, decoder and mask."""
        bands = self.subbands(self.erb.compress(self._channels(spectrum)))
        states = parted(state)
        skips = self._halve(bands)
        inner, encoder = self.encoder.encode(skips[-1], states["encoder"])
        bands, dual_path = self.dual_path(inner[-1], states["dual_path"])
        bands, decoder = self.decoder.decode(bands, inner, states["decoder"])
        for block, skip in zip(self.up, reversed(skips), strict=True):
            bands = block(bands + skip)
        # A complex view needs real and imaginary part side by side in memory.
        parts = rearrange(self.erb.expand(bands).float(), "n part t f -> n f t part").contiguous()
        mask = torch.view_as_complex(parts)
        after = joined({"encoder": encoder, "dual_path": dual_path, "decoder": decoder})
        return Prediction.of_spectrum(apply_mask(mask, spectrum), mask=mask), after

    def initial_process_state(self, batch: int) -> State:
        """Return the states of encoder, dual-path blocks and decoder."""
        like = next(self.parameters())
        parts = {"encoder": self.encoder, "dual_path": self.dual_path, "decoder": self.decoder}
        return joined(
            {
                name: blocks.initial_state(batch, self.inner_bands, like)
                for name, blocks in parts.items()
            }
        )

    def _halve(self, bands: Float[Tensor, "batch feature frames band"]) -> list[Tensor]:
        """Return the outputs of the convolutions that halve the bands."""
        outputs = []
        for block in self.down:
            bands = block(bands)
            outputs.append(bands)
        return outputs

    def _channels(self, spectrum: Spectrum) -> Float[Tensor, "batch 3 frames freq"]:
        """Return magnitude (with a floor that keeps its gradient finite), real and imaginary part."""
        real, imag = spectrum.real, spectrum.imag
        magnitude = (real.square() + imag.square() + 1e-12).sqrt()
        return rearrange([magnitude, real, imag], "part n f t -> n part t f")
