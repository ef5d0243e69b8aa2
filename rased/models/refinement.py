"""A network that refines the estimate of a first enhancer, and hears the noisy input as well; not causal.

Li, Liu, Zheng, Fan and Li, "Two heads are better than one: a two-stage complex spectral mapping approach for monaural
speech enhancement", IEEE/ACM TASLP 29, 2021, doi:10.1109/TASLP.2021.3079813, arXiv:2011.01561 (CTS-Net): the second
network gets the noisy spectrum and the coarse one, and adds to the coarse one what is missing.
Differences: the first enhancer is any one, such as a checkpoint (`rased train --from NAME --into first`), and so is the
network. Here the first stage may work with another transform, and the whole file is heard, so it does not stream.
Parameters and MACs: the sums of those of both.
"""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange

from rased.errors import RasedError
from rased.layers.level import Level
from rased.layers.network import Network
from rased.models.base import Condition, Enhancer, Generators, Prediction, Several
from rased.signal.domains import Domain, Waveform
from rased.signal.features import complex_parts, from_complex_parts
from rased.signal.stft import STFT


class Refinement(Several):
    """Refines the estimate of an enhancer.

    Args:
        first: an enhancer of one channel, without conditions and random numbers.
        network: maps the parts of both spectra (noisy, then estimate; real, then imaginary) to a spectrum; called with
            the sizes (`Network`).
        residual: add the spectrum of the estimate to the output of the network.
        stft: the transform of the network.
        level: normalise the level of the noisy waveform, and undo it at the output. None: no normalisation.

    Raises:
        RasedError: `first` does not fit.
    """

    domains: tuple[Domain, ...] = ("waveform", "spectrum")

    def __init__(
        self,
        first: Enhancer,
        network: Callable[[int, int], Network],
        *,
        residual: bool = True,
        stft: STFT = STFT(),  # noqa: B008 (frozen)
        level: Level | None = None,
    ) -> None:
        super().__init__()
        if first.channels != 1 or first.conditions or first.samples:
            raise RasedError(
                "Refinement needs a first enhancer of one channel, without conditions and random numbers, which "
                f"{type(first).__name__} is not: choose another one."
            )
        self.first, self.sample_rate = first, first.sample_rate
        self.stft, self.level, self.residual = stft, level, residual
        self.network = network(4 * stft.freq, 2 * stft.freq)
        self.paper = (
            "Li, Liu, Zheng, Fan, Li: Two heads are better than one: a two-stage complex spectral mapping approach for "
            "monaural speech enhancement. IEEE/ACM TASLP 29, 2021, doi:10.1109/TASLP.2021.3079813"
        )

    @property
    def parts(self) -> Sequence[Enhancer]:
        """Return the first enhancer."""
        return (self.first,)

    @property
    def mirrors(self) -> bool:
        """Return whether one of the two transforms mirrors the ends."""
        return super().mirrors or self.stft.pad_mode != "constant"

    @property
    def transform(self) -> STFT:
        """Return the transform of the network."""
        return self.stft

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Enhance with the first enhancer, then refine."""
        time, gains = noisy.shape[-1], 1.0 if self.level is None else self.level.whole(noisy)
        heard = torch.stack([noisy, self.first.predict(noisy).estimate.to(noisy)])
        both = self.stft.analysis((heard * gains).flatten(0, 1))
        frames = rearrange(complex_parts(both), "(which n) f t -> n t (which f)", which=2)
        state = self.network.initial_state(len(noisy), frames)
        output, _ = self.network(frames, state)
        spectrum = from_complex_parts(rearrange(output.float(), "n t f -> n f t"))
        if self.residual:
            spectrum = spectrum + both[len(noisy) :]
        estimate = self.stft.synthesis(spectrum, time) / gains
        return Prediction(estimate, self.stft.analysis(estimate), self.stft.analysis(noisy))
