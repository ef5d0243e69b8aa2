"""Delays: found to the sample, either way, whatever level and sign; undone."""

import pytest
import torch

from rased.signal.alignment import delay, undelay


@pytest.mark.parametrize("shift", [-700, -1, 0, 1, 333, 1600])
@pytest.mark.parametrize("gain", [0.01, -3.0])
def test_a_delay_is_found_and_undone(shift, gain):
    reference = torch.randn(16_000, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(2))
    late = undelay(reference, -shift)
    found = delay(estimate=gain * (late + 0.5 * noise), reference=reference, limit=2000)
    assert found == shift
    kept = slice(2000, 14_000)
    assert torch.equal(undelay(late, found)[kept], reference[kept])


def test_beyond_the_limit_and_silence():
    reference = torch.randn(4000, generator=torch.Generator().manual_seed(1))
    assert abs(delay(estimate=undelay(reference, -500), reference=reference, limit=100)) <= 100
    assert delay(estimate=torch.zeros(4000), reference=reference, limit=100) is None
    assert delay(estimate=reference[:10], reference=reference[:10], limit=4000) == 0
