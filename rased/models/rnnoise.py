"""RNNoise: the cepstrum of wide bands through convolutions and three GRUs to a gain for each band; 48 kHz, causal.

Paper: Valin, "A hybrid DSP/deep learning approach to real-time full-band speech enhancement", MMSP 2018,
arXiv:1709.08243; the network is that of the authors' version 0.2 (2024).
Differences: bands, cepstrum and network follow the authors' code (GitHub xiph/rnnoise); tests compare the outputs of
each. Omitted is what their program computes from the pitch: its features (33 of 65) and the comb filter, both for
harmonics; also the high-pass filter before it, the limit on how fast a gain falls, and the second output, voice
activity. Bins above the last band, which ends at 20 kHz, get its gain; theirs are silent.
Parameters: 2.87 M at the authors' sizes with our features (the paper's first network had 87.5 K), 194 K in
rnnoise-small; MACs: 290 and 20 M/s.
"""

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.conv import FrameConv1d
from rased.layers.recurrent import recur, silence
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.features import dct_basis, power, running_maximum
from rased.signal.masks import apply_mask
from rased.signal.state import initial_past, joined, numbered, parted, with_past
from rased.signal.stft import STFT

Frames = Float[Tensor, "batch frames feature"]
Mapped = Float[Tensor, "batch frames other_feature"]

_CENTRES = (
    *(0, 100, 200, 300, 400, 500, 600, 750, 900, 1050, 1200, 1400, 1600, 1800, 2050, 2350, 2650),
    *(3000, 3400, 3850, 4350, 4900, 5500, 6200, 7000, 7850, 8800, 9900, 11150, 12550, 14100),
    *(15850, 17800, 20000),
)
"""Corner frequencies of the bands in Hz: each band rises from one to the next and falls to the one after it."""


