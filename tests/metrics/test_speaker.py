"""Speaker similarity against Resemblyzer, and on voices that are and are not the same."""

import numpy as np
import pytest
import soundfile
import torch

from rased.metrics import metric
from rased.metrics.speaker import embed
from tests import EXCERPTS

pytestmark = pytest.mark.skipif(
    bool(metric("speaker-similarity").unavailable()), reason="pip install --no-deps resemblyzer"
)


def test_frozen_values_of_the_package(in_babble, spoken):
    # Made by `Resemblyzer` 0.1.4 itself, on signals raised to -30 dBFS, without its removal of pauses.
    for length, expected in ((len(spoken), 0.594105), (11 * 16_000 + 77, 0.601212)):
        estimate, target = (
            torch.from_numpy(np.resize(s.numpy(), length)) for s in (in_babble, spoken)
        )
        found = metric("speaker-similarity")(estimate=estimate, target=target, sample_rate=16_000)
        assert found.value == pytest.approx(expected, abs=1e-3)


def test_the_same_voice_is_closer_than_another():
    def voice(name):
        return embed(soundfile.read(EXCERPTS / "target" / f"{name}.flac", dtype="float32")[0])

    reader, again, other = voice("m0002"), voice("m0026"), voice("m0001")
    assert np.dot(reader, reader) == pytest.approx(1.0)
    assert np.dot(reader, again) > np.dot(reader, other) + 0.1


def test_loud_and_quiet_are_embedded_alike(spoken):
    quiet = embed(0.01 * spoken.numpy())
    assert np.dot(quiet, embed(0.001 * spoken.numpy())) == pytest.approx(1.0, abs=1e-5)
