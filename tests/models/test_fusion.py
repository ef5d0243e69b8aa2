"""The average of several enhancers, in files and streams, with fixed and learned weights."""

import pytest
import torch

from rased.building import build
from rased.classes import STRANGERS
from rased.construction import spec_of
from rased.errors import RasedError
from rased.models import create_model
from rased.models.base import Enhancer
from rased.models.fusion import Fusion
from rased.streaming import CausalStream
from tests.models.test_cascade import noise, stage
from tests.toys import Conditional, Sampler
from tests.training.synthetic import TinyMask, TinyWaveform, mixture


@torch.no_grad()
def test_it_is_the_weighted_average_in_files_and_streams() -> None:
    torch.manual_seed(0)
    parts = [stage(24, future=1), stage(32), create_model("fcn-causal-small")]
    fusion, noisy = Fusion(parts, [1.0, 2.0, 5.0]).eval(), noise(2, 2_000)
    each = [part(noisy) for part in parts]
    wanted = (each[0] + 2 * each[1] + 5 * each[2]) / 8
    torch.testing.assert_close(fusion(noisy), wanted, rtol=0, atol=1e-6)
    assert fusion.latency == max(part.latency for part in parts)
    stream = CausalStream(fusion, 2)
    found = [stream.push(piece) for piece in noisy.split(333, dim=-1)]
    streamed = torch.cat([*found, stream.finish()], -1)
    torch.testing.assert_close(streamed, wanted, rtol=0, atol=1e-4)


def test_learned_weights_prefer_the_better_enhancer() -> None:
    class Good(TinyWaveform):
        def predict(self, noisy):
            prediction = super().predict(noisy)
            prediction.estimate = mixture(len(noisy), noisy.shape[-1], seed=0)["target"]
            return prediction

    batch = mixture(4, 400, seed=0)
    fusion = Fusion([Good(), TinyMask()], learned=True)
    optimizer = torch.optim.Adam([fusion.logits], lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        (fusion(batch["noisy"]) - batch["target"]).square().mean().backward()
        optimizer.step()
    shares = fusion.logits.detach().softmax(0)
    assert float(shares[0]) > 0.8
    assert not Fusion([TinyMask(), TinyMask()]).logits.requires_grad


def test_whole_utterances_and_configurations() -> None:
    fusion = Fusion([TinyWaveform(), stage()])
    assert fusion.latency is None
    with pytest.raises(RasedError, match="not causal"):
        fusion.initial_state()
    spec = spec_of(Fusion([stage(), stage()], learned=True))
    again = build(Enhancer, spec, classes=STRANGERS)
    assert again.logits.requires_grad


@pytest.mark.parametrize(
    ("enhancers", "weights", "sentence"),
    [
        ([TinyMask()], None, "at least two"),
        ([TinyMask(), TinyMask()], [1.0], "one weight above 0 for each"),
        ([TinyMask(), TinyMask()], [1.0, 0.0], "one weight above 0 for each"),
        ([TinyMask(), Conditional()], None, "which Conditional is not"),
        ([Sampler(), TinyMask()], None, "which Sampler is not"),
    ],
)
def test_what_does_not_fit_is_refused(enhancers, weights, sentence) -> None:
    with pytest.raises(RasedError, match=sentence):
        Fusion(enhancers, weights)
