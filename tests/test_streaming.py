import pytest
import torch
from torch import nn

from rased.errors import RasedError
from rased.models.base import Enhancer, Prediction, SpectralEnhancer
from rased.models.conv_tasnet import ConvTasNet
from rased.signal.stft import STFT
from rased.streaming import CausalStream, WindowStream, open_stream


class Recurrent(SpectralEnhancer):
    """A causal mask with a memory; `late` frames late, as a model with look-ahead is."""

    def __init__(self, *, late=0, hop_length=64):
        stft = STFT(n_fft=128, hop_length=hop_length, win_length=128)
        super().__init__(stft=stft, sample_rate=1000)
        torch.manual_seed(5)
        self.gru = nn.GRU(self.stft.freq, 16, batch_first=True)
        self.mask = nn.Linear(16, self.stft.freq)
        self.late = late
        self.latency = stft.latency + late * stft.hop_length

    def initial_process_state(self, batch):
        delay = torch.zeros(batch, self.stft.freq, self.late, 2)
        return {"hidden": torch.zeros(1, batch, 16), **({"delay": delay} if self.late else {})}

    def process(self, spectrum, state):
        output, hidden = self.gru(spectrum.abs().transpose(1, 2), state["hidden"])
        after, extended, frames = {"hidden": hidden}, spectrum, spectrum.shape[-1]
        if self.late:
            extended = torch.cat([torch.view_as_complex(state["delay"]), spectrum], dim=-1)
            after["delay"] = torch.view_as_real(extended[..., frames:])
        mask = self.mask(output).sigmoid().transpose(1, 2)
        return Prediction.of_spectrum(mask * extended[..., :frames], mask=mask), after

    def predict(self, noisy):
        noisy_spectrum = nn.functional.pad(self.stft.analysis(noisy), (0, self.late))
        spectral, _ = self.process(noisy_spectrum, self.initial_process_state(len(noisy)))
        spectrum = spectral.spectrum[..., self.late :]
        return Prediction(self.stft.synthesis(spectrum, noisy.shape[-1]))


class Smoother(Enhancer):
    """Not causal: a moving average over 0.2 s on both sides."""

    sample_rate = 1000

    def predict(self, noisy):
        kernel = torch.ones(1, 1, 401) / 401
        return Prediction(nn.functional.conv1d(noisy[:, None], kernel, padding=200)[:, 0])


class Gain(Enhancer):
    """Not causal and without a memory; keeps what it was given."""

    sample_rate = 1000

    def __init__(self):
        super().__init__()
        self.lengths = []

    def predict(self, noisy):
        self.lengths.append(noisy.shape[-1])
        return Prediction(0.5 * noisy)


def audio(time, channels=2):
    generator = torch.Generator().manual_seed(time)
    return 0.1 * torch.randn(channels, time, generator=generator)


def through(stream, noisy, piece):
    parts = [stream.push(part) for part in noisy.split(piece, dim=-1)]
    return torch.cat([*parts, stream.finish()], dim=-1)


@pytest.mark.parametrize("late", [0, 3])
@pytest.mark.parametrize("hop_length", [64, 32, 50])
@pytest.mark.parametrize("time", [1, 63, 1000, 8_000, 16_000, 16_001, 40_123])
def test_a_causal_spectral_model_in_blocks_equals_the_whole(late, hop_length, time):
    enhancer = Recurrent(late=late, hop_length=hop_length).eval()
    noisy = audio(time)
    stream = open_stream(enhancer, 2)
    assert isinstance(stream, CausalStream)
    with torch.inference_mode():
        whole = enhancer(noisy)
    torch.testing.assert_close(through(stream, noisy, 1717), whole, atol=1e-6, rtol=1e-5)


