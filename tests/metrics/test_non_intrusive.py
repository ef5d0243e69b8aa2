"""DNSMOS, NISQA and UTMOS against the code of the packages that carry the networks, and frozen values."""

import sys
import types

import numpy as np
import pytest
import torch

import rased.metrics.non_intrusive as module
from rased.errors import RasedError
from rased.metrics import metric
from rased.metrics.mel import mel_power
from rased.metrics.non_intrusive import WINDOW, p835, windows
from rased.native import call


@pytest.fixture(scope="module")
def package():
    """The package's own code; librosa (features of the P.808 network, not ours) is a stand-in."""
    stand_in = types.ModuleType("librosa")
    stand_in.feature = types.SimpleNamespace(
        melspectrogram=lambda y, **_: np.ones((120, len(y) // 160))
    )
    stand_in.power_to_db = lambda power, ref: power
    if "librosa" not in sys.modules:
        sys.modules["librosa"] = stand_in
    try:
        from speechmos import dnsmos
    finally:
        if sys.modules.get("librosa") is stand_in:
            del sys.modules["librosa"]
    return dnsmos


def test_equals_the_package_on_a_long_clip(noisy, package):
    long = np.resize(noisy.numpy(), 11 * 16_000 + 123)
    theirs = package.run(long, 16_000)
    for value, name in zip(p835(long), ("sig_mos", "bak_mos", "ovrl_mos"), strict=True):
        assert value == pytest.approx(float(theirs[name]), abs=1e-4)


@pytest.mark.parametrize("part", range(3))
def test_the_range_holds_what_the_polynomials_make_of_any_output(part):
    """Speech in strong noise had 0.877, which a range of 1 to 5 would call a forgery."""
    name = ("dnsmos-sig", "dnsmos-bak", "dnsmos-ovrl")[part]
    low, high = metric(name).range
    values = np.polyval(module.POLYNOMIALS[part], np.linspace(-0.25, 6, 100))
    assert low < values.min() < 1
    assert values.max() < high


# Made by the network of speechmos 0.0.1.1 for the fixtures: sig, bak, ovrl.
FROZEN = {"noisy": (3.3017, 2.5857, 2.2578), "target": (3.1056, 3.8042, 2.7624)}


@pytest.mark.parametrize("role", sorted(FROZEN))
def test_frozen_values(role, request):
    waveform = request.getfixturevalue(role)
    for name, expected in zip(("sig", "bak", "ovrl"), FROZEN[role], strict=True):
        outcome = metric(f"dnsmos-{name}")(estimate=waveform, sample_rate=16_000)
        assert outcome.value == pytest.approx(expected, abs=5e-3)


def test_windows_are_those_of_the_package():
    ramp = np.arange(30 * 16_000, dtype=np.float32)
    short = windows(ramp[:50_000])
    assert short.shape == (1, WINDOW)
    assert (short[0, 50_000:100_000] == ramp[:50_000]).all()
    assert (windows(ramp[:WINDOW]) == ramp[:WINDOW]).all()
    expected = []
    for index in range(int(np.floor(30) - 9.01) + 1):
        piece = ramp[int(index * 16_000) : int((index + 9.01) * 16_000)]
        if len(piece) >= 144_160:
            expected.append(piece[0])
    assert windows(ramp)[:, 0].tolist() == expected


def test_samples_beyond_full_scale_are_clipped(noisy):
    loud = 20 * noisy
    assert p835(loud.numpy()) == p835(torch.clamp(loud, -1, 1).numpy())


def test_three_values_cost_one_run(noisy, monkeypatch):
    runs = []

    def counting(function, *given):
        runs.append(function)
        return call(function, *given)

    monkeypatch.setattr(module, "call", counting)
    fresh = noisy * 0.77
    for part in ("sig", "bak", "ovrl"):
        metric(f"dnsmos-{part}")(estimate=fresh, sample_rate=16_000)
    assert len(runs) == 1


# Made by `speechmos` 0.0.1.1 itself with librosa 0.11: the excerpt repeated to 9.01 s, and to 11 s.
P808 = {144_160: 2.87953, 11 * 16_000 + 77: 2.85638}


@pytest.mark.parametrize("length", P808)
def test_p808_is_that_of_the_package(length, in_babble):
    waveform = torch.from_numpy(np.resize(in_babble.numpy(), length))
    found = metric("dnsmos-p808")(estimate=waveform, sample_rate=16_000)
    assert found.value == pytest.approx(P808[length], abs=2e-3)


def test_mel_power_is_that_of_librosa(in_babble):
    # Sums over frames of bands 0, 20, 60 and 100 by librosa 0.11.
    found = mel_power(in_babble.numpy(), sample_rate=16_000, n_fft=321, hop_length=160, bands=120)
    assert found.shape == (327, 120)
    assert found.sum(0)[[0, 20, 60, 100]] == pytest.approx(LIBROSA, rel=1e-4)


LIBROSA = [0.0540171, 0.236196, 0.925434, 0.0171609]


def test_nisqa_runs_where_its_weights_are(spoken, tmp_path, monkeypatch):
    pytest.importorskip("librosa", reason="pip install librosa")
    from torchmetrics.functional.audio import nisqa

    shape = {
        **{f"cnn_c_out_{k}": 16 * 2 ** (k - 1) for k in (1, 2, 3)},
        **{"cnn_pool_1": [24, 7], "cnn_pool_2": [12, 5], "cnn_pool_3": [6, 3]},
        **{"cnn_kernel_size": [3, 3], "cnn_dropout": 0.2},
        **{"td_sa_d_model": 64, "td_sa_nhead": 1, "td_sa_h": 64, "td_sa_num_layers": 2},
        **{"td_sa_dropout": 0.1, "pool_att_h": 128, "pool_att_dropout": 0.1},
        **{"ms_sr": None, "ms_fmax": 20_000, "ms_n_fft": 4096, "ms_hop_length": 0.01},
        **{"ms_win_length": 0.02, "ms_n_mels": 48, "ms_seg_length": 15, "ms_seg_hop_length": 4},
        **{"ms_max_segments": 1300},
    }
    monkeypatch.setenv("HOME", str(tmp_path))
    ours = metric("nisqa")
    missing = ours(estimate=spoken, sample_rate=16_000)
    assert missing.status.startswith("unavailable: put https://github.com/gabrielmittag/NISQA")
    ours.weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    network = nisqa._NISQADIM(shape).eval()
    torch.save({"args": shape, "model_state_dict": network.state_dict()}, ours.weights)
    nisqa._load_nisqa_model.cache_clear()
    try:
        found = ours(estimate=spoken, sample_rate=16_000)
        expected = nisqa.non_intrusive_speech_quality_assessment(spoken, 16_000)[0]
        assert found.value == pytest.approx(float(expected))
        long = ours(estimate=spoken.repeat(20), sample_rate=16_000)
        assert long.status.startswith("undefined: ")
    finally:
        nisqa._load_nisqa_model.cache_clear()


def _varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + _varint(number // 128)


def _field(number, content):
    """One field of a protocol buffer: a number, or bytes behind their length."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    content = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _mean_of_magnitudes():
    """An ONNX file: (1, time) -> mean of |x| over all, in opset 13."""

    def tensor(name, *dims):
        shape = b"".join(_field(1, dim) for dim in dims)
        kind = _field(1, 1) + _field(2, shape)
        return _field(1, name) + _field(2, _field(1, kind))

    keep = _field(1, "keepdims") + _field(3, 0) + _field(20, 2)
    nodes = [
        _field(1, "waveform") + _field(2, "magnitude") + _field(4, "Abs"),
        _field(1, "magnitude") + _field(2, "mos") + _field(4, "ReduceMean") + _field(5, keep),
    ]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "g")
    graph += _field(11, tensor("waveform", _field(1, 1), _field(2, "time")))
    graph += _field(12, tensor("mos"))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))


def test_utmos_runs_the_network_that_lies_in_the_cache(spoken, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ours = metric("utmos")
    missing = ours(estimate=spoken, sample_rate=16_000)
    assert missing.status == (
        "unavailable: put an ONNX export of github.com/tarepan/SpeechMOS utmos22_strong at "
        f"{tmp_path}/rased/utmos.onnx"
    )
    ours.weights.parent.mkdir()
    ours.weights.write_bytes(_mean_of_magnitudes())
    found = ours(estimate=spoken, sample_rate=16_000)
    assert found.value == pytest.approx(float(spoken.abs().mean()), rel=1e-4)
    ours.weights.write_bytes(b"no network")
    with pytest.raises(RasedError, match=r"utmos.onnx' is not a network that onnxruntime can run"):
        ours(estimate=spoken, sample_rate=16_000)
