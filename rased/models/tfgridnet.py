"""TF-GridNet: LSTMs across bins and along frames, attention between whole frames, a mapped spectrum; not causal.

Paper: Wang, Cornell, Choi, Lee, Kim and Watanabe, "TF-GridNet: integrating full- and sub-band modeling for speech
separation", IEEE/ACM TASLP 31, 2023, doi:10.1109/TASLP.2023.3304482, arXiv:2211.12433.
Differences: follows ESPnet's TFGridNetV2 by the same authors (espnet2/enh/separator/tfgridnetv2_separator.py) for one
microphone and one source; tests compare the spectra. If its windows of neighbours do not overlap (window = hop),
ESPnet's last layer has a bias for each neighbour, ours one for each channel. The waveform is divided by its standard
deviation.
Parameters: 14.5 M at the paper's size with its 129 bins (14.4 M in the table of TF-MossFormer,
doi:10.21437/Interspeech.2026-218), 14.7 M with the 257 of tf-gridnet, 26 K in tf-gridnet-small; MACs: 472 and 0.11 G/s
for files of 1 to 3 s, more for longer ones, because attention covers all frames.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.network import Network
from rased.layers.norm import FrameNorm
from rased.layers.recurrent import recur
from rased.signal.state import State

Bins = Float[Tensor, "batch channel frames freq"]


class NeighbourLSTM(nn.Module):
    """Bidirectional LSTM over windows of neighbouring tokens, mapped back to tokens, with a residual connection.

    Args:
        channels: channels of a token.
        hidden: hidden size in each direction.
        window: tokens in a window.
        hop: tokens between windows.
    """

    def __init__(self, channels: int, hidden: int, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.norm = nn.LayerNorm(channels)
        self.recurrent = nn.LSTM(channels * window, hidden, batch_first=True, bidirectional=True)
        # Transposed, so that a token gets the sum over all windows that it is in.
        self.back = nn.ConvTranspose1d(2 * hidden, channels, window, stride=hop)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch token channel"]:
        """Run the layer; the tokens must fill whole windows."""
        # Windows on the second axis, their tokens on the last.
        windows = self.norm(tokens).unfold(1, self.window, self.hop)
        remembered, _ = recur(self.recurrent, rearrange(windows, "n t c i -> n t (c i)"), {})
        back = self.back(rearrange(remembered, "n t h -> n h t"))
        return tokens + rearrange(back, "n c t -> n t c")


class HeadNorm(nn.Module):
    """1x1 convolution, PReLU and norm of each frame, with separate slope and statistics for each head."""

    def __init__(self, channels: int, outputs: int, heads: int, freq: int) -> None:
        super().__init__()
        self.heads = heads
        self.conv = nn.Conv2d(channels, outputs, 1)
        self.activation = nn.PReLU(heads)
        self.weight = nn.Parameter(torch.ones(outputs, 1, freq))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, freq))

    def forward(self, bins: Bins) -> Float[Tensor, "batch head frames feature"]:
        """Return the features of each frame for each head."""
        parts = rearrange(self.conv(bins), "n (head c) t f -> n head c t f", head=self.heads)
        parts = self.activation(parts).float()
        # Over channels and bins, separately for each head.
        variance, mean = torch.var_mean(parts, dim=(2, 4), correction=0, keepdim=True)
        normal = (parts - mean) * (variance + 1e-5).rsqrt()
        weight, bias = (
            rearrange(part, "(head c) 1 f -> head c 1 f", head=self.heads)
            for part in (self.weight, self.bias)
        )
        return rearrange(normal * weight + bias, "n head c t f -> n head t (c f)")


class FrameAttention(nn.Module):
    """Self-attention between whole frames, with a residual connection.

    Args:
        channels: channels of the bins.
        heads: attention heads, which share the channels.
        query_channels: channels of queries and keys in a head.
        freq: number of bins.
    """

    def __init__(self, channels: int, heads: int, query_channels: int, freq: int) -> None:
        super().__init__()
        self.query = HeadNorm(channels, heads * query_channels, heads, freq)
        self.key = HeadNorm(channels, heads * query_channels, heads, freq)
        self.value = HeadNorm(channels, channels, heads, freq)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.activation = nn.PReLU()
        self.norm = FrameNorm(channels, freq)

    def forward(self, bins: Bins) -> Bins:
        """Attend in all heads, and mix them."""
        attended = functional.scaled_dot_product_attention(
            self.query(bins), self.key(bins), self.value(bins)
        )
        heads = rearrange(attended, "n head t (c f) -> n (head c) t f", f=bins.shape[-1])
        return bins + self.norm(self.activation(self.mix(heads)))


class Block(nn.Module):
    """LSTM across the bins of a frame, LSTM along the frames of a bin, attention between frames."""

    def __init__(
        self, channels: int, hidden: int, window: int, hop: int, attention: FrameAttention
    ) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.across = NeighbourLSTM(channels, hidden, window, hop)
        self.along = NeighbourLSTM(channels, hidden, window, hop)
        self.attention = attention

    def forward(self, bins: Bins) -> Bins:
        """Run the block on bins and frames padded with zeros, so that whole windows cover all of them."""
        batch, _, frames, freq = bins.shape
        # With this many zeros around, the outermost tokens are in as many windows as all others.
        margin = self.window - self.hop
        # `pad` begins with the last axis
        padded = functional.pad(bins, (*self._around(freq), *self._around(frames)))
        tokens = self.across(rearrange(padded, "n c t f -> (n t) f c"))
        tokens = self.along(rearrange(tokens, "(n t) f c -> (n f) t c", n=batch))
        whole = rearrange(tokens, "(n f) t c -> n c t f", n=batch)
        return self.attention(whole[..., margin : margin + frames, margin : margin + freq])

    def _around(self, size: int) -> tuple[int, int]:
        """Return the number of zeros before and after."""
        margin = self.window - self.hop
        # Windows needed to cover all.
        hops = math.ceil((size + 2 * margin - self.window) / self.hop)
        return margin, hops * self.hop + self.window - size - margin


class TFGridNet(Network):
    """Convolution, blocks, convolution; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]).
        outputs: the same (target: complex).
        channels: channels of each bin.
        hidden: hidden size of the LSTMs in each direction.
        blocks: blocks of two LSTMs and attention.
        heads: attention heads.
        query_size: size of a frame's query and key in a head, rounded up to whole channels.
        window: neighbouring bins or frames that an LSTM sees at a time.
        hop: bins or frames between windows; a larger hop is cheaper.
    """

    causal = False
    paper = (
        "Wang, Cornell, Choi, Lee, Kim, Watanabe: TF-GridNet: integrating full- and sub-band modeling for speech "
        "separation. IEEE/ACM TASLP 31, 2023, doi:10.1109/TASLP.2023.3304482"
    )
    published_in = "table of TF-MossFormer"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 64,
        hidden: int = 256,
        blocks: int = 6,
        heads: int = 4,
        query_size: int = 512,
        window: int = 4,
        hop: int = 1,
    ) -> None:
        super().__init__()
        if inputs != outputs or outputs % 2:
            raise RasedError(
                f"TF-GridNet maps a complex spectrum to another, but got {inputs} inputs and {outputs} outputs: choose "
                "features: {kinds: [complex]}, no context, and target: complex."
            )
        if channels % heads or not 1 <= hop <= window:
            raise RasedError(
                f"TF-GridNet: {heads} heads must divide the {channels} channels, and hop {hop} must be between 1 and "
                f"the window of {window}."
            )
        freq = outputs // 2
        self.first = nn.Conv2d(2, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)
        # A frame has about `query_size` numbers in a query, for any number of bins.
        query_channels = math.ceil(query_size / freq)
        self.blocks = nn.ModuleList(
            Block(
                channels,
                hidden,
                window,
                hop,
                FrameAttention(channels, heads, query_channels, freq),
            )
            for _ in range(blocks)
        )
        self.last = nn.ConvTranspose2d(channels, 2, 3, padding=1)
        paper_sizes = (freq, channels, hidden, blocks, window) == (129, 64, 256, 6, 4)
        self.published_parameters = 14_400_000 if paper_sizes else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the spectrum; the state does not change."""
        bins = self.norm(self.first(rearrange(frames, "n t (part f) -> n part t f", part=2)))
        for block in self.blocks:
            bins = block(bins)
        return rearrange(self.last(bins), "n part t f -> n t (part f)"), state
