"""Metrics by name: each declares unit, direction, range, rate; gives a value or a status.

>>> metric("si-sdr").unit
'dB'
"""

from rased.errors import RasedError, nearest
from rased.metrics.base import Metric, Score
from rased.metrics.intrusive import ESTOI, SISDR, STOI, PESQWideband
from rased.metrics.non_intrusive import DNSMOSBackground, DNSMOSOverall, DNSMOSSignal

__all__ = ["METRICS", "Metric", "Score", "metric"]

METRICS: dict[str, Metric] = {
    kind.name: kind()
    for kind in (
        PESQWideband,
        STOI,
        ESTOI,
        SISDR,
        DNSMOSSignal,
        DNSMOSBackground,
        DNSMOSOverall,
    )
}


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        RasedError: there is none; the nearest names are in the message.
    """
    if name not in METRICS:
        raise RasedError(f"there is no metric '{name}'; {nearest(name, METRICS)}")
    return METRICS[name]
