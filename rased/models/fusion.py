"""Weighted average of the estimates of several enhancers, such as one in time and one in frequency.

Papers: Y.-H. Tu, I. Tashev, S. Zarar, C.-H. Lee, "A hybrid approach to combining conventional and deep learning
techniques for single-channel speech enhancement and recognition", ICASSP 2018 (systems averaged); J.-H. Kim et al.,
"Multi-domain processing via hybrid denoising networks for speech enhancement", 2018 (time and frequency fused).
Difference: one weight per enhancer, fixed or learned. Parameters and MACs: the sums, and one weight for each.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction, Several, State
from rased.signal.domains import Waveform
from rased.signal.state import joined, numbered, parted


class Fusion(Several):
    """Averages the estimates of enhancers; causal if all of them are.

    Args:
        enhancers: at least two, of one channel, with the same sample rate, without conditions and random numbers.
        weights: of the average, which is divided by their sum; None: equal ones.
        learned: the weights are trained with the enhancers.

    Raises:
        RasedError: the enhancers or weights do not fit together.
    """

    def __init__(
        self,
        enhancers: Sequence[Enhancer],
        weights: Sequence[float] | None = None,
        learned: bool = False,
    ) -> None:
        super().__init__()
        given = [1.0] * len(enhancers) if weights is None else list(weights)
        _check(enhancers, given)
        self.enhancers = nn.ModuleList(enhancers)
        self.sample_rate = enhancers[0].sample_rate
        self.paper = "; ".join(dict.fromkeys(one.paper for one in enhancers if one.paper))
        self.logits = nn.Parameter(torch.tensor(given).log(), requires_grad=learned)
        self._late: list[int] = []
        if all(one.causal for one in enhancers):
            self.chunk_length = math.lcm(*(one.chunk_length or 1 for one in enhancers))
            self.latency = max(one.latency or 0 for one in enhancers)
            self._late = [self.latency - (one.latency or 0) for one in enhancers]

    @property
    def parts(self) -> list[Enhancer]:
        """Return the enhancers."""
        return [cast(Enhancer, one) for one in self.enhancers]

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Average the estimates."""
        return Prediction(self._averaged([one.predict(noisy).estimate for one in self.parts]))

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the states of all enhancers, and silence that delays the faster ones."""
        if not self.causal:
            return super().initial_state(batch)
        lines = {
            str(index): self.logits.new_zeros(batch, late)
            for index, late in enumerate(self._late)
            if late
        }
        states = numbered(one.initial_state(batch) for one in self.parts)
        return {**states, **joined({"delay": lines})}

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Run all enhancers, and delay the faster ones."""
        if not self.causal:
            return super().step(chunk, state)
        known, outputs, states, lines = parted(state), [], [], {}
        for index, one in enumerate(self.parts):
            output, after = one.step(chunk, known[str(index)])
            late = known["delay"].get(str(index))
            if late is not None:
                line, size = torch.cat([late, output], dim=-1), output.shape[-1]
                output, lines[str(index)] = line[:, :size], line[:, size:].clone()
            outputs.append(output)
            states.append(after)
        return self._averaged(outputs), {**numbered(states), **joined({"delay": lines})}

    def _averaged(self, estimates: Sequence[Waveform]) -> Waveform:
        shares = functional.softmax(self.logits, dim=0)
        return torch.einsum("e,ent->nt", shares, torch.stack([*estimates]))  # e enhancer, n batch


def _check(enhancers: Sequence[Enhancer], weights: Sequence[float]) -> None:
    if len(enhancers) < 2 or len(weights) != len(enhancers) or not min(weights) > 0:
        raise RasedError(
            f"Fusion got {len(enhancers)} enhancers and the weights {list(weights)}: give at least two, and one weight "
            "above 0 for each."
        )
    rates = sorted({one.sample_rate for one in enhancers})
    if len(rates) > 1:
        raise RasedError(
            f"the enhancers of Fusion work at {' and '.join(map(str, rates))} Hz: choose those of one sample rate."
        )
    for one in enhancers:
        if one.channels != 1 or one.conditions or one.samples:
            raise RasedError(
                "Fusion averages enhancers of one channel, without conditions and random numbers, which "
                f"{type(one).__name__} is not: choose another one."
            )
