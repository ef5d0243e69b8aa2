"""What each target gives with a perfect network, on real recordings of the bundled test set."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rased.evaluation.testset import BUNDLE, Item, read_audio, read_testset
from rased.layers.targets import TARGETS, DeepFilter, RealMask, Target
from rased.losses.spectral import LogMagnitude
from rased.metrics import METRICS
from rased.signal import masks
from rased.signal.ratios import si_sdr
from rased.signal.stft import STFT

STFT_USED = STFT()
COUNT = 6
SECONDS = 2


def output_of(name: str, ideal: Tensor) -> Tensor:
    """The output of a perfect network: what `interpret` turns into the ideal value."""
    target = TARGETS[name]()
    if isinstance(target, RealMask):
        return (ideal / target.limit).logit(eps=1e-7)
    if name == "magnitude":
        return ideal.clamp(min=1e-6).double().expm1().log().float()
    if name == "magnitude_and_phase":
        return torch.cat([output_of("magnitude", ideal.abs()), ideal.real, ideal.imag], dim=1)
    parts = torch.cat([ideal.real, ideal.imag], dim=1) if ideal.is_complex() else ideal
    return masks.expand_mask_parts(parts) if name in ("complex_mask", "deep_filter") else parts


def perfect(name: str, kind: Target, noisy: Tensor, target: Tensor) -> Tensor:
    """The spectrum that a perfect network gives."""
    output = output_of(name, kind.ideal(noisy=noisy, target=target))
    around = functional.pad(torch.view_as_real(noisy), (0, 0, *kind.context))
    spectrum = kind.interpret(output, torch.view_as_complex(around)).spectrum
    assert spectrum is not None
    return spectrum


def pair_of(item: Item) -> tuple[Tensor, Tensor]:
    """The beginning of a mixture and of its target."""
    noisy, target = (
        torch.from_numpy(read_audio(path, sample_rate=16_000))[None, : SECONDS * 16_000]
        for path in (item.noisy, item.target)
        if path is not None
    )
    return noisy, target


@pytest.fixture(scope="module")
def scores() -> dict[str, Tensor]:
    """SI-SDR of every target for each recording (noise, rooms, or both), and the distance that hears quiet bins too."""
    items = read_testset(BUNDLE).items
    found: dict[str, list[float]] = {}
    for item in items[:: len(items) // COUNT][:COUNT]:
        noisy, target = pair_of(item)
        time, spectra = target.shape[-1], {"noisy": STFT_USED.analysis(noisy)}
        heard, wanted = spectra["noisy"], STFT_USED.analysis(target)
        for name, kind in TARGETS.items():
            spectra[name] = perfect(name, kind(), heard, wanted)
        spectra["one tap"] = perfect("deep_filter", DeepFilter(past_frames=0), heard, wanted)
        for name, spectrum in spectra.items():
            estimate = STFT_USED.synthesis(spectrum, time)
            ratio = si_sdr(estimate=estimate, target=target)
            distance = LogMagnitude()(estimate=STFT_USED.analysis(estimate), target=wanted)
            found.setdefault(name, []).append(float(ratio))
            found.setdefault(f"distance of {name}", []).append(float(distance))
    return {name: torch.tensor(values) for name, values in found.items()}


def test_the_more_a_mask_knows_the_better_it_sounds_in_every_recording(
    scores: dict[str, Tensor],
) -> None:
    """Which is louder, then the share of the power, then the phase, then everything."""
    ladder = ("noisy", "binary_mask", "wiener_mask", "phase_sensitive_mask", "complex_mask")
    for worse, better in pairwise(ladder):
        assert bool((scores[better] > scores[worse]).all()), (worse, better)
    assert float(scores["complex_mask"].min()) > 40


def test_the_ratio_mask_beats_the_binary_one_where_quiet_bins_count(
    scores: dict[str, Tensor],
) -> None:
    """Its square root keeps more noise than SI-SDR likes, so there it is below; but it leaves no holes."""
    binary, ratio, complex_one = (
        scores[f"distance of {name}"] for name in ("binary_mask", "ratio_mask", "complex_mask")
    )
    assert bool((2 * ratio < binary).all())
    assert bool((10 * complex_one < ratio).all())
    below = (scores["wiener_mask"] - scores["ratio_mask"]).mean()
    assert 0 < below < 2


LADDER = ("binary_mask", "ratio_mask", "phase_sensitive_mask", "complex_mask")


@pytest.mark.parametrize("metric", ["estoi", pytest.param("pesq-wb", marks=pytest.mark.slow)])
def test_the_textbook_order_is_that_of_intelligibility_and_quality(metric: str) -> None:
    """In noise without rooms, in the mean. In SI-SDR, the first two are the other way round, in every recording."""
    items = [item for item in read_testset(BUNDLE).items if item.facts["condition"] == "noise"]
    rows, ratios = [], []
    for item in items[::16][:COUNT]:
        noisy, target = pair_of(item)
        spectra = {"noisy": STFT_USED.analysis(noisy), "target": STFT_USED.analysis(target)}
        estimates = [
            STFT_USED.synthesis(perfect(name, TARGETS[name](), **spectra), target.shape[-1])
            for name in LADDER
        ]
        ratios.append([float(si_sdr(estimate=one, target=target)) for one in estimates])
        found = [
            METRICS[metric](estimate=one[0], target=target[0], sample_rate=16_000)
            for one in estimates
        ]
        rows.append([score.value for score in found])
    scores, by_ratio = torch.tensor(rows), torch.tensor(ratios)
    assert bool((scores.mean(0).diff() > 0).all())
    assert bool((scores[:, 2] > scores[:, 0]).all())
    assert bool((by_ratio[:, 0] > by_ratio[:, 1]).all())


def test_a_mapping_that_keeps_the_noisy_phase_is_an_unlimited_amplitude_mask(
    scores: dict[str, Tensor],
) -> None:
    torch.testing.assert_close(scores["magnitude"], scores["log_power"], rtol=0, atol=0.05)
    assert bool((scores["magnitude"] < scores["phase_sensitive_mask"]).all())
    assert bool((scores["magnitude"] > scores["noisy"]).all())


def test_a_deep_filter_beats_a_complex_mask_that_is_as_slow(scores: dict[str, Tensor]) -> None:
    """Over nine frames, five taps undo noise and reverberation by far better than one."""
    assert bool((scores["deep_filter"] > scores["one tap"] + 2).all())
    assert bool((scores["deep_filter"] > scores["phase_sensitive_mask"]).all())
    assert bool((scores["one tap"] < scores["complex_mask"] - 10).all())


@pytest.mark.parametrize("name", ["complex", "compressed_complex", "magnitude_and_phase"])
def test_a_complex_mapping_is_exact(name: str, scores: dict[str, Tensor]) -> None:
    assert float(scores[name].min()) > 40


def test_the_prior_snr_is_enough_for_the_mmse_estimator(scores: dict[str, Tensor]) -> None:
    """Its gain is above that of the Wiener mask and below that of the ratio mask, and so is its SI-SDR between."""
    found = scores["prior_snr"]
    assert bool((found > scores["noisy"] + 2).all())
    assert bool((found > scores["ratio_mask"]).all())
    assert bool((found < scores["wiener_mask"]).all())
