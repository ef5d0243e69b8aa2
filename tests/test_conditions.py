"""Models that are given something besides the waveform: by files, arrays and tensors, everywhere alike."""

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import rased
from rased import audio
from rased.cli import main
from rased.conditions import as_tensors, parse, read
from rased.data.integrity.verify import summary, verify
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.balanced import FrozenRecipe
from rased.data.preparation.freeze import freeze
from rased.data.shards.index import bundle
from rased.errors import RasedError
from rased.evaluation import evaluate
from rased.evaluation.scoring import run
from rased.evaluation.scoring.cost import measure
from rased.evaluation.scoring.jobs import together
from rased.evaluation.scoring.memory import MemoryOf, _growth
from rased.evaluation.scoring.recheck import recheck
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import given, read_audio, read_testset
from rased.models.classical import METHODS
from rased.streaming import CausalStream
from rased.zoo.publish import write_entry
from tests.data.conftest import write_corpus
from tests.evaluation.conftest import NAMES, write_set
from tests.toys import Conditional, Enrolled

COUNT = 3
SECONDS = 0.5


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    """An enrolment: stereo, at 8 kHz."""
    path = tmp_path / "anna.wav"
    audio.write(path, noise(2, 4_000, seed=5).numpy(), 8_000, coding="FLOAT")
    return path


def as_heard(path: Path) -> np.ndarray:
    samples, _ = audio.read(path, sample_rate=16_000)
    return samples.mean(axis=0, keepdims=True)


