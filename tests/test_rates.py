"""Streams of any sample rate: the band above the model's is kept under its gain."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import rased
from rased.audio import resample
from rased.models.base import Enhancer, Prediction, SpectralEnhancer
from rased.models.limited import limited
from rased.signal.stft import STFT
from rased.streaming import open_rates
from tests.bundled import recording
from tests.toys import FourChannels


class Gain(SpectralEnhancer):
    """A constant gain, through the STFT and block by block."""

    def __init__(self, gain=1.0, sample_rate=16_000):
        super().__init__(stft=STFT(), sample_rate=sample_rate)
        self.gain = gain

    def process(self, spectrum, state):
        return Prediction.of_spectrum(self.gain * spectrum), state


class Gate(Enhancer):
    """Silences the second half second; of whole utterances."""

    def predict(self, noisy):
        estimate = noisy.clone()
        estimate[:, 8_000:16_000] = 0
        return Prediction(estimate)


def white(seconds, rate=48_000, channels=1):
    generator = np.random.default_rng(0)
    return (0.1 * generator.standard_normal((channels, round(rate * seconds)))).astype(np.float32)


def through(enhancer, waveform, rate=48_000, pieces=(4_801,), **options):
    stream = open_rates(enhancer, rate, len(waveform), **options)
    parts, at, turn = [], 0, 0
    while at < waveform.shape[1]:
        size = pieces[turn % len(pieces)]
        parts.append(stream.push(waveform[:, at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate([*parts, stream.finish()], axis=1)


def bands_db(waveform, edges, rate=48_000):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    frequencies = np.fft.rfftfreq(waveform.shape[-1], 1 / rate)
    return np.array(
        [
            10 * np.log10(power[..., (frequencies >= low) & (frequencies < high)].sum() + 1e-20)
            for low, high in pairwise(edges)
        ]
    )


RATES = [1_000, 8_000, 11_025, 15_999, 16_000, 22_050, 44_100, 48_000, 96_000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_a_constant_gain_holds_for_the_whole_band_without_notch_or_bump(rate, gain):
    noisy = white(0.6, rate, channels=2)
    found = through(Gain(gain), noisy, rate)
    assert found.shape == noisy.shape
    inner = slice(rate // 20, -rate // 20)
    np.testing.assert_allclose(found[:, inner], gain * noisy[:, inner], atol=2e-4)


LIMITED = {
    "spectral": lambda: Gain(0.1),
    "of whole utterances": Gate,
    "of 48 kHz": lambda: Gain(0.1, 48_000),
    "of four microphones": FourChannels,
}


@pytest.mark.parametrize("kind", LIMITED)
def test_a_limit_of_zero_returns_the_input_of_any_rate(kind):
    enhancer = limited(LIMITED[kind]().eval(), 0.0)
    for rate in RATES:
        for length in (round(0.3 * rate), 13):
            noisy = white(0.3, rate, channels=4 if enhancer.channels == 4 else 2)[:, :length]
            for band in ("full", "model") if rate <= enhancer.sample_rate else ("full",):
                found = through(enhancer, noisy, rate, band=band)
                said = f"{rate} Hz, {length} samples, {band}"
                np.testing.assert_allclose(found, noisy[: len(found)], atol=1e-6, err_msg=said)


def test_the_band_of_the_model_alone_is_an_option():
    noisy = white(0.5)
    edges = [1_000, 7_000, 9_000, 20_000]
    low, _, high = bands_db(through(Gain(), noisy, band="model"), edges) - bands_db(noisy, edges)
    assert abs(low) < 0.1
    assert high < -50


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_any_blocks_give_the_same(rate):
    noisy = white(0.3, rate)
    enhancer = rased.load("log-mmse")
    whole = through(enhancer, noisy, rate, (len(noisy[0]),))
    for pieces in ((441,), (1, 3_000, 7), (9_973,)):
        found = through(enhancer, noisy, rate, pieces, live=True)
        np.testing.assert_allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 2, 50, 191, 193, 1_000])
def test_short_audio_keeps_its_length(length):
    assert through(Gain(), white(1.0)[:, :length]).shape == (1, length)


def test_the_upper_band_follows_the_model_within_milliseconds():
    noisy = white(1.5)
    found = through(Gate(), noisy)
    upper = found - resample(resample(found, 48_000, 16_000), 16_000, 48_000)
    given = noisy - resample(resample(noisy, 48_000, 16_000), 16_000, 48_000)

    def gain_db(start, stop):
        part = slice(round(48_000 * start), round(48_000 * stop))
        ratio = np.square(upper[:, part]).sum() / np.square(given[:, part]).sum()
        return 10 * np.log10(ratio + 1e-12)

    assert abs(gain_db(0.05, 0.49)) < 0.2
    assert gain_db(0.53, 0.99) < -40
    assert abs(gain_db(1.03, 1.45)) < 0.2


def test_silence_stays_silent_and_no_upper_band_is_made_up():
    assert not through(rased.load("log-mmse"), np.zeros((1, 24_000), np.float32)).any()
    speech = resample(recording("speech", "en_austen_001")[:, :16_000].numpy(), 16_000, 48_000)
    found = through(Gain(0.5), speech)
    below, above = bands_db(found, [0, 8_200, 24_000])
    assert above < below - 75


def test_a_model_at_the_rate_of_the_file_or_above_it_simply_runs():
    noisy = white(0.3)
    wanted = 0.5 * noisy
    np.testing.assert_allclose(through(Gain(0.5, 48_000), noisy), wanted, atol=1e-6)
    speech = recording("speech", "en_austen_000")[:, :8_000].numpy()
    narrow = through(Gain(0.5, 48_000), speech, 16_000)
    np.testing.assert_allclose(narrow[:, 800:-800], 0.5 * speech[:, 800:-800], atol=2e-3)


def test_an_array_of_microphones_keeps_the_upper_band_of_the_first_one():
    noisy = np.repeat(white(0.4), 4, axis=0)
    found = through(FourChannels(start=0.5), noisy)
    np.testing.assert_allclose(found[:, 2_400:-2_400], 0.5 * noisy[:1, 2_400:-2_400], atol=2e-4)


BORDER = [6_000, 6_500, 7_000, 7_500, 8_000, 8_500, 9_000, 9_500, 10_000]


def wide_speech():
    """Speech with an upper band: noise that has the envelope of the speech between 4 and 8 kHz, as a fricative has."""
    speech = recording("speech", "en_austen_000")[:, 8_000:40_000].numpy()
    spectrum = np.fft.rfft(speech)
    spectrum[:, : spectrum.shape[1] // 2] = 0
    envelope = np.abs(np.fft.irfft(spectrum))
    smooth = np.convolve(envelope[0], np.ones(160) / 160, mode="same")
    wide = resample(speech, 16_000, 48_000)
    hiss = white(2.0) * 10
    upper = hiss - resample(resample(hiss, 48_000, 16_000), 16_000, 48_000)
    return wide + np.repeat(smooth, 3)[None].astype(np.float32) * upper


def log_spectral_distance(estimate, target):
    """Above 8.3 kHz, in dB."""
    spectra = [
        torch.stft(
            torch.from_numpy(one), 2_048, 512, window=torch.hann_window(2_048), return_complex=True
        )
        for one in (estimate, target)
    ]
    first, second = (10 * (one.abs().square()[:, 355:854] + 1e-4).log10() for one in spectra)
    return float((first - second).square().mean(1).sqrt().mean())


def test_noisy_speech_comes_closer_to_its_target_above_the_band_of_the_model():
    target = wide_speech()
    noisy = target + 0.3 * white(2.0)
    found = through(rased.load("gtcrn-tuned-16k"), noisy)
    dull = through(rased.load("gtcrn-tuned-16k"), noisy, band="model")
    distance = log_spectral_distance(found, target)
    assert distance < 0.7 * log_spectral_distance(noisy, target)
    assert distance < log_spectral_distance(dull, target)
    # At the border, the gain goes on as it is below.
    gains = bands_db(found, BORDER) - bands_db(noisy, BORDER)
    assert np.abs(np.diff(gains)).max() < 3
