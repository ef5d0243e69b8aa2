"""Demucs: strided convolutions down and up the waveform with skip connections, and LSTMs in the middle.

Paper: Défossez, Synnaeve and Adi, "Real time speech enhancement in the waveform domain", Interspeech 2020,
doi:10.21437/Interspeech.2020-2409, arXiv:2006.12847.
Differences: follows the authors' code (GitHub facebookresearch/denoiser), whose forward pass begins and ends with the
recording. A stream cannot know where it ends, so the causal network assumes silence before and after the recording: its
output equals the authors' for a recording padded with silence, and its step equals its forward pass. Their streamer
differs from their forward pass, because it truncates the sinc filters of the resampling; here they are complete, which
takes 6 ms more (47.8 ms of window and look-ahead instead of 41.3 ms). The level is that of all models here (`Level`);
the authors divide by the standard deviation plus 0.001 and multiply by the standard deviation.
Parameters: 18.87 M with 48 channels, 33.53 M with 64, 60.81 M bidirectional with strides of 2 (exactly the authors'
dns48, dns64 and valentini_nc).
MACs: 2.5 G/s, 4.5 G/s and 68 G/s.
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.conv import remembered, silent
from rased.layers.level import Level
from rased.layers.recurrent import recur, silence
from rased.layers.stack import Stack
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.signal.domains import Waveform
from rased.signal.state import joined, numbered, parted

_ZEROS = 56
"""Zero crossings of the resampling filters on each side."""
_PUBLISHED = {
    (48, 4, 4, True): 18_867_937,
    (64, 4, 4, True): 33_533_569,
    (64, 2, 2, False): 60_813_953,
}
"""Channels, stride, resampling and causal -> parameters of the authors' code."""


class Upsample(nn.Module):
    """Doubles the sample rate: keeps the samples, and interpolates between them with a windowed sinc filter.

    With a state, the output is delayed by 56 samples of the input; without one, the input is padded with silence.
    """

    kernel: Float[Tensor, "1 1 taps"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _sinc(), persistent=False)

    def forward(
        self, samples: Float[Tensor, "batch 1 time"], state: State
    ) -> tuple[Float[Tensor, "batch 1 double_time"], State]:
        """Interleave the samples with the interpolated ones."""
        time, before = samples.shape[-1], _ZEROS - 1
        if state:
            # The filter needs 56 samples after each point: with a state, the output waits for them.
            extended, state = remembered(samples, state, before + _ZEROS)
        else:
            extended = functional.pad(samples, (before, _ZEROS))
        both = [extended[..., before : before + time], functional.conv1d(extended, self.kernel)]
        return rearrange(both, "two batch 1 time -> batch 1 (time two)"), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, 1, 2 * _ZEROS - 1))


class Downsample(nn.Module):
    """Halves the sample rate with a windowed sinc filter.

    Args:
        late: delay of the output in samples with a state, 55 or more; without one, the input is padded with silence.
    """

    kernel: Float[Tensor, "1 1 taps"]

    def __init__(self, late: int) -> None:
        super().__init__()
        # At the high rate: the taps before an output sample, and the samples that it waits for.
        self.memory = 2 * (late + _ZEROS)
        self.register_buffer("kernel", _sinc(), persistent=False)

    def forward(
        self, samples: Float[Tensor, "batch 1 time"], state: State
    ) -> tuple[Float[Tensor, "batch 1 half_time"], State]:
        """Apply the low-pass filter and keep every second sample."""
        time = (samples.shape[-1] + 1) // 2
        if state:
            extended, state = remembered(samples, state, self.memory)
        else:
            odd = samples.shape[-1] % 2
            extended = functional.pad(samples, (2 * _ZEROS, 2 * _ZEROS - 2 + odd))
        # A half-band filter: its even taps are zero except for the middle, so only the other samples are
        # filtered.
        kept, others = extended[..., _ZEROS * 2 :: 2], extended[..., 1::2]
        smooth = functional.conv1d(others, self.kernel)
        return (kept[..., :time] + smooth[..., :time]) / 2, state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return silent(like.new_zeros(batch, 1, self.memory))


