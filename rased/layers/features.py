"""Features of a spectrum: one class for each kind, listed in one table.

To add your own, derive a frozen dataclass from `Feature` and name it by its class path in a YAML:
`kinds: [log_power, {class_path: my_package.features.Cepstrum, init_args: {order: 12}}]`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import nn

from rased.construction import Remembered
from rased.signal import features as feature
from rased.signal.domains import Features, Spectrum


class Feature(Remembered):
    """Base class of features.

    Attributes:
        logarithmic: it is a logarithm of power, so a noise estimate may follow its minima.
        signed: it has real and imaginary parts (all real parts first), so no noise level can be estimated from it.
        wide: its range is too wide for float16, the type of files of frames.
        learned: it has weights, which are trained with the network; see `module`.
    """

    logarithmic: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    wide: ClassVar[bool] = False
    learned: ClassVar[bool] = False

    def size(self, freq: int) -> int:
        """Return the size of a frame, for a spectrum of `freq` bins."""
        return freq

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """Compute the feature of all frames."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(spectrum, rate)")

    def module(self, freq: int, sample_rate: int) -> nn.Module:
        """Build a module that computes the feature from a spectrum, for a feature that is learned."""
        raise NotImplementedError(f"{type(self).__name__} must define module(freq, sample_rate)")


@dataclass(frozen=True)
class Magnitude(Feature):
    """|X|."""

    wide = True

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.magnitude`."""
        return feature.magnitude(spectrum)


@dataclass(frozen=True)
class Power(Feature):
    """|X|^2."""

    wide = True

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.power`."""
        return feature.power(spectrum)


@dataclass(frozen=True)
class Compressed(Feature):
    """|X|^0.3."""

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.compressed_magnitude`."""
        return feature.compressed_magnitude(spectrum)


@dataclass(frozen=True)
class LogPower(Feature):
    """Logarithm of the power, with the lower bound `floor` for the power."""

    logarithmic = True
    floor: float

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.log_power`."""
        return feature.log_power(spectrum, self.floor)


@dataclass(frozen=True)
class _LogBands(Feature):
    """Base class of logarithms of the power in bands."""

    logarithmic = True
    bands: int

    def size(self, freq: int) -> int:
        """Return the number of bands."""
        return self.bands


@dataclass(frozen=True)
class LogMel(_LogBands):
    """Logarithm of the power in mel bands."""

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.log_mel_power`."""
        return feature.log_mel_power(spectrum, bands=self.bands, sample_rate=sample_rate)


@dataclass(frozen=True)
class LogErb(_LogBands):
    """Logarithm of the power in bands of the ERB-rate scale."""

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.log_erb_power`."""
        return feature.log_erb_power(spectrum, bands=self.bands, sample_rate=sample_rate)


@dataclass(frozen=True)
class LogGammatone(_LogBands):
    """Logarithm of the power behind gammatone filters."""

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.log_gammatone_power`."""
        return feature.log_gammatone_power(spectrum, bands=self.bands, sample_rate=sample_rate)


@dataclass(frozen=True)
class Mfcc(Feature):
    """Mel-frequency cepstral coefficients."""

    bands: int
    coefficients: int

    def size(self, freq: int) -> int:
        """Return the number of coefficients."""
        return self.coefficients

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.mfcc`."""
        return feature.mfcc(
            spectrum, bands=self.bands, coefficients=self.coefficients, sample_rate=sample_rate
        )


@dataclass(frozen=True)
class Learned(_LogBands):
    """Logarithm of the power in bands whose weights are learned.

    T. N. Sainath, B. Kingsbury, A. Mohamed, B. Ramabhadran, "Learning filter banks within a deep neural network
    framework", ASRU 2013: the weights are exponentials, and begin with triangles on the mel scale.
    """

    learned = True

    def module(self, freq: int, sample_rate: int) -> nn.Module:
        """Build the filterbank."""
        return Filterbank(self.bands, freq, sample_rate)


class Filterbank(nn.Module):
    """Positive weights of all bins in each band.

    Args:
        bands: number of bands.
        freq: number of bins.
        sample_rate: Hz.
    """

    def __init__(self, bands: int, freq: int, sample_rate: int) -> None:
        super().__init__()
        triangles = torch.from_numpy(feature.filterbank("mel", bands, freq, sample_rate))
        # A weight of zero would have no gradient.
        self.logarithms = nn.Parameter((triangles + _FAINT).log())

    def forward(self, spectrum: Spectrum) -> Features:
        """Return the logarithm of the power in each band."""
        return (feature.band_power(spectrum, self.logarithms.exp()) + feature.FLOOR).log()


_FAINT = 1e-3
"""Initial weight of the bins outside of a triangle."""


class _Parts(Feature):
    """Base class of real parts of all bins, then imaginary parts."""

    signed = True

    def size(self, freq: int) -> int:
        """Return two per bin."""
        return 2 * freq


@dataclass(frozen=True)
class ComplexParts(_Parts):
    """Real parts of all bins, then imaginary parts."""

    wide = True

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.complex_parts`."""
        return feature.complex_parts(spectrum)


@dataclass(frozen=True)
class CompressedComplex(_Parts):
    """Real parts of all bins, then imaginary parts, of the spectrum |X|^exponent at the phase of X."""

    exponent: float

    def __call__(self, spectrum: Spectrum, sample_rate: int) -> Features:
        """See `features.power_law`."""
        return feature.complex_parts(feature.power_law(spectrum, self.exponent))


FEATURES: dict[str, type[Feature]] = {
    "magnitude": Magnitude,
    "power": Power,
    "compressed": Compressed,
    "log_power": LogPower,
    "log_mel": LogMel,
    "log_erb": LogErb,
    "log_gammatone": LogGammatone,
    "mfcc": Mfcc,
    "learned": Learned,
    "complex": ComplexParts,
    "compressed_complex": CompressedComplex,
}
"""Features by name. Settings of `frontend.Features` with the name of a field (such as bands) are passed to it."""

# mypy accepts only a Literal that is written out; YAML files are checked against this one.
if TYPE_CHECKING:
    FeatureKind = str
else:
    FeatureKind = Literal[tuple(FEATURES)]
