"""Distortions: each does what its name says, all are functions of what was drawn, none touches the target."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rased.data.mixtures.distortions import TABLE, Distortions, distort, names
from rased.data.mixtures.kinds import (
    FORMATS,
    BandLimit,
    Clipping,
    Codec,
    Microphone,
    PacketLoss,
    Wind,
)
from rased.data.mixtures.mixing import PEAK, Mixer, Mixing
from rased.data.mixtures.plan import Plan, Scene
from rased.data.mixtures.stream import stream
from rased.errors import RasedError
from tests.data.conftest import RATE
from tests.data.mixtures.test_mixing import TARGETS, batch_of

ALWAYS = Distortions(**dict.fromkeys(TABLE, 1.0))
EACH = ALWAYS.draw(np.random.default_rng(0))


def sound(time=RATE, seed=0):
    """Noise that falls off towards high frequencies, as speech does."""
    white = np.random.default_rng(seed).standard_normal(time)
    brown = scipy.signal.lfilter([1.0], [1, -0.9], white)
    return torch.from_numpy((0.1 * brown / np.abs(brown).max()).astype(np.float32))


def test_the_table_draws_the_asked_shares_and_one_share_moves_no_other_draw():
    table = Distortions(clipping=0.3, codec=0.6)
    drawn = [table.draw(np.random.default_rng(n)) for n in range(1000)]
    kinds = [{type(distortion) for distortion in all_of_one} for all_of_one in drawn]
    assert sum(Clipping in of_one for of_one in kinds) == pytest.approx(300, abs=50)
    assert sum(Codec in of_one for of_one in kinds) == pytest.approx(600, abs=50)
    assert {kind for of_one in kinds for kind in of_one} == {Clipping, Codec}
    for number, all_of_one in enumerate(drawn):
        everything = ALWAYS.draw(np.random.default_rng(number))
        assert names(everything) == "+".join(TABLE)
        assert set(all_of_one) <= set(everything)
        assert names(all_of_one) == "+".join(name for name in TABLE if name in names(all_of_one))


def test_draws_stay_in_their_ranges():
    table = Distortions(
        **dict.fromkeys(TABLE, 1.0), clipped=(0.02, 0.05), lost=(0.1, 0.2), codecs=("vorbis",)
    )
    for number in range(200):
        wind, _, clipping, band, codec, loss = table.draw(np.random.default_rng(number))
        assert -10 <= wind.snr_db <= 15
        assert 0.02 <= clipping.low <= 0.05
        assert 0.02 <= 1 - clipping.high <= 0.05 + 1e-12
        assert 2000 <= band.cutoff_hz <= 6000
        assert codec.format == "vorbis"
        assert 0.1 <= loss.lost <= 0.2


def test_wind_has_its_level_low_frequencies_and_bursts():
    waveform = sound(4 * RATE)
    for seed in range(5):
        wind = Wind(snr_db=3.0, corner_hz=100.0, seed=seed)
        heard = wind.apply(waveform, RATE)
        assert torch.equal(heard, wind.apply(waveform, RATE))
        added = (heard - waveform).double().numpy()
        ratio = 10 * np.log10(np.mean(waveform.double().numpy() ** 2) / np.mean(added**2))
        assert ratio == pytest.approx(3, abs=0.01)
        power = np.abs(np.fft.rfft(added)) ** 2
        assert power[: 4 * 1000].sum() > 0.99 * power.sum()
        loudness = np.sqrt(np.mean(added.reshape(16, -1) ** 2, axis=1))
        assert loudness.max() > 3 * loudness.min()


def test_the_microphone_is_the_biquad_of_the_paper():
    waveform = sound()
    for b1, b2, a1, a2 in np.random.default_rng(1).uniform(-0.375, 0.375, (8, 4)):
        heard = Microphone(b1, b2, a1, a2).apply(waveform, RATE)
        expected = scipy.signal.lfilter([1, b1, b2], [1, a1, a2], waveform.double().numpy())
        np.testing.assert_allclose(heard.numpy(), expected, atol=1e-6)
    worst = Microphone(0.375, 0.375, 0.375, -0.375).apply(waveform, RATE)
    expected = scipy.signal.lfilter([1, 0.375, 0.375], [1, 0.375, -0.375], waveform.double())
    np.testing.assert_allclose(worst.numpy(), expected, atol=1e-6)


def test_clipping_cuts_the_asked_share_and_nothing_else():
    waveform = sound()
    heard = Clipping(low=0.05, high=0.98).apply(waveform, RATE)
    floor, ceiling = np.quantile(waveform.numpy(), [0.05, 0.98], method="nearest")
    np.testing.assert_array_equal(heard.numpy(), waveform.numpy().clip(floor, ceiling))
    changed = (heard != waveform).float().mean()
    assert float(changed) == pytest.approx(0.07, abs=0.001)
    assert torch.equal(Clipping(low=0.0, high=1.0).apply(waveform, RATE), waveform)


@pytest.mark.parametrize("cutoff_hz", [2000.0, 4321.0, 6000.0])
@pytest.mark.parametrize("width", [0.02, 0.2])
def test_a_narrow_band_keeps_what_is_in_it_without_delay(cutoff_hz, width):
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    window = torch.hann_window(RATE, periodic=False, dtype=torch.float64)
    limit = BandLimit(cutoff_hz, width)
    inside = window * torch.sin(2 * torch.pi * (0.95 - width) * cutoff_hz * time)
    outside = window * torch.sin(2 * torch.pi * 1.05 * cutoff_hz * time)
    torch.testing.assert_close(limit.apply(inside, RATE), inside, rtol=0, atol=1e-3)
    assert limit.apply(outside, RATE).abs().max() < 1e-3


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("compression", [0.0, 0.5, 1.0])
def test_codecs_lose_something_and_delay_nothing(format, compression):
    waveform = sound(RATE + 123)
    codec = Codec(format, compression)
    heard = codec.apply(waveform, RATE)
    assert heard.shape == waveform.shape
    assert torch.equal(heard, codec.apply(waveform, RATE))
    assert not torch.equal(heard, waveform)
    correlation = scipy.signal.correlate(heard.numpy(), waveform.numpy())
    assert abs(np.argmax(np.abs(correlation)) - len(waveform) + 1) <= 1
    norm = float(heard.norm() * waveform.norm())
    assert correlation[len(waveform) - 1] > (0.5 if format == "opus" else 0.9) * norm


@pytest.mark.parametrize("format", FORMATS)
def test_more_compression_loses_more(format):
    waveform = sound(RATE)
    error = [
        float((Codec(format, amount).apply(waveform, RATE) - waveform).norm())
        for amount in (0.0, 1.0)
    ]
    assert error[0] < error[1]


def test_lost_packets_are_whole_and_as_many_and_as_long_as_asked():
    waveform = sound(RATE + 100) + 1
    loss = PacketLoss(lost=0.2, burst=2.0, packet_ms=20.0, seed=3)
    heard = loss.apply(waveform, RATE)
    for number, packet in enumerate(heard.split(320)):
        original = waveform[320 * number : 320 * number + len(packet)]
        assert torch.equal(packet, original) or packet.abs().max() == 0
    many = loss.losses(100_000)
    assert many.mean() == pytest.approx(0.2, abs=0.01)
    bursts = np.count_nonzero(many[1:] & ~many[:-1])
    assert many.sum() / bursts == pytest.approx(2, abs=0.1)
    assert not PacketLoss(lost=0.0, burst=2.0, packet_ms=20.0, seed=3).losses(1000).any()


@pytest.mark.parametrize("distortion", EACH, ids=list(TABLE))
@pytest.mark.parametrize("time", [1, 2, 700, RATE])
def test_silence_stays_silence_and_short_sounds_stay_finite(distortion, time):
    silence = distortion.apply(torch.zeros(time), RATE)
    assert silence.shape == (time,)
    assert silence.abs().max() < 1e-6
    heard, _ = distort(10 * sound(time)[None], [[distortion]], sample_rate=RATE, peak=PEAK)
    assert heard.isfinite().all()
    assert heard.abs().max() <= 1


def test_without_distortions_nothing_is_touched():
    waveforms = 3 * sound()[None]
    heard, gains = distort(waveforms, [()], sample_rate=RATE, peak=PEAK)
    assert torch.equal(heard, waveforms)
    assert gains.tolist() == [1.0]


CHEAP = [name for name in TABLE if name != "codec"]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    target=st.sampled_from(TARGETS),
    direct=st.integers(1, 1500),
    snr_db=st.floats(-10, 30),
    level_dbfs=st.floats(-50, 5),
    noises=st.integers(1, 3),
    chosen=st.lists(st.sampled_from(CHEAP), unique=True),
)
def test_distortions_touch_noisy_alone(seed, target, direct, snr_db, level_dbfs, noises, chosen):
    """The law of a mixture: what a distortion got is early + late + noise, and the target is a part of that."""
    plain = batch_of(seed, direct=direct, snr_db=snr_db, level_dbfs=level_dbfs)
    random = np.random.default_rng(seed)
    for _ in range(noises - 1):
        more = random.standard_normal(plain["noise"].shape).astype(np.float32)
        plain["noise"] = plain["noise"] + float(random.uniform(0.01, 0.1)) * torch.from_numpy(more)
    table = Distortions(**dict.fromkeys(chosen, 0.7))
    drawn = [table.draw(random) for _ in range(4)]
    mixer = Mixer(Mixing(target=target))
    before, after = mixer(plain), mixer({**plain, "distortions": drawn})
    for row, distortions in enumerate(drawn):
        assert after["distorted"][row] == names(distortions)
        heard, gain = distort(
            before["noisy"][row : row + 1], [distortions], sample_rate=RATE, peak=PEAK
        )
        assert torch.equal(after["noisy"][row], heard[0])
        for name in ("target", "early", "late", "noise"):
            assert torch.equal(before[name][row] * gain, after[name][row])
    mixed = before["early"] + before["late"] + before["noise"]
    torch.testing.assert_close(before["noisy"], mixed, rtol=0, atol=1e-7)
    assert after["noisy"].isfinite().all()
    assert after["noisy"].abs().max() <= 1


def test_rows_do_not_depend_on_their_neighbours():
    batch = batch_of(8)
    batch["distortions"] = [ALWAYS.draw(np.random.default_rng(row)) for row in range(4)]
    whole = Mixer(Mixing())(batch)
    for row in range(4):
        alone = {k: v if isinstance(v, int) else v[row : row + 1] for k, v in batch.items()}
        assert torch.equal(Mixer(Mixing())(alone)["noisy"][0], whole["noisy"][row])


def _plan(plan, **options):
    sources = {"speech": plan.speech, "noise": plan.noise, "rir": plan.rir}
    return Plan(**sources, scene=Scene(segment=1.0, **options), seed=plan.seed, count=200)


def test_noises_and_distortions_move_no_other_draw(plan):
    plain = _plan(plan)
    rich = _plan(plan, noises=(0.5, 0.3, 0.2), distortions=ALWAYS)
    other = _plan(plan, noises=(0.0, 1.0), distortions=Distortions(clipping=0.5))
    counts = []
    for index in range(200):
        one, many, two = (p.draw(3, index) for p in (plain, rich, other))
        for drawn in (many, two):
            assert (drawn.speech, drawn.rir, drawn.snr_db, drawn.level_dbfs) == (
                *(one.speech, one.rir, one.snr_db, one.level_dbfs),
            )
            assert drawn.noise[0] == one.noise[0]
        assert one.distortions == ()
        assert len(many.distortions) == len(TABLE)
        assert set(two.distortions) <= {many.distortions[list(TABLE).index("clipping")]}
        counts.append(len(many.noise))
        assert len(two.noise) == 2
        assert many.noise_db[0] == 0
        assert all(-10 <= level <= 0 for level in many.noise_db[1:])
    shares = np.bincount(counts, minlength=4)[1:] / 200
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.12)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_several_noises_are_summed_at_their_levels_and_named(plan):
    rich = _plan(plan, noises=(0.0, 0.0, 1.0), distortions=Distortions(packet_loss=0.5))
    rich.count = 8
    (batch,) = stream(rich, epoch=0, batch_size=8)
    for row, index in enumerate(batch["index"].tolist()):
        drawn = rich.draw(0, index)
        total = 0
        for piece, level in zip(drawn.noise, drawn.noise_db, strict=True):
            whole = plan.noise.read(piece.recording).astype(np.float64)
            crop = np.resize(np.roll(whole, -piece.start), piece.frames)
            total += crop / np.sqrt(np.mean(crop**2)) * 10 ** (level / 20)
        ours = batch["noise"][row].double().numpy()
        scale = ours @ total / (total @ total)
        np.testing.assert_allclose(ours, scale * total, atol=1e-5)
        expected = [str(plan.noise.key[piece.recording]) for piece in drawn.noise]
        assert batch["noise_key"][row].split("+") == expected
        assert tuple(batch["distortions"][row]) == drawn.distortions


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Scene(noises=(0.5, 0.4)), "add up to 1"),
        (lambda: Scene(noises=()), "add up to 1"),
        (lambda: Scene(noise_level_db=(3.0, -3.0)), "lower end must come first"),
        (lambda: Scene(snr_db=(-5.0, math.nan)), "lower end must come first"),
        (lambda: Scene(pause=(-1.0, 0.5)), "it must be 0 s or more"),
        (lambda: Scene(speed=(1.2, 0.8)), "lower end must come first"),
        (lambda: Scene(speed=(0.1, 1.0)), "speeds from 0.5 to 2"),
        (lambda: Scene(babble_probability=2.0), "it must be between 0 and 1"),
        (lambda: Scene(babble_voices=(0, 2)), "1 voice or more"),
        (lambda: Scene(speech_probability=-0.1), "it must be between 0 and 1"),
        (lambda: Scene(segment=1e-6), "it must be 0.01 s or more"),
        (lambda: Scene(rir_seconds=0.0), "it must be 0.01 s or more"),
        (lambda: Distortions(clipping=1.5), "between 0 and 1"),
        (lambda: Distortions(wind_snr_db=(5.0, 0.0)), "lower end must come first"),
        (lambda: Distortions(clipped=(0.0, 0.7)), "below 0.5"),
        (lambda: Distortions(lost=(0.0, 1.0)), "below 1"),
        (lambda: Distortions(burst=(0.5, 2.0)), "must be 1 or more"),
        (lambda: Distortions(codec=0.5, codecs=()), "give some of"),
        (lambda: Distortions(codec=0.5).check(44_100), r"set codecs to \[mp3, vorbis\]"),
        (lambda: Distortions(band_limit=0.5).check(8_000), "lower it"),
    ],
)
def test_wrong_settings_are_named(make, sentence):
    with pytest.raises(RasedError, match=sentence):
        make()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("snr_of", ["reverberant", "target"])
def test_rows_at_once_are_the_rows_one_by_one(target, snr_of):
    """What a device does with a whole batch is what a CPU does row by row, to float precision."""
    batch = batch_of(11, rows=6, direct=77)
    batch["rir_key"][3] = ""  # not the first row alone is without a room
    batch["rir"][3] = batch["rir"][0]
    batch["direct_path"][3] = 0
    batch["shaping"] = 0.1 * torch.randn(6, 2, 64, generator=torch.Generator().manual_seed(1))
    batch["shaping"][..., 0] = 1
    cheap = Distortions(**dict.fromkeys(CHEAP, 0.6))
    batch["distortions"] = [cheap.draw(np.random.default_rng(row)) for row in range(6)]
    batch["distortions"][2] = ()
    mixing = Mixing(target=target, snr_of=snr_of)
    alone = Mixer(mixing, by_rows=True)(batch)
    together = Mixer(mixing, by_rows=False)(batch)
    for name in ("noisy", "target", "early", "late", "noise"):
        torch.testing.assert_close(together[name], alone[name], rtol=0, atol=2e-6)


def test_a_batch_at_once_takes_as_many_calls_as_a_few_rows():
    """On a device each call costs; their number does not grow with the rows, but for clipping's two a row."""
    calls = []
    for rows in (4, 32):
        batch = batch_of(12, rows=rows)
        table = Distortions(microphone=1.0, band_limit=1.0)
        batch["distortions"] = [table.draw(np.random.default_rng(row)) for row in range(rows)]
        batch["shaping"] = torch.randn(rows, 2, 64)
        mixer = Mixer(Mixing(target="direct"), by_rows=False)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            mixer(batch)
        calls.append(sum(event.count for event in profile.key_averages()))
    assert calls[1] < calls[0] + 20
    assert calls[1] < 1500


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("target", TARGETS)
def test_a_gpu_gives_what_the_cpu_gives(target):
    """All but codecs, whose thresholds may turn a last bit into another decision."""
    batch = batch_of(9)
    cheap = Distortions(**dict.fromkeys(CHEAP, 1.0))
    batch["distortions"] = [cheap.draw(np.random.default_rng(row)) for row in range(4)]
    there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    here, gpu = Mixer(Mixing(target=target))(batch), Mixer(Mixing(target=target))(there)
    for name in ("noisy", "target", "early", "late", "noise"):
        torch.testing.assert_close(gpu[name].cpu(), here[name], rtol=0, atol=1e-5)


