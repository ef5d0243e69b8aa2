"""Recorded pairs in a plan: in order, on every rank, after every kill, alone and among mixtures, bit for bit."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures import order
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.distortions import Distortions
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.mixing import PEAK, Mixer, Mixing
from rased.data.mixtures.plan import Plan, Scene
from rased.data.preparation.pack import pack_pairs
from rased.errors import RasedError
from rased.signal import levels
from tests.data.paired import write_pairs

LEG = st.tuples(st.integers(1, 5), st.integers(1, 4), st.floats(0, 1))
SCENE = Scene(segment=0.5, rir_seconds=0.1)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    root = tmp_path_factory.mktemp("recorded")
    written = write_pairs(root)
    pack_pairs(root / "noisy", root / "clean", root / "shards", jobs=1)
    return root / "shards", written


@pytest.fixture(scope="module")
def make(recorded, corpora):
    """A function that makes plans of pairs, alone or among mixtures."""

    def plan(scene=SCENE, *, count=20, seed=3, mixtures=True, **more):
        sources = {
            role: Corpus([corpora], role=role, split="train") for role in ("speech", "noise", "rir")
        }
        if not mixtures:
            sources = dict.fromkeys(sources)
        pairs = Corpus([recorded[0]], role="pairs", split="train")
        return Plan(**sources, pairs=pairs, scene=scene, seed=seed, count=count, **more)

    return plan


def batches(plan, *, epoch=0, position=0, batch_size=4, rank=0, world_size=1, workers=0):
    sizes = {"batch_size": batch_size, "world_size": world_size}
    loader = Loader(plan, num_workers=workers, rank=rank, **sizes)
    loader.epoch, loader.position = epoch, position
    yield from loader


def hashes(mixture):
    for row, index in enumerate(mixture["index"].tolist()):
        parts = (mixture[n][row].numpy().tobytes() for n in ("noisy", "target", "noise"))
        yield index, hashlib.sha256(b"".join(parts)).hexdigest()


def mixtures(plan, epoch, legs):
    """[(index, hash)] in the order in which all ranks together had them, launch after launch."""
    mixer, position, found = Mixer(Mixing()), 0, []
    for number, (batch_size, world_size, share) in enumerate(legs):
        sizes = {"batch_size": batch_size, "world_size": world_size}
        total = order.steps(position, plan.count, **sizes)
        done = total if number == len(legs) - 1 else int(share * total)
        ranks = [
            [mixer(b) for b in batches(plan, epoch=epoch, position=position, rank=rank, **sizes)]
            for rank in range(world_size if done else 0)
        ]
        found += [one for step in range(done) for rank in ranks for one in hashes(rank[step])]
        position = order.consumed(done, position, plan.count, **sizes)
    return found


@pytest.mark.parametrize("shuffle", ["samples", "blocks"])
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 1 << 31),
    epoch=st.integers(0, 1000),
    count=st.integers(8, 30),
    share=st.sampled_from([1.0, 0.5, 0.3, 0.0]),
    legs=st.lists(LEG, min_size=1, max_size=4),
)
def test_order_and_samples_after_any_kills_and_changes(
    make, shuffle, seed, epoch, count, share, legs
):
    scene = replace(SCENE, pair_probability=share)
    plan = make(scene, count=count, seed=seed, shuffle=shuffle)
    whole = mixtures(plan, epoch, [(count, 1, 1.0)])
    assert [index for index, _ in whole] == list(range(count))
    assert list(dict.fromkeys(mixtures(plan, epoch, legs))) == whole


def test_workers_change_nothing(make):
    plan = make(replace(SCENE, pair_probability=0.5))
    mixer = Mixer(Mixing())
    alone, several = (
        [one for batch in batches(plan, workers=workers) for one in hashes(mixer(batch))]
        for workers in (0, 2)
    )
    assert alone == several


@pytest.mark.parametrize("by_rows", [True, False])
def test_recorded_level_gives_the_recording_bit_for_bit(make, recorded, by_rows):
    """Also in a scene whose mixtures are changed in every way."""
    changed = replace(
        SCENE,
        pair_probability=0.5,
        pair_level="recorded",
        shaping_probability=1.0,
        speed=(0.8, 1.25),
        reverb_probability=1.0,
        distortions=Distortions(clipping=1.0),
    )
    plan, mixer, seen = make(changed, count=40), Mixer(Mixing(), by_rows=by_rows), Counter()
    for batch in batches(plan):
        mixture = mixer(batch)
        for row in batch["paired"].nonzero()[:, 0].tolist():
            drawn = plan.draw(0, int(batch["index"][row]))
            clean, noisy = recorded[1][batch["key"][row]]
            at = (drawn.pair.start + np.arange(plan.frames)) % len(clean)
            for part, samples in (("noisy", noisy), ("target", clean)):
                expected = samples[at].astype(np.float32) / 2**15
                assert np.array_equal(mixture[part][row].numpy(), expected)
            assert mixture["distorted"][row] == ""
            assert batch["noise_key"][row] == batch["key"][row]
            level = levels.dbfs(levels.rms(mixture["noisy"][row]))
            assert batch["level_dbfs"][row] == pytest.approx(float(level), abs=1e-4)
            seen["short" if len(clean) < plan.frames else "long"] += 1
    assert min(seen["short"], seen["long"]) > 0
    assert sum(seen.values()) == 20


def test_level_is_drawn_and_the_ratio_stays(make):
    plan, mixer = make(mixtures=False), Mixer(Mixing())
    for batch in batches(plan):
        mixture = mixer(batch)
        found = levels.dbfs(levels.rms(mixture["noisy"]))
        peak = mixture["noisy"].abs().amax(-1)
        at_level = (found - batch["level_dbfs"]).abs() < 1e-3
        assert bool((at_level | (peak > PEAK - 1e-3)).all())
        ratio = levels.dbfs(levels.active_rms(mixture["target"])) - levels.dbfs(
            levels.rms(mixture["noise"])
        )
        # A pause has no speech to compare with.
        spoken = mixture["target"].abs().amax(-1) > 0
        assert torch.allclose(ratio[spoken], batch["snr_db"][spoken], atol=1e-3)
        assert bool((batch["snr_db"][~spoken] < -30).all())
        assert bool(batch["snr_db"].isfinite().all())
        assert torch.allclose(mixture["noisy"], mixture["target"] + mixture["noise"], atol=1e-6)


@pytest.mark.parametrize("share", [0.25, 1 / 3, 0.5, 0.9, 1.0])
def test_each_pair_and_each_utterance_once_before_any_again(make, share):
    plan = make(replace(SCENE, pair_probability=share), count=10_000)
    pairs, utterances = [], []
    for index in range(60):
        drawn = plan.draw(1, index)
        if drawn.pair:
            pairs.append(drawn.pair.recording)
        else:
            utterances.append(drawn.speech[0].recording)
        assert len(pairs) == int((index + 1) * share + 1e-9)
    for numbers, size in ((pairs, 7), (utterances, 13)):
        for start in range(0, len(numbers), size):
            turn = numbers[start : start + size]
            assert len(set(turn)) == len(turn)


def test_rooms_and_noise_only_where_configured(make):
    scene = replace(SCENE, reverb_probability=1.0, noises=(0.0, 1.0))
    plain = make(scene, count=30)
    assert not any(d.rir is not None or d.noise for d in (plain.draw(0, n) for n in range(30)))
    changed = replace(scene, pair_reverb_probability=0.5, pair_noise_probability=0.5)
    plan, mixer = make(changed, count=30), Mixer(Mixing(target="reverberant"))
    rooms = noises = 0
    for batch in batches(plan, batch_size=30):
        mixture = mixer(batch)
        rooms = sum(bool(key) for key in batch["rir_key"])
        noises = sum("+" in key for key in batch["noise_key"])
        ratio = levels.dbfs(levels.active_rms(mixture["target"])) - levels.dbfs(
            levels.rms(mixture["noise"])
        )
        # In a room, too, the noise keeps its ratio to the speech.
        spoken = mixture["target"].abs().amax(-1) > 0
        assert torch.allclose(ratio[spoken], batch["snr_db"][spoken], atol=1e-2)
    assert 8 < rooms < 22
    assert 8 < noises < 22
    # The crops and levels are the same.
    for index in range(30):
        assert plan.draw(0, index).pair == plain.draw(0, index).pair
        assert plan.draw(0, index).level_dbfs == plain.draw(0, index).level_dbfs


def test_mixtures_do_not_change_without_pairs(make, plan):
    """A share of 0 gives the mixtures of a plan that has no pairs."""
    among = make(replace(plan.scene, pair_probability=0.0), count=23)
    assert [among.draw(2, n) for n in range(23)] == [plan.draw(2, n) for n in range(23)]


def test_data_module_resumes_and_opens_only_what_it_needs(recorded, corpora):
    folder = str(recorded[0])
    arguments = {"pairs": [folder], "scene": SCENE, "batch_size": 2, "samples_per_epoch": 12}

    def module():
        return MixtureDataModule(
            speech=["missing"], noise=["missing"], rir=["missing"], **arguments
        )

    whole = [key for batch in module().mixtures() for key in batch["key"]]
    first, again = module(), module()
    for number, _ in enumerate(first.mixtures(), 1):
        if number == 3:
            break
    again.load_state_dict(first.state_dict())
    assert [key for batch in again.mixtures() for key in batch["key"]] == whole[6:]
    manifest = module().manifest()
    assert {split: set(roles) for split, roles in manifest.items()} == {
        "train": {"pairs"},
        "valid": {"pairs"},
    }
    mixed = MixtureDataModule(
        speech=[str(corpora)],
        noise=[str(corpora)],
        rir=[],
        **{**arguments, "scene": replace(SCENE, pair_probability=0.5)},
        cache="ram",
    )
    found = [key for batch in mixed.mixtures() for key in batch["noise_key"]]
    assert sum("speaker" in key for key in found) == 6


@pytest.mark.parametrize("cache", ["ram", "device"])
def test_a_cache_changes_nothing(recorded, corpora, cache):
    def found(**more):
        data = MixtureDataModule(
            speech=[str(corpora)],
            noise=[str(corpora)],
            rir=[],
            pairs=[str(recorded[0])],
            scene=replace(SCENE, pair_probability=0.5),
            batch_size=3,
            samples_per_epoch=20,
            **more,
        )
        return [one for _ in range(2) for mixture in data.mixtures() for one in hashes(mixture)]

    assert found(cache=cache) == found()


@pytest.mark.parametrize(
    ("scene", "says"),
    [
        ({"microphones": 2}, "microphones is 2.*remove pairs, or scene.microphones"),
        ({"enrolment": 1.0}, "enrolment is 1.0.*remove pairs, or scene.enrolment"),
        ({"pair_probability": 0.5}, "Speech or noise is missing"),
        ({"pair_noise_probability": 0.5}, "Speech or noise is missing"),
    ],
)
def test_what_pairs_cannot_have_is_refused(make, scene, says):
    with pytest.raises(RasedError, match=says):
        make(replace(SCENE, **scene), mixtures=False)


def test_a_share_above_one_is_refused():
    with pytest.raises(RasedError, match=r"pair_probability is 1.5; it must be between 0 and 1"):
        replace(SCENE, pair_probability=1.5)
