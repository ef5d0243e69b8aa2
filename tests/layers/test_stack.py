"""Layers with states in a row: one order, one state, wherever the stream is cut."""

import torch

from rased.layers.conv import FrameConv1d
from rased.layers.stack import Stack


class Add(FrameConv1d):
    """A convolution of the features and a skip connection."""

    def forward(self, features, skip, state):
        return super().forward(features + skip, state)


@torch.no_grad()
def test_encoder_and_stack_are_the_same_layers_and_a_decoder_takes_the_last_skip_first():
    torch.manual_seed(0)
    down = Stack(FrameConv1d(2, 2, 3, dilation=dilation) for dilation in (1, 2))
    up, frames = Stack(Add(2, 2, 2) for _ in range(2)), torch.randn(3, 2, 12)
    begun = [stack.initial_state(3, frames) for stack in (down, up)]
    whole, after = down(frames, begun[0])
    outputs, state = down.encode(frames, begun[0])
    assert torch.equal(outputs[-1], whole)
    assert state.keys() == after.keys() == begun[0].keys()
    assert all(torch.equal(state[name], after[name]) for name in after)
    decoded, _ = up.decode(whole, outputs, begun[1])
    inner, _ = up[0](whole, outputs[1], {"memory": begun[1]["0.memory"]})
    outer, _ = up[1](inner, outputs[0], {"memory": begun[1]["1.memory"]})
    assert torch.equal(decoded, outer)
    parts, states = [], begun
    for piece in frames.split(5, dim=-1):
        skips, first = down.encode(piece, states[0])
        part, second = up.decode(skips[-1], skips, states[1])
        parts.append(part)
        states = [first, second]
    torch.testing.assert_close(torch.cat(parts, dim=-1), decoded)
