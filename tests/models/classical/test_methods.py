"""What every frame-by-frame method must do to real recordings of the bundled test set."""

import numpy as np
import pytest
import torch
from scipy.special import exp1

from rased import audio
from rased.models.classical import METHODS
from rased.models.classical.frames import FrameGain
from rased.models.classical.noise import IMCRAState, decay
from rased.models.classical.omlsa import RATIO_SMOOTHING
from rased.signal.ratios import si_sdr
from tests import EXCERPTS

CAUSAL = [name for name, kind in METHODS.items() if issubclass(kind, FrameGain)]
STATIONARY = ["m0008", "m0017"]  # rain, a mine pump


def bundled(role, name):
    samples, _ = audio.read(EXCERPTS / role / f"{name}.flac", sample_rate=16_000)
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


def om_lsa_of_the_paper(power, noises, *, alpha, share, xi_min, g_min):
    """Gains of Cohen and Berdugo 2001, bin after bin in double precision, from the power of the noise.

    Args:
        power: (frames, freq), of the noisy frames.
        noises: the same, of the noise.
        alpha: share of the last frame in the prior SNR.
        share: of the last frame in the smoothed prior SNR: 0.7 in the paper.
        xi_min: its floor.
        g_min: gain without speech.
    """

    def hann_mean(values, k, reach):
        weights = {
            k + i: 0.5 + 0.5 * np.cos(np.pi * i / (reach + 1)) for i in range(-reach, reach + 1)
        }
        inside = {i: weight for i, weight in weights.items() if 0 <= i < len(values)}
        return sum(w * values[i] for i, w in inside.items()) / sum(inside.values())

    def likelihood(ratio, low=10**-1.0, high=10**-0.5):
        return np.clip(np.log(ratio / low) / np.log(high / low), 0, 1)

    freq, last, peak = power.shape[1], 0.0, 1.0
    clean, zeta, found = np.zeros(freq), np.zeros(freq), []
    for frame, noise in zip(power, noises, strict=True):
        gamma = frame / noise
        xi = np.maximum(alpha * clean / noise + (1 - alpha) * np.maximum(gamma - 1, 0), xi_min)
        zeta = share * zeta + (1 - share) * xi
        mean = zeta.mean()
        p_frame = 0.0
        if mean > 0.1 and mean > last:
            p_frame, peak = 1.0, min(max(mean, 1.0), 10.0)
        elif mean > 0.1:
            p_frame = likelihood(mean / peak)
        last = mean
        q = np.array(
            [
                1 - likelihood(hann_mean(zeta, k, 1)) * likelihood(hann_mean(zeta, k, 15)) * p_frame
                for k in range(freq)
            ]
        )
        q = np.minimum(q, 0.95)
        v = gamma * xi / (1 + xi)
        p = 1 / (1 + q / (1 - q) * (1 + xi) * np.exp(-v))
        with_speech = np.minimum(xi / (1 + xi) * np.exp(exp1(v) / 2), 1)
        clean = with_speech**2 * frame
        found.append(np.maximum(with_speech**p * g_min ** (1 - p), g_min))
    return np.array(found)


def test_om_lsa_is_the_paper_s():
    enhancer = METHODS["om-lsa"](
        n_fft=512, hop_length=128, smoothing=0.92, prior_floor_db=-25.0, gain_floor_db=-25.0
    )
    spectrum = enhancer.stft.analysis(bundled("noisy", "m0022")[:, :20_000])
    power = spectrum[0].abs().square().T.numpy()
    state, noises, gains = enhancer.initial_frame_state(1), [], []
    for frame in power[:, None]:
        tracked = IMCRAState(**{name: state[name] for name in IMCRAState._fields})
        noises.append(enhancer.tracker.noise(frame, tracked)[0])
        gain, state = enhancer.frame_gain(frame, state)
        gains.append(gain[0])
    gains, noises = np.array(gains), np.maximum(noises, 1e-12)
    share = decay(RATIO_SMOOTHING, enhancer.frame_rate)
    assert share == pytest.approx(0.7, abs=0.01)
    paper = om_lsa_of_the_paper(
        power, noises, alpha=0.92, share=share, xi_min=10**-2.5, g_min=10**-1.25
    )
    assert float(gains.mean()) < 0.5
    # Whether the SNR of a frame rises can hang on a rounding: then single bins differ by more.
    assert float(np.quantile(np.abs(gains - paper), 0.99)) < 0.005


def test_wpe_om_lsa_is_the_one_behind_the_other():
    enhancer, noisy = METHODS["wpe-om-lsa"](), bundled("noisy", "m0001")[:, :24_000]
    assert torch.equal(enhancer(noisy), enhancer.omlsa(enhancer.wpe(noisy)))
    target = bundled("target", "m0001")[:, :24_000]
    before, after = (si_sdr(estimate=e, target=target) for e in (noisy, enhancer(noisy)))
    assert float(after - before) > 1.0
