"""Losses against packages that define them independently, or against a few lines of NumPy after the equation."""

import auraloss
import numpy as np
import pystoi
import pytest
import soundfile
import torch
from pesq import pesq
from pystoi.utils import resample_oct
from scipy.signal import get_window
from torch import Tensor, nn

from rased.errors import RasedError
from rased.losses.base import Loss
from rased.losses.feature import FeatureDistance
from rased.losses.intelligibility import ESTOI, STOI
from rased.losses.mask import OutputMSE
from rased.losses.phase import AntiWrapping, Consistency
from rased.losses.quality import PMSQE
from rased.losses.spectral import (
    ComplexMSE,
    CompressedSpectrum,
    LogMagnitude,
    Magnitude,
    MultiResolutionSTFT,
)
from rased.losses.waveform import L1, SISDR, SNR
from rased.signal.resampling import resample
from rased.zoo.frozen import Frozen
from tests import EXCERPTS
from tests.losses.examples import SMALL, Encoder, noise, seeded


def excerpt(name: str) -> dict[str, Tensor]:
    """A recorded mixture and its target, at 16 kHz."""
    pair = (
        soundfile.read(EXCERPTS / kind / f"{name}.flac", dtype="float32")[0]
        for kind in ("noisy", "target")
    )
    noisy, target = (torch.from_numpy(one)[None] for one in pair)
    return {"estimate": noisy, "target": target}


def spectra(seed: int = 4) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
    pair = {"estimate": SMALL.analysis(noise(seed)), "target": SMALL.analysis(noise(seed + 1))}
    return pair, pair["estimate"].numpy(), pair["target"].numpy()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SISDR(), auraloss.time.SISDRLoss()),
        (SNR(threshold_db=None), auraloss.time.SNRLoss(zero_mean=False)),
    ],
    ids=["si-sdr", "snr"],
)
def test_ratios_are_those_of_auraloss(ours: Loss, theirs: nn.Module) -> None:
    for size in (0.01, 1.0):
        target = noise(0) + 0.02
        estimate = 0.7 * target + size * noise(1)
        expected = theirs(estimate[:, None], target[:, None])
        torch.testing.assert_close(
            ours(estimate=estimate, target=target), expected, rtol=1e-4, atol=1e-4
        )


def test_magnitudes_are_compared_as_by_auraloss() -> None:
    pair, _, _ = spectra()
    size = [pair[name].abs() for name in ("estimate", "target")]
    logs = auraloss.freq.STFTMagnitudeLoss(log=True)(*size)
    squares = auraloss.freq.STFTMagnitudeLoss(log=False, distance="L2")(*size)
    torch.testing.assert_close(LogMagnitude()(**pair), logs, rtol=1e-4, atol=0)
    torch.testing.assert_close(Magnitude()(**pair), squares, rtol=1e-4, atol=0)


def test_resolutions_are_compared_as_by_auraloss() -> None:
    """The same frames of an estimate that is softer than the target, whose norm is the paper's."""
    loss = MultiResolutionSTFT([(64, 16, 64), (128, 32, 128)])
    estimate, target = 0.5 * noise(1, batch=1), noise(0, batch=1)
    expected = 0.0
    for stft in loss.transforms:
        size = [stft.analysis(one).abs() for one in (estimate, target)]
        convergence = auraloss.freq.SpectralConvergenceLoss()(*size)
        expected = expected + (convergence + auraloss.freq.STFTMagnitudeLoss()(*size)) / 2
    torch.testing.assert_close(loss(estimate=estimate, target=target), expected, rtol=1e-3, atol=0)


def test_simple_distances_against_numpy() -> None:
    pair, e, s = spectra()
    assert float(ComplexMSE()(**pair)) == pytest.approx(np.mean(np.abs(e - s) ** 2), rel=1e-5)
    assert float(OutputMSE()(**pair)) == pytest.approx(np.mean(np.abs(e - s) ** 2), rel=1e-5)
    real = {"estimate": noise(0), "target": noise(1)}
    e, s = noise(0).numpy(), noise(1).numpy()
    assert float(OutputMSE()(**real)) == pytest.approx(np.mean((e - s) ** 2), rel=1e-5)
    assert float(L1()(**real)) == pytest.approx(np.mean(np.abs(e - s)), rel=1e-5)


