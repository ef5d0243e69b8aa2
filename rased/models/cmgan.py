"""CMGAN's generator: conformers along frames and across bins, a mask of the compressed spectrum, a residual; offline.

Paper: Cao, Abdulatif and Yang, "CMGAN: conformer-based metric GAN for speech enhancement", Interspeech 2022,
arXiv:2203.15149; Abdulatif, Cao and Yang, IEEE/ACM TASLP 32, 2024, arXiv:2209.11112.
Differences: follows the authors' code (GitHub ruizhecao96/CMGAN); tests compare the spectra. Their transform
mirrors the ends of a file, ours starts from silence; they append the first samples after the last, and cut files longer
than 16 s into pieces. They train against a metric discriminator. A fresh mask is near 1 here and the residual near 0.
Parameters: 1.83 M at the paper's size (1.83 M in the table of MP-SENet's authors), 11 K in cmgan-small; MACs: 43.5 and
0.12 G/s for files of 1 to 3 s, more for longer ones, because attention covers all frames.
"""

from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.dense import (
    ChannelNorm,
    DenseEncoder,
    MaskDecoder,
    SubPixelConv,
    channel_normed,
)
from rased.layers.dual_path import DualPath
from rased.layers.network import Network, start_near
from rased.layers.stack import Stack
from rased.signal.state import State, joined, parted

Tokens = Float[Tensor, "batch token channel"]
Bands = Float[Tensor, "batch channel frames band"]


class RelativeAttention(nn.Module):
    """Attention whose scores also depend on the distance between tokens, up to `reach` tokens.

    Shaw, Uszkoreit and Vaswani, "Self-attention with relative position representations", NAACL 2018.
    """

    reach = 512

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.distance = nn.Embedding(2 * self.reach + 1, channels // heads)
        self.linear = nn.Linear(channels, channels)

    def forward(self, tokens: Tokens) -> Tokens:
        """Apply multi-head attention."""
        split = "n t (head c) -> n head t c"
        query = rearrange(self.query(tokens), split, head=self.heads)
        key, value = (
            rearrange(part, split, head=self.heads)
            for part in self.key_value(tokens).chunk(2, dim=-1)
        )
        # The mask is added to scores that are already scaled by this factor.
        scores = self._by_distance(query) * query.shape[-1] ** -0.5
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=scores)
        return self.linear(rearrange(attended, "n head t c -> n t (head c)"))

    def _by_distance(
        self, query: Float[Tensor, "batch head token channel"]
    ) -> Float[Tensor, "batch head token other_token"]:
        """Return the product of each query with the vector of its distance to each token."""
        count = query.shape[2]
        reach = min(self.reach, count - 1)
        # Only the distances that occur in this sequence.
        vectors = self.distance.weight[self.reach - reach : self.reach + reach + 1]
        products = query @ vectors.T
        place = torch.arange(count, device=query.device)
        # Row of each distance in `vectors`.
        distance = (place[:, None] - place).clamp(-reach, reach) + reach
        return products.gather(-1, distance.expand(*query.shape[:2], -1, -1))


class FeedForward(nn.Sequential):
    """Norm, expansion to four times the channels, SiLU, reduction."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * channels, channels),
            nn.Dropout(dropout),
        )


class Convolution(nn.Module):
    """Norm, gated linear layer, depthwise convolution over neighbouring tokens, linear layer."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Conv1d(channels, 2 * inner, 1)
        self.depthwise = nn.Conv1d(inner, inner, kernel_size, padding="same", groups=inner)
        self.inner_norm = nn.BatchNorm1d(inner)
        self.reduce = nn.Conv1d(inner, channels, 1)

    def forward(self, tokens: Tokens) -> Tokens:
        """Apply norm, gate and convolution, centred on each token."""
        inner = rearrange(self.norm(tokens), "n t c -> n c t")
        inner = self.depthwise(functional.glu(self.expand(inner), dim=1))
        inner = self.reduce(functional.silu(self.inner_norm(inner)))
        return rearrange(inner, "n c t -> n t c")


