"""Metrics by name. Each declares unit, direction, range and sample rate, and returns a value or a status.

>>> metric("si-sdr").unit
'dB'
"""

from importlib.metadata import entry_points

from rased.errors import RasedError, nearest
from rased.metrics.base import Metric, Score
from rased.metrics.composite import (
    CBAK,
    COVL,
    CSIG,
    CepstralDistance,
    FrequencyWeightedSNR,
    LogLikelihoodRatio,
    SegmentalSNR,
)
from rased.metrics.distillmos import DistillMOS
from rased.metrics.intrusive import ESTOI, SDR, SISDR, SNR, STOI, PESQNarrowband, PESQWideband
from rased.metrics.non_intrusive import (
    DNSMOSP808,
    NISQA,
    UTMOS,
    DNSMOSBackground,
    DNSMOSOverall,
    DNSMOSSignal,
)
from rased.metrics.recognition import CER, WER, DifferentialCER, DifferentialWER
from rased.metrics.reverberation import EarlyToLateRatio
from rased.metrics.speaker import SpeakerSimilarity
from rased.metrics.spectral import LogSpectralDistance, MelCepstralDistortion
from rased.metrics.srmr import SRMR

__all__ = ["METRICS", "PLUG_INS", "Metric", "Score", "metric"]

PLUG_INS = "rased.metrics"
"""Entry point group through which other packages add metrics."""


_OWN: tuple[type[Metric], ...] = (
    PESQWideband,
    PESQNarrowband,
    CSIG,
    CBAK,
    COVL,
    STOI,
    ESTOI,
    SISDR,
    SDR,
    SNR,
    SegmentalSNR,
    FrequencyWeightedSNR,
    LogLikelihoodRatio,
    CepstralDistance,
    LogSpectralDistance,
    MelCepstralDistortion,
    EarlyToLateRatio,
    SRMR,
    DNSMOSSignal,
    DNSMOSBackground,
    DNSMOSOverall,
    DNSMOSP808,
    DistillMOS,
    NISQA,
    UTMOS,
    SpeakerSimilarity,
    WER,
    CER,
    DifferentialWER,
    DifferentialCER,
)


def _plug_ins() -> list[type[Metric]]:
    found: list[type[Metric]] = []
    for point in entry_points(group=PLUG_INS):
        package = point.dist.name if point.dist is not None else point.value
        try:
            kind = point.load()
            if not issubclass(kind, Metric):
                raise TypeError("it does not derive from rased.metrics.Metric")
            if kind.name in [other.name for other in (*_OWN, *found)]:
                raise ValueError(f"the metric name '{kind.name}' is taken")
        except Exception as error:
            raise RasedError(
                f"the metric '{point.name}' of the package '{package}' cannot be used "
                f"({type(error).__name__}: {error}): repair it, or pip uninstall {package}."
            ) from None
        found.append(kind)
    return found


METRICS: dict[str, Metric] = {kind.name: kind() for kind in (*_OWN, *_plug_ins())}


def metric(name: str) -> Metric:
    """Return the metric with a name.

    Raises:
        RasedError: unknown name; the message suggests similar ones.
    """
    if name not in METRICS:
        raise RasedError(f"unknown metric '{name}'; {nearest(name, METRICS)}")
    return METRICS[name]
