"""Methods without weights: the same contract as every model, under the names that `evaluate` takes."""

from rased.models.base import Enhancer
from rased.models.classical.log_mmse import LogMMSE
from rased.models.classical.wpe import WPE

__all__ = ["METHODS", "WPE", "LogMMSE"]

METHODS: dict[str, type[Enhancer]] = {"log-mmse": LogMMSE, "wpe": WPE}
