"""Names, passwords, keys and tokens of addresses and of the environment: in no file, no message and no log."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rased.cli import main
from rased.data.mixtures.corpus import Corpus
from rased.data.shards import remote
from rased.data.shards.address import Address, RemoteError, address
from rased.data.shards.index import bundle, read_index
from rased.errors import RasedError
from rased.fetch import without_credentials
from tests.data.shards.test_remote import Server
from tests.serving import running

SECRET = "a-secret-of-the-server"
ROOT = Path(__file__).parents[3]


def known(server, home, monkeypatch):
    """Let a server want a password that ~/.netrc has."""
    server.password = f"me:{SECRET}"
    (home / ".netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture
def guarded(folder, tmp_path, monkeypatch):
    """A server of shards that wants a password."""
    for name in ("shards", "home"):
        (tmp_path / name).mkdir()
    shutil.copytree(folder, tmp_path / "shards", dirs_exist_ok=True)
    with running(Server(tmp_path / "shards")) as server:
        known(server, tmp_path / "home", monkeypatch)
        yield server


def written(*folders):
    """All bytes below some folders that contain the word for a secret."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and b"a-secret" in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@host/corpus",
        f"https://{SECRET}@host/corpus",
        f"https://me:{SECRET}@with@host/corpus",
        *(
            f"https://host/corpus?part=1&{name}={SECRET}&more=2"
            for name in (
                "token access_token refresh_token X-Amz-Signature X-Amz-Credential X-Amz-Security-Token "
                "X-Goog-Signature Signature sig key api_key apikey API-Key client_secret password passwd pwd "
                "AWSAccessKeyId aws_secret_access_key hf_token auth authorization"
            ).split()
        ),
    ],
)
def test_an_address_with_credentials_is_refused_and_shown_without(url):
    given = Address(url)
    for one in (given, given / "speech" / "index.json", (given / "speech").parent):
        for text in (str(one), repr(one), f"{one}", without_credentials(one.url)):
            assert SECRET not in text
            assert "host/corpus" in text
    with pytest.raises(
        RemoteError, match=r"'https://host/corpus\S*' was given with.*~/\.netrc"
    ) as caught:
        address(url)
    assert SECRET not in str(caught.value)
    if "?" in url:
        assert str(given) == "https://host/corpus?part=1&more=2"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        (f"s3://key:{SECRET}@bucket/corpus", "AWS_SECRET_ACCESS_KEY"),
        (f"s3://bucket/corpus?X-Amz-Signature={SECRET}", "AWS_SECRET_ACCESS_KEY"),
        (f"gs://me:{SECRET}@bucket/corpus", "GOOGLE_APPLICATION_CREDENTIALS"),
        (f"hf://{SECRET}@datasets/org/corpus", "HF_TOKEN"),
        (f"sftp://me:{SECRET}@host/corpus", "fsspec"),
        (f"http://me:{SECRET}@host/corpus", ".netrc"),
    ],
)
def test_commands_refuse_an_address_with_credentials(url, where, capsys):
    for ask in (Corpus, lambda names, **_: remote.find(names[0])):
        with pytest.raises(RemoteError, match=f"given with credentials.*{where}") as caught:
            ask([url], role="speech", split="train")
        assert SECRET not in str(caught.value)
    for words in (["data", "info", url], ["data", "verify", url], ["data", "push", "x", url]):
        assert main(words) == 2
        assert SECRET not in "".join(capsys.readouterr())


def test_a_corpus_is_read_with_those_of_netrc_and_nothing_keeps_them(guarded, cache):
    corpus = Corpus([guarded.url], role="speech", split="train")
    for one in (corpus, pickle.loads(pickle.dumps(corpus))):
        assert len(one.read(3)) == one.frames[3]
    index = read_index(remote.mirror(address(guarded.url) / "noise"))
    assert SECRET not in f"{index.place} {index.origin!r} {index.origin}"
    assert written(cache) == []


def test_no_error_names_them(guarded, cache, capsys):
    server, url = guarded, guarded.url
    corpus = Corpus([url], role="noise", split="train")
    shard = server.folder / "noise" / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    said = []

    def fails(function):
        with pytest.raises(RasedError) as caught:
            function()
        said.append(str(caught.value))

    index = read_index(bundle() / "noise")
    fails(lambda: Corpus([url], role="speech", split="nowhere"))
    fails(lambda: Corpus([url, url], role="speech", split="train"))
    shard.write_bytes(bytes(len(data)))
    fails(lambda: corpus.read(0))
    shard.write_bytes(data[:-1])
    fails(lambda: corpus.read(20))
    shard.unlink()
    fails(lambda: corpus.read(22))
    server.busy = 1.0
    fails(lambda: corpus.read(23))
    server.busy = 0.0
    (server.folder / "rir" / "index.json").write_text("<html>")
    fails(lambda: Corpus([url], role="rir", split="train"))
    server.password = "another"
    remote.mirror.cache_clear()
    fails(lambda: Corpus([url], role="speech", split="train"))
    fails(lambda: remote.RemoteShards(Address(url), index.shards, index.columns, 8.0).read(0, 0, 9))
    assert len(said) == 9
    assert not [text for text in said if SECRET in text]
    assert main(["data", "info", url]) == 2
    assert main(["data", "stream", "-c", "data/bundle", "--data.speech", f"[{url}]"]) == 2
    assert SECRET not in "".join(capsys.readouterr())
    assert written(cache) == []


@pytest.mark.slow
def test_nothing_that_a_run_writes_contains_them(s3, tmp_path, monkeypatch, cache):
    """Configuration, checkpoints, tables, W&B, the cache and all that is printed."""
    s3.create_bucket(Bucket="a-run")
    for path in (bundle() / "noise").iterdir():
        s3.upload_file(str(path), "a-run", f"noise/{path.name}")
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HF_TOKEN", "a-secret-of-the-hub")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with running(Server(bundle())) as server:
        known(server, tmp_path / "home", monkeypatch)
        refused = _train(f"http://me:{SECRET}@127.0.0.1:{server.server_port}", tmp_path / "work")
        done = _train(server.url, tmp_path / "work")
    assert refused.returncode == 2
    assert "was given with credentials" in refused.stderr
    assert done.returncode == 0, done.stderr
    for one in (refused, done):
        assert "a-secret" not in one.stdout + one.stderr
    run = tmp_path / "work" / "runs" / "mine"
    assert server.url in (run / "config.yaml").read_text()
    assert [*run.glob("checkpoints/*.ckpt")]
    assert [*run.rglob("*.wandb")]
    assert [*run.glob("zoo/*/card.yaml")]
    assert written(tmp_path / "work", cache) == []


def _train(speech, folder):
    """Train two steps, with noise from S3."""
    words = ["train", "-c", "model/gru-mask", "-c", "data/bundle", "--name", "mine"]
    words += ["--data.speech", f"[{speech}]", "--data.noise", "[s3://a-run/noise]"]
    words += ["--data.batch_size", "2", "--data.scene.segment", "1.0", "--data.num_workers", "1"]
    words += ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1"]
    words += ["--trainer.accelerator", "cpu", "--run.evaluate", "[]"]
    return subprocess.run(
        [sys.executable, "-m", "rased", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
