"""A recording of the bundled test set as WAV, and the page's server on a free port."""

from contextlib import contextmanager

import pytest
import soundfile

from rased.app import Server
from rased.evaluation.testset import BUNDLE
from tests.serving import running

EXAMPLE = "m0005"


@pytest.fixture(scope="package")
def noisy(tmp_path_factory):
    """Real noisy speech at 16 kHz, 16 bits."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.wav"
    samples, rate = soundfile.read(BUNDLE / "noisy" / f"{EXAMPLE}.flac", dtype="int16")
    soundfile.write(path, samples, rate)
    return path


@contextmanager
def serving(opened):
    """Serve until the end of the context."""
    with running(opened):
        yield opened
    opened.close()
    assert not opened.folder.exists()


@pytest.fixture(scope="package")
def server():
    """The page with two light models."""
    with serving(Server("127.0.0.1", 0, ["gtcrn-tuned-16k", "log-mmse"])) as opened:
        yield opened
