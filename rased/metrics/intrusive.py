"""Metrics that compare the waveform with a reference: PESQ, STOI, ESTOI, SI-SDR, SDR, SNR."""

import warnings

import numpy as np
from jaxtyping import Float

from rased.metrics.base import SILENCE, Metric, Undefined, remember
from rased.native import call, pesq
from rased.signal.domains import Samples
from rased.signal.ratios import BOUND_DB, si_sdr, snr


class PESQWideband(Metric):
    """Perceptual evaluation of speech quality, wide band: ITU-T P.862.2 (the `pesq` package).

    The package does not implement Corrigendum 2. Other implementations differ by up to 0.4, so compare only values
    of the same version.
    """

    name = "pesq-wb"
    title = "PESQ wb"
    family = "pesq"
    unit = "MOS"
    # Ends of the logistic function of P.862.2 for raw scores from -0.5 to 4.5.
    range = (1.0, 4.65)
    sample_rate = 16_000
    blind_to = ("level",)
    packages = ("pesq",)
    minimum = 0.25
    mode = "wb"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the MOS-LQO; undefined if PESQ finds no utterance in the target, or more than 50."""
        assert target is not None
        return pesq_mos(target.numpy(), estimate.numpy(), self.mode)


class PESQNarrowband(PESQWideband):
    """PESQ, narrow band: ITU-T P.862 with the mapping to MOS-LQO of P.862.1 (the `pesq` package).

    Computed from 16 kHz audio; the narrow-band filter removes its upper half. Some authors
    report the raw score of P.862 under the same name, which is higher in the middle of the scale
    (2.45 and 2.16 for the same noisy set): raw = (4.6607 - ln(4 / (MOS - 0.999) - 1)) / 1.4945.
    """

    name = "pesq-nb"
    title = "PESQ nb"
    # Ends of the logistic function of P.862.1.
    range = (1.0, 4.55)
    mode = "nb"

    @property
    def version(self) -> str:
        """Return the package version and the scale in use."""
        return f"{super().version}, MOS-LQO of P.862.1 at 16 kHz"


@remember
def pesq_mos(
    target: Float[np.ndarray, " time"], estimate: Float[np.ndarray, " time"], mode: str
) -> float:
    """Return the MOS-LQO at 16 kHz, `mode` "wb" or "nb".

    Raises:
        Undefined: no utterance in the target, too short, or too long for the arrays of the C code.
    """
    value = call(pesq.measure, target, estimate, mode)
    if isinstance(value, str):
        raise Undefined(value)
    return value


class STOI(Metric):
    """Short-time objective intelligibility: Taal et al., IEEE TASLP 19(7), 2011 (`pystoi`)."""

    name = "stoi"
    title = "STOI"
    family = "stoi"
    range = (-1.0, 1.0)
    sample_rate = 16_000
    blind_to = ("level",)
    packages = ("pystoi",)
    # 30 frames of 25.6 ms with half overlap, at the package's rate of 10 kHz.
    minimum = 0.4
    extended = False

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the correlation of third-octave envelopes; undefined below 0.4 s (30 frames) of speech."""
        from pystoi import stoi

        assert target is not None
        with warnings.catch_warnings():
            # The package warns and returns 1e-5 for too little speech.
            warnings.filterwarnings(
                "error", message="Not enough STFT frames", category=RuntimeWarning
            )
            try:
                return float(stoi(target.numpy(), estimate.numpy(), 16_000, extended=self.extended))
            except RuntimeWarning:
                raise Undefined("less than 0.4 s of speech") from None


class ESTOI(STOI):
    """Extended STOI: Jensen and Taal, IEEE/ACM TASLP 24(11), 2016 (the `pystoi` package).

    The package adds tiny random numbers before it normalises. They are seeded here, and the state of numpy's
    global generator is restored afterwards.
    """

    name = "estoi"
    title = "ESTOI"
    extended = True

    @property
    def version(self) -> str:
        """Return the package version and the seed."""
        return f"{super().version}, seed 0"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the correlation of normalised spectrograms; undefined below 0.4 s of speech."""
        # The package can only draw from numpy's global generator.
        found = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        try:
            return super().measure(estimate, target)
        finally:
            np.random.set_state(found)  # noqa: NPY002


class SISDR(Metric):
    """Scale-invariant signal-to-distortion ratio: `rased.signal.ratios.si_sdr`, means removed.

    Limited to ±100 dB. A silent signal is undefined here, whereas the loss returns a number.
    """

    name = "si-sdr"
    title = "SI-SDR"
    family = "sdr"
    unit = "dB"
    range = (-BOUND_DB, BOUND_DB)
    blind_to = ("level", "offset")

    @property
    def version(self) -> str:
        """Return the number of our definition."""
        return "rased 1, means removed"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the ratio in dB, in double precision; undefined if a signal is constant."""
        assert target is not None
        for role, signal in (("target", target), ("estimate", estimate)):
            if float(signal.max() - signal.min()) <= SILENCE:
                raise Undefined(f"the {role} is constant")
        return float(si_sdr(estimate=estimate.double()[None], target=target.double()[None])[0])


class SDR(Metric):
    """Signal-to-distortion ratio of BSS-eval: Vincent, Gribonval, Févotte, IEEE TASLP 14(4), 2006.

    Any filter of 512 taps (32 ms at 16 kHz) applied to the target is allowed, so that colouration and
    small delays have no effect (torchmetrics, after Scheibler, ICASSP 2022; equal to mir_eval).
    Means are not removed. Limited to ±100 dB.
    """

    name = "sdr"
    title = "SDR"
    family = "sdr"
    unit = "dB"
    range = (-BOUND_DB, BOUND_DB)
    blind_to = ("level",)
    packages = ("torchmetrics",)
    minimum = 0.1
    taps = 512

    @property
    def version(self) -> str:
        """Return the package version and the length of the filter."""
        return f"{super().version}, {self.taps} taps"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the ratio in dB, in double precision."""
        from torchmetrics.functional.audio import signal_distortion_ratio

        assert target is not None
        # load_diag: keeps the equations solvable for a target without power at some frequencies.
        ratio = signal_distortion_ratio(
            estimate.double(), target.double(), filter_length=self.taps, load_diag=1e-10
        )
        return float(ratio.clamp(-BOUND_DB, BOUND_DB))


class SNR(Metric):
    """Signal-to-noise ratio: power of the target over that of the difference (`rased.signal.ratios.snr`).

    Level, offset and delay of the estimate all count as noise. Limited to ±100 dB.
    """

    name = "snr"
    title = "SNR"
    family = "sdr"
    unit = "dB"
    range = (-BOUND_DB, BOUND_DB)
    minimum = 0.01

    @property
    def version(self) -> str:
        """Return the number of our definition."""
        return "rased 1"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the ratio in dB, in double precision."""
        assert target is not None
        return float(snr(estimate=estimate.double()[None], target=target.double()[None])[0])
