"""CRN: a convolutional encoder over frequency, two LSTMs over time, a convolutional decoder, for magnitudes or masks.

Paper: Tan and Wang, "A convolutional recurrent neural network for real-time speech enhancement", Interspeech 2018,
doi:10.21437/Interspeech.2018-1405.
Differences: follows the authors' code (GitHub JupiterEthan/CRN-causal), which applies the activation to skip
connections again. Any number of bins and channels; the paper has 161 bins and five layers of 16 to 256 channels. In
the authors' code, the first output frame of each transposed convolution is zero; here it is computed from silence and
the first frame, so the first five frames differ. The softplus at the end is part of the target (magnitude); the same
network also gives masks. Transform and level in configs/model/crn.yaml are those of GCRN, by the same authors.
Parameters: 17,579,459 at the paper's sizes, as the authors' code has; MACs: 2.15 G/s at 100 frames a second.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.network import Network, State
from rased.layers.recurrent import recur, silence
from rased.layers.stack import Stack
from rased.layers.unet import DownConv, UpConv
from rased.signal.state import joined, parted

KERNEL = (2, 3)


class CRN(Network):
    """Encoder, two LSTMs, decoder; causal.

    Args:
        inputs: magnitudes of all bins (features: [magnitude]).
        outputs: the same number.
        channels: channels of the encoder's layers, each of which halves the bins.
    """

    paper = (
        "Tan, Wang: A convolutional recurrent neural network for real-time speech enhancement. "
        "Interspeech 2018, doi:10.21437/Interspeech.2018-1405"
    )
    published_in = "authors' code"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64, 128, 256),
    ) -> None:
        super().__init__()
        if inputs != outputs:
            raise RasedError(
                f"CRN has as many outputs as inputs, but gets {inputs} inputs for {outputs} outputs: choose features: "
                "{kinds: [magnitude]}, no context, no noise estimate, and a real target."
            )
        self.sizes = [outputs]
        for _ in channels:
            # As `DownConv.size` with 3 bins and stride 2.
            self.sizes.append((self.sizes[-1] - 1) // 2)
        if self.sizes[-1] < 1:
            raise RasedError(
                f"CRN: {len(channels)} layers of channels are too many for {outputs} bins."
            )
        if (outputs, tuple(channels)) == (161, (16, 32, 64, 128, 256)):
            self.published_parameters = 17_579_459
        wide = [1, *channels]
        self.down = Stack(DownConv(*pair, KERNEL) for pair in zip(wide, channels, strict=False))
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(outside) for outside in channels)
        size = channels[-1] * self.sizes[-1]
        self.recurrent = nn.LSTM(size, size, 2, batch_first=True)
        self.up = Stack(
            # It makes 2 * small + 1 bins; drop one, or add one (a negative crop), to match the encoder.
            UpConv(2 * inside, outside, KERNEL, crop=(0, 2 * small + 1 - big))
            for inside, outside, small, big in zip(
                channels[::-1], wide[-2::-1], self.sizes[:0:-1], self.sizes[-2::-1], strict=True
            )
        )
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(outside) for outside in wide[-2::-1])

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        parts, after = parted(state), {}
        skips, after["down"] = self._encode(frames[:, None], parts["down"])
        inner = rearrange(skips[-1], "n c t f -> n t (c f)")
        remembered, after["recurrent"] = recur(self.recurrent, inner, parts["recurrent"])
        bins = rearrange(remembered, "n t (c f) -> n c t f", f=self.sizes[-1])
        output, after["up"] = self._decode(bins, skips, parts["up"])
        return output, joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence for the convolutions, and zeros for the LSTMs."""
        return joined(
            {
                "down": self.down.initial_states(batch, self.sizes[:-1], like),
                "recurrent": silence(self.recurrent, batch, like),
                "up": self.up.initial_states(batch, self.sizes[:0:-1], like),
            }
        )

    def _encode(
        self, bins: Float[Tensor, "batch 1 frames freq"], state: State
    ) -> tuple[list[Tensor], State]:
        """Return the outputs of all layers."""
        skips, parts, after = [], parted(state), {}
        for index, (conv, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            bins, after[str(index)] = conv(bins, parts[str(index)])
            bins = functional.elu(norm(bins))
            skips.append(bins)
        return skips, joined(after)

    def _decode(
        self,
        bins: Float[Tensor, "batch channel frames low_freq"],
        skips: list[Tensor],
        state: State,
    ) -> tuple[Float[Tensor, "batch frames freq"], State]:
        """Decode with one layer per skip connection, innermost first; the last has no activation."""
        parts, after = parted(state), {}
        bins = torch.cat([bins, skips[-1]], dim=1)
        for i, (conv, norm) in enumerate(zip(self.up, self.up_norms, strict=True)):
            bins, after[str(i)] = conv(bins, parts[str(i)])
            bins = norm(bins)
            if i + 1 < len(skips):  # the last layer has no skip connection
                # Skip connections pass the ELU a second time, as in the authors' code.
                bins = functional.elu(torch.cat([bins, skips[-2 - i]], dim=1))
        return bins[:, 0], joined(after)
