"""The stream is a function of (seed, epoch, index): the same bits for any number of workers and ranks."""

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures import loader
from rased.data.mixtures.corpus import Corpus, refuse_overlap
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.mixing import Mixer, Mixing
from rased.data.mixtures.order import EPOCHS, SEEDS
from rased.data.mixtures.plan import Plan, Scene
from rased.data.mixtures.stream import stream
from rased.data.shards.reader import ShardError
from rased.errors import RasedError
from tests.data.conftest import RATE, write_corpus


def _hashes(batches):
    """{index: hash of everything about that mixture}, mixed."""
    mixer = Mixer(Mixing())
    table = {}
    for batch in batches:
        mixture = mixer(batch)
        for row, index in enumerate(mixture["index"].tolist()):
            parts = (
                mixture[name][row].numpy().tobytes()
                for name in ("noisy", "target", "late", "noise")
            )
            table[index] = hashlib.sha256(b"".join(parts)).hexdigest()
    return table


def _loader(plan, **options):
    loader = Loader(
        plan, **{"batch_size": 4, "num_workers": 0, "rank": 0, "world_size": 1} | options
    )
    loader.epoch = 2
    return loader


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_same_bits_and_same_batches_with_any_number_of_workers(plan, workers):
    alone, shared = (list(_loader(plan, num_workers=n)) for n in (0, workers))
    assert [batch["key"] for batch in alone] == [batch["key"] for batch in shared]
    assert [batch["index"].tolist() for batch in alone] == [b["index"].tolist() for b in shared]
    assert _hashes(alone) == _hashes(shared)


@pytest.mark.parametrize("world_size", [2, 3])
def test_same_bits_with_any_world_size(plan, world_size):
    alone = _hashes(_loader(plan))
    shared = {}
    for rank in range(world_size):
        part = _hashes(_loader(plan, rank=rank, world_size=world_size, batch_size=3))
        assert not shared.keys() & part.keys()
        shared |= part
    assert shared == alone
    assert sorted(alone) == list(range(plan.count))


def test_continuing_from_a_position_gives_what_would_have_followed(plan):
    whole = _hashes(_loader(plan))
    rest = _loader(plan, batch_size=5, num_workers=2)
    rest.position = 12
    assert _hashes(rest) == {index: hashed for index, hashed in whole.items() if index >= 12}


def test_epochs_and_seeds_differ(plan, corpora):
    first = _hashes(stream(plan, epoch=0, batch_size=8))
    assert not set(first.values()) & set(_hashes(stream(plan, epoch=1, batch_size=8)).values())
    sources = {"speech": plan.speech, "noise": plan.noise, "rir": plan.rir}
    other = Plan(**sources, scene=plan.scene, seed=4, count=plan.count)
    assert not set(first.values()) & set(_hashes(stream(other, epoch=0, batch_size=8)).values())


def test_every_utterance_leads_once_before_any_leads_again(plan):
    leads = [plan.draw(0, index).speech[0].recording for index in range(2 * len(plan.speech))]
    half = len(plan.speech)
    assert sorted(leads[:half]) == sorted(leads[half:]) == list(range(half))


def test_segments_are_filled_by_one_speaker_and_draws_stay_in_range(plan):
    scene = plan.scene
    for index in range(plan.count):
        drawn = plan.draw(5, index)
        assert len({str(plan.speech.label[piece.recording]) for piece in drawn.speech}) == 1
        ends = [piece.at + piece.frames for piece in drawn.speech]
        assert ends[-1] <= plan.frames
        assert plan.frames - ends[-1] <= scene.pause[1] * RATE + 1
        for piece in drawn.speech:
            assert 0 <= piece.start <= plan.speech.frames[piece.recording] - piece.frames
        assert scene.snr_db[0] <= drawn.snr_db <= scene.snr_db[1]
        assert scene.level_dbfs[0] <= drawn.level_dbfs <= scene.level_dbfs[1]


def test_pcm16_and_flac_shards_give_the_same_bits(tmp_path, plan):
    random = np.random.default_rng(1)
    recordings = [("train", "a", 0.3 * random.standard_normal(20_000)) for _ in range(3)]
    read = {}
    for codec in ("flac", "pcm16"):
        folder = write_corpus(tmp_path / codec / "speech", "speech", recordings, codec=codec)
        corpus = Corpus([folder], role="speech", split="train")
        read[codec] = [corpus.read(n, 1234, 5000) for n in range(3)] + [corpus.read(1)]
    for flac, pcm in zip(read["flac"], read["pcm16"], strict=True):
        np.testing.assert_array_equal(flac, pcm)
    assert len(read["flac"][-1]) == 20_000


