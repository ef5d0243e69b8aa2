"""What every frame-by-frame method must do to real recordings of the bundled test set."""

import pytest
import torch

from rased import audio
from rased.evaluation.testset import BUNDLE
from rased.models.classical import METHODS
from rased.models.classical.frames import FrameGain
from rased.signal.ratios import si_sdr

CAUSAL = [name for name, kind in METHODS.items() if issubclass(kind, FrameGain)]
STATIONARY = ["m0008", "m0017"]  # rain, a mine pump


def bundled(role, name):
    samples, _ = audio.read(BUNDLE / role / f"{name}.flac", sample_rate=16_000)
    return torch.from_numpy(samples[:, :40_000])


def decibels(estimate, reference):
    return float(10 * (estimate.square().mean() / reference.square().mean()).log10())


@pytest.mark.parametrize("name", CAUSAL)
def test_stationary_noise_goes_down_and_speech_stays(name):
    enhancer = METHODS[name]()
    gains = []
    for mixture in STATIONARY:
        noisy, target = bundled("noisy", mixture), bundled("target", mixture)
        before = si_sdr(estimate=noisy, target=target)
        gains.append(float(si_sdr(estimate=enhancer(noisy), target=target) - before))
    assert min(gains) > 1.0, gains


@pytest.mark.parametrize("name", CAUSAL)
def test_speech_without_noise_passes(name):
    clean = bundled("target", "m0004")
    estimate = METHODS[name]()(clean)
    assert float(si_sdr(estimate=estimate, target=clean)) > 15.0
    assert decibels(estimate, clean) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("name", METHODS)
def test_silence_stays_silent(name):
    assert float(METHODS[name]()(torch.zeros(1, 16_000)).abs().max()) == 0


@pytest.mark.parametrize("name", CAUSAL)
def test_silence_before_or_within_the_noise_does_not_disturb_the_estimate(name):
    enhancer = METHODS[name]()
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(1, 32_000, generator=generator)
    silence = torch.zeros(1, 8_000)
    gapped = torch.cat([silence, noise[:, :16_000], silence, noise[:, 16_000:]], dim=-1)
    reduced = enhancer(gapped)
    assert decibels(reduced[:, 16_000:24_000], gapped[:, 16_000:24_000]) < -5
    assert decibels(reduced[:, -15_000:], gapped[:, -15_000:]) < -5


@pytest.mark.parametrize("name", CAUSAL)
def test_the_level_of_the_input_does_not_matter(name):
    enhancer, noisy = METHODS[name](), bundled("noisy", "m0022")[:, :32_000]
    torch.testing.assert_close(enhancer(0.1 * noisy), 0.1 * enhancer(noisy), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_gain_lies_between_its_floor_and_one(name):
    enhancer = METHODS[name]()
    spectrum = enhancer.stft.analysis(bundled("noisy", "m0022"))
    prediction, _ = enhancer.process(spectrum, enhancer.initial_process_state(1))
    assert float(prediction.mask.max()) <= 1.0
    assert float(prediction.mask.min()) >= getattr(enhancer, "gain_floor", 0.0) * (1 - 1e-5)


def test_om_lsa_weighs_with_the_presence_of_speech():
    enhancer = METHODS["om-lsa"]()
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(1, 32_000, generator=generator)
    spectrum = enhancer.stft.analysis(noise)
    prediction, _ = enhancer.process(spectrum, enhancer.initial_process_state(1))
    late = prediction.mask[..., 50:-8].log10().mean()
    assert 20 * float(late) == pytest.approx(20 * torch.tensor(enhancer.gain_floor).log10(), abs=2)


def test_wpe_om_lsa_is_the_one_behind_the_other():
    enhancer, noisy = METHODS["wpe-om-lsa"](), bundled("noisy", "m0001")[:, :24_000]
    assert torch.equal(enhancer(noisy), enhancer.omlsa(enhancer.wpe(noisy)))
    target = bundled("target", "m0001")[:, :24_000]
    before, after = (si_sdr(estimate=e, target=target) for e in (noisy, enhancer(noisy)))
    assert float(after - before) > 1.0
