"""All losses, found by themselves: every class of rased.losses, and every file of configs/loss."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import rased.losses
from rased.building import build
from rased.config import config_folder, load_yaml
from rased.losses.base import Loss, OnWaveforms, WeightedSum
from rased.losses.feature import FeatureDistance
from rased.losses.phase import Consistency
from rased.losses.spectral import (
    ComplexMSE,
    CompressedSpectrum,
    LogPower,
    Magnitude,
    MultiResolutionSTFT,
    OnSTFT,
    SpectralLoss,
)
from rased.losses.waveform import L1, SISDR, SNR
from rased.signal.stft import STFT

SMALL = STFT(64, 32, 64)
TIME = 7_000
"""Samples of a signal: more than 0.4 s, below which there is no STOI."""


def noise(seed: int, batch: int = 2, time: int = TIME) -> Tensor:
    return 0.1 * torch.randn(batch, time, generator=torch.Generator().manual_seed(seed))


def seeded(module: nn.Module) -> nn.Module:
    """Fill the weights of a module, whatever was drawn before."""
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=drawn))
    return module


class Encoder(nn.Module):
    """Two layers whose features a loss compares."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 4, 16, 8), nn.Conv1d(4, 4, 3)

    def forward(self, waveform: Tensor) -> Tensor:
        padded = nn.functional.pad(waveform[:, None], (0, 40))
        return self.second(self.first(padded).relu())


MADE: dict[type[Loss], list[Loss]] = {
    CompressedSpectrum: [
        CompressedSpectrum(),
        CompressedSpectrum(exponent=0.5, complex_share=1.0, normalise=False),
        CompressedSpectrum(asymmetry=2.0),
    ],
    Consistency: [Consistency(SMALL), Consistency(SMALL, exponent=0.3)],
    FeatureDistance: [
        FeatureDistance(seeded(Encoder()), ["first", "second"]),
        FeatureDistance(seeded(Encoder())),
    ],
    MultiResolutionSTFT: [MultiResolutionSTFT([(64, 16, 64), (128, 32, 128)])],
    OnSTFT: [OnSTFT(CompressedSpectrum(), SMALL)],
    OnWaveforms: [OnWaveforms(nn.L1Loss())],
    SISDR: [SISDR(), SISDR(threshold_db=30.0)],
    SNR: [SNR(), SNR(threshold_db=None)],
    WeightedSum: [
        WeightedSum([SNR(), OnSTFT(Magnitude(), SMALL)], [0.1, 2.0]),
        WeightedSum([ComplexMSE(), LogPower()]),
        WeightedSum([L1(), L1()]),
    ],
}
"""Losses that need arguments, or that have more than one form; all others are made with their defaults."""


def classes() -> Iterator[type[Loss]]:
    """Every public loss of rased.losses that is complete."""
    for module in pkgutil.iter_modules(rased.losses.__path__, "rased.losses."):
        for name, cls in vars(importlib.import_module(module.name)).items():
            complete = inspect.isclass(cls) and issubclass(cls, Loss) and name[0] != "_"
            if complete and cls.__module__ == module.name and cls not in (Loss, SpectralLoss):
                yield cls


def every_loss() -> dict[str, Loss]:
    """Every loss by name; one of a single domain."""
    found: dict[str, Loss] = {}
    for cls in classes():
        for number, loss in enumerate(MADE.get(cls) or [cls()]):
            found[f"{cls.__name__}-{number}" if number else cls.__name__] = loss
    return found


def configured(name: str) -> Loss:
    """The loss of a file in configs/loss."""
    spec = load_yaml(config_folder() / "loss" / f"{name}.yaml")["model"]["init_args"]["loss"]
    return build(Loss, spec)


CONFIGURED = sorted(file.stem for file in (config_folder() / "loss").glob("*.yaml"))
LOSSES = every_loss()


def as_domain(loss: Loss, waveform: Tensor) -> Tensor:
    return waveform if loss.domain == "waveform" else SMALL.analysis(waveform)
