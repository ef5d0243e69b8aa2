"""Spectral subtraction with over-subtraction and a spectral floor.

Papers: S. Boll, "Suppression of acoustic noise in speech using spectral subtraction", IEEE TASSP
27(2), 1979, 10.1109/TASSP.1979.1163209; M. Berouti, R. Schwartz, J. Makhoul, "Enhancement of speech
corrupted by acoustic noise", ICASSP 1979, 10.1109/ICASSP.1979.1170788. Differences: the
noise is tracked (`noise.MMSETracker`) instead of measured in pauses, and Boll's mean over three
frames is replaced by a recursive one, so that there is no look-ahead. The defaults were chosen on
validation data.

No parameters; about 30 operations per bin and frame.
"""

import numpy as np

from rased.models.classical.frames import FrameGain, FrameState
from rased.models.classical.gains import TINY, Row, subtraction_gain
from rased.models.classical.noise import MMSEState, MMSETracker, decay

SLOPE = 3 / 20
"""Decrease of the over-subtraction per dB of SNR: Berouti et al., figure 3."""


class SpectralSubtraction(FrameGain):
    """Subtracts the noise from the spectrum, more of it in noisy frames; causal.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        over: over-subtraction factor at 0 dB.
        floor: share of the noise that remains, in the domain of `exponent`.
        exponent: 1: magnitudes (Boll); 2: powers (Berouti).
        averaging: time constant in seconds of the noisy power used for the gain.
        noise_smoothing: time constant of the noise power in seconds.
        noise_start: seconds of initial sound whose mean power initialises the noise estimate.
        sample_rate: Hz.
    """

    paper = (
        "Boll: Suppression of acoustic noise in speech using spectral subtraction, IEEE TASSP 27(2), "
        "1979, 10.1109/TASSP.1979.1163209; Berouti, Schwartz, Makhoul: Enhancement of speech "
        "corrupted by acoustic noise, ICASSP 1979, 10.1109/ICASSP.1979.1170788"
    )

    def __init__(
        self,
        *,
        n_fft: int = 512,
        hop_length: int = 128,
        over: float = 3.0,
        floor: float = 0.03,
        exponent: float = 2.0,
        averaging: float = 0.016,
        noise_smoothing: float = 0.12,
        noise_start: float = 0.008,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(
            n_fft=n_fft, hop_length=hop_length, noise_start=noise_start, sample_rate=sample_rate
        )
        self.over = over
        self.floor = floor
        self.exponent = exponent
        self.share = decay(averaging, self.frame_rate)
        self.tracker = MMSETracker(self.frame_rate, self.start, noise_smoothing)

    def initial_frame_state(self, batch: int) -> FrameState:
        """Return the averaged power, and the tracker's state."""
        tracked = self.tracker.initial(batch, self.stft.freq)
        return {"power": np.zeros_like(tracked.noise), **tracked._asdict()}

    def frame_gain(self, frame: Row, state: FrameState) -> tuple[Row, FrameState]:
        """Update the noise, compute the over-subtraction from the SNR of the frame, subtract."""
        known = {**state}
        power = known.pop("power")
        tracked = self.tracker.update(frame, MMSEState(**known))
        power = self.share * power + (1 - self.share) * frame
        total = tracked.noise.sum(-1, keepdims=True)  # of the whole frame
        snr = 10 * np.log10(
            np.maximum(frame.sum(-1, keepdims=True), TINY) / np.maximum(total, TINY)
        )
        # The range of figure 3; at least plain subtraction.
        over = np.maximum(self.over - SLOPE * np.clip(snr, -5, 20), 1)
        ratio = tracked.noise / np.maximum(power, TINY)
        gain = subtraction_gain(ratio, over, floor=self.floor, exponent=self.exponent)
        return gain, {"power": power, **tracked._asdict()}
