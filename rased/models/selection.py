"""Several enhancers on the same spectrum, between which a network chooses: for each bin, or for each frame by the SNR.

Papers: H. Shi, L. Wang, M. Ge, S. Li, J. Dang, "Spectrograms fusion with minimum difference masks estimation for
monaural speech dereverberation", ICASSP 2020, doi:10.1109/ICASSP40776.2020.9054661 (`MinimumDifferenceFusion`);
S.-W. Fu, Y. Tsao, X. Lu, "SNR-aware convolutional neural network modeling for speech enhancement", Interspeech 2016,
doi:10.21437/Interspeech.2016-211, its second algorithm (`SNRSelection`).
Differences: any enhancers of one transform can be combined, and any network can choose. In the first paper, the
spectra are outputs of one network. In the second one, the networks are convolutional, and the ratio is that of an
utterance, here that of the past, so that it streams. All enhancers run all the time, as their memories have to follow
the input.
Parameters and MACs: the sums of those of the enhancers and of the network.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.layers.frontend import Inputs, InputStage
from rased.layers.network import Network
from rased.models.base import Prediction, Several, SpectralEnhancer, State
from rased.signal import features as feature
from rased.signal.domains import Bins, Features, Spectrum, Waveform
from rased.signal.phase import unit_phase
from rased.signal.state import delayed, initial_past, joined, numbered, parted
from rased.signal.stft import STFT

_GAIN_LIMIT = 10.0
"""Largest logarithm of a power ratio among the inputs of the network: 43 dB."""


@dataclass(frozen=True)
class Choice:
    """What was chosen between.

    Attributes:
        spectra: of each enhancer.
        shares: of each enhancer in the result, for each bin, or with freq = 1 for each frame; they sum up to 1.
        spectrum: the result.
        output: of the network.
    """

    spectra: Complex[Tensor, "batch source freq frames"]
    shares: Float[Tensor, "batch source bins frames"]
    spectrum: Spectrum
    output: Features

    def from_frame(self, first: int) -> "Choice":
        """Return the same without the frames before `first`."""
        parts = (self.spectra, self.shares, self.spectrum, self.output)
        return Choice(*(part[..., first:] for part in parts))


class _Selection(Several, SpectralEnhancer):
    """Base class: runs the enhancers and the network; subclasses define `seen` and `chosen`.

    Args:
        enhancers: at least two, with the same transform, sample rate and look-ahead, without conditions and levels.
        network: chooses; called with the sizes of its inputs and outputs (`Network`).
        inputs: numbers in a frame of `seen`.
        outputs: numbers in a frame of the output of the network.

    Raises:
        RasedError: the enhancers do not fit together.
    """

    def __init__(
        self,
        enhancers: Sequence[SpectralEnhancer],
        network: Callable[[int, int], Network],
        *,
        inputs: int,
        outputs: int,
    ) -> None:
        first = enhancers[0]
        chooser = network(inputs, outputs)
        causal = chooser.causal and all(one.causal for one in enhancers)
        super().__init__(
            stft=first.stft,
            sample_rate=first.sample_rate,
            causal=causal,
            lookahead=first.lookahead,
        )
        self.enhancers = nn.ModuleList(enhancers)
        self.network = chooser
        # The mean alone: how far a bin rises above it tells how noisy it is.
        rate = self.sample_rate / self.stft.hop_length
        self.normalisation = InputStage(Inputs("running_mean"), self.stft.freq, rate)

    @property
    def parts(self) -> list[SpectralEnhancer]:
        """Return the enhancers."""
        return [cast(SpectralEnhancer, one) for one in self.enhancers]

    def choice(self, noisy: Waveform) -> Choice:
        """Return what is chosen between for whole recordings, such as for a loss."""
        spectrum = functional.pad(self.stft.analysis(noisy), (0, self.lookahead))
        made, _ = self._run(spectrum, self.initial_process_state(len(noisy)))
        return made.from_frame(self.lookahead)

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Run all enhancers, and choose."""
        made, after = self._run(spectrum, state)
        return Prediction.of_spectrum(made.spectrum), after

    def initial_process_state(self, batch: int) -> State:
        """Return the states of the enhancers and of the network, and silence in the delay line."""
        like = next(self.parameters())
        return joined(
            {
                "enhancers": numbered(one.initial_process_state(batch) for one in self.parts),
                "delay": initial_past(batch, self.stft.freq, self.lookahead, like),
                "normalisation": self.normalisation.initial_state(batch, like),
                "network": self.network.initial_state(batch, like),
            }
        )

    def seen(
        self,
        noisy: Float[Tensor, "batch frames freq"],
        gains: Float[Tensor, "batch source freq frames"],
    ) -> Float[Tensor, "batch frames inputs"]:
        """Return the inputs of the network.

        Args:
            noisy: log-power of the input, without its running mean.
            gains: logarithm of the power of each enhancer relative to that of the input, limited.
        """
        raise NotImplementedError(f"{type(self).__name__} must define seen(noisy, gains)")

    def chosen(
        self, output: Features, spectra: Complex[Tensor, "batch source freq frames"]
    ) -> tuple[Float[Tensor, "batch source bins frames"], Spectrum]:
        """Return the shares of the enhancers and the resulting spectrum, from the output of the network."""
        raise NotImplementedError(f"{type(self).__name__} must define chosen(output, spectra)")

    def _run(self, spectrum: Spectrum, state: State) -> tuple[Choice, State]:
        known = parted(state)
        spectra, states = self._enhanced(spectrum, known["enhancers"])
        # As late as the spectra of the enhancers.
        late, delay = delayed(spectrum, known["delay"])
        heard = feature.log_power(late)
        powers = feature.log_power(rearrange(spectra, "n s f t -> (n s) f t"))
        powers = rearrange(powers, "(n s) f t -> n s f t", n=len(spectrum))
        gains = (powers - heard[:, None]).clamp(-_GAIN_LIMIT, _GAIN_LIMIT)
        noisy, normalisation = self.normalisation(heard, known["normalisation"])
        output, network = self.network(self.seen(noisy, gains), known["network"])
        output = rearrange(output.float(), "batch frames out -> batch out frames")
        shares, result = self.chosen(output, spectra)
        after = joined(
            {
                "enhancers": states,
                "delay": delay,
                "normalisation": normalisation,
                "network": network,
            }
        )
        return Choice(spectra, shares, result, output), after

    def _enhanced(
        self, spectrum: Spectrum, state: State
    ) -> tuple[Complex[Tensor, "batch source freq frames"], State]:
        known, spectra, states = parted(state), [], []
        for index, one in enumerate(self.parts):
            prediction, after = one.process(spectrum, known[str(index)])
            assert prediction.spectrum is not None
            spectra.append(prediction.spectrum)
            states.append(after)
        return torch.stack(spectra, dim=1), numbered(states)


