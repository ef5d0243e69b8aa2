"""What is kept decoded is what the shards hold: the same mixtures, within a bound, for whoever needs them."""

import io

import numpy as np
import pytest
import soundfile
import torch

from rased.data import datamodule
from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.cache import Kept, _crop, crop_at_once, keep, runs
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.mixing import Mixing
from rased.data.mixtures.sample import Place
from rased.data.shards.reader import Reader
from rased.errors import RasedError
from rased.signal.convolution import grid_length
from tests.data import conftest
from tests.data.conftest import RATE, write_corpus

NAMES = ("noisy", "target", "early", "late", "noise")


def _module(corpora, **options):
    more = options.pop("scene", {})
    scene = conftest.Scene(segment=1.0, noises=options.pop("noises", (1.0,)), **more)
    sources = [[str(corpora)]] * 3
    return MixtureDataModule(*sources, scene=scene, batch_size=4, seed=3, **options)


def _mixtures(data, *, epoch):
    """{index: the five waveforms} of an epoch, as a trainer would get them."""
    found = {}
    loader = data.train_dataloader().loader
    loader.epoch = epoch
    for batch in loader:
        mixture = data.on_after_batch_transfer(batch, 0)
        for row, index in enumerate(mixture["index"].tolist()):
            found[index] = torch.stack([mixture[name][row] for name in NAMES])
    return found


