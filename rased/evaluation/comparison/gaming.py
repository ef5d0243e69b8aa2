"""Detect scores that rise while the audio gets worse, from contradictions between metrics.

Examples: PESQ was 3.82 at an SI-SDR of -19.8 dB (de Oliveira et al., "The PESQetarian: on the relevance of Goodhart's
law for speech enhancement", Interspeech 2024). A PESQ loss raised a system from 2.91 to 3.73 while its SI-SDR fell
from 19.4 to 7.7 dB. DNSMOS can be high for speech that was never said.
"""

from collections.abc import Mapping, Sequence

from rased.evaluation.comparison.marks import Mark
from rased.evaluation.comparison.statistics import Interval, paired
from rased.evaluation.result import Result
from rased.metrics import METRICS

PESQ = ("pesq-wb", "pesq-nb")
LEAST = {"si-sdr": 6.0, "stoi": 1 / 3, "estoi": 1 / 3, "cbak": 1 / 2}
"""Gains that must accompany a gain in PESQ: for SI-SDR in dB, if PESQ went all the way from the noisy input to its
upper limit; for other metrics as a share of their own range. Half of the gain of CBAK comes from its PESQ term: with
less, its other two terms, spectral slopes and segmental SNR, got worse. Of 118 published rows two have less:
MetricGAN+, trained for PESQ alone, and one whose CBAK is in doubt (tests/evaluation/comparison/test_gaming.py)."""
FAR = 0.2
"""PESQ must gain this share of its possible gain before the other metrics are checked."""
VOICEBANK_DEMAND = "voicebankdemand"
_HIGH_PESQ = 3.3
_LOW = {"cbak": 3.3, "stoi": 0.94, "si-sdr": 15.0}
"""Lowest plausible values on VoiceBank+DEMAND for such a PESQ; no published row is below them without a reason."""


def behind(risen: str, gains: Mapping[str, float], noisy: Mapping[str, float]) -> list[str]:
    """Return the metrics that gain too little compared with PESQ.

    Args:
        risen: a PESQ metric.
        gains: gains over the noisy input, by metric.
        noisy: values of the noisy input, by metric.
    """
    # Share of the gain that is left up to the limit of PESQ.
    share = gains[risen] / (METRICS[risen].range[1] - noisy[risen])
    if share < FAR:
        return []
    found = []
    for metric, least in LEAST.items():
        if metric in gains:
            decibels = METRICS[metric].unit == "dB"
            # dB have no upper limit, so their gain is not a share of a range.
            way = 1.0 if decibels else METRICS[metric].range[1] - noisy[metric]
            if gains[metric] < least * share * way:
                found.append(metric)
    return found


def implausible(means: Mapping[str, float]) -> list[str]:
    """Return the metrics that are too low for the PESQ on VoiceBank+DEMAND."""
    if means.get(PESQ[0], 0.0) < _HIGH_PESQ:
        return []
    return [metric for metric, low in _LOW.items() if metric in means and means[metric] < low]


def gains_over(noisy: Result, row: Result, metrics: Sequence[str]) -> dict[str, Interval]:
    """Return paired gains over the noisy input, positive if better, for the metrics that the checks need."""
    speakers = {u.id: u.facts.get("speaker") for u in row.utterances}
    found = {}
    for metric in metrics:
        if metric in (*PESQ, *LEAST) or is_opinion(metric) or METRICS[metric].task:
            sign = 1 if METRICS[metric].direction == "higher" else -1
            ours = {name: sign * value for name, value in row.values(metric).items()}
            theirs = {name: sign * value for name, value in noisy.values(metric).items()}
            if (gain := paired(ours, theirs, speakers)) is not None:
                found[metric] = gain
    return found


def is_opinion(metric: str) -> bool:
    """Return whether a metric is a network's rating of the audio without a target."""
    return METRICS[metric].unit == "MOS" and not METRICS[metric].needs_reference


def at_odds(gains: Mapping[str, Interval], noisy: Mapping[str, float]) -> list[Mark]:
    """Return marks for contradictory metrics.

    Args:
        gains: paired gains over the noisy input; a mark is given only if it holds at the ends of the intervals.
        noisy: means of the noisy input.
    """
    marks = []
    for risen in PESQ:
        if risen in gains and gains[risen].low > 0:
            # In favour of the system: the others at the upper ends of their intervals, PESQ at its mean.
            most = {m: gain.high for m, gain in gains.items()} | {risen: gains[risen].mean}
            late = behind(risen, most, noisy)
            fallen = [m for m in LEAST if m in gains and gains[m].high < 0]
            if late:
                marks.append(_made_for(risen, late, gains))
            elif fallen:
                text = f"{METRICS[risen].title} is better and {_titles(fallen)} worse than the noisy input."
                marks.append(Mark("PESQ at odds", text))
    opinions = [m for m, gain in gains.items() if is_opinion(m) and gain.low > 0]
    lost = [m for m, gain in gains.items() if METRICS[m].task and gain.high < 0]
    if opinions and lost:
        text = f"{_titles(opinions)} better and {_titles(lost)} worse than the noisy input"
        marks.append(
            Mark(
                "MOS at odds",
                f"{text}: the output may contain speech that was never said.",
                grave=True,
            )
        )
    return marks


def unchecked(gains: Mapping[str, Interval]) -> list[Mark]:
    """Return the mark of a row whose quality improves, but whose words and speaker were not checked."""
    opinions = [m for m, gain in gains.items() if is_opinion(m) and gain.low > 0]
    if not opinions or any(METRICS[m].task for m in gains):
        return []
    text = f"{_titles(opinions)} better than the noisy input, but neither words nor speaker were checked."
    return [Mark("MOS unchecked", text)]


def too_low(means: Mapping[str, float]) -> list[Mark]:
    """Return the mark of an `implausible` row on VoiceBank+DEMAND."""
    low = [f"{METRICS[m].title} {means[m]:.2f}" for m in implausible(means)]
    if not low:
        return []
    text = f"PESQ wb {means[PESQ[0]]:.2f} with {' and '.join(low)}"
    return [Mark("PESQ at odds", f"{text}: it may have been optimised for PESQ.", grave=True)]


def _made_for(risen: str, late: Sequence[str], gains: Mapping[str, Interval]) -> Mark:
    moved = " and ".join(f"{METRICS[m].title} {gains[m].mean:+.3g}" for m in late)
    text = f"{METRICS[risen].title} {gains[risen].mean:+.2f} over the noisy input with {moved} only"
    return Mark("PESQ at odds", f"{text}: it may have been optimised for PESQ.", grave=True)


def _titles(metrics: Sequence[str]) -> str:
    titles = [METRICS[m].title for m in metrics]
    return " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
