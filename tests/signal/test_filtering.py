"""Ideal filters against least squares by hand, and against the masks that they contain."""

import pytest
import torch
from torch import Tensor

from rased.layers.prediction import Prediction
from rased.layers.targets import DeepFilter
from rased.signal import masks
from rased.signal.filtering import ideal_filter, neighbourhood


def spectra(frames: int = 12, freq: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    noisy, target = (
        torch.randn(2, freq, frames, dtype=torch.complex64, generator=generator) for _ in range(2)
    )
    return noisy, target


def seen(noisy: Tensor, row: int, bin_: int, frame: int, kind: DeepFilter) -> Tensor:
    """What the filter of a bin sees, one by one."""
    values = []
    for shift in range(-kind.neighbours, kind.neighbours + 1):
        for late in range(-kind.past_frames, kind.future_frames + 1):
            at = (bin_ + shift, frame + late)
            inside = 0 <= at[0] < noisy.shape[1] and 0 <= at[1] < noisy.shape[2]
            values.append(noisy[(row, *at)] if inside else torch.zeros((), dtype=noisy.dtype))
    return torch.stack(values)


KINDS = [
    DeepFilter(past_frames=2, future_frames=1, neighbours=0, span=9),
    DeepFilter(past_frames=1, future_frames=0, neighbours=1, span=7),
    DeepFilter(past_frames=0, future_frames=0, neighbours=0, span=5),
]


def weights_of(kind: DeepFilter, noisy: Tensor, target: Tensor) -> Tensor:
    return ideal_filter(
        target=target,
        noisy=noisy,
        past=kind.past_frames,
        future=kind.future_frames,
        neighbours=kind.neighbours,
        span=kind.span,
    )


def filtered(kind: DeepFilter, weights: Tensor, noisy: Tensor) -> Tensor:
    """What the target makes of these weights."""
    parts = torch.cat([weights.flatten(1, 2).real, weights.flatten(1, 2).imag], dim=1)
    around = torch.nn.functional.pad(
        torch.view_as_real(noisy), (0, 0, kind.past_frames, kind.future_frames)
    )
    prediction = kind.interpret(parts, torch.view_as_complex(around))
    assert isinstance(prediction, Prediction)
    assert prediction.spectrum is not None
    return prediction.spectrum


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_least_squares_of_a_span(kind: DeepFilter) -> None:
    noisy, target = spectra()
    weights = weights_of(kind, noisy, target)
    for row, bin_, frame in ((0, 0, 0), (1, 2, 6), (0, 4, 11)):
        half = kind.span // 2
        frames = range(max(0, frame - half), min(noisy.shape[-1], frame + half + 1))
        rows = torch.stack([seen(noisy, row, bin_, one, kind) for one in frames])
        wanted = target[row, bin_, frames.start : frames.stop]
        # gelsd: at the ends of time and frequency, the matrix lacks rank.
        right = wanted[:, None].to(torch.complex128)
        solved = torch.linalg.lstsq(rows.to(torch.complex128), right, driver="gelsd").solution
        best = solved[:, 0].to(rows.dtype)
        found = rows @ weights[row, :, bin_, frame]
        torch.testing.assert_close(found, rows @ best, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_applies_the_weights_to_what_they_see(kind: DeepFilter) -> None:
    noisy, target = spectra()
    weights = weights_of(kind, noisy, target)
    found = filtered(kind, weights, noisy)
    for row, bin_, frame in ((0, 0, 0), (1, 2, 6), (0, 4, 11), (1, 4, 0)):
        by_hand = (weights[row, :, bin_, frame] * seen(noisy, row, bin_, frame, kind)).sum()
        torch.testing.assert_close(found[row, bin_, frame], by_hand, rtol=1e-4, atol=1e-5)


def test_one_tap_and_one_frame_are_the_complex_mask_and_silence_has_no_weight() -> None:
    noisy, target = spectra()
    noisy[0, 3] = 0
    kind = DeepFilter(past_frames=0, span=1)
    weights = weights_of(kind, noisy, target)
    wanted = masks.complex_mask(target=target, noisy=noisy)
    torch.testing.assert_close(weights[:, 0], wanted, rtol=1e-4, atol=1e-5)
    assert not weights[0, :, 3].any()
    assert neighbourhood(noisy, 1, 0).shape == (2, 1, 5, 12)


def test_one_frame_of_span_is_exact_and_more_taps_need_smaller_weights() -> None:
    noisy, target = spectra()
    largest = []
    for past in (0, 2, 4):
        kind = DeepFilter(past_frames=past, span=1)
        weights = weights_of(kind, noisy, target)
        torch.testing.assert_close(filtered(kind, weights, noisy), target, rtol=0, atol=1e-3)
        largest.append(float(weights[..., 4:].abs().amax()))
    assert largest == sorted(largest, reverse=True)
