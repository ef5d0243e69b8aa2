"""The output of a model for a batch."""

from dataclasses import dataclass, replace

from jaxtyping import Complex
from torch import Tensor

from rased.signal.domains import Bins, Domain, Features, Spectrum, Waveform


@dataclass
class Prediction:
    """The output of a model for a batch. Each loss reads the part of its domain.

    Attributes:
        estimate: the enhanced waveform, at the level of the input.
        spectrum: the enhanced spectrum; None if the model has none.
        noisy_spectrum: the spectrum of the input; None if the model has none.
        mask: the gain applied to noisy_spectrum (real or complex); None if there is none.
        output: the output of the network itself, in the domain of its training target (such as log-power).
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
        """Build a prediction from a spectrum; the estimate is empty until the spectrum is synthesised."""
        return cls(spectrum.real.new_zeros(len(spectrum), 0), spectrum, mask=mask, output=output)

    def from_frame(self, first: int) -> "Prediction":
        """Return the same prediction without the frames before `first`."""
        spectrum, mask, output = (
            None if part is None else part[..., first:]
            for part in (self.spectrum, self.mask, self.output)
        )
        return replace(self, spectrum=spectrum, mask=mask, output=output)

    def of(self, domain: Domain) -> Tensor:
        """Return the part that a loss in this domain compares; a waveform is converted to float32."""
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
