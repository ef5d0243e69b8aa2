"""Features against independent formulas and scipy; everything with memory in pieces as in one."""

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rased.signal import features
from rased.signal.stft import STFT


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spectrum(time=4_000):
    return STFT().analysis(0.1 * noise(2, time))


def test_power_is_the_square_of_the_magnitude_and_the_exponential_of_its_logarithm():
    some = spectrum()
    power = some.abs().square()
    torch.testing.assert_close(features.magnitude(some).square(), power)
    torch.testing.assert_close(features.power(some), power)
    torch.testing.assert_close(features.log_power(some).exp(), power + features.FLOOR)
    compressed = features.compressed_magnitude(some, exponent=0.5)
    torch.testing.assert_close(compressed**4, power + features.FLOOR, rtol=1e-4, atol=1e-6)


def test_a_power_law_keeps_the_phase_and_has_an_inverse():
    some = torch.randn(2, 3, 4, dtype=torch.complex64)
    found = features.power_law(some, 0.3)
    torch.testing.assert_close(found.abs(), some.abs() ** 0.3)
    torch.testing.assert_close(found.angle(), some.angle())
    torch.testing.assert_close(features.power_law(found, 1 / 0.3), some)
    quiet = 1e-6 * some / some.abs()
    torch.testing.assert_close(features.power_law(quiet, 0.3), quiet * 1e-5**-0.7)
    for exponent in (0.3, 1.0, 1 / 0.3):
        silence = torch.zeros(1, 1, 1, dtype=torch.complex64, requires_grad=True)
        features.power_law(silence, exponent).real.sum().backward()
        assert silence.grad.isfinite().all()


def test_complex_parts_come_back():
    some = spectrum()
    assert torch.equal(features.from_complex_parts(features.complex_parts(some)), some)


@pytest.mark.parametrize("scale", ["mel", "erb"])
def test_scales_invert_each_other_and_agree_with_known_values(scale):
    hertz = np.linspace(0, 8000, 100)
    np.testing.assert_allclose(
        features.scale_to_hertz(features.hertz_to_scale(hertz, scale), scale), hertz, atol=1e-6
    )
    known = {"mel": 999.99, "erb": 15.58}[scale]  # 1000 Hz: 1000 mel by definition; ERB rate 15.6
    assert features.hertz_to_scale(np.array(1000.0), scale) == pytest.approx(known, abs=0.1)


@pytest.mark.parametrize("scale", ["mel", "erb"])
@pytest.mark.parametrize("bands", [8, 40, 80])
def test_neighbouring_bands_sum_to_one_and_none_is_empty(scale, bands):
    weights = features.filterbank(scale, bands, 257, 16_000)
    assert weights.shape == (bands, 257)
    assert weights.min() >= 0
    assert (weights.max(axis=1) > 0).all()
    corner = features.scale_to_hertz(
        np.linspace(0, features.hertz_to_scale(np.array(8000.0), scale), bands + 2), scale
    )
    wide = corner[np.argmax(np.diff(corner) > 32)]  # from where triangles span whole bins
    inside = np.arange(257) * 31.25
    inside = (inside >= max(wide, corner[1])) & (inside <= corner[-2])
    if inside.any() and bands == 8:
        np.testing.assert_allclose(weights.sum(0)[inside], 1.0, atol=1e-5)


def test_triangles_are_linear_between_their_centres():
    weights = features.filterbank("mel", 8, 257, 16_000)
    corner = features.scale_to_hertz(
        np.linspace(0, features.hertz_to_scale(np.array(8000.0), "mel"), 10), "mel"
    )
    hertz = np.arange(257) * 31.25
    for band in range(8):
        expected = np.interp(hertz, corner[band : band + 3], [0, 1, 0])
        np.testing.assert_allclose(weights[band], expected, atol=1e-6)


def test_mfcc_is_the_cosine_transform_of_the_log_mel_power():
    some = spectrum()
    logs = features.log_mel_power(some, bands=40, sample_rate=16_000).numpy()
    expected = scipy.fft.dct(logs, type=2, norm="ortho", axis=1)[:, :13]
    ours = features.mfcc(some, bands=40, coefficients=13, sample_rate=16_000)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_white_noise_fills_bands_in_proportion_to_their_width():
    some = STFT().analysis(noise(1, 160_000))
    power = features.band_power(some, features.filterbank("erb", 16, 257, 16_000)).mean((0, 2))
    width = torch.from_numpy(features.filterbank("erb", 16, 257, 16_000)).sum(1)
    torch.testing.assert_close(power / power.sum(), width / width.sum(), rtol=0.1, atol=1e-3)


