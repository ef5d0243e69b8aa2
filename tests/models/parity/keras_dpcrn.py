"""Run the authors' DPCRN: by a Python with TensorFlow 2.15 alone, which `record.py` calls.

    python keras_dpcrn.py FOLDER FILE.npz     # a checkout of Le-Xiaohuai-speech/DPCRN_DNS3

The first call writes the shape of every weight by name; with `noisy` and the weights in the file, the second writes
the enhanced spectrum, which stands in there then.
"""

import sys
import types
from typing import Any

import numpy as np

GATE = "sigmoid"
"""Of the LSTMs, in place of the authors' hard sigmoid, which cuDNN does not have."""


def network(folder: str, batch: int) -> Any:
    """Their model from a waveform to the two parts of the spectrum."""
    for name in ("soundfile", "librosa", "tqdm", "data_loader"):
        sys.modules[name] = types.ModuleType(name)  # for what is not done here
    sys.path.insert(0, folder)
    import main
    import modules
    from tensorflow import keras

    plain = modules.keras.layers.LSTM

    def gated(*arguments: Any, **options: Any) -> Any:
        return plain(*arguments, **{**options, "recurrent_activation": GATE})

    def padded(*arguments: Any, padding: Any, **options: Any) -> Any:
        """Explicit padding of (batch, frames, freq, channel), which Keras 2.15 does not take."""
        pad = keras.layers.ZeroPadding2D(padding[1:3])
        convolution = keras.layers.Conv2D(*arguments, **options)
        return lambda frames: convolution(pad(frames))

    modules.keras.layers.LSTM, main.Conv2D = gated, padded
    theirs = main.DPCRN_model(batch_size=batch)
    theirs.build_DPCRN_model()
    return keras.Model(theirs.model.input, [theirs.enh_real, theirs.enh_imag])


def run(folder: str, file: str) -> None:
    """One of the two calls."""
    with np.load(file) as found:
        given = dict(found)
    model = network(folder, len(given["noisy"]))
    names = [weight.name.partition(":")[0] for weight in model.weights]
    assert len(set(names)) == len(names), names
    if len(given) == 1:
        shapes = {
            name: np.array(weight.shape) for name, weight in zip(names, model.weights, strict=True)
        }
        np.savez(file, **given, **shapes)
        return
    model.set_weights([given[name] for name in names])
    real, imaginary = model(given["noisy"], training=False)
    np.savez(file, real=real.numpy(), imaginary=imaginary.numpy())


if __name__ == "__main__":
    run(*sys.argv[1:])
