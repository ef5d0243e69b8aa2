"""MMSE estimation of the short-time spectral amplitude.

Paper: Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error short-time
spectral amplitude estimator", IEEE TASSP 32(6), 1984, 10.1109/TASSP.1984.1164453. Differences:
the noise is tracked (`noise.MMSETracker`), and the uncertainty of speech presence is not used (see
OM-LSA). The defaults were chosen on validation data.

No parameters; about 50 operations per bin and frame.
"""

from functools import partialmethod

from rased.models.classical.frames import DecisionDirected
from rased.models.classical.gains import Row, mmse_stsa_gain


class MMSESTSA(DecisionDirected):
    """Minimises the squared error of the amplitude; causal. Arguments: see `DecisionDirected`."""

    paper = (
        "Ephraim, Malah: Speech enhancement using a minimum mean-square error short-time spectral "
        "amplitude estimator, IEEE TASSP 32(6), 1984, 10.1109/TASSP.1984.1164453"
    )
    __init__ = partialmethod(
        DecisionDirected.__init__,
        smoothing=0.95,
        prior_floor_db=-25.0,
        noise_smoothing=0.076,
        noise_start=0.008,
    )

    def gain(self, prior: Row, posterior: Row) -> Row:
        """Return the gain by equation 7 of the paper."""
        return mmse_stsa_gain(prior, posterior)
