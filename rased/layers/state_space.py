"""Diagonal state space: linear recurrences with complex decay, computed in chunks by convolution.

Gu, Gupta, Goel and Ré, "On the parameterization and initialization of diagonal state space models", NeurIPS 2022,
arXiv:2206.11893. Within a chunk, the states are a convolution, computed with FFTs; between chunks they are carried
over, so that a stream costs as much as a file.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.signal.state import State

Pair = tuple[Tensor, Tensor]
"""Real and imaginary parts."""
_FINE = 128
"""Powers are products of a fine and a coarse power: few exponentials, in double precision, with small angles."""


class StateSpace(nn.Module):
    """Linear map in time: from inputs to coefficients, each with its own decay and frequency, to outputs.

    Args:
        channels: input and output channels.
        coefficients: coefficients of different frequencies.
        repeat: sets of these coefficients, with steps between 1/1000 and 1/10.
    """

    def __init__(self, channels: int, *, coefficients: int, repeat: int) -> None:
        super().__init__()
        decay = math.log(math.expm1(0.5))  # softplus gives 0.5
        # S4D-Lin of the paper: eigenvalues -1/2 + i pi n. softplus keeps their real parts below 0.
        rates = torch.stack(
            [torch.full((coefficients,), decay), math.pi * torch.arange(coefficients)], dim=-1
        )
        count = coefficients * repeat
        self.rates = nn.Parameter(rates.repeat(repeat, 1))
        steps = torch.linspace(math.log(0.001), math.log(0.1), repeat)
        self.log_step = nn.Parameter(steps.repeat_interleave(coefficients))
        self.inputs = nn.Parameter(torch.full((count, channels), channels**-0.5))
        self.outputs = nn.Parameter(torch.randn(channels, count) * math.sqrt(2 / count))

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames"], State]:
        """Update `real` and `imaginary` (batch, coefficient), the coefficients after the last frame."""
        count, step = frames.shape[-1], self.log_step.exp()
        # Powers 0 to count - 1 are the impulse response; the last one carries the state across the chunk.
        powers = self._powers(step, count + 1)
        before = state["real"], state["imaginary"]
        # For one channel, the responses of all coefficients add up to one kernel.
        respond = self._alone if frames.shape[1] == 1 else self._together
        outputs, new = respond(frames, before, self.inputs * step[:, None], powers)
        real, imaginary = (part[:, -1] for part in powers)
        after = {
            "real": before[0] * real - before[1] * imaginary + new[0],
            "imaginary": before[0] * imaginary + before[1] * real + new[1],
        }
        return outputs, after

    def _together(
        self,
        frames: Float[Tensor, "batch channel frames"],
        before: Pair,
        inputs: Float[Tensor, "coefficient channel"],
        powers: Pair,
    ) -> tuple[Float[Tensor, "batch channel frames"], Pair]:
        """Return the outputs, and what the frames add to the state, with one kernel per coefficient."""
        (real, imaginary), count = powers, frames.shape[-1]
        driven = inputs @ frames
        # Outputs read only the real parts. The inputs are real, so that the real part of the kernel is enough.
        states = _convolved(driven, real[:, :count])
        # Real part of power * state.
        for part, size in ((real, before[0]), (-imaginary, before[1])):
            states = states + part[:, 1:] * size[..., None]
        # Power 0 for the last frame, 1 for the one before it.
        backwards = real[:, :count].flip(1), imaginary[:, :count].flip(1)
        return self.outputs @ states, _pair((driven * part).sum(-1) for part in backwards)

    def _alone(
        self,
        frames: Float[Tensor, "batch 1 frames"],
        before: Pair,
        inputs: Float[Tensor, "coefficient 1"],
        powers: Pair,
    ) -> tuple[Float[Tensor, "batch 1 frames"], Pair]:
        """Do the same for one channel with a single kernel for all coefficients, which takes far less memory."""
        (real, imaginary), count = powers, frames.shape[-1]
        gains = [self.outputs * part for part in before]
        carried = (gains[0] @ real[:, 1:] - gains[1] @ imaginary[:, 1:])[:, None]
        kernel = (self.outputs * inputs.T) @ real[:, :count]
        backwards = real[:, :count].flip(1), imaginary[:, :count].flip(1)
        added = _pair((frames[:, 0] @ part.T) * inputs[:, 0] for part in backwards)
        return _convolved(frames, kernel) + carried, added

    def _powers(self, step: Float[Tensor, " coefficient"], count: int) -> Pair:
        """Return the real and imaginary parts of powers 0, 1, ... of the factor of each coefficient per frame."""
        # The angle grows with the frame; in float32 it would lose its digits. MPS has no float64.
        wide = step if step.device.type == "mps" else step.double()
        decay = -wide * functional.softplus(self.rates[:, 0].to(wide))
        angle = wide * self.rates[:, 1].to(wide)
        parts = []
        # power[128 i + j] = coarse[i] * fine[j]
        for number, stride in ((-(-count // _FINE), _FINE), (min(count, _FINE), 1)):
            place = stride * torch.arange(number, device=step.device).to(wide)
            size = (decay[:, None] * place).exp()
            turn = angle[:, None] * place
            parts.append(((size * turn.cos()).to(step), (size * turn.sin()).to(step)))
        # Complex products of a column of coarse powers and a row of fine ones.
        (a, b), (c, d) = ((x[..., None], y[..., None]) for x, y in parts)
        c, d = c.mT, d.mT
        real, imaginary = (a * c - b * d).flatten(1), (a * d + b * c).flatten(1)
        return real[:, :count], imaginary[:, :count]

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return {name: like.new_zeros(batch, len(self.log_step)) for name in ("real", "imaginary")}


def _convolved(
    frames: Float[Tensor, "batch row frames"], kernel: Float[Tensor, "row frames"]
) -> Float[Tensor, "batch row frames"]:
    """Convolve each row with its kernel, after silence; in float32 at least, because FFTs know no bfloat16."""
    # Twice as long, so that the circular convolution does not wrap around.
    length, wide = 2 * frames.shape[-1], torch.promote_types(frames.dtype, torch.float32)
    spectra = torch.fft.rfft(frames.to(wide), length) * torch.fft.rfft(kernel.to(wide), length)
    return torch.fft.irfft(spectra, length)[..., : frames.shape[-1]]


def _pair(parts: Iterable[Tensor]) -> Pair:
    real, imaginary = parts
    return real, imaginary
