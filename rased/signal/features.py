"""Features of a spectrum, their normalisation, noise estimates, and context frames.

Features map (batch, freq, frames) to (batch, feature, frames). Functions with memory take
and return their state, so that a stream and a file give the same numbers.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor

from rased.signal.domains import Bins, Features, Spectrum

FLOOR = 1e-8
"""Lower bound of the power in a logarithm: about -128 dB relative to a full-scale sine in a 512-point Hann window."""

Scale = Literal["mel", "erb"]


def magnitude(spectrum: Spectrum) -> Bins:
    """Return |X|; the gradient at 0 is zero."""
    return spectrum.abs()


def power(spectrum: Spectrum) -> Bins:
    """Return |X|^2."""
    return spectrum.real.square() + spectrum.imag.square()


def log_power(spectrum: Spectrum, floor: float = FLOOR) -> Bins:
    """Return the natural logarithm of the power (Xu 2014); silence gives log(floor)."""
    return (power(spectrum) + floor).log()


def compressed_magnitude(spectrum: Spectrum, exponent: float = 0.3) -> Bins:
    """Return |X|^exponent, with finite value and gradient at 0."""
    return (power(spectrum) + FLOOR) ** (exponent / 2)


def power_law(
    spectrum: Complex[Tensor, "*shape"], exponent: float, floor: float = 1e-5
) -> Complex[Tensor, "*shape"]:
    """Return the spectrum with magnitudes |X|^exponent and the phase of X; 1 / exponent inverts it.

    Magnitudes below `floor` are scaled by a constant factor, so that value and gradient are finite at 0.
    """
    return spectrum * power(spectrum).clamp_min(floor**2) ** ((exponent - 1.0) / 2.0)


def complex_parts(spectrum: Spectrum) -> Float[Tensor, "batch twice_freq frames"]:
    """Return the real parts of all bins, then all imaginary parts; `from_complex_parts` inverts it."""
    return torch.cat([spectrum.real, spectrum.imag], dim=1)


def from_complex_parts(parts: Float[Tensor, "batch twice_freq frames"]) -> Spectrum:
    """Invert `complex_parts`."""
    real, imag = parts.float().chunk(2, dim=1)
    return torch.complex(real.contiguous(), imag.contiguous())


def band_power(
    spectrum: Spectrum, weights: np.ndarray | Float[Tensor, "band freq"]
) -> Float[Tensor, "batch band frames"]:
    """Return the power in bands, given the weight of each bin in each of them."""
    rows = torch.as_tensor(weights, device=spectrum.device)
    return torch.einsum("bf,nft->nbt", rows, power(spectrum))  # band, freq, n batch, t frames


def log_mel_power(
    spectrum: Spectrum, *, bands: int, sample_rate: int
) -> Float[Tensor, "batch band frames"]:
    """Return the logarithm of the power in mel bands (Lu 2013)."""
    weights = filterbank("mel", bands, spectrum.shape[1], sample_rate)
    return (band_power(spectrum, weights) + FLOOR).log()


def log_erb_power(
    spectrum: Spectrum, *, bands: int, sample_rate: int
) -> Float[Tensor, "batch band frames"]:
    """Return the logarithm of the power in bands of equal width on the ERB-rate scale."""
    weights = filterbank("erb", bands, spectrum.shape[1], sample_rate)
    return (band_power(spectrum, weights) + FLOOR).log()


def log_gammatone_power(
    spectrum: Spectrum, *, bands: int, sample_rate: int
) -> Float[Tensor, "batch band frames"]:
    """Return the logarithm of the power behind gammatone filters (see `gammatone_filterbank`)."""
    weights = gammatone_filterbank(bands, spectrum.shape[1], sample_rate)
    return (band_power(spectrum, weights) + FLOOR).log()


def mfcc(
    spectrum: Spectrum, *, bands: int, coefficients: int, sample_rate: int
) -> Float[Tensor, "batch coefficient frames"]:
    """Return the first mel-frequency cepstral coefficients: orthonormal DCT-II of `log_mel_power`."""
    logs = log_mel_power(spectrum, bands=bands, sample_rate=sample_rate)
    basis = torch.from_numpy(dct_basis(coefficients, bands)).to(logs.device)
    return torch.einsum("cb,nbt->nct", basis, logs)  # coefficient, band, n batch, t frames


def hertz_to_scale(hertz: np.ndarray, scale: Scale) -> np.ndarray:
    """Convert a frequency to a perceptual scale.

    Mel: 2595 log10(1 + f / 700), O'Shaughnessy 1987. ERB rate: 21.4 log10(1 + 0.00437 f), Glasberg
    and Moore 1990.
    """
    if scale == "mel":
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))
    return np.asarray(21.4 * np.log10(1.0 + 0.00437 * hertz))


def scale_to_hertz(value: np.ndarray, scale: Scale) -> np.ndarray:
    """Invert `hertz_to_scale`."""
    if scale == "mel":
        return np.asarray(700.0 * (10.0 ** (value / 2595.0) - 1.0))
    return np.asarray((10.0 ** (value / 21.4) - 1.0) / 0.00437)


@lru_cache
def filterbank(scale: Scale, bands: int, freq: int, sample_rate: int) -> np.ndarray:
    """Return triangular bands of peak 1, equally spaced up to half the sample rate: (band, freq) in float32.

    Neighbouring triangles sum to 1 between the first and the last centre. A triangle extends at
    least one bin to each side, so that no band is empty.
    """
    nyquist = sample_rate / 2
    edges = np.linspace(0.0, hertz_to_scale(np.array(nyquist), scale), bands + 2)
    corner = scale_to_hertz(edges, scale)[:, None] / nyquist * (freq - 1)  # in bins
    left, centre, right = corner[:-2], corner[1:-1], corner[2:]
    bins = np.arange(freq)[None, :]
    rising = np.where(centre - left < 1.0, 1.0 - (centre - bins), (bins - left) / (centre - left))
    falling = np.where(
        right - centre < 1.0, 1.0 - (bins - centre), (right - bins) / (right - centre)
    )
    return np.clip(np.minimum(rising, falling), 0.0, None).astype(np.float32)


@lru_cache
def gammatone_filterbank(bands: int, freq: int, sample_rate: int) -> np.ndarray:
    """Return the power responses of gammatone filters of order 4, with peak 1: (band, freq) in float32.

    R. Patterson, J. Holdsworth, "A functional model of neural activity patterns and auditory images", 1996:
    |H(f)|^2 = (1 + ((f - c) / b)^2)^-4 with b = 1.019 ERB(c). The centres c are equally spaced on the ERB-rate scale
    between 0 and half the sample rate. A filter is as wide as a bin at least.
    """
    nyquist = sample_rate / 2
    edges = np.linspace(0.0, hertz_to_scale(np.array(nyquist), "erb"), bands + 2)
    centre = scale_to_hertz(edges[1:-1], "erb")[:, None]
    # 1.019 ERB(c), and at least a bin
    width = np.maximum(1.019 * 24.7 * (0.00437 * centre + 1.0), nyquist / (freq - 1))
    distance = (np.linspace(0.0, nyquist, freq)[None, :] - centre) / width
    return ((1.0 + distance**2) ** -4.0).astype(np.float32)


@lru_cache
def dct_basis(coefficients: int, bands: int) -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II: (coefficient, band) in float32."""
    order, band = np.arange(coefficients)[:, None], np.arange(bands)[None, :]
    basis = np.sqrt(2.0 / bands) * np.cos(np.pi * order * (2 * band + 1) / (2 * bands))
    basis[0] /= np.sqrt(2.0)  # so that all rows have length 1
    return basis.astype(np.float32)


