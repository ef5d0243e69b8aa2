"""A file of frames: what is in it, that nothing stops it, and that it is read alike by any number of workers."""

import errno
import fcntl
import gc
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import tarfile

import h5py
import numpy as np
import pytest
import soundfile
import torch

from rased import machine
from rased.cli import main
from rased.data.columns import hexadecimal
from rased.data.frames import pieces
from rased.data.frames import writer as frame_writer
from rased.data.frames.datamodule import FrameLoader, FramePlan, FramesDataModule
from rased.data.frames.file import CHUNK, FrameFile, Framing
from rased.data.frames.journal import JournalledFile
from rased.data.frames.sources import BATCH, MixtureRecipe, Mixtures, Recordings
from rased.data.frames.writer import write_frames
from rased.data.mixtures import order, stages
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.mixing import Mixer, Mixing
from rased.data.mixtures.plan import Scene
from rased.data.mixtures.stream import stream
from rased.data.preparation.pack import pack
from rased.data.shards.folder import writing
from rased.data.shards.index import read_index
from rased.errors import RasedError
from rased.layers.frontend import Features, Inputs, InputStage
from rased.signal.stft import STFT
from tests.data.conftest import RATE

FRAMING = Framing(Features(("log_power", "mfcc")), STFT(256, 128, 256), RATE)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Packed speech: 12 utterances of 0.05 to 3 s in two splits."""
    root = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(1)
    for number in range(12):
        folder = root / "in" / ("valid" if number % 3 == 0 else "train") / f"speaker{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        length = int(RATE * (0.05 if number == 4 else random.uniform(0.5, 3)))
        audio = 0.1 * random.standard_normal(length) * np.sin(np.arange(length) / 4000)
        soundfile.write(folder / f"{number}.wav", audio, RATE)
    pack([root / "in"], root / "out", role="speech", jobs=1, shard_mb=0.1)
    return root / "out"


@pytest.fixture(scope="module")
def clean(shards, tmp_path_factory):
    """A file of its frames."""
    out = tmp_path_factory.mktemp("frames") / "clean.h5"
    write_frames(Recordings([shards]), FRAMING, out)
    return out


def recipe(corpora, **changes):
    folders = {role: (str(corpora),) for role in ("speech", "noise", "rir")}
    return MixtureRecipe(**folders, **{"scene": Scene(segment=1.0), "seed": 3} | changes)


@pytest.fixture(scope="module")
def pairs(corpora, tmp_path_factory):
    """A file of 30 mixtures."""
    out = tmp_path_factory.mktemp("frames") / "pairs.h5"
    made = recipe(corpora)
    framing = Framing(Features(), STFT(256, 128, 256), RATE)
    write_frames(Mixtures(made.plan(), made.mixing, 30), framing, out)
    return out


def content(path):
    """Everything in a file, as plain data."""
    found = {}
    with h5py.File(path) as file:
        found["attributes"] = dict(file.attrs)

        def visit(name, node):
            found[name, "attributes"] = dict(node.attrs)
            if isinstance(node, h5py.Dataset):
                found[name] = node[:].tolist()

        file.visititems(visit)
    return found


def test_frames_are_the_features_of_the_recordings(shards, clean):
    file = FrameFile(clean)
    assert file.framing == FRAMING
    assert file.streams == ("clean",)
    numbers = {}
    for split in ("train", "valid"):
        corpus = Corpus([shards], role="speech", split=split)
        hashes = hexadecimal(corpus.sha256)
        numbers |= {sha256: (corpus, number) for number, sha256 in enumerate(hashes)}
    assert len(file) == len(numbers) == 12
    for row, name in enumerate(file.names(0, len(file))):
        corpus, number = numbers.pop(name["sha256"])
        assert (name["key"], name["label"]) == (corpus.key[number], corpus.label[number])
        assert name["split"] == corpus.split
        audio = torch.from_numpy(corpus.read(number))[None]
        expected = FRAMING.features(FRAMING.stft.analysis(audio), RATE)[0].T
        stored = torch.from_numpy(file.utterance("clean", row))
        # float16 keeps 11 bits: a log-power is off by 2^-7 at most, a cepstral coefficient by 2^-4
        torch.testing.assert_close(stored, expected, atol=2**-8, rtol=2**-11)
    first, end = file.split("train")
    lengths = sum(
        FRAMING.stft.frames(int(n)) for n in Corpus([shards], role="speech", split="train").frames
    )
    assert end - first == lengths


def test_mean_and_variance_are_those_of_what_is_stored(clean):
    file = FrameFile(clean)
    stored = np.concatenate([file.utterance("clean", row) for row in range(len(file))])
    moments = file.statistics["clean"]
    assert moments.count == len(stored) == file.count
    np.testing.assert_allclose(moments.mean, stored.mean(0, dtype=np.float64), atol=1e-9)
    np.testing.assert_allclose(moments.variance, stored.astype(np.float64).var(0), rtol=1e-9)


def test_long_recordings_are_computed_in_blocks_with_the_same_values(
    shards, clean, tmp_path, monkeypatch
):
    monkeypatch.setattr(pieces, "BLOCK", 37)
    write_frames(Recordings([shards]), FRAMING, tmp_path / "blocks.h5")
    whole, blocks = FrameFile(clean), FrameFile(tmp_path / "blocks.h5")
    for row in range(len(whole)):
        # Sums over bands may be made in another order for another number of frames: a last bit of float16.
        one, other = (file.utterance("clean", row) for file in (whole, blocks))
        np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-5)
    torch.testing.assert_close(
        whole.statistics["clean"].variance, blocks.statistics["clean"].variance
    )


def test_mixtures_are_those_of_the_stream(corpora, pairs):
    made, file = recipe(corpora), FrameFile(pairs)
    names = file.names(0, len(file))
    mixer = Mixer(Mixing())
    seen = 0
    for batch in stream(made.plan(), epoch=0, batch_size=6):
        mixture = mixer(batch)
        for place, index in enumerate(mixture["index"].tolist()):
            for part in ("noisy", "target"):
                spectrum = file.framing.stft.analysis(mixture[part][place : place + 1])
                expected = file.framing.features(spectrum, RATE)[0].T
                stored = torch.from_numpy(file.utterance(part, index))
                torch.testing.assert_close(stored, expected, atol=2**-8, rtol=2**-11)
            heard = [mixture[part][place].numpy().tobytes() for part in ("noisy", "target")]
            assert names[index]["sha256"] == hashlib.sha256(b"".join(heard)).hexdigest()
            assert names[index]["key"] == mixture["key"][place]
            assert names[index]["split"] == "train"
            seen += 1
    assert seen == made.plan().count == 13
    assert len({name["sha256"] for name in names}) == 30


def _write_until(limit, shards, out):
    """Write frames with a commit every 300 of them, and die without a word at the limit-th write."""
    torch.set_num_threads(1)
    frame_writer.COMMIT = 300
    left = limit
    write, commit = JournalledFile.write, JournalledFile._apply

    def mortal(method):
        def call(self, *given):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(self, *given)

        return call

    JournalledFile.write, JournalledFile._apply = mortal(write), mortal(commit)
    write_frames(Recordings([shards]), FRAMING, out)


@pytest.mark.parametrize("limit", [30, 41, 57])
def test_killed_again_and_again_the_file_has_the_same_content(shards, clean, tmp_path, limit):
    out = tmp_path / "out.h5"
    deaths = 0
    while not out.exists():
        process = multiprocessing.get_context("fork").Process(
            target=_write_until, args=(limit + deaths, shards, out)
        )
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        deaths += process.exitcode != 0
    assert deaths >= 2
    assert content(out) == content(clean)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_an_interrupted_run_continues(shards, clean, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_writer, "COMMIT", 300)
    moments = []

    def interrupt(done, total):
        moments.append(done)
        if len(moments) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5", progress=interrupt)
    written = write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5")
    assert 300 <= written.resumed < written.frames
    assert content(tmp_path / "out.h5") == content(clean)


def test_other_settings_are_refused(shards, clean, tmp_path, monkeypatch):
    other = Framing(Features(("log_mel",)), FRAMING.stft, RATE)
    with pytest.raises(RasedError, match=r"\(different: features\): choose another --out"):
        write_frames(Recordings([shards]), other, clean)
    monkeypatch.setattr(frame_writer, "COMMIT", 100)
    with pytest.raises(KeyboardInterrupt):
        write_frames(Recordings([shards]), FRAMING, tmp_path / "x.h5", progress=_stop_at_once([]))
    with pytest.raises(RasedError, match=r"different: features.*remove it \(x\.h5\.part\)"):
        write_frames(Recordings([shards]), other, tmp_path / "x.h5")
    again = write_frames(Recordings([shards]), FRAMING, clean)
    assert again.resumed == again.frames


def _stop_at_once(seen):
    def progress(done, total):
        seen.append(done)
        if len(seen) > 1:
            raise KeyboardInterrupt

    return progress


def test_two_writers_of_one_file_are_refused(shards, tmp_path):
    with (tmp_path / "out.h5.part").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RasedError, match="Another process is writing"):
            write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5")


def test_a_full_disk_loses_nothing(shards, clean, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_writer, "COMMIT", 300)
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        out = disk / "out.h5"
        with pytest.raises(RasedError, match=r"no space left on device\. What was committed"):
            write_frames(Recordings([shards]), FRAMING, out)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        written = write_frames(Recordings([shards]), FRAMING, out)
        assert 300 <= written.resumed < written.frames
        assert content(out) == content(clean)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("failing", range(1, 40, 6))
def test_wherever_writing_fails_the_run_continues(shards, clean, tmp_path, monkeypatch, failing):
    monkeypatch.setattr(frame_writer, "COMMIT", 300)
    calls = iter(range(1, 10**6))
    pwrite, fsync = os.pwrite, os.fsync

    def full(method):
        def call(*given):
            if next(calls) >= 20 * failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return method(*given)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full(pwrite))
        patch.setattr(os, "fsync", full(fsync))
        try:
            write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5")
        except RasedError as error:
            assert "no space left" in str(error)  # noqa: PT017
    write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5")
    assert content(tmp_path / "out.h5") == content(clean)


def test_what_cannot_be_read_is_left_out_and_named(shards, tmp_path, capsys):
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in shards.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    columns = read_index(folder).columns
    row = 5
    name = read_index(folder).shards[columns["shard"][row]].name
    with (folder / name).open("r+b") as file:
        file.seek(int(columns["offset"][row]))
        file.write(b"junk")
    out = tmp_path / "out.h5"
    words = ["data", "frames", str(folder), "--out", str(out), "--hop-length", "128"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "11 utterances" in told.out
    assert f"skipped: Sample {columns['key'][row]} of" in told.out
    assert "1 utterances could not be read" in told.err
    file = FrameFile(out)
    keys = [name["key"] for name in file.names(0, len(file))]
    assert keys == [key for key in columns["key"] if key != columns["key"][row]]
    assert file.count == sum(
        STFT(512, 128, 512).frames(int(n)) for n in np.delete(columns["frames"], row)
    )
    assert main([*words, "--allow-bad"]) == 0


@pytest.fixture(params=["flac", "pcm16"])
def copied(request, shards, tmp_path):
    """Shards that may be damaged, in either coding."""
    if request.param == "flac":
        return shutil.copytree(shards, tmp_path / "shards")
    pack([shards.parent / "in"], tmp_path / "shards", role="speech", codec="pcm16", shard_mb=0.1)
    return tmp_path / "shards"


def framed(folder, out, capsys, *, left):
    """Exit code and words of `data frames` that keeps so many of twelve."""
    code = main(["data", "frames", str(folder), "--out", str(out), "--hop-length", "128"])
    told = capsys.readouterr()
    index, file = read_index(folder, resized=True), FrameFile(out)
    assert len(file) == left
    kept = {row["key"]: (row["label"], row["split"]) for row in file.names(0, len(file))}
    columns = (index.columns[name] for name in ("key", "label", "split"))
    known = {key: (label, split) for key, label, split in zip(*columns, strict=True)}
    assert kept == {key: known[key] for key in kept}
    return code, told


@pytest.mark.parametrize("into", ["audio", "label", "header"])
def test_a_flipped_byte_in_a_shard_is_noticed(copied, tmp_path, capsys, into):
    columns = read_index(copied).columns
    shard = copied / read_index(copied).shards[columns["shard"][5]].name
    offset, data = int(columns["offset"][5]), bytearray(shard.read_bytes())
    at = {
        "audio": offset + 200,
        "label": data.index(b'"label":"', offset) + 9,
        "header": offset - 500,
    }
    data[at[into]] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    left = 12 if into == "label" else 11
    code, told = framed(copied, tmp_path / "out.h5", capsys, left=left)
    assert code == (0 if into == "label" else 1)
    if into != "label":
        assert f"skipped: Sample {columns['key'][5]} of {shard} is damaged (" in told.out
        assert f"`rased data verify {copied} --repair`" in told.out


def test_a_shard_cut_short_costs_what_lies_behind_the_cut(copied, tmp_path, capsys):
    columns = read_index(copied).columns
    shard = copied / read_index(copied).shards[columns["shard"][5]].name
    behind = (columns["shard"] == columns["shard"][5]) & (columns["offset"] >= columns["offset"][5])
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[: int(columns["offset"][5]) + 100])
    code, told = framed(copied, tmp_path / "out.h5", capsys, left=12 - int(behind.sum()))
    assert code == 1
    assert told.out.count("skipped: Sample") == behind.sum()
    assert "the file is truncated inside it" in told.out


def test_an_empty_tar_is_damaged_and_one_that_no_index_names_is_not_read(copied, tmp_path, capsys):
    columns = read_index(copied).columns
    shard = copied / read_index(copied).shards[columns["shard"][5]].name
    shutil.copy(shard, copied / "train-000099.tar")
    shard.chmod(0o644)
    with tarfile.open(shard, "w"):
        pass
    lost = int((columns["shard"] == columns["shard"][5]).sum())
    code, told = framed(copied, tmp_path / "out.h5", capsys, left=12 - lost)
    assert code == 1
    assert told.out.count("is damaged (it is missing)") == lost


def test_more_than_a_share_of_a_shard_stops_the_run(copied, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rased.data.frames.writer._FEW", 0)
    shard = sorted(copied.glob("train-*.tar"))[0]
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:2000])
    words = ["data", "frames", str(copied), "--out", str(tmp_path / "out.h5"), "--max-bad", "0.01"]
    assert main(words) == 1
    assert "utterances cannot be read, such as: Sample" in capsys.readouterr().err


def test_mixtures_made_together_may_all_be_unreadable(corpora, tmp_path, monkeypatch):
    made = recipe(corpora)
    speak, calls = stages._speak, iter(range(100))

    def speak_from_the_fourth_on(*arguments):
        if next(calls) < BATCH:
            raise RasedError("Sample lost of nowhere")
        speak(*arguments)

    monkeypatch.setattr(stages, "_speak", speak_from_the_fourth_on)
    framing = Framing(Features(), STFT(256, 128, 256), RATE)
    written = write_frames(Mixtures(made.plan(), made.mixing, 10), framing, tmp_path / "out.h5")
    assert written.utterances == 10 - BATCH
    assert written.skipped == ("Sample lost of nowhere",) * BATCH


@pytest.mark.parametrize("past", [0, 3])
@pytest.mark.parametrize("future", [0, 2])
def test_windows_are_what_an_input_stage_splices(pairs, past, future):
    file = FrameFile(pairs)
    moments = file.statistics["noisy"]
    inputs = Inputs(past_frames=past, future_frames=future, noise="static", noise_frames=4)
    stage = InputStage(inputs, file.framing.size, 125.0)
    stage.mean.copy_(moments.mean)
    stage.std.copy_(moments.std)
    for row in (0, 7, len(file) - 1):
        values = torch.from_numpy(file.utterance("noisy", row))
        silence = torch.from_numpy(file.framing.silence).expand(future, -1)
        whole = torch.cat([values, silence]).T[None]
        expected, _ = stage(whole, stage.initial_state(1, whole))
        numbers = file.offset[row] + np.random.default_rng(row).permutation(len(values))
        windows = torch.from_numpy(file.windows("noisy", numbers, past=past, future=future))
        noise = torch.from_numpy(file.noise("noisy", numbers, future=future, count=4))
        places = torch.from_numpy(numbers - file.offset[row])
        torch.testing.assert_close(
            stage.windows(windows, noise)[:, 0], expected[0, future:][places], atol=2e-5, rtol=0
        )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_short_is_one_sentence(clean, tmp_path, share):
    data = clean.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(RasedError, match="is damaged or not a file of frames") as found:
        FrameFile(cut)
    assert "\n" not in str(found.value)


def test_a_flipped_byte_among_the_frames_is_noticed(clean, tmp_path):
    with h5py.File(clean) as file:
        offset = file["frames/clean"].id.get_chunk_info(1).byte_offset
    data = bytearray(clean.read_bytes())
    data[offset + 1000] ^= 1
    (tmp_path / "bad.h5").write_bytes(data)
    file = FrameFile(tmp_path / "bad.h5")
    with pytest.raises(RasedError, match="is damaged"):
        file.windows("clean", np.arange(file.count))


def test_what_is_no_file_of_frames_is_one_sentence(clean, tmp_path):
    with pytest.raises(RasedError, match="The file of frames"):
        FrameFile(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = [1, 2, 3]
    with pytest.raises(RasedError, match="not a file of frames"):
        FrameFile(tmp_path / "other.h5")
    with pytest.raises(RasedError, match=r"no split 'trian': did you mean 'train'"):
        FrameFile(clean).split("trian")


def frame_plan(file, **changes):
    options = {"split": "train", "past": 2, "future": 1, "noise_frames": 3, "seed": 5}
    return FramePlan(FrameFile(file), **options | {"pool_frames": 3 * CHUNK} | changes)


@pytest.mark.parametrize("pool_frames", [1, 3 * CHUNK, 10**9])
def test_every_frame_comes_once_an_epoch_in_another_order(pairs, clean, pool_frames):
    for path in (pairs, clean):
        plan = frame_plan(path, pool_frames=pool_frames)
        epochs = [plan.numbers(epoch, 0, plan.count) for epoch in (0, 1)]
        first, end = FrameFile(path).split("train")
        for numbers in epochs:
            assert sorted(numbers.tolist()) == list(range(first, end))
        assert (epochs[0] != epochs[1]).mean() > 0.9
        middle = plan.count // 2
        again = frame_plan(path, pool_frames=pool_frames).numbers(1, middle, middle + 50)
        assert (again == epochs[1][middle : middle + 50]).all()


def loader(path, **changes):
    options = {"batch_size": 100, "num_workers": 0, "rank": 0, "world_size": 1}
    made = FrameLoader(frame_plan(path), **options | changes)
    made.epoch = 1
    return made


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_any_number_of_workers_reads_the_same_batches(pairs):
    path = loader(pairs)
    path.plan.file.utterance("noisy", 0)  # open here before the workers are forked
    alone = list(path)
    assert sum(len(batch["index"]) for batch in alone) == path.plan.count
    path.num_workers = 2
    for ours, theirs in zip(alone, path, strict=True):
        for name, values in ours.items():
            assert torch.equal(values, theirs[name])


def test_a_position_and_a_world_size_give_the_rest_of_the_epoch(pairs):
    whole = torch.cat([batch["target"] for batch in loader(pairs)])
    ranks = [loader(pairs, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.position = 700
    rows = {}
    for rank in ranks:
        for batch in rank:
            rows |= dict(zip(batch["index"].tolist(), batch["target"], strict=True))
    assert sorted(rows) == list(range(700, len(whole)))
    assert all(torch.equal(rows[index], whole[index]) for index in rows)


def data_module(corpora, file, **changes):
    made = recipe(corpora)
    folders = {role: [str(corpora)] for role in ("speech", "noise", "rir")}
    options = {"scene": made.scene, "seed": made.seed, "validation_samples": 4}
    return FramesDataModule(str(file), **folders, **options | changes)


def test_a_file_from_another_scene_is_refused(corpora, pairs):
    data_module(corpora, pairs).setup()
    with pytest.raises(RasedError, match=r"not made from this data section \(different: scene\)"):
        data_module(corpora, pairs, scene=Scene(segment=2.0)).setup()
    with pytest.raises(RasedError, match=r"different: seed"):
        data_module(corpora, pairs, seed=4).setup()


def test_batches_are_laid_out_by_order(pairs):
    spans = list(order.batches(0, frame_plan(pairs).count, batch_size=100))
    batch = next(frame_plan(pairs).batches(spans, epoch=0))
    assert batch["windows"].shape == (100, 4, 129)
    assert batch["noise"].shape == batch["target"].shape == (100, 129)
    centre = FrameFile(pairs).windows("noisy", frame_plan(pairs).numbers(0, 0, 100))[:, 0]
    assert (batch["windows"][:, 2].numpy() == centre).all()


def test_a_refused_writer_closes_its_descriptor_once(tmp_path, monkeypatch):
    """Whoever got the number of a closed descriptor in between keeps his file."""
    gc.collect()  # readers of other tests close their files now, not below
    first, closed, close = JournalledFile(tmp_path / "x"), [], os.close

    def counted(descriptor):
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "close", counted)
    with pytest.raises(RasedError, match="Another process is writing"):
        JournalledFile(tmp_path / "x")
    gc.collect()
    assert len(closed) == 1
    first.close()
    first.close()
    assert len(closed) == 2


def test_a_file_system_without_locks_is_written_to(shards, clean, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5")
    assert content(tmp_path / "out.h5") == content(clean)
    with writing(tmp_path / "folder"):
        assert machine.take_lock(os.open(tmp_path, os.O_RDONLY))


def test_a_disk_closed_to_us_keeps_nothing_and_says_so(shards, tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RasedError, match=r"read-only file system\. Nothing is kept"):
        write_frames(Recordings([shards]), FRAMING, tmp_path / "out.h5")


JOURNALS = [
    b"",
    b"{}\n",
    b"[]\n",
    b'{"size": -1, "pages": [], "sha256": "' + b"0" * 64 + b'"}\n',
    b'{"size": 1e999, "pages": [], "sha256": ""}\n',
    b'{"size": 4096, "pages": [0], "sha256": "'
    + hashlib.sha256(b"").hexdigest().encode()
    + b'"}\n',
]


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_damaged_journal_is_one_sentence(tmp_path, journal):
    (tmp_path / "x.journal").write_bytes(journal)
    with pytest.raises(RasedError, match=r"x\.journal' is damaged"):
        JournalledFile(tmp_path / "x")


def test_an_unfinished_file_that_is_damaged_is_one_sentence(shards, tmp_path):
    out = tmp_path / "out.h5"
    digest = hashlib.sha256(b"").hexdigest()
    (tmp_path / "out.h5.part").write_bytes(b"x" * 9000)
    (tmp_path / "out.h5.part.journal").write_text(
        f'{{"size": 9000, "pages": [], "sha256": "{digest}"}}\n'
    )
    with pytest.raises(RasedError, match="from an interrupted run, is damaged"):
        write_frames(Recordings([shards]), FRAMING, out)
