"""The Wiener filter with a decision-directed prior SNR.

Paper: P. Scalart, J. Vieira Filho, "Speech enhancement based on a priori signal to noise
estimation", ICASSP 1996, 10.1109/ICASSP.1996.543199. Difference: the noise is tracked
(`noise.MMSETracker`). The defaults were chosen on validation data.

No parameters; about 30 operations per bin and frame.
"""

from functools import partialmethod

from rased.models.classical.frames import DecisionDirected
from rased.models.classical.gains import Row, wiener_gain


class Wiener(DecisionDirected):
    """Wiener filter with decision-directed prior SNR; causal. Arguments: see `DecisionDirected`."""

    paper = (
        "Scalart, Vieira Filho: Speech enhancement based on a priori signal to noise estimation, "
        "ICASSP 1996, 10.1109/ICASSP.1996.543199"
    )
    __init__ = partialmethod(
        DecisionDirected.__init__,
        smoothing=0.88,
        prior_floor_db=-20.0,
        noise_smoothing=0.12,
        noise_start=0.016,
    )

    def gain(self, prior: Row, posterior: Row) -> Row:
        """Return the gain, a function of the prior SNR alone."""
        return wiener_gain(prior)
