"""LSTM: recurrent layers over frames and one linear layer, for the phase-sensitive mask.

Paper: Erdogan, Hershey, Watanabe and Le Roux, "Phase-sensitive and recognition-boosted speech
separation using deep recurrent neural networks", ICASSP 2015, doi:10.1109/ICASSP.2015.7178061
(after Weninger et al., LVA/ICA 2015: two layers of 256).
Differences: log-power of all bins instead of 100 mel bands; the sigmoid of the mask is part of the target;
unidirectional by default, so that it streams. The papers give no parameter count.
Parameters: 1.12 M; MACs: 70 M/s at 257 bins and 62.5 frames a second.
"""

from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.network import Network, State
from rased.layers.recurrent import recur, silence


class LSTM(Network):
    """LSTM layers and one linear layer.

    Args:
        inputs: features of a frame.
        outputs: numbers to predict for a frame.
        hidden: width of each layer and direction.
        layers: number of layers.
        bidirectional: also read the utterance backwards (not causal).
        dropout: dropout rate between the layers, in training.
    """

    paper = (
        "Erdogan, Hershey, Watanabe, Le Roux: Phase-sensitive and recognition-boosted speech "
        "separation using deep recurrent neural networks. ICASSP 2015, "
        "doi:10.1109/ICASSP.2015.7178061"
    )

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int = 256,
        layers: int = 2,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.causal = not bidirectional
        self.recurrent = nn.LSTM(
            inputs, hidden, layers, batch_first=True, bidirectional=bidirectional, dropout=dropout
        )
        self.decoder = nn.Linear(hidden * (2 if bidirectional else 1), outputs)

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        remembered, state = recur(self.recurrent, frames, state)
        return self.decoder(remembered), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros for hidden and cell state of every layer and direction."""
        return silence(self.recurrent, batch, like)
