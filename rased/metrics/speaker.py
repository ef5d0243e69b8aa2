"""Speaker similarity: cosine of speaker embeddings, computed with the weights of Resemblyzer.

Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018, as trained by
Corentin Jemine for Resemblyzer (Apache-2.0). The network is implemented here and loads the weights
inside the `resemblyzer` package. Install that without its dependencies (webrtcvad, C code without
wheels; a backport of `typing`), which do not install with a current Python.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.metrics.base import Metric, Undefined, package_file, remember
from rased.metrics.mel import mel_power
from rased.signal.domains import Samples

RATE = 16_000
HOP, N_FFT, BANDS = 160, 400, 40
PARTIAL = 160
"""Frames per embedding (1.6 s)."""
STEP = 77
"""Frames between embeddings, for 1.3 embeddings per second."""
COVERED = 0.75
# rms of -30 dBFS.
LOUD = 10 ** (-30 / 20)


class SpeakerSimilarity(Metric):
    """Cosine of the embeddings of estimate and target.

    Utterances are embedded as in Resemblyzer (quiet signals raised to -30 dBFS, embeddings of 1.6 s, 1.3
    per second, averaged), but without its removal of pauses, which would cut the two signals at
    different positions.
    """

    name = "speaker-similarity"
    title = "speaker sim."
    range = (0.0, 1.0)
    sample_rate = RATE
    task = "identity"
    packages = ("resemblyzer",)
    pip = "pip install --no-deps"
    minimum = 0.5

    @property
    def version(self) -> str:
        """Return the package version and our difference from the package."""
        return f"{super().version}, pauses kept"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return a value between 0 and 1: embeddings have no negative components."""
        assert target is not None
        ours, theirs = embed(estimate.numpy()), embed(target.numpy())
        if not ours or not theirs:
            raise Undefined("the network finds no speech")
        # Rounding may give more than 1.
        return min(1.0, float(np.dot(ours, theirs)))


class Encoder(nn.Module):
    """Maps mel spectrograms to embeddings of unit length; parameter names are those of the package's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mel: Float[Tensor, "batch frames band"]) -> Float[Tensor, "batch 256"]:
        """Return the embedding of each spectrogram."""
        _, (hidden, _) = self.lstm(mel)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


@remember
@torch.inference_mode()
def embed(waveform: Float[np.ndarray, " time"]) -> tuple[float, ...]:
    """Return 256 numbers of unit length; an empty tuple if the network gives zeros."""
    level = float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))
    loud = waveform * max(1.0, LOUD / level)
    # Places of the embeddings as in Resemblyzer; the last one is dropped if less than 75 % of it is audio.
    frames = -(-(len(loud) + 1) // HOP)
    starts = list(range(0, max(1, frames - PARTIAL + STEP + 1), STEP))
    if len(starts) > 1 and (len(loud) - starts[-1] * HOP) < COVERED * PARTIAL * HOP:
        starts.pop()
    padded = np.pad(loud, (0, max(0, (starts[-1] + PARTIAL) * HOP - len(loud))))
    mel = mel_power(padded, sample_rate=RATE, n_fft=N_FFT, hop_length=HOP, bands=BANDS)
    partials = np.stack([mel[start : start + PARTIAL] for start in starts]).astype(np.float32)
    mean = _encoder()(torch.from_numpy(partials)).mean(0).double()
    length = float(mean.norm())
    return tuple((mean / length).tolist()) if length else ()


@lru_cache(maxsize=1)
def _encoder() -> Encoder:
    checkpoint = torch.load(
        package_file("resemblyzer", "pretrained.pt"), map_location="cpu", weights_only=True
    )
    weights = checkpoint["model_state"]
    encoder = Encoder().eval()
    encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})
    return encoder