def _equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[i], other[i]) for i in one)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("where", ["ram", "device"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_mixtures_while_it_fills_and_when_it_is_full(corpora, where, workers):
    plain = _module(corpora, noises=(0.7, 0.3))
    kept = _module(corpora, noises=(0.7, 0.3), num_workers=workers, cache=where)
    for epoch in range(2):
        assert _equal(_mixtures(kept, epoch=epoch), _mixtures(plain, epoch=epoch))
    speech = kept.plan("train").speech
    assert all(speech.kept.has(number) for number in range(len(speech)))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("where", [None, "ram", "device"])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_caches_take_is_what_was_met(corpora, where, workers):
    """Each reader keeps the rooms of its own batches; all are bounded by what there is."""
    data = _module(corpora, cache=where, num_workers=workers)
    assert data.kept_bytes() == {"rooms": 0, "spectra": 0, "recordings": 0}
    loader = data.train_dataloader().loader
    rooms = [set() for _ in range(max(1, workers))]
    for number, batch in enumerate(loader):
        mine = rooms[number % len(rooms)]
        mine |= {key for key in batch["rir_key"] if key}
        data.on_after_batch_transfer(batch, 0)
        response = 4 * data.plan("train").taps
        assert data.kept_bytes()["rooms"] == len(mine) * response * len(rooms)
    found = data.kept_bytes()
    met = set.union(*rooms)
    assert found["spectra"] % len(met) == 0
    assert found["spectra"] / len(met) > 2 * response  # early and late, longer than the response
    plan = data.plan("train")
    whole = 2 * sum(int(corpus.frames.sum()) for corpus in (plan.speech, plan.noise))
    assert found["recordings"] == (whole if where else 0)


@pytest.mark.parametrize("where", ["ram", "device"])
def test_what_is_kept_is_not_read_again(corpora, where, monkeypatch):
    data = _module(corpora, cache=where)
    first = _mixtures(data, epoch=0)
    plan = data.plan("train")
    read = []
    raw = Reader.raw
    monkeypatch.setattr(
        Reader,
        "raw",
        lambda self, row, *part: read.append(self.index.role) or raw(self, row, *part),
    )
    assert _equal(_mixtures(data, epoch=0), first)
    assert set(read) <= {"rir"}
    assert len(plan.speech.kept) == len(plan.speech)


@pytest.mark.parametrize("where", ["ram", "device"])
def test_the_bound_holds_and_the_rest_keeps_streaming(corpora, where):
    plain, kept = _module(corpora), _module(corpora, cache=where, cache_gb=6e-4)
    for epoch in range(2):
        assert _equal(_mixtures(kept, epoch=epoch), _mixtures(plain, epoch=epoch))
    held = [corpus.kept for corpus in kept._corpora() if corpus.kept]
    assert sum(one.bytes for one in held) <= 6e5
    speech = kept.plan("train").speech
    assert 0 < len(speech.kept) < len(speech)
    if where == "ram":
        assert all(2 * len(one.samples) == one.bytes for one in held)


def test_sizes_are_told_smallest_corpus_first(corpora):
    sources = [Corpus([corpora], role=role, split="train") for role in ("speech", "noise", "rir")]
    noise = 2 * int(sources[1].frames.sum())
    told = keep(sources, where="ram", limit=noise + 2 * int(sources[0].frames[0]))
    assert told == [
        ("train noise", noise, noise),
        ("train speech", 2 * int(sources[0].frames[0]), 2 * int(sources[0].frames.sum())),
    ]
    with pytest.raises(RasedError, match="raise cache_gb"):
        keep(sources, where="ram", limit=0)


@pytest.mark.parametrize("rooms", [1, 3])
def test_what_is_kept_is_told_once_and_holds(corpora, monkeypatch, rooms):
    told = []
    monkeypatch.setattr(datamodule, "_say", told.append)
    taps = RATE + RATE // 200  # a second from the direct path on, and 5 ms before it
    responses = Mixing().responses(torch.zeros(taps), 0, grid_length(RATE + taps))
    room, spectra = 4 * taps / 1e6, responses.nbytes / 1e6
    data = _module(corpora, cache="ram", rooms_mb=rooms * room, spectra_mb=rooms * spectra)
    for epoch in range(2):
        _mixtures(data, epoch=epoch)
    assert len(told) == 1
    assert (
        f"{rooms} of 3 rooms decoded, in each process: {rooms * room:.3g} MB (rooms_mb" in told[0]
    )
    assert f"{rooms} of 3 rooms as spectra: {rooms * spectra:.3g} MB (spectra_mb" in told[0]
    assert "16-bit samples in ram (cache_gb 4): " in told[0]
    for corpus in data._corpora():
        if corpus.role != "rir":
            size = f"{2 * int(corpus.frames.sum()) / 1e9:.3g}"
            assert f"{corpus.split} {corpus.role} {size} of {size} GB" in told[0]
    assert len(data.plan("train").rooms._kept) == len(data.mixer._kept) == rooms


def test_more_than_16_bits_are_never_kept(tmp_path, monkeypatch):
    random = np.random.default_rng(5)
    fine = np.round(0.1 * random.standard_normal(9_000) * 2**23) / 2**23

    def encode(audio, codec):
        data = io.BytesIO()
        soundfile.write(data, audio, RATE, format="FLAC", subtype="PCM_24")
        return data.getvalue()

    monkeypatch.setattr(conftest, "encode", encode)
    folder = write_corpus(tmp_path / "speech", "speech", [("train", "a", fine)])
    corpus = Corpus([folder], role="speech", split="train")
    keep([corpus], where="ram", limit=1 << 20)
    for _ in range(2):
        np.testing.assert_array_equal(corpus.read(0, 10, 500), fine[10:510].astype(np.float32))
    assert not corpus.kept.has(0)
    assert not corpus.kept.takes(0)


def test_a_damaged_recording_streams_as_far_as_it_goes(corpora, monkeypatch):
    corpus = Corpus([corpora], role="speech", split="train")
    crop = corpus.read(1, 100, 900)
    keep([corpus], where="ram", limit=1 << 20)
    monkeypatch.setattr(corpus, "whole", lambda number: None)
    np.testing.assert_array_equal(corpus.read(1, 100, 900), crop)
    assert not corpus.kept.has(1)


def test_a_crop_goes_round():
    for length, start, frames in ((10, 7, 12), (10, 0, 10), (3, 2, 11), (20, 5, 6)):
        recording = np.arange(length)
        pieces = [
            recording[first : first + count] for _, first, count in runs(start, frames, length)
        ]
        expected = (start + np.arange(frames)) % length
        np.testing.assert_array_equal(np.concatenate(pieces), expected)


def test_all_crops_at_once_are_the_crops_one_by_one():
    """Bit for bit, with crops that go round and several in a row."""
    random = np.random.default_rng(4)
    kept = Kept(np.array([50, 7, 1, 300]), limit=10_000, device=True)
    for number, frames in enumerate(kept.frames):
        samples = random.integers(-32768, 32768, frames).astype(np.int16)
        kept.upload(number, torch.from_numpy(samples))
    places = []
    for row in range(6):
        at = 0
        while at < 90:
            number = int(random.integers(4))
            frames = min(100 - at, int(random.integers(1, 60)))
            start = int(random.integers(kept.frames[number]))
            places.append(Place("speech", row, at, number, start, frames))
            at += frames + int(random.integers(5))
    expected, out = torch.zeros(7, 100), torch.zeros(7, 100)
    _crop(kept, places, expected)
    crop_at_once(kept, places, out)
    assert torch.equal(out, expected)
    assert expected[:6].abs().sum(-1).min() > 0


def test_full_scale_survives():
    kept = Kept(np.array([4]), limit=8, device=False)
    samples = np.array([-32768, 32767, 1, 0], np.int16)
    kept.keep(0, samples.astype(np.float32) / 32768)
    np.testing.assert_array_equal(kept.find(0), samples)
