"""Norms of channels against PyTorch's, and cut anywhere; dense blocks that look back alone."""

from functools import partial

import torch
from torch import nn

from rased.layers.dense import ChannelNorm, DilatedDense, SubPixelConv


def noise(*shape: int) -> torch.Tensor:
    return 3 + torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_over_the_utterance_the_norm_is_that_of_each_instance():
    norm, bins = ChannelNorm(4, "utterance"), noise(2, 4, 7, 5)
    wanted = nn.InstanceNorm2d(4, affine=True)(bins)
    torch.testing.assert_close(norm(bins, {})[0], wanted)


def test_over_the_past_the_last_frame_sees_the_moments_of_all_and_cuts_do_not_matter():
    norm, bins = ChannelNorm(4, "past"), noise(2, 4, 7, 5)
    whole, _ = norm(bins, norm.initial_state(2, bins))
    for frames in (1, 4, 7):
        wanted = nn.InstanceNorm2d(4)(bins[:, :, :frames])[:, :, -1]
        torch.testing.assert_close(whole[:, :, frames - 1], wanted)
    first, state = norm(bins[:, :, :3], norm.initial_state(2, bins))
    second, _ = norm(bins[:, :, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=2), whole)


@torch.no_grad()
def test_a_block_that_is_not_centred_hears_no_later_frame():
    for centred in (False, True):
        torch.manual_seed(0)
        norm = partial(ChannelNorm, 3, "past")
        block = DilatedDense(3, depth=2, kernel_frames=3, norm=norm, centred=centred)
        bins = noise(1, 3, 9, 5)
        state = block.initial_state(1, 5, bins)
        before, _ = block(bins, state)
        bins[:, :, 6:] += 1
        after, _ = block(bins, state)
        assert torch.equal(before[:, :, :6], after[:, :, :6]) is not centred


@torch.no_grad()
def test_two_channels_of_a_bin_become_neighbours():
    conv, bins = SubPixelConv(2), noise(1, 2, 3, 4)
    up, _ = conv(bins, {})
    plain = nn.functional.conv2d(bins, conv.weight, conv.bias, padding=(0, 1))
    torch.testing.assert_close(up[:, :, :, ::2], plain[:, :2])
    torch.testing.assert_close(up[:, :, :, 1::2], plain[:, 2:])
