"""Every causal configs/model and classical method as a stream: equal to the file, as late as it declares."""

import copy
from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from rased.building import build
from rased.classes import STRANGERS
from rased.config import load_yaml
from rased.errors import RasedError
from rased.models.attenuate import ATENNuate
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.fusion import Fusion
from rased.streaming import open_stream
from tests.models.test_contract import ARCHITECTURES, CONFIGS, NAMES, audio, make, run

EXACT = 1e-12
"""What float64 rounds, with a margin of thousands; a wrong delay or state shows at 1e-3."""
FLOAT32 = 3e-7
"""Two or three units in the last place of full scale."""
ROUNDING = 1e-3
"""More than this, rounding does not explain."""


@pytest.fixture
def float64(monkeypatch):
    """Give enhancers in float64: there `float()`, which lifts bfloat16 to float32, keeps what is wider."""
    plain = Tensor.float

    def lifted(tensor: Tensor) -> Tensor:
        return tensor if tensor.dtype == torch.float64 else plain(tensor)

    monkeypatch.setattr(Tensor, "float", lifted)
    return lambda enhancer: copy.deepcopy(enhancer).double()


def loaded(name: str) -> Enhancer:
    """The same enhancer from its settings and the bytes of its weights."""
    if name in METHODS:
        return METHODS[name]().eval()
    spec = load_yaml(CONFIGS[name])["model"]["init_args"]["enhancer"]
    again = build(Enhancer, spec, classes=STRANGERS).eval()
    again.load_state_dict(_through_bytes(make(name).state_dict()))
    return again


