"""Files of strangers that would run something, on every way from a name to an entry: none of it runs."""

import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

import rased
from rased.errors import RasedError
from rased.shelves import cache
from rased.zoo.importing import import_weights, pull_importable
from tests.zoo import authors, fuzzing
from tests.zoo.fuzzing import MARK, TEXTS, attempt, change
from tests.zoo.test_importers import message


class Harm:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, Any]:
        return (Path.touch, (Path(MARK),))


@pytest.fixture(autouse=True)
def watched(tmp_path, monkeypatch):
    """Run in an empty folder; afterwards nothing is there, and no module was imported because a file says so."""
    place = tmp_path / "watched"
    place.mkdir()
    monkeypatch.chdir(place)
    before = set(sys.modules)
    yield
    assert list(place.iterdir()) == []
    assert "tabnanny" not in set(sys.modules) - before
    assert list(cache().glob("*")) == []


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def pickled_object(folder: Path) -> tuple[str, Path]:
    return "gtcrn", saved(folder / "x.tar", {"model": {"erb.erb_fc.weight": Harm()}})


def plain_pickle(folder: Path) -> tuple[str, Path]:
    (folder / "x.tar").write_bytes(pickle.dumps({"model": Harm()}))
    return "ul-unas", folder / "x.tar"


def old_pickle_of_torch(folder: Path) -> tuple[str, Path]:
    torch.save({"model": Harm()}, folder / "x.pth", _use_new_zipfile_serialization=False)
    return "fastenhancer", folder / "x.pth"


def two_lists_of_objects(folder: Path) -> tuple[str, Path]:
    """A zip whose second list of objects is the one that a careless reader takes."""
    path = saved(folder / "x.tar", {"model": {}})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(Harm()))
    return "gtcrn", path


def compressed_members(folder: Path) -> tuple[str, Path]:
    """A zip that unpacks to a thousand times its size."""
    path = folder / "x.tar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Harm()))
        archive.writestr("x/data/0", bytes(16 << 20))
    return "ul-unas", path


def members_that_lead_out(folder: Path) -> tuple[str, Path]:
    path = folder / "x.tar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../watched/data.pkl", pickle.dumps(Harm()))
    return "fastenhancer", path


def tensors_larger_than_their_storage(folder: Path) -> tuple[str, Path]:
    """A million times a million numbers that are one number, as sizes of a network."""
    wide = torch.zeros(1).expand(1 << 20, 1 << 20)
    return "fastenhancer", saved(folder / "x.pth", {"model": {"rf_block.0.pe": wide}})


