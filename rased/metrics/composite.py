"""Measures of Hu and Loizou: segmental and frequency-weighted SNR, LLR, cepstral distance, CSIG, CBAK, COVL.

Hu and Loizou, "Evaluation of objective quality measures for speech enhancement", IEEE TASLP 16(1),
2008, doi:10.1109/TASL.2007.911054, as in the MATLAB files of Loizou's book "Speech
enhancement: theory and practice" (CRC Press): Hann windows of 30 ms every 7.5 ms, without the last
frame and without voice activity detection. The small constants that guard the MATLAB files against silence are
replaced by floors that real audio does not reach.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from rased.metrics.base import Metric, remember
from rased.metrics.intrusive import pesq_mos
from rased.signal.domains import Samples

RATE = 16_000
WIN = 480
HOP = 120
N_FFT = 1024
ORDER = 16
"""Order of the linear prediction, for sample rates of 10 kHz and more."""
KEPT = 0.95
"""Share of the frames, the best ones, that are averaged in spectral distances."""
SEGMENT_DB = (-10.0, 35.0)
"""Limits of the SNR of a frame."""

_EPS = float(np.finfo(np.float64).eps)
_SILENT_POWER = 1e-20

# Critical bands, centre and width in Hz: 70 Hz wide at low frequencies, wider above.
_BANDS = np.array(
    [
        *((centre, 70.0) for centre in (50, 120, 190, 260, 330, 400, 470)),
        *((540, 77.3724), (617.372, 86.0056), (703.378, 95.3398), (798.717, 105.411)),
        *((904.128, 116.256), (1020.38, 127.914), (1148.30, 140.423), (1288.72, 153.823)),
        *((1442.54, 168.154), (1610.70, 183.457), (1794.16, 199.776), (1993.93, 217.153)),
        *((2211.08, 235.631), (2446.71, 255.255), (2701.97, 276.072), (2978.04, 298.126)),
        *((3276.17, 321.465), (3597.63, 346.136)),
    ]
)
# Weights of the distance to the highest and to the nearest peak (Klatt 1982).
_KLATT_MAXIMUM, _KLATT_LOCAL = 20.0, 1.0

Frames = Float[np.ndarray, "frames win"]
Signal = Float[np.ndarray, " time"]


class _Framed(Metric):
    """Base class of the frame-based measures."""

    sample_rate = RATE
    # At least one window and one hop, since the last frame is left out.
    minimum = (WIN + HOP) / RATE

    @property
    def version(self) -> str:
        """Return the version of the MATLAB files, and of our implementation."""
        own = "rased 1, Loizou 2008"
        return f"{super().version}, {own}" if self.packages else own


class SegmentalSNR(_Framed):
    """Mean SNR of all frames, each limited to -10 to 35 dB."""

    name = "segsnr"
    title = "seg SNR"
    unit = "dB"
    range = SEGMENT_DB

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the ratio in dB."""
        return segmental_snr(*_arrays(estimate, target))


class FrequencyWeightedSNR(_Framed):
    """Segmental SNR of critical-band magnitudes, weighted by the target's magnitudes to the power 0.2.

    Each spectrum is normalised to a sum of 1, so that the level of the estimate has no effect.
    """

    name = "fwsegsnr"
    title = "fwSeg SNR"
    unit = "dB"
    range = SEGMENT_DB
    blind_to = ("level",)

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the ratio in dB."""
        bands = []
        for signal in _arrays(estimate, target):
            # 512 bins without the last one, as in the MATLAB files; _EPS avoids a sum of 0.
            magnitude = np.abs(np.fft.rfft(_frames(signal + _EPS), N_FFT))[:, :-1]
            bands.append(magnitude / magnitude.sum(1, keepdims=True) @ _critical_bands().T)
        processed, clean = bands
        error = np.maximum((clean - processed) ** 2, _EPS)
        # 0.2: the exponent with the highest correlation with listeners in the paper.
        weight = clean**0.2
        ratio = (weight * 10 * np.log10(clean**2 / error)).sum(1) / weight.sum(1)
        return float(ratio.clip(*SEGMENT_DB).mean())


class LogLikelihoodRatio(_Framed):
    """Log-likelihood ratio of linear predictors; mean of the best 95 % of the frames, each limited to 2."""

    name = "llr"
    title = "LLR"
    direction = "lower"
    range = (0.0, 2.0)
    blind_to = ("level",)

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the natural logarithm of the ratio of prediction errors."""
        return log_likelihood_ratio(*_arrays(estimate, target), limit=2.0)