@torch.no_grad()
def test_a_file_an_array_and_a_tensor_say_the_same_everywhere(anna: Path) -> None:
    model, noisy = Enrolled(), noise(2, 1_000)
    heard = as_heard(anna)
    wanted = model.predict(noisy, condition={"enrolment": torch.from_numpy(heard)}).estimate
    for value in (anna, str(anna), heard, torch.from_numpy(heard), heard.astype(np.float64)):
        condition = {"enrolment": value}
        torch.testing.assert_close(model(noisy, condition=condition), wanted)
        torch.testing.assert_close(model(noisy[0], condition=condition), wanted[0])
        stream = CausalStream(model, 2, condition=condition)
        torch.testing.assert_close(torch.cat([stream.push(noisy), stream.finish()], -1), wanted)
        state = model.initial_state(2, condition=model.given(condition, rows=2))
        torch.testing.assert_close(model.step(noisy, state)[0], wanted)
        found = rased.enhance(noisy.numpy(), 16_000, model=model, condition=condition)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    two = np.concatenate([heard, 2 * heard])  # a row for each
    rows = model(noisy, condition={"enrolment": two})
    torch.testing.assert_close(rows[0], wanted[0])
    assert not torch.allclose(rows[1], wanted[1])


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "f2", "i4", "u1", "?"])
def test_an_array_in_a_file_is_one_row(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    given = np.array([1, 0, 2]).reshape(shape).astype(kind)
    np.save(tmp_path / "a.NPY.npy", given)
    found = read(tmp_path / "a.NPY.npy", name="speaker", sample_rate=16_000)
    assert found.shape == (1, 3)
    assert found.dtype in (torch.float32, torch.int64, torch.bool)
    np.testing.assert_array_equal(found[0].numpy(), given.reshape(3))


def bad_files(folder: Path) -> dict[str, str]:
    """Files that are no condition, and what is said of each."""
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "empty.npy", np.zeros((0, 3)))
    np.save(folder / "complex.npy", np.zeros(3, complex))
    np.save(folder / "words.npy", np.array(["a", "b"]))
    np.save(folder / "nan.npy", np.array([1.0, np.nan]))
    np.save(folder / "whole.npy", np.arange(100.0))
    content = (folder / "whole.npy").read_bytes()
    (folder / "cut.npy").write_bytes(content[:-1])
    (folder / "nothing.npy").write_bytes(b"")
    (folder / "text.npy").write_text("1 2 3")
    with (folder / "zip.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    (folder / "folder.npy").mkdir()
    (folder / "model.pt").write_bytes(b"PK no audio")
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    no_array = "does not contain an array"
    return {
        **dict.fromkeys(("objects.npy", "cut.npy", "nothing.npy", "text.npy", "zip.npy"), no_array),
        **dict.fromkeys(("empty.npy", "complex.npy", "words.npy"), "array of numbers"),
        "nan.npy": "contains NaN or infinite numbers",
        "missing.npy": "does not exist",
        "missing.wav": "does not exist",
        "folder.npy": "cannot be read",
        "model.pt": "an embedding is given as a .npy file",
        "none.wav": "has no samples",
    }


def test_a_file_that_is_no_condition_is_one_sentence(tmp_path: Path) -> None:
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(RasedError, match=words) as caught:
            read(tmp_path / name, name="speaker", sample_rate=16_000)
        said = str(caught.value)
        assert said.startswith("the condition 'speaker': '"), said
        assert name in said
        assert "\n" not in said


def test_words_of_the_command_line() -> None:
    assert parse([]) == {}
    assert parse(["a=b=c.wav", "d=e"]) == {"a": Path("b=c.wav"), "d": Path("e")}
    for word in ("anna.wav", "=anna.wav", "enrolment=", ""):
        with pytest.raises(RasedError, match=r"takes NAME=FILE, such as enrolment=anna\.wav"):
            parse([word])
    with pytest.raises(RasedError, match="gives 'a' twice"):
        parse(["a=x.wav", "a=y.wav"])


def test_every_number_of_rows_fits_or_is_refused() -> None:
    for rows in (1, 2, 3):
        for first in (1, 2, 3):
            options = {"names": ["x"], "owner": "M", "rows": rows, "sample_rate": 16_000}
            value = {"x": torch.arange(4.0 * first).reshape(first, 4)}
            if first in (1, rows):
                found = as_tensors(value, **options)["x"]
                assert torch.equal(found, value["x"].expand(rows, 4))
            else:
                with pytest.raises(RasedError, match=rf"\({first}, 4\) for a batch of {rows}"):
                    as_tensors(value, **options)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Entries of a zoo, by the condition that they need."""
    root, found = tmp_path_factory.mktemp("zoo"), {}
    for kind, value in ((Enrolled, noise(1, 8_000)), (Conditional, torch.ones(1, 3))):
        (name,) = kind.conditions
        entry = write_entry(
            root / name,
            enhancer=kind(),
            spec={"class_path": f"tests.toys.{kind.__name__}", "init_args": {}},
            summary="a toy",
            paper="none",
            licence={"code": "Apache-2.0", "weights": "CC0-1.0", "data": []},
            training={},
            allow=["tests"],
            condition={name: value},
        )
        found[name] = str(entry)
    return found


def test_the_command_line_enhances_with_a_condition(
    entries: dict[str, str], anna: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "who.npy", np.array([0.3, -1.0, 2.0]))
    for number in range(2):
        audio.write(tmp_path / "in" / f"{number}.wav", noise(2, 4_000).numpy(), 16_000)
    for name, file in (("enrolment", anna), ("speaker", tmp_path / "who.npy")):
        out = tmp_path / name
        words = ["enhance", str(tmp_path / "in"), "-o", str(out), "--model", entries[name]]
        assert main([*words, "--allow", "tests", "--condition", f"{name}={file}"]) == 0
        model = rased.load(entries[name], allow=["tests"])
        given, _ = audio.read(tmp_path / "in" / "0.wav")
        wanted = model(torch.from_numpy(given), condition={name: file}).detach()
        for number in range(2):
            found, _ = audio.read(out / f"{number}.wav")
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_raw_stream_takes_a_condition(
    entries: dict[str, str], anna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.arange(-500, 501, dtype="<i2")
    given, written = io.BufferedReader(io.BytesIO(samples.tobytes())), io.BytesIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=given))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=written))
    words = ["enhance", "-", "-o", "-", "--model", entries["enrolment"], "--allow", "tests"]
    assert main([*words, "--condition", f"enrolment={anna}"]) == 0
    model = rased.load(entries["enrolment"], allow=["tests"])
    noisy = torch.from_numpy(samples.astype(np.float32) / 32768)
    wanted = 32768 * model(noisy, condition={"enrolment": anna}).detach().numpy()
    np.testing.assert_allclose(np.frombuffer(written.getvalue(), "<i2"), wanted, atol=0.51)


@pytest.mark.parametrize("stream", [False, True])
def test_the_command_line_says_what_a_model_takes(
    entries: dict[str, str], anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stream
) -> None:
    audio.write(tmp_path / "in.wav", noise(1, 4_000).numpy(), 16_000)
    needed = "needs the condition 'enrolment'.* --condition enrolment=FILE"
    cases = (
        (entries["enrolment"], [], needed),
        (entries["enrolment"], ["text=a.npy"], "no condition 'text'; it takes enrolment"),
        (entries["enrolment"], [f"enrolment={tmp_path}"], "'enrolment': .* is a folder"),
        (entries["enrolment"], ["anna.wav"], "takes NAME=FILE"),
        ("log-mmse", [f"enrolment={anna}"], "no condition 'enrolment'; it takes none"),
    )
    place = ["-", "-o", "-"] if stream else [str(tmp_path / "in.wav")]
    for model, pairs, said in cases:
        words = [word for pair in pairs for word in ("--condition", pair)]
        assert main(["enhance", *place, "-m", model, "--allow", "tests", *words]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anna.wav", "in.wav"]


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen set with enrolments, as the command line makes it."""
    folder = tmp_path_factory.mktemp("frozen") / "enrolled"
    words = ["--speech", "bundle", "--noise", "bundle", "--out", str(folder), "--seconds", "1"]
    counts = ["--count", str(COUNT), "--seed", "1", "--min-seconds", "0.5"]
    assert main(["data", "freeze", *words, *counts, "--enrolment", str(SECONDS)]) == 0
    return folder


def test_a_frozen_set_holds_an_enrolment_of_each_speaker(enrolled: Path, tmp_path: Path) -> None:
    recipe = FrozenRecipe(COUNT, 1, seconds=1.0, min_seconds=0.5)
    plain = freeze("bundle", "bundle", None, tmp_path / "plain", recipe=recipe)
    stored = json.loads((enrolled / "testset.json").read_bytes())
    speech = Corpus(["bundle"], role="speech", split="test")
    place = {str(key): number for number, key in enumerate(speech.key.tolist())}
    for item, without in zip(stored["items"], plain["items"], strict=True):
        assert item.items() >= without.items()  # an enrolment changes nothing else
        assert item["enrolment"] != item["speech"]
        recording = speech.read(place[item["enrolment"]])
        assert speech.label[place[item["enrolment"]]] == item["speaker"]
        assert item["enrolment"] in stored["contents"]["speech"]
        frames = round(SECONDS * speech.sample_rate)
        wanted = np.resize(np.roll(recording, -item["enrolment_start"]), frames)
        found, _ = soundfile.read(enrolled / "conditions" / "enrolment" / f"{item['id']}.flac")
        np.testing.assert_array_equal(found.astype(np.float32), wanted)
    assert stored["list_sha256"] != plain["list_sha256"]
    again = freeze(
        "bundle",
        "bundle",
        None,
        enrolled,
        recipe=FrozenRecipe(COUNT, 1, seconds=1.0, min_seconds=0.5, enrolment=SECONDS),
    )
    assert again["list_sha256"] == stored["list_sha256"]
    assert not verify([enrolled]).problems
    assert summary(str(enrolled))[0]["splits"][0]["files"] == COUNT
    known = read_testset(enrolled).sources["speech", "keys"]
    assert known == {item[part] for item in stored["items"] for part in ("speech", "enrolment")}


def test_an_enrolment_that_was_changed_is_noticed(enrolled: Path, tmp_path: Path) -> None:
    place = Path("conditions") / "enrolment"
    copies = {name: tmp_path / name for name in ("changed", "missing", "added", "listed")}
    for copy in copies.values():
        shutil.copytree(enrolled, copy)
    soundfile.write(copies["changed"] / place / "m0000.flac", np.zeros(800), 16_000)
    (copies["missing"] / place / "m0000.flac").unlink()
    shutil.copy(copies["added"] / place / "m0000.flac", copies["added"] / place / "m0000-copy.flac")
    listed = json.loads((copies["listed"] / "testset.json").read_bytes())
    listed["items"][0]["sha256_conditions"] = {"../noisy": "0" * 64}
    (copies["listed"] / "testset.json").write_text(json.dumps(listed))
    for name, words in (
        ("changed", "was changed after freezing"),
        ("missing", "conditions/enrolment/m0000.flac is missing"),
        ("listed", "letters, digits"),
    ):
        with pytest.raises(RasedError, match=words):
            read_testset(copies[name])
        assert len(verify([copies[name]]).problems) == 1
    (problem,) = verify([copies["added"]]).problems
    assert problem.what == "conditions/enrolment/m0000-copy.flac is not in testset.json"


def test_a_speaker_with_one_utterance_is_refused_by_name(tmp_path: Path) -> None:
    write_corpus(tmp_path / "speech", "speech", [("test", "one", noise(9_000).numpy())])
    recipe = FrozenRecipe(1, 1, min_seconds=0.1, enrolment=1.0)
    with pytest.raises(RasedError, match="'one' has only 'speech_test_000'"):
        freeze(tmp_path / "speech", "bundle", None, tmp_path / "set", recipe=recipe)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RasedError, match="The enrolment is"):
            FrozenRecipe(1, 1, enrolment=wrong)


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "enrolled", Enrolled)
    monkeypatch.setitem(METHODS, "conditional", Conditional)
    # memory is measured by other processes, seconds each, which do not know these methods
    monkeypatch.setattr(run, "MemoryOf", lambda systems, given: MemoryOf([]))


