"""The live loop: equal to a file, later by the stated delay, in any blocks, with what is late counted."""

import json
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch

import rased
from rased import audio
from rased.cli import live as cli_live
from rased.cli import main
from rased.errors import RasedError
from rased.files import enhance
from rased.live import Live
from rased.models.base import Enhancer, Prediction, SpectralEnhancer
from rased.signal.stft import STFT
from tests.bundled import recording


class Half(SpectralEnhancer):
    def __init__(self, hop_length=256):
        super().__init__(
            stft=STFT(n_fft=2 * hop_length, hop_length=hop_length, win_length=2 * hop_length)
        )

    def process(self, spectrum, state):
        return Prediction.of_spectrum(0.5 * spectrum), state


class Late(Enhancer):
    """Half of the input, a chunk later: a step costs next to nothing."""

    latency, chunk_length = 256, 256

    def initial_state(self, batch=1, *, condition=None):
        return {"line": torch.zeros(batch, self.chunk_length)}

    def step(self, chunk, state):
        whole = torch.cat([state["line"], chunk], dim=-1)
        return 0.5 * whole[:, : -self.chunk_length], {
            "line": whole[:, -self.chunk_length :].clone()
        }


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def white(length, channels=1):
    generator = np.random.default_rng(3)
    return (0.1 * generator.standard_normal((channels, length))).astype(np.float32)


