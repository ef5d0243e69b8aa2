"""Wave-U-Net: convolutions on the waveform, each at half the rate, and back by interpolation with skips; not causal.

Paper: Macartney and Weyde, "Improved speech enhancement with the Wave-U-Net", 2018, arXiv:1811.11307, after Stoller,
Ewert and Dixon, ISMIR 2018, arXiv:1806.03185.
Differences: pads with zeros, like the authors' code (GitHub craigmacartney/Wave-U-Net-For-Speech-Enhancement), and has
its twelve layers; they report nine as best. They estimate speech and noise; `sources: 1` omits the noise. A recording
is padded with silence to the next length that can be halved often enough.
Parameters: 10.26 M with twelve layers, 4.63 M with nine (not published).
MACs: 2.4 G/s and 2.3 G/s.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction
from rased.signal.domains import Waveform

_SLOPE = 0.2


class WaveUNet(Enhancer):
    """Halve the rate layer by layer, double it by linear interpolation, tanh; the last source is the estimate.

    Args:
        layers: number of layers down, and of layers up.
        filters: filters of the first layer; each layer has this many more than the previous one.
        kernel_size: taps of the layers down, odd.
        up_kernel_size: taps of the layers up, odd.
        sources: number of estimated sources; the estimate is the last one, because the authors put noise first.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Macartney, Weyde: Improved speech enhancement with the Wave-U-Net. 2018, arXiv:1811.11307"
    )

    def __init__(
        self,
        *,
        layers: int = 12,
        filters: int = 24,
        kernel_size: int = 15,
        up_kernel_size: int = 5,
        sources: int = 1,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(layers, filters, sources) < 1:
            raise RasedError(
                f"WaveUNet: layers {layers}, filters {filters} and sources {sources} must be at least 1."
            )
        if kernel_size % 2 == 0 or up_kernel_size % 2 == 0:
            raise RasedError(
                f"WaveUNet: kernel_size is {kernel_size} and up_kernel_size {up_kernel_size}; both must be odd."
            )
        self.sample_rate = sample_rate
        # One layer more: in the middle, at the lowest rate.
        sizes = [1, *[filters * (index + 1) for index in range(layers + 1)]]
        self.down = nn.ModuleList(
            nn.Conv1d(size, wider, kernel_size, padding="same") for size, wider in pairwise(sizes)
        )
        self.up = nn.ModuleList(
            nn.Conv1d(wider + size, size, up_kernel_size, padding="same")
            for size, wider in list(pairwise(sizes[1:]))[::-1]
        )
        self.output = nn.Conv1d(1 + filters, sources, 1)  # with the waveform itself as a channel

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Return the last source."""
        return Prediction(estimate=self.separate(noisy)[:, -1])

    def separate(self, noisy: Float[Tensor, "batch time"]) -> Float[Tensor, "batch source time"]:
        """Return all sources."""
        time, whole = noisy.shape[-1], 2 ** len(self.up)
        waveform = functional.pad(noisy, (0, -time % whole))[:, None]
        features, skips = waveform, []
        for layer in self.down[:-1]:
            skips.append(functional.leaky_relu(layer(features), _SLOPE))
            # Every second value, without a low-pass filter, as in the paper.
            features = skips[-1][..., ::2]
        features = functional.leaky_relu(self.down[-1](features), _SLOPE)
        for layer in self.up:
            both = torch.cat([skips.pop(), _doubled(features)], dim=1)
            features = functional.leaky_relu(layer(both), _SLOPE)
        return self.output(torch.cat([waveform, features], dim=1)).tanh()[..., :time]


def _doubled(
    features: Float[Tensor, "batch channel time"],
) -> Float[Tensor, "batch channel double_time"]:
    """Interpolate: add the mean between each two values; the last value is repeated."""
    following = torch.cat([features[..., 1:], features[..., -1:]], dim=-1)
    return torch.stack([features, (features + following) / 2], dim=-1).flatten(-2)
