"""Every configs/model and every classical method against the contract of `models/base.py`."""

import copy
from functools import cache

import pytest
import torch

from rased.building import build
from rased.classes import STRANGERS
from rased.config import config_folder, load_yaml
from rased.errors import RasedError
from rased.models.attenuate import ATENNuate
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.cost import count_parameters
from rased.models.deepfilternet import DeepFilterNet3
from rased.models.demucs import Demucs
from rased.models.frequency import FrequencyDomainEnhancer
from rased.models.fullsubnet import FullSubNet
from rased.models.rnnoise import RNNoise
from rased.models.semamba import SEMamba
from rased.models.tcnn import TCNN
from rased.streaming import open_stream

CONFIGS = {path.stem: path for path in sorted((config_folder() / "model").glob("*.yaml"))}
SIBLINGS = {f"fastenhancer-{size}": "fastenhancer-t" for size in "bsml"}
SIBLINGS |= {name: f"{name}-small" for name in CONFIGS if f"{name}-small" in CONFIGS}
SIBLINGS |= dict.fromkeys(("deep-mmse", "dnn-wpe", "progressive", "two-stage"), "lstm-psm-small")
"""Larger ones, and the small one that has the same code; targets and stages have tests of their own."""
ARCHITECTURES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SIBLINGS else name for name in CONFIGS
]
NAMES = [*ARCHITECTURES, *METHODS]


@cache
def make(name: str) -> Enhancer:
    """The enhancer of a config with random weights and statistics of noise, or a classical one."""
    if name in METHODS:
        return METHODS[name]().eval()
    torch.manual_seed(0)
    spec = load_yaml(CONFIGS[name])["model"]["init_args"]["enhancer"]
    enhancer = build(Enhancer, spec).eval()
    if enhancer.needs_statistics:
        enhancer.fit_statistics([(audio(8_000), audio(8_000, seed=1))])
        assert not enhancer.needs_statistics
    return enhancer


