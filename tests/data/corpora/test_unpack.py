"""Archives of strangers: whole and below their folder, or one sentence."""

import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from rased.data.preparation import unpack as unpacking
from rased.data.preparation.unpack import unpack
from rased.errors import RasedError
from tests import fuzz

FILES = {"corpus/a.wav": b"abc" * 1000, "corpus/deep/b.txt": b"", "c": bytes(range(256)) * 40}


def zipped(files=FILES, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def tarred(files=FILES, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return out.getvalue()


def put(folder, data, name="archive"):
    (folder / "in").mkdir(parents=True, exist_ok=True)
    path = folder / "in" / name
    path.write_bytes(data)
    return path


def found(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


KINDS = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda files=FILES: tarred(files, "w:gz"),
    "tar.xz": lambda files=FILES: tarred(files, "w:xz"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_packed_is_unpacked(tmp_path, kind):
    unpack([put(tmp_path, KINDS[kind]())], tmp_path / "out")
    assert found(tmp_path / "out") == FILES


NAMES = ["/abs", "../up", "a/../../up", "a\\..\\up", "a\nb", "\x1b[31m", "x" * 251, ".."]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(tmp_path, kind, name):
    path = put(tmp_path, KINDS[kind]({"good": b"1", name: b"2"}))
    with pytest.raises(RasedError, match="would be written outside of the folder") as caught:
        unpack([path], tmp_path / "a" / "b" / "out")
    assert str(caught.value).isprintable()
    assert found(tmp_path / "a") == {"b/out/good": b"1"}
    assert {p.name for p in tmp_path.iterdir()} == {"in", "a"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_passed_by(tmp_path, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        for name, target in (("link", "/etc"), ("link/passwd", "")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind if target else tarfile.REGTYPE, target
            packed.addfile(member)
    unpack([put(tmp_path, out.getvalue())], tmp_path / "out")
    assert found(tmp_path / "out") == {"link/passwd": b""}
    assert not (tmp_path / "out" / "link").is_symlink()


def patched(data, offsets, value):
    """A zip with another number in the local and the central headers of all members."""
    out = bytearray(data)
    for mark, offset in zip((b"PK\3\4", b"PK\1\2"), offsets, strict=True):
        at = out.find(mark)
        while at >= 0:
            out[at + offset : at + offset + 2] = struct.pack("<H", value)
            at = out.find(mark, at + 4)
    return bytes(out)


def test_an_encrypted_archive_is_one_sentence(tmp_path):
    path = put(tmp_path, patched(zipped(), (6, 8), 1))
    with pytest.raises(RasedError, match=r"'corpus/a\.wav' is encrypted"):
        unpack([path], tmp_path / "out")
    assert path.is_file()


def test_an_unknown_compression_is_one_sentence(tmp_path):
    path = put(tmp_path, patched(zipped(), (8, 10), 97))
    with pytest.raises(RasedError, match=f"'{path}' cannot be unpacked: .*compression"):
        unpack([path], tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_grows_without_bound_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(unpacking, "SPARE", 100_000)
    monkeypatch.setattr(unpacking, "MOST", 0)
    path = put(tmp_path, KINDS[kind]({"zeros": bytes(100_001)}))
    with pytest.raises(RasedError, match="would unpack to more than"):
        unpack([path], tmp_path / "out")
    assert found(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_tar_that_ends_between_members_is_not_whole(tmp_path, kind):
    whole = tarred()
    cut = whole[: 512 + 3072]  # one member of 3000 bytes
    if kind == "tar.gz":
        import gzip

        cut = gzip.compress(cut)
    path = put(tmp_path, cut)
    with pytest.raises(RasedError, match=r"is damaged \(its end is missing\) and was removed"):
        unpack([path], tmp_path / "out")
    assert not path.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\0",
        b"\x1f\x8b\x08\x0c" + b"\0" * 7,
        b"\xfd7zXZ\0",
        b"BZh9",
    ],
)
def test_what_is_hardly_begun_is_one_sentence_with_a_reason(tmp_path, data):
    with pytest.raises(RasedError, match=r"is damaged \(.+\) and was removed"):
        unpack([put(tmp_path, data)], tmp_path / "out")


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "corpus").write_bytes(b"a file, not a folder")
    with pytest.raises(RasedError, match="what is in its way"):
        unpack([put(tmp_path, zipped())], tmp_path / "out")


@pytest.mark.parametrize("kind", [*KINDS, "split"])
def test_whatever_is_damaged_is_one_sentence(tmp_path, kind):
    random = np.random.default_rng(1)
    data = zipped() if kind == "split" else KINDS[kind]()
    for _ in range(150):
        damaged = fuzz.mutated_bytes(data, random)
        if kind == "split":
            half = len(damaged) // 2
            end = bytearray(damaged)
            at = end.rfind(b"PK\5\6")
            if at >= 0:
                end[at + 4 : at + 8] = struct.pack("<2H", 1, 1)
            parts = [
                put(tmp_path, bytes(end[:half]), "a.z01"),
                put(tmp_path, bytes(end[half:]), "a.zip"),
            ]
        else:
            parts = [put(tmp_path, damaged)]
        fuzz.assert_clean(lambda: unpack(parts, tmp_path / "out"), tmp_path)  # noqa: B023
        assert {p.name for p in tmp_path.iterdir()} <= {"in", "out"}
