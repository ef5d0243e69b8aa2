"""PESQ by the `pesq` package, with checks for the fixed-size arrays of its C code (from ITU-T P.862).

The arrays hold 50 utterances and 1000 bad intervals. The C code does not check these limits: larger inputs overwrite
memory, which first changes the result and then crashes the process. Therefore utterances are counted first, like in
the C code: by voice activity in the filtered reference. The filter coefficients are those of the C code.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

RATE = 16_000
UTTERANCES = 50
LONGEST = 95.0
"""Seconds. A bad interval takes 5 frames of 16 ms plus one in between, so shorter inputs have at most 1000."""

_WINDOW = 64
"""Samples per window of the voice activity detector (4 ms)."""
_EDGE = 75
"""Windows of silence that the C code adds before and after the signal."""
_SHORTEST, _JOINED, _UTTERANCE = 4, 50, 50
"""Windows: shorter speech is ignored, shorter pauses are bridged, and an utterance has at least this length."""
_PADDING = RATE * 320 // 1000
_SAFE = UTTERANCES * (_UTTERANCE + _JOINED - 4) * _WINDOW / RATE
"""Seconds that are too short for 50 utterances."""

# Frequency in Hz and gain in dB of a telephone's receiving side (narrow band).
_TELEPHONE = (
    *((0, -200), (50, -40), (100, -20), (125, -12), (160, -6), (200, 0), (250, 4), (300, 6)),
    *((350, 8), (400, 10), (500, 11), (600, 12), (3250, 12), (3500, 4), (4000, -200), (8000, -200)),
)
# Second-order sections b0 b1 b2 a1 a2: a high pass (wide band), and the filter before voice activity detection.
_HIGH_PASS = ((2.740826, -5.4816519, 2.740826, -1.9444777, 0.94597794),)
_SPEECH_BAND = (
    (0.325631521, -0.086782860, -0.238848661, -1.079416490, 0.434583902),
    (0.403961804, -0.556985881, 0.153024077, -0.415115835, 0.696590244),
    (4.736162769, 3.287251046, 1.753289019, -1.859599046, 0.876284034),
    (0.365373469, 0.0, 0.0, -0.634626531, 0.0),
    (0.884811506, 0.0, 0.0, -0.256725271, 0.141536777),
    (0.723593055, -1.447186099, 0.723593044, -1.129587469, 0.657232737),
    (1.644910855, -1.817280902, 1.249658063, -1.778403899, 0.801724355),
    (0.633692689, -0.284644314, -0.319789663, 0.0, 0.0),
    (1.032763031, 0.268428979, 0.602913323, 0.0, 0.0),
    (1.001616361, -0.823749013, 0.439731942, -0.885778255, 0.0),
    (0.752472096, -0.375388990, 0.188977609, -0.077258216, 0.247230734),
    (1.023700575, 0.001661628, 0.521284240, -0.183867259, 0.354324187),
)


def measure(
    target: Float[np.ndarray, " time"], estimate: Float[np.ndarray, " time"], mode: str
) -> float | str:
    """Return the MOS-LQO at 16 kHz, `mode` "wb" or "nb"; or the reason why there is none."""
    from pesq import BufferTooShortError, NoUtterancesError, PesqError, pesq

    if len(target) > LONGEST * RATE:
        return f"longer than {LONGEST:g} s, which PESQ's arrays may not hold"
    if len(target) > _SAFE * RATE and utterances(target, mode) > UTTERANCES:
        return f"more than {UTTERANCES} utterances, which PESQ's arrays do not hold"
    try:
        return float(pesq(RATE, target, estimate, mode, PesqError.RAISE_EXCEPTION))
    except NoUtterancesError:
        return "PESQ finds no speech"
    except BufferTooShortError:
        return "too short for PESQ"
    except ValueError:  # the package converts a level of NaN to an integer
        return "PESQ has no value for audio that is silent or not finite"


def utterances(target: Float[np.ndarray, " time"], mode: str) -> int:
    """Return the number of array entries that the C code uses: its utterances, plus a last one too short to count.

    The C code leaves out utterances that a delay of the estimate moves beyond the ends; they are counted here.
    """
    counted = written = 0
    for start, end in _runs(_lengthened(voice_activity(filtered(target, mode)))):
        written = counted + 1
        counted += end - start >= _UTTERANCE
    return written


def filtered(target: Float[np.ndarray, " time"], mode: str) -> Float[np.ndarray, " padded"]:
    """Return the input of the voice activity detector: the reference with silence on both sides, filtered twice."""
    from scipy.signal import sosfilt  # a second of imports, which other metrics do without

    edge = _EDGE * _WINDOW
    padded = np.pad(target.astype(np.float64), (edge, edge + _PADDING))
    inner = slice(edge, edge + len(target))
    if mode == "wb":
        ramp = np.arange(16) / 16
        padded[edge - 1 : edge + 15] *= ramp
        padded[edge + len(target) - 15 : edge + len(target) + 1] *= ramp[::-1]
        padded[inner] = sosfilt(_sections(_HIGH_PASS), padded[inner])
    else:
        padded[edge:-edge] = _through_telephone(padded[edge:-edge])
    padded[inner] -= padded[inner].sum() / (len(target) + 2 * edge)
    ramp = (0.5 + np.arange(_WINDOW)) / _WINDOW
    padded[edge : edge + _WINDOW] *= ramp
    padded[edge + len(target) - _WINDOW : edge + len(target)] *= ramp[::-1]
    heard = sosfilt(_sections(_SPEECH_BAND), padded)
    return heard[: len(target) + 2 * edge]


def voice_activity(heard: Float[np.ndarray, " padded"]) -> Bool[np.ndarray, " windows"]:
    """Return the windows with speech, before their ends are extended."""
    count = len(heard) // _WINDOW
    power = np.square(heard[: count * _WINDOW]).reshape(count, _WINDOW).mean(1)
    least = power.max() * 1e-4 if power.max() > 0 else 1.0
    threshold = power.mean()
    power = np.maximum(power, least)
    for _ in range(12):
        quiet = power[power <= threshold]
        mean, spread = (quiet.mean(), quiet.std()) if len(quiet) else (0.0, 0.0)
        threshold = 1.001 * (mean + 2.0 * spread)
    active = power > threshold
    signal = power[active].mean() if active.any() else 0.0
    noise = power[~active].mean() if not active.all() else 1.0
    threshold = threshold if active.any() else -1.0
    active[[0, -1]] = False
    for start, end in _runs(active):
        if end - start <= _SHORTEST:
            active[start:end] = False
    if signal >= 1000.0 * noise:
        for start, end in _runs(active):
            if power[start:end].sum() < 3.0 * threshold * (end - start):
                active[start:end] = False
    runs = _runs(active)
    for (_, end), (start, _) in pairwise(runs):
        if start - end <= _JOINED:
            active[end:start] = True
    if not runs:
        active[1:-1] = True
    return active


def _lengthened(active: Bool[np.ndarray, " windows"]) -> Bool[np.ndarray, " windows"]:
    """Extend speech by two windows at both ends, in the order of the C code."""
    longer, place = active.tolist(), 3
    while place < len(longer) - 2:
        if longer[place] and not longer[place - 2]:
            longer[place - 2] = longer[place - 1] = True
            place += 1
        if not longer[place] and longer[place - 1]:
            longer[place] = longer[place + 1] = True
            place += 3
        place += 1
    return np.array(longer)


def _runs(active: Bool[np.ndarray, " windows"]) -> list[tuple[int, int]]:
    """Return start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _through_telephone(signal: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    size = 1 << (len(signal) - 1).bit_length()
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    gain_db = np.interp(hertz, *np.array(_TELEPHONE, dtype=np.float64).T) - 12.0
    return np.fft.irfft(np.fft.rfft(signal, size) * 10 ** (gain_db / 20), size)[: len(signal)]


@lru_cache(maxsize=2)
def _sections(
    rows: tuple[tuple[float, ...], ...],
) -> Float[np.ndarray, "section 6"]:
    """Return the rows with a0 = 1 inserted, the format of scipy."""
    return np.insert(np.array(rows), 3, 1.0, axis=1)
