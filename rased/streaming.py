"""Enhance audio of any length piece by piece, with constant memory and the result of a single pass.

There are three ways, depending on the model:

- A causal enhancer carries its state from step to step: equal to `forward`, for any block size.
- Any other enhancer processes audio that fits one window in one piece: equal to `forward`.
- Longer audio is processed in overlapping windows, with context on both sides and a cross-fade
  between neighbours: equal to `forward` if the model's memory is not longer than the context.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rased.conditions import Given
from rased.errors import RasedError
from rased.models.base import Enhancer, State
from rased.rates import Band, Block, RateStream

BLOCK_SECONDS = 8.0  # longest step of a causal model
WINDOW_SECONDS = 12.0  # piece of any other model
CONTEXT_SECONDS = 2.0  # on either side of it
FADE_SECONDS = 0.064  # between two windows


@runtime_checkable
class Stream(Protocol):
    """Enhances audio block by block; the output is aligned with the input and has the same total length."""

    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "output ready"]:
        """Take the next samples of all channels; return the samples that are ready (possibly none)."""

    def finish(self) -> Float[Tensor, "output rest"]:
        """Return the remaining samples."""


def open_stream(
    enhancer: Enhancer,
    channels: int,
    *,
    condition: Given | None = None,
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
) -> Stream:
    """Choose the kind of stream for a model.

    Args:
        enhancer: any enhancer.
        channels: channels of the audio; a model of one channel enhances each channel separately, as a batch.
        condition: additional inputs of the model (`Enhancer.given`), one row for each output or one for all.
        window_seconds: longest piece that a model without streaming state processes at once.
        context_seconds: part of it, on either side, whose output is discarded.

    Raises:
        RasedError: the model needs another number of channels.
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


def open_rates(
    enhancer: Enhancer,
    sample_rate: int,
    channels: int,
    *,
    condition: Given | None = None,
    band: Band = "full",
    live: bool = False,
    where: str = "",
) -> RateStream:
    """Return a stream of arrays of any sample rate.

    Args:
        enhancer: any enhancer.
        sample_rate: of input and output, in Hz.
        channels: of the input.
        condition: see `open_stream`.
        band: see `RateStream`.
        live: give each sample as early as possible; for causal enhancers.
        where: see `RateStream`.

    Raises:
        RasedError: the model does not take these channels or this condition, or `live` needs a causal one.
    """
    opened = CausalStream if live else open_stream
    stream = _Arrays(enhancer, channels, opened(enhancer, channels, condition=condition))
    return RateStream(stream, sample_rate, channels, band=band, where=where)


class _Arrays:
    """A stream of tensors as one of arrays."""

    def __init__(self, enhancer: Enhancer, channels: int, stream: Stream) -> None:
        self.name, self.sample_rate = type(enhancer).__name__, enhancer.sample_rate
        self.rows = output_channels(enhancer, channels)
        self._stream = stream

    def push(self, block: Block) -> Block:
        return self._stream.push(torch.from_numpy(block)).numpy()

    def finish(self) -> Block:
        return self._stream.finish().numpy()


def output_channels(enhancer: Enhancer, channels: int) -> int:
    """Return the number of output channels: all of them, or one for a model of several channels.

    Raises:
        RasedError: the model needs another number of channels.
    """
    if enhancer.channels == 1:
        return channels
    if enhancer.channels != channels:
        raise RasedError(
            f"{type(enhancer).__name__} takes {enhancer.channels} channels, but the audio has {channels}."
        )
    return 1


def _as_batch(
    enhancer: Enhancer, waveform: Float[Tensor, "channel time"]
) -> Float[Tensor, "batch *channel time"]:
    """Return one row per channel, or one row with all channels."""
    return waveform if enhancer.channels == 1 else waveform[None]


