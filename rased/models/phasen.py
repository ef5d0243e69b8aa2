"""PHASEN: a stream for the amplitude and one for the phase, which exchange information; not causal.

Paper: Yin, Luo, Xiong and Zeng, "PHASEN: a phase-and-harmonics-aware speech enhancement network", AAAI 2020,
arXiv:1911.04697. The authors published no code.
Differences: follows the implementation of GitHub huyanxin/phasen, with its GRU in place of the paper's LSTM; tests
compare the spectra after two repairs of that code: the kernel of its last phase layer has one dimension too many, which
PyTorch refuses today, and its GRU runs over the batch instead of the frames. Its transform is a convolution with whole
windows; ours starts from silence. The amplitude stream is limited to 1e6, so that no input overflows.
Parameters: 7.36 M in phasen (the paper does not count them), 0.34 M in phasen-small; MACs: 9.9 and 0.079 G/s.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.network import Network
from rased.layers.recurrent import recur
from rased.signal.state import State

Bins = Float[Tensor, "batch channel frames freq"]
Mapped = Float[Tensor, "batch outputs frames freq"]
_LOUDEST = 1e6
"""Limit of the amplitude stream, far above that of recordings of full scale 1. Each gain grows with the level that it
multiplies: six of them overflow for samples that were not divided by full scale."""


class ConvBlock(nn.Sequential):
    """Centred convolution over frames and bins, batch normalisation, ReLU."""

    def __init__(self, channels: int, outputs: int, kernel_size: tuple[int, int]) -> None:
        super().__init__(
            nn.Conv2d(channels, outputs, kernel_size, padding="same"),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class GlobalNorm(nn.Module):
    """Normalise over channels, frames and bins to zero mean and unit variance; a weight and a bias per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, bins: Bins) -> Bins:
        """Normalise in float32, with the unbiased variance."""
        bins = bins.float()
        variance, mean = torch.var_mean(bins, dim=(1, 2, 3), keepdim=True)
        return (bins - mean) * (variance + 1e-12).rsqrt() * self.weight + self.bias


class FrequencyTransform(nn.Module):
    """Gains of channels over time, and a matrix over all bins, which can follow harmonics.

    Args:
        channels: input and output channels.
        freq: number of bins.
        narrow: channels that the gains are computed from.
    """

    def __init__(self, channels: int, freq: int, narrow: int = 5) -> None:
        super().__init__()
        self.narrow = ConvBlock(channels, narrow, (1, 1))
        self.gain = nn.Sequential(
            nn.Conv1d(narrow * freq, channels, 9, padding=4), nn.BatchNorm1d(channels), nn.ReLU()
        )
        self.bins = nn.Linear(freq, freq, bias=False)
        self.merge = ConvBlock(2 * channels, channels, (1, 1))

    def forward(self, bins: Bins) -> Bins:
        """Concatenate the transformed input with the input, and reduce the channels."""
        gain = self.gain(rearrange(self.narrow(bins), "n c t f -> n (c f) t"))
        transformed = self.bins(rearrange(gain, "n c t -> n c t 1") * bins)
        merged: Bins = self.merge(torch.cat([transformed, bins], dim=1))
        return merged.clamp(max=_LOUDEST)


class Block(nn.Module):
    """Both streams, and a gain for each from the other."""

    def __init__(self, channels: int, phase_channels: int, freq: int) -> None:
        super().__init__()
        self.before = FrequencyTransform(channels, freq)
        self.convs = nn.Sequential(
            ConvBlock(channels, channels, (5, 5)),
            ConvBlock(channels, channels, (25, 1)),
            ConvBlock(channels, channels, (5, 5)),
        )
        self.behind = FrequencyTransform(channels, freq)
        self.phase = nn.Sequential(
            nn.Conv2d(phase_channels, phase_channels, 5, padding=2),
            GlobalNorm(phase_channels),
            nn.Conv2d(phase_channels, phase_channels, (25, 1), padding=(12, 0)),
            GlobalNorm(phase_channels),
        )
        self.to_amplitude = nn.Conv2d(phase_channels, channels, 1)
        self.to_phase = nn.Conv2d(channels, phase_channels, 1)

    def forward(self, amplitude: Bins, phase: Mapped) -> tuple[Bins, Mapped]:
        """Multiply each stream by the tanh of the other."""
        amplitude = self.behind(self.convs(self.before(amplitude)))
        phase = self.phase(phase)
        # Each is multiplied by the other as it was before this step.
        informed = amplitude * self.to_amplitude(phase).tanh()
        return informed, phase * self.to_phase(amplitude).tanh()


class PHASEN(Network):
    """Two streams, blocks, a gain by a GRU, a phase; not causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]).
        outputs: the same (target: complex).
        channels: channels of the amplitude stream.
        phase_channels: channels of the phase stream.
        blocks: number of blocks.
        narrow: channels per bin that the GRU sees.
        hidden: hidden size of the GRU in each direction.
        linear: width of the two layers after it.
    """

    causal = False
    paper = (
        "Yin, Luo, Xiong, Zeng: PHASEN: a phase-and-harmonics-aware speech enhancement network. AAAI 2020, "
        "arXiv:1911.04697"
    )

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 24,
        phase_channels: int = 12,
        blocks: int = 3,
        narrow: int = 8,
        hidden: int = 300,
        linear: int = 600,
    ) -> None:
        super().__init__()
        if inputs != outputs or outputs % 2:
            raise RasedError(
                f"PHASEN maps a complex spectrum to another, but got {inputs} inputs and {outputs} outputs: choose "
                "features: {kinds: [complex]}, no context, and target: complex."
            )
        freq = outputs // 2
        self.amplitude = nn.Sequential(
            ConvBlock(2, channels, (1, 7)), ConvBlock(channels, channels, (7, 1))
        )
        self.phase = nn.Sequential(
            nn.Conv2d(2, phase_channels, (5, 3), padding="same"),
            nn.Conv2d(phase_channels, phase_channels, (25, 3), padding="same"),
        )
        self.blocks = nn.ModuleList(Block(channels, phase_channels, freq) for _ in range(blocks))
        self.narrow = ConvBlock(channels, narrow, (1, 1))
        self.recurrent = nn.GRU(freq * narrow, hidden, batch_first=True, bidirectional=True)
        self.gain = nn.Sequential(
            *(nn.Linear(2 * hidden, linear), nn.ReLU()),
            *(nn.Linear(linear, linear), nn.ReLU()),
            *(nn.Linear(linear, freq), nn.Sigmoid()),
        )
        self.last = nn.Conv2d(phase_channels, 2, 1)

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the spectrum; there is no state."""
        noisy = rearrange(frames, "n t (part f) -> n part t f", part=2)
        first, first_phase = self.amplitude(noisy), self.phase(noisy)
        amplitude, phase = first, first_phase
        for index, block in enumerate(self.blocks):
            if index:
                # Skip connection from the first layers.
                amplitude, phase = amplitude + first, phase + first_phase
            amplitude, phase = block(amplitude, phase)
        seen = rearrange(self.narrow(amplitude), "n c t f -> n t (f c)")
        remembered, _ = recur(self.recurrent, seen, {})
        gain = self.gain(remembered)[:, None].float()
        point = self.last(phase).float()
        length = point.square().sum(1, keepdim=True).clamp_min(1e-16).sqrt() + 1e-8
        # The floor is far below any sound; a root has no finite gradient at 0.
        magnitude = noisy.float().square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        return rearrange(magnitude * gain * point / length, "n part t f -> n t (part f)"), state
