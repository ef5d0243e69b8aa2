"""DCCRN: a complex convolutional encoder over frequency, complex LSTMs, a complex decoder to a bounded mask.

Paper: Hu, Liu, Lv, Xing, Zhang, Fu, Wu, Zhang and Xie, "DCCRN: deep complex convolution recurrent network for
phase-aware speech enhancement", Interspeech 2020, arXiv:2008.00264.
Differences: the paper's DCCRN-CL with its mask E (the tanh of the magnitude, and a phase), following the authors' code
(GitHub huyanxin/DeepComplexCRN) with one exception: each decoder layer of theirs looks one frame ahead, six frames in
total; ours do not, so that the network streams. `lookahead` restores theirs, for whole utterances; tests compare it
with their output. As in their code, batch norms are real, and the lowest bin is left out and zero in the mask. Their
inverse transform weights the lowest and highest bin differently (a pseudo-inverse). A new mask is close to 1.
Parameters: 3.67 M at the paper's sizes (abstract: 3.7 M); MACs: 8.5 G/s at 160 frames a second.
"""

from functools import partial
from itertools import pairwise

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.complex import ComplexConv, ComplexLSTM, beside
from rased.layers.network import Network, start_near
from rased.layers.stack import Stack
from rased.layers.unet import DownConv, UpConv
from rased.signal.state import State, joined, parted

KERNEL = (2, 5)
_TINY = 1e-8
"""Added under the square root of a magnitude, so that its gradient is finite at 0."""


