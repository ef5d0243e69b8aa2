"""Shared by MP-SENet and CMGAN: a network on compressed spectra at 16 kHz; its sizes follow from its tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rased.building import build
from rased.models.frequency import FrequencyDomainEnhancer
from rased.zoo.importers.checkpoint import filled, numbered


def enhancer_of(
    network: Mapping[str, Tensor],
    path: Path,
    *,
    class_path: str,
    feature: str,
    window: str,
    what: str,
) -> tuple[dict[str, Any], FrequencyDomainEnhancer]:
    """Return the spec of an enhancer with this network, and the enhancer with its weights, in evaluation mode.

    The ends of a file are mirrored, as in the authors' code.

    Args:
        network: weights of the network, with our names.
        path: the authors' file, for error messages.
        class_path: class of the network.
        feature: kind of its input features.
        window: window of the transform.
        what: description of the file for error messages.

    Raises:
        RasedError: the weights are not those of such a network.
    """
    sizes = {
        "channels": len(network.get("encoder.first.conv.bias", ())),
        "blocks": numbered(network, r"blocks\.(\d+)\."),
        "heads": 4,
        "depth": numbered(network, r"encoder\.dense\.blocks\.(\d+)\."),
    }
    stft = {"n_fft": 400, "hop_length": 100, "win_length": 400, "window": window}
    spec = {
        "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
        "init_args": {
            "features": {"kinds": [feature]},
            "inputs": {"normalisation": "none"},
            "network": {"class_path": class_path, "init_args": sizes},
            "target": "compressed_complex",
            "phase": {"source": "predicted"},
            "level": {"kind": "rms", "target": 1.0, "running": False},
            "stft": {**stft, "pad_mode": "centred"},
        },
    }
    weights = {f"network.{name}": tensor for name, tensor in network.items()}
    model = build(FrequencyDomainEnhancer, spec)
    return spec, filled(model, {**weights, "fitted": torch.tensor(True)}, path, what)