def test_shaping_moves_no_other_draw_and_comes_as_often_as_asked(plan):
    plain, shaped = _plan(plan), _plan(plan, shaping_probability=0.6)
    coefficients = []
    for index in range(200):
        drawn = shaped.draw(3, index)
        assert dataclasses.replace(drawn, shaping=()) == plain.draw(3, index)
        coefficients += drawn.shaping
    assert 0.5 < len(coefficients) / 2 / 200 < 0.7
    assert 0.36 < np.abs(coefficients).max() <= 0.375


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_shaping_filter_is_the_papers_and_dies_away(plan):
    shaped = _plan(plan, shaping_probability=0.5)
    shaped.count = 8
    (batch,) = stream(shaped, epoch=0, batch_size=8)
    frequencies = 2 * np.pi * np.arange(33) / 64
    for row, index in enumerate(batch["index"].tolist()):
        drawn = shaped.draw(0, index).shaping or ((0.0,) * 4,) * 2
        for taps, (a, b, c, d) in zip(batch["shaping"][row].numpy(), drawn, strict=True):
            z = np.exp(-1j * frequencies)
            expected = (1 + a * z + b * z**2) / (1 + c * z + d * z**2)
            np.testing.assert_allclose(np.fft.rfft(taps), expected, atol=1e-4)
