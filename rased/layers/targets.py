"""Prediction targets of a network: one class for each, listed in one table.

To add your own, derive a frozen dataclass from `Target` and name it by its class path in a YAML:
`target: {class_path: my_package.targets.Wiener}`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from rased.construction import Remembered
from rased.errors import RasedError
from rased.layers.deep_filter import deep_filter
from rased.layers.prediction import Prediction
from rased.signal import features as feature
from rased.signal import masks
from rased.signal.domains import Bins, Features, Spectrum
from rased.signal.filtering import ideal_filter, shifted_bins
from rased.signal.gains import log_mmse_gain
from rased.signal.phase import unit_phase

Output = Float[Tensor, "batch out frames"]
ComplexFeatures = Complex[Tensor, "batch feature frames"]
Around = Complex[Tensor, "batch freq more_frames"]
"""Frames of the input, with the `Target.context` around them; as many as those of the output if there is none."""
PRIOR_LIMIT_DB = 60.0
"""Largest prior SNR, and, with a minus sign, smallest one."""
LOG_POWER_LIMIT = 20.0
"""Upper limit of a predicted log-power: 40 dB above a full-scale sine in a 512-point window."""


class Target(Remembered):
    """Base class of targets.

    Attributes:
        phase: source of the output's phase: the noisy input, or the target itself.
        standardised: the network predicts it normalised by mean and deviation of the training targets.
    """

    phase: ClassVar[Literal["noisy", "predicted"]] = "noisy"
    standardised: ClassVar[bool] = False

    @property
    def context(self) -> tuple[int, int]:
        """Return how many frames of the input before and after those of the output `interpret` needs."""
        return 0, 0

    def size(self, freq: int) -> int:
        """Return the size of a frame, for a spectrum of `freq` bins."""
        return freq

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Convert the network's output to a `Prediction.of_spectrum`, whose `output` can be compared with `ideal`.

        Args:
            output: of the network.
            noisy: the same frames of the input, with the `context` around them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define interpret(output, noisy)")

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Features | ComplexFeatures:
        """Return what `Prediction.output` would be for a perfect network."""
        raise NotImplementedError(f"{type(self).__name__} must define ideal(noisy=, target=)")


class RealMask(Target):
    """A gain from 0 to `limit` for each bin: the sigmoid of the output.

    Attributes:
        limit: largest gain.
        formula: the ideal mask, called with target= and noisy=.
    """

    limit: ClassVar[float] = 1.0
    formula: ClassVar[Callable[..., Tensor]]

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Apply the sigmoid, and multiply the noisy spectrum by the mask."""
        mask = self.limit * output.sigmoid()
        return Prediction.of_spectrum(masks.apply_mask(mask, noisy), mask=mask, output=mask)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """Return the ideal mask."""
        return type(self).formula(target=target, noisy=noisy)


@dataclass(frozen=True)
class BinaryMask(RealMask):
    """1 where speech has more power than the rest, 0 elsewhere."""

    formula = staticmethod(masks.binary_mask)


@dataclass(frozen=True)
class RatioMask(RealMask):
    """Square root of the speech's share of the power."""

    formula = staticmethod(masks.ratio_mask)


@dataclass(frozen=True)
class WienerMask(RealMask):
    """The speech's share of the power."""

    formula = staticmethod(masks.wiener_mask)


@dataclass(frozen=True)
class AmplitudeMask(RealMask):
    """Amplitude of speech divided by that of the input."""

    limit = masks.AMPLITUDE_LIMIT
    formula = staticmethod(masks.amplitude_mask)


@dataclass(frozen=True)
class PhaseSensitiveMask(RealMask):
    """Component of speech in phase with the input, divided by the input."""

    formula = staticmethod(masks.phase_sensitive_mask)


class _Parts(Target):
    """Base class of complex targets: real parts of all bins, then imaginary parts."""

    phase = "predicted"

    def size(self, freq: int) -> int:
        """Return two per bin."""
        return 2 * freq


