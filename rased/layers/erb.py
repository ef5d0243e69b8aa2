"""Keep the lowest bins, and combine the others into bands on the ERB-rate scale."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.signal.features import hertz_to_scale, scale_to_hertz


class ErbBands(nn.Module):
    """Keeps the lowest bins; combines the rest into overlapping triangular bands on the ERB-rate scale."""

    def __init__(self, kept: int, bands: int, freq: int, sample_rate: int) -> None:
        super().__init__()
        self.kept = kept
        triangles = torch.from_numpy(erb_triangles(kept, bands, freq, sample_rate))
        self.analysis = nn.Parameter(triangles, requires_grad=False)
        self.synthesis = nn.Parameter(triangles.T.contiguous(), requires_grad=False)

    def compress(
        self, bins: Float[Tensor, "batch channel frames freq"]
    ) -> Float[Tensor, "batch channel frames band"]:
        """Convert bins to bands."""
        low, high = bins[..., : self.kept], bins[..., self.kept :]
        return torch.cat([low, functional.linear(high, self.analysis)], dim=-1)

    def expand(
        self, bands: Float[Tensor, "batch channel frames band"]
    ) -> Float[Tensor, "batch channel frames freq"]:
        """Convert bands to bins."""
        low, high = bands[..., : self.kept], bands[..., self.kept :]
        return torch.cat([low, functional.linear(high, self.synthesis)], dim=-1)


def erb_triangles(kept: int, bands: int, freq: int, sample_rate: int) -> np.ndarray:
    """Return triangles between neighbouring centres that sum to 1 in every bin: (band, freq - kept).

    Centres are whole bins, rounded as in the authors' code.
    """
    nyquist = sample_rate / 2
    lowest = kept / (freq - 1) * nyquist  # Hz of the first bin that is not kept
    first, last = hertz_to_scale(np.array([lowest, nyquist]), "erb")
    hertz = scale_to_hertz(np.linspace(first, last, bands), "erb")
    centres = np.round(hertz / nyquist * (freq - 1))
    bins = np.arange(kept, freq)
    # Interpolating a unit vector between the centres gives one triangle; at each bin, they sum to 1.
    triangles = [np.interp(bins, centres, row) for row in np.eye(bands)]
    return np.stack(triangles).astype(np.float32)


def erb_widths(bands: int, freq: int, sample_rate: int, *, least: int = 2) -> list[int]:
    """Return the bins of adjacent rectangular bands of equal ERB-rate width, with at least `least` bins each.

    Bins that a narrow band gets on top are taken from those above it.

    >>> erb_widths(16, 161, 16_000)
    [2, 2, 2, 2, 2, 3, 4, 6, 7, 8, 11, 14, 16, 22, 26, 34]
    """
    nyquist = sample_rate / 2
    last = hertz_to_scale(np.array(nyquist), "erb")
    hertz = scale_to_hertz(np.linspace(0.0, float(last), bands + 1)[1:], "erb")
    widths, before, taken = [], 0, 0
    for edge in np.round(hertz / nyquist * (freq - 1)).astype(int):
        width = int(edge) - before - taken
        # What a narrow band gets on top is missing from the next one.
        taken = max(0, least - width)
        widths.append(max(width, least))
        before = int(edge)
    # Edges end at bin freq - 1, so that the bin of the Nyquist frequency is still missing.
    widths[-1] += freq - sum(widths)
    return widths
