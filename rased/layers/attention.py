"""Attention gains between 0 and 1, computed by recurrent layers from channel and band energies."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.layers.recurrent import recur, silence
from rased.signal.state import State


class SelfAttention(nn.Module):
    """Each token of a sequence attends to all of them, in several heads."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.linear = nn.Linear(channels, channels)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch token channel"]:
        """Attend in all heads, and mix them with a linear layer."""
        joined = self.query_key_value(tokens)
        query, key, value = rearrange(
            joined, "n t (part head c) -> part n head t c", head=self.heads, part=3
        ).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.linear(rearrange(attended, "n head t c -> n t (head c)"))


class TemporalAttention(nn.Module):
    """TRA: a GRU over the energies of all channels gives the gain of each channel, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(channels, 2 * channels, batch_first=True)
        self.gain = nn.Linear(2 * channels, channels)

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames band"], State]:
        """Multiply the channels by their gains."""
        energy = rearrange(bands.square().mean(-1), "batch channel frames -> batch frames channel")
        remembered, state = recur(self.recurrent, energy, state)
        gain = self.gain(remembered).sigmoid()
        return bands * rearrange(gain, "batch frames channel -> batch channel frames 1"), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return silence(self.recurrent, batch, like)


class AcrossAttention(nn.Module):
    """Computes a gain for each band of a frame, with a bidirectional GRU over groups of four band energies."""

    together = 4

    def __init__(self) -> None:
        super().__init__()
        size = self.together
        self.recurrent = nn.GRU(size, size, batch_first=True, bidirectional=True)
        self.gain = nn.Linear(2 * size, size)

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"]
    ) -> Float[Tensor, "batch 1 frames band"]:
        """Return the gains; if the number of bands is not a multiple of four, it is padded with zeros above."""
        batch, count = bands.shape[0], bands.shape[-1]
        energy = functional.pad(bands.square().mean(1), (0, -count % self.together))
        groups = rearrange(energy, "n t (group size) -> (n t) group size", size=self.together)
        # Each frame is a sequence of its own here, so that there is no state to keep.
        remembered, _ = recur(self.recurrent, groups, {})
        gains = rearrange(
            self.gain(remembered).sigmoid(), "(n t) group size -> n 1 t (group size)", n=batch
        )
        return gains[..., :count]


class TimeFrequencyAttention(nn.Module):
    """cTFA: gains of channels over time and gains of bands, both computed from the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time = TemporalAttention(channels)
        self.across = AcrossAttention()

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames band"], State]:
        """Multiply the input by both gains."""
        weighted, state = self.time(bands, state)
        return weighted * self.across(bands), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return self.time.initial_state(batch, like)
