"""Dereverberation, then denoising: WPE followed by OM-LSA.

Papers: those of `wpe` and `omlsa`. The defaults were chosen on validation data.

No parameters.
"""

from rased.models.base import Condition, Enhancer, Generators, Prediction
from rased.models.classical.omlsa import OMLSA
from rased.models.classical.wpe import WPE
from rased.signal.domains import Waveform


class WPEOMLSA(Enhancer):
    """WPE followed by OM-LSA, on whole utterances.

    Args:
        taps: taps of the WPE, see `WPE`.
        delay: delay of the WPE, see `WPE`.
        sample_rate: Hz.
    """

    paper = f"{WPE.paper}; {OMLSA.paper}"

    def __init__(self, *, taps: int = 30, delay: int = 4, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.wpe = WPE(taps=taps, delay=delay, sample_rate=sample_rate)
        self.omlsa = OMLSA(sample_rate=sample_rate)

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Return the estimate of OM-LSA for the estimate of WPE."""
        return self.omlsa.predict(self.wpe(noisy))