def test_phases_against_the_equations() -> None:
    pair, e, s = spectra()
    wrapped = lambda x: np.abs(x - 2 * np.pi * np.round(x / (2 * np.pi)))  # noqa: E731
    difference = np.angle(e).astype(float) - np.angle(s)
    over_freq = np.diff(difference, axis=1, prepend=0.0)
    over_time = np.diff(difference, axis=2, prepend=0.0)
    parts = [wrapped(one).mean() for one in (difference, over_freq, over_time)]
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.3, 2.0, 1.0)):
        expected = float(np.dot(weights, parts))
        assert float(AntiWrapping(*weights)(**pair)) == pytest.approx(expected, rel=1e-4)


def test_a_silent_bin_has_no_phase() -> None:
    pair, _, _ = spectra()
    pair["target"][:, 5:9] = 0
    value = AntiWrapping()(**pair)
    pair["estimate"][:, 5:9] *= 1j
    assert torch.equal(AntiWrapping()(**pair), value)


def test_consistency_against_numpy() -> None:
    """Overlap-add of windowed frames, the same frames again, and what changed in those inside."""
    drawn = np.random.default_rng(0)
    spectrum = drawn.standard_normal((33, 12)) + 1j * drawn.standard_normal((33, 12))
    window = np.sqrt(get_window("hann", 64))
    waveform, sums = np.zeros(12 * 32 + 32), np.zeros(12 * 32 + 32)
    for k in range(12):
        waveform[32 * k : 32 * k + 64] += window * np.fft.irfft(spectrum[:, k])
        sums[32 * k : 32 * k + 64] += window**2
    waveform /= np.maximum(sums, 1e-12)
    again = [np.fft.rfft(window * waveform[32 * k : 32 * k + 64]) for k in range(12)]
    removed = (spectrum - np.transpose(again))[:, 2:-2]
    given = torch.from_numpy(spectrum).to(torch.complex64)[None]
    value = Consistency(SMALL)(estimate=given, target=given)
    assert float(value) == pytest.approx(np.mean(np.abs(removed) ** 2), rel=1e-4)


def test_spectra_of_waveforms_are_consistent() -> None:
    for time in (320, 331, 800):
        spectrum = SMALL.analysis(noise(0, time=time))
        assert float(Consistency(SMALL)(estimate=spectrum, target=spectrum)) < 1e-10
    with pytest.raises(RasedError, match="a spectrum of 33 bins, but its stft has 257"):
        Consistency()(estimate=spectrum, target=spectrum)


