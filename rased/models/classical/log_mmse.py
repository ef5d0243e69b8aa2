"""MMSE estimation of the log-spectral amplitude.

Paper: Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error log-spectral
amplitude estimator", IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550. Difference:
the noise is tracked (`noise.MMSETracker`). The defaults were chosen on validation data.

No parameters; about 40 operations per bin and frame.
"""

from functools import partialmethod

from rased.models.classical.frames import DecisionDirected
from rased.models.classical.gains import Row, log_mmse_gain


class LogMMSE(DecisionDirected):
    """Minimises the squared error of the log amplitude; causal. Arguments: see `DecisionDirected`."""

    paper = (
        "Ephraim, Malah: Speech enhancement using a minimum mean-square error log-spectral "
        "amplitude estimator, IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550"
    )
    __init__ = partialmethod(
        DecisionDirected.__init__,
        smoothing=0.92,
        prior_floor_db=-25.0,
        noise_smoothing=0.12,
        noise_start=0.016,
    )

    def gain(self, prior: Row, posterior: Row) -> Row:
        """Return the gain by equation 20 of the paper."""
        return log_mmse_gain(prior, posterior)
