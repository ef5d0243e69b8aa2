"""SepFormer: a learned filterbank, a mask from transformers within and across overlapping segments, and back.

Paper: Subakan, Ravanelli, Cornell, Bronzi and Zhong, "Attention is all you need in speech separation", ICASSP 2021,
doi:10.1109/ICASSP39728.2021.9413901, arXiv:2010.13154.
Differences: follows the authors' code (GitHub speechbrain/speechbrain) in their recipes for enhancement: one
source, so
that separation becomes enhancement. The last samples, which theirs drops if they do not fill a frame, are enhanced as
well. Not causal.
Parameters: 25.61 M for one source, 25.68 M for two, as in the authors' code (published: 26 M).
MACs: 112 G/s for recordings of seconds, more for longer ones: attention covers all segments.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.attention import SelfAttention
from rased.layers.bands import JointNorm
from rased.layers.norm import GlobalLayerNorm
from rased.layers.segments import overlap_added, segmented
from rased.models.base import Condition, Enhancer, Generators, Prediction
from rased.signal.domains import Waveform

_PUBLISHED = {1: 25_613_569, 2: 25_679_361}
"""Sources -> parameters of the authors' code at the paper's sizes."""
_EPSILON = 1e-6


class Layer(nn.Module):
    """Attention and two linear layers, each with a norm before it and a residual connection."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels, eps=_EPSILON)
        self.attention = SelfAttention(channels, heads)
        self.linear_norm = nn.LayerNorm(channels, eps=_EPSILON)
        self.linear = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, channels)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch token channel"]:
        """Attend over the whole sequence."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        return tokens + self.dropout(self.linear(self.linear_norm(tokens)))


class Path(nn.Module):
    """A transformer over one of the two sequences, normalised, with a residual connection.

    Args:
        channels: channels of a token.
        heads: attention heads.
        hidden: hidden size between the linear layers.
        layers: number of layers.
        across: run over the segments, instead of the frames in each.
        dropout: dropout in training.
    """

    def __init__(
        self, channels: int, heads: int, hidden: int, layers: int, *, across: bool, dropout: float
    ) -> None:
        super().__init__()
        self.across = across
        self.layers = nn.Sequential(
            *(Layer(channels, heads, hidden, dropout) for _ in range(layers)),
            nn.LayerNorm(channels, eps=_EPSILON),
        )
        self.norm = JointNorm(channels, "utterance")

    def forward(
        self, segments: Float[Tensor, "size batch many channel"]
    ) -> Float[Tensor, "size batch many channel"]:
        """Add sinusoidal positions, and run the transformer."""
        size, batch = segments.shape[:2]
        folded = "(s n) many c" if self.across else "(n many) s c"  # s frames of a segment, n batch
        tokens = rearrange(segments, f"s n many c -> {folded}")
        heard = self.layers(tokens + _places(tokens))
        unfolded = rearrange(heard, f"{folded} -> s n many c", s=size, n=batch)
        return segments + self.norm(unfolded, {})[0]


def _places(tokens: Float[Tensor, "batch token channel"]) -> Float[Tensor, "token channel"]:
    """Return sinusoidal positions: sines and cosines in turn, with rates from 1 to 1 / 10000."""
    count, channels = tokens.shape[-2:]
    place = torch.arange(count, device=tokens.device).float()[:, None]
    index = torch.arange(0, channels, 2, device=tokens.device)
    phase = place * torch.exp(index * (-math.log(10_000.0) / channels))
    return torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(1)


class SepFormer(Enhancer):
    """Encoder, transformers over segments of frames, mask, decoder; the first source is the estimate.

    Args:
        channels: filters of encoder and decoder, and channels of a token; divisible by `heads`.
        filter_length: length of the filters in samples, even; the hop is half of it.
        segment: frames in a segment, even; segments overlap by half.
        blocks: pairs of transformers, within and across segments.
        layers: layers of each transformer.
        heads: attention heads.
        hidden: hidden size between the linear layers.
        dropout: dropout in training.
        sources: number of separated sources; the estimate is the first one.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Subakan, Ravanelli, Cornell, Bronzi, Zhong: Attention is all you need in speech separation. ICASSP 2021, "
        "doi:10.1109/ICASSP39728.2021.9413901"
    )
    published_in = "authors' code"

    def __init__(
        self,
        *,
        channels: int = 256,
        filter_length: int = 16,
        segment: int = 250,
        blocks: int = 2,
        layers: int = 8,
        heads: int = 8,
        hidden: int = 1024,
        dropout: float = 0.0,
        sources: int = 1,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if filter_length % 2 or segment % 2 or min(filter_length, segment) < 2:
            raise RasedError(
                f"SepFormer: filter_length is {filter_length} and segment {segment}; both must be even, 2 or more."
            )
        if min(channels, blocks, layers, heads, hidden, sources) < 1 or channels % (2 * heads):
            raise RasedError(
                f"SepFormer: blocks {blocks}, layers {layers}, heads {heads}, hidden {hidden} and sources {sources} "
                f"must be at least 1, and channels {channels} an even multiple of heads."
            )
        sizes = (channels, filter_length, blocks, layers, hidden)
        if sizes == (256, 16, 2, 8, 1024):
            self.published_parameters = _PUBLISHED.get(sources)
        self.sample_rate, self.hop, self.segment = sample_rate, filter_length // 2, segment
        self.sources = sources
        self.encoder = nn.Conv1d(1, channels, filter_length, self.hop, bias=False)
        self.norm = GlobalLayerNorm(channels)
        self.bottleneck = nn.Conv1d(channels, channels, 1, bias=False)
        self.paths = nn.Sequential(
            *(
                Path(channels, heads, hidden, layers, across=across, dropout=dropout)
                for _ in range(blocks)
                for across in (False, True)
            )
        )
        self.joined = nn.Sequential(nn.PReLU(), nn.Linear(channels, sources * channels))
        self.output = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Tanh())
        self.gate = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Sigmoid())
        self.mask = nn.Sequential(nn.Conv1d(channels, channels, 1, bias=False), nn.ReLU())
        self.decoder = nn.ConvTranspose1d(channels, 1, filter_length, self.hop, bias=False)

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Return the first source."""
        return Prediction(estimate=self.separate(noisy)[:, 0])

    def separate(self, noisy: Float[Tensor, "batch time"]) -> Float[Tensor, "batch source time"]:
        """Return all sources; the input is padded with silence at the end."""
        batch, time = noisy.shape
        # Whole frames, one at least.
        hops = -(-max(0, time - 2 * self.hop) // self.hop) + 2
        padded = functional.pad(noisy, (0, hops * self.hop - time))
        encoded = self.encoder(padded[:, None]).relu()
        masks = rearrange(self._masks(encoded), "(n source) c t -> n source c t", n=batch)
        masked = rearrange(masks * encoded[:, None], "n source c t -> (n source) c t")
        decoded = self.decoder(masked)[:, 0, :time]
        return rearrange(decoded, "(n source) time -> n source time", n=batch)

    def _masks(
        self, encoded: Float[Tensor, "batch channel frames"]
    ) -> Float[Tensor, "batch_source channel frames"]:
        """Return a mask for every frame and source."""
        count, half = encoded.shape[-1], self.segment // 2
        # Half a segment of silence before and at least as much after: every frame is in two segments.
        behind = self.segment - (half + count) % self.segment + half
        frames = self.bottleneck(self.norm(encoded, {})[0])
        segments = segmented(functional.pad(frames, (half, behind)), self.segment)
        joined = rearrange(
            self.joined(self.paths(segments)),
            "size n many (source c) -> size (n source) many c",
            source=self.sources,
        )
        before = frames.new_zeros(joined.shape[1], frames.shape[1], half)
        added = overlap_added(joined, before)[0][..., half : half + count]
        return self.mask(self.output(added) * self.gate(added))