def audio(time: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """Noise that comes and goes, at a usual level."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(batch, time, generator=generator)
    return noise * (1.1 + torch.sin(torch.arange(time) / 500)) / 2


def run(enhancer: Enhancer, noisy: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return enhancer(noisy)


@pytest.mark.parametrize("time", [1, 100, 9_001])
@pytest.mark.parametrize("name", NAMES)
def test_any_length_comes_back_equally_long_and_finite(name, time):
    estimate = run(make(name), audio(time))
    assert estimate.shape == (2, time)
    assert estimate.dtype == torch.float32
    assert estimate.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_items_of_a_batch_do_not_see_each_other(name):
    noisy = audio(2_500, batch=3)
    together = run(make(name), noisy)
    for item in range(3):
        alone = run(make(name), noisy[item : item + 1])
        torch.testing.assert_close(alone, together[item : item + 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_causal_one_does_not_hear_the_silence_that_fills_up_a_batch(name):
    enhancer = make(name)
    if not enhancer.causal:
        return
    lengths = (2_500, 4_097, 8_192)
    alone = [audio(length, batch=1, seed=length) for length in lengths]
    rows = [torch.nn.functional.pad(noisy, (0, lengths[-1] - noisy.shape[-1])) for noisy in alone]
    together = run(enhancer, torch.cat(rows))
    for row, noisy in zip(together, alone, strict=True):
        wanted = run(enhancer, noisy)[0]
        torch.testing.assert_close(row[: len(wanted)], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_silence_is_finite(name):
    assert run(make(name), torch.zeros(1, 3_000)).isfinite().all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_on_silence_are_finite(name):
    enhancer = make(name)
    target = audio(2_000, batch=1)
    enhancer.zero_grad()
    silence = torch.zeros(1, 2_000, requires_grad=True)  # as the output of an earlier stage may be
    (enhancer(silence) - target).square().mean().backward()
    gradients = [item.grad for item in enhancer.parameters() if item.grad is not None]
    assert gradients
    assert silence.grad is not None
    gradients.append(silence.grad)
    assert all(gradient.isfinite().all() for gradient in gradients)
    enhancer.zero_grad()


@pytest.mark.parametrize("name", NAMES)
def test_latency_is_what_a_changed_future_shows_at_every_phase(name, monkeypatch):
    """Row p differs from the first one from sample now + p on; how far before that does it sound different?"""
    monkeypatch.setattr(
        "rased.models.attenuate._BLOCK", 1
    )  # what a transform rounds off is heard all over a block
    enhancer = make(name)
    if enhancer.algorithmic_latency is None:
        noisy = audio(10_240, batch=1)
        changed = noisy.clone()
        changed[:, 7_168:] += 1e4 * audio(3_072, batch=1, seed=2)
        difference = (run(enhancer, changed) - run(enhancer, noisy)).abs().amax(0)
        assert difference[:5_168].max() > 1e-7, "does not look ahead: declare its latency"
        return
    chunk = enhancer.chunk_length
    assert enhancer.total_latency == enhancer.algorithmic_latency + enhancer.buffering
    assert (enhancer.latency, enhancer.buffering) == (enhancer.algorithmic_latency - chunk, chunk)
    now = 3_072 if enhancer.transform is not None else 3 * enhancer.algorithmic_latency
    now -= now % chunk
    rows = 10 * audio(now + chunk, batch=1).repeat(chunk + 1, 1)
    loud, share = 1e7, 1e-5  # the last samples of a window weigh little
    if isinstance(enhancer, ATENNuate | Demucs | TCNN):  # the ends of a frame weigh a millionth
        enhancer, rows = _plain(enhancer).double(), rows.double()
        loud, share = 1e12, 1e-14 if isinstance(enhancer, ATENNuate) else 1e-12
    elif _network(enhancer) == SEMamba:  # so do those of two Hann windows
        enhancer = _plain(enhancer)
    for phase in range(chunk):
        rows[1 + phase, now + phase] += loud
    heard = run(enhancer, rows)
    rounding = share * heard[0].abs().max()  # rows of a batch differ by less
    different = (heard[1:] - heard[:1]).abs() > rounding
    first = different.int().argmax(-1)
    reach = torch.arange(now, now + chunk)[different.any(-1)] - first[different.any(-1)]
    expected = enhancer.algorithmic_latency - 1 - _unheard(enhancer)
    assert expected - _faint(enhancer) <= int(reach.max()) <= expected


def _faint(enhancer: Enhancer) -> int:
    """Samples at the start of a frame of which little is heard where the future changes gains alone: both windows."""
    if isinstance(
        enhancer, ATENNuate
    ):  # with more rates, the ends of the outermost frames are fainter
        return enhancer.rates[len(enhancer.factors) // 3] - 1
    if isinstance(
        enhancer, Demucs
    ):  # gates of many layers saturate: the ends of the sinc filters drown
        return 18 if enhancer.layers > 4 else 0
    if _network(enhancer) not in (DeepFilterNet3, FullSubNet, RNNoise):
        return 0
    like = torch.zeros(1)
    return int((enhancer.stft._weights(like) * enhancer.stft._window(like) > 1e-2).int().argmax())


def _network(enhancer: Enhancer) -> type:
    """Class of the network inside; that of the enhancer where there is none."""
    return type(enhancer.network if isinstance(enhancer, FrequencyDomainEnhancer) else enhancer)


def _plain(enhancer: Enhancer) -> Enhancer:
    """A copy that does not bring what is loud down, and soon forgets what was."""
    bare = copy.deepcopy(enhancer)
    for name, parameter in bare.named_parameters():
        if name.endswith("space.log_step"):
            parameter.data += 3
    if isinstance(bare, Demucs | FrequencyDomainEnhancer):
        bare.level = None
    return bare


def _unheard(enhancer: Enhancer) -> int:
    """Samples that are not heard: frames that wait, ends of windows that are zero or, at the synthesis, rounding."""
    if isinstance(enhancer, ATENNuate):  # frames that wait for others to be joined with
        return sum(wait * rate for wait, rate in zip(enhancer.waits, enhancer.rates, strict=False))
    stft = enhancer.transform
    if stft is None:
        return 0
    like = torch.zeros(1)
    before = int((stft._weights(like) > 1e-5).int().argmax())
    return before + int((stft._window(like).flip(0) != 0).int().argmax())


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_equals_the_file(name):
    enhancer = make(name)
    if enhancer.latency is None:
        assert enhancer.chunk_length is None
        with pytest.raises(RasedError, match="cannot stream"):
            enhancer.initial_state()
        with pytest.raises(RasedError, match="cannot stream"):
            enhancer.step(audio(100), {})
        return
    noisy = audio(4_000)
    chunk, latency = enhancer.chunk_length, enhancer.latency
    chunks = -(-(4_000 + latency) // chunk)
    padded = torch.nn.functional.pad(noisy, (0, chunks * chunk - 4_000))
    state, outputs = enhancer.initial_state(batch=2), []
    with torch.no_grad():
        for part in padded.split(max(chunk, 512 // chunk * chunk), dim=-1):
            output, state = enhancer.step(part, state)
            outputs.append(output)
    streamed = torch.cat(outputs, dim=-1)[:, latency : latency + 4_000]
    torch.testing.assert_close(streamed, run(enhancer, noisy), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_named_real_full_and_nobody_else_s(name):
    enhancer = make(name)
    if not enhancer.causal:
        return
    first = enhancer.initial_state(batch=2)
    before = {leaf: tensor.clone() for leaf, tensor in first.items()}
    with torch.no_grad():
        _, after = enhancer.step(audio(3 * enhancer.chunk_length), first)
        next_one = audio(enhancer.chunk_length)
        estimate, again = enhancer.step(next_one, after)
        same, _ = enhancer.step(next_one, dict(reversed(after.items())))
    assert torch.equal(same, estimate)  # names count, not places
    for state in (first, after, again):
        assert state
        assert list(state) == list(first)
        for leaf, tensor in state.items():
            assert isinstance(leaf, str)
            assert tensor.numel()
            assert tensor.dtype.is_floating_point
            assert (tensor.shape, tensor.dtype) == (first[leaf].shape, first[leaf].dtype)
        places = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
        assert len(places) == len(state)
    assert all(torch.equal(before[leaf], first[leaf]) for leaf in first)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_the_forward_pass_wherever_it_is_cut(name, monkeypatch):
    enhancer, noisy = make(name), audio(20_000)
    if not enhancer.causal:
        return
    monkeypatch.setattr("rased.streaming.BLOCK_SECONDS", 0.3)
    stream = open_stream(enhancer, 2)
    parts = [stream.push(part) for part in noisy.split(7_001, dim=-1)]
    found = torch.cat([*parts, stream.finish()], dim=-1)
    wanted = run(enhancer, noisy)
    limit = 3e-7 * max(1.0, float(wanted.abs().max()))
    if name in SIBLINGS:
        limit *= 4  # rounding grows with the number of layers
    if _network(enhancer) == SEMamba:
        limit *= 4  # its phase is the direction of a vector, which may be short
    torch.testing.assert_close(found, wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_weights_make_the_same_enhancer_again(name):
    enhancer = make(name)
    spec = load_yaml(CONFIGS[name])["model"]["init_args"]["enhancer"]
    again = build(Enhancer, spec, classes=STRANGERS).eval()
    again.load_state_dict(enhancer.state_dict())
    assert torch.equal(run(again, audio(1_500)), run(enhancer, audio(1_500)))
    assert not again.needs_statistics


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_paper(name):
    with torch.device("meta"):  # shapes alone
        enhancer = build(Enhancer, load_yaml(CONFIGS[name])["model"]["init_args"]["enhancer"])
    assert "doi:" in enhancer.paper or "arXiv:" in enhancer.paper
    if enhancer.published_parameters is not None:
        ours = count_parameters(enhancer)
        assert ours == pytest.approx(enhancer.published_parameters, rel=0.01)


def test_some_papers_count_their_parameters():
    assert sum(make(name).published_parameters is not None for name in ("gtcrn", "nsnet2")) == 2