@pytest.mark.parametrize("name", ["m0000", "m0022"])
def test_intelligibility_is_that_of_pystoi(name: str) -> None:
    pair = excerpt(name)
    noisy, target = (pair[key][0].numpy() for key in ("estimate", "target"))
    for loss, extended in ((STOI(), False), (ESTOI(), True)):
        expected = 1 - pystoi.stoi(target, noisy, 16_000, extended=extended)
        assert float(loss(**pair)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sample_rate", [8_000, 10_000, 48_000])
def test_intelligibility_at_any_rate(sample_rate: int) -> None:
    """Noise in bursts, with pauses between them."""
    time = sample_rate * 6 // 5
    bursts = (torch.arange(time) * 7 // time % 2 == 0) + 1e-4
    target = bursts * noise(0, batch=1, time=time)
    estimate = target + 0.5 * noise(1, batch=1, time=time)
    expected = 1 - pystoi.stoi(target[0].numpy(), estimate[0].numpy(), sample_rate)
    assert float(STOI(sample_rate)(estimate=estimate, target=target)) == pytest.approx(
        expected, abs=1e-3
    )


@pytest.mark.parametrize("rates", [(16_000, 10_000), (8_000, 10_000), (44_100, 16_000)])
def test_resampling_is_that_of_octave(rates: tuple[int, int]) -> None:
    waveform = noise(0, batch=1, time=1_001)
    expected = resample_oct(waveform[0].numpy().astype(float), rates[1], rates[0])
    resampled = resample(waveform, *rates)[0].numpy()
    np.testing.assert_allclose(resampled, expected, atol=1e-6)


@pytest.mark.parametrize("loss", [STOI(), ESTOI(), PMSQE()], ids=["stoi", "estoi", "pmsqe"])
def test_an_item_without_speech_counts_nothing(loss: Loss) -> None:
    speech, sound = noise(0, batch=1), noise(1, batch=1)
    batch = {"estimate": torch.cat([sound, sound]), "target": torch.cat([speech, 0 * speech])}
    alone = loss(estimate=sound, target=speech)
    torch.testing.assert_close(loss(**batch), alone / 2)


AUTHORS = {"m0000": 1.7285428, "m0004": 2.4381981, "m0022": 3.1802995}
"""SingleSrcPMSQE of asteroid 92c8d83, by the authors of the paper, for the power spectra of these excerpts."""


@pytest.mark.parametrize("name", AUTHORS)
def test_quality_is_that_of_its_authors(name: str) -> None:
    assert float(PMSQE()(**excerpt(name))) == pytest.approx(AUTHORS[name], rel=1e-5)


def test_quality_falls_as_pesq_rises() -> None:
    pair = excerpt("m0004")
    target, rest = pair["target"], pair["estimate"] - pair["target"]
    costs, scores = [], []
    for size in (1.0, 0.3, 0.1):
        estimate = target + size * rest
        costs.append(float(PMSQE()(estimate=estimate, target=target)))
        scores.append(pesq(16_000, target[0].numpy(), estimate[0].numpy(), "wb"))
    assert scores == sorted(scores)
    assert costs == sorted(costs, reverse=True)
    assert costs[0] - costs[-1] > 0.5


@pytest.mark.parametrize("level_db", [-70, -40, -20])
def test_silence_costs_as_much_as_the_estimate_is_loud(level_db: int) -> None:
    """An item of noise alone weighs about as much as one of speech, and training makes its estimate softer."""
    loss = CompressedSpectrum()
    estimate = 10 * noise(0) * 10 ** (level_db / 20)
    given = SMALL.analysis(estimate).requires_grad_(True)
    silence = torch.zeros_like(given)
    value = loss(estimate=given, target=silence)
    (gradient,) = torch.autograd.grad(value, given)
    assert float(value.detach()) < 1.0
    assert (gradient * given.detach().conj()).real.min() >= 0
    assert loss(estimate=0.5 * given, target=silence) < value
    ordinary = loss(estimate=0.1 * given, target=SMALL.analysis(noise(1)))
    assert value < 3 * ordinary


def test_features_against_their_definition() -> None:
    network = seeded(Encoder())
    estimate, target = noise(0), noise(1)
    first = [network.first(nn.functional.pad(one[:, None], (0, 40))) for one in (estimate, target)]
    second = [network.second(one.relu()) for one in first]
    each = [((e - t).abs().mean((1, 2)) / t.abs().mean((1, 2))).mean() for e, t in (first, second)]
    loss = FeatureDistance(network, ["first", "second"])
    torch.testing.assert_close(loss(estimate=estimate, target=target), sum(each) / 2)
    alone = FeatureDistance(network)(estimate=estimate, target=target)
    torch.testing.assert_close(alone, each[1])


def test_a_feature_network_is_neither_trained_nor_saved() -> None:
    loss = FeatureDistance(Encoder().train(), ["first"])
    assert [*loss.parameters()] == []
    assert loss.state_dict() == {}
    assert not loss.network.training
    estimate = noise(0).requires_grad_(True)
    loss(estimate=estimate, target=noise(1)).backward()
    assert estimate.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in loss.network.parameters())
    assert not loss.network.first._forward_hooks
    with pytest.raises(RasedError, match="Encoder has no layer 'frist'; did you mean 'first'"):
        FeatureDistance(Encoder(), ["frist"])


def test_a_recurrent_feature_network_has_a_gradient_with_cudnn_and_no_dropout() -> None:
    """The recurrent layers of cuDNN give a gradient in training mode alone."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LSTM(8, 4, num_layers=2, dropout=0.5, batch_first=True)
            self.drop = nn.Dropout(0.5)

        def forward(self, waveform: Tensor) -> Tensor:
            return self.drop(self.layer(waveform.unflatten(-1, (-1, 8)))[0])

    network = seeded(Recurrent()).eval()
    estimate, target = noise(0), noise(1)
    with torch.no_grad():
        made, wanted = network(estimate), network(target)
    expected = (made - wanted).abs().mean((1, 2)) / wanted.abs().mean((1, 2))
    loss = FeatureDistance(network)
    torch.testing.assert_close(loss(estimate=estimate, target=target), expected.mean())
    modes = [part.training for part in (loss.network, loss.network.layer, loss.network.drop)]
    assert modes == [False, True, False]


def test_a_checkpoint_of_the_zoo_gives_features() -> None:
    loss = FeatureDistance(Frozen("gru-mask-16k"), ["enhancer.network"])
    estimate = (noise(0) + 0.1 * noise(1)).requires_grad_(True)
    near = loss(estimate=estimate, target=noise(0))
    (gradient,) = torch.autograd.grad(near, estimate)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    assert 0 < float(near.detach()) < float(loss(estimate=noise(1), target=noise(0)))