class MinimumDifferenceFusion(_Selection):
    """Estimates which enhancer is closest to speech in each bin: the minimum-difference masks (Shi 2020).

    The magnitude is the sum of those of the enhancers, each multiplied by its mask; the masks of a bin sum up to 1. The
    phase is that of the mean of the enhancers.

    Args:
        enhancers: at least two, with the same transform, sample rate and look-ahead, without conditions and levels;
            typically one that masks and one that maps.
        network: estimates the masks; called with the sizes of its inputs and outputs (`Network`).

    Raises:
        RasedError: the enhancers do not fit together.
    """

    paper = (
        "Shi, Wang, Ge, Li, Dang: Spectrograms fusion with minimum difference masks estimation for monaural speech "
        "dereverberation, ICASSP 2020, doi:10.1109/ICASSP40776.2020.9054661"
    )

    def __init__(
        self, enhancers: Sequence[SpectralEnhancer], network: Callable[[int, int], Network]
    ) -> None:
        stft, count = _common(enhancers, type(self).__name__), len(enhancers)
        size = stft.freq
        super().__init__(enhancers, network, inputs=(1 + count) * size, outputs=count * size)

    def seen(
        self,
        noisy: Float[Tensor, "batch frames freq"],
        gains: Float[Tensor, "batch source freq frames"],
    ) -> Float[Tensor, "batch frames inputs"]:
        """Return the noisy input, and what each enhancer makes of it."""
        return torch.cat([noisy, rearrange(gains, "n s f t -> n t (s f)")], dim=-1)

    def chosen(
        self, output: Features, spectra: Complex[Tensor, "batch source freq frames"]
    ) -> tuple[Float[Tensor, "batch source freq frames"], Spectrum]:
        """Return the masks, and the sum of the masked magnitudes with the phase of the mean."""
        masks = rearrange(output, "n (s f) t -> n s f t", s=spectra.shape[1]).softmax(1)
        magnitude: Bins = (masks * spectra.abs()).sum(1)
        return masks, magnitude * unit_phase(spectra.mean(1))


