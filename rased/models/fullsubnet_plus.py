"""FullSubNet+: convolutions over the frames of all bins, of magnitudes and complex parts, then an LSTM for each bin.

Paper: Chen, Wang, Tuo, Wu, Kang and Meng, "FullSubNet+: channel attention FullSubNet with complex spectrograms for
speech enhancement", ICASSP 2022, doi:10.1109/ICASSP43922.2022.9747888, arXiv:2203.12188.
Differences: follows the authors' code (GitHub RookieJunChen/FullSubNet-plus) with the settings of their training, with
whose masks tests compare: centred convolutions and means of the whole utterance, so it is not causal. Their look-ahead
of two frames is `inputs: {future_frames: 2}` of the enhancer. Files shorter than the longest kernel are padded with
silence; theirs fails. They leave out half of the bins of a batch in training; here every bin is trained.
Parameters: 8,675,102 at the size of the authors, as their code has; 318 K in fullsubnet-plus-small; MACs: 29.7 and
0.05 G/s.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.conv import FrameConv1d
from rased.layers.network import Network
from rased.layers.norm import GlobalLayerNorm, MeanNorm
from rased.layers.recurrent import recur
from rased.signal.masks import expand_mask_parts
from rased.signal.state import State

_PAPER = (257, 512, 384, 15, (3, 5, 10))
"""Bins, full_hidden, sub_hidden, neighbours, kernel_sizes."""
_DILATIONS = (1, 2, 5, 9, 1, 2, 5, 9)

Frames = Float[Tensor, "batch freq frames"]


class BinAttention(nn.Module):
    """A gain for each bin, from means over the frames of three convolutions of different lengths.

    The paper calls it multi-scale time-sensitive channel attention; the bins are the channels.
    """

    def __init__(self, freq: int, kernel_sizes: Sequence[int]) -> None:
        super().__init__()
        self.longest = max(kernel_sizes)
        self.scales = nn.ModuleList(
            nn.Conv1d(freq, freq, size, groups=freq) for size in kernel_sizes
        )
        self.merge = nn.Linear(len(kernel_sizes), 1)
        self.squeeze = nn.Linear(freq, freq // 2)
        self.expand = nn.Linear(freq // 2, freq)

    def forward(self, bins: Frames) -> Frames:
        """Multiply each bin by its gain."""
        # Without padding, the kernels need as many frames as they are long.
        padded = functional.pad(bins, (0, max(0, self.longest - bins.shape[-1])))
        means = torch.stack([conv(padded).mean(-1).relu() for conv in self.scales], dim=-1)
        squeezed = self.squeeze(self.merge(means)[..., 0]).relu()
        return bins * self.expand(squeezed).sigmoid()[..., None]


class ConvBlock(nn.Module):
    """Expansion, depthwise convolution over frames and reduction, with a residual connection."""

    def __init__(self, freq: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv1d(freq, hidden, 1), nn.PReLU())
        self.expand_norm = GlobalLayerNorm(hidden)
        self.depthwise = FrameConv1d(
            hidden, hidden, 3, dilation=dilation, groups=hidden, centred=True
        )
        self.activation = nn.PReLU()
        self.depthwise_norm = GlobalLayerNorm(hidden)
        self.reduce = nn.Conv1d(hidden, freq, 1)

    def forward(self, bins: Frames) -> Frames:
        """Run the block."""
        hidden, _ = self.expand_norm(self.expand(bins), {})
        hidden, _ = self.depthwise(hidden, {})
        hidden, _ = self.depthwise_norm(self.activation(hidden), {})
        return bins + self.reduce(hidden)


class FullBand(nn.Module):
    """Attention, convolutions over the frames of all bins, and a linear layer over the bins."""

    def __init__(self, freq: int, hidden: int, kernel_sizes: Sequence[int]) -> None:
        super().__init__()
        self.norm = MeanNorm("utterance")
        self.attention = BinAttention(freq, kernel_sizes)
        self.blocks = nn.Sequential(*(ConvBlock(freq, hidden, d) for d in _DILATIONS), nn.ReLU())
        self.linear = nn.Linear(freq, freq)

    def forward(
        self, values: Float[Tensor, "batch frames freq"]
    ) -> tuple[Float[Tensor, "batch frames freq"], Float[Tensor, "batch frames freq"]]:
        """Return the weighted input and the output."""
        normal, _ = self.norm(values, {})
        attended = self.attention(rearrange(normal, "n t f -> n f t"))
        mapped = rearrange(self.blocks(attended), "n f t -> n t f")
        return rearrange(attended, "n f t -> n t f"), self.linear(mapped).relu()


class FullSubNetPlus(Network):
    """Complex spectrum to a complex mask; looks at the newest frame of its context; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]), with or without context frames.
        outputs: two for each bin (target: complex_mask).
        full_hidden: channels inside the convolutions over all bins.
        sub_hidden: hidden size of the LSTMs over the neighbours of a bin.
        layers: LSTM layers.
        neighbours: bins on each side whose magnitudes a bin is seen with.
        kernel_sizes: frames of the convolutions from which the gains of the bins are computed.

    Raises:
        RasedError: another feature or target, or sizes that do not fit together.
    """

    causal = False
    paper = (
        "Chen, Wang, Tuo, Wu, Kang, Meng: FullSubNet+: channel attention FullSubNet with complex spectrograms for "
        "speech enhancement. ICASSP 2022, doi:10.1109/ICASSP43922.2022.9747888"
    )
    published_in = "authors' code"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        full_hidden: int = 512,
        sub_hidden: int = 384,
        layers: int = 2,
        neighbours: int = 15,
        kernel_sizes: Sequence[int] = (3, 5, 10),
    ) -> None:
        super().__init__()
        freq = outputs // 2
        if outputs % 2 or inputs % outputs:
            raise RasedError(
                f"FullSubNet+ maps a complex spectrum to a complex mask, but gets {inputs} inputs for {outputs} "
                "outputs: write features: {kinds: [complex]}, target: complex_mask and no noise estimate."
            )
        smallest = min(full_hidden, sub_hidden, layers, *kernel_sizes, len(kernel_sizes))
        if smallest < 1 or not 0 <= neighbours < freq:
            raise RasedError(
                f"FullSubNet+: full_hidden {full_hidden}, sub_hidden {sub_hidden}, layers {layers} and kernel_sizes "
                f"{list(kernel_sizes)} must be at least 1, and neighbours {neighbours} at least 0 and below the {freq} "
                "bins."
            )
        self.freq, self.neighbours = freq, neighbours
        self.magnitude, self.real, self.imaginary = (
            FullBand(freq, full_hidden, kernel_sizes) for _ in range(3)
        )
        self.sub_norm = MeanNorm("utterance")
        self.sub = nn.LSTM(2 * neighbours + 4, sub_hidden, layers, batch_first=True)
        self.sub_linear = nn.Linear(sub_hidden, 2)
        sizes = (freq, full_hidden, sub_hidden, neighbours, tuple(kernel_sizes))
        if sizes == _PAPER and layers == 2:
            self.published_parameters = 8_675_102

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process all bins, then each bin with its neighbours; the state does not change."""
        real, imaginary = frames[..., -2 * self.freq :].float().chunk(2, dim=-1)
        # The floor is far below any sound; a root has no finite gradient at 0.
        magnitude = (real.square() + imaginary.square()).clamp_min(1e-30).sqrt()
        attended, of_magnitude = self.magnitude(magnitude)
        found = [of_magnitude, self.real(real)[1], self.imaginary(imaginary)[1]]
        # The outermost bins see mirrored neighbours, as in the authors' code.
        around = functional.pad(attended, (self.neighbours, self.neighbours), mode="reflect")
        seen = around.unfold(-1, 2 * self.neighbours + 1, 1)
        joined = torch.cat([seen, torch.stack(found, dim=-1)], dim=-1)
        normal, _ = self.sub_norm(joined, {})
        sequences = rearrange(normal, "n t f number -> (n f) t number")
        heard, _ = recur(self.sub, sequences, {})
        compressed = rearrange(
            self.sub_linear(heard), "(n f) t part -> n t (part f)", n=len(frames)
        )
        return expand_mask_parts(compressed), state
