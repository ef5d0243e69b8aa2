"""R-CED: convolutions along the frequencies of a frame, whose input channels are the frames up to it.

Paper: Park and Lee, "A fully convolutional neural network for speech enhancement", Interspeech 2017,
doi:10.21437/Interspeech.2017-1465, arXiv:1609.07132.
Differences: the authors publish no code, so nothing is compared. 16 kHz instead of
8 kHz with the same 129 bins; a softplus keeps the magnitude positive. Context and normalisation are set by the
enhancer's `inputs`. The variant with skips, and CR-CED, which repeats widths, are not here.
Parameters: 32.8 K (published: 33 K); MACs: 1.0 G/s.
"""

from collections.abc import Sequence
from itertools import pairwise

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.layers.network import Network, State

_FILTERS = (12, 16, 20, 24, 32, 24, 20, 16, 12)
_KERNELS = (13, 11, 9, 7, 7, 7, 9, 11, 13)
"""Of R-CED with ten convolutions; the last one has one filter as long as the spectrum."""


class RCED(Network):
    """Many narrow convolutions instead of few wide ones; without memory but for the frames in its input.

    Args:
        inputs: magnitudes of all bins, of all frames of the context.
        outputs: one for each bin.
        filters: of each layer but the last.
        kernel_sizes: bins that each of them sees, odd; the last one sees all.

    Raises:
        RasedError: another target, or sizes that do not fit together.
    """

    paper = (
        "Park, Lee: A fully convolutional neural network for speech enhancement. Interspeech 2017, "
        "doi:10.21437/Interspeech.2017-1465"
    )
    published_in = "paper, not checked"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        filters: Sequence[int] = _FILTERS,
        kernel_sizes: Sequence[int] = _KERNELS,
    ) -> None:
        super().__init__()
        if inputs % outputs:
            raise RasedError(
                "R-CED maps the magnitudes of all bins to those of a frame: write features: {kinds: [magnitude]} and "
                "target: magnitude."
            )
        if not filters or len(filters) != len(kernel_sizes) or min(*filters, *kernel_sizes) < 1:
            raise RasedError(
                f"R-CED: filters {list(filters)} and kernel_sizes {list(kernel_sizes)} must be as many, each at least "
                "1."
            )
        self.context = inputs // outputs
        sizes = (self.context, tuple(filters), tuple(kernel_sizes))
        if sizes == (8, tuple(_FILTERS), tuple(_KERNELS)):
            self.published_parameters = 33_000
        layers: list[nn.Module] = []
        for (size, wider), kernel in zip(
            pairwise([self.context, *filters]), kernel_sizes, strict=True
        ):
            layers += [
                nn.Conv1d(size, wider, kernel, padding="same"),
                nn.BatchNorm1d(wider),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv1d(filters[-1], 1, outputs, padding="same"))

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process each frame independently."""
        # A frame is an example of the batch, and its context frames are channels.
        bins = rearrange(frames, "n t (context f) -> (n t) context f", context=self.context)
        return rearrange(self.layers(bins), "(n t) 1 f -> n t f", n=frames.shape[0]), state