class Conformer(nn.Module):
    """Half a feed-forward layer, attention, convolution, half a feed-forward layer, norm."""

    def __init__(self, channels: int, heads: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.first = FeedForward(channels, dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = RelativeAttention(channels, heads)
        self.dropout = nn.Dropout(dropout)
        self.convolution = Convolution(channels, kernel_size)
        self.second = FeedForward(channels, dropout)
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tokens, state: State) -> tuple[Tokens, State]:
        """Run all parts, each with a residual connection, and one around the whole; there is no state."""
        # Half steps before and after, as in the conformer.
        inner = tokens + 0.5 * self.first(tokens)
        inner = inner + self.dropout(self.attention(self.attention_norm(inner)))
        inner = inner + self.convolution(inner)
        inner = inner + 0.5 * self.second(inner)
        return tokens + self.norm(inner), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the empty state."""
        return {}


class BinPReLU(nn.PReLU):
    """PReLU with a learned negative slope for each bin."""

    def forward(
        self, bins: Float[Tensor, "batch frames freq"]
    ) -> Float[Tensor, "batch frames freq"]:
        """Apply the slope of each bin."""
        return super().forward(bins.mT).mT  # the slopes belong to the second axis


class ResidualDecoder(nn.Module):
    """A dense block, upsampling to twice the bins, a real and an imaginary part per bin."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.dense = channel_normed(channels, depth)
        self.up = SubPixelConv(channels)
        self.norm = ChannelNorm(channels, "utterance")
        self.activation = nn.PReLU(channels)
        # `up` gives one bin more than the spectrum has; the kernel of 2 removes it.
        self.last = nn.Conv2d(channels, 2, (1, 2))

    def forward(self, bands: Bands, state: State) -> Float[Tensor, "batch 2 frames freq"]:
        """Return what is added to the masked spectrum."""
        inner, _ = self.dense(bands, state)
        bins, _ = self.norm(self.up(inner, {})[0], {})
        return self.last(self.activation(bins)).float()


class CMGAN(Network):
    """Encoder, blocks, a mask and a residual; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [compressed_complex]); an odd number of bins.
        outputs: the same (target: compressed_complex).
        channels: channels of all layers.
        blocks: pairs of conformers.
        heads: attention heads.
        depth: convolutions in a dense block.
        kernel_size: tokens that a convolution of a conformer covers; an odd number.
        dropout: dropout of the conformers in training.
    """

    causal = False
    paper = (
        "Cao, Abdulatif, Yang: CMGAN: conformer-based metric GAN for speech enhancement. Interspeech 2022, "
        "arXiv:2203.15149"
    )
    published_in = "table of MP-SENet's authors"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 64,
        blocks: int = 4,
        heads: int = 4,
        depth: int = 4,
        kernel_size: int = 31,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.freq = outputs // 2
        if inputs != outputs or self.freq % 2 != 1 or channels % heads or kernel_size % 2 != 1:
            raise RasedError(
                f"CMGAN maps a compressed complex spectrum with an odd number of bins to another, but got {inputs} "
                f"inputs and {outputs} outputs: choose features: {{kinds: [compressed_complex]}}, no context, target: "
                f"compressed_complex, an n_fft that 4 divides, heads that divide the {channels} channels and an odd "
                "kernel_size."
            )
        dense = channel_normed(channels, depth)
        self.encoder = DenseEncoder(3, channels, dense, around=1, scope="utterance")
        conformer = partial(Conformer, channels, heads, kernel_size, dropout)
        self.blocks = Stack(DualPath(conformer(), conformer()) for _ in range(blocks))
        self.mask = MaskDecoder(
            channels,
            channel_normed(channels, depth),
            SubPixelConv(channels),
            width=2,
            # This slope is the authors': it makes negative numbers positive gains.
            gain=BinPReLU(self.freq, init=-0.25),
            scope="utterance",
        )
        self.residual = ResidualDecoder(channels, depth)
        start_near(self.mask.last, [1.0])
        start_near(self.residual.last, [0.0, 0.0])
        paper_sizes = (self.freq, channels, blocks, depth, kernel_size) == (201, 64, 4, 4, 31)
        self.published_parameters = 1_830_000 if paper_sizes else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the compressed spectrum; the state does not change."""
        parts = parted(state)
        noisy = rearrange(frames.float(), "n t (part f) -> n part t f", part=2)
        # The floor is far below any sound; a root has no finite gradient at 0.
        magnitude = noisy.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        bands, _ = self.encoder(torch.cat([magnitude, noisy], dim=1), parts["encoder"])
        bands, _ = self.blocks(bands, {})
        mask, _ = self.mask(bands, parts["mask"])
        enhanced = mask[:, None] * noisy + self.residual(bands, parts["residual"])
        return rearrange(enhanced, "n part t f -> n t (part f)"), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence before the convolutions."""
        bands = self.encoder.size(self.freq)
        return joined(
            {
                "encoder": self.encoder.initial_state(batch, self.freq, like),
                "mask": self.mask.initial_state(batch, bands, like),
                "residual": self.residual.dense.initial_state(batch, bands, like),
            }
        )
