"""TCNN: convolutions over the samples of each frame, dilated convolutions over the frames; causal.

Paper: Pandey and Wang, "TCNN: temporal convolutional neural network for real-time speech enhancement in the time
domain", ICASSP 2019, doi:10.1109/ICASSP.2019.8683634.
Differences: follows table 1 of the paper (frames of 20 ms every 10 ms, no window); the authors publish no code. Tests
compare it with TCNN_model_paper.py of GitHub LXP-Never/TCNN, which zeroes the first frame of each layer of the decoder,
where here silence precedes it, and has no biases in the last two convolutions of a block. The last norm starts at the
level of speech instead of full scale, so that a network learns within minutes.
Parameters: 5.05 M (published: 5.1 M).
MACs: 0.90 G/s.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.conv import FrameConv1d
from rased.layers.stack import Stack
from rased.layers.unet import DownConv, UpConv
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.signal.domains import Waveform
from rased.signal.state import joined, numbered, parted

_PAPER = (320, (16, 16, 16, 32, 32, 64, 64), 512, (1, 2, 4, 8, 16, 32), 3)
"""frame_length, channels, hidden, dilations, repeats."""


class Block(nn.Module):
    """Expansion, causal depthwise convolution, reduction, residual connection."""

    def __init__(self, channels: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(
            nn.Conv1d(channels, hidden, 1), nn.PReLU(), nn.BatchNorm1d(hidden)
        )
        self.depthwise = FrameConv1d(hidden, hidden, 3, dilation=dilation, groups=hidden)
        self.reduce = nn.Sequential(
            nn.PReLU(), nn.BatchNorm1d(hidden), nn.Conv1d(hidden, channels, 1)
        )

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Run the block; the state is that of the convolution."""
        hidden, state = self.depthwise(self.expand(frames), state)
        return frames + self.reduce(hidden), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return self.depthwise.initial_state(batch, like)


