"""Audio of any length through an enhancer: block by block, in flat memory, as if in one piece.

Three ways, chosen by the model:

- a causal `SpectralEnhancer` carries its state from block to block: equal to `forward`;
- any other enhancer gets audio that fits one window in one piece: equal to `forward`;
- longer audio goes through windows that overlap, with context on both sides and a cross-fade
  between neighbours: equal to `forward` where the model's memory is no longer than the context.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError
from rased.models.base import Enhancer, SpectralEnhancer, State

BLOCK_SECONDS = 8.0
WINDOW_SECONDS = 12.0
CONTEXT_SECONDS = 2.0
FADE_SECONDS = 0.064


@runtime_checkable
class Stream(Protocol):
    """What `push` takes in comes out enhanced, aligned, and of the same length in all."""

    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "channel ready"]:
        """Take the next samples of all channels; return those that are ready (perhaps none)."""

    def finish(self) -> Float[Tensor, "channel rest"]:
        """Return the rest."""


def open_stream(
    enhancer: Enhancer,
    channels: int,
    *,
    window_seconds: float = WINDOW_SECONDS,
    context_seconds: float = CONTEXT_SECONDS,
) -> Stream:
    """Choose the way that this model allows.

    Args:
        enhancer: any enhancer.
        channels: channels of the audio; each is enhanced on its own, as a batch.
        window_seconds: the longest piece that a model without a carried state sees at once.
        context_seconds: how much of it, on either side, is heard but not given out.
    """
    if isinstance(enhancer, SpectralEnhancer) and enhancer.causal:
        return SpectralStream(enhancer, channels)
    return WindowStream(
        enhancer, channels, window_seconds=window_seconds, context_seconds=context_seconds
    )


class SpectralStream:
    """A causal `SpectralEnhancer` on long blocks, with the state of `process` carried along.

    A block is analysed behind the last `latency` samples of the block before and synthesised behind
    its last frames, so that each sample is the sum of the frames that `forward` adds.
    """

    def __init__(self, enhancer: SpectralEnhancer, channels: int) -> None:
        assert enhancer.latency is not None
        self.enhancer = enhancer
        self.stft = enhancer.stft
        hop = self.stft.hop_length
        self.block = max(1, round(BLOCK_SECONDS * enhancer.sample_rate / hop)) * hop
        self._state: State = enhancer.initial_process_state(channels)
        self._pending = torch.zeros(channels, 0)
        self._before: Tensor | None = None  # the last samples analysed
        self._behind: Tensor | None = None  # the last frames synthesised
        self._overlap = self.stft.latency // hop
        self._late = (enhancer.latency - self.stft.latency) // hop  # frames by which `process` lags
        self._drop = self._late
        self._taken = self._given = self._frames = 0

    @torch.inference_mode()
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "channel ready"]:
        """Enhance as many whole blocks as there are, keeping one back: the last one is special."""
        self._pending = torch.cat([self._pending, block], dim=-1)
        ready = [self._pending[:, :0]]
        while self._pending.shape[-1] >= 2 * self.block:
            ready.append(self._through(self._pending[:, : self.block], last=False))
            self._pending = self._pending[:, self.block :]
        return torch.cat(ready, dim=-1)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "channel rest"]:
        """Enhance what is pending, to its last sample."""
        if self._pending.shape[-1] == 0:
            return self._pending
        return self._through(self._pending, last=True)

    def _through(
        self, block: Float[Tensor, "channel time"], *, last: bool
    ) -> Float[Tensor, "channel ready"]:
        self._taken += block.shape[-1]
        spectrum = self._analyse(block, last=last)
        prediction, self._state = self.enhancer.process(spectrum, self._state)
        late = min(self._drop, prediction.spectrum.shape[-1])
        self._drop -= late
        return self._synthesise(prediction.spectrum[..., late:], last=last)

    def _analyse(
        self, block: Float[Tensor, "channel time"], *, last: bool
    ) -> Complex[Tensor, "channel freq frames"]:
        """The frames that end in this block; behind the last one, silence for a late `process`."""
        heard = block
        if self._before is not None:
            heard = torch.cat([self._before, block], dim=-1)
        spectrum = self.stft.analysis(heard)
        if self._before is not None:
            spectrum = spectrum[..., self._overlap :]
        self._before = heard[:, -self.stft.latency :]
        if last:
            return functional.pad(spectrum, (0, self._late))
        return spectrum[..., : block.shape[-1] // self.stft.hop_length]

    def _synthesise(
        self, frames: Complex[Tensor, "channel freq frames"], *, last: bool
    ) -> Float[Tensor, "channel ready"]:
        """The samples to which no later frame will add; to the end for the last frames."""
        self._frames += frames.shape[-1]
        if self._behind is not None:
            frames = torch.cat([self._behind, frames], dim=-1)
        self._behind = frames[..., -self._overlap :]
        complete = self._frames * self.stft.hop_length - self.stft.latency
        stop = self._taken if last else max(0, complete)
        estimate = self.stft.synthesis(frames, stop - self._given)
        self._given = stop
        return estimate


class WindowStream:
    """Any enhancer on windows that overlap by a context on both sides and a cross-fade.

    The first window has no context before it and the last one none behind it.
    """

    def __init__(
        self, enhancer: Enhancer, channels: int, *, window_seconds: float, context_seconds: float
    ) -> None:
        rate = enhancer.sample_rate
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
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "channel ready"]:
        """Enhance as many whole windows as there are; the newest samples wait for their context."""
        self._pending = torch.cat([self._pending, block], dim=-1)
        ready = [self._pending[:, :0]]
        while self._pending.shape[-1] > self.window:
            estimate = self.enhancer(self._pending[:, : self.window])
            start = 0 if self._tail is None else self.context
            stop = self.window - self.context - self.fade
            ready.append(self._faded(estimate, start)[:, : stop - start])
            self._tail = estimate[:, stop : stop + self.fade]
            self._pending = self._pending[:, stop - self.context :]
        return torch.cat(ready, dim=-1)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "channel rest"]:
        """Enhance what is pending, to its last sample."""
        if self._pending.shape[-1] == 0:
            return self._pending
        estimate = self.enhancer(self._pending)
        return self._faded(estimate, 0 if self._tail is None else self.context)

    def _faded(
        self, estimate: Float[Tensor, "channel time"], start: int
    ) -> Float[Tensor, "channel rest"]:
        """Cut what an earlier window has given out; blend its last samples into this one's."""
        estimate = estimate[:, start:]
        if self._tail is None:
            return estimate
        rise = torch.linspace(0, 1, self.fade + 2, device=estimate.device)[1:-1]
        blended = self._tail + rise * (estimate[:, : self.fade] - self._tail)
        return torch.cat([blended, estimate[:, self.fade :]], dim=-1)


