"""FCN: convolutions with long filters on the waveform, all at its sample rate.

Paper: Fu, Tsao, Lu and Kawai, "Raw waveform-based speech enhancement by fully convolutional networks", APSIPA 2017,
doi:10.1109/APSIPA.2017.8281993, arXiv:1703.02205.
Differences: follows the first author's code (GitHub JasonSWFu/End-to-end-waveform-utterance-enhancement) for the 2018
version (doi:10.1109/TASLP.2018.2821903): eight layers, and norms with the mean and variance of the recording. The
input's level is restored at the output; theirs is at full scale. `causal` is ours: filters of the past, batch norms
with the statistics of the training, and a level of the past.
Parameters: 0.301 M (not published).
MACs: 4.8 G/s.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.conv import FrameConv1d
from rased.layers.level import Level
from rased.layers.stack import Stack
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.signal.domains import Waveform
from rased.signal.state import joined, parted

_EPSILON = 1e-5
_SLOPE = 0.3


class InstanceNorm(nn.Module):
    """Normalise each channel of each recording to zero mean and unit variance; also works for a single sample."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(
        self, samples: Float[Tensor, "batch channel time"]
    ) -> Float[Tensor, "batch channel time"]:
        """Normalise over the whole time."""
        variance, mean = torch.var_mean(samples, dim=-1, correction=0, keepdim=True)
        scale = (variance + _EPSILON).rsqrt() * self.weight
        return torch.addcmul(self.bias - mean * scale, samples, scale)


class Layer(nn.Module):
    """A convolution, and the modules after it."""

    def __init__(self, conv: FrameConv1d, *behind: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.behind = nn.Sequential(*behind)

    def forward(
        self, samples: Float[Tensor, "batch channel time"], state: State
    ) -> tuple[Float[Tensor, "batch outputs time"], State]:
        """Run the layer; the state is that of the convolution."""
        features, state = self.conv(samples, state)
        return self.behind(features), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return self.conv.initial_state(batch, like)


class FCN(Enhancer):
    """A stack of convolutions, norms and leaky ReLUs; tanh after the last.

    Args:
        filters: filters of each layer except the last, which has one.
        kernel_size: taps of each filter, odd.
        layers: number of layers.
        causal: stream: filters of the past, and batch norms.
        chunk_length: samples per chunk of a stream; each has one level.
        level: the level that the input is normalised to, undone at the output; a stream needs a running one, or None.
        sample_rate: Hz.

    Raises:
        RasedError: the sizes or the level do not fit together.
    """

    paper = (
        "Fu, Tsao, Lu, Kawai: Raw waveform-based speech enhancement by fully convolutional networks. APSIPA 2017, "
        "doi:10.1109/APSIPA.2017.8281993"
    )

    def __init__(
        self,
        *,
        filters: int = 30,
        kernel_size: int = 55,
        layers: int = 8,
        causal: bool = False,
        chunk_length: int = 80,
        level: Level | None = Level("maximum", running=False),  # noqa: B008 (frozen)
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(filters, kernel_size, layers - 1, chunk_length) < 1 or kernel_size % 2 == 0:
            raise RasedError(
                f"FCN: filters {filters} and chunk_length {chunk_length} must be at least 1, layers {layers} at least "
                f"2, and kernel_size {kernel_size} odd."
            )
        if causal and level is not None and not level.running:
            raise RasedError(
                "FCN: causal needs a level of the past; write level: {kind: maximum, running: true}, or level: null."
            )
        self.sample_rate, self.level = sample_rate, level
        if causal:
            # Filters of the past need no chunks; a running level has one gain for each.
            self.latency, self.chunk_length = 0, 1 if level is None else chunk_length
        conv = partial(FrameConv1d, kernel_size=kernel_size, centred=not causal)
        # A norm of the whole recording cannot stream; a batch norm has fixed statistics.
        norm = nn.BatchNorm1d if causal else InstanceNorm
        self.layers = Stack(
            Layer(conv(size, filters), norm(filters), nn.LeakyReLU(_SLOPE))
            for size in [1, *[filters] * (layers - 2)]
        )
        self.layers.append(Layer(conv(filters, 1), nn.Tanh()))

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Process a stream in one chunk, or the whole recording."""
        batch, time = noisy.shape
        if self.chunk_length is not None:
            padded = functional.pad(noisy, (0, -time % self.chunk_length))
            estimate, _ = self.step(padded, self.initial_state(batch))
            return Prediction(estimate=estimate[:, :time])
        gain = 1.0 if self.level is None else self.level.gains(noisy, **self._rates)
        estimate, _ = self.convolve(noisy * gain, {})
        return Prediction(estimate=estimate / gain)

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return silence before each layer, and the initial level."""
        if not self.causal:
            return super().initial_state(batch)
        like = next(self.parameters())
        memories = self.layers.initial_state(batch, like)
        level = {} if self.level is None else self.level.initial_state(batch, like)
        return joined({"level": level, "layers": memories})

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Process one chunk; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        parts, after = parted(state), {}
        if self.level is None:
            estimate, after["layers"] = self.convolve(chunk, parts["layers"])
            return estimate, joined(after)
        gains, after["level"] = self.level.past(chunk, parts["level"], **self._rates)
        estimate, after["layers"] = self.convolve(chunk * gains, parts["layers"])
        return estimate / gains, joined(after)

    @property
    def _rates(self) -> dict[str, int]:
        return {"hop_length": self.chunk_length or 1, "sample_rate": self.sample_rate}

    def convolve(
        self, samples: Float[Tensor, "batch time"], state: State
    ) -> tuple[Float[Tensor, "batch time"], State]:
        """Apply all layers at the normalised level."""
        features, state = self.layers(samples[:, None], state)
        return features[:, 0], state
