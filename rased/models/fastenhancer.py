"""FastEnhancer: convolutions over frequency, GRUs and attention over a few bands, a complex mask; causal.

Paper: Ahn, Han, Woo and Kim, "FastEnhancer: speed-optimized streaming neural speech enhancement", ICASSP 2026,
arXiv:2509.21867.
Differences: follows the authors' code (GitHub aask1357/fastenhancer, models/fastenhancer/default) in its training
form: batch norms are separate layers, and the GRUs, the attention and the last convolution use weight normalisation;
the authors fold both into the weights for inference. Kernels cover one frame, so only the GRUs have memory. The first
convolution has a stride, which the authors write as a reshape. The mask is expanded instead of the masked spectrum,
which is the same (|x m|^a = |x|^a |m|^a) above a magnitude of 1e-5. Windows are Hann in analysis and
synthesis; a file starts in silence, like a stream, whereas the authors mirror its ends.
Parameters: T 22,451, B 93,087, S 196,819, M 495,987, L 1,111,907, as in the authors' training module; their folding
leaves 21,774, 91,430, 194,418, 491,594 and 1,104,610 (published: 22, 91, 194, 492, 1105 K). mid, a size between B and S
that is not in the paper, has 145 K.
MACs: T 60 M/s, B 262 M/s, S 664 M/s, M 2.9 G/s, L 12 G/s (published: the same); mid 433 M/s.
"""

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.weight_norm import WeightNormGRU, WeightNormLinear
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.features import power_law
from rased.signal.masks import apply_mask
from rased.signal.stft import STFT

Tokens = Float[Tensor, "frames batch band channel"]
_TRAINED = {  # (channels, layers, blocks, hidden, bands) -> parameters of the authors' module in training
    (24, 2, 2, 20, 16): 22_451,
    (48, 2, 3, 36, 24): 93_087,
    (64, 3, 3, 48, 36): 196_819,
    (96, 3, 4, 72, 48): 495_987,
    (128, 4, 5, 96, 64): 1_111_907,
}


