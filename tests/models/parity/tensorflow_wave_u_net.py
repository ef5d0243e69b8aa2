"""Run the authors' Wave-U-Net: by a Python with TensorFlow 2.15 alone, which `record.py` calls.

    python tensorflow_wave_u_net.py FOLDER FILE.npz LAYERS FILTERS    # FOLDER: a checkout of their repository

The first call writes the shape of every weight by name; with `noisy` and the weights in the file, the second writes
the sources, which stand in there then.
"""

import fractions
import math
import sys
import types

import numpy as np


def run(folder: str, file: str, layers: str, filters: str) -> None:
    """One of the two calls."""
    fractions.gcd = math.gcd  # type: ignore[attr-defined]  # where it was in the authors' Python
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    sys.modules["tensorflow"] = tf
    for name in ("librosa", "scipy", "scipy.signal"):
        sys.modules[name] = types.ModuleType(name)  # for what is not done here
        sys.modules[name].resample_poly = None  # type: ignore[attr-defined]
    sys.path[:0] = [folder, f"{folder}/Models"]
    from UnetAudioSeparator import UnetAudioSeparator

    with np.load(file) as found:
        given = dict(found)
    network = UnetAudioSeparator(
        int(layers), int(filters), "linear", "direct", False, 2, True, 15, 5
    )
    noisy = tf.constant(given["noisy"][..., None])
    sources = tf.stack(network.get_output(noisy, reuse=False), axis=1)[..., 0]
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    if len(given) == 1:
        shapes = {name: np.array(value.shape.as_list()) for name, value in variables.items()}
        np.savez(file, **given, **shapes)
        return
    with tf.Session() as session:
        for name, variable in variables.items():
            variable.load(given[name], session)
        np.savez(file, sources=session.run(sources))


if __name__ == "__main__":
    run(*sys.argv[1:])
