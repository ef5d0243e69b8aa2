"""What the json of an impulse response says of it, measured or simulated."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from rased.signal import room


def describe(samples: NDArray[np.int16], *, sample_rate: int) -> dict[str, float | None]:
    """Measure reverberation time in seconds and direct-to-reverberant ratio of a response as it is stored.

    None where there is no such number (too short a decay, no tail): JSON has neither nan nor infinity.
    """
    stored = torch.from_numpy(samples.astype(np.float64))
    measured = {
        "t60": room.t60(stored, sample_rate=sample_rate),
        "drr_db": room.direct_to_reverberant_ratio_db(stored, sample_rate=sample_rate),
    }
    return {
        name: round(value, 3) if math.isfinite(value) else None for name, value in measured.items()
    }