def table_in_another_file(folder: Path) -> tuple[str, Path]:
    with h5py.File(folder / "x.h5", "w", libver="earliest") as file:
        file["lstm"] = h5py.ExternalLink("/etc/passwd", "x")
        file.create_dataset("dense", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    return "dtln", folder / "x.h5"


def tensor_in_another_file(folder: Path) -> tuple[str, Path]:
    """An ONNX tensor whose numbers lie elsewhere."""
    outside = message((1, "location"), (2, "/etc/passwd"))
    tensor = message((1, 2), (2, 1), (8, "w"), (13, outside), (14, 1))
    node = message((1, "w"), (4, "MatMul"))
    (folder / "x.onnx").write_bytes(message((7, message((1, node), (5, tensor)))))
    return "nsnet2", folder / "x.onnx"


def tensor_of_a_huge_shape(folder: Path) -> tuple[str, Path]:
    tensor = message((1, 2**40), (1, 2**40), (2, 1), (8, "w"), (9, np.zeros(4, "<f4").tobytes()))
    node = message((1, "w"), (4, "Conv"))
    (folder / "x.onnx").write_bytes(message((7, message((1, node), (5, tensor)))))
    return "gtcrn", folder / "x.onnx"


def field_that_never_ends(folder: Path) -> tuple[str, Path]:
    (folder / "model_1.onnx").write_bytes(b"\x3a" + b"\xff" * 9 + b"\x01" + b"x" * 100)
    return "dtln", folder / "model_1.onnx"


def custom_operators(folder: Path) -> tuple[str, Path]:
    """A graph that names an operator of a library to be loaded."""
    tensor = message((1, 1), (2, 1), (8, "w"), (9, struct.pack("<f", 1)))
    node = message((1, "w"), (4, "PyOp"), (7, "ai.onnx.contrib"))
    (folder / "x.onnx").write_bytes(message((7, message((1, node), (5, tensor)))))
    return "nsnet2", folder / "x.onnx"


WEIGHTS: list[Callable[[Path], tuple[str, Path]]] = [
    pickled_object,
    plain_pickle,
    old_pickle_of_torch,
    two_lists_of_objects,
    compressed_members,
    members_that_lead_out,
    tensors_larger_than_their_storage,
    table_in_another_file,
    tensor_in_another_file,
    tensor_of_a_huge_shape,
    field_that_never_ends,
    custom_operators,
]


def entry_for(architecture: str, path: Path) -> dict[str, Any]:
    """An entry by a forger: everything in it agrees with the file."""
    return {
        "schema": 1,
        "name": "far",
        "summary": "x",
        "purpose": "noise",
        "architecture": architecture,
        "format": "x",
        "enhancer": {"class_path": "os.system", "init_args": {"command": f"touch {MARK}"}},
        "sample_rate": 16_000,
        "latency": 256,
        "algorithmic_latency": 512,
        "buffering": 256,
        "causal": True,
        "parameters": None,
        "macs_per_second": None,
        "files": [
            {
                "name": path.name,
                "sha256": authors.sha256(path),
                "bytes": path.stat().st_size,
                "sources": [{"url": "http://127.0.0.1:1/x"}],
            }
        ],
        "licence": {"weights": "MIT"},
        "paper": "x",
        "golden": None,
    }


@pytest.mark.parametrize("attack", WEIGHTS, ids=lambda attack: attack.__name__)
def test_files_that_would_run_something_run_nothing(shelf, tmp_path, attack):
    """By `rased zoo import`, and by a name whose entry knows the file's SHA-256."""
    architecture, path = attack(tmp_path)
    with pytest.raises(RasedError) as refusal:
        import_weights(architecture, path, tmp_path / "entry")
    assert "\n" not in str(refusal.value)
    authors.write(shelf, entry_for(architecture, path))
    with pytest.raises(RasedError):
        pull_importable("far", given=path)
    assert not Path(MARK).exists()
    assert not (tmp_path / "entry").exists()


def test_an_archive_gives_its_member_alone(tmp_path):
    """Of a zip one member is read: no other, no link out of it, and no more than its entry says."""
    from rased.zoo.sources import _member

    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(64 << 20))
        archive.writestr("../../watched/out", "out")
        archive.writestr("good", "good")
    assert _member(path, "good", 4) == b"good"
    assert _member(path, "../../watched/out", 3) == b"out"
    for member, size in (("bomb", 100), ("none", 4), ("good", 3), ("good", 5)):
        with pytest.raises(RasedError, match="archive"):
            _member(path, member, size)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RasedError, match="cannot be read from its archive"):
        _member(path, "good", 4)


@pytest.fixture
def plain(tmp_path) -> dict[str, Any]:
    path = tmp_path / "x.tar"
    buffer = io.BytesIO()
    torch.save({"model": {}}, buffer)
    path.write_bytes(buffer.getvalue())
    return entry_for("gtcrn", path)


@pytest.mark.parametrize("text", TEXTS[:14], ids=range(14))
def test_a_payload_at_any_string_of_an_entry_does_nothing(shelf, plain, tmp_path, text):
    places = [(box, key) for box, key in fuzzing.places(plain) if isinstance(box[key], str)]
    for box, key in places:
        kept, box[key] = box[key], text
        authors.write(shelf, {**plain, "name": "far"})
        outcome = attempt(lambda _: pull_importable("far", given=tmp_path / "x.tar"), "")
        box[key] = kept
        assert outcome == "refused", (key, outcome)
    assert not Path(MARK).exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system"])
def test_an_entry_with_a_tag_is_no_entry(shelf, plain, tag):
    authors.write(shelf, plain)
    path = shelf / "importable" / "far.yaml"
    path.write_text(path.read_text() + f"notes: {tag} ['touch {MARK}']\n")
    with pytest.raises(RasedError):
        rased.load("far")
    assert not Path(MARK).exists()


def test_a_spoiled_entry_is_read_or_refused_in_one_sentence(shelf, plain, tmp_path):
    outcomes = []
    for number in range(60):

        def spoiled(rng: Any) -> None:
            content = change(rng, plain)
            (shelf / "importable").mkdir(exist_ok=True)
            (shelf / "importable" / "far.yaml").write_bytes(fuzzing.as_yaml(content))
            pull_importable("far", given=tmp_path / "x.tar")

        outcomes.append(attempt(spoiled, f"entry/{number}"))
    assert [outcome for outcome in outcomes if outcome != "refused"] == []
    assert yaml.safe_load(fuzzing.as_yaml(plain)) == plain
