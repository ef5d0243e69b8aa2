"""What UL-UNAS promises beyond the contract of every enhancer."""

import pytest
import torch

from rased.errors import RasedError
from rased.models.ulunas import ULUNAS, interleave
from tests.models.test_contract import audio, run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": (12, 24)}, "5, 2, 5, 5, 5 entries"),
        ({"strides": (2, 3, 1, 1, 1)}, "cannot restore"),
        ({"strides": (0, 2, 1, 1, 1)}, "cannot restore"),
        ({"kernels": ((3, 4), (2, 3), (2, 3), (1, 5), (1, 5))}, "an odd number of bands"),
        ({"channels": (12, 25, 24, 32, 16)}, "divide the channels"),
        ({"groups": (1, 3, 1, 1, 1)}, "groups are 1 or 2"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(RasedError, match=message):
        ULUNAS(**options)


def test_other_architectures_of_the_kind_stream_too():
    torch.manual_seed(0)
    enhancer = ULUNAS(
        kinds=("separable", "conv", "bottleneck"),
        channels=(4, 8, 8),
        kernels=((2, 5), (3, 3), (2, 1)),
        strides=(2, 4, 1),
        groups=(1, 1, 2),
    ).eval()
    assert enhancer.encoder[2].residual
    noisy, chunk = audio(2_048), enhancer.chunk_length
    state, parts = enhancer.initial_state(batch=2), []
    with torch.no_grad():
        for piece in torch.nn.functional.pad(noisy, (0, chunk)).split(chunk, dim=-1):
            part, state = enhancer.step(piece, state)
            parts.append(part)
    streamed = torch.cat(parts, dim=-1)[:, enhancer.latency :]
    torch.testing.assert_close(streamed, run(enhancer, noisy), rtol=0, atol=1e-5)


def test_interleaved_groups_take_turns():
    channels = torch.arange(6.0).view(1, 6, 1, 1)
    assert interleave(channels, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert interleave(channels, 1).equal(channels)
