"""What is left of the room, against the early target: the early-to-late ratio."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rased.metrics.base import Metric, Undefined
from rased.signal.ratios import BOUND_DB

RATE = 16_000
LEAD_MS, EARLY_MS, LATE_MS = 8, 50, 300
_LOADING = 1e-8


class EarlyToLateRatio(Metric):
    """Energy of what follows the target at once over that of what follows it late.

    The estimate is predicted from the target by the filter h of least squares, with lags from 8 ms
    before to 300 ms behind the target (both signals zero outside); h = h_early + h_late, parted at
    a lag of 50 ms, the limit of C50 in ISO 3382-1, and

        ELR = 10 log10(|h_early * target|^2 / |h_late * target|^2).

    With an early target (direct sound and the reflections of the first 50 ms) and a reverberant
    mixture for the estimate this orders rooms as the ratio of the true parts does, but lies up to 4
    dB above it (1.4 dB on average over speech in the rooms of the bundled test set), because speech
    resembles itself 50 ms later; halving the late part raises it by 6 dB. Noise, and distortion that
    is no filter, is in neither part, but for the share (taps over samples, a tenth in 3.5 s) that a
    filter of this length finds in it by chance: compare utterances of like length and noise.
    Bounded to 100 dB either way.
    """

    name = "elr"
    title = "early/late"
    unit = "dB"
    range = (-BOUND_DB, BOUND_DB)
    sample_rate = RATE
    blind_to = ("level",)
    packages = ("scipy",)
    minimum = 1.0

    @property
    def version(self) -> str:
        """Our own definition, numbered."""
        return f"rased 1, early to {EARLY_MS} ms, late to {LATE_MS} ms"

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """Ratio in dB."""
        from scipy.linalg import solve_toeplitz
        from scipy.signal import correlate, fftconvolve

        assert target is not None
        wanted, found = target.double().numpy(), estimate.double().numpy()
        lead, early, late = (RATE * ms // 1000 for ms in (LEAD_MS, EARLY_MS, LATE_MS))
        middle = len(wanted) - 1  # lag 0 of a full correlation
        own = correlate(wanted, wanted, method="fft")[middle : middle + lead + late]
        cross = correlate(found, wanted, method="fft")[middle - lead : middle + late]
        own[0] *= 1 + _LOADING
        taps = solve_toeplitz(own, cross)
        parts = taps[: lead + early], taps[lead + early :]
        energy = [float((fftconvolve(wanted, part) ** 2).sum()) for part in parts]
        if energy[0] == 0:
            raise Undefined("nothing of the target is in the estimate")
        bound = 10 ** (-BOUND_DB / 10) * sum(energy)
        return 10 * float(np.log10((energy[0] + bound) / (energy[1] + bound)))
