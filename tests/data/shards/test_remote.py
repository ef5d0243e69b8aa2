"""Shards over HTTP and S3, from loopback servers that fail: the same batches as from the folder itself."""

import base64
import functools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from rased.cli import main
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.plan import Plan, Scene
from rased.data.shards import remote, transfer
from rased.data.shards.address import Address, RemoteError
from rased.data.shards.block_cache import BlockCache, blocks
from rased.data.shards.index import read_index
from rased.data.shards.remote import RemoteShards
from rased.errors import RasedError
from tests.data.conftest import write_corpus
from tests.serving import running

BLOCK_MB = 0.05
ROLES = ("speech", "noise", "rir")


@functools.lru_cache(maxsize=4)
def _content(path, changed):
    return path.read_bytes()


class Server(ThreadingHTTPServer):
    """Serves a folder.

    Attributes:
        ranges: whether it serves parts.
        drops: share of answers that break off at a random byte.
        busy: share of answers that are 503.
        flips: how many of the next answers have a flipped byte in their middle.
        password: NAME:PASSWORD that each request must carry; "": nothing.
        asked: (path, first byte, bytes sent) of every answer.
    """

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ranges, self.drops, self.busy = folder, True, 0.0, 0.0
        self.flips, self.password = 0, ""
        self.asked, self.random, self.lock = [], np.random.default_rng(0), threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def sent(self, suffix=".tar"):
        return sum(count for path, _, count in self.asked if path.endswith(suffix))

    def handle_error(self, *_):
        """Clients go away."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        path = server.folder / self.path[1:]
        login = base64.b64encode(server.password.encode()).decode()
        if server.password and self.headers.get("Authorization") != f"Basic {login}":
            return self._say(401, b"", 0, {})
        with server.lock:
            busy, drop, share = server.random.random(3) < (server.busy, server.drops, 2)
            share = server.random.random()
        if busy or not path.is_file():
            return self._say(503 if busy else 404, b"", 0, {})
        data = _content(path, path.stat().st_mtime_ns)
        tag = f'"{hash(data)}"'
        if self.headers.get("If-None-Match") == tag:
            return self._say(304, b"", 0, {"ETag": tag})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, begin, end = 200, 0, len(data)
        if wanted and server.ranges:
            status, begin = 206, int(wanted[1])
            end = min(int(wanted[2]) + 1, end) if wanted[2] else end
            if begin >= len(data):
                return self._say(416, b"", 0, {"Content-Range": f"bytes */{len(data)}"})
        span = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"} if status == 206 else {}
        cut = begin + int(share * (end - begin)) if drop else end
        return self._say(status, data[begin:end], cut - begin, {"ETag": tag} | span)

    def _say(self, status, body, count, headers):
        with self.server.lock:
            first = (
                int(headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0] or 0)
                if body
                else 0
            )
            self.server.asked.append((self.path, first, count))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.flips and len(body) > 2 and status < 300 and self.path.endswith(".tar"):
            self.server.flips -= 1
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        self.wfile.write(body[:count])
        if count < len(body):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *_):
        """Silence."""


@pytest.fixture
def server(folder):
    with _serving(folder) as server:
        yield server


def _serving(folder):
    return running(Server(folder))


def _plan(name, shuffle="auto", block_mb=BLOCK_MB, **options):
    corpora = {r: Corpus([name], role=r, split="train", block_mb=block_mb) for r in ROLES}
    return Plan(**corpora, scene=Scene(segment=0.5), seed=3, shuffle=shuffle, window=3, **options)


def _batches(plan, epoch=0, **options):
    settings = {"batch_size": 8, "num_workers": 0, "rank": 0, "world_size": 1} | options
    loader = Loader(plan, **settings)
    loader.epoch = epoch
    return list(loader)


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["key"] == other["key"]
        for name in ("clean", "noise", "rir", "snr_db", "index"):
            assert torch.equal(one[name], other[name])


def _copy(folder, to):
    for role in ROLES:
        (to / role).mkdir(parents=True)
        for path in (folder / role).iterdir():
            (to / role / path.name).write_bytes(path.read_bytes())
    return to


def _kept(cache):
    return sum(path.stat().st_size for path in cache.glob("blocks/*/*-*"))


class TestBlocks:
    def test_each_sample_lies_in_one_block_and_blocks_do_not_overlap(self, folder):
        columns = read_index(folder / "speech").columns
        cut = blocks(columns, BLOCK_MB)
        assert len(cut.start) == len(set(cut.number.tolist())) > 10
        assert (columns["offset"] >= cut.start[cut.number]).all()
        assert (columns["offset"] + columns["bytes"] <= cut.stop[cut.number]).all()
        assert (cut.start[1:] >= cut.stop[:-1])[np.diff(cut.shard) == 0].all()
        assert (np.diff(cut.number[np.argsort(columns["offset"])]) >= 0).all()
        assert (cut.stop - cut.start <= 1e6 * BLOCK_MB + columns["bytes"].max()).all()

    def test_rows_in_any_order_give_the_same_blocks(self, folder):
        columns = read_index(folder / "speech").columns
        shuffled = np.random.default_rng(0).permutation(len(columns["key"]))
        mixed = blocks({name: column[shuffled] for name, column in columns.items()}, BLOCK_MB)
        plain = blocks(columns, BLOCK_MB)
        assert np.array_equal(mixed.number, plain.number[shuffled])
        assert np.array_equal(mixed.stop, plain.stop)

    def test_no_size_is_refused(self, folder):
        with pytest.raises(RasedError, match="block_mb is 0"):
            blocks(read_index(folder / "speech").columns, 0.0)


class TestHttp:
    def test_same_batches_through_drops_and_busy_answers(self, server, folder):
        server.drops, server.busy = 0.5, 0.2
        plan = _plan(server.url)
        assert_same(_batches(plan), _batches(_plan(folder, "blocks")))
        assert sum(count == 0 for _, _, count in server.asked) > 3

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    def test_workers_share_the_cache_and_each_block_comes_once(self, server, folder):
        batches = _batches(_plan(server.url), num_workers=3)
        assert_same(batches, _batches(_plan(folder, "blocks")))
        starts = [asked[:2] for asked in server.asked if asked[0].endswith(".tar")]
        assert len(starts) == len(set(starts)) > 20

    def test_a_broken_transfer_goes_on_where_it_stopped(self, server, tmp_path):
        server.folder, data = tmp_path, np.random.default_rng(4).bytes(8_000_000)
        (tmp_path / "file.tar").write_bytes(data)
        server.drops, server.random = 0.9, np.random.default_rng(3)
        came = bytearray()
        for _, offset, piece in transfer.transfer(
            Address(f"{server.url}/file.tar"), 1000, 7_000_000
        ):
            assert offset == 1000 + len(came)
            came += piece
        assert came == data[1000:7_000_000]
        breaks = len(server.asked) - 1
        assert breaks == 5
        assert server.sent() < len(came) + breaks * 600_000

    def test_a_server_without_ranges_sends_each_shard_once(self, server, folder):
        server.ranges = False
        assert_same(_batches(_plan(server.url)), _batches(_plan(folder, "blocks")))
        tars = [path for path, _, _ in server.asked if path.endswith(".tar")]
        assert sorted(tars) == sorted(f"/{role}/train-000000.tar" for role in ROLES)

    def test_a_server_without_ranges_that_drops(self, server, folder):
        server.ranges, server.drops = False, 0.5
        assert_same(_batches(_plan(server.url)), _batches(_plan(folder, "blocks")))

    def test_an_epoch_asks_for_the_corpus_once_and_the_next_for_nothing(self, server, folder):
        plan = _plan(server.url)
        assert len(_batches(plan)) == 8
        once = server.sent()
        whole = sum(path.stat().st_size for path in folder.glob("*/*.tar"))
        assert 0.6 * whole < once <= whole
        before = len(server.asked)
        _batches(plan)
        assert len(server.asked) == before
        _batches(plan, epoch=1)
        assert server.sent() <= whole

    def test_bytes_of_an_epoch_stay_near_the_corpus_where_the_cache_is_small(
        self, tmp_path, monkeypatch, cache
    ):
        random = np.random.default_rng(2)
        speech = [("train", f"s{n}", 0.1 * random.standard_normal(8000)) for n in range(240)]
        noise = [("train", "n", 0.1 * random.standard_normal(8000)) for _ in range(240)]
        for role, recordings in (("speech", speech), ("noise", noise)):
            write_corpus(tmp_path / "shards" / role, role, recordings, codec="pcm16")
        whole = sum(path.stat().st_size for path in (tmp_path / "shards").glob("*/*.tar"))
        monkeypatch.setenv("RASED_CACHE_GB", str(0.2 * whole / 1e9))
        sent = {}
        for shuffle in ("blocks", "samples"):
            with _serving(tmp_path / "shards") as server:
                corpora = {
                    r: Corpus([server.url], role=r, split="train", block_mb=0.125)
                    for r in ("speech", "noise")
                }
                scene = Scene(segment=0.5)
                plan = Plan(**corpora, rir=None, scene=scene, seed=0, shuffle=shuffle, window=4)
                _batches(plan)
                sent[shuffle] = server.sent() / whole
            remote.mirror.cache_clear()
            assert _kept(cache) <= 0.2 * whole
        assert sent["blocks"] < 1.15
        assert sent["samples"] > 5 * sent["blocks"]

    def test_a_missing_shard_stops_the_run_and_is_named(self, server, folder, tmp_path):
        server.folder = _copy(folder, tmp_path / "copy")
        (server.folder / "speech" / "train-000000.tar").unlink()
        with pytest.raises(RemoteError, match=r"'http.*/speech/train-000000\.tar'.*404 not found"):
            _batches(_plan(server.url))

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    def test_errors_of_workers_are_one_sentence(self, server, folder, tmp_path):
        server.folder = _copy(folder, tmp_path / "copy")
        plan = _plan(server.url)
        (server.folder / "noise" / "train-000000.tar").unlink()
        with pytest.raises(RemoteError, match=r"^'http[^\n]*404 not found[^\n]*\.$"):
            _batches(plan, num_workers=1)

    @pytest.mark.parametrize("change", [1, -1, -200_000])
    def test_a_shard_of_another_size_is_not_the_one_of_the_index(
        self, server, folder, tmp_path, change
    ):
        server.folder = _copy(folder, tmp_path / "copy")
        path = server.folder / "speech" / "train-000000.tar"
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(size + change)
        with pytest.raises(
            RemoteError, match=rf"has {size + change} bytes, but its index says {size}"
        ):
            _batches(_plan(server.url))

    @pytest.mark.parametrize("ranges", [True, False])
    def test_a_flipped_byte_on_the_way_is_noticed_and_fetched_again(self, server, folder, ranges):
        server.ranges, server.flips = ranges, 1
        corpus, local = (
            Corpus([name], role="speech", split="train", block_mb=BLOCK_MB)
            for name in (server.url, folder)
        )
        for number in range(len(corpus)):
            np.testing.assert_array_equal(corpus.read(number), local.read(number))
        assert server.flips == 0

    def test_a_flipped_byte_at_its_origin_is_a_bad_sample_for_an_hour(
        self, server, folder, tmp_path, monkeypatch
    ):
        server.folder = _copy(folder, tmp_path / "copy")
        row, columns = 7, read_index(folder / "speech").columns
        path = server.folder / "speech" / "train-000000.tar"
        whole = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(int(columns["offset"][row]) + 1001)
            file.write(bytes([whole[int(columns["offset"][row]) + 1001] ^ 1]))

        def bad():
            corpus = Corpus([server.url], role="speech", split="train", block_mb=BLOCK_MB)
            found = []
            for number in range(len(corpus)):
                try:
                    corpus.read(number)
                except RemoteError:
                    raise
                except RasedError as error:
                    found.append(str(error))
            return found

        said = bad()
        assert len(said) == 1
        assert said[0].startswith(
            f"Sample {columns['key'][row]} of {server.url}/speech/train-000000"
        )
        assert "(sha256" in said[0]
        before = server.sent()
        assert bad() == said
        assert server.sent() == before
        path.write_bytes(whole)
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3601)
        assert bad() == []

    def test_a_block_cut_short_in_the_cache_is_fetched_again(self, server, folder, cache):
        corpus, local = (
            Corpus([name], role="speech", split="train", block_mb=BLOCK_MB)
            for name in (server.url, folder)
        )
        corpus.read(0)
        (block,) = cache.glob("blocks/*/*-*")
        block.write_bytes(block.read_bytes()[:100])
        np.testing.assert_array_equal(corpus.read(0), local.read(0))
        assert server.asked[-1][:2] == server.asked[-2][:2]

    def test_a_new_index_is_seen_and_an_old_one_is_not_fetched_again(
        self, server, folder, tmp_path
    ):
        server.folder = _copy(folder, tmp_path / "copy")
        index = server.folder / "speech" / "index.json"
        sizes = []
        for _ in range(2):
            Corpus([server.url], role="speech", split="train")
            remote.mirror.cache_clear()
            sizes.append(server.sent("/speech/index.json"))
        assert sizes == [index.stat().st_size] * 2
        stored = json.loads(index.read_text())
        stored["columns"]["label"][0] = "another"
        index.write_text(json.dumps(stored))
        assert Corpus([server.url], role="speech", split="train").label[0] == "another"

    def test_a_busy_server_is_given_up_with_what_to_do(self, server):
        server.busy = 1.0
        with pytest.raises(RemoteError, match=r"after 4 attempts \(503 .*check the connection"):
            Corpus([server.url], role="speech", split="train")

    def test_nothing_there_and_no_index_are_named(self, server, tmp_path):
        with pytest.raises(
            RemoteError, match=r"No shards at.*nowhere/speech/index\.json.*index\.json last"
        ):
            Corpus([server.url + "/nowhere"], role="speech", split="train")
        server.folder = tmp_path
        (tmp_path / "index.json").write_text("<html>")
        with pytest.raises(RemoteError, match=r"index\.json' is damaged"):
            Corpus([server.url], role="speech", split="train")
        with pytest.raises(RemoteError, match="not an address that fsspec supports"):
            Corpus(["gopher://host/corpus"], role="speech", split="train")

    def test_the_command_line_takes_urls(self, server, folder, tmp_path, capsys):
        assert main(["data", "info", server.url, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [place["folder"] for place in found] == [f"{server.url}/{role}" for role in ROLES]
        assert found[0]["splits"][0]["files"] == 60
        assert main(["data", "verify", server.url]) == 2
        assert "verify shards on the machine that stores them" in capsys.readouterr().err


class TestCache:
    def test_the_least_recently_used_go_first_and_the_bound_holds(self, monkeypatch, cache):
        monkeypatch.setenv("RASED_CACHE_GB", "1e-6")
        kept = BlockCache()
        for number in range(3):
            kept.put(f"shard/{number}-x", bytes([number]) * 300)
        assert kept.get("shard/0-x", 10, 5, length=300) == (b"\0" * 5, b"")
        kept.put("shard/3-x", bytes(300))
        assert kept.get("shard/1-x", 0, 1, length=300) is None
        assert kept.get("shard/0-x", 0, 300, length=300) is not None
        assert kept.get("shard/0-x", 0, 300, length=301) is None
        assert kept.get("shard/0-x", 0, 300, length=299) == (bytes(300), b"\0")
        assert _kept(cache) <= 1000
        with pytest.raises(RasedError, match="RASED_CACHE_GB allows 1e-06: raise it"):
            kept.put("shard/4-x", bytes(1001))
        monkeypatch.setenv("RASED_CACHE_GB", "much")
        with pytest.raises(RasedError, match="RASED_CACHE_GB is 'much'"):
            BlockCache()

    def test_what_a_dead_writer_left_goes_when_room_is_made(self, monkeypatch, cache):
        monkeypatch.setenv("RASED_CACHE_GB", "1e-6")
        kept = BlockCache()
        kept.put("shard/0-x", bytes(600))
        (cache / "blocks" / "shard" / "1-x.part").write_bytes(bytes(600))
        kept.put("shard/2-x", bytes(600))
        assert [path.name for path in (cache / "blocks" / "shard").iterdir()] == ["2-x"]

    def test_several_processes_stay_below_the_bound_and_read_what_was_written(
        self, monkeypatch, cache
    ):
        monkeypatch.setenv("RASED_CACHE_GB", "1e-4")
        code = """