def _sinc() -> Float[Tensor, "1 1 taps"]:
    """Return a sinc at the points halfway between samples, with a Hann window."""
    # The window too is taken halfway between samples.
    window = torch.hann_window(4 * _ZEROS + 1, periodic=False)[1::2]
    points = math.pi * (torch.arange(2 * _ZEROS) - _ZEROS + 0.5)
    return (points.sin() / points * window)[None, None]


class Encode(nn.Module):
    """Strided convolution, ReLU, 1 x 1 convolution, gate.

    The state `memory` holds the samples that the next frame shares with the last one. Without a state, the first frame
    begins with the input.
    """

    def __init__(self, channels: int, outputs: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, outputs, kernel_size, stride)
        self.mix = nn.Sequential(nn.ReLU(), nn.Conv1d(outputs, 2 * outputs, 1), nn.GLU(1))
        self.memory = kernel_size - stride

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch outputs fewer_frames"], State]:
        """Return frames at a rate divided by the stride."""
        extended, state = remembered(frames, state, self.memory if state else 0)
        return self.mix(self.conv(extended)), state


class Decode(nn.Module):
    """1 x 1 convolution, gate, transposed convolution, ReLU.

    The state `overlap` holds what the last frame adds to later ones. Without a state, the output ends with the
    last frame.
    """

    def __init__(
        self, channels: int, outputs: int, kernel_size: int, stride: int, *, last: bool
    ) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv1d(channels, 2 * channels, 1), nn.GLU(1))
        self.conv = nn.ConvTranspose1d(channels, outputs, kernel_size, stride)
        self.activation = nn.Identity() if last else nn.ReLU()
        self.overlap = kernel_size - stride

    def forward(
        self, frames: Float[Tensor, "batch channel frames"], state: State
    ) -> tuple[Float[Tensor, "batch outputs more_frames"], State]:
        """Return frames at a rate multiplied by the stride."""
        conv = self.conv
        # Without the bias, which is added once per sample: overlapping frames would add it twice.
        added = functional.conv_transpose1d(self.mix(frames), conv.weight, None, conv.stride)
        if state:
            whole = frames.shape[-1] * conv.stride[0]
            before = functional.pad(state["overlap"], (0, whole))
            added, overlap = (added + before).split([whole, self.overlap], dim=-1)
            state = {"overlap": overlap}
        assert conv.bias is not None
        return self.activation(added + conv.bias[:, None]), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the state before the first frame."""
        overlap = like.new_zeros(batch, self.conv.out_channels, self.overlap)
        return {"overlap": overlap} if overlap.numel() else {}


class Demucs(Enhancer):
    """U-Net on the waveform, at a multiple of its sample rate and a normalised level; causal, or bidirectional.

    Args:
        channels: channels of the first layer; each layer has twice those of the previous one.
        layers: number of layers down, and of layers up.
        kernel_size: taps of each convolution, at least its stride.
        stride: stride of each convolution.
        resample: 1, 2 or 4: the layers work at this multiple of the sample rate.
        recurrent_layers: LSTM layers in the middle.
        causal: use forward LSTMs only.
        level: the level that the input is normalised to, undone at the output; a level that is not running needs the
            whole file. None: no normalisation.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes do not fit together.
    """

    paper = (
        "Défossez, Synnaeve, Adi: Real time speech enhancement in the waveform domain. Interspeech 2020, "
        "doi:10.21437/Interspeech.2020-2409"
    )
    published_in = "authors' code"

    def __init__(
        self,
        *,
        channels: int = 48,
        layers: int = 5,
        kernel_size: int = 8,
        stride: int = 4,
        resample: int = 4,
        recurrent_layers: int = 2,
        causal: bool = True,
        level: Level | None = Level("std"),  # noqa: B008 (frozen)
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        sizes = [1] + [channels * 2**index for index in range(layers)]
        reaches = [1]
        for _ in range(layers):
            # Samples that one frame of the innermost layer covers, from layer to layer.
            reaches.append((reaches[-1] - 1) * stride + kernel_size)
        _check(channels, layers, kernel_size, stride, resample, reaches[-1])
        if (layers, kernel_size, recurrent_layers) == (5, 8, 2):
            self.published_parameters = _PUBLISHED.get((channels, stride, resample, causal))
        self.sample_rate, self.level = sample_rate, level
        self.resample, self.stride, self.layers = resample, stride, layers
        self.reach = reaches[-1]
        self.late = [reach - stride**index for index, reach in enumerate(reaches[:-1])]
        """Frames by which each skip connection is ahead of what it is added to, starting from the innermost."""
        stages = range(resample.bit_length() - 1)
        self.upsample = Stack(Upsample() for _ in stages)
        self.encoder = nn.ModuleList(
            Encode(size, wider, kernel_size, stride) for size, wider in pairwise(sizes)
        )
        self.recurrent = nn.LSTM(
            sizes[-1], sizes[-1], recurrent_layers, batch_first=True, bidirectional=not causal
        )
        self.linear = nn.Identity() if causal else nn.Linear(2 * sizes[-1], sizes[-1])
        self.decoder = Stack(
            Decode(size, narrower, kernel_size, stride, last=narrower == 1)
            for size, narrower in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        )
        # The delays at the double rate, two of 56, are 56 whole samples of the input; only the last one may be 55.
        self.downsample = Stack(Downsample(_ZEROS - (index == len(stages) - 1)) for index in stages)
        _rescale(self)
        if causal and (level is None or level.running):
            self.chunk_length = stride**layers // resample
            # Samples of the input that the sinc filters, up and down, look ahead together.
            ahead = {1: 0, 2: 2 * _ZEROS - 1, 4: 3 * _ZEROS - 1}[resample]
            self.latency = self.reach // resample - self.chunk_length + ahead

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Process a stream in one chunk, or the whole recording."""
        time = noisy.shape[-1]
        if self.latency is None or self.chunk_length is None:
            gains = 1.0 if self.level is None else self.level.gains(noisy, **self._rates)
            return Prediction(estimate=self.whole(noisy * gains) / gains)
        padded = functional.pad(
            noisy, (0, self.latency + -(time + self.latency) % self.chunk_length)
        )
        estimate, _ = self.step(padded, self._silence(noisy.shape[0]))
        return Prediction(estimate=estimate[:, self.latency : self.latency + time])

    def whole(self, noisy: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """Apply the layers to an unpadded recording; they begin with it, and end with the last whole frame."""
        time, hop = noisy.shape[-1], self.stride**self.layers
        more = max(0, self.resample * time - self.reach)
        # Whole frames of the innermost layer: the decoder cannot make samples after the last one.
        length = (self.reach + math.ceil(more / hop) * hop) // self.resample
        estimate, _ = self._run(functional.pad(noisy, (0, length - time))[:, None], {})
        return estimate[:, 0, :time]

    @torch.no_grad()
    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the state of the layers after silence, with no frame decoded."""
        if not self.causal:
            return super().initial_state(batch)
        return self._silence(batch)

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Normalise the level, apply all layers, and restore the level; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        parts = parted(state)
        if self.level is None:
            estimate, layers = self._run(chunk[:, None], parts["layers"])
            return estimate[:, 0], joined({"layers": layers})
        gains, level = self.level.past(chunk, parts["level"], **self._rates)
        estimate, layers = self._run((chunk * gains)[:, None], parts["layers"])
        # The output is late: divide it by the gains of its own time, not by those of the newest samples.
        late = torch.cat([state["gains"], gains], dim=-1)
        now, after = late.tensor_split([chunk.shape[-1]], dim=-1)
        return estimate[:, 0] / now, {"gains": after, **joined({"level": level, "layers": layers})}

    @property
    def _rates(self) -> dict[str, int]:
        hop_length = self.stride**self.layers // self.resample
        return {"hop_length": hop_length, "sample_rate": self.sample_rate}

    def _run(
        self, samples: Float[Tensor, "batch 1 time"], state: State
    ) -> tuple[Float[Tensor, "batch 1 time_out"], State]:
        """Upsample, run the layers down and up, downsample: from a state, or on a whole recording without one."""
        parts, after, skips = parted(state), {}, []
        frames, after["upsample"] = self.upsample(samples, parts["upsample"])
        before = parted(parts["encoder"])
        states = []
        for index, layer in enumerate(self.encoder):
            frames, memory = layer(frames, before[str(index)])
            skips.append(frames)
            states.append(memory)
        after["encoder"] = numbered(states)
        remembered_frames, after["recurrent"] = recur(
            self.recurrent, rearrange(frames, "n c t -> n t c"), parts["recurrent"]
        )
        frames = rearrange(self.linear(remembered_frames), "n t c -> n c t")
        waiting, before = parted(parts["waiting"]), parted(parts["decoder"])
        states, queues = [], []
        for index, layer in enumerate(self.decoder):
            # Without a state, the decoder produces fewer frames than the skip has; in a stream, the skip
            # waits for it.
            skip, queue = _queued(skips.pop(), waiting[str(index)], frames.shape[-1])
            frames, overlap = layer(frames + skip, before[str(index)])
            states.append(overlap)
            queues.append(queue)
        after["decoder"], after["waiting"] = numbered(states), numbered(queues)
        frames, after["downsample"] = self.downsample(frames, parts["downsample"])
        return frames, joined(after)

    def _silence(self, batch: int) -> State:
        """Return the state after as much silence as the layers look at."""
        like = next(self.recurrent.parameters())
        memories, queues = [], []
        frames = like.new_zeros(batch, 1, 1)
        encoder: Iterable[Any] = self.encoder
        for layer, late in zip(encoder, reversed(self.late), strict=True):
            # For a constant input, every frame of a layer is the same: one frame per layer describes an
            # endless silence.
            frames = frames.expand(-1, -1, layer.conv.kernel_size[0])
            memories.append(silent(frames[..., : layer.memory].clone()))
            frames, _ = layer(frames, {})
            queues.append(silent(frames.repeat(1, 1, late)))
        layers = {
            "upsample": self.upsample.initial_state(batch, like),
            "encoder": numbered(memories),
            "recurrent": silence(self.recurrent, batch, like),
            "decoder": self.decoder.initial_state(batch, like),
            "waiting": numbered(reversed(queues)),
            "downsample": self.downsample.initial_state(batch, like),
        }
        state = joined({"layers": joined(layers)})
        if self.level is None:
            return state
        gains = like.new_ones(batch, self.latency or 0)
        return {"gains": gains, **joined({"level": self.level.initial_state(batch, like)}), **state}


def _queued(
    frames: Float[Tensor, "batch channel frames"], state: State, count: int
) -> tuple[Float[Tensor, "batch channel count"], State]:
    """Return the oldest `count` waiting frames and the rest; without a state, the first frames of all."""
    if not state:
        return frames[..., :count], {}
    extended = torch.cat([state["memory"], frames], dim=-1)
    return extended[..., :count], {"memory": extended[..., count:]}


def _rescale(model: nn.Module, reference: float = 0.1) -> None:
    """Scale the initial weights of each convolution towards a standard deviation (Défossez 2019, arXiv:1911.13254)."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            # The new deviation is the geometric mean of both.
            scale = (layer.weight.detach().std() / reference).sqrt()
            for parameter in layer.parameters():
                parameter.data /= scale


def _check(
    channels: int, layers: int, kernel_size: int, stride: int, resample: int, reach: int
) -> None:
    if min(channels, layers) < 1 or not 1 <= stride < kernel_size:
        raise RasedError(
            f"Demucs: channels {channels} and layers {layers} must be at least 1, and kernel_size {kernel_size} must "
            f"be above stride {stride}."
        )
    if resample not in (1, 2, 4) or reach % resample or stride**layers % resample:
        raise RasedError(
            f"Demucs: resample is {resample}; choose 1, 2 or 4, and strides and kernels such that it divides "
            f"{stride**layers}, the samples between frames, and {reach}, the samples that a frame covers."
        )
