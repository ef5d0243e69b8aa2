"""FullSubNet: an LSTM over all bins, then one LSTM for the neighbours of each bin, gives a complex mask.

Paper: Hao, Su, Horaud and Li, "FullSubNet: a full-band and sub-band fusion model for real-time single-channel speech
enhancement", ICASSP 2021, doi:10.1109/ICASSP39728.2021.9414177, arXiv:2010.15508.
Differences: follows the authors' code (GitHub Audio-WestlakeU/FullSubNet), with whose masks tests compare. Their
look-ahead of two frames is `inputs: {future_frames: 2}` of the enhancer. `norm: past` is their
cumulative_laplace_norm, with which the model streams, `norm: utterance` their default. They leave out half of the
bins of a batch in training; here every bin is trained.
Parameters: 5.64 M (published: 5.6 M); MACs: 29.5 G/s (published: 30.7 G/s).
"""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.network import Network
from rased.layers.norm import MeanNorm
from rased.layers.recurrent import recur, silence
from rased.signal.masks import expand_mask_parts
from rased.signal.state import State, joined, parted

_PAPER = (257, 512, 384, 15)
"""Bins, full_hidden, sub_hidden, neighbours."""


class FullSubNet(Network):
    """Magnitudes to a complex mask; looks at the newest frame of the context that it is given.

    Args:
        inputs: numbers in a frame: magnitudes of all bins, spliced or not.
        outputs: two for each bin.
        full_hidden: size of the LSTMs over all bins.
        sub_hidden: size of the LSTMs over the neighbours of a bin.
        layers: of each of the two.
        neighbours: bins on each side that a bin is seen with.
        norm: the frames whose mean the magnitudes are divided by: "utterance" (not causal) or "past".

    Raises:
        RasedError: another feature or target, or sizes that do not fit together.
    """

    paper = (
        "Hao, Su, Horaud, Li: FullSubNet: a full-band and sub-band fusion model for real-time single-channel speech "
        "enhancement. ICASSP 2021, doi:10.1109/ICASSP39728.2021.9414177"
    )
    published_in = "authors' code"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        full_hidden: int = 512,
        sub_hidden: int = 384,
        layers: int = 2,
        neighbours: int = 15,
        norm: Literal["utterance", "past"] = "past",
    ) -> None:
        super().__init__()
        freq = outputs // 2
        if outputs % 2 or inputs % freq:
            raise RasedError(
                "FullSubNet maps magnitudes to a complex mask: write features: {kinds: [magnitude]}, "
                "target: complex_mask and no noise estimate."
            )
        if min(full_hidden, sub_hidden, layers) < 1 or not 0 <= neighbours < freq:
            raise RasedError(
                f"FullSubNet: full_hidden {full_hidden}, sub_hidden {sub_hidden} and layers {layers} must be at least "
                f"1, and neighbours {neighbours} at least 0 and below the {freq} bins."
            )
        if (freq, full_hidden, sub_hidden, neighbours) == _PAPER and layers == 2:
            self.published_parameters = 5_637_635
        self.causal, self.freq, self.neighbours = norm == "past", freq, neighbours
        self.full_norm, self.sub_norm = MeanNorm(norm), MeanNorm(norm)
        self.full = nn.LSTM(freq, full_hidden, layers, batch_first=True)
        self.full_linear = nn.Linear(full_hidden, freq)
        # Neighbours on both sides, the bin itself, and the output of `full`.
        self.sub = nn.LSTM(2 * neighbours + 2, sub_hidden, layers, batch_first=True)
        self.sub_linear = nn.Linear(sub_hidden, 2)

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """All bins, then each bin with its neighbours and what was found of all."""
        # The context ends with the newest frame.
        magnitude, parts, after = frames[..., -self.freq :], parted(state), {}
        normal, after["full_norm"] = self.full_norm(magnitude, parts["full_norm"])
        found, after["full"] = recur(self.full, normal, parts["full"])
        found = self.full_linear(found).relu()
        # The outermost bins see mirrored neighbours, as in the authors' code.
        around = functional.pad(magnitude, (self.neighbours, self.neighbours), mode="reflect")
        seen = around.unfold(-1, 2 * self.neighbours + 1, 1)
        bins = rearrange(
            torch.cat([seen, found[..., None]], dim=-1), "n t f number -> n f t number"
        )
        normal, after["sub_norm"] = self.sub_norm(bins, parts["sub_norm"])
        # All bins share one LSTM: to it, they are examples of a batch.
        sequences = rearrange(normal, "n f t number -> (n f) t number")
        heard, after["sub"] = recur(self.sub, sequences, parts["sub"])
        compressed = rearrange(
            self.sub_linear(heard), "(n f) t part -> n t (part f)", n=frames.shape[0]
        )
        return expand_mask_parts(compressed), joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Nothing heard."""
        return joined(
            {
                "full_norm": self.full_norm.initial_state((batch,), like),
                "full": silence(self.full, batch, like),
                "sub_norm": self.sub_norm.initial_state((batch, self.freq), like),
                "sub": silence(self.sub, batch * self.freq, like),
            }
        )
