"""What Demucs promises beyond the contract of every enhancer."""

import pytest
import torch

from rased.errors import RasedError
from rased.layers.level import Level
from rased.models.demucs import Demucs
from tests.models.test_contract import audio, run


def small(**options) -> Demucs:
    torch.manual_seed(0)
    return Demucs(**{"channels": 4, "layers": 2, "recurrent_layers": 1, **options}).eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "at least 1"),
        ({"kernel_size": 4}, "above stride"),
        ({"resample": 3}, "choose 1, 2 or 4"),
        ({"kernel_size": 7, "layers": 3}, "that it divides"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(RasedError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("sizes", "resample"), [((8, 4), 1), ((8, 4), 4), ((5, 2), 1), ((6, 2), 2)]
)
def test_a_stream_equals_the_file_at_every_rate_and_size(sizes, resample):
    enhancer = small(kernel_size=sizes[0], stride=sizes[1], resample=resample, level=None)
    noisy = audio(400)
    chunk, latency = enhancer.chunk_length, enhancer.latency
    padded = torch.nn.functional.pad(noisy, (0, latency + -(400 + latency) % chunk))
    state, outputs = enhancer.initial_state(2), []
    with torch.no_grad():
        for part in padded.split(150 // chunk * chunk, dim=-1):
            output, state = enhancer.step(part, state)
            outputs.append(output)
    streamed = torch.cat(outputs, dim=-1)[:, latency:][:, :400]
    torch.testing.assert_close(streamed, run(enhancer, noisy), rtol=0, atol=1e-5)


def test_a_level_of_the_whole_file_needs_the_whole_file():
    enhancer, noisy = small(level=Level("rms", running=False)), audio(400)
    assert not enhancer.causal
    louder = run(enhancer, 100 * noisy)
    torch.testing.assert_close(louder, 100 * run(enhancer, noisy), rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_weight_through_the_stream():
    enhancer = small().train()
    enhancer(audio(900)).square().sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in enhancer.parameters())