def test_an_evaluation_hands_over_the_enrolments(
    enrolled: Path, tmp_path: Path, methods: None
) -> None:
    systems = ["enrolled", "log-mmse"]  # one that takes it beside one that does not
    results = evaluate(systems, enrolled, tmp_path, metrics=["si-sdr"], save_audio=True)
    testset, model = read_testset(enrolled), Enrolled()
    assert results[0].system["macs_per_second"] is None  # as of all methods
    assert results[0].cost["real_time_factor"] > 0
    for item in testset.items:
        noisy = torch.from_numpy(read_audio(item.noisy, sample_rate=16_000))
        wanted = model(noisy, condition={"enrolment": item.conditions["enrolment"]}).detach()
        heard, _ = audio.read(tmp_path / f"audio/enrolled/enrolled/{item.id}.wav")
        np.testing.assert_allclose(heard[0], wanted, atol=1e-4)
    (found,) = recheck(results[:1], [testset], count=2, random=np.random.default_rng(0))
    assert (len(found.ids), found.problems) == (2, ())


def test_the_cost_of_a_model_with_a_condition_is_known(enrolled: Path, entries) -> None:
    testset = read_testset(enrolled)
    assert measure(Enrolled(), testset)["real_time_factor"] >= 0
    system = System("toy", "zoo", entries["enrolment"], ("tests",))
    files = {name: str(path) for name, path in testset.items[0].conditions.items()}
    growth = _growth(system, files)
    assert growth is not None
    assert growth >= 0