class ChunkStream:
    """A causal enhancer on the smallest chunks that it takes, for audio that arrives live.

    The output is aligned with the input: the first `latency` samples, silence before the stream,
    are dropped, and the end is flushed by `finish`.
    """

    def __init__(self, enhancer: Enhancer, channels: int = 1) -> None:
        if enhancer.latency is None or enhancer.chunk_length is None:
            raise RasedError(
                f"{type(enhancer).__name__} is not causal and cannot stream; enhance whole files "
                f"with it or choose a causal model (`rased zoo list`)."
            )
        self.enhancer = enhancer
        self.chunk_length: int = enhancer.chunk_length
        self._drop: int = enhancer.latency
        self._state: State = enhancer.initial_state(channels)
        self._pending = torch.zeros(channels, 0)
        self._owed = 0

    @torch.inference_mode()
    def push(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "channel ready"]:
        """Enhance as many chunks as there are."""
        self._owed += block.shape[-1]
        return self._through(block)

    @torch.inference_mode()
    def finish(self) -> Float[Tensor, "channel rest"]:
        """Flush with silence until as much has come out as came in."""
        owed = self._owed
        chunks = -(-(owed + self._drop) // self.chunk_length)
        silence = chunks * self.chunk_length - self._pending.shape[-1]
        return self._through(torch.zeros(self._pending.shape[0], silence))[:, :owed]

    def _through(self, block: Float[Tensor, "channel time"]) -> Float[Tensor, "channel ready"]:
        self._pending = torch.cat([self._pending, block], dim=-1)
        ready = [self._pending[:, :0]]
        while self._pending.shape[-1] >= self.chunk_length:
            chunk = self._pending[:, : self.chunk_length]
            self._pending = self._pending[:, self.chunk_length :]
            estimate, self._state = self.enhancer.step(chunk, self._state)
            ready.append(estimate)
        joined = torch.cat(ready, dim=-1)
        dropped = min(self._drop, joined.shape[-1])
        self._drop -= dropped
        self._owed -= joined.shape[-1] - dropped
        return joined[:, dropped:]