# ------------------------------------------------------------------------------------ normalisation


def standardise(
    values: Features,
    mean: Float[Tensor, " feature"] | Float[Tensor, "batch feature"],
    std: Float[Tensor, " feature"] | Float[Tensor, "batch feature"],
) -> Features:
    """Return (values - mean) / std for given statistics (global CMVN)."""
    return (values - mean[..., None]) / std[..., None]


def unstandardise(
    values: Features, mean: Float[Tensor, " feature"], std: Float[Tensor, " feature"]
) -> Features:
    """Invert `standardise`."""
    return values * std[..., None] + mean[..., None]


def utterance_cmvn(values: Features, count: int | None = None) -> Features:
    """Normalise to zero mean and unit variance over the first `count` frames (None: all); constants give 0."""
    mean = values[..., :count].mean(-1, keepdim=True)
    variance = values[..., :count].var(-1, keepdim=True, correction=0)
    return (values - mean) / (variance + 1e-5).sqrt()


def running_cmvn(
    values: Features, state: Float[Tensor, "batch moments"], decay: float
) -> tuple[Features, Float[Tensor, "batch moments"]]:
    """Normalise by running mean and variance of the past, with exponentially decaying weights (causal CMVN).

    Args:
        values: features.
        state: running averages of the values, their squares and the constant one (moments = 2 * feature + 1); zeros
            before the first frame. The average of one is the total weight so far; dividing by it
            corrects the bias towards zero at the start.
        decay: weight of a frame relative to the next one, below 1.
    """
    moments = torch.cat([values, values.square(), torch.ones_like(values[:, :1])], dim=1)
    averages, state = exponential_average(moments, state, decay)
    first, second, weight = averages.tensor_split([values.shape[1], -1], dim=1)
    mean = first / weight
    variance = (second / weight - mean.square()).clamp(min=0.0)  # by rounding, it can be below 0
    # The floor keeps features that were constant so far from being blown up.
    return (values - mean) / (variance + 1e-2).sqrt(), state


def running_mean(
    values: Features, state: Float[Tensor, "batch moments"], decay: float
) -> tuple[Features, Float[Tensor, "batch moments"]]:
    """Subtract the running mean of the past; for logarithms of power, this removes the level and keeps the range.

    Args:
        values: features.
        state: running averages of the values and of one (moments = feature + 1); zeros before the first frame.
        decay: weight of a frame relative to the next one, below 1.
    """
    moments = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
    averages, state = exponential_average(moments, state, decay)
    return values - averages[:, :-1] / averages[:, -1:], state