def test_utterances_get_their_own_condition_in_any_company(tmp_path: Path) -> None:
    """Enrolments of other lengths too, and embeddings, in a plain folder."""
    folder = write_set(tmp_path / "plain")
    for number, name in enumerate(NAMES):
        voice = noise(1, 1_600 + 160 * (number % 2), seed=number).numpy() * (1 + number)
        audio.write(folder / "conditions" / "enrolment" / f"{name}.wav", voice, 16_000)
        (folder / "conditions" / "speaker").mkdir(exist_ok=True)
        np.save(folder / "conditions" / "speaker" / f"{name}.npy", np.full(3, float(number)))
    items = read_testset(folder).items
    for model in (Enrolled(), Conditional()):
        noisy = [read_audio(item.noisy, sample_rate=16_000) for item in items]
        conditions = [given(model, item) for item in items]
        alone = [
            together(model, [one], [""], [condition])[0]
            for one, condition in zip(noisy, conditions, strict=True)
        ]
        for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1], [0, 2], [4, 3]):
            found = together(
                model, [noisy[n] for n in order], [""] * len(order), [conditions[n] for n in order]
            )
            for n, estimate in zip(order, found, strict=True):
                np.testing.assert_allclose(estimate, alone[n], atol=1e-6)
    before = read_testset(folder).list_sha256
    np.save(folder / "conditions" / "speaker" / f"{NAMES[0]}.npy", np.full(3, 7.0))
    assert read_testset(folder).list_sha256 != before
    (folder / "conditions" / "speaker" / f"{NAMES[0]}.npy").unlink()
    with pytest.raises(RasedError, match=r"and conditions/speaker/ .*: u0 is in only one"):
        read_testset(folder)


def test_a_test_set_without_it_is_refused_before_anything_is_computed(
    tmp_path: Path, methods: None
) -> None:
    folder = write_set(tmp_path / "plain")
    with pytest.raises(RasedError, match=r"needs the condition 'enrolment'.* --enrolment 3\.$"):
        evaluate(["enrolled", "noisy"], folder, tmp_path / "out", metrics=["si-sdr"])
    with pytest.raises(RasedError, match="has no conditions/speaker/ with a file for each"):
        evaluate(["conditional"], folder, tmp_path / "out", metrics=["si-sdr"])
    assert not (tmp_path / "out").exists()
    assert bundle()