class CausalStream:
    """Runs a causal enhancer step by step with its state, for files and live audio.

    The output is aligned with the input: the first `latency` samples (silence before the stream)
    are dropped, and `finish` flushes the end.

    Args:
        enhancer: any causal enhancer.
        channels: channels of the audio; a model of one channel enhances each channel separately, as a batch.
        at_least: seconds to collect before a step; 0: every complete chunk.
        condition: see `open_stream`.

    Raises:
        RasedError: the enhancer is not causal, or needs another number of channels.
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
        options.pop("generator", None)  # `initial_state` takes none
        self._state: State = enhancer.initial_state(self._rows, **options)
        self._pending = torch.zeros(channels, 0)
        self._owed = 0

    @torch.inference_mode()
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "output ready"]:
        """Enhance all complete chunks, if there are enough for a step."""
        self._owed += block.shape[-1]
        return self._through(block, self._least)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "output rest"]:
        """Feed silence until the output has as many samples as the input."""
        owed = self._owed
        if not owed:
            return self._pending[: self._rows, :0]  # empty, with a row for each output
        # The output lags by `_drop` samples (all of the latency before the first output, none after it was
        # dropped).
        chunks = -(-(owed + self._drop) // self.chunk_length)
        silence = chunks * self.chunk_length - self._pending.shape[-1]
        rest = self._through(torch.zeros(self._pending.shape[0], silence), self.chunk_length)
        return rest[:, :owed]

    def _through(
        self, block: Float[Tensor, "channel time"], least: int
    ) -> Float[Tensor, "output ready"]:
        """Process steps of `least` to 8 s, in whole chunks."""
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
    """Runs any enhancer on overlapping windows, with context on both sides and a cross-fade.

    The first window has no context before it, the last one none after it.
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
        # Otherwise most of each window would be context, computed again and again.
        if self.hop < self.window // 10:
            raise RasedError(
                f"a window of {window_seconds:g} s is too short for a context of "
                f"{context_seconds:g} s on both sides; use at least {3 * context_seconds:g} s."
            )
        self._pending = torch.zeros(channels, 0)
        self._tail: Tensor | None = None

    @torch.inference_mode()
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "output ready"]:
        """Enhance all complete windows; the newest samples wait for their context."""
        self._pending = torch.cat([self._pending, block], dim=-1)
        ready = [self._pending[: self._rows, :0]]
        # Only if more than a window is left: the last window must end with the last sample, without context
        # after it.
        while self._pending.shape[-1] > self.window:
            estimate = self._estimate(self._pending[:, : self.window])
            start = 0 if self._tail is None else self.context
            stop = self.window - self.context - self.fade
            ready.append(self._faded(estimate, start)[:, : stop - start])
            self._tail = estimate[:, stop : stop + self.fade]
            # With the context before the next samples.
            self._pending = self._pending[:, stop - self.context :]
        return torch.cat(ready, dim=-1)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "output rest"]:
        """Enhance the remaining samples."""
        if self._pending.shape[-1] == 0:
            return self._pending[: self._rows]
        estimate = self._estimate(self._pending)
        return self._faded(estimate, 0 if self._tail is None else self.context)

    def _estimate(self, waveform: Float[Tensor, "channel time"]) -> Float[Tensor, "output time"]:
        """Enhance a window; a model that samples continues its sequence of random numbers."""
        return self.enhancer(_as_batch(self.enhancer, waveform), **self._options)

    def _faded(
        self, estimate: Float[Tensor, "output time"], start: int
    ) -> Float[Tensor, "output rest"]:
        """Cut off samples that an earlier window has returned; blend its last samples into this window."""
        estimate = estimate[:, start:]
        if self._tail is None:
            return estimate
        # Without 0 and 1 at the ends, which would waste a sample of the fade.
        rise = torch.linspace(0, 1, self.fade + 2, device=estimate.device)[1:-1]
        blended = self._tail + rise * (estimate[:, : self.fade] - self._tail)
        return torch.cat([blended, estimate[:, self.fade :]], dim=-1)
