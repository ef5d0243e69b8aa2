"""Deep filters against sums written out, and cut anywhere."""

import torch

from rased.layers.deep_filter import deep_filter
from rased.signal.state import initial_past, with_past


def test_a_frame_is_the_weighted_sum_of_its_neighbours():
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.randn(2, 4, 9, dtype=torch.complex64, generator=generator)
    weights = torch.randn(2, 7, 4, 3, 2, generator=generator)
    found = deep_filter(spectrum, weights)
    complex_weights = torch.view_as_complex(weights)
    for k in range(7):
        wanted = (spectrum[:, :, k : k + 3] * complex_weights[:, k]).sum(-1)
        torch.testing.assert_close(found[:, :, k], wanted)


def test_the_past_goes_on_where_it_was_cut():
    spectrum = torch.randn(1, 4, 9, dtype=torch.complex64)
    whole, last = with_past(spectrum, initial_past(1, 4, 2, spectrum.real))
    assert torch.equal(whole[..., 2:], spectrum)
    assert not whole[..., :2].abs().any()
    first, state = with_past(spectrum[..., :1], initial_past(1, 4, 2, spectrum.real))
    second, after = with_past(spectrum[..., 1:], state)
    assert torch.equal(torch.cat([first, second[..., 2:]], dim=-1), whole)
    assert torch.equal(after["memory"], last["memory"])
