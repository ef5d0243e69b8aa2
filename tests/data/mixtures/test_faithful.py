"""A mixture is what it says: rooms count from their direct path, noise sounds, nothing is driven over full scale."""

import numpy as np
import pytest
import soundfile
import torch

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.distortions import Distortions
from rased.data.mixtures.kinds import Microphone, Wind
from rased.data.mixtures.mixing import PEAK, Mixer, Mixing
from rased.data.mixtures.plan import Plan, Scene
from rased.data.mixtures.stream import stream
from rased.data.preparation.balanced import FrozenRecipe
from rased.data.preparation.freeze import freeze
from rased.errors import RasedError
from rased.signal import levels, room
from tests.data.conftest import RATE, response, write_corpus
from tests.data.mixtures.test_mixing import batch_of


def delayed(rir, seconds):
    """A response measured with the latency of a sound card in it."""
    return np.concatenate([np.zeros(round(seconds * RATE)), rir])


def plan_of(corpora, rooms=None, noises=None, **scene):
    speech = Corpus([corpora], role="speech", split="train")
    noise = Corpus([noises or corpora], role="noise", split="train")
    rir = Corpus([rooms or corpora], role="rir", split="train")
    settings = {"segment": 1.0, "reverb_probability": 1.0} | scene
    return Plan(speech=speech, noise=noise, rir=rir, scene=Scene(**settings), seed=3, count=8)


def mixtures(plan, workers=0):
    batches = torch.utils.data.DataLoader(
        stream(plan, epoch=0, batch_size=4), batch_size=None, num_workers=workers
    )
    return [(batch, Mixer(Mixing())(batch)) for batch in batches]


@pytest.mark.parametrize("seconds", [0.002, 0.2, 0.98, 1.2])
@pytest.mark.parametrize("rir_seconds", [0.01, 0.2, 1.0])
def test_a_measured_delay_before_the_direct_path_changes_nothing(
    corpora, tmp_path, seconds, rir_seconds
):
    rir = response(np.random.default_rng(1), 80, seconds=0.6)
    for name, audio in (("plain", rir), ("late", delayed(rir, seconds))):
        write_corpus(tmp_path / name, "rir", [("train", "room", audio)])
    plain, late = (
        mixtures(plan_of(corpora, tmp_path / name, rir_seconds=rir_seconds))
        for name in ("plain", "late")
    )
    for (_, expected), (batch, found) in zip(plain, late, strict=True):
        assert batch["direct_path"].tolist() == [80] * 4
        assert torch.allclose(batch["rir"][:, 80], torch.tensor(0.9), atol=1e-3)
        for part in ("noisy", "target", "early", "late", "noise"):
            assert torch.equal(found[part], expected[part])
        assert (levels.rms(found["noisy"]) > 1e-3).all()


def test_a_direct_path_keeps_its_amplitude_however_short_the_room_is_cut():
    for direct in (0, 79, 80, 81, 5_000):
        rir = torch.zeros(8_000)
        rir[direct] = 0.7
        rir[direct + 1 :] = 0.01
        cut, found = room.from_direct_path(rir)
        assert float(cut[found]) == pytest.approx(0.7)
        assert found == min(direct, 80)


def test_a_silent_room_is_skipped_by_name_and_refused_in_a_test_set(corpora, tmp_path):
    rooms = [(split, "room", np.zeros(2_000)) for split in ("train", "test")]
    write_corpus(tmp_path / "rooms", "rir", rooms)
    ((batch, _), _) = mixtures(plan_of(corpora, tmp_path / "rooms"))
    assert len(batch["key"]) == 0
    assert all("'rir_train_000' is silent" in reason for reason in batch["skipped"])


def gated(seed, *, sounding, seconds=20.0):
    """Digital silence with a click and a stretch of noise."""
    random = np.random.default_rng(seed)
    noise = np.zeros(round(seconds * RATE))
    at = round(0.6 * len(noise))
    noise[at : at + round(sounding * RATE)] = 0.1 * random.standard_normal(round(sounding * RATE))
    noise[5] = 0.5
    return noise


@pytest.fixture
def gates(tmp_path):
    """Noises of which most places are silent, one of which all."""
    noises = [
        (split, f"type{n}", gated(n + 10 * place, sounding=1.5))
        for place, split in enumerate(("train", "valid"))
        for n in (0, 1)
    ]
    return write_corpus(tmp_path / "gates", "noise", [*noises, ("train", "none", np.zeros(9_000))])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("noises", [(1.0,), (0.0, 0.5, 0.5)])
def test_a_mixture_has_the_ratio_that_it_tells_whatever_is_silent(corpora, gates, noises):
    plan = plan_of(corpora, noises=gates, reverb_probability=0.0)
    plan.scene = Scene(segment=1.0, reverb_probability=0.0, noises=noises)
    alone, shared = mixtures(plan), mixtures(plan, workers=2)
    for (batch, mixture), (_, again) in zip(alone, shared, strict=True):
        assert not batch["skipped"]
        assert torch.equal(mixture["noisy"], again["noisy"])
        speech = levels.active_rms(mixture["early"] + mixture["late"])
        ratio = levels.dbfs(speech) - levels.dbfs(levels.rms(mixture["noise"]))
        torch.testing.assert_close(ratio, batch["snr_db"], rtol=0, atol=0.01)
    assert not any("none" in key for batch, _ in alone for key in batch["noise_key"])