@dataclass(frozen=True)
class ComplexMask(_Parts):
    """Speech divided by the input, as complex numbers; compressed when a loss compares it."""

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Combine the real parts of all bins and the imaginary parts after them to a complex mask, and apply it."""
        real, imag = output.chunk(2, dim=1)
        mask = torch.complex(real.contiguous(), imag.contiguous())
        spectrum = masks.apply_mask(mask, noisy)
        return Prediction.of_spectrum(spectrum, mask=mask, output=masks.compress_mask(mask))

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """Return the compressed value."""
        return masks.compress_mask(masks.complex_mask(target=target, noisy=noisy))


@dataclass(frozen=True)
class DeepFilter(_Parts):
    """Complex weights of the neighbouring frames and bins of the input; speech is their sum.

    W. Mack, E. A. P. Habets, "Deep filtering: signal extraction and reconstruction using complex time-frequency
    filters", IEEE SPL 27, 2020. There, only the filtered spectrum is compared with speech. Here, a loss can compare the
    weights as well, compressed like a complex mask: the ideal ones are those of the least squares.

    Attributes:
        past_frames: frames before the current one.
        future_frames: frames after it; `inputs` need as many.
        neighbours: bins on each side.
        span: frames over which the ideal filter is fitted; odd. 1: it is exact, and as small as possible.

    Raises:
        RasedError: a number is out of its range.
    """

    past_frames: int = 4
    future_frames: int = 0
    neighbours: int = 0
    span: int = 9

    def __post_init__(self) -> None:
        """Check the settings."""
        least = min(self.past_frames, self.future_frames, self.neighbours)
        if least < 0 or self.span < 1 or self.span % 2 == 0:
            raise RasedError(
                f"DeepFilter: past_frames {self.past_frames}, future_frames {self.future_frames} and neighbours "
                f"{self.neighbours} must be at least 0, and span {self.span} an odd number."
            )

    @property
    def context(self) -> tuple[int, int]:
        """Return the frames that the filter sees."""
        return self.past_frames, self.future_frames

    @property
    def order(self) -> int:
        """Return the number of frames of a filter."""
        return self.past_frames + 1 + self.future_frames

    def size(self, freq: int) -> int:
        """Return two for each weight."""
        return 2 * self.order * (2 * self.neighbours + 1) * freq

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Filter the noisy spectrum."""
        weights = feature.from_complex_parts(output)
        each = rearrange(
            torch.view_as_real(weights),
            "n (bin order f) t part -> bin n t f order part",
            order=self.order,
            f=noisy.shape[1],
        )
        shifted = shifted_bins(noisy, self.neighbours)
        parts = [deep_filter(one, taps) for one, taps in zip(shifted, each, strict=True)]
        return Prediction.of_spectrum(
            torch.stack(parts).sum(0), output=masks.compress_mask(weights)
        )

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> ComplexFeatures:
        """Return the compressed weights of the least squares."""
        weights = ideal_filter(
            target=target,
            noisy=noisy,
            past=self.past_frames,
            future=self.future_frames,
            neighbours=self.neighbours,
            span=self.span,
        )
        return masks.compress_mask(rearrange(weights, "n tap f t -> n (tap f) t"))


