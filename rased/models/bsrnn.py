"""BSRNN: band splitting, LSTMs along frames and across bands in turn, a complex mask and a residual.

Paper: Yu, Chen, Luo, Gu and Weng, "High fidelity speech enhancement with band-split RNN", Interspeech 2023,
arXiv:2212.00406; bands from Yu and Luo, "Efficient monaural speech enhancement with
universal sample rate band-split RNN", ICASSP 2023, doi:10.1109/ICASSP49357.2023.10096020: 200 Hz wide up to 4 kHz,
500 Hz up to 7 kHz, 2 kHz up to 21 kHz, and one for the rest. The authors published no code.
Differences: follows ESPnet's BSRNN (espnet2/enh/layers/bsrnn.py), with whose output tests compare: bidirectional along
the frames with norms of the whole utterance ("GN" in ESPnet), or unidirectional with norms of a frame ("cfLN"). New
here: norms of the past, which stream and preserve the level; compressed input; masks that start near 1, and residuals
that start at 0. The LSTMs across bands are bidirectional over all bands; in the paper, the high bands at 48 kHz are
unidirectional. GitHub sungwon23/BSRNN is another network: all layers along frames come before all layers across
bands, and it filters over three bins.
Parameters and MACs, with bands padded to the widest, at 16 kHz and 62.5 frames a second: 4.05 M and 4.5 G/s for 64
channels and 6 bidirectional layers (bsrnn-offline), 1.06 M and 0.97 G/s for 32 and 5 (bsrnn-offline-small);
unidirectional 1.00 M and 0.88 G/s for 32 and 6 (bsrnn), 0.53 M and 0.36 G/s for 24 and 4 (bsrnn-small). The papers
use other sizes.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.bands import BandMerge, BandSplit, Scope
from rased.layers.dual_path import ResidualLSTM
from rased.layers.network import Network, State
from rased.signal.features import power_law
from rased.signal.state import joined, numbered, parted

_EDGES = [*range(200, 4_001, 200), *range(4_500, 7_001, 500), *range(9_000, 21_001, 2_000)]
"""Upper edges of the bands, in Hz."""


def band_widths(freq: int, sample_rate: int) -> list[int]:
    """Return the number of bins in each band; the last band contains all remaining bins.

    >>> band_widths(257, 16_000)
    [7, 6, 7, 6, 7, 6, 6, 7, 6, 7, 6, 6, 7, 6, 7, 6, 6, 7, 6, 7, 16, 16, 16, 16, 16, 16, 32]
    """
    nyquist = sample_rate / 2
    # The bin of the edge belongs to the band below it.
    inner = [int(edge * (freq - 1) / nyquist) + 1 for edge in _EDGES if edge < nyquist]
    return [upper - lower for lower, upper in pairwise([0, *inner, freq]) if upper > lower]


class BSRNN(Network):
    """Band split, LSTMs along frames and across bands, band merge.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]); of several spectra one after the
            other, the last of which is masked (`Refinement`).
        outputs: the same of one spectrum (target: complex).
        channels: channels of each band.
        hidden: hidden size of each LSTM and direction; None: twice the channels.
        layers: number of pairs of LSTMs, one along the frames and one across the bands.
        bidirectional: also read the frames backwards (not causal).
        norm: what norms take mean and variance from: the whole utterance (not causal), the past, or a frame.
        residual: add a spectrum to the masked one.
        compression: exponent of the magnitudes at the input of the bands; 1: no compression.
        sample_rate: sample rate in Hz, for the edges of the bands.
    """

    paper = (
        "Yu, Chen, Luo, Gu, Weng: High fidelity speech enhancement with band-split RNN. Interspeech 2023, "
        "arXiv:2212.00406"
    )

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 64,
        hidden: int | None = None,
        layers: int = 6,
        bidirectional: bool = True,
        norm: Scope = "utterance",
        residual: bool = True,
        compression: float = 1.0,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if outputs % 2 or not inputs or inputs % outputs:
            raise RasedError(
                f"BSRNN maps complex spectra to complex spectra, but gets {inputs} inputs for {outputs} outputs: use "
                "features: {kinds: [complex]}, no context, no noise estimate, and target: complex."
            )
        self.causal = not bidirectional and norm != "utterance"
        self.compression = compression
        self.widths = band_widths(outputs // 2, sample_rate)
        hidden = 2 * channels if hidden is None else hidden
        self.spectra = inputs // outputs
        self.split = BandSplit(self.widths, channels, scope=norm, parts=2 * self.spectra)
        self.along = nn.ModuleList(
            ResidualLSTM(channels, hidden, across=False, bidirectional=bidirectional, scope=norm)
            for _ in range(layers)
        )
        self.across = nn.ModuleList(
            ResidualLSTM(channels, hidden, across=True, bidirectional=True, scope=norm)
            for _ in range(layers)
        )
        heads = 2 if residual else 1
        self.merge = BandMerge(self.widths, channels, 4 * channels, heads=heads, scope=norm)
        # With gates at one half, the mask starts near 1 and the residual at 0.
        with torch.no_grad():
            self.merge.bias[::2, 0, 0] = 2.0
            self.merge.weight[:, 1:, 0] = 0.0

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        # Real parts of all bins, then imaginary parts, of each spectrum.
        numbers = rearrange(
            frames.float(), "n t (which part f) -> n t (f which) part", which=self.spectra, part=2
        )
        spectra = torch.view_as_complex(numbers.contiguous())
        seen = spectra if self.compression == 1.0 else power_law(spectra, self.compression)
        parts, after = parted(state), {}
        heard = torch.view_as_real(seen).unflatten(2, (-1, self.spectra)).flatten(-2)
        bands, after["split"] = self.split(heard, parts["split"])
        bands, after["along"], after["across"] = self._alternate(
            bands, parts["along"], parts["across"]
        )
        heads, after["merge"] = self.merge(bands, parts["merge"])
        mask, *residual = map(torch.view_as_complex, heads.float().contiguous())
        # The start of the sum is the masked spectrum; without a residual, the sum is empty.
        spectrum = sum(residual, mask * spectra[..., self.spectra - 1 :: self.spectra])
        output = torch.cat([spectrum.real, spectrum.imag], dim=-1)
        return output, joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the states of the norms, and of the LSTMs along the frames."""
        return joined(
            {
                "split": self.split.initial_state(batch, like),
                "along": self._initial(self.along, batch, like),
                "across": self._initial(self.across, batch, like),
                "merge": self.merge.initial_state(batch, like),
            }
        )

    def _initial(self, paths: Iterable[Any], batch: int, like: Tensor) -> State:
        return numbered(path.initial_state(batch, len(self.widths), like) for path in paths)

    def _alternate(
        self, bands: Float[Tensor, "band batch frames channel"], along: State, across: State
    ) -> tuple[Float[Tensor, "band batch frames channel"], State, State]:
        """Apply the LSTMs along the frames and across the bands in turn."""
        along_parts, across_parts = parted(along), parted(across)
        after_along, after_across = {}, {}
        for index, (path, other) in enumerate(zip(self.along, self.across, strict=True)):
            name = str(index)
            bands, after_along[name] = path(bands, along_parts[name])
            bands, after_across[name] = other(bands, across_parts[name])
        return bands, joined(after_along), joined(after_across)
