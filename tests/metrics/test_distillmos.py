"""DistillMOS against the package that carries its weights."""

import sys
import types

import numpy as np
import pytest
import torch

from rased.metrics import metric
from rased.metrics.distillmos import SEGMENT, segments

pytestmark = pytest.mark.skipif(
    bool(metric("distillmos").unavailable()), reason="pip install --no-deps distillmos"
)


def mos(waveform):
    return metric("distillmos")(estimate=waveform, sample_rate=16_000).value


# Made by `distillmos` 0.9.1 itself: the excerpt, and the excerpt repeated for 11 s.
FROZEN = {"short": 2.94446, "long": 2.54812}


def repeated(waveform):
    return torch.from_numpy(np.resize(waveform.numpy(), 11 * 16_000 + 77))


def test_frozen_values_of_the_package(in_babble):
    assert mos(in_babble) == pytest.approx(FROZEN["short"], abs=2e-3)
    assert mos(repeated(in_babble)) == pytest.approx(FROZEN["long"], abs=2e-3)


def test_equals_the_package(in_babble, monkeypatch, capsys):
    pytest.importorskip("xls_r_sqa", reason="pip install --no-deps xls-r-sqa")
    monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    import distillmos

    theirs = distillmos.ConvTransformerSQAModel().eval()
    with torch.inference_mode():
        assert mos(in_babble) == pytest.approx(float(theirs(in_babble[None])), abs=1e-4)


def test_segments_cover_the_clip_and_peak_at_one():
    ramp = torch.arange(1.0, SEGMENT + 40_001)
    parts = segments(ramp)
    assert parts.shape == (4, SEGMENT)
    ends = torch.tensor([0, 13_333, 26_666, 40_000]) + SEGMENT
    assert torch.allclose(parts[:, -1], torch.ones(4))
    assert torch.allclose(parts[:, 0], (ends - SEGMENT + 1) / ends)
    short = segments(0.1 * torch.ones(1000))
    assert short.shape == (1, SEGMENT)
    assert short[0, :1000].eq(short[0, 0]).all()
    assert short[0, 1000:].eq(0).all()
