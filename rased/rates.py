"""Enhance a stream of any sample rate, with or without the band above that of the model.

A model at 16 kHz returns nothing above 8 kHz. The rest of the input is kept under one gain for each channel, which
follows the model: the ratio of amplitudes, output to input, in its own highest quarter, from 12 ms of the past. The
rest is exactly what resampling to the rate of the model and back removes, so that no frequency is missing or there
twice: an enhancer that returns its input returns it at any sample rate. At a rate below the model's, the rest is the
edge of the band of the input, and the gain is that of the input's highest quarter.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from rased.audio import Resampler
from rased.errors import RasedError

Progress = Callable[[float], None]
"""Called with the seconds of audio that were read since the last call."""
Block = Float32[np.ndarray, "_ _"]
"""Some samples (time) of each channel."""
Band = Literal["full", "model"]

_FRAME_SECONDS = 0.004
_PAST = np.array([1.0, 0.5, 0.25])
"""Weights of the energies of a frame and the two before it."""
_SHARE = 0.75
"""Frequency above which the gain is measured, as a share of the highest that input and model have."""
_TAPS = 63
_QUIET = 1e-10
"""Mean power, relative to full scale, of which a band tells nothing about noise."""


@runtime_checkable
class ModelStream(Protocol):
    """A model that takes blocks of its own sample rate; the output is aligned with the input, and as long.

    Attributes:
        name: of the model, for messages.
        sample_rate: of input and output, in Hz.
        rows: channels of the output.
    """

    name: str
    sample_rate: int
    rows: int

    def push(self, block: Block) -> Block:
        """Take the next samples of all channels; return those that are ready (possibly none)."""

    def finish(self) -> Block:
        """Return the remaining samples."""


class RateStream:
    """Enhances blocks of any sample rate; the output is aligned with the input, and as long.

    Args:
        stream: a new stream of any model; see `rased.streaming.open_rates`.
        sample_rate: of input and output, in Hz.
        channels: of the input.
        band: "full" keeps the band above that of the model under a gain; "model" removes it.
        where: words about the input for error messages, such as " for 'a.wav'".

    Attributes:
        rows: channels of the output.
        model_rate: sample rate of the model in Hz.
        band: as given.
    """

    def __init__(
        self,
        stream: ModelStream,
        sample_rate: int,
        channels: int,
        *,
        band: Band = "full",
        where: str = "",
    ) -> None:
        self.rows, self.model_rate, self.band = stream.rows, stream.sample_rate, band
        self._where, self._stream, self._rate = where, stream, sample_rate
        self._inward = Resampler(sample_rate, stream.sample_rate, channels)
        self._outward = Resampler(stream.sample_rate, sample_rate, stream.rows)
        self._rest: _Rest | None = None
        # The edge of a band below the model's own belongs to that of the model.
        wanted = band == "full" or sample_rate < stream.sample_rate
        if wanted and sample_rate != stream.sample_rate:
            self._rest = _Rest(sample_rate, stream.sample_rate, stream.rows)
        self._taken = self._given = 0

    def through(self, blocks: Iterable[Block], progress: Progress | None = None) -> Iterator[Block]:
        """Yield the output of all blocks.

        Raises:
            RasedError: the model returned values that are not finite.
        """
        for block in blocks:
            out = self.push(block)
            if out.shape[1]:
                yield out
            if progress is not None:
                progress(block.shape[1] / self._rate)
        yield self.finish()

    def push(self, block: Block) -> Block:
        """Take the next samples of all channels; return those that are ready (possibly none)."""
        self._taken += block.shape[1]
        noisy = self._inward.push(block)
        estimate = self._checked(self._stream.push(noisy))
        out = self._outward.push(estimate)
        if self._rest is not None:
            out = self._rest.push(block, noisy, estimate, out)
        return self._out(out)

    def finish(self) -> Block:
        """Return the remaining samples."""
        # In order: what the inward resampler holds, then the model, then the outward resampler.
        noisy = self._inward.finish()
        last = self._stream.push(noisy)
        estimate = self._checked(np.concatenate([last, self._stream.finish()], axis=1))
        out = self._outward.push(estimate)
        out = np.concatenate([out, self._outward.finish(self._taken)], axis=1)
        if self._rest is not None:
            out = self._rest.finish(noisy, estimate, out, self._taken)
        return self._out(out)

    def _out(self, out: Block) -> Block:
        out = out[:, : self._taken - self._given]
        self._given += out.shape[1]
        return out

    def _checked(self, estimate: Block) -> Block:
        if not np.isfinite(estimate).all():
            raise RasedError(
                f"the model {self._stream.name} returned values that are not finite{self._where}."
            )
        return estimate


class _Rest:
    """Adds what resampling removed from the noisy input, under the gain of the model."""

    def __init__(self, sample_rate: int, model_rate: int, rows: int) -> None:
        self._again = Resampler(model_rate, sample_rate, rows)
        self._gains = _Gains(model_rate, rows, top=min(sample_rate, model_rate) / model_rate)
        self._pace = model_rate / sample_rate
        self._rows, self._at = rows, 0
        nothing = np.zeros((rows, 0), np.float32)
        self._noisy, self._lower, self._out = nothing, nothing, nothing

    def push(self, block: Block, noisy: Block, estimate: Block, out: Block) -> Block:
        """Return the samples of full band that are ready.

        Args:
            block: input at its own sample rate.
            noisy: further input at the rate of the model.
            estimate: further output of the model, aligned with its input.
            out: further output at the rate of the input.
        """
        return self._joined(block, noisy, estimate, out, self._again.push(noisy[: self._rows]))

    def finish(self, noisy: Block, estimate: Block, out: Block, length: int) -> Block:
        """Return the rest, after `length` samples of input."""
        lower = self._again.push(noisy[: self._rows])
        lower = np.concatenate([lower, self._again.finish(length)], axis=1)
        self._gains.push(noisy[: self._rows], estimate)
        self._gains.finish()
        nothing = np.zeros((self._rows, 0), np.float32)
        return self._joined(nothing, nothing, nothing, out, lower)

    def _joined(
        self, block: Block, noisy: Block, estimate: Block, out: Block, lower: Block
    ) -> Block:
        self._noisy = np.concatenate([self._noisy, block[: self._rows]], axis=1)
        self._lower = np.concatenate([self._lower, lower], axis=1)
        self._out = np.concatenate([self._out, out], axis=1)
        self._gains.push(noisy[: self._rows], estimate)
        ready = min(self._noisy.shape[1], self._lower.shape[1], self._out.shape[1])
        if not ready or not self._gains.known:
            return self._out[:, :0]
        gains = self._gains.at((self._at + np.arange(ready)) * self._pace)
        rest = self._noisy[:, :ready] - self._lower[:, :ready]
        full = self._out[:, :ready] + gains * rest
        self._noisy, self._lower = self._noisy[:, ready:], self._lower[:, ready:]
        self._out = self._out[:, ready:]
        self._at += ready
        return full.astype(np.float32, copy=False)


class _Gains:
    """The gain of a model in the highest band, over time; that of a frame holds when it is over.

    Args:
        rate: sample rate of the model in Hz.
        rows: channels.
        top: highest frequency of the input, as a share of half the sample rate of the model.
    """

    def __init__(self, rate: int, rows: int, *, top: float) -> None:
        self._frame = round(_FRAME_SECONDS * rate)
        self._filter = _highpass(_SHARE * top)
        past = np.zeros((rows, _TAPS - 1), np.float32)
        # Past samples of the filter; then those that do not fill a frame.
        self._heard, self._energies = [past, past], np.zeros((2, rows, len(_PAST) - 1))
        self._pending = [np.zeros((rows, 0), np.float32)] * 2
        self._values, self._first = np.zeros((rows, 0)), 0

    @property
    def known(self) -> bool:
        """Return whether there is a gain yet."""
        return self._values.shape[1] > 0

    def push(self, noisy: Block, estimate: Block) -> None:
        """Take further samples at the rate of the model; the estimate may be behind."""
        both = [
            np.concatenate([before, self._filtered(index, new)], axis=1)
            for index, (before, new) in enumerate(
                zip(self._pending, (noisy, estimate), strict=True)
            )
        ]
        whole = min(part.shape[1] for part in both) // self._frame * self._frame
        self._pending = [part[:, whole:] for part in both]
        if whole:
            self._append([part[:, :whole] for part in both])

    def finish(self) -> None:
        """Fill up the only frame of very short audio; otherwise, the last frame is not heard."""
        if not self.known:
            gaps = [(0, self._frame - part.shape[1]) for part in self._pending]
            pairs = zip(self._pending, gaps, strict=True)
            self._append([np.pad(part, [(0, 0), gap]) for part, gap in pairs])

    def at(self, places: Float[np.ndarray, " time"]) -> Float[np.ndarray, "channel time"]:
        """Return the gains at places in samples of the model; earlier ones are forgotten."""
        # Frame k is over at (k + 1) frames; from there on, the gain moves to its value within a frame.
        nodes = (self._first + np.arange(self._values.shape[1]) + 2) * self._frame
        found = np.stack([np.interp(places, nodes, row) for row in self._values])
        old = int(np.searchsorted(nodes, places[-1], side="right")) - 1
        if old > 0:
            self._values, self._first = self._values[:, old:], self._first + old
        return found

    def _filtered(self, index: int, new: Block) -> Block:
        extended = np.concatenate([self._heard[index], new], axis=1)
        self._heard[index] = extended[:, new.shape[1] :]
        if not new.shape[1]:
            return new
        return np.stack([np.convolve(row, self._filter, mode="valid") for row in extended])

    def _append(self, both: list[Block]) -> None:
        frames = [part.reshape(len(part), -1, self._frame) for part in both]
        energies = np.stack([np.square(part, dtype=np.float64).mean(-1) for part in frames])
        extended = np.concatenate([self._energies, energies], axis=2)
        self._energies = extended[:, :, -(len(_PAST) - 1) :]
        count = energies.shape[2]
        smooth = sum(
            weight * extended[:, :, len(_PAST) - 1 - age :][:, :, :count]
            for age, weight in enumerate(_PAST)
        )
        before, after = np.asarray(smooth) + _QUIET
        gains = np.minimum(np.sqrt(after / before), 1.0)
        self._values = np.concatenate([self._values, gains], axis=1)


def _highpass(share: float) -> Float32[np.ndarray, " taps"]:
    """Return a filter that passes what is above this share of half the sample rate (a windowed sinc)."""
    middle = np.arange(_TAPS) - _TAPS // 2
    low = share * np.sinc(share * middle) * np.hamming(_TAPS)
    high = -low / low.sum()
    high[_TAPS // 2] += 1.0
    return high.astype(np.float32)
