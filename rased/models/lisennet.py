"""LiSenNet: magnitude and phase features, fine bands below and coarse above, dual-path GRUs, a gain; causal.

Paper: Yan, Zhang, Fan, Zhou and Liu, "LiSenNet: lightweight sub-band and dual-path modeling for real-time speech
enhancement", ICASSP 2025, arXiv:2409.13285.
Differences: follows the authors' code (GitHub hyyan2k/LiSenNet), with whose spectra tests compare. Their two rounds of
Griffin-Lim after the gain need the whole utterance; here the enhancer does it
(`phase: {griffin_lim_iterations: 2}`), without their momentum. Their transform mirrors the ends of a file, ours begins
in silence. They train against a metric discriminator. The phase of a silent bin is 0 here; in their code it depends
on the sign of a zero.
Parameters: 36.8 K at the paper's sizes (published 37 K); MACs: 51 M/s in products and convolutions (published 56).
"""

import math

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.conv import FrameConv2d
from rased.layers.dual_path import FrameNormedPath
from rased.layers.network import Network
from rased.layers.norm import FrameNorm
from rased.layers.stack import Stack
from rased.layers.unet import DownConv
from rased.signal.features import power_law
from rased.signal.state import State, joined, parted

Bins = Float[Tensor, "batch channel frames freq"]
Resized = Float[Tensor, "batch outputs frames other_freq"]
_HALF_TURN = 3.1415925
"""The largest float32 below pi: differences of phases of 0 and half a turn keep their sign when they are wrapped."""


