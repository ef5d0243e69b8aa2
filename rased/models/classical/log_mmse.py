"""MMSE estimation of the log-spectral amplitude.

Paper: Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error log-spectral
amplitude estimator", IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550. Where this code differs:
the noise is tracked (`noise.MMSETracker`). The defaults were chosen on validation data.

No parameters; about 40 operations per bin and frame.
"""

from rased.models.classical.frames import DecisionDirected
from rased.models.classical.gains import Row, log_mmse_gain


class LogMMSE(DecisionDirected):
    """Least squared error of the log amplitude; causal. Arguments: see `DecisionDirected`."""

    paper = (
        "Ephraim, Malah: Speech enhancement using a minimum mean-square error log-spectral "
        "amplitude estimator, IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550"
    )

    def __init__(
        self,
        *,
        n_fft: int = 512,
        hop_length: int = 128,
        smoothing: float = 0.92,
        prior_floor_db: float = -25.0,
        gain_floor_db: float = -14.0,
        noise_smoothing: float = 0.12,
        noise_start: float = 0.016,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(
            n_fft=n_fft,
            hop_length=hop_length,
            smoothing=smoothing,
            prior_floor_db=prior_floor_db,
            gain_floor_db=gain_floor_db,
            noise_smoothing=noise_smoothing,
            noise_start=noise_start,
            sample_rate=sample_rate,
        )

    def gain(self, prior: Row, posterior: Row) -> Row:
        """Equation 20 of the paper."""
        return log_mmse_gain(prior, posterior)
