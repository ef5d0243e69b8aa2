"""RNNoise: our run and its authors', of the network in PyTorch and of the cepstrum in their compiled program."""

import contextlib
import ctypes
import importlib
import importlib.util
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from rased.models.registry import create_model
from rased.models.rnnoise import GainNetwork
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, seeded, sound

_SIZES = {"channels": 16, "hidden": 24}
_FIRST = 4
"""The first frame for which the authors' convolutions have all that they see."""
_NAMES = {
    "conv1": "first",
    "conv2": "second",
    "gru1": "recurrent.0",
    "gru2": "recurrent.1",
    "gru3": "recurrent.2",
    "dense_out": "linear",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of the network of xiph/rnnoise as ours, which does not tell voice activity."""
    parts = {name: name.partition(".") for name in theirs}
    return {
        f"{_NAMES[head]}.{leaf}": theirs[name]
        for name, (head, _, leaf) in parts.items()
        if head in _NAMES
    }


def our_rnnoise(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Cepstra of configs/model/rnnoise.yaml, and the network with as many features as the authors have."""
    model: Any = create_model("rnnoise").eval()
    cepstra = model.cepstrum(model.stft.analysis(tensors["noisy"])[..., :-1])
    network = GainNetwork(65, 32, **_SIZES).eval()
    load(network, state(seeded_state(shapes)))
    features = tensors["features"]
    frames, _ = network.convolve(features, network.silence_before(2, features))
    gains, _ = network.recur(frames[:, _FIRST:], {})
    return {"cepstra": cepstra, "gains": gains}


def rnnoise(folder: Path) -> Recorded:
    """The network on seeded features, and the first half of the features that the program has of a recording.

    `pyrnnoise` of PyPI holds the program.
    """
    sys.path.insert(0, str(folder / "torch" / "rnnoise"))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its size
        theirs = importlib.import_module("rnnoise").RNNoise(
            cond_size=_SIZES["channels"], gru_size=_SIZES["hidden"]
        )
    theirs.eval().load_state_dict(fill(theirs.state_dict()))
    features = 3 * seeded("features", (2, 12 * 65, 1)) * (12 * 65) ** 0.5
    features = rearrange(features, "n (t c) 1 -> n t c", c=65).contiguous() / 8
    noisy = sound(4_800)
    cepstra = torch.from_numpy(np.stack([_features(waveform.numpy()) for waveform in noisy]))
    inputs = {"noisy": noisy, "features": features}
    return inputs, {"cepstra": cepstra, "gains": theirs(features)[0]}, theirs.state_dict()


def _features(waveform: np.ndarray) -> np.ndarray:
    """Cepstra of all frames of 480 samples."""
    package = importlib.util.find_spec("pyrnnoise")
    assert package is not None
    assert package.origin is not None
    library = ctypes.CDLL(str(Path(package.origin).parent / "librnnoise.so"))
    library.rnnoise_create.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.rnnoise_create(None))
    found = []
    for frame in 32_768 * waveform.reshape(-1, 480):
        sizes = (2 * 481, 2 * 481, 32, 32, 32, 65)
        outputs = [np.zeros(size, np.float32) for size in sizes]
        arrays = [*outputs, np.ascontiguousarray(frame, np.float32)]
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        library.rnn_compute_frame_features(handle, *pointers)
        found.append(outputs[-1][:32])
    return np.stack(found)
