"""Recurrent residual layers along the frames of each band and across the bands of each frame.

Luo, Chen and Yoshioka, "Dual-path RNN", ICASSP 2020, arXiv:1910.06379, with bands instead of chunks.
Tensors are (band, batch, frames, channel).
"""

from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.bands import JointNorm, Scope
from rased.layers.recurrent import GroupedRecurrent, recur, silence
from rased.signal.state import State, joined, parted

Bands = Float[Tensor, "band batch frames channel"]


class _Path(nn.Module):
    """Recurrent and linear layer over one of the two sequences.

    Args:
        channels: channels of each band.
        hidden: hidden size in each direction.
        across: run over the bands of a frame, instead of the frames of a band.
        bidirectional: also run backwards.
        kind: the recurrent layer.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        across: bool,
        bidirectional: bool,
        kind: Literal["gru", "lstm"] = "lstm",
    ) -> None:
        super().__init__()
        self.across = across
        # Only a forward layer over frames continues in the next chunk.
        self.goes_on = not across and not bidirectional
        layer = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        # Across bands, the sequence is the first axis, (band, batch * frames, channel), which needs no copy.
        self.recurrent = layer(
            channels, hidden, batch_first=not across, bidirectional=bidirectional
        )
        self.linear = nn.Linear(hidden * (2 if bidirectional else 1), channels)

    def recur(self, bands: Bands, memory: State) -> tuple[Bands, State]:
        """Run from `memory` along frames, since these continue in the next chunk; across bands, start from zeros."""
        folded = "b (n t) c" if self.across else "(b n) t c"  # band, n batch, t frames, channel
        sequence = rearrange(bands, f"b n t c -> {folded}")
        output, after = recur(self.recurrent, sequence, memory)
        unfolded = f"{folded} -> b n t c"
        linear = rearrange(self.linear(output), unfolded, b=bands.shape[0], n=bands.shape[1])
        return linear, after

    def silence(self, batch: int, bands: int, like: Tensor) -> State:
        """Return a zero state for every band if the sequence continues from chunk to chunk."""
        return silence(self.recurrent, bands * batch, like) if self.goes_on else {}


class _JointPath(_Path):
    """LSTM and linear layer with a norm over bands and channels together.

    Args:
        channels: channels of each band.
        hidden: hidden size in each direction.
        across: run over the bands of a frame, instead of the frames of a band.
        bidirectional: also run backwards.
        scope: what the mean and variance of the norm are computed from.
    """

    def __init__(
        self, channels: int, hidden: int, *, across: bool, bidirectional: bool, scope: Scope
    ) -> None:
        super().__init__(channels, hidden, across=across, bidirectional=bidirectional)
        self.norm = JointNorm(channels, scope)

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return the initial state of the norm, and a zero state of the LSTM."""
        recurrent = self.silence(batch, bands, like)
        return joined({"norm": self.norm.initial_state(batch, like), "recurrent": recurrent})


class ResidualLSTM(_JointPath):
    """Norm, LSTM and linear layer, with a residual connection."""

    def forward(self, bands: Bands, state: State) -> tuple[Bands, State]:
        """Update the states of the norm and the LSTM."""
        states = parted(state)
        normal, norm = self.norm(bands, states["norm"])
        added, recurrent = self.recur(normal, states["recurrent"])
        return bands + added, joined({"norm": norm, "recurrent": recurrent})


class NormedPath(_JointPath):
    """LSTM, linear layer and norm, with a residual connection."""

    def forward(self, bands: Bands, state: State) -> tuple[Bands, State]:
        """Update the states of the LSTM and the norm."""
        states = parted(state)
        added, recurrent = self.recur(bands, states["recurrent"])
        normal, norm = self.norm(added, states["norm"])
        return bands + normal, joined({"norm": norm, "recurrent": recurrent})


class FrameNormedPath(_Path):
    """Recurrent and linear layer with a norm of each frame over its bands and channels, and a residual connection.

    Args:
        channels: channels of each band.
        hidden: hidden size in each direction.
        bands: number of bands.
        across: run over the bands of a frame, instead of the frames of a band.
        bidirectional: also run backwards.
        kind: the recurrent layer.
        before: put the norm before the recurrent layer, instead of after the linear layer.
        epsilon: epsilon of the norm.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        bands: int,
        *,
        across: bool,
        bidirectional: bool,
        kind: Literal["gru", "lstm"] = "lstm",
        before: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__(channels, hidden, across=across, bidirectional=bidirectional, kind=kind)
        self.before = before
        self.norm = nn.LayerNorm((bands, channels), eps=epsilon)

    def forward(self, bands: Bands, state: State) -> tuple[Bands, State]:
        """Update the state of the recurrent layer."""
        added, state = self.recur(self._normal(bands) if self.before else bands, state)
        return bands + (added if self.before else self._normal(added)), state

    def _normal(self, bands: Bands) -> Bands:
        normal = self.norm(rearrange(bands, "b n t c -> n t b c"))
        return rearrange(normal, "n t b c -> b n t c")

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return silence."""
        return self.silence(batch, bands, like)


class DualPath(nn.Module):
    """A layer along the frames of each band, then one across the bands of each frame.

    Tensors are (batch, channel, frames, band) here; both layers map (batch, token, channel) and a state to both.

    Args:
        along: the layer over frames; its state continues from chunk to chunk.
        across: the layer over bands, which starts without a state in each frame.
    """

    def __init__(self, along: nn.Module, across: nn.Module) -> None:
        super().__init__()
        self.along, self.across = along, across

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames band"], State]:
        """Process time, then frequency."""
        batch, _, frames, _ = bands.shape
        tokens, state = self.along(rearrange(bands, "n c t b -> (n b) t c"), state)
        # Each frame is a sequence of its own here, so that there is no state to keep.
        tokens, _ = self.across(rearrange(tokens, "(n b) t c -> (n t) b c", n=batch), {})
        return rearrange(tokens, "(n t) b c -> n c t b", t=frames), state

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return the state of the layer over frames, for every band."""
        state: State = self.along.initial_state(batch * bands, like)  # type: ignore[operator]
        return state


class GroupedDualPath(nn.Module):
    """Grouped GRUs: bidirectional over the bands of a frame, then forwards over the frames of a band.

    Tensors are (batch, channel, frames, band) here, and each norm covers all bands of a frame.
    """

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.across = GroupedRecurrent("gru", channels, channels, bidirectional=True)
        self.across_linear = nn.Linear(channels, channels)
        self.across_norm = nn.LayerNorm((bands, channels), eps=1e-8)
        self.along = GroupedRecurrent("gru", channels, channels)
        self.along_linear = nn.Linear(channels, channels)
        self.along_norm = nn.LayerNorm((bands, channels), eps=1e-8)

    def forward(
        self, bands: Float[Tensor, "batch channel frames band"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames band"], State]:
        """Run both paths, each with a residual connection."""
        batch, _, frames, count = bands.shape
        features = rearrange(bands, "n c t b -> n t b c")  # batch, channel, t frames, band
        across, _ = self.across(rearrange(features, "n t b c -> (n t) b c"), {})
        across = rearrange(self.across_linear(across), "(n t) b c -> n t b c", n=batch, t=frames)
        features = features + self.across_norm(across)
        along, state = self.along(rearrange(features, "n t b c -> (n b) t c"), state)
        along = rearrange(self.along_linear(along), "(n b) t c -> n t b c", n=batch, b=count)
        features = features + self.along_norm(along)
        return rearrange(features, "n t b c -> n c t b"), state

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Return a zero state for the GRU of every band."""
        return self.along.initial_state(batch * bands, like)
