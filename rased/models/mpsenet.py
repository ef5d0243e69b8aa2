"""MP-SENet: magnitude and phase in, transformers across bins and along frames, magnitude and phase out; not causal.

Paper: Lu, Ai and Ling, "MP-SENet: a speech enhancement model with parallel denoising of magnitude and phase spectra",
Interspeech 2023, arXiv:2305.13686; with transformers in place of conformers in "Explicit estimation of magnitude and
phase spectra in parallel for high-quality speech enhancement", Neural Networks 2025, arXiv:2308.08926.
Differences: follows the authors' code with transformers (GitHub yxlu-0102/MP-SENet); tests compare the spectra. That
code treats the first axis of its attention and GRUs as time: with one utterance per batch, as it is used, the first
transformer of a block runs across the bins and the second along the frames, and so they do here. `frames_first: true`
is the order of the paper. Their transform mirrors the ends of a file, ours starts from silence. They train against a
metric discriminator.
Parameters: 2.26 M at the paper's size (published 2.26 M, in the table of the authors' repository), 5.2 K in
mp-senet-small; MACs: 46.3 and 0.08 G/s for files of 1 to 3 s, more for longer ones, because attention covers all
frames.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.attention import SelfAttention
from rased.layers.dense import (
    ChannelNorm,
    DenseEncoder,
    LearnedSigmoid,
    PhaseDecoder,
    SubPixelConv,
    channel_normed,
)
from rased.layers.network import Network
from rased.layers.recurrent import recur
from rased.signal.state import State, joined, parted

Tokens = Float[Tensor, "batch token channel"]
Bands = Float[Tensor, "batch channel frames band"]


class Transformer(nn.Module):
    """Attention and a bidirectional GRU instead of the usual linear layer, each with a residual connection."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads)
        self.recurrent_norm = nn.LayerNorm(channels)
        self.recurrent = nn.GRU(channels, 2 * channels, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(4 * channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tokens) -> Tokens:
        """Run with a norm before each part and at the end, and a residual connection around the whole."""
        inner = tokens + self.attention(self.attention_norm(tokens))
        remembered, _ = recur(self.recurrent, self.recurrent_norm(inner), {})
        inner = inner + self.linear(functional.leaky_relu(remembered))
        return tokens + self.norm(inner)


class Block(nn.Module):
    """A transformer across the bands of each frame, and one along the frames of each band."""

    def __init__(self, channels: int, heads: int, *, frames_first: bool) -> None:
        super().__init__()
        self.frames_first = frames_first
        self.across = Transformer(channels, heads)
        self.along = Transformer(channels, heads)

    def forward(self, bands: Bands) -> Bands:
        """Run both transformers."""
        sequence = rearrange(bands, "n c t b -> n t b c")
        steps = [self._across, self._along]
        for step in reversed(steps) if self.frames_first else steps:
            sequence = step(sequence)
        return rearrange(sequence, "n t b c -> n c t b")

    def _across(
        self, sequence: Float[Tensor, "batch frames band channel"]
    ) -> Float[Tensor, "batch frames band channel"]:
        tokens = self.across(rearrange(sequence, "n t b c -> (n t) b c"))
        return rearrange(tokens, "(n t) b c -> n t b c", n=len(sequence))

    def _along(
        self, sequence: Float[Tensor, "batch frames band channel"]
    ) -> Float[Tensor, "batch frames band channel"]:
        tokens = self.along(rearrange(sequence, "n t b c -> (n b) t c"))
        return rearrange(tokens, "(n b) t c -> n t b c", n=len(sequence))


class MagnitudeDecoder(nn.Module):
    """A dense block, upsampling to twice the bins, and a gain between 0 and 2 for each."""

    def __init__(self, channels: int, depth: int, freq: int) -> None:
        super().__init__()
        self.dense = channel_normed(channels, depth)
        self.up = SubPixelConv(channels)
        self.norm = ChannelNorm(channels, "utterance")
        self.activation = nn.PReLU(channels)
        # `up` gives one bin more than the spectrum has; the kernel of 2 removes it.
        self.last = nn.Conv2d(channels, 1, (1, 2))
        self.gain = LearnedSigmoid(freq, 2.0)

    def forward(self, bands: Bands, state: State) -> Float[Tensor, "batch frames freq"]:
        """Return the gains."""
        inner, _ = self.dense(bands, parted(state)["dense"])
        bins, _ = self.up(inner, {})
        bins = self.last(self.activation(self.norm(bins, {})[0]))
        return self.gain(bins[:, 0].float())

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return silence."""
        return joined({"dense": self.dense.initial_state(batch, bands, like)})


class MPSENet(Network):
    """Encoder, blocks, a gain for the compressed magnitude, a phase; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]); an odd number of bins.
        outputs: the same, magnitudes to the power of `compression` (target: compressed_complex).
        channels: channels of all layers.
        blocks: pairs of transformers.
        heads: attention heads.
        depth: convolutions in a dense block.
        compression: exponent of the magnitudes.
        frames_first: run along the frames first in each block, as in the paper.
    """

    causal = False
    paper = (
        "Lu, Ai, Ling: MP-SENet: a speech enhancement model with parallel denoising of magnitude and phase "
        "spectra. Interspeech 2023, arXiv:2305.13686"
    )
    published_in = "authors' README"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 64,
        blocks: int = 4,
        heads: int = 4,
        depth: int = 4,
        compression: float = 0.3,
        frames_first: bool = False,
    ) -> None:
        super().__init__()
        freq = outputs // 2
        if inputs != outputs or freq % 2 != 1 or channels % heads:
            raise RasedError(
                f"MP-SENet maps a complex spectrum with an odd number of bins to another, but got {inputs} inputs and "
                f"{outputs} outputs: choose features: {{kinds: [complex]}}, no context, target: compressed_complex, an "
                f"n_fft that 4 divides, and heads that divide the {channels} channels."
            )
        self.compression, self.freq = compression, freq
        block = channel_normed(channels, depth)
        self.encoder = DenseEncoder(2, channels, block, around=1, scope="utterance")
        self.blocks = nn.ModuleList(
            Block(channels, heads, frames_first=frames_first) for _ in range(blocks)
        )
        self.magnitude = MagnitudeDecoder(channels, depth, freq)
        self.phase = PhaseDecoder(
            channels,
            channel_normed(channels, depth),
            SubPixelConv(channels),
            width=2,
            scope="utterance",
        )
        paper_sizes = (freq, channels, blocks, depth) == (201, 64, 4, 4)
        self.published_parameters = 2_260_000 if paper_sizes else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the compressed spectrum; the state does not change."""
        parts = parted(state)
        real, imaginary = frames.float().chunk(2, dim=-1)
        power = real.square() + imaginary.square() + 1e-9  # offsets of the authors
        magnitude = power ** (self.compression / 2)
        phase = torch.atan2(imaginary + 1e-10, real + 1e-5)
        bands, _ = self.encoder(torch.stack([magnitude, phase], dim=1), parts["encoder"])
        for block in self.blocks:
            bands = block(bands)
        enhanced = magnitude * self.magnitude(bands, parts["magnitude"])
        turned, _ = self.phase(bands, parts["phase"])
        # The target is compressed_complex: a compressed magnitude at the new phase.
        return rearrange(enhanced[:, None] * turned, "n part t f -> n t (part f)"), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence before the convolutions."""
        bands = self.encoder.size(self.freq)
        return joined(
            {
                "encoder": self.encoder.initial_state(batch, self.freq, like),
                "magnitude": self.magnitude.initial_state(batch, bands, like),
                "phase": self.phase.initial_state(batch, bands, like),
            }
        )
