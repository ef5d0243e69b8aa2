"""SEMamba: MP-SENet with state spaces in place of attention: compressed magnitude and phase in and out.

Paper: Chao, Cheng, La Quatra, Siniscalchi, Yang, Fu and Tsao, "An investigation of incorporating Mamba for speech
enhancement", SLT 2024, arXiv:2405.06573.
Differences: follows the authors' code (GitHub RoyChao19477/SEMamba); tests compare the spectra, with the reference scan
of Mamba's authors instead of their CUDA kernels. `semamba` reads the frames both ways, with norms of the whole
utterance. `causal: true` is ours: it runs forwards only, with norms of the past, and streams. Their transform mirrors
the ends of a file, ours starts from silence. They train against a metric discriminator.
Parameters: 2,258,769 at the authors' size, as their code has; 0.28 M in semamba-causal, 5.9 and 5.1 K in semamba-small
and semamba-causal-small. MACs: 41.8, 2.6, 0.047 and 0.042 G/s, without the elementwise products of the scan.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.dense import (
    DenseEncoder,
    DilatedDense,
    LearnedSigmoid,
    MaskDecoder,
    PhaseDecoder,
    Scope,
    channel_normed,
)
from rased.layers.dual_path import DualPath
from rased.layers.mamba import ResidualMamba
from rased.layers.network import Network
from rased.layers.stack import Stack
from rased.layers.unet import UpConv
from rased.signal.state import State, joined, parted

Tokens = Float[Tensor, "batch token channel"]


class Path(nn.Module):
    """Mamba over a sequence, forwards or both ways, and a linear layer, with a residual connection."""

    def __init__(
        self, channels: int, *, both: bool, expand: int, states: int, kernel_size: int
    ) -> None:
        super().__init__()
        self.readers = nn.ModuleList(
            ResidualMamba(channels, expand=expand, states=states, kernel_size=kernel_size)
            for _ in range(2 if both else 1)
        )
        self.linear = nn.Linear((2 if both else 1) * channels, channels)

    def forward(self, tokens: Tokens, state: State) -> tuple[Tokens, State]:
        """Run the path; continue from `state` if it only runs forwards."""
        read, state = self.readers[0](tokens, state)
        if len(self.readers) == 2:
            back, _ = self.readers[1](tokens.flip(1), {})
            read, state = torch.cat([read, back.flip(1)], dim=-1), {}
        return tokens + self.linear(read), state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence for one direction; both directions need the whole sequence, and start without a state."""
        if len(self.readers) == 2:
            return {}
        return self.readers[0].initial_state(batch, like)  # type: ignore[operator]


class SEMamba(Network):
    """Encoder, blocks, a gain for the compressed magnitude, a phase.

    Args:
        inputs: real parts of all bins, then imaginary parts (features: [complex]); an odd number of bins.
        outputs: the same, magnitudes to the power of `compression` (target: compressed_complex).
        channels: channels of all layers.
        blocks: pairs of paths.
        depth: convolutions in a dense block.
        expand: inner channels of a Mamba layer per channel.
        states: states per inner channel.
        compression: exponent of the magnitudes.
        causal: run along the frames forwards only, with norms of the past.
    """

    paper = (
        "Chao, Cheng, La Quatra, Siniscalchi, Yang, Fu, Tsao: An investigation of incorporating Mamba for speech "
        "enhancement. SLT 2024, arXiv:2405.06573"
    )
    published_in = "authors' code"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int = 64,
        blocks: int = 4,
        depth: int = 4,
        expand: int = 4,
        states: int = 16,
        compression: float = 0.3,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.freq, self.causal, self.compression = outputs // 2, causal, compression
        if inputs != outputs or self.freq % 2 != 1:
            raise RasedError(
                f"SEMamba maps a complex spectrum with an odd number of bins to another, but got {inputs} "
                f"inputs and {outputs} outputs: choose features: {{kinds: [complex]}}, no context, "
                "target: compressed_complex and an n_fft that 4 divides."
            )
        scope: Scope = "past" if causal else "utterance"

        def dense() -> DilatedDense:
            return channel_normed(channels, depth, kernel_frames=3, scope=scope, centred=not causal)

        def up() -> UpConv:
            return UpConv(channels, channels, (1, 3))

        def path(*, both: bool) -> Path:
            return Path(channels, both=both, expand=expand, states=states, kernel_size=4)

        # Without padding, 2 n + 1 bins become n bands, and `up` makes 2 n + 1 of them again.
        self.encoder = DenseEncoder(2, channels, dense(), around=0, scope=scope)
        self.blocks = Stack(DualPath(path(both=not causal), path(both=True)) for _ in range(blocks))
        gain = LearnedSigmoid(self.freq, 2.0)
        self.magnitude = MaskDecoder(channels, dense(), up(), width=1, gain=gain, scope=scope)
        self.phase = PhaseDecoder(channels, dense(), up(), width=1, scope=scope)
        paper_sizes = (self.freq, channels, blocks, depth, expand, states, causal)
        paper = paper_sizes == (201, 64, 4, 4, 4, 16, False)
        self.published_parameters = 2_258_769 if paper else None

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames outputs"], State]:
        """Return the compressed spectrum."""
        parts, after = parted(state), {}
        real, imaginary = frames.float().chunk(2, dim=-1)
        magnitude, phase = _polar(real, imaginary, self.compression)
        seen = torch.stack([magnitude, phase], dim=1)
        bands, after["encoder"] = self.encoder(seen, parts["encoder"])
        bands, after["blocks"] = self.blocks(bands, parts["blocks"])
        gain, after["magnitude"] = self.magnitude(bands, parts["magnitude"])
        direction, after["phase"] = self.phase(bands, parts["phase"])
        enhanced = (magnitude * gain)[:, None] * direction
        return rearrange(enhanced, "n part t f -> n t (part f)"), joined(after)

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return silence, and the initial states of the norms."""
        bands = self.encoder.size(self.freq)
        return joined(
            {
                "encoder": self.encoder.initial_state(batch, self.freq, like),
                "blocks": self.blocks.initial_state(batch, bands, like),
                "magnitude": self.magnitude.initial_state(batch, bands, like),
                "phase": self.phase.initial_state(batch, bands, like),
            }
        )


def _polar(
    real: Float[Tensor, "batch frames freq"],
    imaginary: Float[Tensor, "batch frames freq"],
    exponent: float,
) -> tuple[Float[Tensor, "batch frames freq"], Float[Tensor, "batch frames freq"]]:
    """Return magnitudes to the power of `exponent`, and phases; 0 for silence, with finite gradients.

    Where the imaginary part is 0, the phase is 0 or pi, whatever the sign of that zero.
    """
    # The lowest and the highest bin are real. Transforms disagree on the sign of their zeros, and so does ONNX: it
    # has no atan2, and the exporter builds one that gives -pi for negative numbers.
    imaginary = functional.pad(imaginary[..., 1:-1], (1, 1))
    power = real.square() + imaginary.square()
    heard = power > 0
    # Harmless values where the result is not used: the gradients of a root and of atan2 are infinite at 0.
    magnitude = torch.where(heard, power, 1.0) ** (exponent / 2) * heard
    flat = (imaginary == 0) | ~heard
    angle = torch.atan2(imaginary, torch.where(flat, 1.0, real))
    return magnitude, torch.where(flat, torch.pi * (real < 0), angle)
