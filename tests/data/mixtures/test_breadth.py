"""Other speeds, babble, noise alone: each as often as asked, off by default, and no draw of another moves."""

import numpy as np
import pytest
import scipy.signal
import torch

from rased.data.mixtures.mixing import Mixer, Mixing
from rased.data.mixtures.plan import Plan, Scene
from rased.data.mixtures.speed import REACH, at_speed, source_frames
from rased.data.mixtures.stream import stream
from rased.losses.base import WeightedSum
from rased.losses.spectral import CompressedSpectrum, OnSTFT
from rased.losses.waveform import SISDR, SNR
from rased.signal import levels
from tests.data.conftest import RATE, write_corpus
from tests.data.mixtures.test_cache import _equal, _mixtures, _module

WIDE = {"speed": (0.8, 1.25), "babble_probability": 0.4, "speech_probability": 0.7}
OPTIONS = [{name: value} for name, value in WIDE.items()]


def _plan(plan, **options):
    sources = {"speech": plan.speech, "noise": plan.noise, "rir": plan.rir}
    return Plan(**sources, scene=Scene(segment=1.0, **options), seed=plan.seed, count=300)


@pytest.mark.parametrize("option", [*OPTIONS, WIDE], ids=[*WIDE, "all"])
def test_an_option_moves_no_other_draw(plan, option):
    plain, wide = _plan(plan, noises=(0.5, 0.5)), _plan(plan, noises=(0.5, 0.5), **option)
    for index in range(100):
        one, other = plain.draw(2, index), wide.draw(2, index)
        for name in ("rir", "snr_db", "level_dbfs", "shaping", "distortions"):
            assert getattr(one, name) == getattr(other, name)
        assert other.noise == (one.noise[1:] if other.babble else one.noise)
        assert one.speech[0].recording == other.speech[0].recording
        if "speed" not in option:
            assert one.speech == other.speech
        assert (one.speed, one.babble, one.speaking) == (1.0, (), True)


def test_each_comes_as_often_as_asked(plan):
    drawn = [_plan(plan, **WIDE).draw(0, index) for index in range(300)]
    assert np.mean([bool(one.babble) for one in drawn]) == pytest.approx(0.4, abs=0.09)
    assert np.mean([one.speaking for one in drawn]) == pytest.approx(0.7, abs=0.09)
    speeds = [one.speed for one in drawn]
    assert 0.8 <= min(speeds) < 0.82
    assert 1.22 < max(speeds) <= 1.25
    assert np.mean(np.log(speeds)) == pytest.approx(0, abs=0.03)
    rest = [_plan(plan, noise_probability=0.5, **WIDE).draw(0, index) for index in range(100)]
    assert all(one.speaking for one in rest if not one.noise and not one.babble)


def test_a_babble_is_of_others(plan):
    wide = _plan(plan, babble_probability=1.0, babble_voices=(2, 2))
    for index in range(50):
        drawn = wide.draw(0, index)
        voices = [str(plan.speech.label[pieces[0].recording]) for pieces in drawn.babble]
        assert len(set(voices)) == 2
        assert str(plan.speech.label[drawn.speech[0].recording]) not in voices


def test_a_single_speaker_gives_no_babble(tmp_path, plan):
    from rased.data.mixtures.corpus import Corpus

    random = np.random.default_rng(0)
    one = [("train", "only", 0.1 * random.standard_normal(RATE)) for _ in range(2)]
    speech = Corpus([write_corpus(tmp_path / "one", "speech", one)], role="speech", split="train")
    scene = Scene(segment=1.0, babble_probability=1.0)
    alone = Plan(speech=speech, noise=plan.noise, rir=None, scene=scene, seed=0)
    drawn = alone.draw(0, 0)
    assert not drawn.babble
    assert drawn.noise


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_voices_of_a_babble_have_one_level_and_are_named(plan):
    wide = _plan(plan, babble_probability=1.0, noises=(0.0, 1.0), noise_level_db=(-6.0, -6.0))
    wide.count = 6
    (batch,) = stream(wide, epoch=0, batch_size=6)
    for row, index in enumerate(batch["index"].tolist()):
        drawn = wide.draw(0, index)
        total, names = np.zeros(RATE), []
        for pieces in drawn.babble:
            voice = np.zeros(RATE)
            for piece in pieces:
                sound = plan.speech.read(piece.recording, piece.start, piece.frames)
                voice[piece.at : piece.at + piece.frames] = sound
                names.append(str(plan.speech.key[piece.recording]))
            total += voice / np.sqrt(np.mean(voice**2))
        (piece,) = drawn.noise
        noise = np.resize(np.roll(plan.noise.read(piece.recording), -piece.start), RATE)
        level = np.sqrt(np.mean(total**2)) * 10 ** (-6 / 20)
        total += noise / np.sqrt(np.mean(noise.astype(np.float64) ** 2)) * level
        ours = batch["noise"][row].double().numpy()
        np.testing.assert_allclose(ours, total, atol=1e-3)
        assert batch["noise_key"][row].split("+") == [*names, str(plan.noise.key[piece.recording])]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_noise_alone_keeps_its_level_and_has_a_silent_target(plan):
    wide = _plan(plan, speech_probability=0.0, level_dbfs=(-30.0, -30.0))
    wide.count = 4
    (batch,) = stream(wide, epoch=0, batch_size=4)
    for by_rows in (True, False):
        mixture = Mixer(Mixing(), by_rows=by_rows)(batch)
        assert mixture["target"].abs().max() == 0
        level = levels.dbfs(levels.rms(mixture["noisy"]))
        torch.testing.assert_close(level, torch.full((4,), -30.0), rtol=0, atol=0.01)
        assert mixture["key"] == [""] * 4


