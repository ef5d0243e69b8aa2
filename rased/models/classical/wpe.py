"""Weighted prediction error: late reverberation is predicted from the past and subtracted.

Paper: T. Nakatani, T. Yoshioka, K. Kinoshita, M. Miyoshi, B.-H. Juang, "Speech dereverberation
based on variance-normalized delayed linear prediction", IEEE TASLP 18(7), 2010,
10.1109/TASL.2010.2052251. One channel, whole utterances; the iterations are those of the
`nara_wpe` package. Difference: the defaults were chosen on validation data.

No parameters.
"""

import numpy as np
import torch
from einops import rearrange

from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.stft import STFT


class WPE(SpectralEnhancer):
    """Dereverberates whole utterances; noise remains.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        taps: number of past frames used for the prediction.
        delay: frames between the newest of them and the current one; they count as early.
        iterations: iterations of power estimation and prediction.
        sample_rate: Hz.
    """

    paper = (
        "Nakatani, Yoshioka, Kinoshita, Miyoshi, Juang: Speech dereverberation based on "
        "variance-normalized delayed linear prediction, IEEE TASLP 18(7), 2010, "
        "10.1109/TASL.2010.2052251"
    )

    def __init__(
        self,
        *,
        n_fft: int = 1024,
        hop_length: int = 256,
        taps: int = 30,
        delay: int = 4,
        iterations: int = 3,
        sample_rate: int = 16_000,
    ) -> None:
        stft = STFT(n_fft=n_fft, hop_length=hop_length, win_length=n_fft, window="sqrt_hann")
        super().__init__(stft=stft, sample_rate=sample_rate, causal=False)
        self.taps = taps
        self.delay = delay
        self.iterations = iterations

    @torch.no_grad()
    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Predict and subtract; an utterance that is too short for a prediction is returned unchanged."""
        from nara_wpe.wpe import wpe_v8

        # A tensor without data asks for shapes alone.
        if spectrum.is_meta or spectrum.shape[-1] <= self.taps + self.delay:
            return Prediction.of_spectrum(spectrum), {}
        # The linear equations of a silent bin are singular.
        heard = spectrum.abs().square().sum(-1) > 0
        # The axes of nara_wpe (a channel between bins and frames), and double precision.
        observed = rearrange(
            spectrum.to(torch.complex128), "batch freq frames -> batch freq 1 frames"
        )
        result = observed.cpu().numpy().copy()
        rows = heard.cpu().numpy()
        result[rows] = wpe_v8(
            result[rows], taps=self.taps, delay=self.delay, iterations=self.iterations
        )
        dry = torch.from_numpy(np.ascontiguousarray(result[:, :, 0])).to(spectrum)
        return Prediction.of_spectrum(dry), {}
