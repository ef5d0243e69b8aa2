"""What a network may predict: one class for each target, named in one table.

A target of one's own is a frozen dataclass derived from `Target`; a YAML names it by its class path:
`target: {class_path: my_package.targets.Wiener}`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.construction import Remembered
from rased.layers.prediction import Prediction
from rased.signal import features as feature
from rased.signal import masks
from rased.signal.domains import Bins, Features, Spectrum
from rased.signal.phase import unit_phase

LOG_POWER_LIMIT = 20.0
"""Upper end of a predicted log-power: 40 dB above a full-scale sine in a 512-point window."""


class Target(Remembered):
    """Base of every target.

    Attributes:
        phase: whose phase the output gets: that of the noisy input, or one that the target brings.
        standardised: whether the network sees it with the mean and deviation of the training targets taken out.
    """

    phase: ClassVar[Literal["noisy", "predicted"]] = "noisy"
    standardised: ClassVar[bool] = False

    def size(self, freq: int) -> int:
        """Numbers in a frame, for a spectrum of `freq` bins."""
        return freq

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """What the network's output means: `Prediction.of_spectrum`, its `output` comparable with `ideal`."""
        raise NotImplementedError(f"{type(self).__name__} must define interpret(output, noisy)")

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Features | Spectrum:
        """What `Prediction.output` would be if the network knew the target."""
        raise NotImplementedError(f"{type(self).__name__} must define ideal(noisy=, target=)")


class RealMask(Target):
    """A gain from 0 to `limit` for each bin: the sigmoid of the output.

    Attributes:
        limit: upper end.
        formula: the ideal one, called with target= and noisy=.
    """

    limit: ClassVar[float] = 1.0
    formula: ClassVar[Callable[..., Tensor]]

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """Squash and apply."""
        mask = self.limit * output.sigmoid()
        return Prediction.of_spectrum(masks.apply_mask(mask, noisy), mask=mask, output=mask)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """The formula."""
        return type(self).formula(target=target, noisy=noisy)


@dataclass(frozen=True)
class BinaryMask(RealMask):
    """1 where speech is louder than the rest."""

    formula = staticmethod(masks.binary_mask)


@dataclass(frozen=True)
class RatioMask(RealMask):
    """Root of the share of speech in the power."""

    formula = staticmethod(masks.ratio_mask)


@dataclass(frozen=True)
class AmplitudeMask(RealMask):
    """Amplitude of speech over that of the input."""

    limit = masks.AMPLITUDE_LIMIT
    formula = staticmethod(masks.amplitude_mask)


@dataclass(frozen=True)
class PhaseSensitiveMask(RealMask):
    """The part of speech that is in phase with the input, over the input."""

    formula = staticmethod(masks.phase_sensitive_mask)


@dataclass(frozen=True)
class ComplexMask(Target):
    """Speech over the input, compressed where a loss compares it."""

    phase = "predicted"

    def size(self, freq: int) -> int:
        """Two a bin."""
        return 2 * freq

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """Real parts of all bins, then imaginary parts, as one mask."""
        real, imag = output.chunk(2, dim=1)
        mask = torch.complex(real.contiguous(), imag.contiguous())
        spectrum = masks.apply_mask(mask, noisy)
        return Prediction.of_spectrum(spectrum, mask=mask, output=masks.compress_mask(mask))

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """Compressed."""
        return masks.compress_mask(masks.complex_mask(target=target, noisy=noisy))


@dataclass(frozen=True)
class Magnitude(Target):
    """Magnitude of speech."""

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """Softplus keeps it positive."""
        magnitude = functional.softplus(output)
        return Prediction.of_spectrum(magnitude * unit_phase(noisy), output=magnitude)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """See `features.magnitude`."""
        return feature.magnitude(target)


@dataclass(frozen=True)
class LogPower(Target):
    """Logarithm of the power of speech."""

    standardised = True

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """Bounded, then back to magnitudes."""
        magnitude = (output.clamp(max=LOG_POWER_LIMIT) / 2).exp()
        return Prediction.of_spectrum(magnitude * unit_phase(noisy), output=output)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """See `features.log_power`."""
        return feature.log_power(target)


@dataclass(frozen=True)
class ComplexSpectrum(Target):
    """The spectrum of speech: real parts of all bins, then imaginary parts."""

    phase = "predicted"

    def size(self, freq: int) -> int:
        """Two a bin."""
        return 2 * freq

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """As it is."""
        spectrum = feature.from_complex_parts(output)
        return Prediction.of_spectrum(spectrum, output=spectrum)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """Of the target."""
        return target


@dataclass(frozen=True)
class CompressedComplex(Target):
    """The spectrum |S|^exponent at the phase of S: real parts of all bins, then imaginary parts."""

    phase = "predicted"
    exponent: float = 0.3

    def size(self, freq: int) -> int:
        """Two a bin."""
        return 2 * freq

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """Expanded."""
        compressed = feature.from_complex_parts(output)
        spectrum = feature.power_law(compressed, 1.0 / self.exponent)
        return Prediction.of_spectrum(spectrum, output=compressed)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """See `features.power_law`."""
        return feature.power_law(target, self.exponent)


TARGETS: dict[str, type[Target]] = {
    "binary_mask": BinaryMask,
    "ratio_mask": RatioMask,
    "amplitude_mask": AmplitudeMask,
    "phase_sensitive_mask": PhaseSensitiveMask,
    "complex_mask": ComplexMask,
    "magnitude": Magnitude,
    "log_power": LogPower,
    "complex": ComplexSpectrum,
    "compressed_complex": CompressedComplex,
}
"""Targets by name, with their defaults."""

if TYPE_CHECKING:
    TargetName = str
else:
    TargetName = Literal[tuple(TARGETS)]