class CepstralDistance(_Framed):
    """Distance of LPC cepstra in dB; mean of the best 95 % of the frames, each limited to 10 dB.

    10 / ln 10 * sqrt(2 * sum of squares) over 16 coefficients without the zeroth, as in Loizou's
    comp_cep. The REVERB challenge uses another distance: real cepstra with the zeroth coefficient, frames of
    25 ms every 10 ms, all of them.
    """

    name = "cd"
    title = "CD"
    unit = "dB"
    direction = "lower"
    range = (0.0, 10.0)
    blind_to = ("level",)

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the distance in dB."""
        processed, clean = (
            _cepstrum(_linear_prediction(_frames(signal))[0])
            for signal in _arrays(estimate, target)
        )
        distance = 10 / np.log(10) * np.sqrt(2 * ((clean - processed) ** 2).sum(1))
        return _mean_of_best(distance.clip(max=10.0))


class _Composite(_Framed):
    """A regression onto listeners' scores, limited to 1 to 5.

    The constants are those of the paper, which were fitted to narrow-band speech and P.862. Here,
    as in most papers since 2017, PESQ is the wide-band MOS-LQO of P.862.2.
    """

    family = "pesq"
    unit = "MOS"
    range = (1.0, 5.0)
    packages = ("pesq",)
    minimum = 0.25
    constant: float
    per_pesq: float
    per_llr = 0.0
    per_wss: float
    per_snr = 0.0

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return a MOS; undefined if PESQ is."""
        assert target is not None
        pesq = pesq_mos(target.numpy(), estimate.numpy(), "wb")
        llr, slope, snr = _parts(*_arrays(estimate, target))
        value = (
            self.constant
            + self.per_pesq * pesq
            + self.per_llr * llr
            + self.per_wss * slope
            + self.per_snr * snr
        )
        return min(5.0, max(1.0, value))


class CSIG(_Composite):
    """Composite measure of speech distortion, from PESQ, LLR and WSS."""

    name = "csig"
    title = "CSIG"
    blind_to = ("level",)
    constant, per_pesq, per_llr, per_wss = 3.093, 0.603, -1.029, -0.009


class CBAK(_Composite):
    """Composite measure of background intrusiveness, from PESQ, WSS and segmental SNR."""

    name = "cbak"
    title = "CBAK"
    constant, per_pesq, per_wss, per_snr = 1.634, 0.478, -0.007, 0.063


class COVL(_Composite):
    """Composite measure of overall quality, from PESQ, LLR and WSS."""

    name = "covl"
    title = "COVL"
    blind_to = ("level",)
    constant, per_pesq, per_llr, per_wss = 1.594, 0.805, -0.512, -0.007


def segmental_snr(estimate: Signal, target: Signal) -> float:
    """Return the mean over frames of the SNR in dB, limited to `SEGMENT_DB`."""
    signal = (_frames(target) ** 2).sum(1)
    noise = (_frames(target - estimate) ** 2).sum(1)
    ratio = 10 * np.log10(signal / (noise + _EPS) + _EPS)
    return float(ratio.clip(*SEGMENT_DB).mean())


def log_likelihood_ratio(estimate: Signal, target: Signal, limit: float = np.inf) -> float:
    """Return ln(a_e R a_e' / a_t R a_t') for predictors a and the target's autocorrelation R, best 95 % of frames."""
    coefficients, _ = _linear_prediction(_frames(estimate))
    own, correlation = _linear_prediction(_frames(target))
    ratio = _prediction_error(coefficients, correlation) / _prediction_error(own, correlation)
    # a R a' cannot be negative, except by rounding.
    return _mean_of_best(np.log(np.where(ratio > 0, ratio, 1000.0)).clip(max=limit))


def weighted_spectral_slope(estimate: Signal, target: Signal) -> float:
    """Return Klatt's distance between slopes of critical-band spectra (ICASSP 1982), best 95 % of the frames."""
    slopes, weights = [], []
    for signal in (estimate, target):
        power = np.abs(np.fft.rfft(_frames(signal), N_FFT))[:, :-1] ** 2
        level = 10 * np.log10(np.maximum(power @ _critical_bands().T, 1e-10))
        slope = np.diff(level, axis=1)
        # Klatt: peaks count most, the highest one above all.
        below = level.max(1, keepdims=True) - level[:, :-1]
        below_peak = _nearest_peaks(slope, level) - level[:, :-1]
        weights.append(
            _KLATT_MAXIMUM / (_KLATT_MAXIMUM + below) * _KLATT_LOCAL / (_KLATT_LOCAL + below_peak)
        )
        slopes.append(slope)
    weight = (weights[0] + weights[1]) / 2
    return _mean_of_best((weight * (slopes[1] - slopes[0]) ** 2).sum(1) / weight.sum(1))