class SNRSelection(_Selection):
    """Estimates the SNR of the past in each frame, and uses the enhancer for its range (Fu 2016).

    Args:
        enhancers: as for `MinimumDifferenceFusion`; the one for the lowest range first.
        network: estimates the SNR; called with the sizes of its inputs and outputs (`Network`).
        edges_db: between the ranges of the SNR, one less than there are enhancers.

    Raises:
        RasedError: the enhancers or edges do not fit together.
    """

    paper = (
        "Fu, Tsao, Lu: SNR-aware convolutional neural network modeling for speech enhancement, Interspeech 2016, "
        "doi:10.21437/Interspeech.2016-211"
    )
    edges: Float[Tensor, " edges"]

    def __init__(
        self,
        enhancers: Sequence[SpectralEnhancer],
        network: Callable[[int, int], Network],
        edges_db: Sequence[float] = (10.0,),
    ) -> None:
        stft = _common(enhancers, type(self).__name__)
        rising = all(a < b for a, b in pairwise((-math.inf, *edges_db, math.inf)))
        if len(edges_db) + 1 != len(enhancers) or not rising:
            raise RasedError(
                f"SNRSelection got {len(enhancers)} enhancers and edges_db {list(edges_db)}: give one edge less than "
                "enhancers, in rising order and finite."
            )
        super().__init__(enhancers, network, inputs=stft.freq, outputs=1)
        self.register_buffer("edges", torch.tensor([*edges_db]), persistent=False)

    def range_of(self, snr_db: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return the index of the enhancer for an SNR."""
        return torch.bucketize(snr_db.contiguous(), self.edges)

    def snr_db(self, choice: Choice) -> Float[Tensor, "batch frames"]:
        """Return the estimated SNR of each frame."""
        return 10 * choice.output[:, 0]

    def seen(
        self,
        noisy: Float[Tensor, "batch frames freq"],
        gains: Float[Tensor, "batch source freq frames"],
    ) -> Float[Tensor, "batch frames inputs"]:
        """Return the noisy input."""
        return noisy

    def chosen(
        self, output: Features, spectra: Complex[Tensor, "batch source freq frames"]
    ) -> tuple[Float[Tensor, "batch source 1 frames"], Spectrum]:
        """Return 1 for one enhancer in each frame, and its spectrum."""
        best = functional.one_hot(self.range_of(10 * output[:, 0]), spectra.shape[1])
        shares = rearrange(best, "n t s -> n s 1 t").to(output.dtype)
        return shares, (shares * spectra).sum(1)


def _common(enhancers: Sequence[SpectralEnhancer], what: str) -> STFT:
    """Return the transform of the enhancers.

    Raises:
        RasedError: they cannot be combined.
    """
    if len(enhancers) < 2:
        raise RasedError(f"{what} got {len(enhancers)} enhancers: give at least two.")
    for one in enhancers:
        spectral = isinstance(one, SpectralEnhancer) and one.is_all_spectral
        if not spectral or one.conditions or one.samples:
            raise RasedError(
                f"{what} combines spectra, but {type(one).__name__} works on the waveform, normalises the level, or "
                "needs a condition or random numbers: choose another one, or average waveforms by "
                "rased.models.fusion.Fusion."
            )
    for name in ("stft", "sample_rate", "lookahead"):
        found = [getattr(one, name) for one in enhancers]
        if any(value != found[0] for value in found):
            raise RasedError(
                f"the enhancers of {what} differ in {name} ({', '.join(map(str, found))}): choose equal ones."
            )
    return enhancers[0].stft
