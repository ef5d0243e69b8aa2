"""Convolutions down and up: those of PyTorch behind silence, and in pieces as in one."""

import pytest
import torch
from torch.nn import functional

from rased.layers.unet import DownConv, UpConv


def in_pieces(layer, frames, state):
    outputs = []
    for piece in frames.split([1, 2, 6], dim=2):
        output, state = layer(piece, state)
        outputs.append(output)
    return torch.cat(outputs, dim=2)


@torch.no_grad()
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("memory", [0, 1, 2])
def test_down_is_a_convolution_behind_silence(memory, padding):
    layer, frames = DownConv(3, 4, (memory + 1, 5), padding=padding), torch.randn(2, 3, 9, 11)
    state = layer.initial_state(2, 11, frames)
    found, _ = layer(frames, state)
    padded = functional.pad(frames, (*padding, memory, 0))
    expected = functional.conv2d(padded, layer.weight, layer.bias, (1, 2))
    torch.testing.assert_close(found, expected)
    assert found.shape[-1] == layer.size(11)
    torch.testing.assert_close(in_pieces(layer, frames, state), found)


@torch.no_grad()
@pytest.mark.parametrize("crop", [(0, 0), (0, 2), (2, 1), (0, -1), (2, -1)])
@pytest.mark.parametrize("memory", [0, 1, 2])
def test_up_is_a_transposed_convolution_without_what_comes_behind_the_end(memory, crop):
    layer, frames = UpConv(3, 4, (memory + 1, 5), crop=crop), torch.randn(2, 3, 9, 11)
    state = layer.initial_state(2, 11, frames)
    found, _ = layer(frames, state)
    whole = functional.conv_transpose2d(
        frames, layer.weight, layer.bias, (1, 2), 0, (0, max(0, -crop[1]))
    )
    expected = whole[:, :, :9, crop[0] : whole.shape[-1] - max(0, crop[1])]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(in_pieces(layer, frames, state), found)
