"""NSNet2: log-power in, two GRUs between fully connected layers, one gain for each frequency out.

Paper: Braun and Tashev, "Data augmentation and loss normalization for deep noise suppression",
SPECOM 2020,
arXiv:2008.06412 (and the baseline of the DNS Challenge).
Here: sizes are arguments; the gain comes from the target (a sigmoid for every real mask) and the
loss from the training.
Parameters: 2.78 M at the paper's sizes with a 512-point transform (published 2.8 M); 174 M MAC/s.
"""

from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.network import Network


class NSNet2(Network):
    """Fully connected, GRUs, three fully connected; causal.

    Args:
        inputs: features of a frame.
        outputs: numbers to predict for a frame.
        hidden: width of the first layer and of the GRUs.
        layers: number of GRUs.
        expansion: width of the two fully connected layers behind them.
    """

    paper = (
        "Braun, Tashev: Data augmentation and loss normalization for deep noise suppression. "
        "SPECOM 2020, arXiv:2008.06412"
    )

    def __init__(
        self, inputs: int, outputs: int, *, hidden: int = 400, layers: int = 2, expansion: int = 600
    ) -> None:
        super().__init__()
        if (hidden, layers, expansion) == (400, 2, 600):
            self.published_parameters = 2_780_000
        self.encoder = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.recurrent = nn.GRU(hidden, hidden, layers, batch_first=True)
        self.decoder = nn.Sequential(
            nn.Linear(hidden, expansion),
            nn.ReLU(),
            nn.Linear(expansion, expansion),
            nn.ReLU(),
            nn.Linear(expansion, outputs),
        )

    def forward(
        self,
        frames: Float[Tensor, "batch frames inputs"],
        state: Float[Tensor, "layers batch hidden"],
    ) -> tuple[Float[Tensor, "batch frames outputs"], Float[Tensor, "layers batch hidden"]]:
        """Encode, remember, decode."""
        remembered, state = self.recurrent(self.encoder(frames), state)
        return self.decoder(remembered), state

    def initial_state(self, batch: int, like: Tensor) -> Float[Tensor, "layers batch hidden"]:
        """Zeros."""
        return like.new_zeros(self.recurrent.num_layers, batch, self.recurrent.hidden_size)