import numpy as np
from rased.data.shards.block_cache import BlockCache
kept = BlockCache()
for number in np.random.default_rng().integers(60, size=300):
    name = f"shard/{number}-x"
    found = kept.get(name, 0, 4000, length=4000)
    assert found in (None, (bytes([number]) * 4000, b""))
    if found is None:
        with kept.alone(name):
            kept.put(name, bytes([number]) * 4000)
"""
        running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
        assert [process.wait(timeout=100) for process in running] == [0, 0, 0]
        there = _kept(cache)
        assert 50_000 < there <= 100_000
        assert int((cache / "blocks" / "used").read_bytes()) == there

    def test_a_cache_that_cannot_be_written_is_named(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("RASED_CACHE", str(tmp_path / "file"))
        with pytest.raises(RemoteError, match=r"Cannot write.*another folder with RASED_CACHE"):
            BlockCache().put("shard/0-x", b"0")


class TestShuffle:
    def test_every_utterance_leads_once_and_neighbours_come_together(self, folder):
        plan = _plan(folder, "blocks")
        leads = [plan.draw(0, index).speech[0].recording for index in range(120)]
        assert sorted(leads[:60]) == sorted(leads[60:]) == list(range(60))
        assert leads[:60] != leads[60:] != [plan.draw(1, i).speech[0].recording for i in range(60)]
        numbers = plan.speech.blocks()
        times = [np.flatnonzero(numbers[leads[:60]] == block) for block in range(numbers.max() + 1)]
        assert max(np.ptp(time) for time in times) < 30

    def test_a_cache_that_cannot_hold_what_is_in_use_is_refused(self, server, monkeypatch):
        monkeypatch.setenv("RASED_CACHE_GB", "0.0004")
        with pytest.raises(
            RasedError, match=r"RASED_CACHE_GB allows 0\.0004: raise it, or lower window"
        ):
            _plan(server.url)
        _plan(server.url, "samples")

    def test_fillers_are_of_the_same_speaker_and_block(self, folder):
        plan = _plan(folder, "blocks")
        numbers = plan.speech.blocks()
        filled = [plan.draw(0, index).speech for index in range(60)]
        assert max(map(len, filled)) > 1
        for pieces in filled:
            assert len({numbers[piece.recording] for piece in pieces}) == 1
            assert len({plan.speech.label[piece.recording] for piece in pieces}) == 1

    def test_noise_comes_from_a_neighbourhood_that_moves_over_all_of_it(self, folder):
        plan = _plan(folder, "blocks", block_mb=0.02, count=400)
        numbers = plan.noise.blocks()
        assert len(set(numbers.tolist())) > 20
        drawn = np.array([plan.draw(0, index).noise[0].recording for index in range(400)])
        assert set(drawn.tolist()) == set(range(24))
        times = [np.flatnonzero(numbers[drawn[:60]] == block) for block in range(numbers.max() + 1)]
        assert max(np.ptp(time) for time in times if len(time)) < 16

    def test_samples_stay_the_default_of_local_folders(self, folder):
        plain, named = _plan(folder), _plan(folder, "samples")
        assert [plain.draw(0, i) for i in range(60)] == [named.draw(0, i) for i in range(60)]

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_any_position_and_world_size_give_the_same(self, folder, world_size):
        plan = _plan(folder, "blocks")
        alone = {
            int(index): clean
            for batch in _batches(plan)
            for index, clean in zip(batch["index"], batch["clean"], strict=True)
        }
        for rank in range(world_size):
            loader = Loader(plan, batch_size=5, num_workers=0, rank=rank, world_size=world_size)
            loader.position = 23
            for batch in loader:
                for index, clean in zip(batch["index"], batch["clean"], strict=True):
                    assert torch.equal(clean, alone[int(index)])


@pytest.fixture(scope="module")
def bucket(folder, s3_server):
    """URL of the shards in a bucket of an S3 server on this machine, and a client of it."""
    client = s3_server.client
    client.create_bucket(Bucket="bucket")
    for path in folder.glob("*/*"):
        client.upload_file(str(path), "bucket", f"corpus/{path.parent.name}/{path.name}")
    return "s3://bucket/corpus", client


@pytest.mark.usefixtures("s3")
class TestS3:
    def test_same_batches_as_from_the_folder(self, bucket, folder):
        plan = _plan(bucket[0])
        local = _batches(_plan(folder, "blocks"))
        assert_same(_batches(plan), local)
        assert_same(_batches(plan), local)

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    def test_same_batches_with_workers(self, bucket, folder):
        assert_same(_batches(_plan(bucket[0]), num_workers=2), _batches(_plan(folder, "blocks")))

    def test_what_is_missing_or_changed_is_named(self, bucket):
        with pytest.raises(RemoteError, match=r"s3://bucket/nothing/index\.json.*404 not found"):
            Corpus(["s3://bucket/nothing"], role="speech", split="train")
        bucket[1].copy_object(
            Bucket="bucket",
            Key="other/index.json",
            CopySource="bucket/corpus/noise/index.json",
        )
        bucket[1].put_object(Bucket="bucket", Key="other/train-000000.tar", Body=bytes(1000))
        corpus = Corpus(["s3://bucket/other"], role="noise", split="train")
        with pytest.raises(RemoteError, match="has 1000 bytes, but its index says"):
            corpus.read(0)


def test_local_folders_do_not_need_fsspec(folder):
    code = f"""
import sys
from rased.data.mixtures.corpus import Corpus
Corpus([{str(folder)!r}], role="noise", split="train").read(0)
print(*sorted({{"fsspec", "aiohttp", "s3fs", "botocore"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(RemoteError, match=r"pip install 'rased\[remote\]'"):
        Corpus(["s3://bucket/corpus"], role="speech", split="train")


def test_readers_survive_pickling(server, folder):
    import pickle

    corpus = Corpus([server.url], role="speech", split="train")
    again = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(
        again.read(7), Corpus([folder], role="speech", split="train").read(7)
    )
    assert isinstance(again._readers[0]._remote, RemoteShards)
