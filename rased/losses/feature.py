"""A loss on the features that a frozen network computes from both waveforms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError, nearest
from rased.losses.base import Loss
from rased.signal.domains import Waveform


class FeatureDistance(Loss):
    """Mean absolute difference of the outputs of layers of a frozen network.

    J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016
    (arXiv 1603.08155); for speech: F. G. Germain, Q. Chen, V. Koltun, "Speech denoising with deep feature losses",
    Interspeech 2019 (arXiv 1806.10522): the mean over layers of mean |f_l(E) - f_l(S)|, each divided by mean
    |f_l(S)|, so that all layers count alike. The network is in eval mode, is not trained, and is not saved with
    a checkpoint: only its configuration is.

    Args:
        network: any module that is called with waveforms (batch, time): `rased.zoo.frozen.Frozen` loads one of the
            zoo, for example.
        layers: names of its submodules, such as "encoder.0"; empty: the output of the network itself.

    Raises:
        RasedError: the network has no such layer.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str] = ()) -> None:
        super().__init__()
        known = dict(network.named_modules())
        for layer in layers:
            if layer not in known or not layer:
                raise RasedError(
                    f"{type(network).__name__} has no layer '{layer}'; {nearest(layer, [*filter(None, known)])}"
                )
        self._held = [_frozen(network)]
        self.layers = list(layers)
        rates = [getattr(part, "sample_rate", None) for part in known.values()]
        self.sample_rate = next((rate for rate in rates if isinstance(rate, int)), None)

    @property
    def network(self) -> nn.Module:
        """Return the frozen network; a list holds it, since a submodule would be trained and saved."""
        return self._held[0]

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        self.network.to(target.device)
        with torch.no_grad():
            wanted = self._features(target)
        # With a gradient, although no parameter of the network needs one.
        made = self._features(estimate)
        terms = [_distance(*pair) for pair in zip(made, wanted, strict=True)]
        return torch.stack(terms).mean()

    def _features(self, waveform: Waveform) -> list[Tensor]:
        with listening(self.network, self.layers) as heard:
            output = self.network(waveform)
        found = heard if self.layers else [output]
        return [tensor for part in found for tensor in _tensors(part)]


def _frozen(network: nn.Module) -> nn.Module:
    """Set a network to eval mode, but its recurrent layers to training mode: else cuDNN gives no gradient.

    Without dropout, which is set to 0, a recurrent layer computes the same in both modes.
    """
    network.eval().requires_grad_(False)
    for part in network.modules():
        if isinstance(part, nn.RNNBase):
            part.dropout = 0.0
            part.train()
    return network


@contextmanager
def listening(network: nn.Module, layers: Sequence[str]) -> Iterator[list[Any]]:
    """Collect what the layers return."""
    heard: list[Any] = []
    hooks = [
        network.get_submodule(layer).register_forward_hook(
            lambda module, given, output: heard.append(output)
        )
        for layer in layers
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(part: Any) -> list[Tensor]:
    """Return the tensors in an output, complex ones as pairs of numbers."""
    if isinstance(part, Tensor):
        return [torch.view_as_real(part) if part.is_complex() else part]
    if isinstance(part, list | tuple):
        return [tensor for item in part for tensor in _tensors(item)]
    if isinstance(part, dict):
        return [tensor for item in part.values() for tensor in _tensors(item)]
    return []


def _distance(made: Tensor, wanted: Tensor) -> Float[Tensor, ""]:
    """Return the mean over the batch of the distance relative to the size of the target's features."""
    size = wanted.abs().flatten(1).mean(1).clamp(min=_SMALLEST)
    return ((made - wanted).abs().flatten(1).mean(1) / size).mean()


_SMALLEST = 1e-3
"""Smallest mean absolute feature that is used for normalisation."""
