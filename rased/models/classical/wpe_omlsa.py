"""Dereverberation, then denoising: WPE in front of OM-LSA.

Papers: those of `wpe` and `omlsa`. The defaults were chosen on validation data.

No parameters.
"""

from rased.models.base import Condition, Enhancer, Generators, Prediction
from rased.models.classical.omlsa import OMLSA
from rased.models.classical.wpe import WPE
from rased.signal.domains import Waveform


class WPEOMLSA(Enhancer):
    """WPE, then OM-LSA, on whole utterances.

    Args:
        taps: of the WPE: frames of the past that predict.
        delay: of the WPE: frames between the newest of them and the present.
        sample_rate: Hz.
    """

    paper = f"{WPE.paper}; {OMLSA.paper}"

    def __init__(self, *, taps: int = 30, delay: int = 4, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.wpe = WPE(taps=taps, delay=delay, sample_rate=sample_rate)
        self.omlsa = OMLSA(sample_rate=sample_rate)

    def predict(
        self,
        noisy: Waveform,
        *,
        condition: Condition | None = None,
        generator: Generators | None = None,
    ) -> Prediction:
        """The estimate of the one is the input of the other."""
        return self.omlsa.predict(self.wpe(noisy))
