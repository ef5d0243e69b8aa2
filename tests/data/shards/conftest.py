"""Shards for servers on this machine, an empty cache, and an S3 server for the whole session."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from rased.data.shards import remote, transfer
from tests.data.conftest import RATE, response, write_corpus


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Shards of 60 utterances, 24 noises and 4 rooms; some hundred kilobytes."""
    root, random = tmp_path_factory.mktemp("elsewhere"), np.random.default_rng(1)

    def some(count, label, shortest, longest):
        for n in range(count):
            samples = int(random.uniform(shortest, longest) * RATE)
            yield "train", f"{label}{n // 5}", 0.1 * random.standard_normal(samples)

    write_corpus(root / "speech", "speech", list(some(60, "speaker", 0.2, 1.0)), codec="pcm16")
    write_corpus(root / "noise", "noise", list(some(24, "type", 0.3, 1.5)), codec="flac")
    rooms = [("train", f"room{n}", response(random, 30 + 10 * n)) for n in range(4)]
    write_corpus(root / "rir", "rir", rooms)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and little patience."""
    monkeypatch.setenv("RASED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "_PAUSE", 0.001)
    remote.mirror.cache_clear()
    yield tmp_path / "cache"
    remote.mirror.cache_clear()


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on this machine, as a client of it and the settings of others."""
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line per request
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-s3",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        region_name=settings["AWS_DEFAULT_REGION"],
    )
    yield SimpleNamespace(settings=settings, client=client)
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The client of the S3 server; the environment leads to it, too."""
    for name, value in s3_server.settings.items():
        monkeypatch.setenv(name, value)
    return s3_server.client
