"""Decide which classes a file may name: those in a table for untrusted files, any class for the user's own files.

Cards, checkpoints and the configurations in them may be untrusted. Their class names are looked up in a
table, and nothing is imported because of them. `allow` adds packages that the user trusts.
"""

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rased.errors import RasedError, cut, nearest, shown

_PACKAGE = Path(__file__).parent
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}(?:\.[A-Za-z_][A-Za-z0-9_]{0,99}){1,9}")

_TABLE = {
    "rased.models.frequency": ("FrequencyDomainEnhancer", "Phase", "PostProcessing"),
    "rased.models.attenuate": ("ATENNuate",),
    "rased.models.bsrnn": ("BSRNN",),
    "rased.models.cascade": ("Cascade",),
    "rased.models.cmgan": ("CMGAN",),
    "rased.models.conv_tasnet": ("ConvTasNet",),
    "rased.models.crn": ("CRN",),
    "rased.models.dccrn": ("DCCRN",),
    "rased.models.dcunet": ("DCUNet",),
    "rased.models.deepfilternet": ("DeepFilterNet3",),
    "rased.models.demucs": ("Demucs",),
    "rased.models.dnn": ("DNN",),
    "rased.models.dnn_wpe": ("DNNWPE",),
    "rased.models.dpcrn": ("DPCRN",),
    "rased.models.dprnn": ("DPRNN",),
    "rased.models.dptfsnet": ("DPTFSNet",),
    "rased.models.dtln": ("DTLN",),
    "rased.models.fastenhancer": ("FastEnhancer",),
    "rased.models.fcn": ("FCN",),
    "rased.models.frcrn": ("FRCRN",),
    "rased.models.full_band": ("FullBand",),
    "rased.models.fullsubnet": ("FullSubNet",),
    "rased.models.fullsubnet_plus": ("FullSubNetPlus",),
    "rased.models.fusion": ("Fusion",),
    "rased.models.gcrn": ("GCRN",),
    "rased.models.gru": ("NSNet2",),
    "rased.models.gtcrn": ("GTCRN",),
    "rased.models.limited": ("Limited", "LimitedSpectrum"),
    "rased.models.lisennet": ("LiSenNet",),
    "rased.models.lstm": ("LSTM",),
    "rased.models.mpsenet": ("MPSENet",),
    "rased.models.phasen": ("PHASEN",),
    "rased.models.rnnoise": ("RNNoise",),
    "rased.models.primed": ("Primed",),
    "rased.models.rced": ("RCED",),
    "rased.models.refinement": ("Refinement",),
    "rased.models.segan": ("SEGAN",),
    "rased.models.selection": ("MinimumDifferenceFusion", "SNRSelection"),
    "rased.models.semamba": ("SEMamba",),
    "rased.models.sepformer": ("SepFormer",),
    "rased.models.tcnn": ("TCNN",),
    "rased.models.tfgridnet": ("TFGridNet",),
    "rased.models.ulunas": ("ULUNAS",),
    "rased.models.wave_u_net": ("WaveUNet",),
    "rased.models.classical.log_mmse": ("LogMMSE",),
    "rased.models.classical.mmse_stsa": ("MMSESTSA",),
    "rased.models.classical.omlsa": ("OMLSA",),
    "rased.models.classical.spectral_subtraction": ("SpectralSubtraction",),
    "rased.models.classical.wiener": ("Wiener",),
    "rased.models.classical.wpe": ("WPE",),
    "rased.models.classical.wpe_omlsa": ("WPEOMLSA",),
    "rased.layers.frontend": ("Features", "Inputs"),
    "rased.signal.stft": ("STFT",),
    "rased.losses.adversarial": ("Hinge", "LeastSquares", "MetricRegression"),
    "rased.losses.base": ("OnWaveforms", "WeightedSum"),
    "rased.losses.feature": ("FeatureDistance",),
    "rased.losses.intelligibility": ("ESTOI", "STOI"),
    "rased.losses.mask": ("OutputMSE", "PhaseSensitiveApproximation"),
    "rased.losses.phase": ("AntiWrapping", "Consistency"),
    "rased.losses.quality": ("PMSQE",),
    "rased.losses.spectral": (
        "ComplexMSE",
        "CompressedSpectrum",
        "LogMagnitude",
        "LogPower",
        "Magnitude",
        "MultiResolutionSTFT",
        "OnSTFT",
    ),
    "rased.losses.waveform": ("L1", "SISDR", "SNR"),
    "rased.training.adversarial": ("Adversarial",),
    "rased.training.base": ("Enhancement",),
    "rased.training.complex": ("ComplexEnhancement",),
    "rased.training.cycle": ("CycleConsistent",),
    "rased.training.discriminators": (
        "ConditionalDiscriminator",
        "MetricDiscriminator",
        "UnpairedDiscriminator",
    ),
    "rased.training.distillation": ("Distillation",),
    "rased.training.heads": ("ActivityHead", "LogMelHead", "MaskHead", "SNRHead"),
    "rased.training.mapping": ("MappingEnhancement",),
    "rased.training.mask": ("MaskEnhancement",),
    "rased.training.metric_adversarial": ("MetricAdversarial",),
    "rased.training.minimum_difference": ("MinimumDifference",),
    "rased.training.mixit": ("MixIT",),
    "rased.training.multi_target": ("MultiTarget",),
    "rased.training.noisy_target": ("NoisyTarget",),
    "rased.training.noise_adversarial": ("NoiseAdversarial",),
    "rased.training.progressive": ("Progressive",),
    "rased.training.snr_aware": ("SNRAware",),
    "rased.training.snr_selected": ("SNRSelected",),
    "rased.training.two_stage": ("TwoStage",),
    "rased.training.waveform": ("WaveformEnhancement",),
    "rased.training.schedules": ("Constant", "Cosine", "Exponential", "Plateau", "Step"),
    "rased.data.datamodule": ("MixtureDataModule",),
    "rased.data.frames.datamodule": ("FramesDataModule",),
    "rased.data.frames.sources": ("MixtureRecipe",),
    "rased.data.mixtures.curriculum": ("Curriculum",),
    "rased.data.mixtures.distortions": ("Distortions",),
    "rased.data.mixtures.mixing": ("Mixing",),
    "rased.data.mixtures.scene": ("Scene",),
}
"""Module -> classes that any file may name; the part between `rased.models` and the class may be left out."""

