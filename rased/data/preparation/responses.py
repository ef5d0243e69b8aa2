"""Properties of an impulse response for its JSON, measured or simulated."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from rased.signal import room


def describe(samples: NDArray[np.int16], *, sample_rate: int) -> dict[str, float | None]:
    """Return reverberation time in seconds and direct-to-reverberant ratio of a stored response.

    None stands for a value that does not exist (the decay is too short, or there is no tail): JSON has no nan
    or infinity.
    """
    stored = torch.from_numpy(samples.astype(np.float64))
    measured = {
        "t60": room.t60(stored, sample_rate=sample_rate),
        "drr_db": room.direct_to_reverberant_ratio_db(stored, sample_rate=sample_rate),
    }
    return {
        name: round(value, 3) if math.isfinite(value) else None for name, value in measured.items()
    }
