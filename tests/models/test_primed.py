"""An enhancer that hears the beginning of a file before it enhances the file."""

import pytest
import torch

import rased
from rased.errors import RasedError
from rased.models import create_model
from rased.models.primed import Primed
from tests.bundled import recording
from tests.models.test_cascade import noise
from tests.toys import Conditional, Sampler


@torch.no_grad()
@pytest.mark.parametrize("seconds", [0.5, 10.0])
def test_the_beginning_is_heard_twice_and_returned_once(seconds):
    """The output is the second part of that for the two in sequence, whatever the length of the file."""
    enhancer = rased.load("gtcrn-tuned-16k")
    primed = Primed(enhancer, seconds).eval()
    assert not primed.causal
    for time in (1, 255, 4_000, 20_001):
        noisy = noise(2, time)
        chunk = enhancer.chunk_length
        first = min(int(seconds * 16_000) // chunk * chunk, time // chunk * chunk)
        wanted = enhancer(torch.cat([noisy[:, :first], noisy], dim=1))[:, first:]
        torch.testing.assert_close(primed(noisy), wanted)


@torch.no_grad()
def test_it_is_closer_to_the_target_at_the_beginning():
    """Speech in noise: SI-SDR of the first second rises, that of the last one hardly changes."""
    enhancer = rased.load("gtcrn-tuned-16k")
    primed = Primed(enhancer).eval()
    gains = []
    for number in range(3):
        target = recording("speech", "en_austen_000")[:, 16_000 * number :][:, :48_000]
        noisy = target + noise(1, 48_000, seed=number) * target.std() * 5
        both = [system(noisy) for system in (enhancer, primed)]
        for part in (slice(0, 16_000), slice(32_000, None)):
            plain, better = (_snr(one[:, part], target[:, part]) for one in both)
            gains.append(better - plain)
    first, last = torch.stack(gains).view(3, 2).mean(0)
    assert first > 0.1
    assert abs(last) < first


def _snr(estimate, target):
    return 10 * torch.log10(target.square().sum() / (estimate - target).square().sum())


@pytest.mark.parametrize(
    ("enhancer", "seconds", "told"),
    [
        (lambda: create_model("bsrnn-offline-small"), 1.0, "causal"),
        (Conditional, 1.0, "conditions"),
        (Sampler, 1.0, "random"),
        (lambda: create_model("gtcrn"), 0.0, "above 0"),
    ],
)
def test_what_does_not_fit_is_refused(enhancer, seconds, told):
    with pytest.raises(RasedError, match=told):
        Primed(enhancer(), seconds)
