"""Speech-to-reverberation modulation energy ratio, without a reference.

Falk, Zheng, Chan, "A non-intrusive quality and intelligibility measure of reverberant and
dereverberated speech", IEEE TASLP 18(7), 2010, doi:10.1109/TASL.2010.2052247. Implemented here because the
package SRMRpy is not on PyPI, and the version in torchmetrics needs torchaudio.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from rased.metrics.base import Metric
from rased.signal.domains import Samples

RATE = 16_000
BANDS, LOWEST_HZ = 23, 125.0
MODULATION_HZ = 4.0 * 32.0 ** (np.arange(8) / 7)
"""Centre frequencies of the modulation filters, 4 to 128 Hz."""
WINDOW, HOP = 4096, 1024
"""Window and hop: 256 and 64 ms at 16 kHz."""
_Q = 2.0
# Glasberg and Moore: ERB = f / 9.26449 + 24.7 Hz.
_EAR_Q, _NARROWEST = 9.26449, 24.7


class SRMR(Metric):
    """Speech-to-reverberation modulation energy ratio.

    Energy of slow modulations (four filters, 4 to 18 Hz) of 23 gammatone envelopes over that of
    fast modulations, which reverberation adds. It also falls with noise, and depends on the speaker: compare
    only on the same test set. Without voice activity detection and without the normalisation of 2014 (SRMRnorm).
    Same as the slow, unnormalised variant of SRMRpy; torchmetrics differs by less than 1e-4 of the value.
    """

    name = "srmr"
    title = "SRMR"
    range = (0.0, float("inf"))
    sample_rate = RATE
    needs_reference = False
    blind_to = ("level",)
    packages = ("scipy",)
    minimum = WINDOW / RATE

    @property
    def version(self) -> str:
        """Return our version and the variant."""
        return "rased 1, 23 bands, modulations 4 to 128 Hz, no normalisation"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return a ratio of energies."""
        energy = modulation_energy(estimate.double().numpy())
        # The paper's K*: only modulation filters below the bandwidth of the band up to which 90 % of the energy lies.
        share = energy.sum(1).cumsum() / energy.sum()
        bandwidth = _erb(_centres())[int(np.argmax(share > 0.9))]
        # Lower cutoff frequencies of the modulation filters.
        lower = MODULATION_HZ - np.tan(np.pi * MODULATION_HZ / RATE) / _Q * RATE / (2 * np.pi)
        used = int((lower <= bandwidth).sum())
        return float(energy[:, :4].sum() / energy[:, 4:used].sum())


def modulation_energy(signal: Float[np.ndarray, " time"]) -> Float[np.ndarray, "band modulation"]:
    """Return the mean energy in Hamming windows of 256 ms, by gammatone band (low to high) and modulation."""
    from scipy.signal import hilbert, sosfilt

    weight = (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)) ** 2
    # A multiple of 16, as in SRMRpy: fast to transform, and the values agree.
    padded = -(-len(signal) // 16) * 16
    energy = np.empty((BANDS, len(MODULATION_HZ)))
    for band, sections in enumerate(_gammatones()):
        envelope = np.abs(hilbert(sosfilt(sections, signal), padded))[: len(signal)]
        for index, section in enumerate(_modulation_filters()):
            square = sosfilt(section[None], envelope) ** 2
            frames = np.lib.stride_tricks.sliding_window_view(square, WINDOW)[::HOP]
            energy[band, index] = (frames @ weight).mean()
    return energy


def _erb(hertz: Float[np.ndarray, " band"]) -> Float[np.ndarray, " band"]:
    return hertz / _EAR_Q + _NARROWEST


def _centres() -> Float[np.ndarray, " band"]:
    """Return centre frequencies on the ERB scale from 125 Hz up; the 24th would be half the sample rate."""
    shift = _EAR_Q * _NARROWEST
    steps = np.arange(BANDS) / BANDS
    low, high = np.log(LOWEST_HZ + shift), np.log(RATE / 2 + shift)
    return np.exp(low + steps * (high - low)) - shift


@lru_cache(maxsize=1)
def _gammatones() -> Float[np.ndarray, "band 4 6"]:
    """Return gammatone filters of fourth order with gain 1 at their centres (Slaney, Apple TR 35, 1993)."""
    angle = 2 * np.pi * _centres() / RATE
    radius = np.exp(-1.019 * 2 * np.pi * _erb(_centres()) / RATE)
    sections = np.zeros((BANDS, 4, 6))
    sections[:, :, 0] = 1.0
    # Slaney's four zeros, one for each section; all sections share their poles.
    for index, (sign, root) in enumerate((s, r) for r in (1, -1) for s in (1, -1)):
        zero = np.cos(angle) + sign * np.sqrt(3 + root * 2**1.5) * np.sin(angle)
        sections[:, index, 1] = -radius * zero
    sections[:, :, 3] = 1.0
    sections[:, :, 4] = (-2 * radius * np.cos(angle))[:, None]
    sections[:, :, 5] = (radius**2)[:, None]
    delay = np.exp(-1j * angle)[:, None] ** np.arange(3)
    # Transfer function of each section at the centre: numerator over denominator.
    gain = np.einsum("bsk,bk->bs", sections[:, :, :3], delay)
    gain /= np.einsum("bsk,bk->bs", sections[:, :, 3:], delay)
    sections[:, :, :3] /= np.abs(gain)[:, :, None]
    return sections


@lru_cache(maxsize=1)
def _modulation_filters() -> Float[np.ndarray, "modulation 6"]:
    """Return second-order resonators with a quality factor of 2."""
    # Bilinear transform, with the centre at its place.
    centre = np.tan(np.pi * MODULATION_HZ / RATE)
    width = centre / _Q
    zero = np.zeros_like(centre)
    rows = np.stack(
        [width, zero, -width, 1 + width + centre**2, 2 * centre**2 - 2, 1 - width + centre**2],
        axis=1,
    )
    return rows / rows[:, 3:4]
