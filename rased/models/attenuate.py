"""aTENNuate: state spaces on the waveform at six rates, down and up with skip connections; causal.

Paper: Pei, Shrivastava and Sidharth, "aTENNuate: optimized real-time speech enhancement with deep SSMs on raw audio",
2024, arXiv:2409.03377.
Differences: follows the authors' code (GitHub Brainchip-Inc/aTENNuate). Its short convolutions see one frame ahead at
each rate, and skip connections are delayed to match: a stream is delayed by 63 ms. Their code stops at the end of a
recording; here silence follows, because a stream cannot know its end: the output equals theirs for a recording that is
padded with silence at the end.
Parameters: 844,864 at the size of the authors, as their code has.
MACs: 0.30 G/s without the products of the Fourier transforms (published: 0.33 G/s).
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.conv import remembered, silent
from rased.layers.state_space import StateSpace
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.signal.state import joined, numbered, parted

_PAPER = ((16, 32, 64, 96, 128, 256), (4, 4, 2, 2, 2, 2), 16, 16)
"""Channels, factors, coefficients, repeat."""
_BLOCK = 16_384
"""Approximate number of samples of a recording that are processed at once."""


class Block(nn.Module):
    """A depthwise convolution that sees one frame ahead, a state space, norm and SiLU.

    A single channel has neither convolution nor norm. Frames before the recording are zeros in the inner layers too.
    """

    def __init__(
        self, channels: int, coefficients: int, repeat: int, *, last: bool = False
    ) -> None:
        super().__init__()
        self.ahead = int(channels > 1)
        self.conv = nn.Conv1d(channels, channels, 3, groups=channels) if self.ahead else None
        self.space = StateSpace(channels, coefficients=coefficients, repeat=repeat)
        self.norm = nn.LayerNorm(channels) if self.ahead and not last else None
        self.activation = nn.Identity() if last else nn.SiLU()

    def forward(
        self,
        frames: Float[Tensor, "batch channel frames"],
        begun: Float[Tensor, " frames"],
        state: State,
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Run the block with a delay of `ahead` frames; `begun` is 1 for output frames of the recording."""
        parts, after = parted(state), {}
        if self.conv is not None:
            # Memory of two frames: the middle tap is one frame back.
            extended, after["conv"] = remembered(frames, parts["conv"], 2)
            # The bias makes sound of the zeros before the recording, so they are masked after every layer.
            frames = self.conv(extended) * begun
        frames, after["space"] = self.space(frames, parts["space"])
        if self.norm is not None:
            channels_last = rearrange(frames, "n c t -> n t c")
            frames = rearrange(self.norm(channels_last), "n t c -> n c t")
        return self.activation(frames) * begun, joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the recording."""
        conv = {} if self.conv is None else silent(like.new_zeros(batch, self.conv.in_channels, 2))
        return joined({"conv": conv, "space": self.space.initial_state(batch, like)})


class ATENNuate(Enhancer):
    """Six rates down and up with skip connections, each with a block and a linear layer that joins or splits frames.

    Args:
        channels: channels of each rate below that of the waveform.
        factors: factors between these rates.
        coefficients: coefficients of different frequencies in each state space.
        repeat: sets of coefficients.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Pei, Shrivastava, Sidharth: aTENNuate: optimized real-time speech enhancement with deep SSMs on raw audio. "
        "2024, arXiv:2409.03377"
    )
    published_in = "authors' code"

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 64, 96, 128, 256),
        factors: Sequence[int] = (4, 4, 2, 2, 2, 2),
        coefficients: int = 16,
        repeat: int = 16,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(factors) or min(*channels, *factors) < 2:
            raise RasedError(
                f"ATENNuate: channels {list(channels)} and factors {list(factors)} must be as many, each at least 2."
            )
        if min(coefficients, repeat) < 1:
            raise RasedError(
                f"ATENNuate: coefficients {coefficients} and repeat {repeat} must be at least 1."
            )
        if (tuple(channels), tuple(factors), coefficients, repeat) == _PAPER:
            self.published_parameters = 844_864
        self.sample_rate, self.factors = sample_rate, tuple(factors)
        sizes, space = [1, *channels], (coefficients, repeat)
        pairs = list(zip(sizes[:-1], channels, factors, strict=True))
        self.down = nn.ModuleList(Block(size, *space) for size in sizes[:-1])
        self.joining = nn.ModuleList(
            nn.Conv1d(size, wider, factor, factor, bias=False) for size, wider, factor in pairs
        )
        self.middle = nn.ModuleList(Block(sizes[-1], *space) for _ in range(2))
        self.parting = nn.ModuleList(
            nn.ConvTranspose1d(wider, size, factor, factor, bias=False)
            for size, wider, factor in pairs[::-1]
        )
        self.up = nn.ModuleList(Block(size, *space) for size in sizes[-2::-1])
        self.last = nn.ModuleList(Block(1, *space, last=last) for last in (False, True))
        self._set_delays()

    def _set_delays(self) -> None:
        """Compute the delay of each rate, down and up, so that skip connections add frames of the same time."""
        late, rates = [0], [1]
        for factor, size in zip(self.factors, self.down, strict=True):
            # Frames of the lower rate begin at multiples of the factor, so the delay is rounded up to whole ones.
            late.append(-(-(late[-1] + _ahead(size)) // factor))
            rates.append(rates[-1] * factor)
        self.rates = rates
        """Samples in a frame of each rate, from that of the waveform."""
        self.late_down = late
        """Delay of the input of each rate in frames, down."""
        self.waits = [
            after * factor - before - _ahead(block)
            for before, after, factor, block in zip(
                late[:-1], late[1:], self.factors, self.down, strict=True
            )
        ]
        """Frames that wait after each block, down."""
        # On the way up, delays grow with the rate; skip connections wait for the difference to those on the way down.
        now, self.late_up = late[-1] + sum(_ahead(block) for block in self.middle), []
        for factor, block in zip(self.factors[::-1], self.up, strict=True):
            self.late_up.append(now * factor)
            now = now * factor + _ahead(block)
        self.latency, self.chunk_length = now, rates[-1]

    def predict(
        self,
        noisy: Float[Tensor, "batch time"],
        *,
        condition: Condition | None = None,
        generator: Generators | None = None,
    ) -> Prediction:
        """Process a stream of long chunks; the recording is padded with silence at the end."""
        assert self.latency is not None
        assert self.chunk_length is not None
        (batch, time), late, chunk = noisy.shape, self.latency, self.chunk_length
        # Whole chunks, long enough for the delayed end to come out.
        padded = functional.pad(noisy, (0, late + -(time + late) % chunk))
        state, ready = self.initial_state(batch), []
        # Piece by piece, because the state spaces keep all frames of a chunk in memory at once.
        for part in padded.split(max(_BLOCK // chunk, 1) * chunk, dim=-1):
            estimate, state = self.step(part, state)
            ready.append(estimate)
        return Prediction(estimate=torch.cat(ready, dim=-1)[:, late : late + time])

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the state before the recording."""
        like = next(self.parameters())
        groups = {"down": self.down, "middle": self.middle, "up": self.up, "last": self.last}
        state = {
            name: numbered(_state(block, batch, like) for block in blocks)
            for name, blocks in groups.items()
        }
        sizes = [layer.in_channels for layer in self.joining if isinstance(layer, nn.Conv1d)]
        state["waiting"] = numbered(
            silent(like.new_zeros(batch, size, wait))
            for size, wait in zip(sizes, self.waits, strict=True)
        )
        state["skips"] = numbered(
            silent(like.new_zeros(batch, size, up - down))
            for size, up, down in zip(
                sizes[::-1], self.late_up, self.late_down[-2::-1], strict=True
            )
        )
        return {"count": like.new_zeros(1), **joined(state)}

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Process down, middle and up; see `Enhancer.step`."""
        assert self.chunk_length is not None
        parts, frames, skips = parted(state), chunk[:, None], []
        after: dict[str, list[State]] = {
            name: [] for name in ("down", "middle", "up", "last", "waiting", "skips")
        }

        def through(group: str, blocks: nn.ModuleList, index: int, late: int, rate: int) -> None:
            nonlocal frames
            begun = self._begun(state["count"], frames, late + _ahead(blocks[index]), rate)
            frames, memory = blocks[index](frames, begun, parted(parts[group])[str(index)])
            after[group].append(memory)

        for index, joining in enumerate(self.joining):
            skips.append(frames)
            through("down", self.down, index, self.late_down[index], self.rates[index])
            frames, memory = _late(frames, parted(parts["waiting"])[str(index)])
            after["waiting"].append(memory)
            frames = joining(frames)
        for index in range(len(self.middle)):
            through("middle", self.middle, index, self.late_down[-1] + index, self.rates[-1])
        for index, parting in enumerate(self.parting):
            skip, memory = _late(skips.pop(), parted(parts["skips"])[str(index)])
            after["skips"].append(memory)
            frames = parting(frames) + skip
            through("up", self.up, index, self.late_up[index], self.rates[-2 - index])
        for index in range(len(self.last)):
            through("last", self.last, index, self.latency or 0, 1)
        # It only tells when delayed layers reach the recording; without a limit, float32 would stop counting one day.
        count = (state["count"] + chunk.shape[-1] // self.chunk_length).clamp(max=1e6)
        states = {name: numbered(memories) for name, memories in after.items()}
        return frames[:, 0], {"count": count, **joined(states)}

    def _begun(
        self, count: Tensor, frames: Float[Tensor, "batch channel frames"], late: int, rate: int
    ) -> Float[Tensor, " frames"]:
        """Return 1 for frames of the recording, 0 for frames before it."""
        assert self.chunk_length is not None
        place = torch.arange(frames.shape[-1], device=frames.device) - late
        # Whole numbers as floats: above -0.5 is 0 or more.
        return (count * (self.chunk_length // rate) + place > -0.5).to(frames)


def _late(
    frames: Float[Tensor, "batch channel frames"], state: State
) -> tuple[Float[Tensor, "batch channel frames"], State]:
    """Delay frames by the number of frames in `memory`."""
    if not state:
        return frames, {}
    extended = torch.cat([state["memory"], frames], dim=-1)
    count = frames.shape[-1]
    return extended[..., :count], {"memory": extended[..., count:]}


def _ahead(block: nn.Module) -> int:
    assert isinstance(block, Block)
    return block.ahead


def _state(block: nn.Module, batch: int, like: Tensor) -> State:
    assert isinstance(block, Block)
    return block.initial_state(batch, like)
