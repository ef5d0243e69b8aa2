"""Every configs/model and every classical method against the contract of `models/base.py`."""

import re
from functools import cache

import pytest
import torch

from rased.building import build
from rased.classes import STRANGERS
from rased.config import config_folder, load_yaml
from rased.models.attenuate import ATENNuate
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.cost import count_parameters, macs_per_second
from rased.models.segan import SEGAN
from rased.models.tcnn import TCNN
from rased.models.wave_u_net import WaveUNet

CONFIGS = {path.stem: path for path in sorted((config_folder() / "model").glob("*.yaml"))}
_SEVERAL = ("fusion", "minimum-difference", "progressive", "snr-selected", "stacked", "two-stage")
SIBLINGS = {f"fastenhancer-{size}": "fastenhancer-t" for size in "bsml"}
SIBLINGS |= {name: f"{name}-small" for name in CONFIGS if f"{name}-small" in CONFIGS}
SIBLINGS |= dict.fromkeys(("deep-mmse", "dnn-wpe", *_SEVERAL), "lstm-psm-small")
"""Larger ones, and the small one that has the same code; targets and stages have tests of their own."""
ARCHITECTURES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SIBLINGS else name for name in CONFIGS
]
NAMES = [*ARCHITECTURES, *METHODS]
UNITS = {"K": 1e3, "M": 1e6}
BIASED = (ATENNuate, SEGAN, TCNN, WaveUNet)
"""Networks from waveform to waveform, without a level."""


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
def test_samples_that_were_not_divided_by_full_scale_give_no_overflow(name):
    assert run(make(name), 32_768 * audio(2_000, batch=1)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_items_of_a_batch_do_not_see_each_other(name):
    noisy = audio(2_500)
    together = run(make(name), noisy)
    for item in range(2):
        alone = run(make(name), noisy[item : item + 1])
        torch.testing.assert_close(alone, together[item : item + 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_causal_one_does_not_hear_the_silence_that_fills_up_a_batch(name):
    enhancer = make(name)
    if not enhancer.causal:
        return
    lengths = (1_250, 2_049, 4_096)
    alone = [audio(length, batch=1, seed=length) for length in lengths]
    rows = [torch.nn.functional.pad(noisy, (0, lengths[-1] - noisy.shape[-1])) for noisy in alone]
    together = run(enhancer, torch.cat(rows))
    for row, noisy in zip(together, alone, strict=True):
        wanted = run(enhancer, noisy)[0]
        torch.testing.assert_close(row[: len(wanted)], wanted, rtol=0, atol=1e-5)


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
def test_silence_stays_silent(name):
    """A filter makes no sound, and a level is restored; other networks add biases, which training takes to zero."""
    enhancer = make(name)
    silence = run(enhancer, torch.zeros(1, 3_000)).abs().max()
    assert silence.isfinite()
    if not isinstance(enhancer, BIASED):
        assert silence < 1e-3 * run(enhancer, audio(3_000, batch=1)).abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_minute_is_finite_and_begins_like_its_first_second(name):
    """A network with many products gets less: as much as it processes with 20 G of them, and a second at least."""
    enhancer = make(name)
    products = macs_per_second(enhancer) if name in CONFIGS else 1.0
    seconds = min(60.0, max(1.0, 20e9 / products))
    noisy = audio(round(seconds * enhancer.sample_rate), batch=1)
    estimate = run(enhancer, noisy)
    assert estimate.shape == noisy.shape
    assert estimate.isfinite().all()
    if enhancer.causal:
        second = noisy[:, : enhancer.sample_rate]
        kept = enhancer.sample_rate - enhancer.algorithmic_latency
        torch.testing.assert_close(
            estimate[:, :kept], run(enhancer, second)[:, :kept], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_weights_make_the_same_enhancer_again(name):
    enhancer = make(name)
    spec = load_yaml(CONFIGS[name])["model"]["init_args"]["enhancer"]
    again = build(Enhancer, spec, classes=STRANGERS).eval()
    again.load_state_dict(enhancer.state_dict())
    assert torch.equal(run(again, audio(1_500)), run(enhancer, audio(1_500)))
    assert not again.needs_statistics


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_that_are_published(name):
    """Within 1 %; the YAML says where the number is from, or why there is none."""
    with torch.device("meta"):  # shapes alone
        enhancer = build(Enhancer, load_yaml(CONFIGS[name])["model"]["init_args"]["enhancer"])
    assert "doi:" in enhancer.paper or "arXiv:" in enhancer.paper
    comment = CONFIGS[name].read_text().partition("\nmodel:")[0].replace("\n#", "")
    noted = re.search(r" (\S+) ([KM]) parameters(?: \(([^)]*)\))?", comment)
    if noted is None:
        assert name.endswith("-small")
        return
    ours = count_parameters(enhancer)
    assert float(noted[1]) * UNITS[noted[2]] == pytest.approx(ours, rel=0.03)
    published = enhancer.published_parameters
    if published is not None:
        assert ours == pytest.approx(published, rel=0.01)
        source, number, unit = re.match(r"([^:]+): ([\d.,]+)(?: ([KM]))?", noted[3]).groups()
        assert source == enhancer.published_in
        assert float(number.replace(",", "")) * UNITS.get(unit, 1) == published
    elif not name.endswith("-small"):
        assert re.match("not published|size of ours|variant of ours|.* so built", noted[3])
