"""Audio of any length through an enhancer: piece by piece, in flat memory, as if in one piece.

Three ways, chosen by the model:

- a causal enhancer carries its state from step to step: equal to `forward`, however the audio is cut;
- any other enhancer gets audio that fits one window in one piece: equal to `forward`;
- longer audio goes through windows that overlap, with context on both sides and a cross-fade
  between neighbours: equal to `forward` where the model's memory is no longer than the context.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rased.conditions import Given
from rased.errors import RasedError
from rased.models.base import Enhancer, State

BLOCK_SECONDS = 8.0
WINDOW_SECONDS = 12.0
CONTEXT_SECONDS = 2.0
FADE_SECONDS = 0.064


@runtime_checkable
class Stream(Protocol):
    """What `push` takes in comes out enhanced, aligned, and of the same length in all."""

    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "output ready"]:
        """Take the next samples of all channels; return those that are ready (perhaps none)."""

    def finish(self) -> Float[Tensor, "output rest"]:
        """Return the rest."""


def open_stream(
    enhancer: Enhancer,
    channels: int,
    *,
    condition: Given | None = None,
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
) -> Stream:
    """Choose the way that this model allows.

    Args:
        enhancer: any enhancer.
        channels: channels of the audio; a model of one channel enhances each on its own, as a batch.
        condition: what the model needs besides (`Enhancer.given`), one row for each output or one for all.
        window_seconds: the longest piece that a model without a carried state sees at once.
        context_seconds: how much of it, on either side, is heard but not given out.

    Raises:
        RasedError: a model of several channels and audio of another number of them.
    """
    if enhancer.causal:
        return CausalStream(enhancer, channels, at_least=BLOCK_SECONDS, condition=condition)
    return WindowStream(
        enhancer,
        channels,
        condition=condition,
        window_seconds=window_seconds,
        context_seconds=context_seconds,
    )


def output_channels(enhancer: Enhancer, channels: int) -> int:
    """Channels that come out of so many: all of them, or one from a model of several.

    Raises:
        RasedError: the model takes another number.
    """
    if enhancer.channels == 1:
        return channels
    if enhancer.channels != channels:
        raise RasedError(
            f"{type(enhancer).__name__} takes {enhancer.channels} channels, and the audio has {channels}."
        )
    return 1


def _as_batch(
    enhancer: Enhancer, waveform: Float[Tensor, "channel time"]
) -> Float[Tensor, "batch *channel time"]:
    """A row for each channel, or one row with all of them."""
    return waveform if enhancer.channels == 1 else waveform[None]


class CausalStream:
    """A causal enhancer, step after step with its state carried along, for files and for audio that arrives live.

    The output is aligned with the input: the first `latency` samples, silence before the stream,
    are dropped, and the end is flushed by `finish`.

    Args:
        enhancer: any causal enhancer.
        channels: channels of the audio; a model of one channel enhances each on its own, as a batch.
        at_least: seconds to collect before a step; 0: whatever whole chunks there are.
        condition: see `open_stream`.

    Raises:
        RasedError: the enhancer is not causal, or takes another number of channels.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        channels: int = 1,
        *,
        at_least: float = 0.0,
        condition: Given | None = None,
    ) -> None:
        if enhancer.latency is None or enhancer.chunk_length is None:
            raise RasedError(
                f"{type(enhancer).__name__} is not causal and cannot stream; enhance whole files "
                f"with it or choose a causal model (`rased zoo list`)."
            )
        self.enhancer = enhancer
        self.chunk_length: int = enhancer.chunk_length
        self._least = max(self.chunk_length, round(at_least * enhancer.sample_rate))
        self._most = max(self.chunk_length, round(BLOCK_SECONDS * enhancer.sample_rate))
        self._drop: int = enhancer.latency
        self._rows = output_channels(enhancer, channels)
        options = enhancer.options(self._rows, condition=condition)
        options.pop("generator", None)
        self._state: State = enhancer.initial_state(self._rows, **options)
        self._pending = torch.zeros(channels, 0)
        self._owed = 0

    @torch.inference_mode()
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "output ready"]:
        """Enhance the whole chunks that there are, where they are enough for a step."""
        self._owed += block.shape[-1]
        return self._through(block, self._least)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "output rest"]:
        """Flush with silence until as much has come out as came in."""
        owed = self._owed
        if not owed:
            return self._pending[: self._rows, :0]
        chunks = -(-(owed + self._drop) // self.chunk_length)
        silence = chunks * self.chunk_length - self._pending.shape[-1]
        rest = self._through(torch.zeros(self._pending.shape[0], silence), self.chunk_length)
        return rest[:, :owed]

    def _through(
        self, block: Float[Tensor, "channel time"], least: int
    ) -> Float[Tensor, "output ready"]:
        """Steps of between `least` and 8 s, in whole chunks."""
        self._pending = torch.cat([self._pending, block], dim=-1)
        ready = [self._pending[: self._rows, :0]]
        while (there := self._pending.shape[-1]) >= least:
            taken = min(there, self._most) // self.chunk_length * self.chunk_length
            chunk = _as_batch(self.enhancer, self._pending[:, :taken])
            estimate, self._state = self.enhancer.step(chunk, self._state)
            self._pending = self._pending[:, taken:]
            ready.append(estimate)
        joined = torch.cat(ready, dim=-1)
        dropped = min(self._drop, joined.shape[-1])
        self._drop -= dropped
        self._owed -= joined.shape[-1] - dropped
        return joined[:, dropped:]


class WindowStream:
    """Any enhancer on windows that overlap by a context on both sides and a cross-fade.

    The first window has no context before it and the last one none after it.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        channels: int,
        *,
        condition: Given | None = None,
        window_seconds: float,
        context_seconds: float,
    ) -> None:
        rate = enhancer.sample_rate
        self._rows = output_channels(enhancer, channels)
        self._options = enhancer.options(self._rows, condition=condition)
        self.enhancer = enhancer
        self.context = round(context_seconds * rate)
        self.fade = round(FADE_SECONDS * rate)
        self.window = round(window_seconds * rate)
        self.hop = self.window - 2 * self.context - self.fade
        if self.hop < self.window // 10:
            raise RasedError(
                f"a window of {window_seconds:g} s is too short for a context of "
                f"{context_seconds:g} s on both sides; use at least {3 * context_seconds:g} s."
            )
        self._pending = torch.zeros(channels, 0)
        self._tail: Tensor | None = None

    @torch.inference_mode()
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "output ready"]:
        """Enhance as many whole windows as there are; the newest samples wait for their context."""
        self._pending = torch.cat([self._pending, block], dim=-1)
        ready = [self._pending[: self._rows, :0]]
        while self._pending.shape[-1] > self.window:
            estimate = self._estimate(self._pending[:, : self.window])
            start = 0 if self._tail is None else self.context
            stop = self.window - self.context - self.fade
            ready.append(self._faded(estimate, start)[:, : stop - start])
            self._tail = estimate[:, stop : stop + self.fade]
            self._pending = self._pending[:, stop - self.context :]
        return torch.cat(ready, dim=-1)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "output rest"]:
        """Enhance what is pending, to its last sample."""
        if self._pending.shape[-1] == 0:
            return self._pending[: self._rows]
        estimate = self._estimate(self._pending)
        return self._faded(estimate, 0 if self._tail is None else self.context)

    def _estimate(self, waveform: Float[Tensor, "channel time"]) -> Float[Tensor, "output time"]:
        """Of a window; a model that samples goes on drawing where it stopped."""
        return self.enhancer(_as_batch(self.enhancer, waveform), **self._options)

    def _faded(
        self, estimate: Float[Tensor, "output time"], start: int
    ) -> Float[Tensor, "output rest"]:
        """Cut what an earlier window has given out; blend its last samples into this one's."""
        estimate = estimate[:, start:]
        if self._tail is None:
            return estimate
        rise = torch.linspace(0, 1, self.fade + 2, device=estimate.device)[1:-1]
        blended = self._tail + rise * (estimate[:, : self.fade] - self._tail)
        return torch.cat([blended, estimate[:, self.fade :]], dim=-1)
