"""Recurrent layers along the frames of each band and across the bands of each frame, each added to what comes in.

Luo, Chen and Yoshioka, "Dual-path RNN", ICASSP 2020, arXiv:1910.06379, over bands instead of chunks.
Tensors are (band, batch, frames, channel).
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.bands import JointNorm, Scope
from rased.layers.network import State


class ResidualLSTM(nn.Module):
    """Norm, LSTM and linear layer, added to what comes in.

    Args:
        channels: of each band.
        hidden: of each direction.
        across: whether the sequence is the bands of a frame, instead of the frames of a band.
        bidirectional: whether it is also read backwards.
        scope: what the norm takes its mean and variance from.
    """

    def __init__(
        self, channels: int, hidden: int, *, across: bool, bidirectional: bool, scope: Scope
    ) -> None:
        super().__init__()
        self.across, self.hidden = across, hidden
        self.goes_on = not across and not bidirectional
        self.norm = JointNorm(channels, scope)
        self.recurrent = nn.LSTM(
            channels, hidden, batch_first=not across, bidirectional=bidirectional
        )
        self.linear = nn.Linear(hidden * (2 if bidirectional else 1), channels)

    def forward(
        self, bands: Float[Tensor, "band batch frames channel"], state: State
    ) -> tuple[Float[Tensor, "band batch frames channel"], State]:
        """From `state` where the sequence is the frames and read forwards; else each sequence from silence."""
        heard, memory = state
        normal, heard = self.norm(bands, heard)
        folded = "b (n t) c" if self.across else "(b n) t c"  # band, n batch, t frames, channel
        sequence = rearrange(normal, f"b n t c -> {folded}")
        output, after = in_full_precision(self.recurrent, sequence, memory)
        added = rearrange(
            self.linear(output), f"{folded} -> b n t c", b=bands.shape[0], n=bands.shape[1]
        )
        return bands + added, (heard, after if self.goes_on else None)

    def initial_state(self, batch: int, bands: int, like: Tensor) -> State:
        """Of the norm, and zeros for the LSTM of every band where it goes on from chunk to chunk."""
        heard = self.norm.initial_state(batch, like)
        if not self.goes_on:
            return heard, None
        shape = (1, bands * batch, self.hidden)
        return heard, (like.new_zeros(shape), like.new_zeros(shape))


def in_full_precision(layer: nn.RNNBase, sequence: Tensor, state: State) -> tuple[Tensor, State]:
    """A recurrent layer in float32 on CUDA, under autocast too.

    PyTorch gives cuDNN's recurrent layers float16 whatever autocast asks for, bfloat16 included, and without a
    scaled loss small gradients vanish there.
    """
    if not sequence.is_cuda:
        output, state = layer(sequence, state)
        return output, state
    with torch.autocast("cuda", enabled=False):
        output, state = layer(sequence.float(), state)
    return output, state
