"""The generator of SEGAN: strided convolutions down the waveform, noise in the middle, and up again; not causal.

Paper: Pascual, Bonafonte and Serrà, "SEGAN: speech enhancement generative adversarial network", Interspeech 2017,
doi:10.21437/Interspeech.2017-1428, arXiv:1703.09452.
Differences: follows the authors' code (GitHub santi-pdp/segan_pytorch) with the settings of SEGAN+: five layers with
strides of 4 instead of eleven with 2, and a learned gain on each skip connection. They enhance pieces of 16384 samples
separately; here the whole recording is one piece, as in their later WSEGAN. The noise is drawn from the given
generator.
Parameters: 64.77 M, as in the authors' code. The generator of 2017 (channels 16, 32, 32, 64, 64, 128, 128, 256,
256, 512 and 1024, strides of 2) has 73.1 M; the 97.5 M that others quote include its discriminator.
MACs: 3.0 G/s.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction
from rased.signal.domains import Waveform

_PUBLISHED = ((64, 128, 256, 512, 1024), (4, 4, 4, 4, 4), 31)
"""Channels, strides and kernel_size of SEGAN+."""


class Down(nn.Module):
    """Strided convolution with reflection padding, and PReLU."""

    def __init__(self, channels: int, outputs: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        # One frame less before a strided layer gives exactly 1 / stride of the frames.
        self.around = (kernel_size // 2 - (stride > 1), kernel_size // 2)
        self.conv = nn.Conv1d(channels, outputs, kernel_size, stride)
        self.activation = nn.PReLU(outputs, init=0.0)

    def forward(
        self, frames: Float[Tensor, "batch channel frames"]
    ) -> tuple[Float[Tensor, "batch outputs fewer"], Float[Tensor, "batch outputs fewer"]]:
        """Return the frames before and after the activation."""
        linear = self.conv(functional.pad(frames, self.around, mode="reflect"))
        return linear, self.activation(linear)


class Up(nn.Module):
    """Transposed convolution, and PReLU (tanh in the last layer)."""

    def __init__(
        self, channels: int, outputs: int, kernel_size: int, stride: int, *, last: bool
    ) -> None:
        super().__init__()
        padding = (kernel_size - stride) // 2
        self.conv = nn.ConvTranspose1d(channels, outputs, kernel_size, stride, padding)
        self.activation = nn.Tanh() if last else nn.PReLU(outputs, init=0.0)
        self.stride = stride

    def forward(
        self, frames: Float[Tensor, "batch channel frames"]
    ) -> Float[Tensor, "batch outputs more"]:
        """Return frames at a rate multiplied by the stride."""
        # An odd kernel with an even stride gives one frame too many.
        return self.activation(self.conv(frames)[..., : frames.shape[-1] * self.stride])


class SEGAN(Enhancer):
    """Layers down the waveform, noise, layers up with skip connections; between pre-emphasis and its inverse.

    Args:
        channels: channels of each layer down.
        strides: stride of each layer down.
        kernel_size: taps of all convolutions, odd and at least the largest stride.
        noise: channels of noise added to the innermost layer; 0: no noise.
        emphasis: coefficient of the pre-emphasis; 0: none.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Pascual, Bonafonte, Serrà: SEGAN: speech enhancement generative adversarial network. Interspeech 2017, "
        "doi:10.21437/Interspeech.2017-1428"
    )
    published_in = "authors' code"

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        strides: Sequence[int] = (4, 4, 4, 4, 4),
        kernel_size: int = 31,
        noise: int = 1024,
        emphasis: float = 0.95,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(strides) or min(*channels, *strides) < 1:
            raise RasedError(
                f"SEGAN: channels {list(channels)} and strides {list(strides)} must have the same length and be >= 1."
            )
        if kernel_size % 2 == 0 or kernel_size < max(strides) or noise < 0:
            raise RasedError(
                f"SEGAN: kernel_size is {kernel_size} and noise {noise}; kernel_size must be odd and at least the "
                f"largest stride, {max(strides)}, and noise 0 or more."
            )
        if not 0 <= emphasis < 1:
            raise RasedError(f"SEGAN: emphasis is {emphasis}; it must be at least 0 and below 1.")
        if (tuple(channels), tuple(strides), kernel_size, noise) == (*_PUBLISHED, 1024):
            self.published_parameters = 64_770_561
        self.sample_rate, self.noise, self.emphasis = sample_rate, noise, emphasis
        self.samples = noise > 0
        self.hop = math.prod(strides)
        self.shortest = (kernel_size // 2 + 1) * math.prod(strides[:-1])
        """Minimum samples for reflection padding in every layer."""
        sizes = [1, *channels]
        self.down = nn.ModuleList(
            Down(size, wider, kernel_size, stride)
            for size, wider, stride in zip(sizes[:-1], channels, strides, strict=True)
        )
        self.skips = nn.ParameterList(torch.ones(size) for size in channels[:-1])
        # With noise, then with skip connections.
        widths = [channels[-1] + noise, *[2 * size for size in channels[-2::-1]]]
        self.up = nn.ModuleList(
            Up(wider, size, kernel_size, stride, last=index == len(channels) - 1)
            for index, (wider, size, stride) in enumerate(
                zip(widths, sizes[-2::-1], strides[::-1], strict=True)
            )
        )
        for layer in self.down:
            assert isinstance(layer, Down)
            assert layer.conv.bias is not None
            nn.init.normal_(layer.conv.weight, std=0.02)
            nn.init.zeros_(layer.conv.bias)

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Process the whole recording at once, padded with silence at the end."""
        time = noisy.shape[-1]
        length = max(-(-self.shortest // self.hop), -(-time // self.hop)) * self.hop
        before = functional.pad(noisy[:, :-1], (1, 0))
        emphasised = functional.pad(noisy - self.emphasis * before, (0, length - time))
        drawn = self._drawn(noisy, length // self.hop, generator or ())
        generated = self.generate(emphasised, drawn)[:, :time]
        return Prediction(estimate=_deemphasised(generated, self.emphasis))

    def generate(
        self,
        emphasised: Float[Tensor, "batch time"],
        drawn: Float[Tensor, "batch noise frames"],
    ) -> Float[Tensor, "batch time"]:
        """Apply the layers to samples whose number is a multiple of the product of all strides."""
        frames, skips = emphasised[:, None], []
        for layer in self.down:
            linear, frames = layer(frames)
            skips.append(linear)  # before the activation, as in the authors' code
        frames = torch.cat([drawn, frames], dim=1)
        for layer, skip, gain in zip(
            self.up, [None, *skips[-2::-1]], [None, *reversed(self.skips)], strict=True
        ):
            if skip is not None and gain is not None:
                frames = torch.cat([frames, gain[:, None] * skip], dim=1)
            frames = layer(frames)
        return frames[:, 0]

    def _drawn(
        self, like: Tensor, frames: int, generator: Sequence[torch.Generator]
    ) -> Float[Tensor, "batch noise frames"]:
        """Draw standard normal noise for each row from its generator."""
        if not self.noise:
            return like.new_zeros(like.shape[0], 0, frames)
        # Drawn on the CPU, row by row: neither the batch nor the device changes a row.
        rows = [torch.randn(self.noise, frames, generator=one) for one in generator]
        return torch.stack(rows).to(like)


def _deemphasised(
    waveform: Float[Tensor, "batch time"], emphasis: float
) -> Float[Tensor, "batch time"]:
    """Invert the pre-emphasis: 1 / (1 - a z) as the product of 1 + a z, 1 + a^2 z^2, 1 + a^4 z^4, ..."""
    late, share = 1, emphasis
    while late < waveform.shape[-1] and share > 1e-9:  # later factors are below rounding
        waveform = waveform + share * functional.pad(waveform[:, :-late], (late, 0))
        late, share = 2 * late, share**2
    return waveform