class TCNN(Enhancer):
    """Encoder along the samples of a frame, temporal convolutions, decoder; overlapping frames are added.

    Args:
        frame_length: samples of a frame, even; the hop is half of it.
        channels: channels of each layer of the encoder; the first keeps all samples, the others halve their number.
        hidden: channels inside the blocks of temporal convolutions.
        dilations: dilation of each block, in frames.
        repeats: number of stacks of these blocks.
        dropout: dropout of the skip connections in training.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Pandey, Wang: TCNN: temporal convolutional neural network for real-time speech enhancement in the time "
        "domain. ICASSP 2019, doi:10.1109/ICASSP.2019.8683634"
    )
    published_in = "paper, not checked"

    def __init__(
        self,
        *,
        frame_length: int = 320,
        channels: Sequence[int] = (16, 16, 16, 32, 32, 64, 64),
        hidden: int = 512,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 32),
        repeats: int = 3,
        dropout: float = 0.3,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        smallest = 4 * 2 ** (len(channels) - 1)
        if frame_length % 2 or frame_length < smallest:
            raise RasedError(
                f"TCNN: frame_length is {frame_length}; with {len(channels)} channels it must be even and at least "
                f"{smallest}."
            )
        sizes = (frame_length, tuple(channels), hidden, tuple(dilations), repeats)
        if sizes == _PAPER:
            self.published_parameters = 5_100_000
        if min([*channels, hidden, repeats, *dilations], default=0) < 1 or not dilations:
            raise RasedError(
                f"TCNN: channels {list(channels)}, hidden {hidden}, dilations {list(dilations)} and repeats {repeats} "
                "must be at least 1."
            )
        self.sample_rate, self.hop = sample_rate, frame_length // 2
        self.latency = self.chunk_length = self.hop
        down = _encoder(channels)
        self.down = Stack(down)
        self.sizes = [frame_length]
        """Numbers in a frame before each layer of the encoder, and after the last."""
        for layer in down:
            self.sizes.append(layer.size(self.sizes[-1]))
        up = _decoder(down, self.sizes)
        self.up = Stack(up)
        self.down_norms, self.up_norms = (
            nn.ModuleList(
                nn.Sequential(nn.BatchNorm2d(layer.out_channels), nn.PReLU()) for layer in layers
            )
            for layers in (down, up)
        )
        self.blocks = Stack(
            Block(channels[-1] * self.sizes[-1], hidden, dilation)
            for _ in range(repeats)
            for dilation in dilations
        )
        self.dropout = nn.Dropout(dropout)
        # The last norm sets the level of the output; at 1, a new network would be far louder than speech.
        loudness = self.up_norms[-1].get_parameter("0.weight")
        nn.init.constant_(loudness, 0.05)

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Process a stream in one chunk; the input is padded with silence on both sides."""
        time, late = noisy.shape[-1], self.hop
        padded = functional.pad(noisy, (0, late + -time % late))
        estimate, _ = self.step(padded, self.initial_state(noisy.shape[0]))
        return Prediction(estimate=estimate[:, late : late + time])

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return silence before each layer."""
        like = next(self.parameters())
        layers = {
            "down": self.down.initial_states(batch, self.sizes[:-1], like),
            "blocks": self.blocks.initial_state(batch, like),
            "up": self.up.initial_states(batch, self.sizes[:0:-1], like),
        }
        half = like.new_zeros(batch, self.hop)
        return {"heard": half, "overlap": half.clone(), **joined(layers)}

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Process one frame per half frame of input; see `Enhancer.step`."""
        extended = torch.cat([state["heard"], chunk], dim=-1)
        halves = rearrange(extended, "batch (frames half) -> batch frames half", half=self.hop)
        # Frames of two halves: each half belongs to two frames.
        frames = torch.cat([halves[:, :-1], halves[:, 1:]], dim=-1)
        enhanced, layers = self.enhance_frames(frames, state)
        first, second = enhanced.chunk(2, dim=-1)
        before = torch.cat([state["overlap"][:, None], second], dim=1)
        # Frames overlap by half without a window, so each sample is the mean of two.
        ready = (first + before[:, :-1]) / 2
        # A view would keep all frames in memory.
        after = {"heard": extended[:, -self.hop :], "overlap": before[:, -1].clone(), **layers}
        return rearrange(ready, "batch frames half -> batch (frames half)"), after

    def enhance_frames(
        self, frames: Float[Tensor, "batch frames length"], state: State
    ) -> tuple[Float[Tensor, "batch frames length"], State]:
        """Apply encoder, temporal convolutions and decoder."""
        parts, skips, after = parted(state), [], {}
        bins, memories, before = frames[:, None], [], parted(parts["down"])
        for index, (layer, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            bins, memory = layer(bins, before[str(index)])
            bins = norm(bins)
            skips.append(bins)
            memories.append(memory)
        after["down"] = numbered(memories)
        sequence = rearrange(bins, "batch channel frames freq -> batch (channel freq) frames")
        sequence, after["blocks"] = self.blocks(sequence, parts["blocks"])
        memories, before = [], parted(parts["up"])
        bins = rearrange(
            sequence,
            "batch (channel freq) frames -> batch channel frames freq",
            freq=self.sizes[-1],
        )
        for index, (layer, norm) in enumerate(zip(self.up, self.up_norms, strict=True)):
            both = torch.cat([self.dropout(skips.pop()), bins], dim=1)
            bins, memory = layer(both, before[str(index)])
            bins = norm(bins)
            memories.append(memory)
        after["up"] = numbered(memories)
        return bins[:, 0], joined(after)


def _encoder(channels: Sequence[int]) -> list[DownConv]:
    """Return the layers of table 1 of the paper: the first keeps the numbers of a frame, the others halve them."""
    paddings = [2, 2, *[1] * len(channels)]
    strides = [1, *[2] * (len(channels) - 1)]
    pairs = pairwise([1, *channels])
    return [
        DownConv(size, wider, (2, 5), stride=stride, padding=(padding, padding))
        for (size, wider), stride, padding in zip(pairs, strides, paddings, strict=False)
    ]


def _decoder(down: Sequence[DownConv], sizes: Sequence[int]) -> list[UpConv]:
    """Return the mirrored layers, with skip connections as additional inputs."""
    up = []
    for layer, low, high in zip(reversed(down), sizes[:0:-1], sizes[-2::-1], strict=True):
        padding, stride = layer.around[0], layer.stride[1]
        # Of (low - 1) * stride + 5 numbers, keep as many as the mirrored layer of the encoder had.
        crop = (padding, (low - 1) * stride + 5 - padding - high)
        inputs = 2 * layer.out_channels
        up.append(UpConv(inputs, layer.in_channels, (2, 5), stride=stride, crop=crop))
    return up