def test_a_bad_sample_is_named_and_the_others_do_not_change(tmp_path, plan):
    random = np.random.default_rng(2)
    recordings = [("train", "a", 0.1 * random.standard_normal(9_000)) for _ in range(6)]
    folder = write_corpus(tmp_path / "speech", "speech", recordings)

    def batches():
        speech = Corpus([folder], role="speech", split="train")
        scene = Scene(segment=0.5)
        sources = {"noise": plan.noise, "rir": plan.rir}
        return list(
            stream(Plan(speech=speech, scene=scene, seed=0, **sources), epoch=0, batch_size=6)
        )

    whole = batches()
    speech = Corpus([folder], role="speech", split="train")
    index = speech._readers[0].index
    with (folder / "train-000000.tar").open("r+b") as file:
        file.seek(int(index.columns["offset"][2]))
        file.write(b"no longer FLAC")
    (broken,) = batches()
    lost = set(whole[0]["index"].tolist()) - set(broken["index"].tolist())
    assert len(lost) == 1
    assert len(broken["skipped"]) == 1
    assert str(speech.key[2]) in broken["skipped"][0]
    assert "rased data verify" in broken["skipped"][0]
    kept = _hashes([broken])
    assert kept == {i: hashed for i, hashed in _hashes(whole).items() if i not in lost}


def test_a_seed_that_names_no_generator_is_refused(plan):
    sources = {"speech": plan.speech, "noise": plan.noise, "rir": plan.rir}
    for seed in (-1, 99999999999999999999):
        with pytest.raises(RasedError, match=f"The seed is {seed}; it must be between 0 and"):
            Plan(**sources, scene=plan.scene, seed=seed)
    last = Plan(**sources, scene=plan.scene, seed=SEEDS - 1, count=plan.count)
    assert last.draw(EPOCHS - 1, 0) != last.draw(EPOCHS - 2, 0)


def test_overlapping_splits_are_refused(tmp_path, corpora):
    random = np.random.default_rng(3)
    audio = [0.1 * random.standard_normal(8_000) for _ in range(3)]
    folder = write_corpus(
        tmp_path / "speech", "speech", [("train", "ann", audio[0]), ("valid", "ann", audio[1])]
    )
    splits = [Corpus([folder], role="speech", split=split) for split in ("train", "valid")]
    with pytest.raises(RasedError, match=r"share 1 speaker.*ann"):
        refuse_overlap(*splits)
    folder = write_corpus(
        tmp_path / "noise", "noise", [("train", "rain", audio[0]), ("valid", "wind", audio[0])]
    )
    splits = [Corpus([folder], role="noise", split=split) for split in ("train", "valid")]
    with pytest.raises(RasedError, match="share 1 recording"):
        refuse_overlap(*splits)


def test_a_missing_shard_and_a_missing_index_are_named(tmp_path):
    audio = 0.1 * np.random.default_rng(4).standard_normal(8_000)
    folder = write_corpus(tmp_path / "speech", "speech", [("train", "a", audio)])
    with pytest.raises(RasedError, match=r"split 'trian'.*known: train|did you mean 'train'"):
        Corpus([folder], role="speech", split="trian")
    (folder / "train-000000.tar").unlink()
    with pytest.raises(RasedError, match=r"lacks train-000000\.tar.*--repair"):
        Corpus([folder], role="speech", split="train")
    with pytest.raises(RasedError, match=r"No shards of role noise.*rased data pack"):
        Corpus([tmp_path / "nowhere"], role="noise", split="train")


def test_a_shard_of_another_size_is_named_before_it_is_read(tmp_path):
    audio = 0.1 * np.random.default_rng(4).standard_normal(8_000)
    folder = write_corpus(tmp_path / "speech", "speech", [("train", "a", audio)])
    shard = folder / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(RasedError, match=r"but its index says \d+: restore the shard.*--repair"):
        Corpus([folder], role="speech", split="train")


def test_a_shard_that_goes_during_an_epoch_stops_the_run_and_is_named(tmp_path, plan):
    audio = 0.1 * np.random.default_rng(4).standard_normal(8_000)
    folder = write_corpus(tmp_path / "speech", "speech", [("train", "a", audio)])
    speech = Corpus([folder], role="speech", split="train")
    (folder / "train-000000.tar").unlink()
    sources = {"noise": plan.noise, "rir": plan.rir}
    batches = stream(Plan(speech=speech, scene=Scene(), seed=0, **sources), epoch=0, batch_size=1)
    with pytest.raises(ShardError, match=r"train-000000\.tar cannot be opened \(no such file"):
        next(iter(batches))


