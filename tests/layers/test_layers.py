"""Layers that look back: equal to their textbook form, and in pieces as in one."""

from functools import partial

import pytest
import torch
from torch import nn

from rased.errors import RasedError
from rased.layers.conv import FrameConv1d, FrameConv2d
from rased.layers.frontend import Inputs
from rased.layers.level import Level
from rased.layers.norm import CumulativeLayerNorm, GlobalLayerNorm
from rased.layers.recurrent import GroupedRecurrent
from rased.models.frequency import FrequencyDomainEnhancer
from rased.models.gru import NSNet2
from rased.signal.stft import STFT
from rased.streaming import CausalStream


@pytest.fixture(autouse=True)
def _weights():
    torch.manual_seed(0)


def in_pieces(layer, frames, state, *, dim, sizes):
    outputs = []
    for piece in frames.split(sizes, dim=dim):
        output, state = layer(piece, state)
        outputs.append(output)
    return torch.cat(outputs, dim=dim)


@torch.no_grad()
@pytest.mark.parametrize("dilation", [1, 4])
def test_causal_conv_is_a_convolution_behind_zeros(dilation):
    layer, frames = FrameConv1d(4, 6, 3, dilation=dilation, groups=2), torch.randn(2, 4, 30)
    state = layer.initial_state(2, frames)
    whole, after = layer(frames, state)
    padded = nn.functional.pad(frames, (2 * dilation, 0))
    expected = nn.functional.conv1d(padded, layer.weight, layer.bias, 1, 0, dilation, 2)
    torch.testing.assert_close(whole, expected)
    assert torch.equal(after["memory"], frames[..., -2 * dilation :])
    pieces = in_pieces(layer, frames, state, dim=2, sizes=[1, 12, 17])
    torch.testing.assert_close(pieces, whole)


@torch.no_grad()
def test_causal_conv_over_frames_and_frequencies_is_causal_in_frames_and_centred_in_freq():
    layer, frames = FrameConv2d(4, 4, (3, 3), dilation=2, groups=4), torch.randn(2, 4, 20, 9)
    state = layer.initial_state(2, 9, frames)
    whole, _ = layer(frames, state)
    padded = nn.functional.pad(frames, (1, 1, 4, 0))
    expected = nn.functional.conv2d(padded, layer.weight, layer.bias, 1, 0, (2, 1), 4)
    torch.testing.assert_close(whole, expected)
    pieces = in_pieces(layer, frames, state, dim=2, sizes=[1, 2, 17])
    torch.testing.assert_close(pieces, whole)


@torch.no_grad()
def test_centred_conv_sees_as_much_future_as_past():
    layer, frames = FrameConv1d(1, 1, 3, dilation=2, centred=True), torch.zeros(1, 1, 11)
    frames[..., 5] = 1
    output, _ = layer(frames, {})
    reached = (output - layer.bias).abs()[0, 0] > 0
    assert reached.nonzero().flatten().tolist() == [3, 5, 7]


