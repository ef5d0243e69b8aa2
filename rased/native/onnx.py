"""Run networks in ONNX files, on one thread."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rased.errors import RasedError

BATCH = 8


def run(path: str, heard: Float[np.ndarray, "rows ..."]) -> Float[np.ndarray, "rows outputs"]:
    """Return the first output for each row of the only input, `BATCH` rows at a time.

    Raises:
        RasedError: the file is not a network that can be run.
    """
    file = Path(path).stat()
    session = _session(path, file.st_mtime_ns, file.st_size)
    name = session.get_inputs()[0].name
    outputs = []
    for start in range(0, len(heard), BATCH):
        rows = heard[start : start + BATCH]
        outputs.append(np.reshape(session.run(None, {name: rows})[0], (len(rows), -1)))
    return np.concatenate(outputs).astype(np.float64)


@lru_cache(maxsize=4)
def _session(path: str, changed: int, size: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many exception classes without a common base class
        raise RasedError(
            f"'{path}' is not a network that onnxruntime can run: get it again ({error})."
        ) from None
