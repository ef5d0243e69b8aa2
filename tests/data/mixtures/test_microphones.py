"""Mixtures of several channels and enrolments: physics against scipy, any workers and ranks, one channel as before."""

import hashlib
import itertools
import json
import math

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from rased.data.integrity.repair import repair
from rased.data.integrity.verify import verify
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.distortions import Distortions
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.mixing import Mixer, Mixing
from rased.data.mixtures.plan import Plan, Scene
from rased.data.preparation.geometry import RoomRecipe, draw
from rased.data.preparation.pack import pack
from rased.data.preparation.rooms import simulate
from rased.data.shards.index import read_index
from rased.errors import RasedError
from rased.signal import levels
from tests.data.conftest import RATE, response

MICROPHONES = 4


def array_response(random, direct):
    """Four responses, the direct path of each a few samples later, with tails of their own."""
    return np.stack([response(random, direct + 3 * n) * (1 - 0.1 * n) for n in range(MICROPHONES)])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Folder with packed four-channel rir (two positions a room) and noise, in train and valid."""
    root = tmp_path_factory.mktemp("arrays")
    random = np.random.default_rng(1)
    for split in ("train", "valid"):
        for room in range(2):
            folder = root / "src" / "rir" / split / f"{split}{room}"
            folder.mkdir(parents=True)
            for place in range(2):
                audio = array_response(random, 40 + 20 * place).T
                soundfile.write(folder / f"p{place}.wav", audio, RATE, subtype="PCM_16")
        folder = root / "src" / "noise" / split / "hall"
        folder.mkdir(parents=True)
        for number, seconds in enumerate((0.6, 2.0)):
            audio = 0.1 * random.standard_normal((int(seconds * RATE), MICROPHONES))
            soundfile.write(folder / f"{split}{number}.wav", audio, RATE, subtype="PCM_16")
    pack([root / "src"], root / "rir", role="rir", jobs=1)
    pack([root / "src"], root / "noise", role="noise", keep_channels=True, jobs=1)
    return root


def plan_of(corpora, arrays, *, noise=None, **scene):
    scene = {"segment": 1.0, "microphones": MICROPHONES, "reverb_probability": 0.7} | scene
    return Plan(
        speech=Corpus([corpora], role="speech", split="train"),
        noise=Corpus([noise or corpora], role="noise", split="train"),
        rir=Corpus([arrays], role="rir", split="train"),
        scene=Scene(**scene),
        seed=3,
        count=23,
    )


def loader(plan, **options):
    plain = {"batch_size": 4, "num_workers": 0, "rank": 0, "world_size": 1}
    return Loader(plan, **plain | options)


def hashes(batches):
    table, mixer = {}, Mixer(Mixing())
    for batch in batches:
        mixture = mixer(batch)
        parts = [mixture[name] for name in ("noisy", "target", "late", "noise")]
        parts += mixture.get("condition", {}).values()
        for row, index in enumerate(mixture["index"].tolist()):
            content = b"".join(part[row].numpy().tobytes() for part in parts)
            table[index] = hashlib.sha256(content).hexdigest()
    return table


@pytest.mark.parametrize("codec", ["flac", "pcm16"])
def test_packed_channels_are_those_of_the_file(arrays, tmp_path, codec):
    folder = tmp_path / codec
    pack([arrays / "src"], folder, role="rir", codec=codec, jobs=1)
    corpus = Corpus([folder], role="rir", split="train")
    assert corpus.channels.tolist() == [MICROPHONES] * 4
    source = sorted((arrays / "src" / "rir" / "train").glob("*/*.wav"))
    for number, file in enumerate(source):
        expected = soundfile.read(file, dtype="float32")[0].T
        assert np.array_equal(corpus.read_channels(number), expected)
        assert np.array_equal(corpus.read_channels(number, 17, 100), expected[:, 17:117])
        assert np.array_equal(corpus.read(number, 17, 100), expected[0, 17:117])
        out = np.empty(100, np.float32)
        assert np.array_equal(corpus.read(number, 17, 100, out=out), out)
        assert np.array_equal(out, expected[0, 17:117])
    assert not verify([folder]).problems
    before = (folder / "index.json").read_bytes()
    (folder / "index.json").unlink()
    repair(folder)
    assert (folder / "index.json").read_bytes() == before


def test_an_index_of_one_channel_names_no_channels(corpora):
    stored = json.loads((corpora / "rir" / "index.json").read_bytes())
    assert stored["schema"] == 1
    assert "channels" not in stored["columns"]
    assert read_index(corpora / "rir").columns["channels"].tolist() == [1] * 4


def test_more_channels_than_a_codec_takes_are_bad_files(tmp_path):
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for name, channels in (("a", 9), ("b", 1)):
        audio = 0.1 * random.standard_normal((4000, channels))
        soundfile.write(tmp_path / "in" / f"{name}.wav", audio, RATE)
    packed = pack([tmp_path / "in"], tmp_path / "flac", role="rir", jobs=1)
    assert [entry.reason for entry in packed.skipped] == [
        "has 9 channels; flac allows 8, pcm16 any number (--codec)"
    ]
    assert not pack([tmp_path / "in"], tmp_path / "raw", role="rir", codec="pcm16", jobs=1).skipped


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("target", ["early", "direct", "anechoic", "reverberant"])
@pytest.mark.parametrize("own_noise", [True, False])
def test_each_microphone_hears_its_own_response(corpora, arrays, by_rows, target, own_noise):
    plan = plan_of(corpora, arrays, noise=arrays if own_noise else None, snr_db=(3.0, 3.0))
    batch = next(iter(loader(plan, batch_size=8)))
    inside = [bool(key) for key in batch["rir_key"]]
    assert any(inside)
    assert not all(inside)
    mixture = Mixer(Mixing(target=target), by_rows=by_rows)(batch)
    noisy = mixture["noisy"].double()
    assert noisy.shape == (8, MICROPHONES, RATE)
    parts = mixture["early"] + mixture["late"] + mixture["noise"]
    assert torch.allclose(mixture["noisy"][:, 0], parts, atol=1e-6)
    speech = mixture["early"] + mixture["late"]
    ratio = levels.dbfs(levels.active_rms(speech)) - levels.dbfs(levels.rms(mixture["noise"]))
    assert torch.allclose(ratio, torch.full((8,), 3.0), atol=1e-2)
    for row in range(8):
        heard = np.stack(
            [
                _through(batch["clean"][row], batch["rir"][row, n], int(batch["direct_path"][row]))
                for n in range(MICROPHONES)
            ]
        )
        noise = batch["noise"][row]
        if not own_noise:
            key, direct = batch["noise_rir_key"][row], int(batch["noise_direct_path"][row])
            assert bool(key) == inside[row]
            rooms = batch["noise_rir"][row] if key else torch.ones(MICROPHONES, 1)
            noise = torch.stack([_through(noise, each, direct) for each in rooms])
        gains = np.linalg.lstsq(
            np.stack([heard[0], noise[0]], 1).astype(np.float64), noisy[row, 0].numpy(), rcond=None
        )[0]
        expected = gains[0] * heard + gains[1] * noise.numpy()
        assert np.abs(expected - noisy[row].numpy()).max() < 2e-5


def _through(waveform, rir, direct):
    """A waveform convolved with a response, by scipy."""
    full = scipy.signal.fftconvolve(np.asarray(waveform, np.float64), np.asarray(rir, np.float64))
    return torch.from_numpy(full[direct : direct + len(waveform)].astype(np.float32))


def test_noise_comes_from_another_place_of_the_room(corpora, arrays):
    plan = plan_of(corpora, arrays, reverb_probability=1.0)
    for index in range(23):
        drawn = plan.draw(0, index)
        assert drawn.noise_rir not in (None, drawn.rir)
        assert plan.rir.label[drawn.noise_rir] == plan.rir.label[drawn.rir]


def test_the_first_channel_is_the_mixture_of_one_microphone(corpora, arrays):
    """Speech, draws and target of the reference do not depend on how many microphones there are."""
    scene = {"noise_probability": 0.0, "level_dbfs": (-38.0, -38.0)}
    few = plan_of(corpora, arrays, microphones=1, **scene)
    many = plan_of(corpora, arrays, **scene)
    for one, several in zip(loader(few), loader(many), strict=True):
        assert torch.equal(one["rir"], several["rir"][:, 0])
        alone, array = Mixer(Mixing())(one), Mixer(Mixing())(several)
        assert torch.equal(alone["noisy"], array["noisy"][:, 0])
        assert torch.equal(alone["target"], array["target"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("scene", [{}, {"enrolment": 0.5, "shaping_probability": 0.5}])
def test_same_bits_with_any_workers_and_ranks(corpora, arrays, scene):
    plan = plan_of(corpora, arrays, **scene)
    alone = hashes(loader(plan))
    assert len(alone) == 23
    assert hashes(loader(plan, num_workers=2)) == alone
    assert hashes(loader(plan, batch_size=1)) == alone
    shared = {}
    for rank in range(2):
        shared |= hashes(loader(plan, rank=rank, world_size=2, batch_size=3))
    assert shared == alone


def test_an_enrolment_is_another_utterance_of_the_speaker(corpora):
    role = {
        name: Corpus([corpora], role=name, split="train") for name in ("speech", "noise", "rir")
    }
    plain = Plan(**role, scene=Scene(segment=1.0), seed=3, count=40)
    plan = Plan(**role, scene=Scene(segment=1.0, enrolment=0.7), seed=3, count=40)
    speech, recordings = plan.speech, set()
    for index in range(40):
        drawn = plan.draw(0, index)
        used = {piece.recording for piece in drawn.speech}
        assert drawn.enrolment.recording not in used
        assert {speech.label[n] for n in used} == {speech.label[drawn.enrolment.recording]}
        assert drawn.speech[0].recording == plain.draw(0, index).speech[0].recording
        recordings.add(drawn.enrolment.recording)
    assert len(recordings) > len(speech) / 2
    batch = next(iter(loader(plan)))
    mixture = Mixer(Mixing())(batch)
    assert mixture["condition"]["enrolment"].shape == (4, round(0.7 * RATE))
    for row, found in enumerate(mixture["condition"]["enrolment"].numpy()):
        piece = plan.draw(0, row).enrolment
        whole = np.resize(np.roll(speech.read(piece.recording), -piece.start), piece.frames)
        assert np.array_equal(found, whole)
    assert "condition" not in Mixer(Mixing())(next(iter(loader(plain))))


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ({"microphones": 5}, "rir have fewer than 5 channels, such as"),
        ({"microphones": 0}, "microphones is 0"),
        ({"distortions": Distortions(clipping=0.5)}, "distortions need a single microphone"),
        ({"enrolment": 0.0}, "enrolment is 0.0"),
        ({"enrolment": 1.0, "speed": (0.9, 1.1)}, "which changes the voice"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(corpora, arrays, scene, words):
    with pytest.raises(RasedError, match=words):
        plan_of(corpora, arrays, **scene)


def test_one_channel_responses_are_refused_by_name(corpora, arrays):
    with pytest.raises(RasedError, match="'rir_train_000' with 1"):
        plan_of(corpora, corpora)
    with pytest.raises(RasedError, match="babble needs noise of one channel"):
        plan_of(corpora, arrays, noise=arrays, babble_probability=0.5)


def test_arrays_have_their_geometry():
    for shape, spacing in (("circle", 0.05), ("line", 0.04)):
        recipe = RoomRecipe(
            count=3, seed=1, microphones=4, array=shape, spacing=spacing, positions=2
        )
        alone = RoomRecipe(count=3, seed=1, positions=2)
        for number in range(3):
            room, plain = draw(recipe, number), draw(alone, number)
            assert (room.size, room.absorption, room.source) == (
                plain.size,
                plain.absorption,
                plain.source,
            )
            for place in range(2):
                points = room.microphones[4 * place : 4 * place + 4]
                middle = np.mean(points, axis=0)
                assert np.allclose(middle, plain.microphones[place], atol=1e-3)
                for one, other in itertools.pairwise(points):
                    assert math.dist(one, other) == pytest.approx(spacing, abs=2e-3)
    for wrong in ({"microphones": 9}, {"microphones": 8, "spacing": 0.3}, {"microphones": 0}):
        with pytest.raises(RasedError, match="microphones"):
            RoomRecipe(count=1, seed=1, **wrong)


def test_simulated_arrays_delay_sound_by_distance(tmp_path):
    pytest.importorskip("pyroomacoustics")
    recipe = RoomRecipe(
        count=2, seed=2, t60=(0.15, 0.2), microphones=3, array="line", spacing=0.2, positions=1
    )
    simulate(tmp_path / "rir", recipe=recipe, jobs=1)
    corpus = Corpus([tmp_path / "rir"], role="rir", split="train")
    assert not verify([tmp_path / "rir"]).problems
    for number in range(2):
        room = draw(recipe, number)
        heard = corpus.read_channels(number)
        assert len(heard) == 3
        peaks = np.abs(heard).argmax(1)
        ways = np.array([math.dist(room.source, place) for place in room.microphones])
        delays = (ways - ways[0]) / 343 * RATE
        assert np.abs(peaks - peaks[0] - delays).max() < 2
