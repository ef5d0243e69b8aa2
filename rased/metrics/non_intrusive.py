"""Metrics that need no reference: DNSMOS P.835 and P.808, NISQA, UTMOS."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from rased.metrics.base import Metric, Undefined, package_file, remember
from rased.metrics.mel import mel_power
from rased.native import call, onnx
from rased.signal.domains import Samples

RATE = 16_000
WINDOW_SECONDS = 9.01
WINDOW = 144_160

# sig, bak, ovrl: polynomials from raw network output to MOS, as fitted by the authors, highest power first.
POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)


class DNSMOS(Metric):
    """A value of DNSMOS: Reddy, Gopal, Cutler, ICASSP 2021 (P.808) and ICASSP 2022 (P.835).

    The networks inside the `speechmos` package are run directly, with one thread, since the package itself imports
    librosa. Samples beyond full scale are clipped, as in a 16-bit file. A clip
    of 9.01 s or more is cut as in the package: windows of 9.01 s at whole seconds, averaged. A
    shorter clip is repeated until it fills one window, and that window is scored. (The package
    averages up to eight shifted windows of the same repetition instead, which costs up to eight times as much.)
    """

    family = "dnsmos"
    unit = "MOS"
    # Polynomials fitted to 1 .. 5 can exceed these limits: the worst clips score below 1.
    range = (-1.0, 6.0)
    sample_rate = RATE
    needs_reference = False
    packages = ("speechmos", "onnxruntime")
    minimum = 0.5
    network: ClassVar[str] = "sig_bak_ovr.onnx"
    part: ClassVar[int]

    @property
    def version(self) -> str:
        """Return package and windows; the version of the runtime does not affect the digits shown."""
        return f"{super().version.partition(',')[0]} {self.network}, one window below 9.01 s"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return a MOS; the three values of one utterance share one run of the network."""
        return p835(estimate.numpy())[self.part]


class DNSMOSSignal(DNSMOS):
    """Naturalness of the speech."""

    name = "dnsmos-sig"
    title = "DNSMOS SIG"
    part = 0


class DNSMOSBackground(DNSMOS):
    """Absence of background disturbance."""

    name = "dnsmos-bak"
    title = "DNSMOS BAK"
    part = 1


class DNSMOSOverall(DNSMOS):
    """Overall quality."""

    name = "dnsmos-ovrl"
    title = "DNSMOS OVRL"
    part = 2


class DNSMOSP808(DNSMOS):
    """Overall quality as rated by untrained listeners (ITU-T P.808)."""

    name = "dnsmos-p808"
    title = "DNSMOS P.808"
    network = "model_v8.onnx"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the MOS."""
        features = np.stack([_p808_features(w) for w in windows(_clipped(estimate.numpy()))])
        return float(_run(self.network, features).mean())


class NISQA(Metric):
    """Overall quality by NISQA 2.0: Mittag, Naderi, Chehadi, Möller, Interspeech 2021.

    The network in torchmetrics; rased does not download its weights (CC BY-NC-SA 4.0). It
    was trained at 48 kHz, so 16 kHz audio sounds band-limited to it: compare values only with others at
    16 kHz.
    """

    name = "nisqa"
    title = "NISQA"
    unit = "MOS"
    range = (0.0, 6.0)  # a linear output, fitted to 1 .. 5
    sample_rate = RATE
    needs_reference = False
    packages = ("torchmetrics", "librosa", "requests")
    minimum = 0.5
    source = "https://github.com/gabrielmittag/NISQA/raw/master/weights/nisqa.tar"

    @property
    def version(self) -> str:
        """Return package, rate and weights."""
        return f"{super().version.partition(',')[0]}, 16 kHz, weights {_fingerprint(self.weights)}"

    @property
    def weights(self) -> Path:
        """Return the path where torchmetrics expects the weights."""
        return Path("~/.torchmetrics/NISQA/nisqa.tar").expanduser()

    def unavailable(self) -> str:
        """Return the missing packages; if none, the missing weights."""
        return super().unavailable() or _missing_weights(self.weights, self.source)

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return a MOS; undefined if the clip is too short or too long (52 s) for torchmetrics."""
        from torchmetrics.functional.audio.nisqa import non_intrusive_speech_quality_assessment

        try:
            return float(non_intrusive_speech_quality_assessment(estimate, RATE)[0])
        except RuntimeError as error:
            raise Undefined(str(error).rstrip(".")) from None


