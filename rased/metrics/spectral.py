"""Spectral distances from the reference: log-spectral distance, mel-cepstral distortion."""

import numpy as np

from rased.metrics.base import Metric
from rased.signal.domains import Samples
from rased.signal.features import mfcc, power
from rased.signal.stft import STFT

TRANSFORM = STFT(n_fft=512, hop_length=128, win_length=512, window="hann")
"""Window and hop: 32 ms every 8 ms at 16 kHz."""


class LogSpectralDistance(Metric):
    """Root mean square over frequency of the difference of log spectra in dB; mean over frames.

    Gray and Markel, IEEE TASSP 24(5), 1976. Each spectrogram is limited to the 50 dB below its own
    maximum, as in Habets, "Speech dereverberation using statistical reverberation models"
    (2010), so that inaudible differences do not count.
    """

    name = "lsd"
    title = "LSD"
    unit = "dB"
    direction = "lower"
    range = (0.0, float("inf"))
    sample_rate = 16_000
    minimum = 0.032
    dynamics_db = 50.0

    @property
    def version(self) -> str:
        """Return our definition and its settings."""
        return f"rased 1, {self.dynamics_db:g} dB of dynamics, 32 ms every 8 ms"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the distance in dB."""
        assert target is not None
        levels = []
        for signal in (estimate, target):
            spectrum = power(TRANSFORM.analysis(signal[None]))[0].double()
            floor = float(spectrum.max()) * 10 ** (-self.dynamics_db / 10)
            levels.append(10 * spectrum.clamp(min=floor).log10())
        return float((levels[0] - levels[1]).square().mean(0).sqrt().mean())


class MelCepstralDistortion(Metric):
    """Distance of mel cepstra in dB without the zeroth coefficient: Kubichek, PACRIM 1993.

    10 / ln 10 * sqrt(2 * sum over d = 1 .. 24 of the squared difference), mean over frames, for
    coefficients on Kubichek's scale: (2 / K) * sum over K = 40 mel bands of ln |X_k| cos(d (k - 1/2)
    pi / K). Signals are compared frame by frame, without time warping. Values in papers on speech synthesis, from
    vocoder features and warped frames, are on another scale.
    """

    name = "mcd"
    title = "MCD"
    unit = "dB"
    direction = "lower"
    range = (0.0, float("inf"))
    sample_rate = 16_000
    minimum = 0.032
    bands = 40
    coefficients = 24

    @property
    def version(self) -> str:
        """Return our definition and its settings."""
        return f"rased 1, {self.coefficients} coefficients of {self.bands} bands, 32 ms every 8 ms"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the distance in dB."""
        assert target is not None
        assert self.sample_rate is not None
        # One coefficient more, because the zeroth one, the level, is left out.
        cepstra = [
            mfcc(
                TRANSFORM.analysis(signal[None]),
                bands=self.bands,
                coefficients=self.coefficients + 1,
                sample_rate=self.sample_rate,
            )[0, 1:].double()
            for signal in (estimate, target)
        ]
        # Orthonormal DCT coefficients of log power are sqrt(2 K) times Kubichek's.
        square = (cepstra[0] - cepstra[1]).square().sum(0) / self.bands
        return float(10 / np.log(10) * square.sqrt().mean())
