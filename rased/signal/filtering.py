"""The ideal complex filter over neighbouring frames and bins: least squares over a moving span of frames."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from rased.signal.domains import Spectrum
from rased.signal.masks import FLOOR

_LOADING = 1e-6
"""Share of the mean power on the diagonal: among equal filters, the smallest one is chosen."""


def ideal_filter(
    *, target: Spectrum, noisy: Spectrum, past: int, future: int, neighbours: int, span: int
) -> Complex[Tensor, "batch tap freq frames"]:
    """Return the weights of the neighbouring bins whose sum is the closest to the target.

    For each bin, the squared error is the least over `span` frames around it. With a span of one frame, the smallest of
    all exact filters is chosen; with one tap too, it is the complex ratio mask. A silent bin gets 0. Taps are in the
    order of `neighbourhood`. Computed in double precision.

    Args:
        target: speech.
        noisy: the input; silence before its first and after its last frame.
        past: frames before the current one.
        future: frames after it.
        neighbours: bins on each side.
        span: frames over which a filter is fitted; odd.
    """
    around = functional.pad(torch.view_as_real(noisy), (0, 0, past, future))
    taps = neighbourhood(torch.view_as_complex(around), past + 1 + future, neighbours)
    # One row at a time: the correlations take taps^2 numbers for each bin.
    return torch.stack(
        [_fitted(row, wanted, span) for row, wanted in zip(taps, target, strict=True)]
    ).to(noisy)


def neighbourhood(
    spectrum: Complex[Tensor, "batch freq more_frames"], order: int, neighbours: int
) -> Complex[Tensor, "batch tap freq frames"]:
    """Return what a filter sees in each bin, from the lowest neighbouring bin to the highest, the oldest frame first.

    Args:
        spectrum: frames + order - 1 of them.
        order: frames of a filter.
        neighbours: bins on each side; beyond the ends, there is silence.
    """
    frames = spectrum.shape[-1] - order + 1
    shifted = shifted_bins(spectrum, neighbours)
    return torch.stack(
        [one[..., start : start + frames] for one in shifted for start in range(order)], dim=1
    )


def shifted_bins(spectrum: Spectrum, neighbours: int) -> list[Spectrum]:
    """Return the spectrum of the lower neighbours of each bin, of the bins themselves, and of the higher neighbours."""
    freq = spectrum.shape[1]
    padded = functional.pad(
        torch.view_as_real(spectrum), (0, 0, 0, 0, neighbours, neighbours)
    )  # the last axes first
    whole = torch.view_as_complex(padded)
    return [whole[:, start : start + freq] for start in range(2 * neighbours + 1)]


def _fitted(
    taps: Complex[Tensor, "tap freq frames"], target: Complex[Tensor, "freq frames"], span: int
) -> Complex[Tensor, "tap freq frames"]:
    seen, wanted = taps.to(torch.complex128), target.to(torch.complex128)
    correlation = _smoothed(seen.conj()[:, None] * seen[None], span)
    products = _smoothed(seen.conj() * wanted, span)
    correlation = rearrange(correlation, "k l f t -> f t k l")
    level = correlation.diagonal(dim1=-2, dim2=-1).real.mean(-1)[..., None, None]
    unit = torch.eye(len(seen), dtype=seen.dtype, device=seen.device)
    right = rearrange(products, "k f t -> f t k 1")
    weights = torch.linalg.solve(correlation + (_LOADING * level + FLOOR) * unit, right)
    return rearrange(weights, "f t k 1 -> k f t")


def _smoothed(
    values: Complex[Tensor, "*rows frames"], span: int
) -> Complex[Tensor, "*rows frames"]:
    """Return the means over the span around each frame; at the ends, over the frames that there are."""
    parts = torch.view_as_real(values).movedim(-1, 0)
    rows: Float[Tensor, "part row frames"] = parts.reshape(2, -1, parts.shape[-1])
    means = functional.avg_pool1d(rows, span, 1, span // 2, count_include_pad=False)
    return torch.complex(*means.reshape(parts.shape))
