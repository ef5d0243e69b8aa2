"""Transform pair, ratios, levels and rooms: laws, and independent references."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from rased.errors import RasedError
from rased.signal import levels, room
from rased.signal.convolution import fft_length
from rased.signal.ratios import BOUND_DB, si_sdr, snr
from rased.signal.stft import STFT

LAYOUTS = [
    STFT(),
    STFT(hop_length=128),
    STFT(n_fft=512, win_length=320, hop_length=160, window="hann"),
    STFT(window="hamming", hop_length=128),
    STFT(512, 160, 512, "hann"),
    STFT(512, 100, 512, "hann"),
    STFT(512, 100, 400, "hamming"),
    STFT(510, 128, 510, "hann"),
    STFT(320, 160, 320, "hamming", synthesis_window="rectangular", periodic=False),
    STFT(960, 480, 960, "vorbis"),
    STFT(400, 160, 400, "sine", synthesis_window="hann"),
    STFT(512, 128, 512, "rectangular"),
    STFT(512, 200, 512, "hann", synthesis_window="vorbis"),
    STFT(512, 256, 512, "hann", synthesis_window="rectangular"),
]
MIRRORED = [
    STFT(pad_mode="reflect"),
    STFT(window="hann", pad_mode="reflect"),
    STFT(512, 160, 512, "hann", pad_mode="reflect"),
]


def noise(time):
    return torch.randn(2, time, generator=torch.Generator().manual_seed(time))


@pytest.mark.parametrize("stft", [*LAYOUTS, *MIRRORED])
@pytest.mark.parametrize("time", [1, 2, 100, 255, 511, 512, 513, 767, 5000, 16_000, 16_001])
def test_synthesis_inverts_analysis_to_the_last_sample(stft, time):
    waveform = noise(time)
    spectrum = stft.analysis(waveform)
    assert spectrum.shape == (2, stft.freq, stft.frames(time))
    torch.testing.assert_close(stft.synthesis(spectrum, time), waveform, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("n_fft", "hop", "win"),
    [(512, 256, 512), (512, 100, 512), (400, 100, 400), (510, 128, 510), (512, 160, 400)],
)
@pytest.mark.parametrize("time", [1000, 5000, 16_001])
def test_centred_is_the_transform_of_torch(n_fft, hop, win, time):
    waveform, window = noise(time), torch.hamming_window(win)
    stft = STFT(n_fft, hop, win, "hamming", pad_mode="centred")
    ours = stft.analysis(waveform)
    usual = torch.stft(waveform, n_fft, hop, win, window, True, "reflect", return_complex=True)
    torch.testing.assert_close(ours, usual, rtol=0, atol=2e-5)
    gain = torch.rand(usual.shape, generator=torch.Generator().manual_seed(1))
    theirs = torch.istft(gain * usual, n_fft, hop, win, window, True, length=time)
    covered = (stft.frames(time) - 1) * hop + win // 2 - (win - hop)  # less is thin at the end
    heard = slice(0, min(time, covered))
    torch.testing.assert_close(
        stft.synthesis(gain * ours, time)[:, heard], theirs[:, heard], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        stft.synthesis(ours, time)[:, heard], waveform[:, heard], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("stft", "of_scipy"),
    [
        (STFT(window="hann", periodic=False), ("hann", False)),
        (STFT(window="hamming"), ("hamming", True)),
        (STFT(window="sine"), ("cosine", False)),
        (STFT(window="rectangular", hop_length=128), ("boxcar", False)),
    ],
)
def test_windows_are_those_of_scipy(stft, of_scipy):
    name, periodic = of_scipy
    expected = scipy.signal.get_window(name, 512, fftbins=periodic)
    impulses = torch.zeros(1, 512).index_fill(1, torch.tensor([200]), 1.0)
    seen = stft.analysis_step(impulses[:, -stft.hop_length :], impulses[:, : stft.latency])[0]
    assert float(seen.abs().max()) == pytest.approx(float(expected[200]), abs=1e-6)


def test_the_vorbis_window_keeps_the_power():
    halves = STFT(960, 480, 960, "vorbis")._window(torch.zeros(1)).square().view(2, 480).sum(0)
    torch.testing.assert_close(halves, torch.ones(480))


def test_analysis_equals_the_usual_centred_transform():
    waveform = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(512).sqrt()
    for mode in ("constant", "reflect"):
        ours = STFT(pad_mode=mode).analysis(waveform)
        usual = torch.stft(waveform, 512, 256, 512, window, True, mode, return_complex=True)
        torch.testing.assert_close(ours[..., : usual.shape[-1]], usual, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stft", LAYOUTS)
def test_a_stream_is_cut_like_a_file(stft):
    waveform = torch.randn(2, 20 * stft.hop_length, generator=torch.Generator().manual_seed(1))
    whole = stft.analysis(waveform)
    analysis, synthesis = stft.initial_state(2).values()
    heard = []
    for number, chunk in enumerate(waveform.split(stft.hop_length, dim=-1)):
        frame, analysis = stft.analysis_step(chunk, analysis)
        torch.testing.assert_close(frame[..., 0], whole[..., number], rtol=0, atol=1e-5)
        samples, synthesis = stft.synthesis_step(frame, synthesis)
        heard.append(samples)
    output = torch.cat(heard, -1)
    several, _ = stft.analysis_step(waveform, stft.initial_state(2)["analysis"])
    torch.testing.assert_close(several, whole[..., : several.shape[-1]], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        output[:, stft.latency :], waveform[:, : -stft.latency], rtol=0, atol=1e-5
    )


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(RasedError, match="0 < hop_length < win_length <= n_fft"):
        STFT(win_length=512, hop_length=512)
    with pytest.raises(RasedError, match="choose a hop_length of at most 256"):
        STFT(window="hann", hop_length=500)


@given(
    scale=st.floats(0.01, 50),
    offset=st.floats(-2, 2),
    level=st.floats(0.05, 3),
    seed=st.integers(0, 99),
)
def test_si_sdr_knows_neither_scale_nor_offset(scale, offset, level, seed):
    random = torch.Generator().manual_seed(seed)
    target = torch.randn(400, generator=random, dtype=torch.float64)
    noise = torch.randn(400, generator=random, dtype=torch.float64)
    plain = si_sdr(estimate=target + level * noise, target=target)
    moved = si_sdr(estimate=scale * (target + level * noise) + offset, target=target - offset)
    assert float(plain) == pytest.approx(float(moved), abs=1e-5)


def test_si_sdr_against_the_formula():
    random = np.random.default_rng(0)
    target, noise = random.standard_normal((2, 1000))
    estimate = 3 * target + noise
    t, e = target - target.mean(), estimate - estimate.mean()
    projection = (e @ t) / (t @ t) * t
    expected = 10 * math.log10((projection @ projection) / ((e - projection) @ (e - projection)))
    ours = si_sdr(estimate=torch.from_numpy(estimate), target=torch.from_numpy(target))
    assert float(ours) == pytest.approx(expected, abs=1e-6)


def test_snr_against_the_formula_and_its_sense_of_scale():
    random = np.random.default_rng(1)
    target, noise = random.standard_normal((2, 1000))
    ours = snr(estimate=torch.from_numpy(target + noise), target=torch.from_numpy(target))
    assert float(ours) == pytest.approx(
        10 * math.log10(target @ target / (noise @ noise)), abs=1e-6
    )
    half = torch.from_numpy(target)
    assert float(snr(estimate=half / 2, target=half)) == pytest.approx(20 * math.log10(2), abs=1e-6)


@pytest.mark.parametrize("ratio", [snr, si_sdr])
@pytest.mark.parametrize("time", [1, 100])
def test_silence_is_finite_and_so_is_its_gradient(ratio, time):
    sound = torch.randn(1, time, generator=torch.Generator().manual_seed(2))
    silence = torch.zeros(1, time)
    for estimate, target in ((silence, sound), (sound, silence), (silence, silence)):
        leaf = estimate.clone().requires_grad_()
        value = ratio(estimate=leaf, target=target)
        value.sum().backward()
        assert value.isfinite().all()
        assert leaf.grad.isfinite().all()
    assert float(ratio(estimate=sound, target=silence)) == pytest.approx(-BOUND_DB, abs=0.1)
    assert float(si_sdr(estimate=silence, target=sound)) == pytest.approx(-BOUND_DB, abs=0.1)


def test_equality_is_the_upper_bound():
    sound = torch.randn(100, generator=torch.Generator().manual_seed(3))
    assert float(snr(estimate=sound, target=sound)) == pytest.approx(BOUND_DB, abs=0.1)
    assert float(si_sdr(estimate=2 * sound + 1, target=sound)) == pytest.approx(BOUND_DB, abs=0.5)


def test_levels_of_a_sine():
    sine = 0.5 * torch.sin(2 * math.pi * 100 * torch.arange(16_000) / 16_000)
    assert float(levels.rms(sine)) == pytest.approx(0.5 / math.sqrt(2), rel=1e-5)
    assert float(levels.dbfs(levels.rms(sine))) == pytest.approx(-9.03, abs=0.01)
    paused = torch.cat([sine, torch.zeros(48_000)])
    assert float(levels.active_rms(paused)) == pytest.approx(float(levels.rms(sine)), rel=0.02)
    assert float(levels.active_rms(torch.zeros(16_000))) == 0
    assert float(levels.amplitude(levels.dbfs(torch.tensor(0.25)))) == pytest.approx(0.25)


@pytest.mark.parametrize("decay", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("direct", [0, 40, 960])
def test_t60_and_direct_path_of_known_decays(decay, direct):
    random = torch.Generator().manual_seed(int(100 * decay) + direct)
    time = torch.arange(24_000) / 16_000
    rir = torch.zeros(24_000 + direct)
    rir[direct:] = 0.05 * torch.randn(24_000, generator=random) * 10 ** (-3 * time / decay)
    rir[direct] = 1
    assert int(room.direct_path(rir)) == direct
    assert room.t60(rir) == pytest.approx(decay, rel=0.1)


def test_drr_of_a_known_ratio():
    rir = torch.zeros(4000)
    rir[100] = 1
    rir[1000:1100] = 0.1
    assert room.direct_to_reverberant_ratio_db(rir) == pytest.approx(0, abs=1e-5)
    assert room.direct_to_reverberant_ratio_db(rir[:500]) == math.inf
    rir[150] = 1.0  # 3.1 ms behind the direct path: within 8 ms, not within 2.5
    assert room.direct_to_reverberant_ratio_db(rir) == pytest.approx(-3.01, abs=0.01)
    assert room.direct_to_reverberant_ratio_db(rir, direct_ms=8.0) == pytest.approx(3.01, abs=0.01)
    assert math.isnan(room.t60(torch.zeros(500)))


@given(samples=st.integers(2, 200_000))
def test_fft_lengths_are_smooth_even_and_close(samples):
    length = fft_length(samples)
    assert samples <= length <= max(2 * samples, 8)
    assert length % 2 == 0
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    assert length == 1
