"""DNN: fully connected layers that map a frame with its context and a noise estimate to a clean log-power frame.

Paper: Xu, Du, Dai and Lee, "A regression approach to speech enhancement based on deep neural
networks", IEEE/ACM TASLP 23(1), 2015, doi:10.1109/TASLP.2014.2364452 (first: SPL 21(1), 2014).
Differences: rectifiers instead of sigmoids, so no layer-wise pre-training; 257 bins at 16 kHz instead of
129 at 8 kHz (or 257 at 16 kHz). Context, noise estimate and normalisation are set by the enhancer's
`inputs`. The paper gives no parameter count.
Parameters: 13.1 M for the paper's three layers of 2048 with 7 frames and the noise estimate; MACs:
0.82 G/s.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.network import Network, State


class DNN(Network):
    """A feed-forward network without memory; other frames are visible only through its input.

    Args:
        inputs: features of a frame.
        outputs: numbers to predict for a frame.
        hidden: width of each layer.
        layers: number of hidden layers.
        dropout: dropout rate after each hidden layer, in training.
    """

    paper = (
        "Xu, Du, Dai, Lee: A regression approach to speech enhancement based on deep neural "
        "networks. IEEE/ACM TASLP 23(1), 2015, doi:10.1109/TASLP.2014.2364452"
    )

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int = 2048,
        layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = [inputs] + [hidden] * layers
        blocks: list[nn.Module] = []
        for wide, narrow in pairwise(sizes):
            blocks += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*blocks, nn.Linear(sizes[-1], outputs))

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process each frame independently."""
        return self.layers(frames), state
