"""The convolutions of state spaces."""

import torch

from rased.layers.state_space import _convolved


def test_rows_that_autocast_made_narrow_are_convolved_in_float32():
    torch.manual_seed(0)
    frames, kernel = torch.randn(2, 3, 9).bfloat16(), torch.randn(3, 9).bfloat16()
    found = _convolved(frames, kernel)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, _convolved(frames.float(), kernel.float()))
    assert _convolved(frames.double(), kernel.double()).dtype == torch.float64
