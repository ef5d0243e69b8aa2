"""Base classes of methods without weights: a gain for each bin, frame by frame, from current and past powers."""

import numpy as np
import torch
from einops import rearrange

from rased.models.base import Prediction, SpectralEnhancer, State
from rased.models.classical.gains import TINY, Row, decision_directed
from rased.models.classical.noise import MMSEState, MMSETracker, Start
from rased.signal.domains import Spectrum
from rased.signal.stft import STFT

FrameState = dict[str, np.ndarray]
"""State of a method between frames, by name; any axes may come before the batch: (..., batch, freq or 1)."""


class FrameGain(SpectralEnhancer):
    """Applies a real gain to each bin, frame by frame; causal. Silent frames do not change the state.

    Subclasses define `initial_frame_state` and `frame_gain`.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        noise_start: seconds of initial sound whose mean power initialises the noise estimate; at least one frame.
        sample_rate: Hz.
    """

    def __init__(
        self, *, n_fft: int, hop_length: int, noise_start: float, sample_rate: int
    ) -> None:
        # In analysis and synthesis: together a Hann window.
        stft = STFT(n_fft=n_fft, hop_length=hop_length, win_length=n_fft, window="sqrt_hann")
        super().__init__(stft=stft, sample_rate=sample_rate)
        self.frame_rate = sample_rate / hop_length
        self.start = Start(
            frames=max(1, round(noise_start * self.frame_rate)),
            partial=-(-stft.latency // hop_length),
        )

    def initial_frame_state(self, batch: int) -> FrameState:
        """Return the state before the first frame."""
        raise NotImplementedError(f"{type(self).__name__} must define initial_frame_state(batch)")

    def frame_gain(self, frame: Row, state: FrameState) -> tuple[Row, FrameState]:
        """Return a gain in [0, 1] for a frame, given its power and the state; and the new state."""
        raise NotImplementedError(f"{type(self).__name__} must define frame_gain(frame, state)")

    def initial_process_state(self, batch: int) -> State:
        """Return the state before the first frame."""
        return _tensors(self.initial_frame_state(batch))

    @torch.no_grad()
    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Apply `frame_gain` frame by frame."""
        # Frames first: each is one contiguous array.
        power = rearrange(spectrum.abs().square(), "batch freq frames -> frames batch freq")
        known: FrameState = {name: part.cpu().numpy() for name, part in state.items()}
        gains = np.empty(power.shape, dtype=np.float32)
        for index, frame in enumerate(power.cpu().numpy()):
            gains[index], after = self.frame_gain(frame, known)
            # Digital silence would pull the noise estimate to zero; the noise after it would pass.
            sounds = frame.mean(-1, keepdims=True) > TINY
            if not sounds.all():
                after = {name: np.where(sounds, new, known[name]) for name, new in after.items()}
            known = after
        mask = rearrange(torch.from_numpy(gains), "frames batch freq -> batch freq frames")
        mask = mask.to(spectrum.device)
        return Prediction.of_spectrum(mask * spectrum, mask=mask), _tensors(known)


class DecisionDirected(FrameGain):
    """MMSE noise tracking and decision-directed prior SNR; subclasses define the `gain`.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        smoothing: weight of the previous frame's result in the prior SNR.
        prior_floor_db: smallest prior SNR.
        gain_floor_db: smallest gain.
        noise_smoothing: time constant of the noise power in seconds.
        noise_start: seconds of initial sound whose mean power initialises the noise estimate.
        sample_rate: Hz.
    """

    def __init__(
        self,
        *,
        n_fft: int = 512,
        hop_length: int = 128,
        smoothing: float,
        prior_floor_db: float,
        gain_floor_db: float = -14.0,
        noise_smoothing: float,
        noise_start: float,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(
            n_fft=n_fft, hop_length=hop_length, noise_start=noise_start, sample_rate=sample_rate
        )
        self.smoothing = smoothing
        # A ratio of powers; the floor below is one of amplitudes.
        self.prior_floor = 10 ** (prior_floor_db / 10)
        self.gain_floor = 10 ** (gain_floor_db / 20)
        self.tracker = MMSETracker(self.frame_rate, self.start, noise_smoothing)

    def gain(self, prior: Row, posterior: Row) -> Row:
        """Return the gain of the method; values above 1 are limited to 1."""
        raise NotImplementedError(f"{type(self).__name__} must define gain(prior, posterior)")

    def initial_frame_state(self, batch: int) -> FrameState:
        """Return the power of the last enhanced frame, and the tracker's state."""
        tracked = self.tracker.initial(batch, self.stft.freq)
        return {"clean": np.zeros_like(tracked.noise), **tracked._asdict()}

    def frame_gain(self, frame: Row, state: FrameState) -> tuple[Row, FrameState]:
        """Update the noise, compute the prior SNR, then the gain."""
        known = {**state}  # a copy: `pop` must not change the caller's state
        clean = known.pop("clean")
        tracked = self.tracker.update(frame, MMSEState(**known))
        prior, posterior = decision_directed(
            frame, tracked.noise, clean, smoothing=self.smoothing, floor=self.prior_floor
        )
        gain = np.minimum(self.gain(prior, posterior), 1)
        # Without the floor of the gain, which passes noise, not speech.
        after = {"clean": gain * gain * frame, **tracked._asdict()}
        return np.maximum(gain, self.gain_floor), after


def _tensors(state: FrameState) -> State:
    """Copy arrays to tensors that do not share memory."""
    return {name: torch.from_numpy(np.array(part, np.float32)) for name, part in state.items()}