def _through_bytes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return load(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


@torch.no_grad()
def streamed(enhancer: Enhancer, noisy: Tensor, seed: int) -> Tensor:
    """The output of steps of random lengths, the state through bytes after each; the first one is the shortest."""
    chunk, late = enhancer.chunk_length, enhancer.latency
    count = -(-(noisy.shape[-1] + late) // chunk)
    padded = functional.pad(noisy, (0, count * chunk - noisy.shape[-1]))
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(1, count, (5,), generator=generator).tolist()
    cuts = sorted({1, *cuts} - {count}) if count > 1 else []
    state, outputs = enhancer.initial_state(len(noisy)), []
    for part in padded.tensor_split([cut * chunk for cut in cuts], dim=-1):
        output, after = enhancer.step(part, state)
        state = _through_bytes(after)
        outputs.append(output)
    return torch.cat(outputs, dim=-1)[:, late : late + noisy.shape[-1]]


def peak(values: Tensor) -> float:
    return float(values.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_random_chunks_after_save_and_load_equal_the_file(name, float64):
    """In float64 exactly; in float32 as closely as two ways to add the same numbers can."""
    enhancer = make(name)
    if not enhancer.causal:
        assert enhancer.chunk_length is None
        with pytest.raises(RasedError, match="cannot stream"):
            enhancer.initial_state()
        with pytest.raises(RasedError, match="cannot stream"):
            enhancer.step(audio(100), {})
        return
    noisy, again = audio(4_000), loaded(name)
    wanted = run(enhancer, noisy)
    limit = FLOAT32 * max(1.0, peak(wanted))
    if name in CONFIGS:
        exact = run(float64(enhancer), noisy.double())
        found = streamed(float64(again), noisy.double(), 0)
        torch.testing.assert_close(found, exact, rtol=0, atol=EXACT * max(1.0, peak(exact)))
        # Both are off the exact value by their own rounding, which grows with the number of layers.
        limit = max(limit, 4 * peak(wanted - exact))
        assert limit < ROUNDING * max(1.0, peak(wanted)), "float32 is another function: what jumps?"
    torch.testing.assert_close(streamed(again, noisy, 2), wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_the_forward_pass_wherever_it_is_cut(name, float64, monkeypatch):
    enhancer, noisy, limit = make(name), audio(3_600), FLOAT32
    if not enhancer.causal:
        return
    if name in CONFIGS:
        enhancer, noisy, limit = float64(enhancer), noisy.double(), EXACT
    monkeypatch.setattr("rased.streaming.BLOCK_SECONDS", 0.1)
    stream = open_stream(enhancer, 2)
    parts = [stream.push(part) for part in noisy.tensor_split([1, 2, 1_601, 1_799], dim=-1)]
    found, wanted = torch.cat([*parts, stream.finish()], dim=-1), run(enhancer, noisy)
    torch.testing.assert_close(found, wanted, rtol=0, atol=limit * max(1.0, peak(wanted)))


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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_gradient_reaches_as_far_ahead_as_the_latency_says(name, float64, monkeypatch):
    """Samples between an output sample and the last input sample that it depends on; the neediest needs them all.

    A gradient sees what no change of the input makes audible: weights of a millionth at the ends of windows, gates that
    a loud change would shut.
    """
    enhancer = make(name)
    if not enhancer.causal:
        return
    _convolve_without_leaks(monkeypatch)
    chunk, needed = enhancer.chunk_length, enhancer.algorithmic_latency
    before, after = unheard(enhancer)
    # The first sample of an output chunk waits for all of an input chunk; where its window is zero, a later one.
    first = 3 * needed // chunk * chunk + -enhancer.latency % chunk
    places = torch.tensor([first, first + before, first + chunk // 2, first + chunk - 1])
    estimate, noisy = _heard(float64(enhancer), first + needed + 2 * chunk, len(places))
    estimate[torch.arange(len(places)), places].sum().backward()
    last = torch.tensor([int(row.nonzero().max()) for row in noisy.grad])
    assert int((last - places).max()) == needed - 1 - before - after


def _heard(enhancer: Enhancer, time: int, rows: int) -> tuple[Tensor, Tensor]:
    """The output for equal rows of noise, each sample larger than those before, so that a level depends on the last."""
    signs = audio(time, batch=1).double().sign()
    noisy = (signs * torch.logspace(-2, -0.3, time, dtype=torch.float64)).repeat(rows, 1)
    noisy.requires_grad_()
    return enhancer(noisy), noisy


@pytest.mark.parametrize("name", METHODS)
def test_a_changed_future_shows_the_latency_of_a_method(name):
    """Row p differs from the first one from sample now + p on; how far before that does it sound different?"""
    enhancer = make(name)
    if not enhancer.causal:
        return
    chunk, now = enhancer.chunk_length, 3_072
    rows = 10 * audio(now + chunk, batch=1).repeat(chunk + 1, 1)
    for phase in range(chunk):
        rows[1 + phase, now + phase] += 1e7
    heard = run(enhancer, rows)
    different = (heard[1:] - heard[:1]).abs() > 1e-5 * heard[0].abs().max()
    first = different.int().argmax(-1)
    reach = torch.arange(now, now + chunk)[different.any(-1)] - first[different.any(-1)]
    assert int(reach.max()) == enhancer.algorithmic_latency - 1 - sum(unheard(enhancer, 1e-5))


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_the_latency_add_up(name):
    enhancer = make(name)
    if enhancer.causal:
        chunk, needed = enhancer.chunk_length, enhancer.algorithmic_latency
        assert enhancer.total_latency == needed + enhancer.buffering
        assert (enhancer.latency, enhancer.buffering) == (needed - chunk, chunk)
        return
    noisy = audio(10_240, batch=1)
    changed = noisy.clone()
    changed[:, 7_168:] += 100 * audio(3_072, batch=1, seed=2)
    difference = (run(enhancer, changed) - run(enhancer, noisy)).abs().amax(0)
    assert difference[:5_168].max() > 1e-8, "does not look ahead: declare its latency"


def _convolve_without_leaks(monkeypatch) -> None:
    """Replace the convolution by Fourier transforms, which round all over a block."""

    def convolved(frames: Tensor, kernel: Tensor) -> Tensor:
        count = frames.shape[-1]
        padded = functional.pad(kernel, (count - 1, 0))
        matrix = padded.unfold(-1, count, 1).flip(-1)  # rows: output frame, columns: input frame
        return (matrix @ frames[..., None])[..., 0]

    monkeypatch.setattr("rased.layers.state_space._convolved", convolved)
    monkeypatch.setattr("rased.models.attenuate._BLOCK", 1)


def unheard(enhancer: Enhancer, faint: float = 0.0) -> tuple[int, int]:
    """Samples that no output hears, at the start of a frame and at the end: zeros of windows, frames that wait."""
    if isinstance(enhancer, ATENNuate):  # for others to be joined with
        waits = zip(enhancer.waits, enhancer.rates, strict=False)
        return 0, sum(wait * rate for wait, rate in waits)
    if isinstance(enhancer, Fusion):  # the slowest one tells the latency of all
        return unheard(max(enhancer.parts, key=lambda one: one.latency), faint)
    stft = enhancer.transform
    if stft is None:
        return 0, 0
    like = torch.zeros(1)
    before = int((stft._weights(like) > faint).int().argmax())
    return before, int((stft._window(like).flip(0) != 0).int().argmax())
