"""DTLN: a mask on the magnitudes of a frame, then a mask on learned features of the masked frame; causal.

Paper: Westhausen and Meyer, "Dual-signal transformation LSTM network for real-time noise suppression",
Interspeech 2020, doi:10.21437/Interspeech.2020-2631.
Differences: follows the authors' code (GitHub breizhn/DTLN): frames have no window, and the network's output frames
are simply added. Because an enhancer here returns a spectrum, each output frame is transformed once more and
multiplied by the number of overlapping frames, by which the synthesis divides. With `normalise`, the first LSTMs get
normalised log-magnitudes, as in the authors' models DTLN_norm_*; without it magnitudes, as in the paper.
LSTMs have PyTorch's two biases, where Keras has one.
Parameters: 988,801 at the paper's sizes and 989,315 with `normalise` (986,753 and 987,267 with one bias; published:
less than a million).
MACs: 123 M/s.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.recurrent import recur, silence
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.features import magnitude
from rased.signal.state import joined, parted
from rased.signal.stft import STFT

_EPSILON = 1e-7
"""Floor in logarithms and square roots, as in the authors' code."""
_PAPER = (512, 128, 128, 2, 256)
"""n_fft, hop_length, hidden, layers, features."""


class MaskLSTM(nn.Module):
    """LSTMs over the frames, and a sigmoid that gives a mask of the input size."""

    def __init__(self, inputs: int, *, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0  # PyTorch warns of dropout without a second layer
        self.recurrent = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=between)
        self.linear = nn.Linear(hidden, inputs)

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames inputs"], State]:
        """Return the mask of each frame, continuing from `state`."""
        remembered, state = recur(self.recurrent, frames, state)
        return self.linear(remembered).sigmoid(), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros."""
        return silence(self.recurrent, batch, like)


class DTLN(SpectralEnhancer):
    """Two masks in sequence: on magnitudes with the noisy phase, and on learned features of the frame; causal.

    Args:
        hidden: hidden size of the LSTMs.
        layers: LSTM layers for each mask.
        features: learned features of a frame.
        normalise: give the first LSTMs normalised log-magnitudes.
        dropout: dropout rate between LSTMs, in training.
        stft: the transform: rectangular window, win_length equal to n_fft, and a hop_length that divides it.
        sample_rate: Hz.

    Raises:
        RasedError: an unsuitable transform, or invalid sizes.
    """

    paper = (
        "Westhausen, Meyer: Dual-signal transformation LSTM network for real-time noise suppression. "
        "Interspeech 2020, doi:10.21437/Interspeech.2020-2631"
    )
    published_in = "authors' code"

    def __init__(
        self,
        *,
        hidden: int = 128,
        layers: int = 2,
        features: int = 256,
        normalise: bool = True,
        dropout: float = 0.25,
        stft: STFT = STFT(512, 128, 512, "rectangular"),  # noqa: B008 (frozen)
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(stft=stft, sample_rate=sample_rate)
        if min(hidden, layers, features) < 1:
            raise RasedError(
                f"DTLN: hidden {hidden}, layers {layers} and features {features} must be at least 1."
            )
        windows = {stft.window, stft.synthesis_window or stft.window}
        length = stft.win_length
        if windows != {"rectangular"} or length != stft.n_fft or length % stft.hop_length:
            raise RasedError(
                "DTLN needs frames without a window: choose stft: {window: rectangular}, win_length = n_fft, and a "
                f"hop_length that divides it; given is {stft}."
            )
        paper_sizes = (stft.n_fft, stft.hop_length, hidden, layers, features) == _PAPER
        published = 987_267 if normalise else 986_753
        self.published_parameters = published if paper_sizes else None
        self.overlap = length // stft.hop_length
        sizes = {"hidden": hidden, "layers": layers}
        self.norm = nn.LayerNorm(stft.freq, eps=_EPSILON) if normalise else None
        self.first = MaskLSTM(stft.freq, **sizes, dropout=dropout)
        self.encoder = nn.Linear(length, features, bias=False)
        self.encoded_norm = nn.LayerNorm(features, eps=_EPSILON)
        self.second = MaskLSTM(features, **sizes, dropout=dropout)
        self.decoder = nn.Linear(features, length, bias=False)

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Mask the spectrum, then the learned features of the resulting frame."""
        states = parted(state)
        noisy = rearrange(spectrum, "batch freq frames -> batch frames freq")
        seen = magnitude(noisy)
        if self.norm is not None:
            seen = self.norm((seen + _EPSILON).log())
        mask, first = self.first(seen, states["first"])
        # Frames have no window: the inverse transform gives the masked frame itself.
        frames = torch.fft.irfft(noisy * mask.float(), n=self.stft.n_fft)
        features = self.encoder(frames)
        mask, second = self.second(self.encoded_norm(features), states["second"])
        decoded = self.decoder(features * mask).float()
        # The authors add frames as they are; the synthesis divides by the number that overlap.
        heard = torch.fft.rfft(self.overlap * decoded)
        estimate = rearrange(heard, "batch frames freq -> batch freq frames")
        return Prediction.of_spectrum(estimate), joined({"first": first, "second": second})

    def initial_process_state(self, batch: int) -> State:
        """Return zeros for both pairs of LSTMs."""
        like = next(self.parameters())
        parts = {"first": self.first, "second": self.second}
        return joined({name: part.initial_state(batch, like) for name, part in parts.items()})
