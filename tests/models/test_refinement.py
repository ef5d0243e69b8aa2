"""A network that refines the estimate of an enhancer, and hears the noisy input."""

from functools import partial

import pytest
import torch

from rased.errors import RasedError
from rased.layers.level import Level
from rased.layers.network import Network
from rased.models import create_model
from rased.models.bsrnn import BSRNN
from rased.models.refinement import Refinement
from rased.signal.stft import STFT
from tests.models.test_cascade import noise, stage
from tests.toys import Conditional, Sampler


class Chosen(Network):
    """Returns a share of one of the two spectra: 0 the noisy one, 1 the estimate."""

    causal = True

    def __init__(self, inputs, outputs, *, which, share=1.0):
        super().__init__()
        assert inputs == 2 * outputs
        self.columns = slice(which * outputs, (which + 1) * outputs)
        self.share = torch.nn.Parameter(torch.tensor(share))

    def forward(self, frames, state):
        return self.share * frames[..., self.columns], state

    def initial_state(self, batch, like):
        return {}


@torch.no_grad()
@pytest.mark.parametrize("level", [None, Level("rms", 0.1, running=False)])
def test_the_network_hears_the_noisy_input_and_the_estimate(level):
    torch.manual_seed(0)
    first, noisy = stage(24), noise(2, 3_000)
    estimate = first(noisy)
    for which, residual, wanted in (
        (0, False, noisy),
        (1, False, estimate),
        (0, True, noisy + estimate),
        (1, True, 2 * estimate),
    ):
        network = partial(Chosen, which=which)
        refined = Refinement(first, network, residual=residual, stft=STFT(64, 32, 64), level=level)
        assert not refined.causal
        torch.testing.assert_close(refined(noisy), wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_bsrnn_starts_near_the_estimate():
    """Its mask starts near 1, and what it adds at 0, so that training begins where the first enhancer ends."""
    torch.manual_seed(0)
    refined, noisy = create_model("refinement-small").eval(), noise(1, 16_000)
    estimate = refined.first(noisy)
    error = (refined(noisy) - estimate).square().mean() / estimate.square().mean()
    assert float(error) < 0.05
    assert float((noisy - estimate).square().mean() / estimate.square().mean()) > 0.2


@torch.no_grad()
def test_a_bsrnn_masks_the_last_spectrum():
    torch.manual_seed(0)
    network = BSRNN(4 * 257, 2 * 257, channels=8, layers=1, residual=False).eval()
    frames = torch.randn(1, 5, 4 * 257)
    mute = frames.clone()
    mute[..., 2 * 257 :] = 0
    assert network(mute, {})[0].abs().max() == 0
    loud = frames.clone()
    loud[..., : 2 * 257] *= 2
    assert not torch.equal(network(loud, {})[0], network(frames, {})[0])


def test_others_are_refused():
    for first in (Conditional(), Sampler()):
        with pytest.raises(RasedError, match=f"which {type(first).__name__} is not"):
            Refinement(first, partial(Chosen, which=0))
    with pytest.raises(RasedError, match="BSRNN maps complex spectra"):
        BSRNN(3 * 257, 2 * 257)
