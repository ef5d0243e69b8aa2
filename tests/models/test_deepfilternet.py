"""What DeepFilterNet 3 and RNNoise promise beyond the contract of every enhancer."""

import pytest
import torch

from rased.errors import RasedError
from rased.models.deepfilternet import DeepFilterNet3
from rased.models.rnnoise import RNNoise
from rased.signal.state import joined, parted
from rased.signal.stft import STFT
from tests.models.test_contract import audio, run

SMALL = STFT(320, 160, 320, "vorbis")


def small(**options) -> DeepFilterNet3:
    torch.manual_seed(0)
    sizes = {"channels": 16, "hidden": 16, "filtered_bins": 16, "stft": SMALL}
    return DeepFilterNet3(**{**sizes, "sample_rate": 16_000, **options}).eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": 12}, "bands must be a multiple of 8"),
        ({"channels": 3}, r"channels \* bands / 4 of 32"),
        ({"filtered_bins": 161}, "filtered_bins an even number below"),
        ({"lookahead": 5}, "choose a lookahead below order"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(RasedError, match=message):
        small(**options)


def test_a_fresh_one_lets_the_lowest_bins_pass_on_time():
    enhancer, noisy = small(), audio(6_400)
    prediction = enhancer.predict(noisy)
    low, heard = prediction.noisy_spectrum[:, :16, 4:], prediction.spectrum[:, :16, 4:]
    assert (heard - low).abs().square().sum() < 0.5 * low.abs().square().sum()


@torch.no_grad()
def test_speech_after_silence_of_any_length_is_finite():
    enhancer = small()
    state = parted(enhancer.initial_process_state(2))
    state["norms"]["level"] = torch.zeros(2, 16)  # where hours of zeros lead
    spectrum = enhancer.stft.analysis(torch.cat([torch.zeros(2, 800), audio(800)], dim=-1))
    prediction, after = enhancer.process(spectrum, joined(state))
    assert prediction.spectrum.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in after.values())


def test_less_look_ahead_is_less_latency():
    assert [small(lookahead=frames).latency for frames in (0, 2, 4)] == [160, 480, 800]
    assert run(small(lookahead=0), audio(1_000)).isfinite().all()


def test_bins_too_wide_for_the_bands_are_refused():
    with pytest.raises(RasedError, match="choose a larger n_fft"):
        RNNoise(stft=SMALL, sample_rate=48_000)


@torch.no_grad()
def test_gains_of_one_leave_the_spectrum_as_it_is():
    enhancer, noisy = RNNoise(channels=8, hidden=8, stft=SMALL, sample_rate=16_000), audio(4_000)
    enhancer.network.linear.weight.zero_()
    enhancer.network.linear.bias.fill_(50.0)
    torch.testing.assert_close(run(enhancer, noisy), noisy)
