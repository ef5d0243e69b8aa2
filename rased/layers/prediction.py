"""What a model says of a batch."""

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from rased.signal.domains import Bins, Domain, Features, Spectrum, Waveform


@dataclass
class Prediction:
    """What a model says of a batch; losses read the part that they are about.

    Attributes:
        estimate: the enhanced waveform, in the level of the input.
        spectrum: the enhanced spectrum, where the model has one.
        noisy_spectrum: the spectrum of the input, where the model has one.
        mask: the gain applied to noisy_spectrum (real or complex), where there is one.
        output: what the network itself put out, in the domain of its training target (a mapping's
            log-power, say).
    """

    estimate: Waveform
    spectrum: Spectrum | None = None
    noisy_spectrum: Spectrum | None = None
    mask: Bins | Spectrum | None = None
    output: Features | Complex[Tensor, "batch feature frames"] | None = None

    @classmethod
    def of_spectrum(
        cls,
        spectrum: Spectrum,
        *,
        mask: Bins | Spectrum | None = None,
        output: Features | Complex[Tensor, "batch feature frames"] | None = None,
    ) -> "Prediction":
        """What frames say before they are a waveform: the estimate has no sample yet."""
        return cls(spectrum.real.new_zeros(len(spectrum), 0), spectrum, mask=mask, output=output)

    def of(self, domain: Domain) -> Tensor:
        """The part that a loss in this domain compares; a waveform in float32."""
        parts = {
            "waveform": self.estimate.float(),
            "spectrum": self.spectrum,
            "output": self.output,
        }
        part = parts[domain]
        assert part is not None, (
            f"the model declares the domain {domain} and predicts nothing in it"
        )
        return part