def through(live, waveform):
    """The output of all blocks, with silence at the end until the last sample is out."""
    size, time = live.block_length, waveform.shape[1] + live.delay
    whole = np.pad(waveform, [(0, 0), (0, live.delay + -time % size)])
    blocks = [live.push(whole[:, at : at + size]) for at in range(0, time, size)]
    return np.concatenate(blocks, axis=1)[:, :time]


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("block_length", [None, 1_003])
def test_the_output_is_that_of_a_file_later_by_the_delay(rate, block_length):
    noisy = white(rate // 4, channels=2)
    enhancer = rased.load("spectral-subtraction")
    wanted = rased.enhance(noisy, rate, model=enhancer)
    live = Live(enhancer, rate, 2, block_length=block_length)
    found = through(live, noisy)
    assert not found[:, : live.delay].any()
    # At another rate, a file ends before its resampling has faded out; live, the model hears it fade.
    alike = None if rate == 16_000 else -rate // 12
    np.testing.assert_allclose(found[:, live.delay :][:, :alike], wanted[:, :alike], atol=1e-5)
    assert live.lost == 0


@pytest.mark.parametrize("hop_length", [100, 256, 480])
def test_the_delay_is_that_of_model_and_blocks(hop_length):
    """Blocks and chunks of any two lengths: the model holds back its latency and what does not fill a chunk."""
    enhancer = Half(hop_length)
    for block_length in (160, 256, 99):
        live = Live(enhancer, 16_000, 1, block_length=block_length)
        most = enhancer.latency + hop_length - np.gcd(hop_length, block_length)
        assert live.delay == most
        through(live, white(2_000))
        assert live.lost == 0


def test_off_is_the_input_with_the_same_delay_and_the_change_is_a_fade():
    live, noisy = Live(Half(), 16_000, 1), np.ones((1, 3_200), np.float32)
    live.on = False
    first = through(live, noisy)[:, live.delay :]
    np.testing.assert_allclose(first[:, 160:], noisy[:, 160:], atol=1e-6)
    live = Live(Half(), 16_000, 1)
    blocks = []
    for turn in range(20):
        live.on = turn < 10
        blocks.append(live.push(np.ones((1, 160), np.float32)))
    steps = np.abs(np.diff(np.concatenate(blocks, axis=1)[0, 900:]))
    assert blocks[9][0, -1] == pytest.approx(0.5, abs=1e-6)
    assert blocks[11][0, 0] == pytest.approx(1.0)
    assert steps.max() < 0.5 / 159 + 1e-6


@pytest.mark.parametrize(("spent", "late"), [(0.004, 0), (0.0099, 0), (0.0101, 20), (0.1, 20)])
def test_blocks_that_take_longer_than_they_last_are_counted(spent, late):
    clock = Clock()

    class Slow(Half):
        def step(self, chunk, state):
            clock.now += spent
            return super().step(chunk, state)

    enhancer = Slow(160)
    live = Live(enhancer, 16_000, 1, clock=clock)
    for _ in range(20):
        live.push(white(160))
    assert live.late == late
    assert live.load == pytest.approx(spent / 0.01 * (1 - 0.9**20), rel=1e-3)


def test_the_meter_shows_levels_and_state():
    live = Live(Half(), 16_000, 1)
    for _ in range(10):
        live.push(np.full((1, 160), 10 ** (-20 / 20), np.float32))
    assert live.input_db == pytest.approx(-20, abs=0.1)
    assert live.output_db == pytest.approx(-26, abs=0.1)
    said = cli_live.meter(live, 3)
    assert "in #############.......  -20 dB" in said
    assert "out ###########.........  -26 dB" in said
    assert said.endswith("gaps 3  ON ")


def test_silence_is_shown_as_the_lowest_level():
    live = Live(Half(), 16_000, 1)
    assert not live.push(np.zeros((1, 160), np.float32)).any()
    assert "in ...................." in cli_live.meter(live)


def test_a_model_that_needs_the_whole_utterance_cannot_be_live():
    class Whole(Enhancer):
        def predict(self, noisy):
            return Prediction(noisy)

    with pytest.raises(RasedError, match="is not causal and cannot stream"):
        Live(Whole(), 16_000, 1)


def test_files_through_the_loop(tmp_path, capsys):
    audio.write(tmp_path / "in.wav", white(24_001, 2), 48_000, coding="FLOAT")
    source, target = str(tmp_path / "in.wav"), str(tmp_path / "live.wav")
    words = ["live", "--input", source, "--output", target, "-m", "log-mmse", "--limit-db", "9"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sample_rate"], report["block_length"]) == (48_000, 480)
    assert report["lost_samples"] == 0
    enhance(source, tmp_path / "whole.wav", model="log-mmse", limit_db=9.0)
    found, wanted = (audio.read(tmp_path / name)[0] for name in ("live.wav", "whole.wav"))
    assert found.shape[1] == 24_001 + report["delay"]
    np.testing.assert_allclose(found[:, report["delay"] : -4_000], wanted[:, :-4_000], atol=1e-5)
    assert main(words) == 0
    assert f"delay {1000 * report['delay'] / 48_000:.1f} ms" in capsys.readouterr().err


def test_one_file_alone_is_refused(tmp_path, capsys):
    assert main(["live", "--input", "a.wav"]) == 2
    assert "--input and --output belong together" in capsys.readouterr().err
    assert main(["live", "--rate", "0"]) == 2
    assert "--rate is 0" in capsys.readouterr().err


class Card:
    """Stands in for a sound card: calls back with blocks of noise until the user types q."""

    class PortAudioError(Exception):
        pass

    class CallbackAbort(Exception):
        pass

    def __init__(self, rate=16_000):
        self.rate, self.given, self.heard = rate, white(8_000), []

    def query_devices(self, device=None, kind=None):
        if device == "none":
            raise ValueError("No output device matching 'none'")
        return {"default_samplerate": float(self.rate)}

    def Stream(self, *, samplerate, blocksize, device, channels, dtype, latency, callback):  # noqa: N802
        card = self

        class Running:
            latency = (0.01, 0.02)

            def __enter__(self):
                with suppress(Card.CallbackAbort):
                    for turn, at in enumerate(range(0, card.given.shape[1], blocksize)):
                        out = np.empty((blocksize, 1), np.float32)
                        block = card.given[:, at : at + blocksize].T
                        callback(block, out, blocksize, None, turn == 2)
                        card.heard.append(out)

            def __exit__(self, *error):
                return False

        if samplerate == 12_345:
            raise Card.PortAudioError("Invalid sample rate")
        return Running()


@pytest.fixture
def card(monkeypatch):
    found = Card()
    monkeypatch.setitem(sys.modules, "sounddevice", found)
    monkeypatch.setattr(sys, "stdin", ["\n", "q\n"])
    return found


def test_the_sound_card_gets_what_a_file_would(card, capsys):
    assert main(["live", "-m", "spectral-subtraction", "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    heard = np.concatenate(card.heard)[:, 0]
    wanted = rased.enhance(card.given, 16_000, model="spectral-subtraction")[0]
    delay = report["delay"]
    np.testing.assert_allclose(heard[delay:], wanted[: len(heard) - delay], atol=1e-5)
    assert report["gaps"] == 1
    assert "30 ms in the sound card; Enter: off and on; q: end" in said.err


def test_a_failure_in_the_callback_ends_the_loop(card, monkeypatch, capsys):
    class Broken(Live):
        def push(self, block):
            if len(card.heard) == 3:
                raise RasedError("the fourth block is damaged.")
            return super().push(block)

    monkeypatch.setattr("rased.live.Live", Broken)
    monkeypatch.setattr(sys, "stdin", [])  # nobody types q
    assert main(["live", "-m", "log-mmse"]) == 2
    assert "the fourth block is damaged" in capsys.readouterr().err
    assert len(card.heard) == 3


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--to", "none"], "there is no such device: No output device matching 'none'"),
        (["--rate", "12345"], "the sound card refuses: Invalid sample rate"),
    ],
)
def test_what_the_sound_card_refuses_is_said(card, capsys, words, wanted):
    assert main(["live", "-m", "log-mmse", *words]) == 2
    assert wanted in capsys.readouterr().err


def test_without_portaudio_the_command_that_installs_it_is_said(monkeypatch, capsys):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert main(["live"]) == 2
    assert "PortAudio library not found: install it (Debian" in capsys.readouterr().err


@pytest.mark.slow
def test_ten_minutes_of_audio_lose_no_sample():
    """Sixty thousand blocks: what checks the shapes of every call takes longer than the loop, hence a cheap model."""
    speech = recording("speech", "en_austen_000").numpy()
    noisy = np.tile(speech, (1, -(-600 * 16_000 // speech.shape[1])))[:, : 600 * 16_000]
    live = Live(Late(), 16_000, 1)
    found = through(live, noisy)
    assert live.lost == 0
    assert found.shape[1] == noisy.shape[1] + live.delay
    np.testing.assert_array_equal(found[:, live.delay :], np.float32(0.5) * noisy)


def test_a_file_is_not_replaced_by_its_own_output(tmp_path, capsys):
    source = tmp_path / "a.wav"
    audio.write(source, np.zeros((1, 1_600), dtype=np.float32), 16_000)
    content = source.read_bytes()
    assert main(["live", "--input", str(source), "--output", str(source), "-m", "log-mmse"]) == 2
    assert "is the input; choose another output" in capsys.readouterr().err
    assert source.read_bytes() == content