def test_a_place_that_the_disk_cannot_read_is_a_bad_sample(tmp_path, plan, monkeypatch):
    random = np.random.default_rng(5)
    recordings = [("train", "a", 0.1 * random.standard_normal(8_000)) for _ in range(2)]
    folder = write_corpus(tmp_path / "speech", "speech", recordings)
    speech = Corpus([folder], role="speech", split="train")
    broken, pread = int(speech._readers[0].index.columns["offset"][1]), os.pread

    def read(descriptor, size, offset):
        if offset == broken and size > 5_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", read)
    scene, sources = Scene(segment=0.5), {"noise": plan.noise, "rir": plan.rir}
    plan = Plan(speech=speech, scene=scene, seed=0, shuffle="samples", **sources)
    (batch,) = stream(plan, epoch=0, batch_size=2)
    assert len(batch["index"]) == len(batch["skipped"]) == 1
    assert f"Sample {speech.key[1]} of" in batch["skipped"][0]
    assert "cannot be read (input/output error): check the disk" in batch["skipped"][0]


def test_readers_survive_pickling_and_many_shards(corpora):
    import pickle

    corpus = Corpus([corpora], role="speech", split="train")
    first = corpus.read(0)
    again = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(again.read(0), first)
    assert torch.from_numpy(first).abs().max() <= 1


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks of signals here")
def test_a_worker_begins_deaf_to_signals_of_the_group(plan, tmp_path, monkeypatch):
    """Before it sets its own handlers it has those of the trainer; a signal in between ended it."""
    start = loader._start_worker

    def noted(worker):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        (tmp_path / str(worker)).write_text(" ".join(sorted(one.name for one in blocked)))
        start(worker)

    monkeypatch.setattr(loader, "_start_worker", noted)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    next(iter(_loader(plan, num_workers=2)))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert [(tmp_path / name).read_text() for name in "01"] == ["SIGINT SIGTERM"] * 2


LOADER = """
import signal, sys, time
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.plan import Plan, Scene

def loader(workers, count):
    roles = ("speech", "noise", "rir")
    sources = {role: Corpus([sys.argv[1]], role=role, split="train") for role in roles}
    plan = Plan(**sources, scene=Scene(segment=0.5), seed=0, count=count)
    return Loader(plan, batch_size=1, num_workers=workers, rank=0, world_size=1)
"""


def _started(code, folder):
    """A program in a group of its own that reads by a loader."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", LOADER + code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_signals_to_the_whole_group_are_left_to_the_trainer(corpora):
    """First SIGINT, then SIGTERM; each in the middle of an epoch of its own."""
    code = """
for number in (signal.SIGINT, signal.SIGTERM):
    noted, batches = [], 0
    signal.signal(number, lambda *_: noted.append("noted"))
    for batch in loader(workers=1, count=30):
        batches += 1
        if batches == 3:
            print("running", flush=True)
            while not noted:
                time.sleep(0.02)
    print(*noted, batches, flush=True)
"""
    child = _started(code, corpora)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            assert child.stdout.readline() == "running\n"
            os.killpg(child.pid, number)
            assert child.stdout.readline().split() == ["noted", "30"]
        child.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0


def test_a_program_that_ends_within_an_epoch_ends_its_workers(corpora):
    code = """
batches = iter(loader(workers=2, count=500))
next(batches)
print("ends", flush=True)
"""
    child = _started(code, corpora)
    try:
        assert child.stdout.readline() == "ends\n"
        said = child.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert "Traceback" not in "".join(said)
    assert child.returncode == 0


def test_a_worker_that_dies_while_it_hands_over_is_called_so(plan, monkeypatch):
    def broken(*_, **__):
        yield from ()
        raise ConnectionResetError

    monkeypatch.setattr(loader, "DataLoader", broken)
    with pytest.raises(RuntimeError, match="DataLoader worker died"):
        list(_loader(plan))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0; give 1 or more"),
        ({"num_workers": -1}, "num_workers is -1; give 0 or more"),
        ({"samples_per_epoch": 0}, "samples_per_epoch is 0; give 1 or more"),
        ({"validation_samples": 0}, "validation_samples is 0; give 1 or more"),
        ({"max_bad_share": 7.0}, "max_bad_share is 7.0; it must be between 0 and 1"),
        ({"max_bad_share": float("nan")}, "max_bad_share is nan"),
        ({"seed": 2**63}, r"seed is 9223372036854775808; it must be between 0 and 2\^63 - 1"),
        ({"seed": -1}, "seed is -1"),
        ({"cache_gb": 0.0}, "cache_gb is 0.0; give more than 0"),
        ({"rooms_mb": -1.0}, "rooms_mb is -1.0; give more than 0"),
        ({"spectra_mb": 0.0}, "spectra_mb is 0.0; give more than 0"),
    ],
)
def test_numbers_out_of_range_are_one_sentence(arguments, sentence):
    with pytest.raises(RasedError, match=sentence):
        MixtureDataModule(**arguments)


def test_the_largest_seed_draws(corpora):
    data = MixtureDataModule(*[[str(corpora)]] * 3, seed=2**63 - 1)
    assert data.plan("train").draw(0, 0).speech