class Down(nn.Module):
    """Halves the bins: keeps the lowest quarter, and convolves the rest with stride three; then norm and PReLU."""

    def __init__(self, channels: int, outputs: int, freq: int) -> None:
        super().__init__()
        self.fine = freq // 4
        self.low = DownConv(channels, outputs, (2, 3), stride=1, padding=(1, 1))
        self.high = DownConv(channels, outputs, (2, 5), stride=3, padding=(1, 1))
        self.norm = FrameNorm(1, freq // 2)
        self.activation = nn.PReLU(outputs)

    def forward(self, bins: Bins, state: State) -> tuple[Resized, State]:
        """Process the low and the high bins, and concatenate them."""
        parts, after = parted(state), {}
        low, after["low"] = self.low(bins[..., : self.fine], parts["low"])
        high, after["high"] = self.high(bins[..., self.fine :], parts["high"])
        return self.activation(self.norm(torch.cat([low, high], dim=-1))), joined(after)

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        low = self.low.initial_state(batch, self.fine, like)
        high = self.high.initial_state(batch, freq - self.fine, like)
        return joined({"low": low, "high": high})


class Up(nn.Module):
    """Doubles the bands: keeps the lower half, and makes three bins of each of the others."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(channels, outputs, (1, 3), padding=(0, 1))
        self.high = nn.Conv2d(channels, 3 * outputs, (1, 3), padding=(0, 1))

    def forward(self, bins: Bins) -> Resized:
        """Process the low and the high bands, and concatenate them."""
        low, high = bins.chunk(2, dim=-1)
        spread = rearrange(self.high(high), "n (bin c) t f -> n c t (f bin)", bin=3)
        return torch.cat([self.low(low), spread], dim=-1)


class GatedConv(nn.Module):
    """Norm, and a depthwise convolution that gates a parallel path; added to the input."""

    def __init__(self, channels: int, freq: int, dropout: float) -> None:
        super().__init__()
        hidden = 2 * channels
        self.norm = FrameNorm(channels, freq)
        self.expand = nn.Conv2d(channels, 2 * hidden, 1)
        self.depthwise = FrameConv2d(hidden, hidden, (3, 3), groups=hidden)
        self.activation = nn.Mish()
        self.dropout = nn.Dropout(dropout)
        self.reduce = nn.Conv2d(hidden, channels, 1)

    def forward(self, bins: Bins, state: State) -> tuple[Bins, State]:
        """Process frames, continuing from `state`."""
        inner, gated = self.expand(self.norm(bins)).chunk(2, dim=1)
        inner, state = self.depthwise(inner, state)
        return bins + self.reduce(self.dropout(self.activation(inner) * gated)), state


class Block(nn.Module):
    """GRUs across the bands and along the frames, then a gated convolution."""

    def __init__(self, channels: int, bands: int, dropout: float) -> None:
        super().__init__()
        hidden, self.bands = channels // 2 * 3, bands  # 1.5 times the channels
        self.across = FrameNormedPath(
            channels, hidden // 2, bands, across=True, bidirectional=True, kind="gru", before=True
        )
        self.along = FrameNormedPath(
            channels, hidden, bands, across=False, bidirectional=False, kind="gru", before=True
        )
        self.gated = GatedConv(channels, bands, dropout)

    def forward(self, bins: Bins, state: State) -> tuple[Bins, State]:
        """Process frames, continuing from `state`."""
        parts, after = parted(state), {}
        bands, _ = self.across(rearrange(bins, "n c t b -> b n t c"), {})
        bands, after["along"] = self.along(bands, parts["along"])
        bins, after["gated"] = self.gated(rearrange(bands, "b n t c -> n c t b"), parts["gated"])
        return bins, joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        along = self.along.initial_state(batch, self.bands, like)
        gated = self.gated.depthwise.initial_state(batch, self.bands, like)
        return joined({"along": along, "gated": gated})


class LiSenNet(Network):
    """Encoder, blocks, decoder; causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]); 8 n + 1 bins.
        outputs: the same (target: complex): the noisy spectrum multiplied by a gain.
        channels: internal channels.
        blocks: number of blocks of GRUs and gated convolutions.
        compression: exponent of the magnitudes; the gain applies to the compressed magnitudes.
        hop_share: hop_length / n_fft, which determines the expected phase advance.
        dropout: dropout rate in the gated convolutions, in training.
    """

    paper = (
        "Yan, Zhang, Fan, Zhou, Liu: LiSenNet: lightweight sub-band and dual-path modeling for real-time "
        "speech enhancement. ICASSP 2025, arXiv:2409.13285"
    )
    published_in = "paper"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 16,
        blocks: int = 2,
        compression: float = 0.3,
        hop_share: float = 0.5,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        freq = outputs // 2
        sizes = [freq, freq // 2, freq // 4, freq // 8]
        if inputs != outputs or freq % 8 != 1 or not all(_fits(size) for size in sizes[:3]):
            raise RasedError(
                f"LiSenNet applies gains to a complex spectrum, but gets {inputs} inputs for {outputs} outputs: choose "
                "features: {kinds: [complex]}, no context, target: complex, and an n_fft such as 512."
            )
        if channels % 4:
            raise RasedError(
                f"LiSenNet needs a multiple of 4 channels, but channels is {channels}."
            )
        self.freq, self.sizes = freq, sizes
        self.compression, self.hop_share = compression, hop_share
        widths = [channels // 4, channels // 2, channels // 4 * 3, channels]
        self.first = nn.Sequential(
            nn.Conv2d(3, widths[0], 1), FrameNorm(1, freq), nn.PReLU(widths[0])
        )
        self.down = Stack(Down(widths[i], widths[i + 1], sizes[i]) for i in range(3))
        self.blocks = Stack(Block(channels, sizes[3], dropout) for _ in range(blocks))
        self.up = nn.ModuleList(Up(2 * widths[3 - i], widths[2 - i]) for i in range(3))
        # (1, 1) around a kernel of 2 adds the bin that `down` lost
        self.last = DownConv(widths[0], 2, (2, 2), stride=1, padding=(1, 1))
        self.gain = nn.Sequential(FrameNorm(1, freq), nn.PReLU(2), nn.Conv2d(2, 2, 1))
        self.slope = nn.Parameter(torch.ones(freq))
        if (freq, channels, blocks) == (257, 16, 2):
            self.published_parameters = 37_000

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        noisy = frames.float()
        parts, after = parted(state), {}
        spectrum = torch.complex(*noisy.chunk(2, dim=-1))
        features, phase = self._features(spectrum, state["phase"])
        skips, after["down"] = self.down.encode(self.first(features), parts["down"])
        bins, after["blocks"] = self.blocks(skips[-1], parts["blocks"])
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            bins = layer(torch.cat([bins, skip], dim=1))
        bins, after["last"] = self.last(bins, parts["last"])
        shares = (self.slope * self.gain(bins).float()).sigmoid() + 1e-8
        # The sum of two sigmoids: the gain of a compressed magnitude, which may exceed 1.
        gain = shares.sum(1) ** (1.0 / self.compression)
        return torch.cat([gain, gain], dim=-1) * noisy, {**joined(after), "phase": phase}

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        down = self.down.initial_states(batch, self.sizes[:-1], like)
        blocks = self.blocks.initial_state(batch, like)
        last = self.last.initial_state(batch, self.freq - 1, like)
        phase = like.new_zeros(batch, 1, self.freq)
        return {**joined({"down": down, "blocks": blocks, "last": last}), "phase": phase}

    def _features(
        self,
        spectrum: Complex[Tensor, "batch frames freq"],
        before: Float[Tensor, "batch 1 freq"],
    ) -> tuple[Float[Tensor, "batch 3 frames freq"], Float[Tensor, "batch 1 freq"]]:
        """Return compressed magnitude, phase difference to the bin below, and phase advance beyond the expected one."""
        # Adding 0.0 turns -0.0 into 0.0, so that silence has phase 0.
        phase = (spectrum + 0.0).angle()
        # Half a turn has the other sign, as in the authors' code, where compression computes a sine in float32.
        # By the sign of the imaginary part: for a negative real number, a graph in ONNX has the phase -pi.
        sign = torch.where(spectrum.imag < 0, -1.0, 1.0)
        phase = torch.where(phase.abs() > _HALF_TURN, -_HALF_TURN * sign, phase)
        below = phase.diff(dim=2, prepend=torch.zeros_like(phase[..., :1]))
        bins = torch.arange(self.freq, device=phase.device)
        # A sine at the centre of bin k turns by 2 pi k hop / n_fft from frame to frame.
        since = phase.diff(dim=1, prepend=before) - 2 * math.pi * self.hop_share * bins
        magnitude = power_law(spectrum, self.compression).abs()
        wrapped = [_wrapped(difference) / math.pi for difference in (below, since)]
        return torch.stack([magnitude, *wrapped], dim=1), phase[:, -1:]


def _wrapped(phase: Float[Tensor, "batch frames freq"]) -> Float[Tensor, "batch frames freq"]:
    """Wrap phases to -pi to pi."""
    return torch.atan2(phase.sin(), phase.cos())


def _fits(freq: int) -> bool:
    """Return whether a quarter of the bins, and the rest with stride three, are together half of the bins."""
    fine = freq // 4
    return fine > 0 and fine + (freq - fine - 3) // 3 + 1 == freq // 2
