"""Gain against noise tracker: log-MMSE and OM-LSA, each over MMSE tracking and over IMCRA.

    python experiments/0003-classical/trackers.py --on local/valid-set local/valid-commons

Prints rows of a Markdown table: PESQ wb, SI-SDR, ESTOI and the objective of `tune.py`. Each gain and each
tracker has the defaults of its class.
"""

import inspect

import numpy as np
import torch
from tune import load, parser_of, scores_of

from rased.models.classical import OMLSA, LogMMSE
from rased.models.classical.gains import Row
from rased.models.classical.noise import IMCRA, Column, IMCRAState, MMSEState, MMSETracker


class MMSE(IMCRA):
    """The MMSE tracker behind the interface of IMCRA; its presence lies where the minima would."""

    def tracked(self, frame: Row, state: IMCRAState) -> MMSEState:
        """What `MMSETracker` makes of the frame."""
        tracker = MMSETracker(self.frame_rate, self.start, self.noise_smoothing)
        return tracker.update(frame, MMSEState(state.noise, state.minimum[0], state.heard))

    def initial(self, batch: int, freq: int) -> IMCRAState:
        """Nothing heard yet."""
        empty = super().initial(batch, freq)
        return empty._replace(minimum=np.full_like(empty.minimum, 0.5))

    def noise(self, frame: Row, state: IMCRAState) -> Row:
        """Power of the noise with this frame."""
        return self.tracked(frame, state).noise

    def update(self, frame: Row, prior: Row, posterior: Row, state: IMCRAState) -> IMCRAState:
        """What is known behind the frame."""
        noise, presence, heard = self.tracked(frame, state)
        return state._replace(noise=noise, minimum=np.stack([presence, presence]), heard=heard)


class Certain(OMLSA):
    """OM-LSA that takes speech to be present everywhere: log-MMSE over the tracker of OM-LSA."""

    def _absence(self, ratio: Row, mean: Column, peak: Column) -> tuple[Row, Column, Column]:
        return np.zeros_like(ratio), mean, peak


def main() -> None:
    """Score the four pairs."""
    arguments = parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    items = load(arguments.on, arguments.every)
    mmse = {name: part.default for name, part in inspect.signature(LogMMSE).parameters.items()}
    shared = {name: value for name, value in mmse.items() if name != "noise_smoothing"}
    omlsa_over_mmse, omlsa, log_mmse_over_imcra = OMLSA(), OMLSA(), Certain(**shared)
    omlsa_over_mmse.tracker = MMSE(
        omlsa.frame_rate, omlsa.start, noise_smoothing=mmse["noise_smoothing"]
    )
    log_mmse_over_imcra.tracker = omlsa.tracker
    print("| gain | noise | PESQ wb | SI-SDR | ESTOI | objective |\n|---|---|---|---|---|---|")
    for gain, noise, enhancer in (
        ("log-MMSE", "MMSE", LogMMSE()),
        ("log-MMSE", "IMCRA", log_mmse_over_imcra),
        ("OM-LSA", "MMSE", omlsa_over_mmse),
        ("OM-LSA", "IMCRA", omlsa),
    ):
        found = scores_of(enhancer.eval(), items).values()
        print("|", " | ".join([gain, noise, *(f"{value:.3f}" for value in found)]), "|", flush=True)


if __name__ == "__main__":
    main()