def test_standardise_and_back():
    values, mean, std = noise(2, 5, 7), noise(5), noise(5).exp()
    there = features.standardise(values, mean, std)
    torch.testing.assert_close(features.unstandardise(there, mean, std), values)


def test_utterance_cmvn_gives_zero_mean_and_unit_variance_and_zeros_for_a_constant():
    normal = features.utterance_cmvn(3 + 2 * noise(2, 5, 400))
    torch.testing.assert_close(normal.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(normal.var(-1, correction=0), torch.ones(2, 5), rtol=0, atol=1e-4)
    assert features.utterance_cmvn(torch.full((1, 2, 9), 7.0)).abs().max() == 0


def in_pieces(function, values, state, sizes):
    outputs = []
    for piece in values.split(sizes, dim=-1):
        output, state = function(piece, state)
        outputs.append(output)
    return torch.cat(outputs, dim=-1)


MEMORIES = {
    "average": (
        lambda values, state: features.exponential_average(values, state, 0.98),
        lambda: noise(2, 3, seed=9),
    ),
    "running": (
        lambda values, state: features.running_cmvn(values, state, 0.98),
        lambda: torch.zeros(2, 7),
    ),
    "running mean": (
        lambda values, state: features.running_mean(values, state, 0.98),
        lambda: torch.zeros(2, 4),
    ),
    "running unit": (
        lambda values, state: features.running_unit(values, state, 0.98),
        lambda: torch.zeros(2, 4),
    ),
    "first": (
        lambda values, state: features.first_frames_mean(values, state, 6),
        lambda: (torch.zeros(2, 3), torch.zeros(())),
    ),
    "minimum": (
        lambda values, state: features.rising_minimum(values, state, 0.05),
        lambda: torch.full((2, 3), torch.inf),
    ),
    "splice": (
        lambda values, state: features.splice(values, state, 4),
        lambda: torch.zeros(2, 3, 3),
    ),
}


@pytest.mark.parametrize("name", MEMORIES)
@settings(max_examples=20)
@given(cut=st.integers(1, 298))
def test_in_pieces_as_in_one(name, cut):
    function, initial = MEMORIES[name]
    values = noise(2, 3, 299)
    whole, _ = function(values, initial())
    pieces = in_pieces(function, values, initial(), [cut, 299 - cut])
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-4)


def test_exponential_average_is_the_recursion():
    values, average = noise(1, 2, 300), noise(1, 2, seed=1)
    ours, last = features.exponential_average(values, average, 0.9)
    for frame in range(300):
        average = 0.9 * average + 0.1 * values[..., frame]
        torch.testing.assert_close(ours[..., frame], average, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, ours[..., -1])


def test_running_cmvn_forgets_the_past_and_starts_without_bias():
    values = torch.cat([noise(1, 4, 400) * 3 + 10, noise(1, 4, 2_000, seed=1) - 5], dim=-1)
    normal, _ = features.running_cmvn(values, torch.zeros(1, 9), 0.99)
    assert normal[..., 0].abs().max() < 0.2  # the first frame is its own mean
    late = normal[..., -1_000:]
    assert late.mean(-1).abs().max() < 0.2
    assert (late.std(-1) - 1).abs().max() < 0.15


