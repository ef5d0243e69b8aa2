"""Enhancers on one spectrum, and the choice between them: in files and streams, on real speech, by bin and by SNR."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rased.building import build
from rased.classes import STRANGERS
from rased.construction import spec_of
from rased.errors import RasedError
from rased.evaluation.testset import BUNDLE, read_audio, read_testset
from rased.layers.conditioning import Conditioning
from rased.layers.level import Level
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.dnn import DNN
from rased.models.frequency import FrequencyDomainEnhancer, Inputs
from rased.models.lstm import LSTM
from rased.models.selection import MinimumDifferenceFusion, SNRSelection
from rased.signal import masks
from rased.signal.stft import STFT
from rased.streaming import CausalStream
from tests.models.test_cascade import noise, stage
from tests.training.synthetic import TinyMask

CHOOSER = partial(LSTM, hidden=5, layers=1)


def selections() -> dict[str, MinimumDifferenceFusion | SNRSelection]:
    torch.manual_seed(0)
    return {
        "by bin": MinimumDifferenceFusion([stage(), stage()], CHOOSER),
        "by SNR": SNRSelection([stage(), stage(), stage()], CHOOSER, [-0.2, 0.2]),
        "look-ahead": MinimumDifferenceFusion([stage(future=2), stage(future=2)], CHOOSER),
        "statistics": SNRSelection([stage(), stage(normalisation="global")], CHOOSER, [0.0]),
    }


NAMES = (*selections(),)


def fitted(name: str) -> MinimumDifferenceFusion | SNRSelection:
    selection = selections()[name].eval()
    if selection.needs_statistics:
        selection.fit_statistics(iter([(noise(2, 2_000), noise(2, 2_000, seed=1))]))
    assert not selection.needs_statistics
    return selection


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("time", [1, 1_101])
def test_a_stream_of_any_chunks_equals_the_file(name: str, time: int) -> None:
    selection, noisy = fitted(name), noise(1, time)
    stream = CausalStream(selection, 1)
    found = [stream.push(piece) for piece in noisy.split(333, dim=-1)]
    streamed = torch.cat([*found, stream.finish()], -1)
    torch.testing.assert_close(streamed, selection(noisy), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_nothing_later_than_the_latency_is_heard(name: str) -> None:
    """It is that of the enhancers: the choice costs nothing."""
    selection, noisy = fitted(name), noise(1, 2_000)
    assert selection.latency == selection.parts[0].latency
    wanted = selection(noisy)
    for now in range(1_000, 1_032, 7):
        changed = noisy.clone()
        changed[:, now:] += 10
        different = (selection(changed) - wanted).abs()[0] > 1e-6
        assert now - int(different.int().argmax()) < (selection.algorithmic_latency or 0)


@torch.no_grad()
def test_the_choice_is_that_of_the_network() -> None:
    noisy = noise(2, 2_000)
    for name in ("by SNR", "look-ahead"):
        selection = fitted(name)
        made = selection.choice(noisy)
        prediction = selection.predict(noisy)
        torch.testing.assert_close(prediction.spectrum, made.spectrum)
        for one, spectrum in zip(selection.parts, made.spectra.unbind(1), strict=True):
            torch.testing.assert_close(spectrum, one.predict(noisy).spectrum, rtol=0, atol=1e-6)
        torch.testing.assert_close(made.shares.sum(1), torch.ones_like(made.shares[:, 0]))
    selection = fitted("by SNR")
    assert isinstance(selection, SNRSelection)
    assert selection.range_of(torch.tensor([[-9.0, 0.0, 9.0]])).tolist() == [[0, 1, 2]]
    made = selection.choice(noisy)
    used = selection.range_of(selection.snr_db(made))
    assert torch.equal(made.shares[:, :, 0].argmax(1), used)
    by_hand = made.spectra.gather(1, used[:, None, None].expand(-1, 1, made.spectra.shape[2], -1))
    torch.testing.assert_close(made.spectrum, by_hand[:, 0])


@pytest.fixture(scope="module")
def real() -> tuple[Tensor, Tensor]:
    """Noisy and clean speech, four recordings without rooms."""
    items = [item for item in read_testset(BUNDLE).items if item.facts.get("condition") == "noise"]
    rows = [
        [
            torch.from_numpy(read_audio(path, sample_rate=16_000))[:16_000]
            for path in (item.noisy, item.target)
        ]
        for item in items[::25]
    ]
    noisy, target = zip(*rows, strict=True)
    return torch.stack(noisy), torch.stack(target)


@torch.no_grad()
def test_ideal_masks_take_the_best_of_two_methods_on_real_speech(
    real: tuple[Tensor, Tensor],
) -> None:
    """In each bin, none of them is closer to speech; in each recording, the sum is closer than both."""
    noisy, target = real
    stft = STFT()
    estimates = torch.stack(
        [stft.analysis(METHODS[name]()(noisy)) for name in ("om-lsa", "spectral-subtraction")],
        dim=1,
    )
    wanted = stft.analysis(target)
    ideal = masks.minimum_difference_masks(target=wanted, estimates=estimates)
    assert torch.equal(ideal.sum(1), torch.ones_like(ideal[:, 0]))
    fused = (ideal * estimates.abs()).sum(1)
    each = (estimates.abs() - wanted.abs()[:, None]).abs()
    difference = (fused - wanted.abs()).abs()
    torch.testing.assert_close(difference, each.amin(1), rtol=0, atol=1e-5)
    errors = each.square().sum((2, 3))
    assert bool((difference.square().sum((1, 2)) < 0.95 * errors.amin(1)).all())
    assert bool((ideal.mean((2, 3)) > 0.1).all()), "each of them is the best somewhere"


def test_equally_close_estimates_are_decided_for_the_first() -> None:
    target = torch.ones(1, 2, 3, dtype=torch.complex64)
    estimates = torch.stack([1.5 * target, 0.5 * target, 1.5j * target], dim=1)
    found = masks.minimum_difference_masks(target=target, estimates=estimates)
    assert torch.equal(found, torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 2, 3))


@pytest.mark.parametrize("name", ["by bin", "by SNR"])
def test_a_configuration_builds_it_again(name: str) -> None:
    selection = selections()[name]
    again: Any = build(Enhancer, spec_of(selection), classes=STRANGERS)
    again.load_state_dict(selection.state_dict())
    noisy = noise(1, 500)
    torch.testing.assert_close(again(noisy), selection(noisy))


def with_(**parts: Any) -> FrequencyDomainEnhancer:
    network = partial(DNN, hidden=3, layers=1)
    return FrequencyDomainEnhancer(network, inputs=Inputs("none"), **parts)


@pytest.mark.parametrize(
    ("enhancers", "sentence"),
    [
        ([TinyMask()], "at least two"),
        ([], "at least two"),
        ([TinyMask(), with_(level=Level(running=True))], "but FrequencyDomainEnhancer works on"),
        ([TinyMask(), with_(conditioning=Conditioning())], "but FrequencyDomainEnhancer works on"),
        ([TinyMask(), stage(16)], "differ in stft"),
        ([stage(), stage(future=1)], r"differ in lookahead \(0, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused(enhancers: list[Any], sentence: str) -> None:
    with pytest.raises(RasedError, match=sentence):
        MinimumDifferenceFusion(enhancers, CHOOSER)
    with pytest.raises(RasedError, match=sentence):
        SNRSelection(enhancers, CHOOSER)


def test_a_time_domain_enhancer_in_a_file_is_refused() -> None:
    spec = spec_of(selections()["by bin"])
    spec["init_args"]["enhancers"][1] = {"class_path": "FCN", "init_args": {}}
    with pytest.raises(RasedError, match="FCN"):
        build(Enhancer, spec, classes=STRANGERS)


@pytest.mark.parametrize("edges", [(), (0.0, 10.0), (5.0, 5.0), (math.nan,), (math.inf,)])
def test_edges_that_do_not_fit_are_refused(edges: tuple[float, ...]) -> None:
    stages = [stage()] * (3 if edges == (5.0, 5.0) else 2)
    with pytest.raises(RasedError, match="one edge less than enhancers, in rising order"):
        SNRSelection(stages, CHOOSER, edges)


def test_whole_utterances_make_it_whole() -> None:
    selection = MinimumDifferenceFusion([stage(), stage(normalisation="utterance")], CHOOSER)
    assert selection.latency is None
    with pytest.raises(RasedError, match="not causal"):
        selection.initial_state()
