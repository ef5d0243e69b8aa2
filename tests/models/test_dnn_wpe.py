"""Prediction of reverberation by the estimated power: nara_wpe's filters, and better ones with a better estimate."""

import pytest
import torch
from nara_wpe.wpe import wpe_v8
from torch import Tensor

from rased.errors import RasedError
from rased.evaluation.testset import BUNDLE, read_audio, read_testset
from rased.models.base import Enhancer, Prediction
from rased.models.dnn_wpe import DNNWPE
from rased.signal.prediction import dereverberated
from rased.signal.ratios import si_sdr
from rased.signal.stft import STFT
from tests.toys import Conditional
from tests.training.synthetic import TinyMask

SMALL = STFT(128, 32, 128)


class Same(Enhancer):
    """Estimates what it hears: the power of one iteration without a network."""

    def predict(self, noisy: Tensor) -> Prediction:
        return Prediction(noisy)


class Knows(Enhancer):
    """Estimates the dry speech, which it knows."""

    def __init__(self, dry: Tensor) -> None:
        super().__init__()
        self.dry = dry

    def predict(self, noisy: Tensor) -> Prediction:
        return Prediction(self.dry)


def room(time: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Bursts of noise, which stand for syllables, in a room with a decay of exp(-6) in 0.15 s; and their early part."""
    generator = torch.Generator().manual_seed(0)
    clock = torch.arange(time) / 16_000
    dry = torch.randn(1, time, generator=generator) * (torch.sin(40 * clock) > 0.6)
    length = 2_400
    decay = torch.exp(-6 * torch.arange(length) / length)
    tails = 0.15 * torch.randn(channels, length, generator=generator) * decay
    tails[:, 0] = 1.0
    spectra = torch.fft.rfft(dry, 2 * time) * torch.fft.rfft(tails, 2 * time)
    early = torch.where(torch.arange(length) < 96, tails, 0.0)[:1]
    near = torch.fft.irfft(torch.fft.rfft(dry, 2 * time) * torch.fft.rfft(early, 2 * time))
    return 0.1 * torch.fft.irfft(spectra)[:, :time], 0.1 * near[:, :time]


@pytest.mark.parametrize("channels", [1, 2])
def test_its_filters_are_those_of_nara_wpe(channels: int) -> None:
    wet, _ = room(4_000, channels)
    observed = SMALL.analysis(wet)
    power = observed.abs().square().mean(0)
    ours = dereverberated(observed[None], power[None], taps=4, delay=2, floor=1e-10)[0]
    rows = observed.permute(1, 0, 2).to(torch.complex128).numpy()
    theirs = torch.from_numpy(wpe_v8(rows, taps=4, delay=2, iterations=1)).permute(1, 0, 2)
    torch.testing.assert_close(ours.to(torch.complex128), theirs, rtol=0, atol=1e-4)
    enhancer = DNNWPE(Same(), taps=4, delay=2, channels=channels, stft=SMALL)
    found = enhancer(wet if channels == 1 else wet[None])
    again = dereverberated(observed[None], power[None], taps=4, delay=2)[0]
    torch.testing.assert_close(found, SMALL.synthesis(again[:1], 4_000), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["m0032", "m0060"])
def test_the_better_the_estimate_of_the_power_the_less_reverberation(name: str) -> None:
    """In real speech of the bundled test set: with that of the early part better than with that of the recording."""
    (item,) = [item for item in read_testset(BUNDLE).items if item.id == name]
    assert item.facts["condition"] == "reverb"
    wet, early = (
        torch.from_numpy(read_audio(path, sample_rate=16_000)).reshape(1, -1)[:, :40_000]
        for path in (item.noisy, item.target)
    )
    before, without, knowing = (
        float(si_sdr(estimate=estimate, target=early))
        for estimate in (
            wet,
            DNNWPE(Same(), taps=20, delay=4)(wet),
            DNNWPE(Knows(early), taps=20, delay=4)(wet),
        )
    )
    assert before < without < knowing - 0.5


def test_the_loss_reaches_the_network_through_the_prediction() -> None:
    torch.manual_seed(0)
    wet, early = room(4_000)
    enhancer = DNNWPE(TinyMask(dropout=0.0), taps=8, delay=3, stft=SMALL)
    optimizer = torch.optim.Adam(enhancer.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = -si_sdr(estimate=enhancer(wet), target=early).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05


def test_silence_and_short_recordings_come_back() -> None:
    enhancer = DNNWPE(TinyMask(), taps=8, delay=3, stft=SMALL).eval()
    assert enhancer.latency is None
    assert float(enhancer(torch.zeros(1, 3_000)).detach().abs().max()) == 0
    short = room(200)[0]
    torch.testing.assert_close(enhancer(short), short, rtol=0, atol=1e-6)
    silent = torch.zeros(1, 3_000, requires_grad=True)
    enhancer(silent).sum().backward()
    assert silent.grad is not None
    assert all(item.grad is None or item.grad.isfinite().all() for item in enhancer.parameters())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RasedError, match="which Conditional is not"):
        DNNWPE(Conditional())
    with pytest.raises(RasedError, match="taps 0"):
        DNNWPE(Same(), taps=0)