KNOWN = {f"{module}.{name}": module for module, names in _TABLE.items() for name in names}
"""Dotted name of each class in the table -> its module."""

# Shorter names: rased.models.GTCRN for rased.models.gtcrn.GTCRN.
_SHORT = {
    ".".join([*module.split(".")[:2], name]): f"{module}.{name}"
    for module, names in _TABLE.items()
    for name in names
}


@dataclass(frozen=True)
class Classes:
    """The classes that a file may name.

    Attributes:
        own: the user wrote the file: any importable class, including those of the working directory.
        allow: packages, besides the table, that untrusted files may name, such as ("my_package",).
    """

    own: bool = False
    allow: tuple[str, ...] = ()

    def find(self, path: Any, *, where: str = "the configuration") -> type:
        """Return the class for a dotted name.

        Args:
            path: the name from the file.
            where: position in the file, for error messages.

        Raises:
            RasedError: not a dotted name, not in the table and not allowed, or no such class.
        """
        if not isinstance(path, str) or not _DOTTED.fullmatch(path):
            # A bare name: suggest the dotted one.
            same = [name for name in KNOWN if name.rpartition(".")[2] == path]
            raise RasedError(
                f"{where}: class_path is {shown(path)}; write a dotted name, such as "
                f"{same[0] if same else 'rased.models.gtcrn.GTCRN'}."
            )
        name = _SHORT.get(path, path)
        if name in KNOWN:
            found: type = getattr(importlib.import_module(KNOWN[name]), name.rpartition(".")[2])
            return found
        if self.own:
            return _import(path, where)
        package = path.partition(".")[0]
        if not any(path.startswith(f"{name}.") for name in self.allow):
            raise RasedError(
                f"{where}: '{cut(path)}' is not a class that an untrusted file may name; "
                f"{_hint(path, package)}"
            )
        imported = _import(path, where)
        # A package may have imported the class from elsewhere.
        if not any(f"{imported.__module__}.".startswith(f"{name}.") for name in self.allow):
            raise RasedError(
                f"{where}: '{cut(path)}' is not allowed: it comes from {imported.__module__}."
            )
        return imported

    def knows(self, cls: type) -> bool:
        """Return whether a class is in the table, so that its sizes can be checked without memory."""
        return f"{cls.__module__}.{cls.__qualname__}" in KNOWN


OWN = Classes(own=True)
"""For files that the user wrote."""
STRANGERS = Classes()
"""For untrusted files."""


def allowing(allow: Sequence[str]) -> Classes:
    """Return the rules for untrusted files, with packages that the user trusts.

    Raises:
        RasedError: a name that is not the name of a package.
    """
    for name in (allow,) if isinstance(allow, str) else allow:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", str(name)):
            raise RasedError(
                f"allow takes names of packages, such as my_package, not {shown(name)}."
            )
    return Classes(allow=(allow,) if isinstance(allow, str) else tuple(allow))


def packages(spec: Any) -> tuple[str, ...]:
    """Return the packages, other than rased, in the class paths of a configuration."""
    found: dict[str, None] = {}
    waiting = [spec]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            path = item.get("class_path")
            if isinstance(path, str) and "." in path:
                found[path.partition(".")[0]] = None
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item
    return tuple(name for name in sorted(found) if name != "rased")


def _hint(path: str, package: str) -> str:
    near = nearest(path, KNOWN)
    if package == "rased":
        return near if near.startswith("did") else "see `rased models` for the models of rased."
    if package in sys.stdlib_module_names or package == "torch":
        return "no enhancer needs it: do not trust this file."
    return (
        f"if you trust the package '{package}', allow it: rased.load(..., allow=['{package}']), or "
        f"--allow {package} on the command line."
    )


def _import(path: str, where: str) -> type:
    """Import a class that the user chose; packages in the working directory can be imported, too."""
    module_name, _, name = path.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path and not _has_module(path.partition(".")[0]):
        sys.path.append(here)  # at the end: installed packages come first
    found = None
    # A module that is there but fails is another mistake than one that is missing.
    if _has_module(module_name):
        try:
            found = getattr(importlib.import_module(module_name), name, None)
        except Exception as error:  # importing the module may raise anything
            raise RasedError(
                f"{where}: importing '{module_name}' fails with {type(error).__name__}: {cut(str(error))}."
            ) from error
    if not isinstance(found, type):
        hint = nearest(path, _class_paths())
        if hint.startswith("known"):
            hint = "see `rased models` for models, and the API pages for the rest."
        raise RasedError(f"{where}: there is no class '{cut(path)}'; {hint}")
    return found


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


@cache
def _class_paths() -> tuple[str, ...]:
    """Return the dotted paths of all public classes in rased, without importing anything."""
    paths = []
    for file in sorted(_PACKAGE.rglob("*.py")):
        parts = file.relative_to(_PACKAGE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                paths.append(f"{module}.{node.name}")
    return tuple(paths)