def test_losses_are_finite_where_nobody_speaks():
    spectral = OnSTFT(CompressedSpectrum(asymmetry=1.5))
    loss = WeightedSum([SNR(), SISDR(), spectral], [0.03, 0.03, 1.0])
    for scale in (0.0, 1e-6, 0.1):
        estimate = (scale * torch.randn(2, 8000)).requires_grad_()
        value = loss(estimate=estimate, target=torch.zeros(2, 8000))
        value.backward()
        assert value.isfinite()
        assert estimate.grad.isfinite().all()
    assert estimate.grad.abs().max() > 0


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("where", [None, "ram", "device"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_mixtures_wherever_recordings_lie(corpora, where, workers):
    plain = _module(corpora, noises=(0.7, 0.3), scene=WIDE)
    kept = _module(corpora, noises=(0.7, 0.3), scene=WIDE, num_workers=workers, cache=where)
    for epoch in range(2):
        assert _equal(_mixtures(kept, epoch=epoch), _mixtures(plain, epoch=epoch))


def test_rows_do_not_depend_on_their_neighbours(plan):
    wide = _plan(plan, **WIDE)
    wide.count = 7
    (whole,) = stream(wide, epoch=0, batch_size=7)
    mixture = Mixer(Mixing())(whole)
    for row, alone in enumerate(stream(wide, epoch=0, batch_size=1)):
        one = Mixer(Mixing())(alone)
        for name in ("noisy", "target", "noise"):
            assert torch.equal(one[name][0], mixture[name][row])
    together = Mixer(Mixing(), by_rows=False)(whole)
    for name in ("noisy", "target", "noise"):
        torch.testing.assert_close(together[name], mixture[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize("speed", [0.5, 0.8, 0.97, 1.0, 1.25, 2.0])
def test_speed_is_resampling(speed):
    """A sweep below the band edge comes out as the sweep at that speed; a tone that would alias goes away."""
    frames = 6000
    source = np.arange(source_frames(frames, speed))

    def sweep(place):
        return np.sin(2 * np.pi * (0.01 * place + 0.6 * min(1, 1 / speed) * 0.3 * place**2 / 12000))

    heard = at_speed(torch.from_numpy(sweep(source)).float()[None], torch.tensor([speed]), frames)
    expected = sweep(np.arange(frames) * speed)
    error = np.square(heard[0].numpy() - expected)[100:-100].mean()
    assert 10 * np.log10(error / 0.5) < -45
    if speed > 1:
        high = scipy.signal.lfilter([1], [1], np.cos(np.pi * (0.5 + 0.5 / speed + 0.2) * source))
        gone = at_speed(torch.from_numpy(high).float()[None], torch.tensor([speed]), frames)
        assert gone[0, 100:-100].square().mean() < (1e-3 if speed == 2 else 0.3)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_after_the_end_there_is_silence(speed):
    heard = at_speed(torch.ones(1, 100), torch.tensor([speed]), 400)
    assert heard[0, round(100 / speed) + 2 * REACH :].abs().max() == 0


def test_speed_one_is_the_waveform():
    waveform = torch.randn(2, 1000 + REACH)
    torch.testing.assert_close(
        at_speed(waveform, torch.ones(2), 1000), waveform[:, :1000], rtol=0, atol=1e-5
    )