class Down(nn.Module):
    """Complex convolution with a stride of two bins, batch normalisation, PReLU."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        halves = (channels // 2, outputs // 2)
        # Two bins on both sides: half as many come out, rounded up.
        self.conv = ComplexConv(partial(DownConv, *halves, KERNEL, padding=(2, 2)))
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.PReLU()

    def forward(
        self, bins: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch outputs frames half_freq"], State]:
        """Process frames, continuing from `state`."""
        bins, state = self.conv(bins, state)
        return self.activation(self.norm(bins)), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return self.conv.initial_state(batch, freq, like)


class Up(nn.Module):
    """Transposed complex convolution that doubles the bins, batch normalisation and PReLU (except in the last layer).

    Args:
        channels: input channels, including the skip connection.
        outputs: output channels.
        lookahead: compute a frame from itself and the next one, instead of the previous one.
        last: this is the last layer.
    """

    def __init__(self, channels: int, outputs: int, *, lookahead: bool, last: bool) -> None:
        super().__init__()
        halves = (channels // 2, outputs // 2)
        self.lookahead = lookahead
        # The transposed convolution gives 2 freq + 3 bins; 2 freq of them remain.
        self.conv = ComplexConv(partial(UpConv, *halves, KERNEL, crop=(2, 1)))
        self.after = nn.Sequential()
        if not last:
            self.after = nn.Sequential(nn.BatchNorm2d(outputs), nn.PReLU())

    def forward(
        self,
        bins: Float[Tensor, "batch channel frames freq"],
        skip: Float[Tensor, "batch channel frames freq"],
        state: State,
    ) -> tuple[Float[Tensor, "batch outputs frames twice_freq"], State]:
        """Concatenate input and skip connection (real with real parts), and process, continuing from `state`."""
        ahead = int(self.lookahead)  # zero frames after the end
        padded = functional.pad(beside(bins, skip), (0, 0, 0, ahead))
        bins, state = self.conv(padded, state)
        return self.after(bins[:, :, ahead:]), state

    def initial_state(self, batch: int, freq: int, like: Tensor) -> State:
        """Return silence."""
        return self.conv.initial_state(batch, freq, like)


class DCCRN(Network):
    """Encoder, complex LSTMs, decoder; causal without `lookahead`.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]); 2^layers n + 1 bins.
        outputs: the same (target: complex_mask).
        channels: channels of the encoder's layers, real and imaginary ones together; each layer halves the bins.
        hidden: hidden size of each pair of LSTMs, real and imaginary parts together.
        layers: number of complex LSTMs.
        lookahead: each decoder layer looks one frame ahead, as in the authors' code (for whole utterances only).
    """

    paper = (
        "Hu, Liu, Lv, Xing, Zhang, Fu, Wu, Zhang, Xie: DCCRN: deep complex convolution recurrent network for "
        "phase-aware speech enhancement. Interspeech 2020, arXiv:2008.00264"
    )
    published_in = "paper"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: tuple[int, ...] = (32, 64, 128, 256, 256, 256),
        hidden: int = 256,
        layers: int = 2,
        lookahead: bool = False,
    ) -> None:
        super().__init__()
        bins, step = outputs // 2 - 1, 2 ** len(channels)
        if inputs != outputs or bins < step or bins % step:
            raise RasedError(
                f"DCCRN maps complex spectra to complex masks, but gets {inputs} inputs for {outputs} outputs: choose "
                f"features: {{kinds: [complex]}}, no context, target: complex_mask, and an n_fft divisible by "
                f"{2 * step} (for {len(channels)} layers of channels)."
            )
        if any(number % 2 for number in (*channels, hidden)):
            raise RasedError(
                f"DCCRN splits channels {list(channels)} and hidden {hidden} in two: give even numbers."
            )
        self.causal = not lookahead
        self.sizes = [bins // 2**i for i in range(len(channels) + 1)]
        self.down = Stack(Down(*pair) for pair in pairwise((2, *channels)))
        size = channels[-1] // 2 * self.sizes[-1]
        widths = [size] + [hidden // 2] * layers
        self.recurrent = Stack(ComplexLSTM(*pair) for pair in pairwise(widths))
        self.real_linear = nn.Linear(hidden // 2, size)
        self.imaginary_linear = nn.Linear(hidden // 2, size)
        ups = [
            Up(2 * inside, outside, lookahead=lookahead, last=i + 1 == len(channels))
            for i, (inside, outside) in enumerate(pairwise((*channels[::-1], 2)))
        ]
        self.up = Stack(ups)
        # Each of the two convolutions sees both parts: real gives 1 - (-1) = 2, imaginary 1 + (-1) = 0, and tanh(2) is
        # close to 1.
        start_near(ups[-1].conv.real, [1.0])
        start_near(ups[-1].conv.imaginary, [-1.0])
        paper_sizes = (tuple(channels), hidden, layers) == ((32, 64, 128, 256, 256, 256), 256, 2)
        self.published_parameters = 3_700_000 if paper_sizes and bins == 256 else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        parts, after = parted(state), {}
        # Without the lowest bin there are 2^n of them, which every layer can halve.
        bins = rearrange(frames, "n t (part f) -> n part t f", part=2)[..., 1:]
        skips, after["down"] = self.down.encode(bins, parts["down"])
        bins, after["recurrent"] = self._remember(skips[-1], parts["recurrent"])
        bins, after["up"] = self.up.decode(bins, skips, parts["up"])
        mask = rearrange(_bounded(bins.float()), "n part t f -> n t part f")
        output = rearrange(functional.pad(mask, (1, 0)), "n t part f -> n t (part f)")
        return output, joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence."""
        return joined(
            {
                "down": self.down.initial_states(batch, self.sizes[:-1], like),
                "recurrent": self.recurrent.initial_state(batch, like),
                "up": self.up.initial_states(batch, self.sizes[:0:-1], like),
            }
        )

    def _remember(
        self, bins: Float[Tensor, "batch channel frames freq"], state: State
    ) -> tuple[Float[Tensor, "batch channel frames freq"], State]:
        """Apply the complex LSTMs over the frames."""
        batch = rearrange(bins, "n (part c) t f -> (part n) t (c f)", part=2)
        batch, state = self.recurrent(batch, state)
        real, imaginary = batch.chunk(2)
        both = [self.real_linear(real), self.imaginary_linear(imaginary)]
        bins = rearrange(both, "part n t (c f) -> n (part c) t f", f=self.sizes[-1])
        return bins, state


def _bounded(
    mask: Float[Tensor, "batch 2 frames freq"],
) -> Float[Tensor, "batch 2 frames freq"]:
    """Replace magnitudes by their tanh."""
    magnitude = (mask.square().sum(1, keepdim=True) + _TINY**2).sqrt()
    return mask * (magnitude.tanh() / magnitude)
