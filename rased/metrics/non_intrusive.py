"""Metrics that listen to the estimate alone: DNSMOS P.835."""

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rased.metrics.base import Metric

RATE = 16_000
WINDOW_SECONDS = 9.01
WINDOW = 144_160
BATCH = 8

# sig, bak, ovrl: raw network output -> MOS, as the authors fitted it, highest power first.
POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)


class DNSMOS(Metric):
    """One of the three values of DNSMOS P.835: Reddy, Gopal, Cutler, ICASSP 2022.

    The network inside the `speechmos` package is run directly (the package itself imports librosa,
    which only its P.808 network needs), with one thread. Samples beyond full scale are clipped, as
    a 16-bit file would. A clip of 9.01 s or more is cut as the package cuts it: windows of 9.01 s
    at whole seconds, averaged. A shorter clip is repeated until it fills one window, and that one
    window is scored; the package goes on to average up to eight shifted windows of the same
    repetition, at as many times the cost.
    """

    unit = "MOS"
    range = (1.0, 5.0)
    sample_rate = RATE
    needs_reference = False
    packages = ("speechmos", "onnxruntime")
    minimum = 0.5
    part: ClassVar[int]

    @property
    def version(self) -> str:
        """Package and windows; the runtime does not matter to the digits that are shown."""
        return f"{super().version.partition(',')[0]} sig_bak_ovr.onnx, one window below 9.01 s"

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


_last: tuple[bytes, tuple[float, float, float]] = b"", (0.0, 0.0, 0.0)


def p835(waveform: Float[np.ndarray, " time"]) -> tuple[float, float, float]:
    """Signal, background and overall MOS of 16 kHz audio; three metrics share one run."""
    global _last
    samples = np.ascontiguousarray(waveform, dtype=np.float32).clip(-1.0, 1.0)
    digest = hashlib.sha256(samples.tobytes()).digest()
    if _last[0] != digest:
        heard = windows(samples)
        raw = np.concatenate(
            [
                _session().run(None, {"input_1": heard[start : start + BATCH]})[0]
                for start in range(0, len(heard), BATCH)
            ]
        ).astype(np.float64)
        sig, bak, ovrl = (
            float(np.polyval(polynomial, raw[:, part]).mean())
            for part, polynomial in enumerate(POLYNOMIALS)
        )
        _last = digest, (sig, bak, ovrl)
    return _last[1]


@lru_cache(maxsize=1)
def _session() -> Any:
    import onnxruntime

    found = find_spec("speechmos")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "dnsmos_models" / "sig_bak_ovr.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
