"""Oracle masks order as theory says and raise SI-SDR; phase refinement never makes it worse."""

import itertools

import pytest
import torch

from rased.layers.targets import TARGETS
from rased.signal import masks, phase
from rased.signal.ratios import si_sdr
from rased.signal.stft import STFT

STFT_USED = STFT()
KINDS = (
    "binary_mask",
    "ratio_mask",
    "wiener_mask",
    "amplitude_mask",
    "phase_sensitive_mask",
    "complex_mask",
)


def scene(seed=0, time=16_000):
    """A tone complex that comes and goes, and noise."""
    clock = torch.arange(time) / 16_000
    tones = sum(torch.sin(2 * torch.pi * 150 * k * clock + k) / k for k in range(1, 20))
    target = 0.1 * tones[None] * (1 + torch.sin(2 * torch.pi * 3 * clock))
    noise = 0.1 * torch.randn(1, time, generator=torch.Generator().manual_seed(seed))
    return target, target + noise


def enhanced(kind):
    target, noisy = scene()
    clean_spectrum, noisy_spectrum = STFT_USED.analysis(target), STFT_USED.analysis(noisy)
    mask = getattr(masks, kind)(target=clean_spectrum, noisy=noisy_spectrum)
    masked = masks.apply_mask(mask, noisy_spectrum)
    return si_sdr(estimate=STFT_USED.synthesis(masked, 16_000), target=target).item()


@pytest.mark.parametrize("kind", KINDS)
def test_an_oracle_mask_improves_si_sdr(kind):
    target, noisy = scene()
    assert enhanced(kind) > si_sdr(estimate=noisy, target=target).item() + 3


def test_the_complex_mask_is_exact_and_the_phase_sensitive_one_the_best_real_one():
    assert enhanced("complex_mask") > 60
    others = [enhanced(kind) for kind in KINDS[:4]]
    assert enhanced("phase_sensitive_mask") > max(others)


def test_masks_are_what_their_formulas_say():
    target, noisy = (STFT_USED.analysis(signal) for signal in scene())
    rest = noisy - target
    expected = {
        "binary_mask": (target.abs() > rest.abs()).float(),
        "ratio_mask": (target.abs() ** 2 / (target.abs() ** 2 + rest.abs() ** 2)).sqrt(),
        "wiener_mask": target.abs() ** 2 / (target.abs() ** 2 + rest.abs() ** 2),
        "amplitude_mask": (target.abs() / noisy.abs()).clamp(max=2),
        "phase_sensitive_mask": (
            target.abs() / noisy.abs() * torch.cos(target.angle() - noisy.angle())
        ).clamp(0, 1),
        "complex_mask": target / noisy,
    }
    loud = noisy.abs() > 0.05
    for kind, value in expected.items():
        ours = getattr(masks, kind)(target=target, noisy=noisy)
        torch.testing.assert_close(ours[loud], value[loud], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_gives_a_mask_of_zero(kind):
    silence = torch.zeros(1, 257, 4, dtype=torch.complex64)
    assert getattr(masks, kind)(target=silence, noisy=silence).abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_of_a_network_stay_in_the_range_of_the_mask(kind):
    freq = 514 if kind == "complex_mask" else 257
    output = 50 * torch.randn(1, freq, 4, generator=torch.Generator().manual_seed(0))
    mask = TARGETS[kind]().interpret(output, torch.ones(1, 257, 4, dtype=torch.complex64)).mask
    assert mask.shape == (1, 257, 4)
    if kind == "complex_mask":
        compressed = torch.view_as_real(masks.compress_mask(mask))
        assert compressed.abs().max() <= masks.COMPRESSION_LIMIT
    else:
        limit = masks.AMPLITUDE_LIMIT if kind == "amplitude_mask" else 1
        assert 0 <= mask.min()
        assert mask.max() <= limit


def test_the_compressed_mask_is_that_of_the_paper():
    values = torch.linspace(-100, 100, 41)[None, None]
    ours = masks.compress_mask(torch.complex(values, -values)).real
    exponential = torch.exp(-masks.COMPRESSION_STEEPNESS * values)
    paper = masks.COMPRESSION_LIMIT * (1 - exponential) / (1 + exponential)
    torch.testing.assert_close(ours, paper, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stft", [STFT_USED, STFT(hop_length=128), STFT(window="hamming")])
def test_the_projection_is_one_and_keeps_the_waveform(stft):
    target, noisy = scene(time=8_000)
    mixed = stft.analysis(target) * stft.analysis(noisy).abs()  # no waveform has this spectrum
    once = phase.project_consistent(mixed, stft, 8_000)
    assert phase.inconsistency(mixed, stft, 8_000).item() > 1
    twice = phase.project_consistent(once, stft, 8_000)
    torch.testing.assert_close(twice, once, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(
        stft.synthesis(once, 8_000), stft.synthesis(mixed, 8_000), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("stft", [STFT_USED, STFT(hop_length=128)])
def test_griffin_lim_never_moves_away_from_the_magnitude(stft):
    target, noisy = scene(time=8_000)
    magnitude, start = stft.analysis(target).abs(), stft.analysis(noisy)
    distances = []
    for iterations in range(6):
        estimate = phase.griffin_lim(magnitude, start, stft, 8_000, iterations)
        heard = phase.project_consistent(estimate, stft, 8_000)
        distances.append((heard.abs() - magnitude).square().sum().item())
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(distances))
    assert distances[-1] < 0.9 * distances[0]


def test_griffin_lim_leaves_a_consistent_spectrum_alone_and_silence_silent():
    target, _ = scene(time=8_000)
    clean = STFT_USED.analysis(target)
    again = phase.griffin_lim(clean.abs(), clean, STFT_USED, 8_000, 3)
    torch.testing.assert_close(again, clean, rtol=0, atol=1e-3)
    silence = torch.zeros_like(clean)
    assert phase.griffin_lim(clean.abs(), silence, STFT_USED, 8_000, 3).abs().max() == 0


def test_the_unit_phase_of_any_magnitude_is_finite_and_so_is_its_gradient():
    """Down to numbers whose square, or inverse, float32 does not have."""
    magnitudes = 10.0 ** torch.arange(-45, 39, dtype=torch.float64)
    turns = torch.exp(1j * torch.arange(7, dtype=torch.float64))
    spectrum = (magnitudes[:, None] * turns).to(torch.complex64)[None].requires_grad_()
    found = phase.unit_phase(spectrum)
    (found.real + found.imag).sum().backward()
    assert torch.view_as_real(found).isfinite().all()
    assert torch.view_as_real(spectrum.grad).isfinite().all()
    loud = found[0, magnitudes > 1e-14]
    torch.testing.assert_close(loud, turns.to(loud).expand_as(loud), rtol=0, atol=1e-6)
    assert phase.unit_phase(torch.zeros(1, 2, 3, dtype=torch.complex64)).abs().max() == 0