class UTMOS(Metric):
    """Naturalness by UTMOS: Saeki et al., Interspeech 2022; in URGENT 2024 the metric closest to listeners.

    The authors' code cannot be installed together with a current torch. Instead, an ONNX export of the strong
    learner (input: (1, time) at 16 kHz; output: one number) is used if there is one at `weights`. Its
    fingerprint is part of the version.
    """

    name = "utmos"
    title = "UTMOS"
    unit = "MOS"
    range = (0.0, 6.0)  # a linear output, fitted to 1 .. 5
    sample_rate = RATE
    needs_reference = False
    packages = ("onnxruntime",)
    minimum = 0.5
    source = "an ONNX export of github.com/tarepan/SpeechMOS utmos22_strong"

    @property
    def version(self) -> str:
        """Return the fingerprint of the weights."""
        return f"utmos22 strong, weights {_fingerprint(self.weights)}"

    @property
    def weights(self) -> Path:
        """Return the path of utmos.onnx, in the folder `rased` of the user's cache."""
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(cache).expanduser() / "rased" / "utmos.onnx"

    def unavailable(self) -> str:
        """Return the missing package; if none, the missing weights."""
        return super().unavailable() or _missing_weights(self.weights, self.source)

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the MOS."""
        return float(np.mean(call(onnx.run, str(self.weights), estimate.numpy()[None])))


def windows(waveform: Float[np.ndarray, " time"]) -> Float[np.ndarray, "windows 144160"]:
    """Return the windows of 9.01 s that the network gets; a shorter waveform is repeated to fill one."""
    if len(waveform) < WINDOW:
        return np.resize(waveform, (1, WINDOW))
    count = int(len(waveform) // RATE - WINDOW_SECONDS) + 1
    # The package computes the end of a window in floating point and drops a window that comes out one sample
    # short (for example those at 7 to 23 s). We do the same, because all published values do.
    starts = [
        RATE * second
        for second in range(count)
        if int((second + WINDOW_SECONDS) * RATE) - RATE * second == WINDOW
    ]
    return np.stack([waveform[start : start + WINDOW] for start in starts])


@remember
def p835(waveform: Float[np.ndarray, " time"]) -> tuple[float, float, float]:
    """Return signal, background and overall MOS of 16 kHz audio; three metrics share one run."""
    raw = _run(DNSMOS.network, windows(_clipped(waveform)))
    sig, bak, ovrl = (
        float(np.polyval(polynomial, raw[:, part]).mean())
        for part, polynomial in enumerate(POLYNOMIALS)
    )
    return sig, bak, ovrl


def _p808_features(window: Float[np.ndarray, "144160"]) -> Float[np.ndarray, "frames 120"]:
    """Return the mel power in dB relative to the maximum of the window, at least -80 dB, scaled to -1 .. 1."""
    # As in the package: without the last 10 ms, and with windows of an odd number of samples.
    power = mel_power(window[:-160], sample_rate=RATE, n_fft=321, hop_length=160, bands=120)
    level = 10 * np.log10(np.maximum(power, 1e-10))
    # As librosa.power_to_db with ref=np.max, then (x + 40) / 40 as in the package.
    return ((np.maximum(level - level.max(), -80.0) + 40) / 40).astype(np.float32)


def _clipped(waveform: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    return np.ascontiguousarray(waveform, dtype=np.float32).clip(-1.0, 1.0)


def _run(network: str, heard: Float[np.ndarray, "windows ..."]) -> Float[np.ndarray, "windows mos"]:
    return call(onnx.run, str(package_file("speechmos", "dnsmos_models", network)), heard)


def _missing_weights(path: Path, source: str) -> str:
    return "" if path.is_file() else f"put {source} at {path}"


@lru_cache(maxsize=4)
def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "missing"
