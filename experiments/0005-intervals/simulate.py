"""How often 95 % intervals of a mean hold it, by simulation with a known mean: python simulate.py.

The methods are written out for many test sets at once; `rased.evaluation.comparison.statistics` does the third of them
for one, and tests/evaluation/comparison/test_statistics.py simulates that code.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import t as student

VOICES = (5, 8, 13, 20, 30)
SHARES = (0.0, 0.1, 0.3, 0.58)
SIZES = {"equal": "12", "uneq": "4 to 24", "very": "lognormal, 2 and more"}
TRIALS, GROUPS, DRAWS = 3000, 6, 400
"""Test sets of a setting, in groups of equal numbers of utterances; draws of the bootstrap."""
METHODS = ("CR1", "CR2", "rased", "jackknife", "bootstrap")

Rows = Float[np.ndarray, " trials"]


@dataclass(frozen=True)
class Drawn:
    """Test sets of equal numbers of utterances: who said how many, sums of voices, sums of squares."""

    counts: NDArray[np.int64]
    sums: Float[np.ndarray, "trials voices"]
    squares: Rows


def sizes(voices: int, kind: str, random: np.random.Generator) -> NDArray[np.int64]:
    """Utterances of each voice."""
    if kind == "equal":
        return np.full(voices, 12)
    if kind == "uneq":
        return random.integers(4, 25, voices)
    return np.maximum(2, random.lognormal(2.2, 0.8, voices).astype(int))


def draw(
    trials: int,
    counts: NDArray[np.int64],
    share: float,
    skewed: bool,
    random: np.random.Generator,
) -> Drawn:
    """Values of mean 0 and variance 1, `share` of it between voices; skewness 1 of voices, 1.6 of utterances."""
    voices, total = len(counts), int(counts.sum())
    voice = np.repeat(np.arange(voices), counts)
    if skewed:
        between = (random.gamma(4, 1, (trials, voices)) - 4) / 2
        within = (random.gamma(1.5, 1, (trials, total)) - 1.5) / np.sqrt(1.5)
    else:
        between = random.standard_normal((trials, voices))
        within = random.standard_normal((trials, total))
    values = np.sqrt(share) * between[:, voice] + np.sqrt(1 - share) * within
    sums = np.stack([values[:, voice == one].sum(1) for one in range(voices)], axis=1)
    return Drawn(counts, sums, np.square(values).sum(1))


def satterthwaite(counts: NDArray[np.int64], share: float) -> tuple[float, float]:
    """Degrees of freedom of CR2 where `share` of the variance lies between voices, and what its bias is undone by."""
    weight = counts / counts.sum()
    spread = share + (1 - share) / counts
    centred = np.eye(len(counts)) - np.outer(np.ones(len(counts)), weight)
    scaled = (centred.T @ np.diag(weight**2 / (1 - weight)) @ centred) * spread[None, :]
    trace = float(np.trace(scaled))
    freedom = trace**2 / float(np.trace(scaled @ scaled))
    return freedom, float((weight**2 * spread).sum() / trace)


def share_between(drawn: Drawn) -> Rows:
    """Analysis of variance."""
    counts, total, voices = drawn.counts, drawn.counts.sum(), len(drawn.counts)
    of_voices = (drawn.sums**2 / counts).sum(1)
    within = (drawn.squares - of_voices) / (total - voices)
    between = (of_voices - drawn.sums.sum(1) ** 2 / total) / (voices - 1)
    usual = (total - (counts**2).sum() / total) / (voices - 1)
    return np.clip(
        (between - within) / np.maximum(between - within + usual * within, 1e-9), 0.0, 1.0
    )


def held(drawn: Drawn, random: np.random.Generator) -> Float[np.ndarray, " methods"]:
    """Share of the test sets whose interval holds 0, by method."""
    counts = drawn.counts
    voices, weight = len(counts), counts / counts.sum()
    mean = drawn.sums.sum(1) / counts.sum()
    square = weight**2 * np.square(drawn.sums / counts - mean[:, None])
    usual = student.ppf(0.975, voices - 1)
    cr2 = np.sqrt((square / (1 - weight)).sum(1))
    grid = np.linspace(0, 1, 21)
    factors = [
        student.ppf(0.975, freedom) * np.sqrt(bias)
        for freedom, bias in (satterthwaite(counts, share) for share in grid)
    ]
    halves = (
        usual * np.sqrt(voices / (voices - 1) * square.sum(1)),
        student.ppf(0.975, satterthwaite(counts, 0.0)[0]) * cr2,
        np.interp(share_between(drawn), grid, factors) * cr2,
        usual * np.sqrt(((voices - 1) / voices * square / (1 - weight) ** 2).sum(1)),
    )
    times = random.multinomial(voices, np.full(voices, 1 / voices), size=DRAWS).astype(float)
    low, high = np.percentile((drawn.sums @ times.T) / (times @ counts)[None], [2.5, 97.5], axis=1)
    inside = [*(np.abs(mean) <= half for half in halves), (low <= 0) & (high >= 0)]
    return np.array([one.mean() for one in inside])


def main() -> None:
    """Print the table of README.md."""
    print(f"| voices | share | utterances a voice | values | {' | '.join(METHODS)} |")
    print("|--:|--:|---|---|" + "--:|" * len(METHODS))
    random = np.random.default_rng(1)
    for voices in VOICES:
        for share in SHARES:
            for kind, shown in SIZES.items():
                for skewed in (False, True):
                    found = np.zeros(len(METHODS))
                    for _ in range(GROUPS):
                        counts = sizes(voices, kind, random)
                        drawn = draw(TRIALS // GROUPS, counts, share, skewed, random)
                        found += held(drawn, random) / GROUPS
                    figures = " | ".join(f"{100 * one:.1f}" for one in found)
                    shape = "skewed" if skewed else "normal"
                    print(f"| {voices} | {share:g} | {shown} | {shape} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
