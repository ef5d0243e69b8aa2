"""FRCRN: two complex U-nets with memory along frequencies and frames, one after the other; not causal.

Paper: Zhao, Ma, Ng and Ng, "FRCRN: boosting feature representation using frequency recurrence for monaural speech
enhancement", ICASSP 2022, arXiv:2206.07293.
Differences: follows the authors' code (GitHub modelscope/ClearerVoice-Studio, models/frcrn_se, "FRCRN_SE_16K"); tests
compare the mask. Layers that this code builds and never calls (memories before the first and after the last layer, the
attention of the last two layers) are left out. A new mask is close to 1.
Each layer of the decoder looks one frame ahead, and the attention over channels sees the mean of the whole utterance.
Parameters: 12.82 M; 13.14 M with the layers that are never called, as their code has. MACs: 37.5 G/s.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.complex import ComplexMap, beside, multiplied
from rased.layers.network import Network, start_near
from rased.signal.state import State

Bins = Float[Tensor, "batch channel frames freq"]


class Memory(nn.Module):
    """Feed-forward sequential memory network (Zhang et al., "Deep-FSMN", ICASSP 2018): a layer, and taps of its past.

    Args:
        size: features of each item of the sequence.
        hidden: features between its two linear layers.
        taps: items that it remembers, the current one included.
    """

    def __init__(self, size: int, hidden: int, taps: int = 20) -> None:
        super().__init__()
        self.linear = nn.Linear(size, hidden)
        self.project = nn.Linear(hidden, size, bias=False)
        self.filter = nn.Conv1d(size, size, taps, groups=size, bias=False)

    def forward(
        self, items: Float[Tensor, "batch items feature"]
    ) -> Float[Tensor, "batch items feature"]:
        """Add to each item what the layer makes of it and of the items before it."""
        now = rearrange(self.project(self.linear(items).relu()), "n item c -> n c item")
        past = self.filter(functional.pad(now, (self.filter.kernel_size[0] - 1, 0)))
        return items + rearrange(now + past, "n c item -> n item c")


class ComplexMemory(nn.Module):
    """Two memories, for the real and the imaginary part of the weights.

    Args:
        size: complex channels, of one bin if it remembers frames.
        hidden: features inside.
        along: remember the lower bins of a frame, or the earlier frames.
    """

    def __init__(
        self, size: int, hidden: int, *, along: Literal["bins", "frames"] = "bins"
    ) -> None:
        super().__init__()
        self.real, self.imaginary = Memory(size, hidden), Memory(size, hidden)
        self.order = "(part n t) f c" if along == "bins" else "(part n f) t c"

    def forward(self, bins: Bins) -> Bins:
        """Process the whole batch at once; features are the channels."""
        shape = f"n (part c) t f -> {self.order}"
        sizes = {"part": 2, "n": bins.shape[0], "t": bins.shape[2], "f": bins.shape[3]}
        items = rearrange(bins, shape, part=2)
        output = torch.cat(multiplied(self.real(items), self.imaginary(items)))
        return rearrange(output, " -> ".join(reversed(shape.split(" -> "))), **sizes)


class ChannelAttention(nn.Module):
    """Complex gains of the channels, from their means over the utterance (squeeze and excitation)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.real, self.imaginary = (
            nn.Sequential(
                nn.Linear(channels, channels // reduction),
                nn.ReLU(),
                nn.Linear(channels // reduction, channels),
                nn.Sigmoid(),
            )
            for _ in range(2)
        )

    def forward(self, bins: Bins) -> Bins:
        """Multiply real parts by the real gain, imaginary parts by the imaginary one, as the authors do."""
        means = rearrange(bins.mean((2, 3)), "n (part c) -> (part n) c", part=2)
        gains = torch.cat(multiplied(self.real(means), self.imaginary(means)))
        return bins * rearrange(gains, "(part n) c -> n (part c) 1 1", part=2)


class ConvBlock(nn.Sequential):
    """Complex convolution over two frames, batch normalisation of each part, leaky ReLU."""

    def __init__(self, channels: int, outputs: int, bins: int, *, up: bool = False) -> None:
        kind = nn.ConvTranspose2d if up else nn.Conv2d
        layer: Callable[[], nn.Module] = partial(kind, channels, outputs, (2, bins), (1, 2), (1, 0))
        super().__init__(ComplexMap(layer), nn.BatchNorm2d(2 * outputs), nn.LeakyReLU())


def kernel_of(bins: int, *, last: bool) -> int:
    """Return the bins of a kernel of the encoder; the last one takes all that are left."""
    return bins if last else 5


class UNet(nn.Module):
    """Encoder and decoder of complex convolutions, with memories and attention.

    Args:
        sizes: bins before each layer of the encoder and behind the last one, where one is left.
        channels: complex channels of all layers.
        hidden: features inside each memory.
    """

    def __init__(self, sizes: list[int], *, channels: int, hidden: int) -> None:
        super().__init__()
        count = len(sizes) - 1
        self.down = nn.ModuleList(
            ConvBlock(channels if i else 1, channels, kernel_of(sizes[i], last=i + 1 == count))
            for i in range(count)
        )
        self.up = nn.ModuleList(
            # The kernel is such that the bins of the layer down come out again.
            ConvBlock(
                2 * channels if i + 1 < count else channels,
                channels if i else 1,
                sizes[i] - 2 * (sizes[i + 1] - 1),
                up=True,
            )
            for i in reversed(range(count))
        )
        memory = partial(ComplexMemory, channels, hidden)
        self.down_memory = nn.ModuleList(memory() for _ in range(count - 1))
        self.up_memory = nn.ModuleList(memory() for _ in range(count - 1))
        self.memory = nn.Sequential(*(memory(along="frames") for _ in range(2)))
        self.down_attention = nn.ModuleList(ChannelAttention(channels) for _ in range(count - 1))
        self.up_attention = nn.ModuleList(ChannelAttention(channels) for _ in range(count - 2))
        self.up_attention.append(nn.Identity())  # the authors' has none before the last layer
        self.last = ComplexMap(partial(nn.Conv2d, 1, 1, 1))

    def forward(
        self, bins: Float[Tensor, "batch 2 frames freq"]
    ) -> Float[Tensor, "batch 2 frames freq"]:
        """Each layer down makes one frame more, each layer up one less: the frames fit their skip connections."""
        skips: list[Tensor] = []
        bins = self.down[0](bins)
        for attention, memory, block in zip(
            self.down_attention, self.down_memory, self.down[1:], strict=True
        ):
            skips.append(attention(bins))
            bins = block(memory(bins))
        bins = self.memory(bins)
        for i, block in enumerate(self.up):
            bins = block(bins)
            if skips:
                attended = self.up_attention[i](self.up_memory[i](bins))
                bins = beside(attended, skips.pop())
        return self.last(bins)


class FRCRN(Network):
    """Two U-nets; the mask is the sum of what both put out, each bounded by tanh; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]).
        outputs: the same (target: complex_mask).
        channels: complex channels of all layers.
        hidden: features inside each memory.
        layers: layers of each encoder and decoder; each halves the bins, the last one leaves one.
    """

    causal = False
    paper = (
        "Zhao, Ma, Ng, Ng: FRCRN: boosting feature representation using frequency recurrence for monaural speech "
        "enhancement. ICASSP 2022, arXiv:2206.07293"
    )

    def __init__(
        self, inputs: int, outputs: int, *, channels: int = 128, hidden: int = 128, layers: int = 7
    ) -> None:
        super().__init__()
        sizes = [outputs // 2]
        for i in range(layers):
            sizes.append((sizes[-1] - kernel_of(sizes[-1], last=i + 1 == layers)) // 2 + 1)
        if inputs != outputs or outputs % 2 or not 2 <= sizes[-2] <= 5:
            raise RasedError(
                f"FRCRN maps a complex spectrum to a complex mask, and its {layers} layers must halve the bins until 2 "
                f"to 5 are left for the last one, but got {inputs} inputs and {outputs} outputs: choose features: "
                "{kinds: [complex]}, no context, target: complex_mask, and seven layers for n_fft 640, six for 512."
            )
        if channels < 8:
            raise RasedError(f"FRCRN: channels must be 8 or more, but they are {channels}.")
        self.first = UNet(sizes, channels=channels, hidden=hidden)
        self.second = UNet(sizes, channels=channels, hidden=hidden)
        for unet, real, imaginary in ((self.first, 1.0, -1.0), (self.second, 0.0, 0.0)):
            # tanh(1 - (-1)) is close to 1, and the second part of the mask begins near 0
            start_near(unet.last.real, [real])  # type: ignore[arg-type]
            start_near(unet.last.imaginary, [imaginary])  # type: ignore[arg-type]

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the mask; there is no state."""
        first = self.first(rearrange(frames, "n t (part f) -> n part t f", part=2))
        mask = first.tanh() + self.second(first).tanh()
        return rearrange(mask.float(), "n part t f -> n t (part f)"), state