class ConvBlock(nn.Sequential):
    """Convolution over neighbouring bins, batch normalisation, SiLU."""

    def __init__(self, channels: int, outputs: int, kernel_size: int, *, stride: int = 1) -> None:
        padding = (kernel_size - stride) // 2  # so that bins / stride bins come out
        super().__init__(
            nn.Conv2d(channels, outputs, (1, kernel_size), (1, stride), (0, padding), bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis."""

    def forward(self, input: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Normalise over all other axes."""
        return super().forward(input.reshape(-1, self.num_features)).view_as(input)


class Merge(nn.Module):
    """Reduces input and skip connection together to the channels of one of them, bin by bin."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, channels, bias=False)
        self.norm = ChannelNorm(channels)

    def forward(
        self,
        bins: Float[Tensor, "batch channel frames freq"],
        skip: Float[Tensor, "batch channel frames freq"],
    ) -> Float[Tensor, "batch channel frames freq"]:
        """Apply a linear layer, batch normalisation and SiLU."""
        both = rearrange(torch.cat([bins, skip], dim=1), "n c t f -> n t f c")
        merged = functional.silu(self.norm(self.linear(both)))
        return rearrange(merged, "n t f c -> n c t f")


class Upsample(nn.ConvTranspose2d):
    """Transposed counterpart of the first convolution, to the parts of the mask; one norm for all its weights."""

    def __init__(self, channels: int, kernel_size: int, stride: int) -> None:
        padding = (kernel_size - stride) // 2
        super().__init__(channels, 2, (1, kernel_size), (1, stride), (0, padding))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(  # type: ignore[override]
        self, bins: Float[Tensor, "batch channel frames low_freq"]
    ) -> Float[Tensor, "batch 2 frames freq"]:
        """Return real and imaginary part."""
        # Over all axes: one length for the whole tensor.
        weight = functional.normalize(self.weight, dim=(0, 1, 2, 3)) * self.scale  # type: ignore[arg-type]
        stride, padding = (1, self.stride[1]), (0, int(self.padding[1]))
        return functional.conv_transpose2d(bins, weight, self.bias, stride, padding)


class BandAttention(nn.Module):
    """Attention of each band of a frame to all bands of the frame."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = WeightNormLinear(channels, 3 * channels)

    def forward(self, tokens: Tokens) -> Tokens:
        """Apply multi-head attention."""
        joined = self.query_key_value(tokens.flatten(0, 1))
        query, key, value = rearrange(
            joined, "n b (head part c) -> part n head b c", head=self.heads, part=3
        ).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return rearrange(attended, "n head b c -> n b (head c)").view_as(tokens)


class RNNFormerBlock(nn.Module):
    """A GRU over the frames of each band, then attention over the bands of each frame, both residual."""

    def __init__(self, channels: int, bands: int, heads: int, *, positions: bool) -> None:
        super().__init__()
        self.recurrent = WeightNormGRU(channels, channels)
        self.recurrent_linear = nn.Linear(channels, channels, bias=False)
        self.recurrent_norm = ChannelNorm(channels)
        self.positions = nn.Parameter(_positions(bands, channels)) if positions else None
        self.attention = BandAttention(channels, heads)
        self.attention_linear = nn.Linear(channels, channels, bias=False)
        self.attention_norm = ChannelNorm(channels)

    def forward(
        self, tokens: Tokens, state: Float[Tensor, "batch band channel"]
    ) -> tuple[Tokens, Float[Tensor, "batch band channel"]]:
        """Apply the GRU, then the attention."""
        # Every band is an example of the batch.
        remembered, after = self.recurrent(tokens.flatten(1, 2), state.flatten(0, 1)[None])
        linear = self.recurrent_linear(remembered.view_as(tokens))
        tokens = tokens + self.recurrent_norm(linear)
        if self.positions is not None:
            tokens = tokens + self.positions
        attended = self.attention_linear(self.attention(tokens))
        return tokens + self.attention_norm(attended), after.view_as(state)


class Bands(nn.Module):
    """Linear map from bins to bands or back, then from one number of channels to another.

    Args:
        weights: share of each input in each output.
        learned: train these shares.
        channels: input channels.
        outputs: output channels.
    """

    def __init__(
        self,
        weights: Float[Tensor, "to from"],
        *,
        learned: bool,
        channels: int,
        outputs: int,
    ) -> None:
        super().__init__()
        if learned:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer("weights", weights)
        self.linear = nn.Linear(channels, outputs, bias=False)
        self.norm = ChannelNorm(outputs)

    def forward(
        self, bins: Float[Tensor, "batch frames from channel"]
    ) -> Float[Tensor, "batch frames to outputs"]:
        """Process all frames at once."""
        frames = rearrange(bins, "n t f c -> (n t) f c")
        bands = torch.bmm(self.weights.expand(len(frames), -1, -1), frames)
        return self.norm(self.linear(bands)).unflatten(0, bins.shape[:2])


class FastEnhancer(SpectralEnhancer):
    """Encoder over bins, RNNFormer blocks over bands, mirrored decoder, complex mask; causal.

    Args:
        channels: channels of encoder and decoder.
        layers: convolutions of the encoder after the first one, which has a stride.
        blocks: number of RNNFormer blocks.
        hidden: channels of a band.
        bands: number of bands in the blocks.
        heads: heads of the attention.
        stft: the transform.
        compression: exponent of the magnitudes at the input; its inverse is applied to the mask.
        learned_bands: train the triangles that define the bands (as the authors do at 48 kHz).
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Ahn, Han, Woo, Kim: FastEnhancer: speed-optimized streaming neural speech enhancement. "
        "ICASSP 2026, arXiv:2509.21867"
    )
    published_in = "authors' code"
    kernel_size, stride = 8, 4
    floor = 1e-5
    """Magnitude below which the compression is linear."""

    def __init__(
        self,
        *,
        channels: int = 48,
        layers: int = 2,
        blocks: int = 3,
        hidden: int = 36,
        bands: int = 24,
        heads: int = 4,
        stft: STFT = STFT(window="hann"),  # noqa: B008 (frozen)
        compression: float = 0.3,
        learned_bands: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(stft=stft, sample_rate=sample_rate)
        bins, rest = divmod(stft.freq - 1, self.stride)
        _check(channels, layers, blocks, hidden, bands, heads, compression, bins, rest)
        trained = _TRAINED.get((channels, layers, blocks, hidden, bands))
        self.published_parameters = None if learned_bands or bins != 64 else trained
        self.compression, self.hidden, self.bands = compression, hidden, bands
        self.down = ConvBlock(2, channels, self.kernel_size, stride=self.stride)
        self.encoder = nn.ModuleList(ConvBlock(channels, channels, 3) for _ in range(layers))
        to_bands = _triangles(bins, bands)
        # Back to bins: each is a weighted mean of the bands around it.
        to_bins = functional.normalize(to_bands.T, p=1.0, dim=1)
        self.compress = Bands(to_bands, learned=learned_bands, channels=channels, outputs=hidden)
        self.blocks = nn.ModuleList(
            RNNFormerBlock(hidden, bands, heads, positions=index == 0) for index in range(blocks)
        )
        self.expand = Bands(to_bins, learned=learned_bands, channels=hidden, outputs=channels)
        self.merge = nn.ModuleList(Merge(channels) for _ in range(layers + 1))
        self.decoder = nn.ModuleList(ConvBlock(channels, channels, 3) for _ in range(layers))
        self.up = Upsample(channels, self.kernel_size, self.stride)

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Compress, mask, expand; the highest bin is left out and stays silent."""
        # Without the highest bin, the stride of the first convolution divides the number of bins.
        compressed = power_law(spectrum[:, :-1], self.compression, self.floor)
        bins = rearrange(torch.view_as_real(compressed), "n f t part -> n part t f")
        parts, state = self.mask(bins, state)
        padded = functional.pad(parts.float(), (0, 1))
        padded = rearrange(padded, "n part t f -> n f t part").contiguous()
        mask = power_law(torch.view_as_complex(padded), 1 / self.compression, self.floor)
        return Prediction.of_spectrum(apply_mask(mask, spectrum), mask=mask), state

    def mask(
        self, bins: Float[Tensor, "batch 2 frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch 2 frames freq"], State]:
        """Return the compressed mask for compressed bins. Tensors use the channels-last memory format throughout."""
        bins = self.down(bins)
        skips = [bins]
        for layer in self.encoder:
            bins = layer(bins)
            skips.append(bins)
        bands = self.compress(rearrange(bins, "n c t f -> n t f c"))
        bands, state = self._recur(bands, state)
        bins = rearrange(self.expand(bands), "n t f c -> n c t f")
        for merge, layer in zip(self.merge, [*self.decoder, self.up], strict=True):
            bins = layer(merge(bins, skips.pop()))
        return bins, state

    def initial_process_state(self, batch: int) -> State:
        """Return zeros for the GRUs of every band in every block."""
        like = next(self.parameters())
        shape = (batch, self.bands, self.hidden)
        return {f"hidden.{index}": like.new_zeros(shape) for index in range(len(self.blocks))}

    def _recur(
        self, bands: Float[Tensor, "batch frames band channel"], state: State
    ) -> tuple[Float[Tensor, "batch frames band channel"], State]:
        # Frames first: the layout of cuDNN's recurrent layers, without a copy in each block.
        tokens, after = rearrange(bands, "n t b c -> t n b c").contiguous(), {}
        for index, block in enumerate(self.blocks):
            tokens, after[f"hidden.{index}"] = block(tokens, state[f"hidden.{index}"])
        return rearrange(tokens, "t n b c -> n t b c"), after


def _check(
    channels: int,
    layers: int,
    blocks: int,
    hidden: int,
    bands: int,
    heads: int,
    compression: float,
    bins: int,
    rest: int,
) -> None:
    if min(channels, blocks, hidden, heads) < 1 or layers < 0 or hidden % heads or hidden % 2:
        raise RasedError(
            f"FastEnhancer: channels {channels}, layers {layers}, blocks {blocks}, hidden {hidden}, heads {heads}: "
            "all must be positive (layers may be 0), and hidden an even multiple of heads."
        )
    if rest or not 2 <= bands <= bins or not 0 < compression <= 1:
        raise RasedError(
            f"FastEnhancer: bands {bands}, compression {compression}, {4 * bins + rest} bins below the highest: "
            f"required are 2 to {bins} bands, a compression above 0 and at most 1, and an n_fft divisible by 8."
        )


def _triangles(bins: int, bands: int) -> Float[Tensor, "band bin"]:
    """Return triangles between evenly spaced centres; the weights of each sum to 1."""
    places, centres = np.arange(bins), np.linspace(0, bins - 1, bands)
    rows = np.stack([np.interp(places, centres, row) for row in np.eye(bands)])
    return torch.from_numpy((rows / rows.sum(1, keepdims=True)).astype(np.float32))


def _positions(bands: int, channels: int) -> Float[Tensor, "band channel"]:
    """Return sines and cosines of 1 to bands - 1 half periods over the bands, with logarithmic spacing."""
    phase = torch.arange(1, bands + 1) * (math.pi / bands)
    turns = torch.linspace(0.0, math.log(bands - 1), channels // 2).exp()
    grid = phase[:, None] * turns
    return torch.cat([grid.sin(), grid.cos()], dim=1)
