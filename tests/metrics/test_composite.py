"""The measures of Hu and Loizou against their formulas, frame by frame and band by band."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from pesq import pesq
from scipy.linalg import solve_toeplitz, toeplitz

from rased.metrics import metric
from rased.metrics.composite import (
    log_likelihood_ratio,
    segmental_snr,
    weighted_spectral_slope,
)

# Centre and width of the critical bands, from the table in Loizou's files.
CENTRES = [50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128]
CENTRES += [1020.38, 1148.30, 1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08]
CENTRES += [2446.71, 2701.97, 2978.04, 3276.17, 3597.63]
WIDTHS = [70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256]
WIDTHS += [127.914, 140.423, 153.823, 168.154, 183.457, 199.776, 217.153, 235.631]
WIDTHS += [255.255, 276.072, 298.126, 321.465, 346.136]


def value(name, estimate, target):
    outcome = metric(name)(estimate=estimate, target=target, sample_rate=16_000)
    assert outcome.status == "ok"
    return outcome.value


def frames(signal):
    """Hann windows of 480 samples every 120, as MATLAB counts them: one less than fit."""
    count = int(len(signal) / 120 - 480 / 120)
    window = [0.5 * (1 - math.cos(2 * math.pi * n / 481)) for n in range(1, 481)]
    return [signal[120 * k : 120 * k + 480] * np.array(window) for k in range(count)]


@cache
def weights():
    """(band, frequency), zero where a weight is too small to count."""
    rows = np.zeros((len(CENTRES), 512))
    for row, centre, width in zip(rows, CENTRES, WIDTHS, strict=True):
        middle, bins = math.floor(centre / 8000 * 512), width / 8000 * 512
        for j in range(512):
            weight = math.exp(-11 * ((j - middle) / bins) ** 2 + math.log(70) - math.log(width))
            if weight > math.exp(-30 / (2 * 2.303)):
                row[j] = weight
    return rows


def bands(frame, magnitude):
    spectrum = np.abs(np.fft.fft(frame, 1024))[:512]
    return weights() @ (spectrum / spectrum.sum() if magnitude else spectrum**2)


def predictor(frame):
    lags = np.correlate(frame, frame, "full")[479 : 479 + 17]
    return np.concatenate([[1], solve_toeplitz(lags[:-1], -lags[1:])]), toeplitz(lags)


def best(values):
    return np.mean(sorted(values)[: round(0.95 * len(values))])


def peaks(slope, energy):
    found = []
    for i in range(24):
        n = i
        if slope[i] > 0:
            while n < 24 and slope[n] > 0:
                n += 1
            found.append(energy[n - 1])
        else:
            while n >= 0 and slope[n] <= 0:
                n -= 1
            found.append(energy[n + 1])
    return np.array(found)


@pytest.fixture(scope="module")
def pair(spoken, in_babble):
    """Half a second, as the references are slow."""
    return tuple(s[16_000:24_000].double().numpy() for s in (in_babble, spoken))


def test_segmental_snr(pair):
    estimate, target = pair
    ratios = [
        10 * math.log10(np.sum(s**2) / np.sum((s - e) ** 2))
        for s, e in zip(frames(target), frames(estimate), strict=True)
    ]
    expected = np.mean([min(35, max(-10, ratio)) for ratio in ratios])
    assert segmental_snr(estimate, target) == pytest.approx(expected, abs=1e-9)


def test_frequency_weighted_snr(pair):
    ratios = []
    for processed, clean in zip(*map(frames, pair), strict=True):
        c, p = bands(clean, magnitude=True), bands(processed, magnitude=True)
        logs = 10 * np.log10(c**2 / (c - p) ** 2)
        ratios.append(np.clip(np.sum(c**0.2 * logs) / np.sum(c**0.2), -10, 35))
    estimate, target = map(torch.from_numpy, pair)
    found = value("fwsegsnr", estimate.float(), target.float())
    assert found == pytest.approx(np.mean(ratios), abs=1e-5)


def test_log_likelihood_ratio_and_cepstral_distance(pair):
    ratios, distances = [], []
    for processed, clean in zip(*map(frames, pair), strict=True):
        (a, _), (b, correlation) = predictor(processed), predictor(clean)
        ratios.append(math.log((a @ correlation @ a) / (b @ correlation @ b)))
        # Cepstrum of 1 / |A| from a long transform instead of the recursion.
        logs = [-np.log(np.abs(np.fft.fft(c, 1 << 14))) for c in (a, b)]
        cepstra = [2 * np.fft.ifft(log).real[1:17] for log in logs]
        difference = np.linalg.norm(cepstra[0] - cepstra[1])
        distances.append(min(10, 10 / math.log(10) * math.sqrt(2) * difference))
    assert log_likelihood_ratio(*pair) == pytest.approx(best(ratios), abs=1e-7)
    estimate, target = (torch.from_numpy(s).float() for s in pair)
    assert value("llr", estimate, target) == pytest.approx(
        best([min(2, ratio) for ratio in ratios]), abs=1e-5
    )
    assert value("cd", estimate, target) == pytest.approx(best(distances), abs=1e-4)


def test_weighted_spectral_slope(pair):
    distances = []
    for processed, clean in zip(*map(frames, pair), strict=True):
        weights, slopes = [], []
        for frame in (processed, clean):
            energy = np.maximum(10 * np.log10(bands(frame, magnitude=False)), -100)
            slope = np.diff(energy)
            far = 20 / (20 + energy.max() - energy[:-1])
            weights.append(far * 1 / (1 + peaks(slope, energy) - energy[:-1]))
            slopes.append(slope)
        weight = (weights[0] + weights[1]) / 2
        distances.append(np.sum(weight * (slopes[0] - slopes[1]) ** 2) / np.sum(weight))
    assert weighted_spectral_slope(*pair) == pytest.approx(best(distances), abs=1e-7)


def test_composites_are_the_regressions_of_the_paper(spoken, in_babble):
    mos = pesq(16_000, spoken.numpy(), in_babble.numpy(), "wb")
    signals = in_babble.double().numpy(), spoken.double().numpy()
    llr, wss = log_likelihood_ratio(*signals), weighted_spectral_slope(*signals)
    snr = segmental_snr(*signals)
    assert value("csig", in_babble, spoken) == pytest.approx(
        3.093 - 1.029 * llr + 0.603 * mos - 0.009 * wss, abs=1e-6
    )
    assert value("cbak", in_babble, spoken) == pytest.approx(
        1.634 + 0.478 * mos - 0.007 * wss + 0.063 * snr, abs=1e-6
    )
    assert value("covl", in_babble, spoken) == pytest.approx(
        1.594 + 0.805 * mos - 0.512 * llr - 0.007 * wss, abs=1e-6
    )


def test_composites_are_confined_to_the_scale(spoken):
    assert value("csig", spoken, spoken) == 5.0
    noise = torch.randn(spoken.shape, generator=torch.Generator().manual_seed(0))
    assert value("covl", noise, spoken) == 1.0


def test_a_frame_of_silence_counts_as_a_flat_spectrum(spoken):
    gated = spoken.clone()
    gated[20_000:24_000] = 0
    assert 0 < value("llr", gated, spoken) < 2
    assert 0 < value("cd", gated, spoken) < 10
