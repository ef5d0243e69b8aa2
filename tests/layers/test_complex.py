"""Complex layers: the products of complex numbers, and in pieces as in one."""

from functools import partial

import torch
from torch.nn import functional

from rased.layers.complex import ComplexConv
from rased.layers.unet import DownConv, UpConv


def complex_of(channels: torch.Tensor) -> torch.Tensor:
    return torch.complex(*channels.chunk(2, dim=1))


def weight_of(layer: ComplexConv) -> torch.Tensor:
    return torch.complex(layer.real.weight, layer.imaginary.weight)


@torch.no_grad()
def test_a_complex_convolution_is_that_of_complex_numbers():
    torch.manual_seed(0)
    layer = ComplexConv(partial(DownConv, 2, 3, (2, 5), padding=(2, 2), bias=False))
    frames = torch.randn(2, 4, 9, 8)
    found, _ = layer(frames, layer.initial_state(2, 8, frames))
    padded = functional.pad(complex_of(frames), (2, 2, 1, 0))
    expected = functional.conv2d(padded, weight_of(layer), None, (1, 2))
    torch.testing.assert_close(complex_of(found), expected)


@torch.no_grad()
def test_a_transposed_one_too_and_in_pieces():
    torch.manual_seed(0)
    layer = ComplexConv(partial(UpConv, 2, 3, (2, 5), crop=(2, 1), bias=False))
    frames = torch.randn(2, 4, 9, 8)
    found, _ = layer(frames, layer.initial_state(2, 8, frames))
    whole = functional.conv_transpose2d(complex_of(frames), weight_of(layer), None, (1, 2))
    torch.testing.assert_close(complex_of(found), whole[:, :, :9, 2:18])
    state, outputs = layer.initial_state(2, 8, frames), []
    for piece in frames.split([1, 2, 6], dim=2):
        output, state = layer(piece, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=2), found)
