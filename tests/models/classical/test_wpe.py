"""WPE: reverberation goes down, and the result is the package's own."""

import numpy as np
import torch
from nara_wpe.wpe import wpe_v6

from rased.models.classical import WPE
from rased.signal.ratios import si_sdr


def speechlike(seconds):
    generator = torch.Generator().manual_seed(3)
    count = int(16_000 * seconds)
    envelope = (torch.sin(2 * torch.pi * 3 * torch.arange(count) / 16_000) > 0.2).float()
    return (0.1 * torch.randn(count, generator=generator) * envelope)[None]


def room(seconds=0.5):
    generator = torch.Generator().manual_seed(4)
    count = int(16_000 * seconds)
    decay = 10 ** (-3 * torch.arange(count) / count)
    tail = 0.05 * torch.randn(count, generator=generator) * decay
    tail[:800] *= 0.2
    tail[0] = 1.0
    return tail


def convolved(dry, response):
    size = dry.shape[-1] + len(response)
    spectrum = torch.fft.rfft(dry, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[:, : dry.shape[-1]]


def test_reverberation_goes_down():
    dry = speechlike(4)
    wet = convolved(dry, room())
    before, after = (si_sdr(estimate=estimate, target=dry) for estimate in (wet, WPE()(wet)))
    assert float(after - before) > 0.5


def test_equals_the_package_bin_by_bin():
    enhancer = WPE()
    spectrum = enhancer.stft.analysis(convolved(speechlike(1), room()))
    ours, _ = enhancer.process(spectrum, {})
    for index in (3, 60, 200):
        theirs = wpe_v6(
            spectrum[0, index : index + 1].to(torch.complex128).numpy(),
            taps=enhancer.taps,
            delay=enhancer.delay,
            iterations=enhancer.iterations,
        )
        np.testing.assert_allclose(ours.spectrum[0, index].numpy(), theirs[0], atol=1e-5)


def test_what_is_too_short_to_predict_stays():
    enhancer = WPE()
    short = speechlike(0.1)
    torch.testing.assert_close(enhancer(short), short, rtol=0, atol=1e-6)


def test_a_silent_bin_stays_silent():
    enhancer = WPE()
    spectrum = enhancer.stft.analysis(speechlike(1))
    spectrum[:, 100] = 0
    prediction, _ = enhancer.process(spectrum, {})
    assert float(prediction.spectrum[:, 100].abs().max()) == 0.0
