"""DeepFilterNet 3: gains for ERB bands, and filters over five frames for the lowest bins; 48 kHz, causal.

Paper: Schröter, Rosenkranz, Escalante-B. and Maier, "DeepFilterNet: perceptually motivated real-time speech
enhancement", Interspeech 2023, arXiv:2305.08227.
Differences: follows the authors' code (GitHub Rikorose/DeepFilterNet, df/deepfilternet3.py and libDF). Tests compare
features, transform and network, and, with the released weights, the output of their real-time program. As in that
program, the network sees the file from its first frame; their Python code skips the two frames of look-ahead there.
Omitted: the estimate of the local SNR, by which that program skips stages in clean and in noise-only frames and
which the authors train as a second task, and the post-filter.
Parameters: 2.13 M at the authors' sizes, without those of the SNR (the paper does not count them); MACs: 334 M/s at
100 frames per second; deepfilternet3-small, for 16 kHz, 0.29 M and 41 M/s.
"""

import math
from typing import Any, ClassVar

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.deep_filter import deep_filter
from rased.layers.erb import erb_widths
from rased.layers.recurrent import GroupedLinear, recur, silence
from rased.layers.unet import DownConv, UpConv
from rased.models.base import Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum
from rased.signal.features import exponential_average, power
from rased.signal.state import initial_past, joined, parted, with_past
from rased.signal.stft import STFT

Bins = Float[Tensor, "batch channel frames freq"]
Mapped = Float[Tensor, "batch outputs frames other_freq"]
Bands = Float[Tensor, "batch 1 frames band"]
LowBins = Float[Tensor, "batch 2 frames low_freq"]
Frames = Float[Tensor, "batch frames feature"]
Embedding = Float[Tensor, "batch frames other_feature"]
Gains = Float[Tensor, "batch frames band"]
Weights = Float[Tensor, "batch frames low_freq order 2"]


