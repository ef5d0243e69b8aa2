"""Bands: norms against PyTorch's own, widths against the paper's, every number where it belongs."""

import pytest
import torch
from torch.nn import functional

from rased.layers.bands import BandMerge, BandSplit, JointNorm, standardisation
from rased.models.bsrnn import band_widths

WIDTHS = [2, 1, 5]


@pytest.fixture(autouse=True)
def _weights():
    torch.manual_seed(0)


def scrambled(layer):
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


@torch.no_grad()
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_a_joint_norm_is_the_group_norm_of_the_utterance_and_of_each_past(offset):
    bands = offset + torch.randn(3, 2, 7, 4)  # band, batch, frames, channel
    of = {scope: scrambled(JointNorm(4, scope)) for scope in ("utterance", "past", "frame")}
    for scope, norm in of.items():
        found, _ = norm(bands, norm.initial_state(2, bands))
        for frame in range(7):
            heard = {"utterance": bands, "past": bands[:, :, : frame + 1]}
            part = heard.get(scope, bands[:, :, frame : frame + 1])
            expected = functional.group_norm(
                part.permute(1, 3, 2, 0), 1, norm.weight, norm.bias, eps=1.2e-7
            )
            at = frame if scope == "utterance" else -1
            torch.testing.assert_close(
                found[:, :, frame], expected[:, :, at].permute(2, 0, 1), rtol=0, atol=1e-3
            )


@torch.no_grad()
@pytest.mark.parametrize("scope", ["past", "frame"])
def test_split_and_merge_in_pieces_are_as_in_one(scope):
    split = scrambled(BandSplit(WIDTHS, 6, scope=scope))
    merge = scrambled(BandMerge(WIDTHS, 6, 5, heads=2, scope=scope))
    bins = torch.randn(2, 9, 8, 2)
    states = [split.initial_state(2, bins), merge.initial_state(2, bins)]
    whole, _ = merge(split(bins, states[0])[0], states[1])
    pieces = []
    for piece in bins.split([1, 3, 5], dim=1):
        bands, states[0] = split(piece, states[0])
        merged, states[1] = merge(bands, states[1])
        pieces.append(merged)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole)


@torch.no_grad()
def test_a_band_is_its_own_group_norm_and_linear_layer():
    split = scrambled(BandSplit(WIDTHS, 6, scope="utterance"))
    bins = torch.randn(2, 9, 8, 2)
    found, _ = split(bins, {})
    for band, (first, width) in enumerate(zip([0, 2, 3], WIDTHS, strict=True)):
        rows = slice(2 * first, 2 * (first + width))
        part = bins[:, :, first : first + width].flatten(2).transpose(1, 2)
        normal = functional.group_norm(
            part, 1, split.norm_weight[rows], split.norm_bias[rows], eps=1.2e-7
        )
        expected = normal.transpose(1, 2) @ split.weight[rows] + split.bias[band]
        torch.testing.assert_close(found[band], expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_number_comes_from_its_own_band():
    merge = scrambled(BandMerge(WIDTHS, 6, 5, heads=2, scope="frame"))
    bands = torch.randn(3, 1, 4, 6)
    before, _ = merge(bands, {})
    for band, (first, width) in enumerate(zip([0, 2, 3], WIDTHS, strict=True)):
        changed = bands.clone()
        changed[band] = torch.randn(1, 4, 6)
        differs = (merge(changed, {})[0] != before).any(dim=2)[:, 0]  # head, freq, part
        expected = torch.zeros_like(differs)
        expected[:, first : first + width] = True
        assert torch.equal(differs, expected)


def test_gradients_of_norms_on_silence_are_finite():
    for scope in ("utterance", "past", "frame"):
        silence = torch.zeros(3, 1, 4, 6, requires_grad=True)
        state = {"moments": torch.zeros(1, 3, dtype=torch.float64)}
        scale, shift, _ = standardisation(silence, state, scope=scope, joint=True)
        (silence * scale + shift).sum().backward()
        assert silence.grad.isfinite().all()


def test_widths_are_those_of_the_paper():
    assert band_widths(481, 48_000) == [5] + [4] * 19 + [10] * 6 + [40] * 7 + [60]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("freq", [2, 9, 129, 201, 257, 481, 1025])
def test_widths_cover_every_bin_once(freq, rate):
    widths = band_widths(freq, rate)
    assert sum(widths) == freq
    assert min(widths) >= 1
