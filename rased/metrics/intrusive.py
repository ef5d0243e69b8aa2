"""Metrics that compare with a reference: PESQ, STOI, ESTOI, SI-SDR."""

import warnings

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rased.metrics.base import SILENCE, Metric, Undefined
from rased.signal.ratios import BOUND_DB, si_sdr


class PESQWideband(Metric):
    """Perceptual evaluation of speech quality, wide band: ITU-T P.862.2 (the `pesq` package).

    Corrigendum 2 is not in it; other builds differ by up to 0.4: compare one version only.
    """

    name = "pesq-wb"
    title = "PESQ wb"
    unit = "MOS"
    # The ends of the logistic of P.862.2 for raw scores from -0.5 to 4.5.
    range = (1.0, 4.65)
    sample_rate = 16_000
    packages = ("pesq",)
    minimum = 0.25

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """MOS-LQO; undefined where PESQ finds no utterance in the target."""
        from pesq import BufferTooShortError, NoUtterancesError, PesqError, pesq

        assert target is not None
        try:
            return float(
                pesq(16_000, target.numpy(), estimate.numpy(), "wb", PesqError.RAISE_EXCEPTION)
            )
        except NoUtterancesError:
            raise Undefined("PESQ finds no speech") from None
        except BufferTooShortError:
            raise Undefined("too short for PESQ") from None


class STOI(Metric):
    """Short-time objective intelligibility: Taal et al., IEEE TASLP 19(7), 2011 (`pystoi`)."""

    name = "stoi"
    title = "STOI"
    range = (-1.0, 1.0)
    sample_rate = 16_000
    packages = ("pystoi",)
    # 30 frames of 25.6 ms, half overlapping, at the package's 10 kHz.
    minimum = 0.4
    extended = False

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """Correlation of third-octave envelopes; undefined below 0.4 s (30 frames) of speech."""
        from pystoi import stoi

        assert target is not None
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "error", message="Not enough STFT frames", category=RuntimeWarning
            )
            try:
                return float(stoi(target.numpy(), estimate.numpy(), 16_000, extended=self.extended))
            except RuntimeWarning:
                raise Undefined("less than 0.4 s of speech") from None


class ESTOI(STOI):
    """Extended STOI: Jensen and Taal, IEEE/ACM TASLP 24(11), 2016 (the `pystoi` package).

    The package adds tiny random numbers before it normalises; they are seeded here, and numpy's
    global generator is left as it was found.
    """

    name = "estoi"
    title = "ESTOI"
    extended = True

    @property
    def version(self) -> str:
        """Package and seed."""
        return f"{super().version}, seed 0"

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """Correlation of normalised spectrograms; undefined below 0.4 s of speech."""
        # The package draws from the global generator and takes no other.
        found = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        try:
            return super().measure(estimate, target)
        finally:
            np.random.set_state(found)  # noqa: NPY002


class SISDR(Metric):
    """Scale-invariant signal-to-distortion ratio: `rased.signal.ratios.si_sdr`, means removed.

    Bounded to 100 dB either way; a silent signal is undefined here, where the loss needs a number.
    """

    name = "si-sdr"
    title = "SI-SDR"
    unit = "dB"
    range = (-BOUND_DB, BOUND_DB)

    @property
    def version(self) -> str:
        """Our own definition, numbered."""
        return "rased 1, means removed"

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """Ratio in dB, in double precision; undefined where a signal is constant."""
        assert target is not None
        for role, signal in (("target", target), ("estimate", estimate)):
            if float(signal.max() - signal.min()) <= SILENCE:
                raise Undefined(f"the {role} is constant")
        return float(si_sdr(estimate=estimate.double()[None], target=target.double()[None])[0])