@dataclass(frozen=True)
class PriorSNR(Target):
    """Prior SNR in dB; the gain that minimises the error of the log amplitude does the rest.

    A. Nicolson, K. K. Paliwal, "Deep learning for minimum mean-square error approaches to speech enhancement", Speech
    Communication 111, 2019 (Deep Xi); Q. Zhang et al., "DeepMMSE", IEEE/ACM TASLP 28, 2020. There, the network predicts
    the normal distribution function of the normalised SNR, here the normalised SNR itself. The posterior SNR is
    prior + 1.
    """

    standardised = True

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Compute the gain from the SNR, and apply it."""
        prior = 10 ** (output.clamp(-PRIOR_LIMIT_DB, PRIOR_LIMIT_DB) / 10)
        mask = log_mmse_gain(prior, prior + 1)
        return Prediction.of_spectrum(masks.apply_mask(mask, noisy), mask=mask, output=output)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """Return the ratio of the powers of speech and rest in dB, limited; two silent bins have the lowest ratio."""
        speech, rest = (feature.power(part).double() for part in (target, noisy - target))
        ratio = 10 * ((speech + 1e-20) / (rest + 1e-14)).log10()
        return ratio.clamp(-PRIOR_LIMIT_DB, PRIOR_LIMIT_DB).float()


@dataclass(frozen=True)
class Magnitude(Target):
    """Magnitude of speech."""

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Apply softplus, which keeps the magnitude positive."""
        magnitude = functional.softplus(output)
        return Prediction.of_spectrum(magnitude * unit_phase(noisy), output=magnitude)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """See `features.magnitude`."""
        return feature.magnitude(target)


@dataclass(frozen=True)
class LogPower(Target):
    """Logarithm of the power of speech."""

    standardised = True

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Limit the log-power, and convert it to magnitudes."""
        magnitude = (output.clamp(max=LOG_POWER_LIMIT) / 2).exp()  # half: from power to magnitude
        return Prediction.of_spectrum(magnitude * unit_phase(noisy), output=output)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Bins:
        """See `features.log_power`."""
        return feature.log_power(target)


@dataclass(frozen=True)
class ComplexSpectrum(_Parts):
    """Complex spectrum of speech: real parts of all bins, then imaginary parts."""

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Return the value unchanged."""
        spectrum = feature.from_complex_parts(output)
        return Prediction.of_spectrum(spectrum, output=spectrum)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """Return the spectrum of the target."""
        return target


@dataclass(frozen=True)
class MagnitudeAndPhase(Target):
    """Magnitude and phase of speech, each with outputs of its own: a magnitude, and two numbers that give a direction.

    Yin et al., PHASEN, AAAI 2020; Lu et al., MP-SENet, Interspeech 2023, whose networks have a branch for each.
    """

    phase = "predicted"

    def size(self, freq: int) -> int:
        """Return three per bin."""
        return 3 * freq

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Apply softplus to the magnitude, and normalise the direction."""
        magnitude, direction = output.tensor_split([output.shape[1] // 3], dim=1)
        phase = unit_phase(feature.from_complex_parts(direction))
        spectrum = functional.softplus(magnitude) * phase
        return Prediction.of_spectrum(spectrum, output=spectrum)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """Return the spectrum of the target."""
        return target


@dataclass(frozen=True)
class CompressedComplex(_Parts):
    """Spectrum with magnitudes |S|^exponent and the phase of S: real parts of all bins, then imaginary parts."""

    exponent: float = 0.3

    def interpret(self, output: Output, noisy: Around) -> Prediction:
        """Return the expanded value."""
        compressed = feature.from_complex_parts(output)
        spectrum = feature.power_law(compressed, 1.0 / self.exponent)
        return Prediction.of_spectrum(spectrum, output=compressed)

    def ideal(self, *, noisy: Spectrum, target: Spectrum) -> Spectrum:
        """See `features.power_law`."""
        return feature.power_law(target, self.exponent)


TARGETS: dict[str, type[Target]] = {
    "binary_mask": BinaryMask,
    "ratio_mask": RatioMask,
    "wiener_mask": WienerMask,
    "amplitude_mask": AmplitudeMask,
    "phase_sensitive_mask": PhaseSensitiveMask,
    "complex_mask": ComplexMask,
    "deep_filter": DeepFilter,
    "prior_snr": PriorSNR,
    "magnitude": Magnitude,
    "log_power": LogPower,
    "magnitude_and_phase": MagnitudeAndPhase,
    "complex": ComplexSpectrum,
    "compressed_complex": CompressedComplex,
}
"""Targets by name, with their default settings."""

# mypy accepts only a Literal that is written out; YAML files are checked against this one.
if TYPE_CHECKING:
    TargetName = str
else:
    TargetName = Literal[tuple(TARGETS)]
