"""Mean scores of a perfect network for each target, by condition and SNR, on the first seconds of mixtures.

python experiments/0012-ideal-targets/oracle.py [TESTSET] [--count 6] [--seconds 3]
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from rased.evaluation.testset import BUNDLE, Item, read_audio, read_testset
from rased.metrics import METRICS
from rased.signal import filtering, masks
from rased.signal.stft import STFT

TRANSFORM = STFT()
SCORES = ("si-sdr", "snr", "pesq-wb", "estoi", "lsd")
TAPS = {"past": 4, "future": 0, "neighbours": 0}
ONE = {"past": 0, "future": 0, "neighbours": 0}


def by_filter(span: int, **taps: int) -> Callable[..., Tensor]:
    """Return what the ideal filter makes of the noisy spectrum."""

    def filtered(*, target: Tensor, noisy: Tensor) -> Tensor:
        weights = filtering.ideal_filter(target=target, noisy=noisy, span=span, **taps)
        silence = torch.zeros_like(noisy[..., : taps["past"]])
        around = torch.cat([silence, noisy], dim=-1)
        return (weights * filtering.neighbourhood(around, taps["past"] + 1, 0)).sum(1)

    return filtered


def by_mask(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the masked noisy spectrum."""
    return lambda *, target, noisy: masks.apply_mask(formula(target=target, noisy=noisy), noisy)


SYSTEMS: dict[str, Callable[..., Tensor]] = {
    "noisy": lambda *, target, noisy: noisy,
    "IBM": by_mask(masks.binary_mask),
    "IRM": by_mask(masks.ratio_mask),
    "Wiener": by_mask(masks.wiener_mask),
    "amplitude": by_mask(masks.amplitude_mask),
    "PSM": by_mask(masks.phase_sensitive_mask),
    "cIRM": by_mask(masks.complex_mask),
    "cIRM, one for 9 frames": by_filter(9, **ONE),
    "deep filter of 5 frames, one for 9 frames": by_filter(9, **TAPS),
}


LADDER = ("IBM", "IRM", "PSM", "cIRM")


def group_of(item: Item) -> str:
    """The condition, and the SNR if there is noise."""
    snr_db = item.facts.get("snr_db")
    condition = str(item.facts["condition"])
    return condition if snr_db is None else f"{condition}, {float(snr_db):2.0f} dB"


def scores_of(item: Item, seconds: float) -> dict[tuple[str, str], float]:
    """Every score of every target for a mixture."""
    pair = (item.noisy, item.target)
    noisy, target = (
        torch.from_numpy(read_audio(path, sample_rate=16_000))[: int(seconds * 16_000)]
        for path in pair
        if path is not None
    )
    spectra = {"target": TRANSFORM.analysis(target[None]), "noisy": TRANSFORM.analysis(noisy[None])}
    found = {}
    for system, enhanced in SYSTEMS.items():
        estimate = TRANSFORM.synthesis(enhanced(**spectra), len(target))[0]
        for name in SCORES:
            score = METRICS[name](estimate=estimate, target=target, sample_rate=16_000)
            if score.value is not None:
                found[name, system] = score.value
    return found


def show(group: str, rows: Iterable[dict[tuple[str, str], float]]) -> None:
    """Print a table of means, and in how many mixtures each step of the ladder is better than the one before."""
    rows = list(rows)
    print(f"\n{group} ({len(rows)} mixtures)\n\n| target | {' | '.join(SCORES)} |")
    print("|---" * (len(SCORES) + 1) + "|")
    for system in SYSTEMS:
        means = []
        for name in SCORES:
            values = [row[name, system] for row in rows if (name, system) in row]
            means.append(f"{sum(values) / len(values):.2f}" if values else "")
        print(f"| {system} | {' | '.join(means)} |")
    for worse, better in pairwise(LADDER):
        counts = [str(sum(is_better(name, row, better, worse) for row in rows)) for name in SCORES]
        print(f"| mixtures in which {better} is better than {worse} | {' | '.join(counts)} |")
    print(end="", flush=True)


def is_better(name: str, row: dict[tuple[str, str], float], better: str, worse: str) -> bool:
    """Whether a score of a target is better than that of another one."""
    sign = 1 if METRICS[name].direction == "higher" else -1
    return sign * row[name, better] > sign * row[name, worse]


@torch.inference_mode()
def main() -> None:
    """Read the arguments, and print a table for each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("testset", nargs="?", type=Path, default=BUNDLE)
    parser.add_argument("--count", type=int, default=6, help="mixtures of each group")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in read_testset(given.testset).items:
        groups[group_of(item)].append(item)
    for group in sorted(groups):
        items = groups[group]
        chosen = items[:: max(1, len(items) // given.count)][: given.count]
        show(group, [scores_of(item, given.seconds) for item in chosen])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