class GainNetwork(nn.Module):
    """Two convolutions over three frames each, three GRUs, and a sigmoid layer on all of their outputs.

    Args:
        inputs: features per frame.
        outputs: gains per frame.
        channels: channels of the first convolution.
        hidden: channels of the second convolution, and hidden size of each GRU.
    """

    def __init__(self, inputs: int, outputs: int, *, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = FrameConv1d(inputs, channels, 3)
        self.second = FrameConv1d(channels, hidden, 3)
        self.recurrent = nn.ModuleList(nn.GRU(hidden, hidden, batch_first=True) for _ in range(3))
        self.linear = nn.Linear(4 * hidden, outputs)
        for layer in self.recurrent:
            nn.init.orthogonal_(layer.weight_hh_l0)  # type: ignore[arg-type]

    def forward(self, features: Frames, state: State) -> tuple[Mapped, State]:
        """Return gains between 0 and 1."""
        parts, after = parted(state), {}
        frames, after["convolutions"] = self.convolve(features, parts["convolutions"])
        gains, after["recurrent"] = self.recur(frames, parts["recurrent"])
        return gains, joined(after)

    def convolve(self, features: Frames, state: State) -> tuple[Mapped, State]:
        """Apply the convolutions."""
        parts, after = parted(state), {}
        frames = rearrange(features, "n t c -> n c t")
        frames, after["first"] = self.first(frames, parts["first"])
        frames, after["second"] = self.second(frames.tanh(), parts["second"])
        return rearrange(frames.tanh(), "n c t -> n t c"), joined(after)

    def recur(self, frames: Frames, state: State) -> tuple[Mapped, State]:
        """Apply the GRUs, and return the gains."""
        parts, after, outputs = parted(state), {}, [frames]
        for index, layer in enumerate(self.recurrent):
            output, after[str(index)] = recur(layer, outputs[-1], parts[str(index)])
            outputs.append(output)
        return self.linear(torch.cat(outputs, dim=-1)).sigmoid(), joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros."""
        parts = {
            "convolutions": self.silence_before(batch, like),
            "recurrent": numbered(silence(layer, batch, like) for layer in self.recurrent),
        }
        return joined(parts)

    def silence_before(self, batch: int, like: Tensor) -> State:
        """Return the state of the convolutions before the first frame."""
        parts = {"first": self.first, "second": self.second}
        return joined({name: conv.initial_state(batch, like) for name, conv in parts.items()})


class RNNoise(SpectralEnhancer):
    """Cepstrum of the bands, network, gains of the bins; causal, with one frame of look-ahead.

    Args:
        channels: channels of the first convolution.
        hidden: channels of the second convolution, and hidden size of each GRU.
        stft: the transform.
        sample_rate: Hz.

    Raises:
        RasedError: the bins are too wide for the bands.
    """

    paper = (
        "Valin: A hybrid DSP/deep learning approach to real-time full-band speech enhancement. MMSP 2018, "
        "arXiv:1709.08243"
    )
    weights: Float[Tensor, "freq band"]
    spread: Float[Tensor, "band freq"]
    basis: Float[Tensor, "band coefficient"]

    def __init__(
        self,
        *,
        channels: int = 128,
        hidden: int = 384,
        stft: STFT = STFT(960, 480, 960, "vorbis"),  # noqa: B008 (frozen)
        sample_rate: int = 48_000,
    ) -> None:
        super().__init__(stft=stft, sample_rate=sample_rate, lookahead=1)
        corners = _corners(stft.freq, sample_rate)
        bands = len(corners) - 2
        weights, spread = _triangles(corners, stft.freq)
        # The authors scale the DCT by sqrt(2 / 22) for any number of bands.
        basis = dct_basis(bands, bands).T * np.float32(math.sqrt(bands / 22))
        for name, value in {"weights": weights, "spread": spread, "basis": basis}.items():
            self.register_buffer(name, torch.from_numpy(value.copy()), persistent=False)
        # They count samples in 16-bit units, and divide the transform by its length.
        self.scale = 32_768 / stft.n_fft
        self.network = GainNetwork(bands, bands, channels=channels, hidden=hidden)

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Compute gains from the newest frame, and apply them to the previous one."""
        parts, after = parted(state), {}
        gains, after["network"] = self.network(self.cepstrum(spectrum), parts["network"])
        # The past frame is the one to enhance: `extended` begins with it.
        extended, after["past"] = with_past(spectrum, parts["past"])
        mask = rearrange(gains.float() @ self.spread, "n t f -> n f t")
        masked = apply_mask(mask, extended[..., : spectrum.shape[-1]])
        return Prediction.of_spectrum(masked, mask=mask), joined(after)

    def cepstrum(self, spectrum: Spectrum) -> Frames:
        """Return the DCT of the log energies; each is limited from below by its lower neighbours and the loudest."""
        energies = rearrange(power(self.scale * spectrum), "n f t -> n t f") @ self.weights
        logs = (energies + 1e-2).log10()
        # With the slope added, "at most 1.5 below the lower neighbour" is a running maximum.
        slope = 1.5 * torch.arange(logs.shape[-1], device=logs.device)
        followed = running_maximum(logs + slope) - slope
        cepstrum = torch.maximum(followed, running_maximum(logs) - 7) @ self.basis
        # The first two coefficients are brought near zero by constants of the authors.
        offset = torch.zeros_like(slope)
        offset[0], offset[1] = 12, 4
        return cepstrum - offset

    def initial_process_state(self, batch: int) -> State:
        """Return the initial state: zeros, and silence."""
        like = next(self.parameters())
        past = initial_past(batch, self.stft.freq, 1, like)
        return joined({"network": self.network.initial_state(batch, like), "past": past})


def _corners(freq: int, sample_rate: int) -> list[int]:
    """Return the corners in bins, up to the highest bin.

    Raises:
        RasedError: two corners fall on one bin.
    """
    width = sample_rate / 2 / (freq - 1)
    corners = [round(corner / width) for corner in _CENTRES if corner < sample_rate / 2]
    if len(set(corners)) < len(corners):
        raise RasedError(
            f"RNNoise has bands 100 Hz wide, but bins are {width:g} Hz wide: choose a larger n_fft, "
            "such as 960 at 48 kHz."
        )
    return corners


def _triangles(corners: list[int], freq: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each bin in the energy of each band, and of each band in the gain of each bin."""
    bins, rows = np.arange(freq), np.eye(len(corners))
    shares = np.stack([np.interp(bins, corners, row) for row in rows])
    # np.interp would keep the last value above the last corner.
    shares[:, corners[-1] :] = 0
    inner = shares[1:-1].copy()
    # The half triangles at both ends join their neighbours, at two thirds, as in the authors' code.
    inner[0] = (shares[0] + shares[1]) * 2 / 3
    inner[-1] = (shares[-2] + shares[-1]) * 2 / 3
    spread = np.stack([np.interp(bins, corners[1:-1], row) for row in np.eye(len(corners) - 2)])
    return inner.T.astype(np.float32), spread.astype(np.float32)
