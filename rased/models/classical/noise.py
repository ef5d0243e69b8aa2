"""Estimate the power of the noise in each bin, frame by frame, while speech is present or absent.

Each tracker is a frozen value with its constants in seconds; `update` takes and returns its state, a tuple of arrays.
A running mean of the first frames initialises the estimate.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from rased.models.classical.gains import TINY, Row, presence_probability

Column = Float32[np.ndarray, "batch 1"]

EXPECTED = 10**1.5
"""Assumed power of speech over noise in frames with speech: 15 dB, as in the MMSE paper."""


def decay(seconds: float, frame_rate: float) -> float:
    """Return the weight of the last value in a recursive mean with this time constant."""
    return float(np.exp(-1 / (seconds * frame_rate)))


@cache
def smoothing_matrix(freq: int, reach: int) -> Float32[np.ndarray, "freq freq"]:
    """Return a matrix that averages over 2 * reach + 1 bins with a Hann window: multiply rows by it from the right.

    At the first and the last bins, only existing bins are averaged.
    """
    window = np.hanning(2 * reach + 3)[1:-1]  # without the zeros at its ends
    rows = np.array([np.convolve(row, window, mode="same") for row in np.eye(freq)])
    return (rows / rows.sum(0)).astype(np.float32)  # each column sums to 1


@dataclass(frozen=True)
class Start:
    """The first frames with sound, whose mean initialises an estimate.

    Attributes:
        frames: number of frames.
        partial: number of frames before them that contain only a part of the sound, because the window is
            longer than the hop; they are ignored.
    """

    frames: int
    partial: int

    def heard(self, batch: int) -> Column:
        """Return the count before the first frame."""
        return np.full((batch, 1), -self.partial, dtype=np.float32)

    def mean(self, frame: Row, mean: Row, heard: Column) -> Row:
        """Return the running mean including the next frame."""
        # Until the first whole frame the divisor is 1, so that each frame replaces the mean.
        return mean + (frame - mean) / np.maximum(heard + 1, 1)

    def going_on(self, heard: Column) -> Bool[np.ndarray, "batch 1"]:
        """Return whether the next frame still belongs to the first frames."""
        return heard < self.frames


class MMSEState(NamedTuple):
    """State of `MMSETracker`."""

    noise: Row
    presence: Row
    heard: Column


@dataclass(frozen=True)
class MMSETracker:
    """Unbiased MMSE noise power from the probability that speech is present.

    Paper: T. Gerkmann, R. Hendriks, "Unbiased MMSE-based noise power estimation with low complexity
    and low tracking delay", IEEE TASLP 20(4), 2012, 10.1109/TASL.2011.2180896; its smoothing of 0.8
    at 16 ms per frame is a time constant of 72 ms.

    Attributes:
        frame_rate: frames per second.
        start: the frames that initialise the estimate.
        smoothing: time constant of the noise power in seconds.
        presence_smoothing: time constant in seconds of the mean speech presence, which detects stagnation.
    """

    frame_rate: float
    start: Start
    smoothing: float = 0.072
    presence_smoothing: float = 0.076

    def initial(self, batch: int, freq: int) -> MMSEState:
        """Return the state before the first frame."""
        noise = np.zeros((batch, freq), dtype=np.float32)
        return MMSEState(noise, np.full_like(noise, 0.5), self.start.heard(batch))

    def update(self, frame: Row, state: MMSEState) -> MMSEState:
        """Compute presence with equal priors (equation 18) and noise (22 and 8); 23 resolves stagnation."""
        noise, presence, heard = state
        posterior = np.minimum(frame / np.maximum(noise, TINY), 60.0)
        likelihood = (1 + EXPECTED) * np.exp(-posterior * (EXPECTED / (1 + EXPECTED)))
        probability = 1 / (1 + likelihood)  # equation 18
        share = decay(self.presence_smoothing, self.frame_rate)
        presence = share * presence + (1 - share) * probability
        probability = np.where(presence > 0.99, np.minimum(probability, 0.99), probability)  # 23
        guess = probability * noise + (1 - probability) * frame  # 22
        share = decay(self.smoothing, self.frame_rate)
        tracked = share * noise + (1 - share) * guess  # 8
        starting = self.start.going_on(heard)
        if starting.any():
            tracked = np.where(starting, self.start.mean(frame, noise, heard), tracked)
        return MMSEState(tracked, presence, heard + starting)


class IMCRAState(NamedTuple):
    """State of `IMCRA`; the axis `pair` holds the first and the second iteration."""

    noise: Row
    smoothed: Float32[np.ndarray, "pair batch freq"]
    minimum: Float32[np.ndarray, "pair batch freq"]
    newest: Float32[np.ndarray, "pair batch freq"]
    blocks: Float32[np.ndarray, "block pair batch freq"]
    filled: Column
    heard: Column


@dataclass(frozen=True)
class IMCRA:
    """Improved minima-controlled recursive averaging.

    Paper: I. Cohen, "Noise spectrum estimation in adverse environments: improved minima controlled
    recursive averaging", IEEE TSAP 11(5), 2003, 10.1109/TSA.2003.811544. The defaults are its table
    of constants; those given for frames 8 ms apart are converted to seconds. Differences:
    the first frames are averaged, and minima are tracked after them; the window of the minima moves
    before a frame is judged, in the paper afterwards.

    Attributes:
        frame_rate: frames per second.
        start: the frames that initialise the estimate.
        smoothing: time constant in seconds of the spectrum whose minima are tracked (0.9 per frame).
        noise_smoothing: time constant in seconds of the noise when speech is absent (0.85 per frame).
        window: length in seconds of the window of minima (120 frames).
        blocks: number of blocks of that window; old minima are discarded block by block.
        reach: bins on either side over which the spectrum is smoothed.
        minimum_bias: factor that converts a minimum to a mean.
        frame_limit: ratio of frame to noise below which speech may be absent.
        certain_limit: ratio of frame to noise above which speech is certainly present.
        smooth_limit: the same for the smoothed spectrum.
        bias: factor that converts the mean of frames judged as noise to the noise power.
    """

    frame_rate: float
    start: Start
    smoothing: float = 0.076
    noise_smoothing: float = 0.049
    window: float = 0.96
    blocks: int = 8
    reach: int = 1
    minimum_bias: float = 1.66
    frame_limit: float = 4.6
    certain_limit: float = 3.0
    smooth_limit: float = 1.67
    bias: float = 1.47

    def initial(self, batch: int, freq: int) -> IMCRAState:
        """Return the state before the first frame."""
        zeros = np.zeros((self.blocks, 2, batch, freq), dtype=np.float32)
        filled = np.zeros((batch, 1), dtype=np.float32)
        return IMCRAState(
            zeros[0, 0], zeros[0], zeros[0], zeros[0], zeros, filled, self.start.heard(batch)
        )

    def noise(self, frame: Row, state: IMCRAState) -> Row:
        """Return the noise power estimated before a frame; among the first frames, their mean including this one."""
        starting = self.start.going_on(state.heard)
        if not starting.any():
            return state.noise
        return np.where(starting, self.start.mean(frame, state.noise, state.heard), state.noise)

    def update(self, frame: Row, prior: Row, posterior: Row, state: IMCRAState) -> IMCRAState:
        """Run two iterations of smoothing and minimum tracking; compute speech absence, presence, recursive average."""
        smooth = smoothing_matrix(frame.shape[-1], self.reach)
        share = decay(self.smoothing, self.frame_rate)
        first = share * state.smoothed[0] + (1 - share) * (frame @ smooth)  # equations 14, 15
        floor = self.minimum_bias * np.minimum(state.minimum[0], first)
        quiet = (frame < self.frame_limit * floor) & (first < self.smooth_limit * floor)  # 18, 21
        weight = quiet @ smooth
        # Without a quiet bin nearby, the last value stays.
        calm = np.where(
            weight > 0, (quiet * frame) @ smooth / np.maximum(weight, TINY), state.smoothed[1]
        )
        second = share * state.smoothed[1] + (1 - share) * calm  # 26, 27
        tracked = self._minima(np.stack([first, second]), state)

        absence = self._absence(frame, first, tracked.minimum[1])
        presence = presence_probability(prior, posterior, absence)
        least = decay(self.noise_smoothing, self.frame_rate)
        kept = least + (1 - least) * presence  # 11
        noise = kept * state.noise + (1 - kept) * self.bias * frame  # 10, 12
        return self._started(frame, state, tracked._replace(noise=noise))

    def _absence(self, frame: Row, smoothed: Row, minimum: Row) -> Row:
        """Return the prior probability that speech is absent: equations 28 and 29."""
        floor = np.maximum(self.minimum_bias * minimum, TINY)
        ramp = (self.certain_limit - frame / floor) / (self.certain_limit - 1)
        return np.where(smoothed < self.smooth_limit * floor, np.clip(ramp, 0, 1), 0)

    def _minima(
        self, smoothed: Float32[np.ndarray, "pair batch freq"], state: IMCRAState
    ) -> IMCRAState:
        """Return the minimum over the window, kept in blocks: the oldest block is discarded when the newest is full."""
        minimum = np.minimum(state.minimum, smoothed)
        newest = np.minimum(state.newest, smoothed)
        blocks, filled = state.blocks, state.filled + 1
        full = filled >= round(self.window * self.frame_rate / self.blocks)
        if full.any():
            moved = np.concatenate([blocks[1:], newest[None]])
            blocks = np.where(full, moved, blocks)
            minimum = np.where(full, moved.min(0), minimum)
            newest = np.where(full, smoothed, newest)  # the next block begins with this frame
            filled = np.where(full, np.float32(0), filled)
        return state._replace(
            smoothed=smoothed, minimum=minimum, newest=newest, blocks=blocks, filled=filled
        )

    def _started(self, frame: Row, before: IMCRAState, tracked: IMCRAState) -> IMCRAState:
        """Return the tracked state; among the first frames, their mean instead."""
        starting = self.start.going_on(before.heard)
        if not starting.any():
            return tracked
        mean = self.noise(frame, before)
        smooth = mean @ smoothing_matrix(frame.shape[-1], self.reach)
        # Until the mean is complete, it fills the whole window of minima.
        return IMCRAState(
            noise=np.where(starting, mean, tracked.noise),
            smoothed=np.where(starting, smooth, tracked.smoothed),
            minimum=np.where(starting, smooth, tracked.minimum),
            newest=np.where(starting, smooth, tracked.newest),
            blocks=np.where(starting, smooth, tracked.blocks),
            filled=np.where(starting, np.float32(0), tracked.filled),
            heard=before.heard + starting,
        )
