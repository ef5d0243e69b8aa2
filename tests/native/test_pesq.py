"""PESQ up to 50 utterances and 95 s, a status beyond; utterances are counted as the C code counts them."""

import ctypes
from functools import cache

import numpy as np
import pytest
import soundfile
import torch

from rased.metrics import Score, metric
from rased.native import call, pesq
from tests import EXCERPTS

cypesq = pytest.importorskip("pesq.cypesq", reason="pip install 'rased[eval]'")

EDGE = 75 * 64


def spoken(name="m0002"):
    return soundfile.read(EXCERPTS / "target" / f"{name}.flac", dtype="float32")[0]


@cache
def utterances(count, rest=0.0):
    """`count` bursts of 0.6 s of speech with pauses of 0.4 s, and a shorter burst of `rest` seconds."""
    speech = np.resize(spoken(), 900_000)
    pause = np.zeros(6_400, dtype=np.float32)
    parts = []
    for number in range(count):
        parts += [loud(speech[number * 9_600 :][:9_600]), pause]
    if rest:
        parts.append(loud(speech[: int(rest * 16_000)]))
    return np.concatenate([pause, *parts, pause])


def loud(signal):
    """No pauses inside: the speech's spectrum at one level."""
    return signal / np.sqrt(np.convolve(signal**2, np.ones(800) / 800, "same") + 1e-6) * 0.05


def value(target, mode):
    noise = np.random.default_rng(1).standard_normal(len(target)).astype(np.float32) * 0.01
    return metric(f"pesq-{mode}")(
        estimate=torch.from_numpy(target + noise),
        target=torch.from_numpy(target),
        sample_rate=16_000,
    )


@pytest.mark.parametrize("mode", ["nb", "wb"])
@pytest.mark.parametrize("count", [51, 90])
def test_more_than_50_utterances_are_a_status(count, mode):
    target = utterances(count)
    assert pesq.utterances(target, mode) == count
    reason = "more than 50 utterances, which PESQ's arrays do not hold"
    assert value(target, mode) == Score(None, f"undefined: {reason}")


@pytest.mark.parametrize("mode", ["nb", "wb"])
def test_50_utterances_have_a_value_near_that_of_fewer(mode):
    few, many = value(utterances(20), mode), value(utterances(50), mode)
    assert few.status == many.status == "ok"
    assert many.value == pytest.approx(few.value, abs=0.05)


def test_a_burst_too_short_to_count_takes_a_place_as_well():
    assert pesq.utterances(utterances(50, rest=0.1), "wb") == 51
    assert pesq.utterances(utterances(49, rest=0.1), "wb") == 50


def test_a_minute_and_a_half_is_the_most():
    target = np.resize(utterances(3), 16_000 * 96)
    assert value(target, "wb").status.startswith("undefined: longer than 95 s")


def test_short_files_are_not_counted():
    """50 utterances and their pauses have no room in 19 s, whatever is said."""
    window = 64 / 16_000
    assert pesq._SAFE == pytest.approx(50 * (50 + 50 - 4) * window)


def test_composites_have_the_status_too():
    target = utterances(55)
    noisy, clean = torch.from_numpy(target * 0.9), torch.from_numpy(target)
    for name in ("csig", "cbak", "covl"):
        outcome = metric(name)(estimate=noisy, target=clean, sample_rate=16_000)
        assert outcome.status.startswith("undefined: more than 50 utterances")


class Signal(ctypes.Structure):
    """SIGNAL_INFO of the C code."""

    _fields_ = [
        ("path", ctypes.c_char * 512),
        ("file", ctypes.c_char * 128),
        ("samples", ctypes.c_long),
        ("swap", ctypes.c_long),
        ("filter", ctypes.c_long),
        *((name, ctypes.POINTER(ctypes.c_float)) for name in ("data", "activity", "logarithm")),
    ]


def theirs(target, mode):
    """Windows with speech, by the functions of the C code."""
    library = ctypes.CDLL(cypesq.__file__)
    flag, text = ctypes.c_long(0), ctypes.c_char_p()
    library.select_rate(ctypes.c_long(16_000), ctypes.byref(flag), ctypes.byref(text))
    count = len(target) + 2 * EDGE
    data = np.zeros(count + 5_120, dtype=np.float32)
    data[EDGE : EDGE + len(target)] = target * np.float32(3_000 / np.abs(target).max())
    start = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    if mode == "nb":
        curve = (ctypes.c_double * 2 * 26).in_dll(library, "standard_IRS_filter_dB")
        library.apply_filter(start, ctypes.c_long(count), 26, curve)
    else:
        for place in range(16):
            data[EDGE + place - 1] *= np.float32(place / 16)
            data[count - EDGE - place] *= np.float32(place / 16)
        sections = (ctypes.c_float * 60).in_dll(library, "WB_InIIR_Hsos_16k")
        inner = data[EDGE:].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        long = ctypes.c_ulong(count - 2 * EDGE)
        library.IIRFilt(sections, ctypes.c_ulong(1), None, inner, long, None)
    library.DC_block(start, ctypes.c_long(count))
    library.apply_filters(start, ctypes.c_long(count))
    found = np.zeros((2, count // 64), dtype=np.float32)
    pointers = [row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for row in found]
    info = Signal(samples=count, data=start, activity=pointers[0], logarithm=pointers[1])
    library.apply_VAD(ctypes.byref(info), start, *pointers)
    return (found[0] > 0).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_voice_activity_is_that_of_the_c_code(seed):
    random = np.random.default_rng(seed)
    clips = [spoken(name) for name in ("m0000", "m0002", "m0008", "m0017", "m0022")]
    parts = []
    for _ in range(random.integers(1, 7)):
        clip = clips[random.integers(len(clips))] * np.float32(10 ** random.uniform(-1, 0))
        parts += [clip, np.zeros(int(random.uniform(0, 9_600)), dtype=np.float32)]
    target = np.concatenate(parts)
    hiss = random.standard_normal(len(target)) * 10 ** random.uniform(-4.5, -2) * (seed % 3 > 0)
    target = (target + hiss).astype(np.float32)
    for mode in ("wb", "nb"):
        ours = pesq._lengthened(pesq.voice_activity(pesq.filtered(target, mode)))
        assert ours.tolist() == call(theirs, target, mode)
