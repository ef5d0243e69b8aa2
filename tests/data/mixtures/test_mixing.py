"""x = r * s + n: the parts add up, the target is what it says, nothing clips, silence stays silence."""

import numpy as np
import pytest
import scipy.signal
import torch

from rased.data.mixtures.mixing import PEAK, Mixer, Mixing
from rased.errors import RasedError
from rased.signal import levels
from rased.signal.ratios import si_sdr
from tests.data.conftest import RATE, response

TIME = RATE
TARGETS = ["anechoic", "direct", "early", "reverberant"]


def batch_of(seed=0, *, rows=4, direct=960, snr_db=5.0, level_dbfs=-25.0, noise=1.0, clean=1.0):
    """A batch: row 0 without a room, the others in rooms whose direct path lies at `direct` samples."""
    random = np.random.default_rng(seed)
    rir = np.zeros((rows, RATE // 2), np.float32)
    rir[0, 0] = 1
    for row in range(1, rows):
        rir[row, : int(0.4 * RATE)] = response(random, direct)
    shape = (rows, TIME)
    names = [""] + [f"room{seed}-{row}" for row in range(1, rows)]
    return {
        "clean": torch.from_numpy((0.1 * clean * random.standard_normal(shape)).astype(np.float32)),
        "noise": torch.from_numpy((0.1 * noise * random.standard_normal(shape)).astype(np.float32)),
        "rir": torch.from_numpy(rir),
        "direct_path": torch.tensor([0] + [direct] * (rows - 1)),
        "snr_db": torch.full((rows,), snr_db),
        "level_dbfs": torch.full((rows,), level_dbfs),
        "index": torch.arange(rows),
        "key": [f"key{row}" for row in range(rows)],
        "noise_key": ["noise"] * rows,
        "rir_key": names,
        "shaping": torch.zeros(rows, 2, 0),
        "distortions": [()] * rows,
        "skipped": [],
        "rooms_bytes": 0,
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(5))
def test_the_parts_add_up_whatever_is_drawn(target, seed):
    random = np.random.default_rng(seed)
    batch = batch_of(
        seed,
        direct=int(random.integers(20, 2000)),
        snr_db=float(random.uniform(-10, 30)),
        level_dbfs=float(random.uniform(-60, 10)),
    )
    mixture = Mixer(Mixing(target=target, early_ms=float(random.uniform(0, 100))))(batch)
    parts = mixture["early"] + mixture["late"] + mixture["noise"]
    torch.testing.assert_close(mixture["noisy"], parts, rtol=0, atol=1e-7)
    assert mixture["noisy"].abs().max() <= PEAK + 1e-6
    if target == "early":
        assert torch.equal(mixture["target"], mixture["early"])
    if target == "reverberant":
        speech = mixture["early"] + mixture["late"]
        torch.testing.assert_close(mixture["target"], speech, rtol=0, atol=1e-6)


def test_the_room_is_a_convolution_aligned_to_the_direct_path():
    batch = batch_of(1, direct=960, snr_db=float("inf"))
    mixture = Mixer(Mixing())(batch)
    for row in range(4):
        clean, rir = batch["clean"][row].double().numpy(), batch["rir"][row].double().numpy()
        direct = int(batch["direct_path"][row])
        expected = scipy.signal.fftconvolve(clean, rir)[direct : direct + TIME]
        speech = (mixture["early"] + mixture["late"])[row].double().numpy()
        gain = speech @ expected / (expected @ expected)
        np.testing.assert_allclose(speech, gain * expected, atol=2e-6)
        until = rir.copy()
        until[direct + 800 :] = 0
        early = scipy.signal.fftconvolve(clean, until)[direct : direct + TIME]
        np.testing.assert_allclose(mixture["early"][row].numpy(), gain * early, atol=2e-6)
    assert mixture["noise"].abs().max() == 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_direct_path_at_60_ms_leaves_the_target_in_place(target):
    """The target lies where the speech in the mixture lies, is not silent, and is a part of it."""
    batch = batch_of(2, direct=960, snr_db=40.0)
    mixture = Mixer(Mixing(target=target))(batch)
    speech = mixture["early"] + mixture["late"]
    for row in range(1, 4):
        wanted = mixture["target"][row].numpy()
        lags = scipy.signal.correlate(speech[row].numpy(), wanted)
        assert np.argmax(np.abs(lags)) == TIME - 1
        assert levels.rms(mixture["target"][row]) > 0.5 * levels.rms(mixture["early"][row])
    ratio = si_sdr(estimate=mixture["noisy"], target=mixture["target"])
    assert ratio[1:].min() > 3


def test_anechoic_is_the_dry_speech_at_the_level_of_the_direct_path():
    batch = batch_of(3)
    mixture = Mixer(Mixing(target="anechoic"))(batch)
    direct = Mixer(Mixing(target="direct"))(batch)["target"]
    scale = mixture["target"] / batch["clean"]
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixture["target"], direct, rtol=0, atol=1e-6)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 15.0])
def test_snr_counts_the_active_speech_not_the_pauses(snr_db):
    batch = batch_of(4, rows=2, snr_db=snr_db)
    whole = Mixer(Mixing())(batch)
    batch["clean"][:, TIME // 2 :] = 0
    paused = Mixer(Mixing())(batch)
    for mixture in (whole, paused):
        speech = (mixture["early"] + mixture["late"])[0, : TIME // 2]
        ratio = levels.dbfs(levels.rms(speech)) - levels.dbfs(levels.rms(mixture["noise"][0]))
        assert float(ratio) == pytest.approx(snr_db, abs=0.3)


def test_level_is_as_wanted_until_it_would_clip():
    quiet = Mixer(Mixing())(batch_of(5, level_dbfs=-30.0))
    torch.testing.assert_close(
        levels.dbfs(levels.rms(quiet["noisy"])), torch.full((4,), -30.0), rtol=0, atol=1e-3
    )
    loud = Mixer(Mixing())(batch_of(5, level_dbfs=0.0))
    torch.testing.assert_close(
        loud["noisy"].abs().amax(-1), torch.full((4,), PEAK), rtol=0, atol=1e-5
    )
    scale = loud["target"] / quiet["target"]
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("clean", "noise"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("target", TARGETS)
def test_silence_gives_finite_mixtures(clean, noise, target):
    mixture = Mixer(Mixing(target=target))(batch_of(6, clean=clean, noise=noise))
    for name in ("noisy", "target", "early", "late", "noise"):
        assert mixture[name].isfinite().all()
    if not clean and not noise:
        assert mixture["noisy"].abs().max() == 0


def test_kept_spectra_change_nothing_and_are_bounded():
    batch = batch_of(7)
    mixer = Mixer(Mixing(target="direct"))
    first, second = mixer(batch), mixer(batch)
    narrow = Mixer(Mixing(target="direct"), limit=1)
    third = narrow(batch)
    for name in ("noisy", "target", "early", "late", "noise"):
        assert torch.equal(first[name], second[name])
        assert torch.equal(first[name], third[name])
    assert len(narrow._kept) == 1


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_rows_depend_neither_on_their_neighbours_nor_on_threads(threads):
    """Long batches use vector code, single long rows several threads: neither may show in the bits."""
    random = np.random.default_rng(8)
    batch = batch_of(8, rows=48)
    for name in ("clean", "noise"):
        batch[name] = batch[name].repeat(1, 3)
    for name, low, high in (("snr_db", -5, 15), ("level_dbfs", -38, -16)):
        batch[name] = torch.from_numpy(random.uniform(low, high, 48).astype(np.float32))
    whole = Mixer(Mixing())(batch)
    torch.set_num_threads(1)
    other = Mixer(Mixing())
    for row in range(48):
        alone = {k: v if isinstance(v, int) else v[row : row + 1] for k, v in batch.items()}
        mixture = other(alone)
        for name in ("noisy", "target", "early", "late", "noise"):
            assert torch.equal(mixture[name][0], whole[name][row])


def test_a_negative_time_is_refused():
    with pytest.raises(RasedError, match="0 or more"):
        Mixing(early_ms=-1.0)


def test_shaping_filters_speech_and_noise_before_they_are_mixed():
    batch = batch_of()
    random = np.random.default_rng(7)
    filters = 0.1 * random.standard_normal((4, 2, 8)).astype(np.float32)
    filters[..., 0] = 1
    by_hand = {
        name: torch.from_numpy(
            np.stack(
                [
                    np.convolve(row, taps)[:TIME]
                    for row, taps in zip(batch[name].numpy(), filters[:, place], strict=True)
                ]
            )
        )
        for place, name in enumerate(("clean", "noise"))
    }
    shaped = Mixer(Mixing())({**batch, "shaping": torch.from_numpy(filters)})
    expected = Mixer(Mixing())({**batch, **by_hand})
    for part in ("noisy", "target", "early", "late", "noise"):
        torch.testing.assert_close(shaped[part], expected[part], rtol=0, atol=2e-6)
    parts = shaped["early"] + shaped["late"] + shaped["noise"]
    torch.testing.assert_close(shaped["noisy"], parts, rtol=0, atol=1e-7)