@remember
def _parts(estimate: Signal, target: Signal) -> tuple[float, float, float]:
    """Return LLR (without limit, as in the composite measures), WSS and segmental SNR."""
    return (
        log_likelihood_ratio(estimate, target),
        weighted_spectral_slope(estimate, target),
        segmental_snr(estimate, target),
    )


def _arrays(estimate: Samples, target: Samples | None) -> tuple[Signal, Signal]:
    assert target is not None
    return estimate.double().numpy(), target.double().numpy()


def _frames(signal: Signal) -> Frames:
    window = np.hanning(WIN + 2)[1:-1]
    # A view of all positions: only the windowed frames are copied.
    return np.lib.stride_tricks.sliding_window_view(signal, WIN)[::HOP][:-1] * window


def _mean_of_best(distance: Float[np.ndarray, " frames"]) -> float:
    return float(np.sort(distance)[: round(KEPT * len(distance))].mean())


@lru_cache(maxsize=1)
def _critical_bands() -> Float[np.ndarray, "band freq"]:
    """Return bell curves of equal area over the lower 512 bins, zero below -30 dB."""
    bins = N_FFT // 2
    centre, width = np.split(_BANDS / (RATE / 2) * bins, 2, axis=1)
    # floor and 11: as in the MATLAB files.
    distance = (np.arange(bins) - np.floor(centre)) / width
    filters = np.exp(-11 * distance**2) * width[0] / width
    return filters * (filters > np.exp(-30 / (2 * 2.303)))


def _nearest_peaks(
    slope: Float[np.ndarray, "frames slopes"], level: Float[np.ndarray, "frames band"]
) -> Float[np.ndarray, "frames slopes"]:
    """Return the level of the nearest peak of each band: upwards if the spectrum rises, else downwards.

    In the upward direction, the band before the peak is used, as in the MATLAB files.
    """
    frames, count = slope.shape
    # One column more: a spectrum that rises to its end has the peak there. Index -1, which `down` reads for band 0, is
    # that column, too, and holds -1: a spectrum that falls from its beginning.
    up = np.full((frames, count + 1), count)
    down = np.full((frames, count + 1), -1)
    for band in range(count):
        back = count - 1 - band
        up[:, back] = np.where(slope[:, back] > 0, up[:, back + 1], back)
        down[:, band] = np.where(slope[:, band] > 0, band, down[:, band - 1])
    place = np.where(slope > 0, up[:, :-1] - 1, down[:, :-1] + 1)
    return np.take_along_axis(level, place, axis=1)


def _linear_prediction(
    frames: Frames,
) -> tuple[Float[np.ndarray, "frames taps"], Float[np.ndarray, "frames taps"]]:
    """Return predictors (1, a_1 .. a_16) by the Levinson-Durbin recursion, and the autocorrelation used."""
    correlation = np.stack(
        [(frames[:, : WIN - lag] * frames[:, lag:]).sum(1) for lag in range(ORDER + 1)], axis=1
    )
    correlation[:, 0] += _SILENT_POWER
    coefficients = np.zeros_like(correlation)
    coefficients[:, 0] = 1.0
    error = correlation[:, 0].copy()
    for lag in range(1, ORDER + 1):
        # correlation[lag], ..., correlation[1].
        reflection = -(coefficients[:, :lag] * correlation[:, lag:0:-1]).sum(1) / error
        mirrored = coefficients[:, lag - 1 :: -1] if lag > 1 else coefficients[:, :1]
        # A copy, because `mirrored` is a view of what changes.
        coefficients[:, 1 : lag + 1] += reflection[:, None] * mirrored.copy()
        error = np.maximum(error * (1 - reflection**2), _SILENT_POWER)
    return coefficients, correlation


def _prediction_error(
    coefficients: Float[np.ndarray, "frames taps"], correlation: Float[np.ndarray, "frames taps"]
) -> Float[np.ndarray, " frames"]:
    """Return a R a' for the Toeplitz matrix R of an autocorrelation."""
    total = correlation[:, 0] * (coefficients**2).sum(1)
    for lag in range(1, ORDER + 1):
        products = (coefficients[:, :-lag] * coefficients[:, lag:]).sum(1)
        total = total + 2 * correlation[:, lag] * products
    return total


def _cepstrum(
    coefficients: Float[np.ndarray, "frames taps"],
) -> Float[np.ndarray, "frames order"]:
    """Return the cepstral coefficients 1 to 16 of 1 / A(z)."""
    cepstrum = np.zeros_like(coefficients)
    for index in range(1, ORDER + 1):
        past = np.arange(1, index)
        # c_n = -a_n - sum over k < n of (k / n) c_k a_(n - k).
        mixed = (past / index * cepstrum[:, past] * coefficients[:, index - past]).sum(1)
        cepstrum[:, index] = -coefficients[:, index] - mixed
    return cepstrum[:, 1:]
