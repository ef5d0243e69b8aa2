"""An enhancer of a low rate on the lower bins of a high one, and gains above."""

from functools import partial

import pytest
import torch

import rased
from rased.errors import RasedError
from rased.layers.conditioning import Conditioning
from rased.layers.level import Level
from rased.models import create_model
from rased.models.frequency import FrequencyDomainEnhancer
from rased.models.full_band import FullBand
from rased.models.gru import NSNet2
from rased.signal.resampling import resample
from tests.bundled import recording
from tests.models.test_cascade import noise


def _gru(**options):
    network = partial(NSNet2, hidden=8, layers=1, expansion=8)
    return FrequencyDomainEnhancer(network, **options)


def _ratio_db(signal, error):
    return 10 * torch.log10(signal.square().sum() / error.square().sum())


@torch.no_grad()
def test_below_the_edge_it_is_the_enhancer_of_the_low_rate():
    """With the weights of a checkpoint, on speech in noise: the output, brought back to 16 kHz, is the checkpoint's."""
    lower = rased.load("gtcrn-tuned-16k")
    full = FullBand(lower).eval()
    noisy = recording("speech", "en_austen_000")[0, :32_000] + 0.1 * noise(32_000)
    enhanced = full(resample(noisy[None], 16_000, 48_000))
    found, wanted = resample(enhanced, 48_000, 16_000)[0], lower(noisy)
    assert _ratio_db(wanted, wanted - noisy) < 20, "the checkpoint does something"
    assert _ratio_db(wanted, found - wanted) > 30


@torch.no_grad()
@pytest.mark.parametrize(("bias", "gain"), [(40.0, 1.0), (-40.0, 0.0)])
def test_above_the_edge_bands_are_kept_or_removed(bias, gain):
    torch.manual_seed(0)
    full = create_model("full-band").eval()
    full.gains.weight.zero_()
    full.gains.bias.fill_(bias)
    before = full.stft.analysis(0.1 * noise(1, 12_000))
    after = full.process(before, full.initial_process_state(1))[0].spectrum
    torch.testing.assert_close(after[:, full.edge :], gain * before[:, full.edge :])
    torch.testing.assert_close(
        after[:, : full.edge], full.lower.predict_spectrum(before[:, : full.edge] / 3).spectrum * 3
    )


@torch.no_grad()
def test_gains_do_not_depend_on_the_level():
    """Levels are relative to the past; only the silence before the first frame is absolute."""
    torch.manual_seed(0)
    full = create_model("full-band").eval()
    noisy = 0.1 * noise(1, 4 * 48_000)
    loud, quiet = full(noisy), full(0.1 * noisy) / 0.1
    last = slice(-48_000, None)
    high = [full.stft.analysis(signal[:, last])[:, full.edge + 2 :] for signal in (loud, quiet)]
    torch.testing.assert_close(high[0].abs().mean(), high[1].abs().mean(), rtol=0.05, atol=0)


def test_statistics_are_those_of_the_lower_enhancer():
    lower = _gru()
    full = FullBand(lower)
    assert full.needs_statistics
    noisy = 0.1 * noise(2, 24_000)
    full.fit_statistics([(noisy, noisy)])
    assert not full.needs_statistics
    mean = lower.inputs.mean.clone()
    lower.fitted.fill_(False)
    lower.fit_statistics([(resample(noisy, 48_000, 16_000),) * 2])
    torch.testing.assert_close(lower.inputs.mean, mean)


@pytest.mark.parametrize(
    ("lower", "rate", "told"),
    [
        (lambda: _gru(level=Level("rms", 0.1, running=True)), 48_000, "level: null"),
        (lambda: _gru(conditioning=Conditioning()), 48_000, "without conditions"),
        (lambda: create_model("gtcrn"), 44_100, "multiple"),
        (lambda: create_model("gtcrn"), 16_000, "multiple"),
    ],
)
def test_what_does_not_fit_is_refused(lower, rate, told):
    with pytest.raises(RasedError, match=told):
        FullBand(lower(), sample_rate=rate)
