"""GCRN: a gated convolutional encoder over frequency, grouped LSTMs, and a gated decoder for each complex part.

Paper: Tan and Wang, "Learning complex spectral mapping with gated convolutional recurrent networks
for monaural speech enhancement", IEEE/ACM TASLP 28, 2020, doi:10.1109/TASLP.2019.2955276.
Differences: follows the authors' code (GitHub JupiterEthan/GCRN-complex), which applies the activation to skip
connections again. Any number of bins and channels; the paper has 161 bins (20 ms windows) and five layers of 16 to 256
channels. Kernels cover one frame, so only the LSTMs have memory. configs/model/gcrn.yaml adds Hamming windows in the
analysis only, and normalises the level of the mixture to an rms of 1. The level is measured over the past, so that
the model streams; the authors use the whole utterance.
Parameters: 9.77 M at the paper's sizes (9,771,340, as the authors' code has); MACs: 1.64 G/s at 100 frames a second.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.network import Network, State
from rased.layers.recurrent import GroupedRecurrent
from rased.signal.state import joined, parted


class GatedConv(nn.Module):
    """Convolution over three bins with stride two, multiplied by the sigmoid of a second convolution.

    Args:
        channels: input channels.
        outputs: output channels.
        up: use a transposed convolution.
        extra: bins added at the upper end of a transposed convolution.
    """

    def __init__(self, channels: int, outputs: int, *, up: bool = False, extra: int = 0) -> None:
        super().__init__()
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if up:
            shape = {"kernel_size": (1, 3), "stride": (1, 2), "output_padding": (0, extra)}
            self.conv = nn.ConvTranspose2d(channels, 2 * outputs, **shape)  # type: ignore[arg-type]
        else:
            self.conv = nn.Conv2d(channels, 2 * outputs, (1, 3), (1, 2))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(
        self, bins: Float[Tensor, "batch channel frames freq"]
    ) -> Float[Tensor, "batch outputs frames other_freq"]:
        """Gate, then normalise; the caller applies the activation."""
        return self.norm(functional.glu(self.conv(bins), dim=1))


class GroupedLSTM(nn.Module):
    """Two layers of grouped LSTMs; the features of the groups are interleaved between them."""

    def __init__(self, size: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.first = GroupedRecurrent("lstm", size, size, groups=groups)
        self.first_norm = nn.LayerNorm(size)
        self.second = GroupedRecurrent("lstm", size, size, groups=groups)
        self.second_norm = nn.LayerNorm(size)

    def forward(
        self, frames: Float[Tensor, "batch frames size"], state: State
    ) -> tuple[Float[Tensor, "batch frames size"], State]:
        """Apply the first layer, interleave, apply the second layer."""
        states = parted(state)
        # Between the layers the groups are interleaved, so that each group of the second one hears all of the first.
        frames, first = self.first(frames, states["first"])
        frames = rearrange(
            frames, "batch frames (group size) -> batch frames (size group)", group=self.groups
        )
        frames, second = self.second(self.first_norm(frames), states["second"])
        return self.second_norm(frames), joined({"first": first, "second": second})

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros."""
        layers = {"first": self.first, "second": self.second}
        return joined({name: each.initial_state(batch, like) for name, each in layers.items()})


class Decoder(nn.Module):
    """Decoder with skip connections, for one part of the complex spectrum."""

    def __init__(self, channels: Sequence[int], sizes: Sequence[int]) -> None:
        super().__init__()
        wide = list(channels[::-1])
        narrow = [*wide[1:], 1]
        # A transposed convolution of n bands gives 2 n + 1 bins; one more if the encoder had an even number.
        extra = [
            big - (2 * small + 1) for small, big in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        ]
        self.layers = nn.ModuleList(
            GatedConv(2 * inside, outside, up=True, extra=more)
            for inside, outside, more in zip(wide, narrow, extra, strict=True)
        )
        self.linear = nn.Linear(sizes[0], sizes[0])

    def forward(
        self, bins: Float[Tensor, "batch channel frames low_freq"], skips: list[Tensor]
    ) -> Float[Tensor, "batch frames freq"]:
        """Decode with one layer per skip connection, innermost first."""
        *outer, innermost = skips
        bins = torch.cat([bins, innermost], dim=1)
        # Without the last layer, which has no skip.
        for layer, skip in zip(self.layers, reversed(outer), strict=False):
            # Skip connections pass the ELU a second time, as in the authors' code.
            bins = functional.elu(torch.cat([layer(bins), skip], dim=1))
        return self.linear(functional.elu(self.layers[-1](bins))[:, 0])


class GCRN(Network):
    """Encoder, grouped LSTMs, one decoder for the real and one for the imaginary parts; causal.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]).
        outputs: the same (target: complex or complex_mask).
        channels: channels of the encoder's layers, each of which halves the bins.
        groups: groups of the LSTMs.
    """

    paper = (
        "Tan, Wang: Learning complex spectral mapping with gated convolutional recurrent networks "
        "for monaural speech enhancement. IEEE/ACM TASLP 28, 2020, doi:10.1109/TASLP.2019.2955276"
    )
    published_in = "authors' code"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64, 128, 256),
        groups: int = 2,
    ) -> None:
        super().__init__()
        freq = outputs // 2
        if inputs != outputs or outputs % 2:
            raise RasedError(
                f"GCRN maps complex spectra to complex spectra, but gets {inputs} inputs for "
                f"{outputs} outputs: choose features: {{kinds: [complex]}}, no context, no noise estimate, "
                "and target: complex or complex_mask."
            )
        sizes = [freq]
        for _ in channels:
            sizes.append((sizes[-1] - 1) // 2)  # as `DownConv.size` with 3 bins and stride 2
        if sizes[-1] < 1:
            raise RasedError(
                f"GCRN: {len(channels)} layers of channels are too many for {freq} bins."
            )
        if (freq, tuple(channels), groups) == (161, (16, 32, 64, 128, 256), 2):
            self.published_parameters = 9_771_340
        self.encoder = nn.ModuleList(
            GatedConv(wide, narrow) for wide, narrow in zip((2, *channels), channels, strict=False)
        )
        self.recurrent = GroupedLSTM(channels[-1] * sizes[-1], groups)
        self.real = Decoder(channels, sizes)
        self.imaginary = Decoder(channels, sizes)

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        bins, skips = self.encode(rearrange(frames, "n t (part f) -> n part t f", part=2))
        remembered, state = self.recurrent(rearrange(bins, "n c t f -> n t (c f)"), state)
        bins = rearrange(remembered, "n t (c f) -> n c t f", c=bins.shape[1])
        parts = [self.real(bins, skips), self.imaginary(bins, skips)]
        return torch.cat(parts, dim=-1), state

    def encode(
        self, bins: Float[Tensor, "batch 2 frames freq"]
    ) -> tuple[Float[Tensor, "batch channel frames low_freq"], list[Tensor]]:
        """Return the innermost features, and the outputs of all layers."""
        skips = []
        for layer in self.encoder:
            bins = functional.elu(layer(bins))
            skips.append(bins)
        return bins, skips

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros for the LSTMs."""
        return self.recurrent.initial_state(batch, like)