def test_what_is_kept_on_the_device_draws_the_same(corpora, gates):
    found = []
    for cache in (None, "device"):
        data = MixtureDataModule(
            [str(corpora)],
            [str(gates)],
            [],
            scene=Scene(segment=1.0),
            batch_size=4,
            seed=3,
            cache=cache,
        )
        for epoch in range(2):
            loader = data.train_dataloader().loader
            loader.epoch = epoch
            for batch in loader:
                mixture = data.on_after_batch_transfer(batch, 0)
                found.append(torch.stack([mixture["noisy"], mixture["noise"]]))
    half = len(found) // 2
    for plain, kept in zip(found[:half], found[half:], strict=True):
        assert torch.equal(plain, kept)
        assert (levels.rms(kept[1]) > 0).all()


def test_noise_that_is_silent_everywhere_is_skipped_by_name(corpora, tmp_path):
    silent = write_corpus(tmp_path / "silent", "noise", [("train", "none", np.zeros(40_000))])
    ((batch, _), _) = mixtures(plan_of(corpora, noises=silent, reverb_probability=0.0))
    assert len(batch["key"]) == 0
    assert all("'noise_train_000' is silent" in reason for reason in batch["skipped"])


def test_a_frozen_item_has_the_ratio_that_it_tells(corpora, tmp_path):
    random = np.random.default_rng(5)
    speech = [("test", "voice", 0.1 * random.standard_normal(3 * RATE)) for _ in range(2)]
    write_corpus(tmp_path / "speech", "speech", speech)
    noises = [("test", "click", gated(3, sounding=0.1))]
    write_corpus(tmp_path / "noise", "noise", noises)
    recipe = FrozenRecipe(count=6, seed=1, seconds=2.0)
    places = [tmp_path / name for name in ("speech", "noise", "frozen")]
    testset = freeze(places[0], places[1], None, places[2], recipe=recipe)
    for item in testset["items"]:
        noisy, target = (
            torch.from_numpy(soundfile.read(places[2] / part / f"{item['id']}.flac")[0])
            for part in ("noisy", "target")
        )
        ratio = levels.dbfs(levels.active_rms(target)) - levels.dbfs(levels.rms(noisy - target))
        assert float(ratio) == pytest.approx(item["snr_db"], abs=0.1)
    silent = write_corpus(tmp_path / "silent", "noise", [("test", "none", np.zeros(40_000))])
    with pytest.raises(RasedError, match="'noise_test_000' is silent"):
        freeze(places[0], silent, None, tmp_path / "other", recipe=recipe)


@pytest.mark.parametrize("level_dbfs", [-40.0, -16.0, 0.0])
@pytest.mark.parametrize(
    "distortion", [Wind(-10.0, 100.0, 4), Wind(15.0, 60.0, 5), Microphone(0.37, 0.37, -0.37, -0.37)]
)
def test_nothing_is_driven_over_full_scale_and_one_gain_is_for_all_parts(distortion, level_dbfs):
    batch = batch_of(3, level_dbfs=level_dbfs, snr_db=5.0)
    plain = Mixer(Mixing())(batch)
    heard = Mixer(Mixing())({**batch, "distortions": [[distortion]] * 4})
    assert heard["noisy"].abs().max() <= PEAK + 1e-6
    gain = heard["target"].abs().amax(-1) / plain["target"].abs().amax(-1)
    assert (gain <= 1 + 1e-6).all()
    for part in ("early", "late", "noise", "target"):
        torch.testing.assert_close(heard[part], plain[part] * gain[:, None], rtol=1e-5, atol=1e-7)
    for row in range(4):
        added = distortion.apply(plain["noisy"][row], RATE) * gain[row]
        torch.testing.assert_close(heard["noisy"][row], added, rtol=1e-4, atol=1e-6)


def test_wind_clips_none_of_its_mixtures():
    table, peaks = Distortions(wind=1.0), []
    for seed in range(30):
        drawn = [table.draw(np.random.default_rng([seed, row])) for row in range(4)]
        batch = batch_of(seed, level_dbfs=float(np.random.default_rng(seed).uniform(-38, -16)))
        peaks.append(Mixer(Mixing())({**batch, "distortions": drawn})["noisy"].abs().amax(-1))
    assert (torch.cat(peaks) <= PEAK + 1e-6).all()


@pytest.mark.parametrize("target", ["early", "direct", "anechoic", "reverberant"])
def test_the_ratio_may_be_that_of_the_target(target):
    batch = batch_of(4, snr_db=3.0, level_dbfs=-40.0)
    mixture = Mixer(Mixing(target=target, snr_of="target"))(batch)
    speech = levels.dbfs(levels.active_rms(mixture["target"]))
    ratio = speech - levels.dbfs(levels.rms(mixture["noise"]))
    torch.testing.assert_close(ratio, batch["snr_db"], rtol=0, atol=0.01)
