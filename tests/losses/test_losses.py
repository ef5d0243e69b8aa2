"""Losses against independent formulas, and sums of losses."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rased.building import build
from rased.errors import RasedError
from rased.losses.base import Loss, OnWaveforms, WeightedSum, total
from rased.losses.mask import OutputMSE, PhaseSensitiveApproximation
from rased.losses.spectral import (
    ComplexMSE,
    CompressedSpectrum,
    LogPower,
    Magnitude,
    MultiResolutionSTFT,
    OnSTFT,
)
from rased.losses.waveform import L1, SISDR, SNR
from rased.signal.domains import Domain
from rased.signal.ratios import si_sdr, snr
from tests.losses.examples import SMALL, noise


def test_convergence_is_the_papers_where_the_estimate_is_not_louder() -> None:
    loss, target = MultiResolutionSTFT([(64, 16, 64)]), noise(1)
    stft = loss.transforms[0]
    for size in (0.2, 0.9, 1.0):
        estimate = size * noise(1) * (1 + 0.05 * noise(3))
        e, t = (stft.analysis(one).abs() for one in (estimate, target))
        paper = ((e - t).norm(dim=(1, 2)) / t.norm(dim=(1, 2))).mean()
        paper += (e.log() - t.log()).abs().mean()
        value = loss(estimate=estimate, target=target)
        torch.testing.assert_close(value, paper, rtol=2e-2, atol=1e-3)


def spectra(seed: int) -> tuple[np.ndarray, np.ndarray, Tensor, Tensor]:
    estimate, target = SMALL.analysis(noise(seed)), SMALL.analysis(noise(seed + 1))
    return estimate.numpy(), target.numpy(), estimate, target


def test_waveform_losses_are_the_ratios() -> None:
    estimate, target = noise(0) + noise(1), noise(0)
    pair = {"estimate": estimate, "target": target}
    assert SISDR()(**pair) == -si_sdr(**pair).mean()
    assert SNR(threshold_db=None)(**pair) == -snr(**pair).mean()


@pytest.mark.parametrize("scale", [1e-3, 0.03, 1.0])
def test_thresholded_snr_is_that_of_mixture_invariant_training(scale: float) -> None:
    target = noise(0).double()
    estimate = target + scale * noise(1).double()
    tau = 10 ** (-30 / 10)
    energy, error = target.square().sum(-1), (target - estimate).square().sum(-1)
    expected = (10 * ((error + tau * energy) / energy).log10()).mean()
    torch.testing.assert_close(
        SNR(threshold_db=30.0)(estimate=estimate, target=target), expected, rtol=1e-6, atol=1e-6
    )


def test_compressed_spectrum_against_numpy() -> None:
    e, s, estimate, target = spectra(4)
    level = np.sqrt((np.abs(s) ** 2).mean((1, 2), keepdims=True))
    e, s = e / level, s / level
    magnitude = np.mean((np.abs(e) ** 0.3 - np.abs(s) ** 0.3) ** 2)
    compress = lambda x: np.abs(x) ** 0.3 * np.exp(1j * np.angle(x))  # noqa: E731
    phase = np.mean(np.abs(compress(e) - compress(s)) ** 2)
    value = CompressedSpectrum(0.3, 0.3)(estimate=estimate, target=target)
    assert float(value) == pytest.approx(0.7 * magnitude + 0.3 * phase, rel=1e-4)


def test_an_estimate_that_falls_short_costs_more_where_asked() -> None:
    target = torch.full((1, 3, 4), 2.0 + 0j)
    symmetric = CompressedSpectrum(0.5, 0.0, normalise=False)
    asymmetric = CompressedSpectrum(0.5, 0.0, normalise=False, asymmetry=3.0)
    short, over = 0.5 * target, 2 * target
    expected = 9 * symmetric(estimate=short, target=target)
    torch.testing.assert_close(asymmetric(estimate=short, target=target), expected)
    assert asymmetric(estimate=over, target=target) == symmetric(estimate=over, target=target)


def test_compressed_spectrum_does_not_know_the_level() -> None:
    _, _, estimate, target = spectra(4)
    loud = CompressedSpectrum()(estimate=estimate, target=target)
    quiet = CompressedSpectrum()(estimate=0.03 * estimate, target=0.03 * target)
    torch.testing.assert_close(loud, quiet, rtol=2e-3, atol=0)


def test_log_power_against_numpy() -> None:
    e, s, estimate, target = spectra(6)
    expected = np.mean((np.log(np.abs(e) ** 2) - np.log(np.abs(s) ** 2)) ** 2)
    assert float(LogPower()(estimate=estimate, target=target)) == pytest.approx(expected, rel=1e-2)


def test_phase_sensitive_approximation_against_the_paper() -> None:
    _, s, _, target = spectra(8)
    noisy = SMALL.analysis(noise(8))
    mask = torch.rand(noisy.shape, generator=torch.Generator().manual_seed(1))
    theta = np.angle(s) - np.angle(noisy.numpy())
    ideal = np.clip(np.abs(s) * np.cos(theta), 0, None)
    expected = np.mean((mask.numpy() * np.abs(noisy.numpy()) - ideal) ** 2)
    value = PhaseSensitiveApproximation()(estimate=mask * noisy, target=target)
    assert float(value) == pytest.approx(expected, rel=1e-3)


def test_weighted_sum_is_the_sum() -> None:
    estimate, target = noise(0), noise(1)
    pair = {"estimate": estimate, "target": target}
    expected = 3 * L1()(**pair) + 0.5 * SNR()(**pair)
    torch.testing.assert_close(WeightedSum([L1(), SNR()], [3.0, 0.5])(**pair), expected)


def test_weighted_sum_from_a_configuration() -> None:
    spec = {
        "class_path": "rased.losses.base.WeightedSum",
        "init_args": {
            "losses": [
                {"class_path": "rased.losses.waveform.SNR"},
                {
                    "class_path": "rased.losses.spectral.OnSTFT",
                    "init_args": {
                        "loss": {
                            "class_path": "rased.losses.spectral.CompressedSpectrum",
                            "init_args": {"exponent": 0.5},
                        }
                    },
                },
            ],
            "weights": [0.1, 1.0],
        },
    }
    loss = build(Loss, spec)
    assert isinstance(loss, WeightedSum)
    assert loss.domain == "waveform"
    pair = {"estimate": noise(0), "target": noise(1)}
    expected = 0.1 * SNR()(**pair) + OnSTFT(CompressedSpectrum(0.5))(**pair)
    torch.testing.assert_close(loss(**pair), expected)


@pytest.mark.parametrize(
    ("losses", "weights", "names", "message"),
    [
        ([], None, None, "at least one loss"),
        ([L1()], [1.0, 2.0], None, "1 losses and 2 weights"),
        ([L1()], [math.nan], None, "the weight nan; give a number"),
        (
            [L1(), SNR()],
            None,
            ["one"],
            "2 losses and the names one: give each loss a different name",
        ),
        ([L1(), SNR()], None, ["one", "one"], "2 losses and the names one, one"),
        ([L1()], None, ["a/b"], "a name of WeightedSum is 'a/b'"),
    ],
)
def test_weighted_sum_refuses(
    losses: list[Loss], weights: list[float] | None, names: list[str] | None, message: str
) -> None:
    with pytest.raises(RasedError, match=message):
        WeightedSum(losses, weights, names)


def pairs(*domains: Domain) -> dict[Domain, tuple[Tensor, Tensor]]:
    waveforms = noise(0), noise(1)
    return {
        domain: waveforms
        if domain == "waveform"
        else (SMALL.analysis(waveforms[0]), SMALL.analysis(waveforms[1]))
        for domain in domains
    }


def test_a_sum_joins_domains_and_its_terms_add_up() -> None:
    loss = WeightedSum([L1(), ComplexMSE(), OutputMSE()], [10.0, 0.5, 2.0])
    assert loss.domains == ("waveform", "spectrum", "output")
    given = pairs(*loss.domains)
    terms = loss.terms(given)
    assert [*terms] == ["l1", "complex_mse", "output_mse"]
    for weight, (name, part) in zip(
        (10.0, 0.5, 2.0),
        {"l1": L1(), "complex_mse": ComplexMSE(), "output_mse": OutputMSE()}.items(),
        strict=True,
    ):
        estimate, target = given[part.domain]
        assert torch.equal(terms[name], weight * part(estimate=estimate, target=target))
    assert torch.equal(total(terms), sum([*terms.values()][1:], terms["l1"]))
    with pytest.raises(RasedError, match="compares waveform and spectrum and output"):
        loss(estimate=noise(0), target=noise(1))


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (WeightedSum([SNR(), L1()], names=["loud", "near"]), ["loud", "near"]),
        (WeightedSum([L1(), L1(), L1()]), ["l1", "l1_2", "l1_3"]),
        (WeightedSum([OnSTFT(Magnitude(), SMALL), SISDR()]), ["magnitude", "sisdr"]),
        (WeightedSum([OnWaveforms(torch.nn.L1Loss()), SNR()]), ["l1_loss", "snr"]),
        (WeightedSum([SNR(), WeightedSum([L1(), SISDR()])]), ["snr", "l1", "sisdr"]),
        (
            WeightedSum([SNR(), WeightedSum([L1(), SISDR()])], names=["level", "shape"]),
            ["level", "shape/l1", "shape/sisdr"],
        ),
        (
            WeightedSum([WeightedSum([L1(), SNR()], names=["a", "b"])], [3.0], names=["x"]),
            ["x/a", "x/b"],
        ),
        (WeightedSum([L1(), WeightedSum([L1(), WeightedSum([L1()])])]), ["l1", "l1_2", "l1_3"]),
    ],
)
def test_terms_have_names_that_read_well(loss: WeightedSum, names: list[str]) -> None:
    given = pairs("waveform")
    terms = loss.terms(given)
    assert [*terms] == names
    estimate, target = given["waveform"]
    torch.testing.assert_close(total(terms), loss(estimate=estimate, target=target))


def test_si_sdr_threshold_limits_softly() -> None:
    target = noise(0)
    assert float(SISDR(threshold_db=30.0)(estimate=target, target=target)) == pytest.approx(-30.0)
    at_threshold = -10 * math.log10(2 * 10**-3)
    other = target + 10 ** (-30 / 20) * noise(1) * target.norm() / noise(1).norm()
    value = SISDR(threshold_db=30.0)(estimate=other, target=target)
    assert float(value) == pytest.approx(-at_threshold, abs=0.2)