@torch.no_grad()
def test_global_norm_gives_zero_mean_and_unit_variance():
    layer = GlobalLayerNorm(5)
    normal, _ = layer(3 + 2 * torch.randn(2, 5, 50), {})
    torch.testing.assert_close(normal.mean((1, 2)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(normal.var((1, 2), correction=0), torch.ones(2), rtol=0, atol=1e-4)


@torch.no_grad()
def test_cumulative_norm_is_the_global_norm_of_what_has_been_heard():
    causal, full = CumulativeLayerNorm(5), GlobalLayerNorm(5)
    frames = 3 + 2 * torch.randn(2, 5, 40)
    state = causal.initial_state(2, frames)
    whole, _ = causal(frames, state)
    for count in (1, 2, 17, 40):
        expected, _ = full(frames[..., :count], {})
        torch.testing.assert_close(whole[..., count - 1], expected[..., -1], rtol=0, atol=1e-4)
    pieces = in_pieces(causal, frames, state, dim=2, sizes=[1, 9, 30])
    torch.testing.assert_close(pieces, whole)


@torch.no_grad()
def test_cumulative_norm_stays_exact_in_a_stream_of_hours():
    layer, hours = CumulativeLayerNorm(4), 2 * 3600 * 1000  # frames of 1 ms
    earlier = torch.tensor([[3.0 * 4 * hours, 13.0 * 4 * hours, 4.0 * hours]], dtype=torch.float64)
    frames = torch.full((1, 4, 1_000), 5.0)
    normal, after = layer(frames, {"sums": earlier})
    assert after["sums"][0, 2].item() == 4 * (hours + 1_000)
    torch.testing.assert_close(normal, torch.ones(1, 4, 1_000), rtol=0, atol=1e-3)  # (5 - 3) / 2


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_groups_are_layers_of_their_own_and_carry_their_state(kind):
    layer, frames = GroupedRecurrent(kind, 6, 8, groups=2), torch.randn(3, 20, 6)
    whole, _ = layer(frames, {})
    expected = [cell(part)[0] for cell, part in zip(layer.cells, frames.chunk(2, -1), strict=True)]
    torch.testing.assert_close(whole, torch.cat(expected, dim=-1))
    state = layer.initial_state(3, frames)
    pieces = in_pieces(layer, frames, state, dim=1, sizes=[1, 5, 14])
    torch.testing.assert_close(pieces, whole)
    plain = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](6, 8)
    matrices = [sum(p.numel() for p in m.parameters() if p.ndim > 1) for m in (layer, plain)]
    assert matrices[0] * 2 == matrices[1]


@torch.no_grad()
def test_both_directions_share_the_outputs():
    layer = GroupedRecurrent("gru", 6, 8, groups=2, bidirectional=True)
    frames = torch.randn(1, 10, 6)
    outputs, _ = layer(frames, {})
    assert outputs.shape == (1, 10, 8)
    changed = frames.clone()
    changed[:, -1] += 1
    assert (layer(changed, {})[0] - outputs)[:, 0].abs().max() > 0


@pytest.mark.parametrize("kind", ["rms", "std", "maximum"])
@pytest.mark.parametrize("running", [False, True])
class TestLevel:
    def enhancer(self, kind, running):
        torch.manual_seed(0)
        return FrequencyDomainEnhancer(
            partial(NSNet2, hidden=8, layers=1, expansion=8),
            inputs=Inputs(normalisation="none", future_frames=1),
            stft=STFT(128, 64, 128),
            level=Level(kind, running=running),
        ).eval()

    def noisy(self):
        noise = 0.1 * torch.randn(2, 3_000, generator=torch.Generator().manual_seed(0))
        noise[:, :400] = 0
        return noise * torch.linspace(0.01, 1, 3_000)

    def test_is_undone_at_the_output(self, kind, running):
        enhancer, noisy = self.enhancer(kind, running), self.noisy()
        torch.nn.init.zeros_(enhancer.network.decoder[-1].weight)
        torch.nn.init.constant_(enhancer.network.decoder[-1].bias, 100.0)  # a mask of one
        torch.testing.assert_close(enhancer(noisy), noisy, rtol=0, atol=1e-6)

    def test_the_level_of_the_input_is_that_of_the_output(self, kind, running):
        enhancer, noisy = self.enhancer(kind, running), self.noisy()
        torch.testing.assert_close(enhancer(8 * noisy), 8 * enhancer(noisy), rtol=1e-4, atol=1e-3)

    def test_a_running_one_streams_and_the_other_says_that_it_cannot(self, kind, running):
        enhancer, noisy = self.enhancer(kind, running), self.noisy()
        assert enhancer.causal == running
        if running:
            stream = CausalStream(enhancer, 2)
            parts = [stream.push(part) for part in noisy.split(333, dim=-1)]
            heard = torch.cat([*parts, stream.finish()], dim=-1)
            torch.testing.assert_close(heard, enhancer(noisy), rtol=0, atol=1e-6)

    def test_brings_the_level_to_its_target(self, kind, running):
        noisy = self.noisy()[:, 1_000:]
        gains = Level(kind, target=0.5, running=running).gains(
            noisy, hop_length=50, sample_rate=16_000
        )
        measure = {
            "rms": lambda x: x.square().mean(-1).sqrt(),
            "std": lambda x: x.std(-1, correction=0),
            "maximum": lambda x: x.abs().amax(-1),
        }[kind]
        expected = 0.5 / measure(noisy)
        torch.testing.assert_close(gains[:, -1], expected, rtol=0.1 if running else 1e-4, atol=0)

    def test_silence_and_a_single_sample_stay_finite(self, kind, running):
        enhancer = self.enhancer(kind, running)
        for waveform in (torch.zeros(1, 500), torch.full((1, 1), 0.3), torch.full((1, 300), 0.5)):
            leaf = waveform.clone().requires_grad_()
            enhancer(leaf).square().sum().backward()
            assert leaf.grad.isfinite().all()


def test_a_level_of_nothing_is_refused():
    with pytest.raises(RasedError, match="target 0"):
        Level(target=0.0)
    with pytest.raises(RasedError, match="seconds -1"):
        Level(seconds=-1.0)
