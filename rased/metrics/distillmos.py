"""DistillMOS: a small network, distilled from XLS-R, that predicts listeners' quality ratings of speech.

Stahl and Gamper, "Distillation and pruning for scalable self-supervised representation-based speech
quality assessment", ICASSP 2025 (arXiv 2502.05356). The network is implemented here and loads the
weights inside the `distillmos` package (MIT). The package itself imports torchaudio, so install
it without its dependencies.
"""

import itertools
import math
from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.metrics.base import Metric, package_file
from rased.signal.domains import Samples

RATE = 16_000
SEGMENT = 122_880
"""Input length of the network in samples (7.68 s)."""
WIN, HOP = 320, 160
WIDTH, HEADS, LAYERS, POSITIONS = 200, 8, 7, 384


class DistillMOS(Metric):
    """Overall quality of speech, predicted by DistillMOS.

    As in the package: a shorter clip is padded with silence. A longer one is cut into evenly
    spaced segments of 7.68 s, at most a second apart, whose values are averaged. Each segment is
    scaled to a peak of 1, so that the level has no effect.
    """

    name = "distillmos"
    title = "DistillMOS"
    unit = "MOS"
    range = (1.0, 5.0)
    sample_rate = RATE
    needs_reference = False
    blind_to = ("level",)
    packages = ("distillmos",)
    pip = "pip install --no-deps"
    minimum = 0.5

    @property
    def version(self) -> str:
        """Return the versions of package and weights."""
        return f"{super().version} distill_mos_v7"

    @torch.inference_mode()
    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the MOS."""
        share = torch.stack([_network()(part[None])[0] for part in segments(estimate)])
        return float(1 + 4 * share.mean())


def segments(waveform: Samples) -> Float[Tensor, "segments 122880"]:
    """Return the segments of a clip that the network gets: evenly spaced, each scaled to a peak of 1."""
    surplus = waveform.shape[-1] - SEGMENT
    if surplus < 0:
        waveform, surplus = nn.functional.pad(waveform, (0, -surplus)), 0
    count = math.ceil(surplus / RATE) + 1
    # The first segment begins with the clip, the last one ends with it.
    starts = [int(surplus * index / max(1, count - 1)) for index in range(count)]
    parts = torch.stack([waveform[start : start + SEGMENT] for start in starts])
    return parts / (parts.abs().amax(-1, keepdim=True) + 1e-8)


class Convolutions(nn.Module):
    """Maps a compressed complex spectrum to (batch, 384, channels times freq) features."""

    def __init__(self, channels: tuple[int, ...] = (2, 64, 64, 128, 256, 256, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (wide, out) in enumerate(itertools.pairwise(channels)):
            # (freq, frames): all layers but the first halve the frequencies, the last one the frames as well.
            stride = (1 if index == 0 else 2, 2 if index == len(channels) - 2 else 1)
            layers += [nn.Conv2d(wide, out, (3, 3), stride, padding=(0, 1)), nn.LeakyReLU(0.1)]
        self.cnn = nn.Sequential(*layers)

    def forward(
        self, waveform: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch frames feature"]:
        """Return features of time / (2 * HOP) frames."""
        padded = nn.functional.pad(waveform, ((WIN - HOP) // 2,) * 2, mode="reflect")
        window = torch.hann_window(WIN, device=waveform.device)
        spectrum = torch.stft(padded, WIN, HOP, window=window, center=False, return_complex=True)
        magnitude = spectrum.abs().clamp(min=1e-12)
        # A power law for the magnitude; the phase stays.
        compressed = torch.view_as_real(magnitude**0.3 * spectrum / magnitude)
        features = self.cnn(
            rearrange(compressed, "batch freq frames part -> batch part freq frames")
        )
        return rearrange(features, "batch channel freq frames -> batch frames (channel freq)")


class Transformer(nn.Module):
    """Normalises and projects the features, adds positions, and applies a transformer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        # A module only for the name of its buffer in the package's weights.
        self.position_encoding = nn.Module()
        self.position_encoding.register_buffer("pe", torch.zeros(1, POSITIONS, WIDTH))
        self.linear_proj = nn.Linear(features, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, LAYERS)

    def forward(
        self, features: Float[Tensor, "batch frames feature"]
    ) -> Float[Tensor, "batch frames width"]:
        """Return features of the same shape; the number of frames must be POSITIONS."""
        projected = self.linear_proj(_over_features(self.norm, features))
        return self.transformer_encoder(projected + self.position_encoding.pe)


class AttentionPool(nn.Module):
    """Reduces all frames to one number."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.linear2 = nn.Linear(2 * WIDTH, 1)
        self.linear3 = nn.Linear(WIDTH, 1)

    def forward(self, frames: Float[Tensor, "batch frames width"]) -> Float[Tensor, " batch"]:
        """Return the attention-weighted mean over frames, mapped by a linear layer."""
        weight = self.linear2(self.linear1(frames).relu()).softmax(dim=1)
        return self.linear3((weight * frames).sum(1))[:, 0]


class Assessor(nn.Module):
    """Maps features to a quality between 0 and 1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm_input = nn.BatchNorm1d(features)
        self.transformer = Transformer(features)
        self.norm_trans = nn.BatchNorm1d(WIDTH)
        self.pool = AttentionPool()

    def forward(self, features: Float[Tensor, "batch frames feature"]) -> Float[Tensor, " batch"]:
        """Return the quality of each item."""
        frames = self.transformer(_over_features(self.norm_input, features))
        return self.pool(_over_features(self.norm_trans, frames)).sigmoid()


class Network(nn.Module):
    """Maps segments of 7.68 s to a quality between 0 and 1; parameter names are those of the package's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = Convolutions()
        self.transformer_pool_attn = Assessor(256 * 4)

    def forward(self, waveform: Float[Tensor, "batch 122880"]) -> Float[Tensor, " batch"]:
        """Return the quality of each segment."""
        return self.transformer_pool_attn(self.cnn(waveform))


def _over_features(
    norm: nn.Module, frames: Float[Tensor, "batch frames feature"]
) -> Float[Tensor, "batch frames feature"]:
    normed = norm(rearrange(frames, "batch frames feature -> batch feature frames"))
    return rearrange(normed, "batch feature frames -> batch frames feature")


@lru_cache(maxsize=1)
def _network() -> Network:
    path = package_file("distillmos", "weights", "distill_mos_v7.pt")
    network = Network().eval()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return network
