"""DPT-FSNet: transformers along frames and across bins between dense blocks, a complex mask; not causal.

Paper: Dang, Chen and Zhang, "DPT-FSNet: dual-path transformer based full-band and sub-band fusion network for speech
enhancement", ICASSP 2022, arXiv:2104.13002.
Differences: follows the authors' code (GitHub dangf15/DPT-FSNet) with its complex mask; tests compare the spectra. The
mask of the lowest bin is 0. Their transform is a convolution with whole windows; ours starts from silence.
Parameters: 0.88 M at the paper's size (0.88 M in the table of MP-SENet's authors), 4.3 K in dpt-fsnet-small; MACs: 15.9
and 0.10 G/s for files of 1 to 3 s, more for longer ones, because attention covers all frames.
"""

from functools import partial

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.attention import SelfAttention
from rased.layers.dense import BinNorm, ConvBlock, DilatedDense
from rased.layers.network import Network, start_near
from rased.layers.recurrent import recur
from rased.layers.unet import DownConv
from rased.signal.state import State, joined, parted

Tokens = Float[Tensor, "batch token channel"]
Bins = Float[Tensor, "batch channel frames freq"]


class Transformer(nn.Module):
    """Attention, a bidirectional GRU and a linear layer, with residual connections and norms after them."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(channels, heads)
        self.attention_norm = nn.LayerNorm(channels)
        self.recurrent = nn.GRU(channels, 2 * channels, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(4 * channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tokens) -> Tokens:
        """Attend and map, with norms after each part."""
        tokens = self.attention_norm(tokens + self.attention(tokens))
        remembered, _ = recur(self.recurrent, tokens, {})
        return self.norm(tokens + self.linear(functional.relu(remembered)))


class Block(nn.Module):
    """Transformers along the frames of each bin and across the bins of each frame, with norms of the utterance."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.along = Transformer(channels, heads)
        self.across = Transformer(channels, heads)
        # One group: over channels, frames and bins.
        self.along_norm = nn.GroupNorm(1, channels, eps=1e-8)
        self.across_norm = nn.GroupNorm(1, channels, eps=1e-8)

    def forward(self, bins: Bins) -> Bins:
        """Run both parts, each with a residual connection."""
        batch, _, frames, _ = bins.shape
        along = self.along(rearrange(bins, "n c t f -> (n f) t c"))
        bins = bins + self.along_norm(rearrange(along, "(n f) t c -> n c t f", n=batch))
        across = self.across(rearrange(bins, "n c t f -> (n t) f c"))
        return bins + self.across_norm(rearrange(across, "(n t) f c -> n c t f", t=frames))


class DPTFSNet(Network):
    """Dense block, blocks, gate, dense block, mask; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]).
        outputs: the same (target: complex_mask).
        channels: channels of the dense blocks; the transformers have half of them.
        blocks: pairs of transformers.
        heads: attention heads.
        depth: convolutions in a dense block.
    """

    causal = False
    paper = (
        "Dang, Chen, Zhang: DPT-FSNet: dual-path transformer based full-band and sub-band fusion network for speech "
        "enhancement. ICASSP 2022, arXiv:2104.13002"
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
    ) -> None:
        super().__init__()
        self.freq = outputs // 2 - 1
        half = channels // 2
        if inputs != outputs or outputs % 2 or self.freq < 2 or channels % 2 or half % heads:
            raise RasedError(
                f"DPT-FSNet maps a complex spectrum to a complex mask, but got {inputs} inputs and {outputs} outputs: "
                "choose features: {kinds: [complex]}, no context, target: complex_mask, and heads that divide half of "
                f"the {channels} channels."
            )

        def dense() -> DilatedDense:
            norm = partial(BinNorm, self.freq)
            return DilatedDense(channels, depth=depth, kernel_frames=2, norm=norm)

        self.first = ConvBlock(DownConv(2, channels, (1, 1), stride=1), BinNorm(self.freq))
        self.encoder = dense()
        self.narrow = nn.Sequential(nn.Conv2d(channels, half, 1), nn.PReLU())
        self.blocks = nn.ModuleList(Block(half, heads) for _ in range(blocks))
        self.widen = nn.Sequential(nn.PReLU(), nn.Conv2d(half, channels, 1))
        self.value = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.decoder = dense()
        self.last = nn.Conv2d(channels, 2, 1)
        start_near(self.last, [1.0, 0.0])
        paper_sizes = (self.freq, channels, blocks, depth) == (256, 64, 4, 4)
        self.published_parameters = 880_000 if paper_sizes else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the mask; the state does not change."""
        parts = parted(state)
        # Without the lowest bin, as in the authors' code; its mask is 0.
        noisy = rearrange(frames, "n t (part f) -> n part t f", part=2)[..., 1:]
        bins, _ = self.encoder(self.first(noisy, {})[0], parts["encoder"])
        bins = self.narrow(bins)
        for block in self.blocks:
            bins = block(bins)
        bins = self.widen(bins)
        bins, _ = self.decoder(
            self.value(bins).tanh() * self.gate(bins).sigmoid(), parts["decoder"]
        )
        mask = functional.pad(self.last(bins), (1, 0))
        return rearrange(mask, "n part t f -> n t (part f)"), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence before the convolutions."""
        encoder = self.encoder.initial_state(batch, self.freq, like)
        decoder = self.decoder.initial_state(batch, self.freq, like)
        return joined({"encoder": encoder, "decoder": decoder})
