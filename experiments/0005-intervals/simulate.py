"""How often intervals of a mean hold it, by simulation.

python simulate.py [--trials N]

Utterances of V voices; a share of the variance lies between voices; 12 utterances a voice, or 4 to 24 drawn;
normal, or skewed (gamma: skewness 1 of voices, 1.6 of utterances). The true mean is 0.
"""

import argparse
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import t as student

from rased.evaluation.statistics import interval

VOICES = (5, 8, 13, 20, 30)
SHARES = (0.0, 0.1, 0.3, 0.58)
DRAWS = 1000

Values = Float[np.ndarray, " count"]
Ends = tuple[float, float]


def percentile(values: Values, voice: NDArray[np.int64]) -> Ends:
    """Bootstrap of whole voices, percentiles."""
    totals, counts = np.bincount(voice, weights=values), np.bincount(voice)
    random = np.random.default_rng(0)
    times = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWS)
    low, high = np.percentile((times @ totals) / (times @ counts), [2.5, 97.5])
    return float(low), float(high)


def plain_clusters(values: Values, voice: NDArray[np.int64]) -> Ends:
    """Cluster-robust t on sums of voices (CR1), one degree of freedom less than voices."""
    sums = np.bincount(voice, weights=values - values.mean())
    voices = len(sums)
    error = np.sqrt(voices / (voices - 1) * np.square(sums).sum()) / len(values)
    half = float(student.ppf(0.975, voices - 1) * error)
    return float(values.mean()) - half, float(values.mean()) + half


def ours(values: Values, voice: NDArray[np.int64]) -> Ends:
    """What rased reports."""
    found = interval(values.tolist(), voice.tolist())
    return found.low, found.high


METHODS: dict[str, Callable[[Values, NDArray[np.int64]], Ends]] = {
    "percentile bootstrap": percentile,
    "CR1 t": plain_clusters,
    "rased": ours,
}


def draw(
    voices: int, share: float, equal: bool, skewed: bool, random: np.random.Generator
) -> tuple[Values, NDArray[np.int64]]:
    """Values of one test set, and who speaks."""
    counts = np.full(voices, 12) if equal else random.integers(4, 25, voices)
    voice = np.repeat(np.arange(voices), counts)
    if skewed:
        between = (random.gamma(4.0, size=voices) - 4.0) / 2.0
        within = (random.gamma(1.5, size=len(voice)) - 1.5) / np.sqrt(1.5)
    else:
        between, within = random.normal(size=voices), random.normal(size=len(voice))
    return np.sqrt(share) * between[voice] + np.sqrt(1 - share) * within, voice


def main() -> None:
    """Print the table of README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    print(f"| voices | share | utterances a voice | values | {' | '.join(METHODS)} |")
    print("|--:|--:|---|---|" + "--:|" * len(METHODS))
    random = np.random.default_rng(5)
    for voices in VOICES:
        for share in SHARES:
            for equal in (True, False):
                for skewed in (False, True):
                    held = dict.fromkeys(METHODS, 0)
                    for _ in range(trials):
                        values, voice = draw(voices, share, equal, skewed, random)
                        for name, method in METHODS.items():
                            low, high = method(values, voice)
                            held[name] += low <= 0 <= high
                    shown = " | ".join(f"{100 * count / trials:.1f}" for count in held.values())
                    kind = "12" if equal else "4 to 24"
                    shape = "skewed" if skewed else "normal"
                    print(f"| {voices} | {share} | {kind} | {shape} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
