"""DCUNet: a complex U-net over bins and frames, whose mask has a magnitude below 1; not causal.

Paper: Choi, Kim, Huh, Kim, Ha and Lee, "Phase-aware speech enhancement with deep complex U-Net", ICLR 2019,
arXiv:1903.03107. The authors published no code.
Differences: follows Asteroid's DCUNet (asteroid/models/dcunet.py; dcunet is its DCUNet-20); tests compare the mask.
Real and imaginary parts have separate norms, and tanh bounds the mask. Zeros are appended until the strides divide the
number of frames. The paper trains with a weighted SDR of speech and noise.
Parameters: 3,527,850 for 20 layers, as Asteroid's DCUNet-20 has; 65 K in dcunet-small; MACs: 16.1 and 0.052 G/s.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.complex import ComplexMap, beside
from rased.layers.network import Network
from rased.signal.state import State

Pair = tuple[int, int]
Bins = Float[Tensor, "batch channel frames freq"]


class ConvBlock(nn.Sequential):
    """Complex convolution down or up, batch normalisation of each part, leaky ReLU."""

    def __init__(
        self, channels: int, outputs: int, kernel: Pair, stride: Pair, *, up: bool
    ) -> None:
        super().__init__(
            ComplexMap(_layer(channels, outputs, kernel, stride, up=up)),
            nn.BatchNorm2d(2 * outputs),
            nn.LeakyReLU(),
        )


class DCUNet(Network):
    """Encoder, decoder with skip connections, bounded mask; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]).
        outputs: the same (target: complex_mask).
        channels: complex channels of each layer of the encoder.
        kernels: frames and bins of each kernel; odd numbers.
        strides: frames and bins between outputs.
    """

    causal = False
    paper = (
        "Choi, Kim, Huh, Kim, Ha, Lee: Phase-aware speech enhancement with deep complex U-Net. ICLR 2019, "
        "arXiv:1903.03107"
    )
    published_in = "Asteroid"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: Sequence[int] = (32, 32, 64, 64, 64, 64, 64, 64, 64, 90),
        kernels: Sequence[Pair] = ((1, 7), (7, 1), (5, 7), (5, 7), *[(3, 5)] * 6),
        strides: Sequence[Pair] = ((1, 1), (1, 1), *[(2, 2), (1, 2)] * 4),
    ) -> None:
        super().__init__()
        freq = outputs // 2
        self.frames = math.prod(stride for stride, _ in strides)
        bins = math.prod(stride for _, stride in strides)
        if inputs != outputs or outputs % 2 or (freq - 1) % bins:
            raise RasedError(
                f"DCUNet maps a complex spectrum with {bins} n + 1 bins to a complex mask, but got {inputs} inputs "
                f"and {outputs} outputs: choose features: {{kinds: [complex]}}, no context, target: complex_mask, "
                f"and an n_fft that {2 * bins} divides."
            )
        if not len(channels) == len(kernels) == len(strides):
            raise RasedError(
                f"DCUNet has {len(channels)} channels, {len(kernels)} kernels and {len(strides)} strides: give "
                "equally many of each."
            )
        if any(size % 2 == 0 for kernel in kernels for size in kernel):
            raise RasedError(f"DCUNet: kernel sizes must be odd, but they are {list(kernels)}.")
        layers = list(zip(pairwise((1, *channels)), kernels, strides, strict=True))
        self.down = nn.ModuleList(
            ConvBlock(inside, outside, kernel, stride, up=False)
            for (inside, outside), kernel, stride in layers
        )
        self.up = nn.ModuleList(
            # The innermost has no skip connection.
            ConvBlock((1 if i == 0 else 2) * outside, inside, kernel, stride, up=True)
            for i, ((inside, outside), kernel, stride) in enumerate(layers[:0:-1])
        )
        (_, first), kernel, stride = layers[0]
        skip = 2 if len(layers) > 1 else 1
        self.last = ComplexMap(_layer(skip * first, 1, kernel, stride, up=True, bias=True))
        paper_sizes = (freq, tuple(channels)) == (513, (32, 32, *[64] * 7, 90))
        self.published_parameters = 3_527_850 if paper_sizes else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the mask; there is no state."""
        count = frames.shape[1]
        # For n * self.frames + 1 frames, each layer up gives exactly the frames of its skip connection.
        padded = functional.pad(frames, (0, 0, 0, (1 - count) % self.frames))
        bins, skips = rearrange(padded, "n t (part f) -> n part t f", part=2), []
        for block in self.down:
            bins = block(bins)
            skips.append(bins)
        skips.pop()  # the innermost output is the input of the decoder
        for block in self.up:
            bins = beside(block(bins), skips.pop())
        mask = self.last(bins).float()[:, :, :count]
        # The floor keeps the gradient finite where the mask is 0.
        length = mask.square().sum(1, keepdim=True).clamp_min(1e-16).sqrt()
        bounded = mask * (length.tanh() / length)
        return rearrange(bounded, "n part t f -> n t (part f)"), state


def _layer(
    channels: int, outputs: int, kernel: Pair, stride: Pair, *, up: bool, bias: bool = False
) -> Callable[[], nn.Module]:
    """Make one of the two real layers."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    kind = nn.ConvTranspose2d if up else nn.Conv2d
    return partial(kind, channels, outputs, kernel, stride, padding, bias=bias)