def test_a_long_file_through_a_causal_model_of_the_waveform_equals_the_whole():
    """Its norms remember all of the past: windows of some seconds would give something else."""
    torch.manual_seed(3)
    sizes = {"filters": 16, "bottleneck": 8, "hidden": 16, "skip": 8, "blocks": 3, "repeats": 1}
    enhancer = ConvTasNet(**sizes, causal=True, sample_rate=1000).eval()
    noisy = audio(30_123) * torch.linspace(0.01, 1, 30_123)
    with torch.inference_mode():
        whole = enhancer(noisy)
    peak = float(whole.abs().max())
    for piece in (7, 999, 30_123):
        heard = through(open_stream(enhancer, 2), noisy, piece)
        torch.testing.assert_close(heard / peak, whole / peak, atol=1e-4, rtol=0)


@pytest.mark.parametrize("late", [0, 3])
def test_a_step_takes_any_number_of_chunks(late):
    enhancer = Recurrent(late=late).eval()
    noisy = audio(20 * enhancer.chunk_length)
    outputs = []
    with torch.inference_mode():
        for chunks in ([1] * 20, [20], [3, 1, 7, 2, 7]):
            state, parts = enhancer.initial_state(2), []
            for part in noisy.split([c * enhancer.chunk_length for c in chunks], dim=-1):
                part, state = enhancer.step(part, state)
                parts.append(part)
            outputs.append(torch.cat(parts, dim=-1))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("time", [1, 5_000, 12_000, 12_001, 19_000, 60_077])
def test_windows_equal_the_whole_where_the_memory_is_shorter_than_the_context(time):
    enhancer = Smoother()
    noisy = audio(time)
    stream = open_stream(enhancer, 2)
    assert isinstance(stream, WindowStream)
    torch.testing.assert_close(through(stream, noisy, 999), enhancer(noisy), atol=1e-6, rtol=1e-5)


def test_what_fits_one_window_is_one_call_and_nothing_longer_is_ever_seen():
    short, long = Gain(), Gain()
    through(open_stream(short, 1), audio(12_000, 1), 500)
    assert short.lengths == [12_000]
    through(open_stream(long, 1), audio(100_000, 1), 30_000)
    assert max(long.lengths) == 12_000


def test_the_seam_between_windows_that_disagree_is_a_fade_without_a_step():
    class Disagreeing(Gain):
        def predict(self, noisy):
            super().predict(noisy)
            return Prediction(torch.full_like(noisy, float(len(self.lengths))))

    result = through(open_stream(Disagreeing(), 1), audio(30_000, 1), 1000)[0]
    steps = result.diff().abs()
    assert result[0] == 1.0
    assert result[-1] > 2.0
    assert steps.max() < 1.5 / 64


def test_a_context_that_leaves_no_room_is_refused():
    with pytest.raises(RasedError, match="use at least 6 s"):
        open_stream(Gain(), 1, window_seconds=4.0, context_seconds=2.0)


@pytest.mark.parametrize("late", [0, 2])
@pytest.mark.parametrize("time", [1, 64, 100, 1000, 1024])
@pytest.mark.parametrize("piece", [1, 50, 64, 700])
def test_a_live_stream_is_aligned_and_equal_to_the_whole(late, time, piece):
    enhancer = Recurrent(late=late).eval()
    noisy = audio(time, 1)
    with torch.inference_mode():
        whole = enhancer(noisy)
    live = through(CausalStream(enhancer), noisy, piece)
    torch.testing.assert_close(live, whole, atol=1e-5, rtol=1e-4)


def test_a_live_stream_gives_what_it_can_as_soon_as_it_can():
    enhancer = Recurrent().eval()
    stream = CausalStream(enhancer)
    given = 0
    with torch.inference_mode():
        for taken in range(1, 500):
            given += stream.push(audio(1, 1)).shape[-1]
            whole_chunks = taken // enhancer.chunk_length * enhancer.chunk_length
            assert given == max(0, whole_chunks - enhancer.latency)


def test_a_model_that_is_not_causal_cannot_be_live():
    with pytest.raises(RasedError, match="Smoother is not causal and cannot stream"):
        CausalStream(Smoother())
