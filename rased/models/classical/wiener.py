"""The Wiener filter with a decision-directed prior SNR.

Paper: P. Scalart, J. Vieira Filho, "Speech enhancement based on a priori signal to noise
estimation", ICASSP 1996, 10.1109/ICASSP.1996.543199. Where this code differs: the noise is tracked
(`noise.MMSETracker`). The defaults were chosen on validation data.

No parameters; about 30 operations per bin and frame.
"""

from rased.models.classical.frames import DecisionDirected
from rased.models.classical.gains import Row, wiener_gain


class Wiener(DecisionDirected):
    """Wiener filter, its SNR decided frame by frame; causal. Arguments: see `DecisionDirected`."""

    paper = (
        "Scalart, Vieira Filho: Speech enhancement based on a priori signal to noise estimation, "
        "ICASSP 1996, 10.1109/ICASSP.1996.543199"
    )

    def __init__(
        self,
        *,
        n_fft: int = 512,
        hop_length: int = 128,
        smoothing: float = 0.88,
        prior_floor_db: float = -20.0,
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
        """Of the prior SNR alone."""
        return wiener_gain(prior)