class ConvBlock(nn.Module):
    """Grouped convolution, pointwise convolution, batch normalisation, activation.

    Args:
        channels: input channels.
        outputs: output channels.
        kernel_size: frames and bins; the newest tap is the current frame.
        stride: bins between outputs.
        up: use a transposed convolution: `stride` outputs per bin.
        last: use a sigmoid as activation, instead of a ReLU.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: tuple[int, int] = (1, 3),
        *,
        stride: int = 1,
        up: bool = False,
        last: bool = False,
    ) -> None:
        super().__init__()
        groups, side = math.gcd(channels, outputs), kernel_size[1] // 2  # as in the authors' code
        self.conv: DownConv | UpConv
        if up:
            self.conv = UpConv(
                channels,
                outputs,
                kernel_size,
                stride=stride,
                crop=(1, 0),  # 2 n + 1 bins come out; 2 n remain
                groups=groups,
                bias=False,
            )
        else:
            around = (side, side)
            self.conv = DownConv(
                channels,
                outputs,
                kernel_size,
                stride=stride,
                padding=around,
                groups=groups,
                bias=False,
            )
        # Only a grouped kernel needs a second convolution that mixes its groups.
        mixes = groups > 1 and max(kernel_size) > 1
        self.mix = nn.Conv2d(outputs, outputs, 1, bias=False) if mixes else nn.Identity()
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.Sigmoid() if last else nn.ReLU()

    def forward(self, bins: Bins, state: State) -> tuple[Mapped, State]:
        """Run with the past frames in `state`."""
        bins, state = self.conv(bins, state)
        return self.activation(self.norm(self.mix(bins))), state

    def now(self, bins: Bins) -> Mapped:
        """Run without a state, for kernels of one frame."""
        return self(bins, {})[0]


class SqueezedGRU(nn.Module):
    """Grouped linear layer, GRUs, and (if `outputs` is given) a second linear layer."""

    def __init__(
        self, inputs: int, hidden: int, *, layers: int, groups: int, outputs: int | None = None
    ) -> None:
        super().__init__()
        self.before = GroupedLinear(inputs, hidden, groups)
        self.recurrent = nn.GRU(hidden, hidden, num_layers=layers, batch_first=True)
        self.after = None if outputs is None else GroupedLinear(hidden, outputs, groups)

    def forward(self, frames: Frames, state: State) -> tuple[Embedding, State]:
        """Run the layers, with ReLUs after the linear ones."""
        frames, state = recur(self.recurrent, self.before(frames).relu(), state)
        return (frames if self.after is None else self.after(frames).relu()), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return silence(self.recurrent, batch, like)


class Encoder(nn.Module):
    """Convolutions on the log power of the bands and on complex bins, joined to one embedding per frame."""

    def __init__(self, channels: int, bands: int, bins: int, hidden: int) -> None:
        super().__init__()
        wide = channels * bands // 4
        self.bands = nn.ModuleList(
            [
                ConvBlock(1, channels, (3, 3)),
                ConvBlock(channels, channels, stride=2),
                ConvBlock(channels, channels, stride=2),
                ConvBlock(channels, channels),
            ]
        )
        self.bins = ConvBlock(2, channels, (3, 3))
        self.bins_down = ConvBlock(channels, channels, stride=2)
        self.bins_linear = GroupedLinear(channels * bins // 2, wide, groups=32)
        self.recurrent = SqueezedGRU(wide, hidden, layers=1, groups=16, outputs=wide)

    def forward(
        self, bands: Bands, bins: LowBins, state: State
    ) -> tuple[list[Tensor], Float[Tensor, "batch channel frames low_freq"], Embedding, State]:
        """Return the outputs of the convolutions over bands, of the first over bins, the embedding and the state."""
        parts, after, skips = parted(state), {}, []
        for index, block in enumerate(self.bands):
            # The other kernels cover one frame.
            bands, remembered = block(bands, parts["bands"] if index == 0 else {})
            if index == 0:
                after["bands"] = remembered
            skips.append(bands)
        of_bins, after["bins"] = self.bins(bins, parts["bins"])
        low = rearrange(self.bins_down.now(of_bins), "n c t f -> n t (f c)")
        embedding = rearrange(bands, "n c t b -> n t (b c)") + self.bins_linear(low).relu()
        embedding, after["recurrent"] = self.recurrent(embedding, parts["recurrent"])
        return skips, of_bins, embedding, joined(after)


class GainDecoder(nn.Module):
    """Compute a gain between 0 and 1 for each band."""

    def __init__(self, channels: int, bands: int, hidden: int, layers: int) -> None:
        super().__init__()
        wide = channels * bands // 4
        self.recurrent = SqueezedGRU(wide, hidden, layers=layers, groups=16, outputs=wide)
        self.skips = nn.ModuleList(ConvBlock(channels, channels, (1, 1)) for _ in range(4))
        self.up = nn.ModuleList(
            [
                ConvBlock(channels, channels),
                ConvBlock(channels, channels, stride=2, up=True),
                ConvBlock(channels, channels, stride=2, up=True),
                ConvBlock(channels, 1, last=True),
            ]
        )

    def forward(self, embedding: Frames, skips: list[Tensor], state: State) -> tuple[Gains, State]:
        """Add a skip connection and upsample, from the innermost layer."""
        frames, state = self.recurrent(embedding, state)
        bands = rearrange(frames, "n t (b c) -> n c t b", b=skips[-1].shape[-1])
        levels: Any = zip(self.skips, self.up, reversed(skips), strict=True)
        for beside, block, skip in levels:
            bands = block.now(beside.now(skip) + bands)
        return bands[:, 0], state


class FilterDecoder(nn.Module):
    """Compute complex weights over `order` frames for each of the lowest bins."""

    def __init__(
        self, channels: int, inputs: int, bins: int, hidden: int, layers: int, order: int
    ) -> None:
        super().__init__()
        self.order = order
        self.recurrent = SqueezedGRU(inputs, hidden, layers=layers, groups=8)
        self.skip = GroupedLinear(inputs, hidden, groups=16)
        self.pathway = ConvBlock(channels, 2 * order, (5, 1))
        self.linear = GroupedLinear(hidden, bins * 2 * order, groups=16)

    def forward(
        self,
        embedding: Frames,
        bins: Float[Tensor, "batch channel frames low_freq"],
        state: State,
    ) -> tuple[Weights, State]:
        """Add the weights from the embedding and those directly from the bins."""
        parts, after = parted(state), {}
        frames, after["recurrent"] = self.recurrent(embedding, parts["recurrent"])
        weights = self.linear(frames + self.skip(embedding)).tanh()
        direct, after["pathway"] = self.pathway(bins, parts["pathway"])
        weights = rearrange(
            weights, "n t (f order part) -> n t f order part", order=self.order, part=2
        )
        direct = rearrange(
            direct, "n (order part) t f -> n t f order part", order=self.order, part=2
        )
        return weights + direct, joined(after)


class DeepFilterNet3(SpectralEnhancer):
    """Features with running norms, encoder, gains of the bands, filters of the lowest bins; causal.

    Args:
        channels: channels of the convolutions.
        hidden: hidden size of the GRUs.
        layers: GRU layers of the gains and of the filters.
        bands: number of bands on the ERB-rate scale; a multiple of 8.
        filtered_bins: bins that are filtered instead of masked; an even number.
        order: frames of a filter.
        lookahead: frames of look-ahead, which the filter covers too.
        seconds: time constant of the running norms.
        stft: the transform.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Schröter, Rosenkranz, Escalante-B., Maier: DeepFilterNet: perceptually motivated real-time speech "
        "enhancement. Interspeech 2023, arXiv:2305.08227"
    )
    quietest: ClassVar[float] = 1e-12
    """Level of a bin below which its norm is linear; digital silence reaches it within minutes."""
    place: Int[Tensor, " freq"]
    share: Float[Tensor, "freq band"]

    def __init__(
        self,
        *,
        channels: int = 64,
        hidden: int = 256,
        layers: int = 2,
        bands: int = 32,
        filtered_bins: int = 96,
        order: int = 5,
        lookahead: int = 2,
        seconds: float = 1.0,
        stft: STFT = STFT(960, 480, 960, "vorbis"),  # noqa: B008 (frozen)
        sample_rate: int = 48_000,
    ) -> None:
        super().__init__(stft=stft, sample_rate=sample_rate, lookahead=lookahead)
        _check(channels, hidden, bands, filtered_bins, order, lookahead, stft.freq)
        self.bins, self.past = filtered_bins, order - 1
        # The scale of the authors' transform, which their initial levels assume.
        self.scale = 2 * stft.hop_length / stft.win_length**2
        # Rounded to three digits as in libDF, with which the released weights were trained.
        self.decay = round(math.exp(-stft.hop_length / sample_rate / seconds), 3)
        wide = channels * bands // 4
        self.encoder = Encoder(channels, bands, filtered_bins, hidden)
        self.gains = GainDecoder(channels, bands, hidden, layers)
        self.filters = FilterDecoder(channels, wide, filtered_bins, hidden, layers, order)
        with torch.no_grad():  # a fresh filter keeps the current frame
            self.filters.linear.weight.mul_(0.1)
            self.filters.pathway.norm.weight.fill_(0.1)
            # Taps begin with the oldest frame, and end `lookahead` after the current one. Even numbers are real.
            self.filters.pathway.norm.bias[2 * (order - 1 - lookahead)] = 1.0
        widths = erb_widths(bands, stft.freq, sample_rate)
        self.bands = bands
        place = torch.tensor([band for band, width in enumerate(widths) for _ in range(width)])
        self.register_buffer("place", place, persistent=False)
        share = (place[:, None] == torch.arange(bands)) / torch.tensor(widths)
        self.register_buffer("share", share, persistent=False)

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Normalise, encode, decode twice, mask and filter, with a delay of `lookahead` frames."""
        parts, after = parted(state), {}
        bands, bins, after["norms"] = self.features(spectrum, parts["norms"])
        gains, weights, after["network"] = self.decide(bands, bins, parts["network"])
        extended, after["past"] = with_past(spectrum, parts["past"])
        # The frame that is enhanced is `lookahead` before the newest one.
        first = self.past - self.lookahead
        noisy = extended[..., first : first + spectrum.shape[-1]]
        of_bins = gains.float()[..., self.place[self.bins :]]
        masked = noisy[:, self.bins :] * rearrange(of_bins, "n t f -> n f t")
        filtered = deep_filter(extended[:, : self.bins], weights.float())
        return Prediction.of_spectrum(torch.cat([filtered, masked], dim=1)), joined(after)

    def features(self, spectrum: Spectrum, state: State) -> tuple[Bands, LowBins, State]:
        """Return band powers in dB minus their running mean, and the lowest bins divided by the root of theirs."""
        spectrum = spectrum * self.scale
        powers = torch.einsum("nft,fb->nbt", power(spectrum), self.share)  # n batch, band, t frames
        decibels = 10 * (powers + 1e-10).log10()
        means, mean = exponential_average(decibels, state["mean"], self.decay)
        low = spectrum[:, : self.bins]
        # As in libDF: divided by the root of a mean magnitude, not by a magnitude.
        levels, level = exponential_average(low.abs(), state["level"], self.decay)
        parts = (
            torch.stack([low.real, low.imag], dim=1)
            * levels[:, None].clamp_min(self.quietest).rsqrt()
        )
        bands = rearrange((decibels - means) / 40, "n b t -> n 1 t b")  # as in libDF
        bins = rearrange(parts, "n part f t -> n part t f")
        return bands, bins, {"mean": mean, "level": level}

    def decide(self, bands: Bands, bins: LowBins, state: State) -> tuple[Gains, Weights, State]:
        """Return the gains of the bands and the weights of the filters."""
        parts, after = parted(state), {}
        skips, of_bins, embedding, after["encoder"] = self.encoder(bands, bins, parts["encoder"])
        gains, after["gains"] = self.gains(embedding, skips, parts["gains"])
        weights, after["filters"] = self.filters(embedding, of_bins, parts["filters"])
        return gains, weights, joined(after)

    def initial_process_state(self, batch: int) -> State:
        """Return the authors' initial levels, and silence."""
        like = next(self.parameters())
        norms = {
            "mean": torch.linspace(-60.0, -90.0, self.bands).to(like).repeat(batch, 1),  # dB
            "level": torch.linspace(1e-3, 1e-4, self.bins).to(like).repeat(batch, 1),
        }
        encoder, filters = self.encoder, self.filters
        network = {
            "encoder.bands": _conv(encoder.bands[0]).initial_state(batch, self.bands, like),
            "encoder.bins": _conv(encoder.bins).initial_state(batch, self.bins, like),
            "encoder.recurrent": encoder.recurrent.initial_state(batch, like),
            "gains": self.gains.recurrent.initial_state(batch, like),
            "filters.recurrent": filters.recurrent.initial_state(batch, like),
            "filters.pathway": _conv(filters.pathway).initial_state(batch, self.bins, like),
        }
        past = initial_past(batch, self.stft.freq, self.past, like)
        return joined({"norms": norms, "network": joined(network), "past": past})


def _conv(block: nn.Module) -> DownConv:
    assert isinstance(block, ConvBlock)
    assert isinstance(block.conv, DownConv)
    return block.conv


def _check(
    channels: int, hidden: int, bands: int, bins: int, order: int, lookahead: int, freq: int
) -> None:
    wide = channels * bands // 4
    if bands % 8 or wide % 32 or hidden % 16 or bins % 2 or not 0 < bins < freq:
        raise RasedError(
            f"DeepFilterNet 3: channels {channels}, hidden {hidden}, bands {bands}, filtered_bins {bins} of {freq}: "
            "bands must be a multiple of 8, channels * bands / 4 of 32, hidden of 16, and filtered_bins an even number "
            "below the highest."
        )
    if not 0 <= lookahead < order:
        raise RasedError(
            f"DeepFilterNet 3: a filter of order {order} must cover the {lookahead} frames of look-ahead and the "
            "current one: choose a lookahead below order."
        )
