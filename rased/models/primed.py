"""An enhancer that hears the beginning of a file before it enhances the file; not causal.

A recurrent network starts with a state that knows neither noise nor level nor voice, and needs some time to adapt. In a
file, the beginning can be heard twice: once to adapt, once to be enhanced. This helps short files most, and hardly
changes the rest of a long one. Any causal enhancer will do, with its weights as they are.
Parameters: those of the enhancer. MACs: for each second of the beginning those of two seconds.
"""

from dataclasses import replace

import torch

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction, Several
from rased.signal.domains import Domain, Waveform
from rased.signal.stft import STFT


class Primed(Several):
    """Runs an enhancer on the beginning of a file followed by the file, and returns the second part.

    Args:
        enhancer: a causal enhancer of one channel, without conditions and random numbers.
        seconds: length of the beginning; of a shorter file, all of it.

    Raises:
        RasedError: `enhancer` does not fit, or `seconds` is not above 0.
    """

    domains: tuple[Domain, ...] = ("waveform", "spectrum")

    def __init__(self, enhancer: Enhancer, seconds: float = 10.0) -> None:
        super().__init__()
        alone = enhancer.channels == 1 and not enhancer.conditions and not enhancer.samples
        if not enhancer.causal or not alone:
            raise RasedError(
                "Primed needs a causal enhancer of one channel, without conditions and random numbers, which "
                f"{type(enhancer).__name__} is not: choose another one."
            )
        if seconds <= 0:
            raise RasedError(f"Primed: seconds is {seconds}; give a number above 0, such as 10.")
        self.enhancer, self.seconds = enhancer, seconds
        self.sample_rate, self.paper = enhancer.sample_rate, enhancer.paper
        if enhancer.transform is None:
            self.domains = ("waveform",)

    @property
    def parts(self) -> list[Enhancer]:
        """Return the enhancer."""
        return [self.enhancer]

    @property
    def transform(self) -> STFT | None:
        """Return the transform of the enhancer."""
        return self.enhancer.transform

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Enhance the beginning and the file in one piece."""
        # Whole chunks, so that the frames of the file are those that it has alone.
        chunk = self.enhancer.chunk_length or 1
        first = round(self.seconds * self.sample_rate) // chunk * chunk
        beginning = noisy[..., : min(first, noisy.shape[-1] // chunk * chunk)]
        prediction = self.enhancer.predict(torch.cat([beginning, noisy], dim=-1))
        estimate = prediction.estimate[..., beginning.shape[-1] :]
        if self.transform is None:
            return Prediction(estimate)
        spectra = (self.transform.analysis(estimate), self.transform.analysis(noisy))
        return replace(Prediction(estimate), spectrum=spectra[0], noisy_spectrum=spectra[1])
