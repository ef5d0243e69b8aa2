"""Metrics that listen to the estimate alone: DNSMOS P.835 and P.808, NISQA, UTMOS."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rased.metrics.base import Metric, Undefined, package_file, remember
from rased.metrics.mel import mel_power
from rased.native import call, onnx

RATE = 16_000
WINDOW_SECONDS = 9.01
WINDOW = 144_160

# sig, bak, ovrl: raw network output -> MOS, as the authors fitted it, highest power first.
POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)


class DNSMOS(Metric):
    """A value of DNSMOS: Reddy, Gopal, Cutler, ICASSP 2021 (P.808) and ICASSP 2022 (P.835).

    The networks inside the `speechmos` package are run directly (the package itself imports
    librosa), with one thread. Samples beyond full scale are clipped, as a 16-bit file would. A clip
    of 9.01 s or more is cut as the package cuts it: windows of 9.01 s at whole seconds, averaged. A
    shorter clip is repeated until it fills one window, and that one window is scored; the package
    goes on to average up to eight shifted windows of the same repetition, at as many times the
    cost.
    """

    family = "dnsmos"
    unit = "MOS"
    range = (-1.0, 6.0)  # polynomials of plain outputs, fitted to 1 .. 5: the worst has less than 1
    sample_rate = RATE
    needs_reference = False
    packages = ("speechmos", "onnxruntime")
    minimum = 0.5
    network: ClassVar[str] = "sig_bak_ovr.onnx"
    part: ClassVar[int]

    @property
    def version(self) -> str:
        """Package and windows; the runtime does not matter to the digits that are shown."""
        return f"{super().version.partition(',')[0]} {self.network}, one window below 9.01 s"

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """MOS; the three parts of one utterance cost one run of the network."""
        return p835(estimate.numpy())[self.part]


class DNSMOSSignal(DNSMOS):
    """How natural the speech sounds."""

    name = "dnsmos-sig"
    title = "DNSMOS SIG"
    part = 0


class DNSMOSBackground(DNSMOS):
    """How little the background disturbs."""

    name = "dnsmos-bak"
    title = "DNSMOS BAK"
    part = 1


class DNSMOSOverall(DNSMOS):
    """The quality as a whole."""

    name = "dnsmos-ovrl"
    title = "DNSMOS OVRL"
    part = 2


class DNSMOSP808(DNSMOS):
    """The quality as listeners without training rate it in one number (ITU-T P.808)."""

    name = "dnsmos-p808"
    title = "DNSMOS P.808"
    network = "model_v8.onnx"

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """MOS."""
        features = np.stack([_p808_features(w) for w in windows(_clipped(estimate.numpy()))])
        return float(_run(self.network, features).mean())


class NISQA(Metric):
    """Overall quality by NISQA 2.0: Mittag, Naderi, Chehadi, Möller, Interspeech 2021.

    The network in torchmetrics, whose weights (CC BY-NC-SA 4.0) are not downloaded from here. It
    was trained at 48 kHz; the 16 kHz of these evaluations sound narrow to it, so that values
    compare with such rows only.
    """

    name = "nisqa"
    title = "NISQA"
    unit = "MOS"
    range = (0.0, 6.0)  # a plain linear output, fitted to 1 .. 5
    sample_rate = RATE
    needs_reference = False
    packages = ("torchmetrics", "librosa", "requests")
    minimum = 0.5
    source = "https://github.com/gabrielmittag/NISQA/raw/master/weights/nisqa.tar"

    @property
    def version(self) -> str:
        """Package, rate and weights."""
        return f"{super().version.partition(',')[0]}, 16 kHz, weights {_fingerprint(self.weights)}"

    @property
    def weights(self) -> Path:
        """Where torchmetrics looks for them."""
        return Path("~/.torchmetrics/NISQA/nisqa.tar").expanduser()

    def unavailable(self) -> str:
        """Packages first, then the weights."""
        return super().unavailable() or _missing_weights(self.weights, self.source)

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """MOS; undefined where torchmetrics finds the clip too short or too long (52 s)."""
        from torchmetrics.functional.audio.nisqa import non_intrusive_speech_quality_assessment

        try:
            return float(non_intrusive_speech_quality_assessment(estimate, RATE)[0])
        except RuntimeError as error:
            raise Undefined(str(error).rstrip(".")) from None


class UTMOS(Metric):
    """Naturalness by UTMOS: Saeki et al., Interspeech 2022; the closest to listeners in URGENT 2024.

    The authors' code cannot be installed beside a current torch. Where an ONNX export of the strong
    learner (input: (1, time) at 16 kHz; output: one number) lies at `weights`, it is run; its
    fingerprint is part of the version.
    """

    name = "utmos"
    title = "UTMOS"
    unit = "MOS"
    range = (0.0, 6.0)  # a plain linear output, fitted to 1 .. 5
    sample_rate = RATE
    needs_reference = False
    packages = ("onnxruntime",)
    minimum = 0.5
    source = "an ONNX export of github.com/tarepan/SpeechMOS utmos22_strong"

    @property
    def version(self) -> str:
        """The weights are all that matters."""
        return f"utmos22 strong, weights {_fingerprint(self.weights)}"

    @property
    def weights(self) -> Path:
        """utmos.onnx in the user's cache, below `rased`."""
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(cache).expanduser() / "rased" / "utmos.onnx"

    def unavailable(self) -> str:
        """Package first, then the weights."""
        return super().unavailable() or _missing_weights(self.weights, self.source)

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """MOS."""
        return float(np.mean(call(onnx.run, str(self.weights), estimate.numpy()[None])))


def windows(waveform: Float[np.ndarray, " time"]) -> Float[np.ndarray, "windows 144160"]:
    """The stretches of 9.01 s that the network hears; a shorter waveform is repeated into one."""
    if len(waveform) < WINDOW:
        return np.resize(waveform, (1, WINDOW))
    count = int(len(waveform) // RATE - WINDOW_SECONDS) + 1
    # The package computes the end of a window in floating point and leaves out a window that comes
    # out one sample short (those at 7 to 23 s, for instance). Everyone's published values do; so do
    # ours.
    starts = [
        RATE * second
        for second in range(count)
        if int((second + WINDOW_SECONDS) * RATE) - RATE * second == WINDOW
    ]
    return np.stack([waveform[start : start + WINDOW] for start in starts])


@remember
def p835(waveform: Float[np.ndarray, " time"]) -> tuple[float, float, float]:
    """Signal, background and overall MOS of 16 kHz audio; three metrics share one run."""
    raw = _run(DNSMOS.network, windows(_clipped(waveform)))
    sig, bak, ovrl = (
        float(np.polyval(polynomial, raw[:, part]).mean())
        for part, polynomial in enumerate(POLYNOMIALS)
    )
    return sig, bak, ovrl


def _p808_features(window: Float[np.ndarray, "144160"]) -> Float[np.ndarray, "frames 120"]:
    """Mel power in dB below the window's highest, at most 80 dB, scaled to -1 .. 1."""
    power = mel_power(window[:-160], sample_rate=RATE, n_fft=321, hop_length=160, bands=120)
    level = 10 * np.log10(np.maximum(power, 1e-10))
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
