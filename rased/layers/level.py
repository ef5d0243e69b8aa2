"""Normalise the level of the waveform before a model, and undo it after the model."""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError
from rased.signal.domains import Waveform
from rased.signal.features import exponential_average, running_maximum
from rased.signal.state import State

FLOOR = 1e-4
"""Levels below this (-80 dBFS) are not raised further, so that silence is not amplified."""


@dataclass(frozen=True)
class Level:
    """Level normalisation of a waveform.

    Attributes:
        kind: "rms" (root mean square), "std" (standard deviation) or "maximum" (of the amplitudes).
        target: level after normalisation.
        running: measure the input so far, so that the model can stream; otherwise the whole utterance.
        seconds: time constant of a running rms or std; a running maximum never decays.
    """

    kind: Literal["rms", "std", "maximum"] = "rms"
    target: float = 1.0
    running: bool = True
    seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not (self.target > 0 and self.seconds > 0):
            raise RasedError(
                f"level: target {self.target} and seconds {self.seconds} must both be above 0."
            )

    def whole(self, waveform: Waveform) -> Float[Tensor, "batch 1"]:
        """Return one gain for each waveform, measured over all of it."""
        measured = self._measure(_moments(waveform[:, None])[:, :2, 0], waveform.abs().amax(-1))
        return self._gain(measured)[:, None]

    def past(
        self, waveform: Waveform, state: State, *, hop_length: int, sample_rate: int
    ) -> tuple[Waveform, State]:
        """Return a gain for each sample, measured over the chunks up to its own, and the state after the last chunk.

        The gain falls at once and rises over the length of a chunk, so that an onset is never too loud.

        Args:
            waveform: a whole number of chunks.
            state: state before them: `averages` so far (batch, moments) and the last `gain` (batch).
            hop_length: samples in a chunk.
            sample_rate: Hz.
        """
        averages, before = state["averages"], state["gain"]
        chunks = rearrange(waveform, "batch (chunk hop) -> batch chunk hop", hop=hop_length)
        # Columns of `averages`: mean, mean square, weight of the average, largest amplitude.
        peaks = running_maximum(torch.cat([averages[:, 3:], chunks.abs().amax(-1)], dim=-1))
        decay = 1.0 - hop_length / (self.seconds * sample_rate)
        # The decay is below 0 if a chunk is longer than `seconds`.
        means, last = exponential_average(_moments(chunks), averages[:, :3], max(decay, 0.0))
        first, second, weight = means.unbind(1)
        # The running average of the constant one is less than 1 at first; dividing by it removes the bias to zero.
        unbiased = torch.stack([first / weight, second / weight], dim=1)
        gains = self._gain(self._measure(unbiased, peaks[:, 1:]))
        # Each chunk starts at the previous gain, unless its own is lower: then it is lower from its first sample.
        start = torch.cat([before[:, None], gains[:, :-1]], dim=-1).minimum(gains)
        share = torch.arange(1, hop_length + 1, device=gains.device) / hop_length
        each = start[..., None] + (gains - start)[..., None] * share
        state = {"averages": torch.cat([last, peaks[:, -1:]], dim=-1), "gain": gains[:, -1]}
        return rearrange(each, "batch chunk hop -> batch (chunk hop)"), state

    def gains(self, waveform: Waveform, *, hop_length: int, sample_rate: int) -> Waveform:
        """Return a gain for each sample of complete waveforms."""
        batch, time = waveform.shape
        if not self.running:
            return repeat(self.whole(waveform), "batch 1 -> batch time", time=time)
        padded = functional.pad(waveform, (0, -time % hop_length))
        state = self.initial_state(batch, waveform)
        gains, _ = self.past(padded, state, hop_length=hop_length, sample_rate=sample_rate)
        return gains[:, :time]

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first chunk."""
        return {
            # Columns as in `past`.
            "averages": like.new_zeros(batch, 4),
            # No previous gain: the first chunk starts at its own.
            "gain": like.new_full((batch,), torch.inf),
        }

    def _measure(
        self, means: Float[Tensor, "batch 2 *rest"], peak: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        if self.kind == "maximum":
            return peak
        mean, power = means[:, 0], means[:, 1]
        if self.kind == "std":
            power = power - mean.square()
        return power.clamp_min(FLOOR**2).sqrt()  # by rounding, a variance can be below 0

    def _gain(self, level: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return self.target / level.clamp_min(FLOOR)


def _moments(chunks: Float[Tensor, "batch chunk hop"]) -> Float[Tensor, "batch 3 chunk"]:
    """Return mean, mean square, and the constant one (the weight of the chunk in a running average)."""
    mean = chunks.mean(-1)
    return torch.stack([mean, chunks.square().mean(-1), torch.ones_like(mean)], dim=1)
