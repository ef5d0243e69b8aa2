"""PESQ, STOI, ESTOI, SI-SDR, SDR, SNR against frozen values, other libraries, formulas written apart from them."""

import warnings

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from rased.metrics import intrusive, metric
from rased.native import call


def value(name, estimate, target):
    outcome = metric(name)(estimate=estimate, target=target, sample_rate=16_000)
    assert outcome.status == "ok"
    return outcome.value


# Made by `pesq` 0.0.4 and `pystoi` 0.4.1 for the two fixtures.
FROZEN = {"pesq-wb": 1.0549, "stoi": 0.9306, "estoi": 0.7171, "si-sdr": 10.0231}


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_frozen_values(name, noisy, target):
    assert value(name, noisy, target) == pytest.approx(FROZEN[name], abs=2e-3)


def test_pesq_of_the_target_itself_is_the_top_of_the_scale(target):
    # P.862.2: MOS-LQO = 0.999 + 4 / (1 + exp(-1.3669 raw + 3.8224)); raw 4.5 for identical signals.
    top = 0.999 + 4 / (1 + np.exp(-1.3669 * 4.5 + 3.8224))
    assert value("pesq-wb", target, target) == pytest.approx(top, abs=1e-3)


def test_pesq_and_stoi_do_not_hear_the_level(noisy, target):
    for name in ("pesq-wb", "stoi", "estoi", "si-sdr"):
        assert value(name, 0.5 * noisy, target) == pytest.approx(
            value(name, noisy, target), abs=5e-3
        )


def _third_octaves(waveform):
    """Third-octave envelopes at 10 kHz (band, frames), after section II of Taal 2011."""
    window = np.hanning(258)[1:-1]
    starts = range(0, len(waveform) - 256, 128)
    power = np.abs(np.fft.rfft([window * waveform[s : s + 256] for s in starts], 512)).T ** 2
    frequency = np.arange(257) * 10_000 / 512
    centre = 150 * 2 ** (np.arange(15) / 3)
    nearest = [
        np.abs(frequency[:, None] - centre * 2**shift).argmin(0) for shift in (-1 / 6, 1 / 6)
    ]
    return np.sqrt(np.stack([power[low:high].sum(0) for low, high in zip(*nearest, strict=True)]))


def _active(target, estimate):
    """Frames within 40 dB of the loudest target frame, joined by overlap-add."""
    window = np.hanning(258)[1:-1]
    starts = range(0, len(target) - 256, 128)
    frames = [np.array([window * s[k : k + 256] for k in starts]) for s in (target, estimate)]
    level = 20 * np.log10(np.linalg.norm(frames[0], axis=1) + 1e-16)
    keep = level > level.max() - 40
    joined = []
    for one in frames:
        out = np.zeros((keep.sum() + 1) * 128)
        for position, frame in enumerate(one[keep]):
            out[128 * position : 128 * position + 256] += frame
        joined.append(out)
    return joined


def _intelligibility(target, estimate, extended):
    target, estimate = (resample_poly(s.double().numpy(), 5, 8) for s in (target, estimate))
    clean, degraded = map(_third_octaves, _active(target, estimate))
    total, count = 0.0, 0
    for end in range(30, clean.shape[1] + 1):
        x, y = clean[:, end - 30 : end], degraded[:, end - 30 : end]
        if extended:
            for axis in (1, 0):
                x, y = (s - s.mean(axis, keepdims=True) for s in (x, y))
                x, y = (s / np.linalg.norm(s, axis=axis, keepdims=True) for s in (x, y))
            total += (x * y).sum() / 30
            count += 1
            continue
        y = y * np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(y, axis=1, keepdims=True)
        y = np.minimum(y, x * (1 + 10 ** (15 / 20)))
        x, y = (s - s.mean(1, keepdims=True) for s in (x, y))
        total += np.sum((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))
        count += 15
    return total / count


@pytest.mark.parametrize(("name", "extended"), [("stoi", False), ("estoi", True)])
def test_intelligibility_follows_the_paper(name, extended, noisy, target):
    assert value(name, noisy, target) == pytest.approx(
        _intelligibility(target, noisy, extended), abs=5e-3
    )


def test_si_sdr_equals_torchmetrics_and_ignores_offset(noisy, target):
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    reference = scale_invariant_signal_distortion_ratio(
        noisy.double(), target.double(), zero_mean=True
    )
    assert value("si-sdr", noisy, target) == pytest.approx(float(reference), abs=1e-3)
    assert value("si-sdr", noisy + 0.05, target) == pytest.approx(float(reference), abs=1e-3)


def test_too_little_speech_is_a_status(target):
    click = torch.zeros(16_000)
    click[8000:8400] = target[4000:4400]
    for name in ("stoi", "estoi"):
        outcome = metric(name)(estimate=click, target=click, sample_rate=16_000)
        assert outcome.status == "undefined: less than 0.4 s of speech"


def test_sdr_equals_mir_eval(in_babble, spoken):
    from mir_eval.separation import bss_eval_sources

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it names another library for separation
        expected, *_ = bss_eval_sources(spoken.double().numpy()[None], in_babble.numpy()[None])
    assert value("sdr", in_babble, spoken) == pytest.approx(float(expected[0]), abs=1e-4)


def test_sdr_forgives_a_filter_of_its_length_and_nothing_longer(spoken):
    early, late = torch.zeros_like(spoken), torch.zeros_like(spoken)
    early[500:] = 0.5 * spoken[:-500]
    late[600:] = 0.5 * spoken[:-600]
    assert value("sdr", spoken + early, spoken) > 40
    assert value("sdr", spoken + late, spoken) < 20


def test_snr_equals_torchmetrics_and_counts_offset_and_level(in_babble, spoken):
    from torchmetrics.functional.audio import signal_noise_ratio

    for estimate in (in_babble, 0.8 * in_babble, in_babble + 0.01):
        expected = signal_noise_ratio(estimate.double(), spoken.double())
        assert value("snr", estimate, spoken) == pytest.approx(float(expected), abs=1e-6)


def test_narrow_band_pesq_is_that_of_the_package(in_babble, spoken):
    from pesq import pesq

    expected = pesq(16_000, spoken.numpy(), in_babble.numpy(), "nb")
    assert value("pesq-nb", in_babble, spoken) == pytest.approx(expected)
    # P.862.1: MOS-LQO = 0.999 + 4 / (1 + exp(-1.4945 raw + 4.6607)); raw 4.5 for identical signals.
    top = 0.999 + 4 / (1 + np.exp(-1.4945 * 4.5 + 4.6607))
    assert value("pesq-nb", spoken, spoken) == pytest.approx(top, abs=1e-3)


def test_three_composites_and_pesq_cost_one_run_of_pesq(in_babble, spoken, monkeypatch):
    runs = []

    def counting(function, *given):
        runs.append(function)
        return call(function, *given)

    monkeypatch.setattr(intrusive, "call", counting)
    for name in ("pesq-wb", "csig", "cbak", "covl"):
        value(name, 0.9 * in_babble[:40_000], spoken[:40_000])
    assert len(runs) == 1
