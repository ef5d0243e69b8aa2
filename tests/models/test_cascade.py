"""Enhancers in sequence: the result of one after the other, and a stream that equals the file."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import rased
from rased.building import build
from rased.classes import STRANGERS
from rased.construction import spec_of
from rased.errors import RasedError
from rased.evaluation import evaluate
from rased.models.base import Enhancer
from rased.models.cascade import Cascade
from rased.models.cost import count_parameters, macs_per_second
from rased.models.frequency import FrequencyDomainEnhancer, Inputs
from rased.models.gru import NSNet2
from rased.signal.stft import STFT
from rased.streaming import CausalStream
from rased.training.waveform import WaveformEnhancement
from rased.zoo.publish import write_entry
from tests.evaluation.conftest import write_set
from tests.toys import Conditional, FourChannels, Sampler
from tests.training.synthetic import TinyWaveform, mixture


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stage(
    hop_length: int = 32, future: int = 0, normalisation: str = "running"
) -> FrequencyDomainEnhancer:
    return FrequencyDomainEnhancer(
        partial(NSNet2, hidden=6, layers=1, expansion=6),
        inputs=Inputs(normalisation, seconds=0.1, future_frames=future),  # type: ignore[arg-type]
        stft=STFT(2 * hop_length, hop_length, 2 * hop_length),
    )


def cascades() -> dict[str, Cascade]:
    torch.manual_seed(0)
    return {
        "one": Cascade([stage()]),
        "equal": Cascade([stage(), stage(), stage()]),
        "hops that differ": Cascade([stage(24), stage(36, future=1), stage(16)]),
        "without latency": Cascade([Conditional(), stage(40)]),
        "several channels": Cascade([FourChannels(), stage(50, future=2)]),
    }


NAMES = (*cascades(),)
EMBEDDING = {"speaker": torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.0, -2.0]])}


def given(cascade: Cascade, time: int, rows: int = 2) -> tuple[Tensor, dict[str, Tensor] | None]:
    shape = (rows, time) if cascade.channels == 1 else (rows, 4, time)
    condition = {name: value[:rows] for name, value in EMBEDDING.items()}
    return noise(*shape), condition if cascade.conditions else None


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("time", [1, 1_101])
def test_a_stream_of_any_chunks_equals_the_file(name: str, time: int) -> None:
    cascade = cascades()[name].eval()
    noisy, condition = given(cascade, time, rows=1)
    stream = CausalStream(cascade, cascade.channels, condition=condition)
    pieces = noisy[0].reshape(cascade.channels, time).split(333, dim=-1)
    found = torch.cat([*(stream.push(piece) for piece in pieces), stream.finish()], -1)
    torch.testing.assert_close(found, cascade(noisy, condition=condition), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_nothing_later_than_the_latency_is_heard_and_no_silence_at_the_end(name: str) -> None:
    cascade = cascades()[name].eval()
    noisy, condition = given(cascade, 2_000)
    wanted = cascade(noisy, condition=condition)
    assert cascade.algorithmic_latency is not None
    for now in range(1_000, 1_000 + (cascade.chunk_length or 1), 17):
        changed = noisy.clone()
        changed[..., now:] += 10
        different = (cascade(changed, condition=condition) - wanted).abs().amax(0) > 1e-5
        assert now - int(different.int().argmax()) < cascade.algorithmic_latency
    longer = torch.nn.functional.pad(noisy, (0, 1_234))
    found = cascade(longer, condition=condition)[:, :2_000]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@torch.no_grad()
def test_it_is_one_after_the_other() -> None:
    """Up to what a later stage hears after the end."""
    for cascade in (cascades()["hops that differ"], Cascade([TinyWaveform(), TinyWaveform()])):
        noisy = heard = noise(2, 2_000)
        predictions = cascade.eval().predictions(noisy)
        for one, prediction in zip(cascade.parts, predictions, strict=True):
            heard = one(heard)
            torch.testing.assert_close(
                prediction.estimate[:, :1_500], heard[:, :1_500], rtol=0, atol=1e-5
            )
        assert cascade.causal == (cascade.transform is not None)
        assert len(cascade.predictions(noisy, count=1)) == 1
    with pytest.raises(RasedError, match="not causal"):
        cascade.initial_state()


@torch.no_grad()
@pytest.mark.slow
def test_its_cost_is_the_sum() -> None:
    cascade = cascades()["equal"]
    assert count_parameters(cascade) == 3 * count_parameters(cascade.parts[0])
    assert macs_per_second(cascade) == pytest.approx(
        3 * macs_per_second(cascade.parts[0]), rel=0.01
    )
    assert cascade.paper == cascade.parts[0].paper
    assert cascade.domains == ("waveform", "spectrum")


def test_a_stack_learns_as_one_network_by_the_loss_of_its_last_stage() -> None:
    """Every parameter of every stage gets a gradient."""
    torch.manual_seed(0)
    module = WaveformEnhancement(cascades()["hops that differ"])
    terms = module.losses(mixture(2, 800, seed=0), "enhancer")
    assert [*terms] == ["snr"]
    terms["snr"].backward()
    for item in module.enhancer.parameters():
        assert item.grad is not None
        assert item.grad.any()


def test_statistics_reach_every_stage_that_needs_them() -> None:
    cascade = Cascade([stage(normalisation="global"), stage(), stage(normalisation="global")])
    assert cascade.needs_statistics
    cascade.fit_statistics(iter([(noise(2, 2_000), noise(2, 2_000, seed=1))] * 2))
    assert not cascade.needs_statistics


def test_stages_that_sample_get_the_generators_of_the_rows() -> None:
    cascade, noisy = Cascade([Sampler(), Sampler(0.1)]), noise(2, 100)
    drawn = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    alone = cascade(noisy[1:], generator=[torch.Generator().manual_seed(2)])
    torch.testing.assert_close(cascade(noisy, generator=drawn)[1:], alone)


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([], "give at least one"),
        ([stage(), FourChannels()], "stage 2 of Cascade, FourChannels, takes 4 channels"),
    ],
)
def test_what_does_not_fit_is_refused(stages: list[Enhancer], sentence: str) -> None:
    with pytest.raises(RasedError, match=sentence):
        Cascade(stages)
    other = stage()
    other.sample_rate = 8_000
    with pytest.raises(RasedError, match="8000 and 16000 Hz"):
        Cascade([stage(), other])


def test_it_is_published_and_loaded(published: tuple[Cascade, str]) -> None:
    cascade, entry = published
    noisy = noise(2, 1_000)
    with torch.no_grad():
        torch.testing.assert_close(rased.load(entry)(noisy), cascade(noisy))


@pytest.mark.slow
def test_it_is_evaluated(published: tuple[Cascade, str], tmp_path: Path) -> None:
    cascade, entry = published
    folder = write_set(tmp_path / "set")
    (result,) = evaluate([entry], folder, tmp_path / "out", metrics=["si-sdr"])
    assert result.system["parameters"] == count_parameters(cascade)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cascade, str]:
    torch.manual_seed(0)
    cascade = Cascade([stage(256), stage(256)]).eval()
    spec = spec_of(cascade)
    build(Enhancer, spec, classes=STRANGERS)  # nothing in it needs to be allowed
    entry = write_entry(
        tmp_path_factory.mktemp("zoo") / "both",
        enhancer=cascade,
        spec=spec,
        summary="two stages",
        paper=cascade.paper,
        licence={"code": "Apache-2.0", "weights": "CC0-1.0", "data": []},
        training={},
    )
    return cascade, str(entry)
