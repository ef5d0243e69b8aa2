"""Uploads of shards: whole or not at all, at any interruption, to S3, Google, the Hugging Face Hub and others."""

import itertools
import shutil
from contextlib import contextmanager

import fsspec
import numpy as np
import pytest

from rased.cli import main
from rased.data.mixtures.corpus import Corpus
from rased.data.schemas import read_index_head
from rased.data.shards import remote, stores
from rased.data.shards.address import RemoteError, address
from rased.data.shards.index import INDEX
from rased.data.shards.push import push
from rased.errors import RasedError
from tests.data.shards.hub import Hub
from tests.serving import running

# Of the packages of Google and of the Hub.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
PART = 250_000
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Parts of some kilobytes; the servers of Amazon take 5 MB and more."""
    import moto.s3.models

    monkeypatch.setattr(stores, "PART", PART)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)


@pytest.fixture(scope="session")
def google():
    """URL of an emulator of Google Cloud Storage on this machine, with a bucket."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    yield "http://{}:{}".format(*server._api._httpd.server_address)
    server.stop()


@pytest.fixture(scope="session")
def hub():
    with running(Hub("org/corpus", token="a-secret-of-the-hub")) as server:
        yield server


@pytest.fixture(params=["s3", "gs", "hf", "memory"])
def place(request, monkeypatch):
    """An address without files."""
    number = next(NUMBERS)
    if request.param == "s3":
        request.getfixturevalue("s3").create_bucket(Bucket=f"bucket-{number}")
        return f"s3://bucket-{number}/corpus"
    if request.param == "gs":
        pytest.importorskip("gcsfs")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("google"))
        return f"gs://bucket/corpus-{number}"
    if request.param == "hf":
        constants = pytest.importorskip("huggingface_hub.constants")
        # The other way of uploading needs servers that only the Hub has.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_ENDPOINT", request.getfixturevalue("hub").url)
        monkeypatch.setenv("HF_TOKEN", "a-secret-of-the-hub")
        return f"hf://datasets/org/corpus/{number}"
    return f"memory://corpus-{number}"


@pytest.fixture
def s3_place(s3):
    number = next(NUMBERS)
    s3.create_bucket(Bucket=f"bucket-{number}")
    return f"s3://bucket-{number}/corpus"


@contextmanager
def broken(monkeypatch, cut, *, method="", after=False):
    """Break the connection at request number `cut` to S3, before or after the server has done what it says."""
    from s3fs import S3FileSystem

    original, seen = S3FileSystem.call_s3, []

    def call(self, name, **settings):
        if method in name:
            seen.append(name)
        breaks = method in name and len(seen) == cut + 1
        if breaks and not after:
            raise ConnectionResetError("the connection broke")
        answer = original(self, name, **settings)
        if breaks:
            raise ConnectionResetError("the connection broke")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(S3FileSystem, "call_s3", call)
        yield seen


def listed(place):
    return stores.store(address(place)).names()


def assert_there(folder, place):
    """Every file of the folder is at the address, byte by byte."""
    names = {path.name for path in folder.iterdir()}
    assert listed(place) == names
    where = stores.store(address(place))
    for name in names:
        assert where.system.cat_file(f"{where.path}/{name}") == (folder / name).read_bytes()


def test_what_is_pushed_is_read_as_from_the_folder(place, folder):
    pushed = push(folder, place)
    assert [(one.sent, one.files) for one in pushed] == [(2, 2)] * 3
    for role in ("speech", "noise", "rir"):
        assert_there(folder / role, f"{place}/{role}")
    corpus, local = (Corpus([name], role="speech", split="train") for name in (place, folder))
    for number in (0, 31, 59):
        np.testing.assert_array_equal(corpus.read(number), local.read(number))
    # Again: nothing is sent.
    assert sum(one.sent for one in push(folder, place)) == 0