def running_unit(
    values: Features, state: Float[Tensor, "batch moments"], decay: float, parts: int = 1
) -> tuple[Features, Float[Tensor, "batch moments"]]:
    """Divide by the running root mean square of the past, so that each bin has a level of one; silence stays silent.

    Args:
        values: features; if parts is 2, real parts of all bins, then imaginary parts, which share a level.
        state: running averages of the powers and of one (moments = feature / parts + 1); zeros before the first frame.
        decay: weight of a frame relative to the next one, below 1.
        parts: numbers per bin.
    """
    powers = rearrange(values.square(), "n (part f) t -> part n f t", part=parts).sum(0)
    moments = torch.cat([powers, torch.ones_like(powers[:, :1])], dim=1)
    averages, state = exponential_average(moments, state, decay)
    scale = (averages[:, :-1] / averages[:, -1:] + FLOOR).rsqrt()
    return values * scale.repeat(1, parts, 1), state


def exponential_average(
    values: Features, previous: Float[Tensor, "batch feature"], decay: float
) -> tuple[Features, Float[Tensor, "batch feature"]]:
    """Return recursive averages of all frames, and the last one.

    a[k] = decay * a[k - 1] + (1 - decay) * values[k] with a[-1] = previous. Blocks of
    128 frames are multiplied by a triangular matrix of powers of `decay`, which avoids a loop over frames.
    """
    blocks = []
    for block in values.split(128, dim=-1):
        steps = torch.arange(block.shape[-1], device=block.device).to(previous)
        exponent = steps[None, :] - steps[:, None]  # rows: source frame, columns: target frame
        # The clamp keeps the powers finite that `where` discards.
        weights = torch.where(exponent >= 0, (1 - decay) * decay ** exponent.clamp(min=0), 0.0)
        averages = block @ weights + previous[..., None] * decay ** (steps + 1)
        previous = averages[..., -1]
        blocks.append(averages)
    return torch.cat(blocks, dim=-1), previous


def running_maximum(values: Float[Tensor, "*batch frames"]) -> Float[Tensor, "*batch frames"]:
    """Return the largest value so far, like `torch.cummax`, with operations that ONNX supports."""
    reach = 1
    while reach < values.shape[-1]:
        # Each step doubles how far a value has looked back.
        larger = torch.maximum(values[..., reach:], values[..., :-reach])
        values = torch.cat([values[..., :reach], larger], dim=-1)
        reach *= 2
    return values


# -------------------------------------------------------------------------------- noise estimation


def first_frames_mean(
    values: Features, state: tuple[Float[Tensor, "batch feature"], Float[Tensor, ""]], count: int
) -> tuple[Features, tuple[Float[Tensor, "batch feature"], Float[Tensor, ""]]]:
    """Return the mean of the first `count` frames: the static noise estimate of Xu 2014, made causal.

    The first `count` frames get the mean of the frames so far; all later frames get the mean of
    the first `count`.

    Args:
        values: features.
        state: (sum, number) of the frames added so far; zeros before the first frame.
        count: number of initial frames that are assumed to be noise only.
    """
    total, seen = state
    position = seen + torch.arange(values.shape[-1], device=values.device)
    sums = total[..., None] + (values * (position < count)).cumsum(-1)
    number = (position + 1).clamp(max=count)
    return sums / number, (sums[..., -1], number[-1])


def rising_minimum(
    values: Features, previous: Float[Tensor, "batch feature"], rise: float
) -> tuple[Features, Float[Tensor, "batch feature"]]:
    """Return a noise floor that follows decreases at once and rises by at most `rise` per frame.

    n[k] = min(values[k], n[k - 1] + rise). A causal estimate similar to
    minimum statistics (Martin 2001), for features in the log domain. `previous` is infinite before
    the first frame.
    """
    slope = rise * torch.arange(1, values.shape[-1] + 1, device=values.device)
    # Minus the allowed rise, the recursion is a running minimum.
    least = -running_maximum(slope - values)
    floor = torch.minimum(least, previous[..., None]) + slope
    return floor, floor[..., -1]


# ------------------------------------------------------------------------------------------ context


def splice(
    values: Features, state: Float[Tensor, "batch feature memory"], context: int
) -> tuple[Float[Tensor, "batch spliced frames"], Float[Tensor, "batch feature memory"]]:
    """Concatenate each frame with the `context - 1` frames before it, oldest first.

    The result has spliced = context * feature numbers per frame. For context with `future`
    frames after the current one, read the result `future` frames later.

    Args:
        values: features.
        state: the memory = context - 1 frames before the first.
        context: number of consecutive frames in the result.
    """
    extended = torch.cat([state, values], dim=-1)
    windows = extended.unfold(-1, context, 1)
    spliced = rearrange(windows, "batch feature frames context -> batch (context feature) frames")
    return spliced, extended[..., extended.shape[-1] - state.shape[-1] :]
