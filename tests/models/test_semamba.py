"""What SEMamba promises beyond the contract of every enhancer."""

import pytest
import torch

from rased.models.semamba import SEMamba


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_the_sign_of_a_zero_is_not_heard(causal):
    """Bins of any real part whose imaginary part is 0, and bins of silence."""
    torch.manual_seed(0)
    sizes = {"channels": 4, "blocks": 1, "depth": 1, "expand": 1, "states": 2}
    network = SEMamba(18, 18, causal=causal, **sizes).eval()
    frames = torch.randn(2, 7, 18)
    frames[:, 1:4, 9:] = 0  # imaginary parts
    frames[:, 3:6, :9] = 0
    frames[:, 5] = 0
    state = network.initial_state(2, frames)
    wanted, _ = network(frames, state)
    found, _ = network(torch.where(frames == 0, -0.0, frames), state)
    assert torch.equal(found, wanted)
