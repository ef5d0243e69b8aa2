"""The largest attenuation, around every kind of enhancer."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rased
from rased.errors import RasedError
from rased.layers.conditioning import Conditioning
from rased.layers.level import Level
from rased.models.base import Enhancer, Prediction, SpectralEnhancer
from rased.models.frequency import FrequencyDomainEnhancer, Inputs, Phase
from rased.models.limited import Limited, LimitedSpectrum, checked_limit, limited
from rased.models.lstm import LSTM
from rased.signal.gains import floored
from rased.signal.stft import STFT
from rased.streaming import open_stream
from tests.bundled import recording
from tests.toys import FourChannels


class Mute(Enhancer):
    """Returns silence, `latency` samples late in chunks that no hop divides."""

    def __init__(self, latency=137, chunk_length=37):
        super().__init__()
        self.latency, self.chunk_length = latency, chunk_length

    def predict(self, noisy):
        return Prediction(torch.zeros_like(noisy))

    def initial_state(self, batch=1, *, condition=None):
        return {"nothing": torch.zeros(batch, 1)}

    def step(self, chunk, state):
        return torch.zeros_like(chunk), state


class MuteSpectrum(SpectralEnhancer):
    def __init__(self, lookahead=2):
        super().__init__(stft=STFT(), lookahead=lookahead)

    def process(self, spectrum, state):
        return Prediction.of_spectrum(torch.zeros_like(spectrum)), state


class Echo(Enhancer):
    """Half of the input, and of what it was 50 samples ago; heard before the start of a stream, too."""

    latency, chunk_length = 60, 20

    def predict(self, noisy):
        late = nn.functional.pad(noisy, (50, 0))[:, : noisy.shape[-1]]
        return Prediction(0.1 * noisy + 0.1 * late)

    def initial_state(self, batch=1, *, condition=None):
        return {"past": torch.zeros(batch, 110), "begun": torch.zeros(batch, 60)}

    def step(self, chunk, state):
        heard = torch.cat([state["past"], chunk], dim=-1)
        time = chunk.shape[-1]
        begun = torch.cat([state["begun"], torch.ones_like(chunk)], dim=-1)
        estimate = 0.1 * heard[:, 50 : 50 + time] + 0.1 * heard[:, :time]
        # Loud for the time before the start, which is not part of the file.
        estimate = estimate + 0.5 * (1 - begun[:, :time])
        return estimate, {"past": heard[:, time:].clone(), "begun": begun[:, time:].clone()}


def noise(seconds=1.0, name="mine_pump_00"):
    return recording("noise", name)[:, : round(16_000 * seconds)]


def level_db(waveform):
    return 10 * float(waveform.detach().double().square().mean().log10())


def streamed(enhancer, noisy, piece):
    stream = open_stream(enhancer, len(noisy))
    parts = [stream.push(part) for part in noisy.split(piece, dim=-1)]
    return torch.cat([*parts, stream.finish()], dim=-1)


@pytest.mark.parametrize(
    "inner", [Mute(), Mute(0, 160), Mute(4000, 333), MuteSpectrum(), MuteSpectrum(0)]
)
def test_what_is_removed_entirely_remains_at_the_limit_without_delay(inner):
    noisy = noise(0.5)
    enhancer = limited(inner.eval(), 12.0)
    wanted = 10 ** (-12 / 20) * noisy
    torch.testing.assert_close(enhancer(noisy), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(streamed(enhancer, noisy, 777), wanted, atol=1e-6, rtol=0)


def test_a_spectral_enhancer_is_not_delayed_further_and_any_other_one_by_a_hop():
    assert isinstance(limited(MuteSpectrum(), 6.0), LimitedSpectrum)
    assert limited(MuteSpectrum(), 6.0).latency == MuteSpectrum().latency
    around = limited(Mute(latency=256, chunk_length=128), 6.0)
    assert isinstance(around, Limited)
    assert around.latency == 256 + 128
    assert around.chunk_length == 128


def by_frequency(future=0, **parts):
    network = partial(LSTM, hidden=3, layers=1)
    inputs = Inputs("none", future_frames=future)
    return FrequencyDomainEnhancer(network, inputs=inputs, **parts).eval()


FILTER = {"target": "deep_filter", "phase": Phase("predicted")}


@pytest.mark.parametrize("parts", [{}, {"future": 2}, FILTER])
def test_the_model_of_the_frequency_domain_is_limited_in_its_own_transform(parts):
    """Also with future frames: then the noisy frames wait as long as the estimate."""
    inner = by_frequency(**parts)
    enhancer, noisy = limited(inner, 1.0), noise(0.2)
    assert isinstance(enhancer, LimitedSpectrum)
    assert (enhancer.latency, enhancer.chunk_length) == (inner.latency, inner.chunk_length)
    with torch.no_grad():
        whole = enhancer(noisy)
        plain = inner.predict_spectrum(inner.stft.analysis(noisy)).spectrum
        by_hand = floored(plain, inner.stft.analysis(noisy), 1.0)
        wanted = inner.stft.synthesis(by_hand, noisy.shape[-1])
        torch.testing.assert_close(whole, wanted, atol=1e-6, rtol=0)
        torch.testing.assert_close(streamed(enhancer, noisy, 333), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "parts", [{"level": Level(running=True)}, {"conditioning": Conditioning()}]
)
def test_one_with_a_level_or_a_condition_gets_a_transform_around_it(parts):
    inner = by_frequency(**parts)
    enhancer = limited(inner, 12.0)
    assert isinstance(enhancer, Limited)
    assert enhancer.conditions == inner.conditions
    hop = enhancer.stft.hop_length
    assert hop <= enhancer.latency - inner.latency < 2 * hop


@pytest.mark.parametrize("piece", [1, 20, 999, 8_000])
def test_a_stream_equals_the_file_although_something_is_heard_before_it(monkeypatch, piece):
    monkeypatch.setattr("rased.streaming.BLOCK_SECONDS", 0.1)
    enhancer, noisy = limited(Echo().eval(), 10.0), noise(0.2)
    torch.testing.assert_close(streamed(enhancer, noisy, piece), enhancer(noisy), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["gtcrn-tuned-16k", "gru-mask-16k", "log-mmse"])
def test_noise_is_attenuated_by_the_limit_and_less_by_a_smaller_one(name):
    noisy = noise(0.5)
    own = level_db(rased.load(name)(noisy)) - level_db(noisy)
    before = own
    for limit in (20.0, 12.0, 6.0, 3.0, 0.0):
        enhancer = rased.load(name, limit_db=limit)
        with torch.inference_mode():
            estimate = enhancer(noisy)
        found = level_db(estimate) - level_db(noisy)
        assert found > before - 1e-3
        # At most the sum of the powers of the limit and of what the enhancer leaves.
        most = 10 * np.log10(10 ** (-limit / 10) + 10 ** (own / 10))
        assert -limit - 0.05 < found < most + 0.05
        before = found
    torch.testing.assert_close(estimate, noisy, atol=1e-6, rtol=0)


def test_pauses_of_a_real_mixture_stay_at_the_limit():
    """Speech in the second half: the first half is noise alone, and the pause after it too."""
    speech = recording("speech", "en_austen_000")
    hum = noise(4.0, "tools_00")
    noisy = hum.clone()
    noisy[:, 16_000:48_000] += speech[:, :32_000]
    with torch.inference_mode():
        plain = rased.load("gtcrn-tuned-16k")(noisy)
        estimate = rased.load("gtcrn-tuned-16k", limit_db=10.0)(noisy)
    for pause in (slice(2_000, 15_000), slice(50_000, 63_000)):
        assert level_db(plain[:, pause]) - level_db(hum[:, pause]) < -19.5
        assert level_db(estimate[:, pause]) - level_db(hum[:, pause]) == pytest.approx(-10, abs=0.5)


@pytest.mark.parametrize("name", ["gru-mask-16k", "fastenhancer-mid-16k", "log-mmse"])
def test_limited_weights_stream_as_they_enhance_files(name):
    enhancer, noisy = rased.load(name, limit_db=12.0), noise(0.7)
    with torch.inference_mode():
        whole = enhancer(noisy)
    torch.testing.assert_close(streamed(enhancer, noisy, 1_001), whole, atol=1e-5, rtol=0)


def test_an_array_of_microphones_is_compared_with_the_first_one():
    noisy = torch.cat([noise(0.2), torch.zeros(3, 3_200)])
    estimate = limited(FourChannels(start=0.01), 20.0)(noisy)
    torch.testing.assert_close(estimate, 0.1 * noisy[0], atol=1e-6, rtol=0)


def test_the_card_and_the_mode_are_kept():
    enhancer = rased.load("gru-mask-16k", limit_db=12.0)
    assert enhancer.latency == rased.load("gru-mask-16k").latency
    assert not enhancer.training
    assert enhancer.card["name"] == "gru-mask-16k"
    assert limited(enhancer, None) is enhancer


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf"), "12", True])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(RasedError, match="give decibels of at least 0, such as 12"):
        checked_limit(limit)
    with pytest.raises(RasedError, match="the limit of the attenuation is -3"):
        rased.load("log-mmse", limit_db=-3.0)
