"""Classical methods without weights, with the interface of every model, by the names that `evaluate` takes."""

from rased.models.base import Enhancer
from rased.models.classical.log_mmse import LogMMSE
from rased.models.classical.mmse_stsa import MMSESTSA
from rased.models.classical.omlsa import OMLSA
from rased.models.classical.spectral_subtraction import SpectralSubtraction
from rased.models.classical.wiener import Wiener
from rased.models.classical.wpe import WPE
from rased.models.classical.wpe_omlsa import WPEOMLSA

__all__ = [
    "METHODS",
    "MMSESTSA",
    "OMLSA",
    "WPE",
    "WPEOMLSA",
    "LogMMSE",
    "SpectralSubtraction",
    "Wiener",
]

METHODS: dict[str, type[Enhancer]] = {
    "spectral-subtraction": SpectralSubtraction,
    "wiener": Wiener,
    "mmse-stsa": MMSESTSA,
    "log-mmse": LogMMSE,
    "om-lsa": OMLSA,
    "wpe": WPE,
    "wpe-om-lsa": WPEOMLSA,
}
