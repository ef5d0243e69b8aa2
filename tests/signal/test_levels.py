"""Levels have the same bits wherever an element lies and however many threads there are."""

import pytest
import torch

from rased.signal import levels


def test_an_amplitude_does_not_depend_on_its_place():
    wanted = torch.linspace(-60, 20, 4099)
    alone = torch.cat([levels.amplitude(level) for level in wanted.split(1)])
    assert torch.equal(levels.amplitude(wanted), alone)


@pytest.mark.parametrize("time", [1, 511, 512, 100_003])
def test_rms_does_not_depend_on_threads_and_is_the_root_of_the_mean_square(time):
    waveform = torch.randn(3, time, generator=torch.Generator().manual_seed(time))
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found += [levels.rms(waveform), torch.stack([levels.rms(row) for row in waveform])]
    torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found)
    torch.testing.assert_close(found[0], waveform.double().square().mean(-1).sqrt().float())
