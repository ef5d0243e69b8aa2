"""Conv-TasNet: a learned filterbank, a mask from dilated convolutions, a learned filterbank back.

Paper: Luo and Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech
separation", IEEE/ACM TASLP 27(8), 2019, doi:10.1109/TASLP.2019.2915167, arXiv:1809.07454.
Differences: follows the authors' code (GitHub naplab/Conv-TasNet), whose encoder is linear; one source, so that
separation becomes enhancement (`sources` is 2 in the paper); 16 kHz with filters of 32 samples, the paper's 2 ms at
8 kHz. The residual path of the last block is not used; it is counted as in the paper, and frozen.
Parameters: 5.05 M at the paper's best sizes and two sources (published 5.1 M), 5.00 M for one;
MACs: 4.9 G/s.
"""

from collections.abc import Iterable
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.conv import FrameConv1d
from rased.layers.norm import CumulativeLayerNorm, GlobalLayerNorm
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.signal.domains import Waveform
from rased.signal.state import joined, parted


class Block(nn.Module):
    """Expansion, depthwise convolution over the past (or centred), residual and skip outputs."""

    def __init__(
        self,
        bottleneck: int,
        hidden: int,
        skip: int,
        *,
        kernel_size: int,
        dilation: int,
        causal: bool,
    ) -> None:
        super().__init__()
        norm = CumulativeLayerNorm if causal else GlobalLayerNorm
        self.expand = nn.Sequential(nn.Conv1d(bottleneck, hidden, 1), nn.PReLU())
        self.expand_norm = norm(hidden)
        self.depthwise = FrameConv1d(
            hidden, hidden, kernel_size, dilation=dilation, groups=hidden, centred=not causal
        )
        self.activation = nn.PReLU()
        self.depthwise_norm = norm(hidden)
        self.residual = nn.Conv1d(hidden, bottleneck, 1)
        self.skip = nn.Conv1d(hidden, skip, 1)

    def forward(
        self, frames: Float[Tensor, "batch bottleneck frames"], state: State
    ) -> tuple[Float[Tensor, "batch bottleneck frames"], Float[Tensor, "batch skip frames"], State]:
        """Return the input of the next block, the contribution to the mask, and the new state."""
        parts, after = parted(state), {}
        hidden, after["expand_norm"] = self.expand_norm(self.expand(frames), parts["expand_norm"])
        hidden, after["depthwise"] = self.depthwise(hidden, parts["depthwise"])
        hidden = self.activation(hidden)
        hidden, after["depthwise_norm"] = self.depthwise_norm(hidden, parts["depthwise_norm"])
        return frames + self.residual(hidden), self.skip(hidden), joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the states of the norms and the convolution."""
        return joined(
            {
                "expand_norm": self.expand_norm.initial_state(batch, like),
                "depthwise": self.depthwise.initial_state(batch, like),
                "depthwise_norm": self.depthwise_norm.initial_state(batch, like),
            }
        )


class Separator(nn.Module):
    """Computes masks for the encoder's output with `repeats` stacks of blocks with dilations 1, 2, 4, ..."""

    def __init__(
        self,
        filters: int,
        *,
        bottleneck: int,
        hidden: int,
        skip: int,
        kernel_size: int,
        blocks: int,
        repeats: int,
        sources: int,
        causal: bool,
    ) -> None:
        super().__init__()
        self.sources = sources
        self.norm = (CumulativeLayerNorm if causal else GlobalLayerNorm)(filters)
        self.bottleneck = nn.Conv1d(filters, bottleneck, 1)
        self.blocks = nn.ModuleList(
            Block(
                bottleneck,
                hidden,
                skip,
                kernel_size=kernel_size,
                dilation=2**index,
                causal=causal,
            )
            for _ in range(repeats)
            for index in range(blocks)
        )
        # Nothing reads the residual output of the last block; its weights are kept for files of the authors.
        self.blocks[-1].residual.requires_grad_(False)
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(skip, filters * sources, 1), nn.Sigmoid())

    def forward(
        self, encoded: Float[Tensor, "batch filter frames"], state: State
    ) -> tuple[Float[Tensor, "batch source filter frames"], State]:
        """Return masks between 0 and 1, and the new state."""
        parts, after = parted(state), {}
        normal, after["norm"] = self.norm(encoded, parts["norm"])
        frames = self.bottleneck(normal)
        total: Tensor | None = None
        for index, block in enumerate(self.blocks):
            frames, skip, after[str(index)] = block(frames, parts[str(index)])
            total = skip if total is None else total + skip
        masks = rearrange(self.mask(total), "n (source f) t -> n source f t", source=self.sources)
        return masks, joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the states of the first norm and of every block."""
        blocks: Iterable[Any] = self.blocks
        states = {"norm": self.norm.initial_state(batch, like)}
        for index, block in enumerate(blocks):
            states[str(index)] = block.initial_state(batch, like)
        return joined(states)


class ConvTasNet(Enhancer):
    """Encoder, separator, decoder; the first source is the estimate.

    Args:
        filters: filters of encoder and decoder (N).
        filter_length: length of the filters in samples (L), even; the hop is half of it.
        bottleneck: channels between blocks (B).
        hidden: channels inside blocks (H).
        skip: channels from each block to the mask (Sc).
        kernel_size: taps of the depthwise convolutions (P).
        blocks: blocks per stack (X).
        repeats: number of stacks (R).
        sources: number of separated sources; the estimate is the first one.
        causal: use cumulative norms and causal convolutions, instead of global norms and centred convolutions.
        sample_rate: Hz.

    Raises:
        RasedError: the lengths do not fit together.
    """

    paper = (
        "Luo, Mesgarani: Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech "
        "separation. IEEE/ACM TASLP 27(8), 2019, doi:10.1109/TASLP.2019.2915167"
    )
    published_in = "paper"

    def __init__(
        self,
        *,
        filters: int = 512,
        filter_length: int = 32,
        bottleneck: int = 128,
        hidden: int = 512,
        skip: int = 128,
        kernel_size: int = 3,
        blocks: int = 8,
        repeats: int = 3,
        sources: int = 1,
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        hop = filter_length // 2
        if filter_length % 2 or filter_length < 2:
            raise RasedError(f"filter_length is {filter_length}; it must be even, 2 or more.")
        sizes = (filters, filter_length, bottleneck, hidden, skip, kernel_size, blocks, repeats)
        if (*sizes, sources, causal) == (512, 16, 128, 512, 128, 3, 8, 3, 2, False):
            self.published_parameters = 5_100_000
        self.sample_rate = sample_rate
        self.hop = hop
        self.latency = hop if causal else None
        self.chunk_length = hop if causal else None
        self.encoder = nn.Conv1d(1, filters, filter_length, hop, bias=False)
        self.separator = Separator(
            filters,
            bottleneck=bottleneck,
            hidden=hidden,
            skip=skip,
            kernel_size=kernel_size,
            blocks=blocks,
            repeats=repeats,
            sources=sources,
            causal=causal,
        )
        self.decoder = nn.ConvTranspose1d(filters, 1, filter_length, hop, bias=False)

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Return the first source."""
        return Prediction(estimate=self.separate(noisy)[:, 0])

    def separate(self, noisy: Waveform) -> Float[Tensor, "batch source time"]:
        """Return all sources, with the length of the input; the input is padded with silence.

        The padding at the end is that of the authors' code: its frames count in the norms of a model that is
        not causal.
        """
        batch, time = noisy.shape
        length = 2 * self.hop
        # Whole filters, and half of one more, as in the authors' code.
        behind = length - (self.hop + time) % length + self.hop
        padded = functional.pad(noisy, (self.hop, behind))
        state = self.separator.initial_state(batch, self.encoder.weight)
        decoded, _ = self._frames(padded, state)
        return decoded[..., self.hop : self.hop + time]

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return silent buffers of encoder and decoder, and the separator's state."""
        if not self.causal:
            return super().initial_state(batch)
        like = self.encoder.weight
        return {
            "heard": like.new_zeros(batch, self.hop),
            "overlap": like.new_zeros(batch, self.hop),
            **joined({"separator": self.separator.initial_state(batch, like)}),
        }

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Process one frame per hop; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        extended = torch.cat([state["heard"], chunk], dim=-1)
        decoded, separator = self._frames(extended, parted(state)["separator"])
        # The first half frame completes the last one of the previous chunk, the last half waits for the next chunk.
        first, rest = decoded[:, 0].tensor_split([self.hop], dim=-1)
        estimate = torch.cat([first + state["overlap"], rest], dim=-1)
        ready, overlap = estimate.split([chunk.shape[-1], self.hop], dim=-1)
        after = {"heard": extended[:, -self.hop :], "overlap": overlap}
        return ready, {**after, **joined({"separator": separator})}

    def _frames(
        self, padded: Float[Tensor, "batch padded"], state: State
    ) -> tuple[Float[Tensor, "batch source padded"], State]:
        """Encode, mask and decode whole frames; the output has as many samples as the input."""
        encoded = self.encoder(padded[:, None])
        masks, state = self.separator(encoded, state)
        masked = rearrange(masks * encoded[:, None], "n source f t -> (n source) f t")
        decoded = self.decoder(masked)[:, 0]
        return rearrange(decoded, "(n source) t -> n source t", n=padded.shape[0]), state
