"""DPCRN: a convolutional encoder over frequency, dual-path LSTMs, a decoder to a complex mask; causal.

Paper: Le, Chen, Chen and Lu, "DPCRN: dual-path convolution recurrent network for single channel speech enhancement",
Interspeech 2021, doi:10.21437/Interspeech.2021-296.
Differences: follows the authors' code (GitHub Le-Xiaohuai-speech/DPCRN_DNS3, in TensorFlow), except for the gates of
the LSTMs: Keras used hard sigmoids there; ours are sigmoids, which cuDNN supports. Tests compare with their code run
with sigmoids. Their files begin with the first complete window; a stream here begins in silence. A new mask is close
to 1.
Parameters: 0.81 M at the authors' sizes (published 0.8 M), including the second biases of the LSTMs, which Keras does
not have; MACs: 3.0 G/s at 80 frames a second.
"""

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.dual_path import FrameNormedPath
from rased.layers.network import Network, start_near
from rased.layers.stack import Stack
from rased.layers.unet import DownConv, UpConv
from rased.signal.state import State, joined, parted

_SHAPES = [(5, 2, (0, 2)), (3, 2, (0, 1)), (3, 1, (1, 1)), (3, 1, (1, 1)), (3, 1, (1, 1))]
"""Kernel bins, stride, and zero bins below and above, for each encoder layer; the decoder crops the same number."""
EPSILON = 1e-3
"""Epsilon of Keras' norms."""


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, PReLU."""

    def __init__(self, conv: DownConv | UpConv, *, last: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.after = nn.Sequential()
        if not last:
            outputs = conv.out_channels
            self.after = nn.Sequential(
                # Keras starts a PReLU as a ReLU.
                nn.BatchNorm2d(outputs, eps=EPSILON),
                nn.PReLU(outputs, init=0.0),
            )

    def forward(
        self, bins: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames other_freq"], State]:
        """Process frames, continuing from `state`."""
        bins, state = self.conv(bins, state)
        return self.after(bins), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return self.conv.initial_state(batch, freq, like)


class UpBlock(ConvBlock):
    """The same on the skip connection and the output of the previous layer."""

    def forward(  # type: ignore[override]
        self,
        bins: Float[Tensor, "batch channel frames freq"],
        skip: Float[Tensor, "batch channel frames freq"],
        state: State,
    ) -> tuple[Float[Tensor, "batch outputs frames other_freq"], State]:
        """Process frames, continuing from `state`."""
        return super().forward(torch.cat([skip, bins], dim=1), state)


class DPCRN(Network):
    """Encoder, LSTMs across bands and along frames, decoder; causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]); 4 n + 1 bins.
        outputs: the same (target: complex_mask).
        channels: channels of the encoder's five layers, of which the first two halve the bins.
        blocks: number of pairs of LSTMs, one across the bands and one along the frames.
    """

    paper = (
        "Le, Chen, Chen, Lu: DPCRN: dual-path convolution recurrent network for single channel speech "
        "enhancement. Interspeech 2021, doi:10.21437/Interspeech.2021-296"
    )
    published_in = "paper"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: tuple[int, int, int, int, int] = (32, 32, 32, 64, 128),
        blocks: int = 2,
    ) -> None:
        super().__init__()
        freq = outputs // 2
        if inputs != outputs or outputs % 2 or freq % 4 != 1 or freq < 5:
            raise RasedError(
                f"DPCRN maps a complex spectrum with 4 n + 1 bins to a complex mask, but gets {inputs} inputs for "
                f"{outputs} outputs: use features: {{kinds: [complex]}}, no context, target: complex_mask, and an "
                "n_fft divisible by 8."
            )
        if len(channels) != len(_SHAPES):
            raise RasedError(f"DPCRN has {len(_SHAPES)} layers, but channels are {list(channels)}.")
        self.norm = nn.LayerNorm((freq, 2), eps=EPSILON)
        downs = [
            DownConv(*pair, (2, bins), stride=stride, padding=around)
            for pair, (bins, stride, around) in zip(pairwise((2, *channels)), _SHAPES, strict=True)
        ]
        self.sizes = [freq]
        for conv in downs:
            self.sizes.append(conv.size(self.sizes[-1]))
        self.down = Stack(ConvBlock(conv) for conv in downs)
        wide, bands = channels[-1], self.sizes[-1]
        self.dual_path = Stack(
            FrameNormedPath(
                wide,
                wide // 2 if across else wide,
                bands,
                across=across,
                bidirectional=across,
                epsilon=EPSILON,
            )
            for _ in range(blocks)
            for across in (True, False)
        )
        ups = [
            UpConv(2 * inside, outside, (2, bins), stride=stride, crop=around)
            for (inside, outside), (bins, stride, around) in zip(
                pairwise((*channels[::-1], 2)), reversed(_SHAPES), strict=True
            )
        ]
        self.up = Stack(UpBlock(conv, last=conv is ups[-1]) for conv in ups)
        start_near(ups[-1], [1.0, 0.0])  # real and imaginary part
        paper_sizes = (freq, tuple(channels), blocks) == (201, (32, 32, 32, 64, 128), 2)
        self.published_parameters = 800_000 if paper_sizes else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        parts, after = parted(state), {}
        # Keras has the parts last, and normalises over bins and parts of a frame.
        normal = self.norm(rearrange(frames, "n t (part f) -> n t f part", part=2))
        bins = rearrange(normal, "n t f part -> n part t f")
        skips, after["down"] = self.down.encode(bins, parts["down"])
        bands = rearrange(skips[-1], "n c t b -> b n t c")
        bands, after["dual_path"] = self.dual_path(bands, parts["dual_path"])
        bins = rearrange(bands, "b n t c -> n c t b")
        bins, after["up"] = self.up.decode(bins, skips, parts["up"])
        return rearrange(bins, "n part t f -> n t (part f)"), joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return joined(
            {
                "down": self.down.initial_states(batch, self.sizes[:-1], like),
                "dual_path": self.dual_path.initial_state(batch, self.sizes[-1], like),
                "up": self.up.initial_states(batch, self.sizes[:0:-1], like),
            }
        )
