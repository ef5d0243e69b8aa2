"""A checkpoint of the zoo as a part of a configuration: a network that is not trained."""

from torch import Tensor, nn

from rased.construction import Remembered
from rased.signal.domains import Waveform
from rased.zoo import load


class Frozen(Remembered, nn.Module):
    """An enhancer by its name, in eval mode and without gradients for its weights.

    Args:
        name: whatever `rased.load` takes: a checkpoint, a run, a folder.
        allow: packages, besides rased, whose classes may be built.

    Raises:
        RasedError: see `rased.load`.
    """

    def __init__(self, name: str, allow: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.enhancer = load(name, allow=allow).eval().requires_grad_(False)

    def forward(self, noisy: Waveform) -> Tensor:
        """Return the enhanced waveform."""
        return self.enhancer(noisy)
