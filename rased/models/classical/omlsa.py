"""OM-LSA with IMCRA: the log-amplitude gain, weighted by the probability that speech is present.

Papers: I. Cohen, B. Berdugo, "Speech enhancement for non-stationary noise environments", Signal
Processing 81(11), 2001, 10.1016/S0165-1684(01)00128-1 (OM-LSA); I. Cohen, "Noise spectrum
estimation in adverse environments: improved minima controlled recursive averaging", IEEE TSAP
11(5), 2003, 10.1109/TSA.2003.811544 (IMCRA). Difference: the presence of speech is
computed from the prior SNR of the current frame, not of the previous one. Symbols are those of 2001. The
defaults were chosen on validation data.

No parameters; about 150 operations per bin and frame.
"""

import numpy as np
from jaxtyping import Float32

from rased.models.classical.frames import FrameGain, FrameState
from rased.models.classical.gains import (
    Row,
    decision_directed,
    log_mmse_gain,
    presence_probability,
)
from rased.models.classical.noise import IMCRA, Column, IMCRAState, decay, smoothing_matrix

RATIO = (-10.0, -5.0)
"""Smoothed prior SNR in dB at and below which speech is certainly absent, and above which it is certainly present."""

PEAK = (0.0, 10.0)
"""Limits in dB of the peak SNR of a frame."""

RATIO_SMOOTHING = 0.022
"""Time constant of the prior SNR in seconds: 0.7 per frame of 8 ms."""

LOCAL, GLOBAL = 31.25, 468.75
"""Half-widths in Hz over which the prior SNR is averaged: 1 and 15 bins of 512."""

MOST_ABSENT = 0.95
"""Largest prior probability that speech is absent."""


class OMLSA(FrameGain):
    """Optimally modified log-spectral amplitude, noise by IMCRA; causal.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        smoothing: weight of the previous frame's result in the prior SNR.
        prior_floor_db: smallest prior SNR.
        gain_floor_db: gain when speech is absent; the smallest gain.
        minima_window: seconds within which every bin is expected to contain noise only at least once.
        noise_smoothing: time constant in seconds of the noise power when speech is absent.
        noise_start: seconds of initial sound whose mean power initialises the noise estimate.
        certain_limit: ratio of frame to minimum noise above which speech is certain (see `noise.IMCRA`).
        sample_rate: Hz.
    """

    paper = (
        "Cohen, Berdugo: Speech enhancement for non-stationary noise environments, Signal Processing "
        "81(11), 2001, 10.1016/S0165-1684(01)00128-1; Cohen: Noise spectrum estimation in adverse "
        "environments: improved minima controlled recursive averaging, IEEE TSAP 11(5), 2003, "
        "10.1109/TSA.2003.811544"
    )

    def __init__(
        self,
        *,
        n_fft: int = 512,
        hop_length: int = 128,
        smoothing: float = 0.92,
        prior_floor_db: float = -15.0,
        gain_floor_db: float = -18.0,
        minima_window: float = 0.96,
        noise_smoothing: float = 0.049,
        noise_start: float = 0.008,
        certain_limit: float = 8.0,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(
            n_fft=n_fft, hop_length=hop_length, noise_start=noise_start, sample_rate=sample_rate
        )
        self.smoothing = smoothing
        self.prior_floor = 10 ** (prior_floor_db / 10)
        self.gain_floor = 10 ** (gain_floor_db / 20)
        self.tracker = IMCRA(
            self.frame_rate,
            self.start,
            window=minima_window,
            noise_smoothing=noise_smoothing,
            certain_limit=certain_limit,
        )
        self.local, self.around = (
            max(1, round(reach * n_fft / sample_rate)) for reach in (LOCAL, GLOBAL)
        )

    def initial_frame_state(self, batch: int) -> FrameState:
        """Return power of the last enhanced frame, smoothed prior SNR with mean and peak, and the tracker's state."""
        tracked = self.tracker.initial(batch, self.stft.freq)
        clean = np.zeros_like(tracked.noise)
        mean = np.zeros_like(tracked.heard)
        peak = mean + 10 ** (PEAK[0] / 10)
        speech = {"clean": clean, "ratio": clean, "mean": mean, "peak": peak}
        return {**speech, **tracked._asdict()}

    def frame_gain(self, frame: Row, state: FrameState) -> tuple[Row, FrameState]:
        """Compute the prior SNR, the gain with speech and its probability; then update the noise."""
        known = {**state}
        clean, ratio, mean, peak = (known.pop(name) for name in ("clean", "ratio", "mean", "peak"))
        tracked = IMCRAState(**known)
        prior, posterior = decision_directed(
            frame,
            self.tracker.noise(frame, tracked),
            clean,
            smoothing=self.smoothing,
            floor=self.prior_floor,
        )
        tracked = self.tracker.update(frame, prior, posterior, tracked)
        gain = np.minimum(log_mmse_gain(prior, posterior), 1)
        share = decay(RATIO_SMOOTHING, self.frame_rate)
        ratio = share * ratio + (1 - share) * prior  # zeta(k, l)
        absence, mean, peak = self._absence(ratio, mean, peak)
        presence = presence_probability(prior, posterior, absence)
        weighed = gain**presence * self.gain_floor ** (1 - presence)  # G(k, l)
        speech = {"clean": gain * gain * frame, "ratio": ratio, "mean": mean, "peak": peak}
        return np.maximum(weighed, self.gain_floor), {**speech, **tracked._asdict()}

    def _absence(self, ratio: Row, mean: Column, peak: Column) -> tuple[Row, Column, Column]:
        """Return the prior probability of speech absence q(k, l), and mean and peak of the frame's SNR.

        Speech is present if it is detected near the bin (P_local), in a wider range (P_global) and in the frame
        (P_frame): if the mean SNR rises, or falls but is still close to its last peak.
        """
        freq, low = ratio.shape[-1], 10 ** (RATIO[0] / 10)
        near = _likelihood(ratio @ smoothing_matrix(freq, self.local))  # P_local(k, l)
        around = _likelihood(ratio @ smoothing_matrix(freq, self.around))  # P_global(k, l)
        before, mean = mean, ratio.mean(-1, keepdims=True)
        rising = mean > before
        bounds = 10 ** (PEAK[0] / 10), 10 ** (PEAK[1] / 10)
        peak = np.where(rising & (mean > low), np.clip(mean, *bounds), peak)
        frame = np.where(rising, np.float32(1), _likelihood(mean / peak))  # P_frame(l)
        frame = np.where(mean > low, frame, np.float32(0))
        return np.minimum(1 - near * around * frame, MOST_ABSENT), mean, peak


def _likelihood(ratio: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Map a ratio to 0 at the lower and 1 at the upper end of RATIO, linearly in its logarithm."""
    decibels = 10 * np.log10(np.maximum(ratio, 1e-10))
    return np.clip((decibels - RATIO[0]) / (RATIO[1] - RATIO[0]), 0, 1)