def test_a_changed_file_at_the_address_is_noticed_and_sent_again(place, folder):
    push(folder / "noise", place)
    where, name = stores.store(address(place)), "train-000000.tar"
    data = bytearray((folder / "noise" / name).read_bytes())
    data[len(data) // 2] ^= 1
    if place.startswith("hf://"):
        with where.system.open(f"{where.path}/{name}", "wb") as file:
            file.write(bytes(data))
    else:
        where.system.pipe_file(f"{where.path}/{name}", bytes(data))
    assert not where.holds(folder / "noise" / name, name)
    assert push(folder / "noise", place)[0].sent == 1
    assert_there(folder / "noise", place)


def test_another_corpus_at_the_address_is_kept(place, folder):
    push(folder / "noise", place)
    with pytest.raises(RemoteError, match=r"contains index\.json of another corpus.*another addr"):
        push(folder / "rir", place)
    assert_there(folder / "noise", place)


def test_an_interruption_between_any_two_files_is_continued(place, folder, monkeypatch):
    """Where files are sent as wholes, those that arrived are not sent again."""
    original = stores.Store.send
    for cut in range(2):
        there = f"{place}/{cut}"

        def send(self, file, name, cut=cut, sent=itertools.count()):  # noqa: B008
            if next(sent) == cut:
                raise RemoteError("the connection broke")
            original(self, file, name)

        with monkeypatch.context() as patch:
            patch.setattr(stores.Store, "send", send)
            with pytest.raises(RemoteError, match="broke"):
                push(folder / "noise", there)
        assert INDEX not in listed(there)
        assert push(folder / "noise", there)[0].sent == 2 - cut
        assert_there(folder / "noise", there)


@pytest.mark.parametrize(
    ("after", "step"),
    [(False, 4), *(pytest.param(after, 1, marks=pytest.mark.slow) for after in (False, True))],
)
def test_an_upload_to_s3_continues_at_any_request(s3_place, folder, monkeypatch, after, step):
    with broken(monkeypatch, -1) as every:
        push(folder / "noise", f"{s3_place}/whole")
    parts = every.count("upload_part")
    assert parts == 1 + -(-(folder / "noise" / "train-000000.tar").stat().st_size // PART) >= 3
    for cut in range(step - 1, len(every), step):
        there = f"{s3_place}/{cut}"
        with broken(monkeypatch, cut, after=after) as before, pytest.raises(RemoteError):
            push(folder / "noise", there)
        done = before if after else before[:-1]
        # The index is the second of two files.
        assert (INDEX in listed(there)) == (done.count("complete_multipart_upload") == 2)
        with broken(monkeypatch, -1) as later:
            push(folder / "noise", there)
        assert_there(folder / "noise", there)
        sent = (*done, *later).count("upload_part")
        assert sent == parts, f"a part was sent twice after {before[-1]}"


def test_what_changed_since_the_interruption_is_sent_again(s3_place, folder, monkeypatch):
    """Parts of an earlier version of a file are not mixed with those of the new one."""
    # Two parts of each arrive: those of the second replace the first ones.
    for name in ("noise", "speech"):
        with broken(monkeypatch, 2, method="upload_part"), pytest.raises(RemoteError):
            push(folder / name, s3_place)
    with broken(monkeypatch, -1, method="upload_part") as later:
        push(folder / "noise", s3_place)
    assert_there(folder / "noise", s3_place)
    assert len(later) >= 3


def test_a_flipped_byte_on_the_way_is_noticed(s3_place, folder, monkeypatch):
    from s3fs import S3FileSystem

    original = S3FileSystem.call_s3

    def call(self, name, **settings):
        if name == "upload_part" and settings["PartNumber"] == 2:
            body = settings["Body"]
            # As after a fault below the checksums of the client: they are those of the changed bytes.
            settings |= {"Body": bytes([body[0] ^ 1]) + body[1:]}
            del settings["ContentMD5"], settings["ChecksumSHA256"]
        return original(self, name, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(S3FileSystem, "call_s3", call)
        with pytest.raises(RemoteError, match=r"Part 2 of 's3://.*another checksum"):
            push(folder / "noise", s3_place)
    assert listed(s3_place) == set()
    push(folder / "noise", s3_place)
    assert_there(folder / "noise", s3_place)


def test_every_part_carries_its_checksums(s3_place, folder, monkeypatch):
    from s3fs import S3FileSystem

    original, parts = S3FileSystem.call_s3, []

    def call(self, name, **settings):
        parts.append(settings) if name == "upload_part" else None
        return original(self, name, **settings)

    monkeypatch.setattr(S3FileSystem, "call_s3", call)
    push(folder / "noise", s3_place)
    for part in parts:
        sums = stores._sums(part["Body"])
        assert part["ContentMD5"] == stores._text(sums.md5)
        assert part["ChecksumSHA256"] == stores._text(sums.sha256)


def test_servers_without_checksums_are_compared_by_their_tags(s3_place, folder, monkeypatch):
    from s3fs import S3FileSystem

    push(folder / "noise", s3_place)
    original = S3FileSystem.call_s3

    def call(self, name, **settings):
        found = original(self, name, **settings)
        if name == "head_object":
            assert found.pop("ChecksumSHA256")
        return found

    monkeypatch.setattr(S3FileSystem, "call_s3", call)
    assert push(folder / "noise", s3_place)[0].sent == 0


class TestRefused:
    """Nothing is sent."""

    @pytest.fixture
    def empty(self):
        number = next(NUMBERS)
        yield f"memory://refused-{number}"
        assert not fsspec.filesystem("memory").exists(f"memory://refused-{number}/{INDEX}")

    def test_a_damaged_shard(self, folder, empty, tmp_path):
        shutil.copytree(folder / "noise", tmp_path / "noise")
        shard = tmp_path / "noise" / "train-000000.tar"
        data = bytearray(shard.read_bytes())
        data[1000] ^= 1
        shard.write_bytes(data)
        with pytest.raises(
            RasedError, match=r"train-000000\.tar' differs from its index.*--repair"
        ):
            push(tmp_path / "noise", empty)
        shard.write_bytes(data[:-1])
        size = len(data)
        with pytest.raises(RasedError, match=rf"does not have the {size} bytes of its index"):
            push(tmp_path / "noise", empty)

    def test_no_shards(self, empty, tmp_path):
        with pytest.raises(RasedError, match=r"No shards in .*rased data pack"):
            push(tmp_path, empty)

    def test_shards_of_another_corpus_without_its_index(self, folder, empty):
        fsspec.filesystem("memory").pipe_file(f"{empty}/valid-000007.tar", b"0")
        with pytest.raises(RemoteError, match=r"contains valid-000007\.tar of another corpus"):
            push(folder / "noise", empty)

    def test_addresses_that_can_only_be_read(self, folder):
        with pytest.raises(RemoteError, match=r"'https://host/corpus' can only be read.*s3://"):
            push(folder / "noise", "https://host/corpus")

    def test_no_bucket(self, folder, s3):
        with pytest.raises(RemoteError, match=r"'s3://nowhere/corpus/\S+' cannot be written \(404"):
            push(folder / "noise", "s3://nowhere/corpus")


def test_the_attributions_of_the_folder_above_come_along(folder, tmp_path):
    from rased.data.shards.index import bundle

    place = f"memory://bundle-{next(NUMBERS)}"
    push(bundle() / "rir", place)
    name = read_index_head(bundle() / "rir" / INDEX, repair="").attribution
    assert name in listed(place)
    kept = remote.mirror(address(place)) / name
    assert kept.read_bytes() in [
        path.read_bytes() for path in (bundle() / name, bundle() / "rir" / name) if path.is_file()
    ]


def test_the_command_line_pushes(folder, capsys):
    place = f"memory://cli-{next(NUMBERS)}"
    assert main(["data", "push", str(folder / "rir"), place]) == 0
    assert f"{place}: 2 files" in capsys.readouterr().out
    assert main(["data", "push", str(folder / "rir"), place, "--json"]) == 0
    assert '"sent": 0' in capsys.readouterr().out
    assert main(["data", "push", str(folder / "rir"), "s3://key:secret@bucket/corpus"]) == 2
    said = capsys.readouterr().err
    assert "'s3://bucket/corpus' was given with credentials" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["pack", "x", "--role", "speech"],
        ["prepare", "musan", "--root", "x"],
        ["rooms", "--count", "1", "--seed", "1"],
        ["frames", "x"],
        ["freeze", "--speech", "x", "--noise", "x", "--count", "1", "--seed", "1"],
    ],
)
def test_what_writes_locally_refuses_an_address(words, tmp_path, monkeypatch, capsys):
    """It would become a folder `s3:`."""
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["data", *words, "--out", "s3://key:secret@bucket/corpus"])
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr().err
    assert code == 2
    assert "'s3://bucket/corpus' is an address" in said
    assert "rased data push" in said
    assert [*tmp_path.iterdir()] == []