def test_a_running_mean_is_taken_out_and_the_range_stays():
    values = torch.cat([noise(1, 4, 400) * 3 + 10, noise(1, 4, 2_000, seed=1) - 5], dim=-1)
    normal, _ = features.running_mean(values, torch.zeros(1, 5), 0.99)
    assert normal[..., 0].abs().max() < 1e-5  # the first frame is its own mean
    late = normal[..., -1_000:]
    assert late.mean(-1).abs().max() < 0.1
    torch.testing.assert_close(late.std(-1), values[..., -1_000:].std(-1), rtol=0.1, atol=0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_running_level_of_one_keeps_the_phase_and_forgets_the_scale(scale):
    spectrum = scale * torch.complex(noise(1, 5, 800), noise(1, 5, 800, seed=1))
    parts = features.complex_parts(spectrum)
    values, _ = features.running_unit(parts, torch.zeros(1, 6), 0.99, parts=2)
    normal = features.from_complex_parts(values)
    torch.testing.assert_close(normal.angle(), spectrum.angle(), rtol=0, atol=1e-4)
    power = normal[..., -400:].abs().square().mean(-1)
    torch.testing.assert_close(power, torch.ones(1, 5), rtol=0, atol=0.2)
    silence, _ = features.running_unit(torch.zeros(1, 10, 9), torch.zeros(1, 6), 0.99, parts=2)
    assert silence.abs().max() == 0


def test_a_running_maximum_is_that_of_torch():
    values = noise(3, 2, 133)
    for time in (1, 2, 3, 64, 65, 133):
        ours = features.running_maximum(values[..., :time])
        assert torch.equal(ours, values[..., :time].cummax(-1).values)


def test_static_noise_is_the_mean_of_the_first_frames_and_of_those_so_far_until_then():
    values = noise(1, 3, 20)
    ours, _ = features.first_frames_mean(values, (torch.zeros(1, 3), torch.zeros(())), 6)
    for frame in range(20):
        expected = values[..., : min(frame + 1, 6)].mean(-1)
        torch.testing.assert_close(ours[..., frame], expected, rtol=1e-5, atol=1e-6)


def test_dynamic_noise_is_the_recursion_and_never_above_the_signal():
    values = noise(1, 3, 200)
    ours, _ = features.rising_minimum(values, torch.full((1, 3), torch.inf), 0.05)
    floor = torch.full((1, 3), torch.inf)
    for frame in range(200):
        floor = torch.minimum(values[..., frame], floor + 0.05)
        torch.testing.assert_close(ours[..., frame], floor, rtol=1e-4, atol=1e-5)
    assert (ours <= values + 1e-5).all()


def test_spliced_frames_are_the_oldest_first():
    values = torch.arange(1.0, 6.0).reshape(1, 1, 5)
    spliced, _ = features.splice(values, torch.zeros(1, 1, 2), 3)
    assert spliced[0, :, 0].tolist() == [0, 0, 1]
    assert spliced[0, :, 4].tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    "function", [features.magnitude, features.log_power, features.compressed_magnitude]
)
def test_gradients_on_silence_are_finite(function):
    silence = torch.zeros(1, 4, 3, dtype=torch.complex64, requires_grad=True)
    function(silence).sum().backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize(("bands", "rate"), [(24, 16_000), (64, 48_000)])
def test_gammatone_filters_are_those_of_scipy(bands, rate):
    """Where scipy's filters, which meet their mirror images at 0 Hz and at half the rate, are far from both."""
    freq = 1_025
    weights = features.gammatone_filterbank(bands, freq, rate)
    hertz = np.linspace(0, rate / 2, freq)
    centres = hertz[weights.argmax(1)]
    for row in np.flatnonzero((centres > 500) & (centres < rate / 4)):
        edges = np.linspace(0.0, features.hertz_to_scale(np.array(rate / 2), "erb"), bands + 2)
        centre = features.scale_to_hertz(edges[row + 1 : row + 2], "erb")[0]
        taps = scipy.signal.gammatone(centre, "fir", order=4, numtaps=4_096, fs=rate)[0]
        places = np.append(hertz, centre)
        power = np.abs(scipy.signal.freqz(taps, worN=places, fs=rate)[1]) ** 2
        np.testing.assert_allclose(weights[row], power[:-1] / power[-1], rtol=0, atol=0.02)


def test_every_bin_is_heard_and_a_tone_in_its_band():
    weights = features.gammatone_filterbank(40, 257, 16_000)
    assert (weights.sum(0) > 0.1).all()
    clock = torch.arange(8_000) / 16_000
    tone = STFT().analysis(0.1 * torch.sin(2 * torch.pi * 1_000 * clock)[None])
    logs = features.log_gammatone_power(tone, bands=40, sample_rate=16_000)
    centre = features.scale_to_hertz(
        np.linspace(0.0, features.hertz_to_scale(np.array(8_000.0), "erb"), 42)[1:-1], "erb"
    )
    assert abs(centre[int(logs[0, :, 10].argmax())] - 1_000) < 80
