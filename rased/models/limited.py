"""An enhancer that attenuates nothing by more than a limit, around any other enhancer.

A bin of the estimate that is more than `limit_db` below the noisy one is replaced by the noisy one at this level: the
spectral floor of M. Berouti, R. Schwartz, J. Makhoul, "Enhancement of speech corrupted by acoustic noise", ICASSP 1979.
Louder bins stay. In noise alone, the power of the output is at least that of the limit, and at most the sum of it and
of what the enhancer leaves: within 0.5 dB of the limit where the enhancer removes 10 dB more.
"""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError, shown
from rased.models.base import Condition, Enhancer, Generators, Prediction, SpectralEnhancer, State
from rased.signal.domains import Spectrum, Waveform
from rased.signal.gains import floored
from rased.signal.state import delayed, initial_past, joined, parted
from rased.signal.stft import STFT

_HOP_SECONDS = (0.004, 0.010)
"""Shortest and longest hop of the transform around an enhancer that has none of its own."""


def limited(enhancer: Enhancer, limit_db: float | None) -> Enhancer:
    """Return an enhancer that attenuates nothing by more than `limit_db`; None: the same enhancer.

    An enhancer that only processes a spectrum (`is_all_spectral`), without conditions, is limited in its own transform,
    without additional latency. Any other one gets a transform around it, which adds one to two hops to the latency.

    Raises:
        RasedError: `limit_db` is not a number of at least 0.
    """
    if limit_db is None:
        return enhancer
    spectral = isinstance(enhancer, SpectralEnhancer) and enhancer.is_all_spectral
    if spectral and not enhancer.conditions and not enhancer.samples:
        return LimitedSpectrum(cast(SpectralEnhancer, enhancer), limit_db).train(enhancer.training)
    return Limited(enhancer, limit_db).train(enhancer.training)


def checked_limit(limit_db: Any) -> float:
    """Return a limit in decibels.

    Raises:
        RasedError: it is not a number of at least 0.
    """
    number = isinstance(limit_db, int | float) and not isinstance(limit_db, bool)
    if not number or not 0 <= limit_db < math.inf:
        raise RasedError(
            f"the limit of the attenuation is {shown(limit_db)}; give decibels of at least 0, such as 12."
        )
    return float(limit_db)


class LimitedSpectrum(SpectralEnhancer):
    """Limits a spectral enhancer in its own transform, without additional latency.

    Args:
        enhancer: a spectral enhancer that `is_all_spectral`, without conditions.
        limit_db: largest attenuation of a bin; 0 returns the input.

    Raises:
        RasedError: `limit_db` is not a number of at least 0.
    """

    def __init__(self, enhancer: SpectralEnhancer, limit_db: float) -> None:
        super().__init__(
            stft=enhancer.stft,
            sample_rate=enhancer.sample_rate,
            causal=enhancer.causal,
            lookahead=enhancer.lookahead,
        )
        self.enhancer, self.limit_db = enhancer, checked_limit(limit_db)
        self.latency, self.chunk_length = enhancer.latency, enhancer.chunk_length
        self.paper, self.card = enhancer.paper, enhancer.card

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Enhance frames, and raise the bins that fall below the limit."""
        parts = parted(state)
        prediction, after = self.enhancer.process(spectrum, parts["enhancer"])
        noisy, line = delayed(spectrum, parts["delay"])
        assert prediction.spectrum is not None
        estimate = floored(prediction.spectrum, noisy, self.limit_db)
        return Prediction.of_spectrum(estimate), joined({"enhancer": after, "delay": line})

    def initial_process_state(self, batch: int) -> State:
        """Return the state of the enhancer, and silence that delays the noisy frames as much as the estimate."""
        inner = self.enhancer.initial_process_state(batch)
        like = torch.zeros((), device=_device(self))
        return joined(
            {
                "enhancer": inner,
                "delay": initial_past(batch, self.stft.freq, self.lookahead, like),
            }
        )


class Limited(Enhancer):
    """Limits any enhancer in a transform around it.

    Args:
        enhancer: any enhancer; one of several channels is compared with the first channel.
        limit_db: largest attenuation of a bin; 0 returns the input.

    Raises:
        RasedError: `limit_db` is not a number of at least 0.
    """

    def __init__(self, enhancer: Enhancer, limit_db: float) -> None:
        super().__init__()
        self.enhancer, self.limit_db = enhancer, checked_limit(limit_db)
        self.sample_rate, self.channels = enhancer.sample_rate, enhancer.channels
        self.conditions, self.samples = enhancer.conditions, enhancer.samples
        self.paper, self.card = enhancer.paper, enhancer.card
        hop = _hop(enhancer)
        self.stft = STFT(n_fft=2 * hop, hop_length=hop, win_length=2 * hop)
        self._wait = self._late = 0
        if enhancer.latency is not None and enhancer.chunk_length is not None:
            self.chunk_length = math.lcm(hop, enhancer.chunk_length)
            # Whole hops: the frames of a stream begin where those of a file do.
            self._wait = -(-enhancer.latency // hop) * hop
            self._late = self._wait - enhancer.latency
            self.latency = self._wait + self.stft.latency

    @property
    def mirrors(self) -> bool:
        """Return whether the enhancer mirrors the ends."""
        return self.enhancer.mirrors

    def predict(
        self,
        noisy: Float[Tensor, "batch *channel time"],
        *,
        condition: Condition | None = None,
        generator: Generators = None,
    ) -> Prediction:
        """Enhance, and raise the bins that fall below the limit."""
        # The last frames of a stream also cover what the enhancer returns after the end.
        tail = self.stft.win_length if self.causal else 0
        heard = functional.pad(noisy, (0, tail))
        options = self.enhancer.options(len(noisy), condition=condition, generator=generator)
        estimate = self.stft.analysis(self.enhancer.predict(heard, **options).estimate)
        spectrum = floored(estimate, self.stft.analysis(self._reference(heard)), self.limit_db)
        return Prediction(self.stft.synthesis(spectrum, noisy.shape[-1]))

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the state of the enhancer and silent buffers; `begun` is 1 from the first sample of the stream."""
        if not self.causal:
            return super().initial_state(batch)
        own = {"condition": condition} if self.conditions else {}
        lengths = {"estimate": self._late, "noisy": self._wait, "begun": self._wait}
        lines = {
            name: torch.zeros(batch, length, device=_device(self))
            for name, length in lengths.items()
            if length
        }
        transform = self.stft.initial_state(batch, lines.get("noisy"))
        states = {
            "enhancer": self.enhancer.initial_state(batch, **own),
            "delay": lines,
            "reference": {"analysis": transform["analysis"].clone()},
        }
        return {**transform, **joined(states)}

    def step(
        self, chunk: Float[Tensor, "batch *channel chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Enhance a chunk, delay the input as much as the estimate, and raise the bins below the limit."""
        if not self.causal:
            return super().step(chunk, state)
        parts = parted(state)
        estimate, inner = self.enhancer.step(chunk, parts["enhancer"])
        reference, lines = self._reference(chunk), parts["delay"]
        late, estimate_line = _late(estimate, lines, "estimate")
        dry, noisy_line = _late(reference, lines, "noisy")
        begun, begun_line = _late(torch.ones_like(reference), lines, "begun")
        # What the enhancer returns for the time before the stream is not part of a file.
        wet, analysis = self.stft.analysis_step(late * begun, state["analysis"])
        noisy, before = self.stft.analysis_step(dry, parts["reference"]["analysis"])
        limited = floored(wet, noisy, self.limit_db)
        ready, synthesis = self.stft.synthesis_step(limited, state["synthesis"])
        after = {
            "enhancer": inner,
            "delay": {**estimate_line, **noisy_line, **begun_line},
            "reference": {"analysis": before},
        }
        return ready, {"analysis": analysis, "synthesis": synthesis, **joined(after)}

    def _reference(self, noisy: Float[Tensor, "batch *channel time"]) -> Waveform:
        return noisy if self.channels == 1 else noisy[:, 0]


def _late(waveform: Waveform, lines: State, name: str) -> tuple[Waveform, State]:
    """Delay a waveform by the samples in a line; without a line of this name, not at all."""
    if name not in lines:
        return waveform, {}
    whole, size = torch.cat([lines[name], waveform], dim=-1), waveform.shape[-1]
    return whole[:, :size], {name: whole[:, size:].clone()}


def _device(enhancer: Enhancer) -> torch.device | None:
    """Return the device of an enhancer; None for one without tensors."""
    like = next(enhancer.parameters(), next(enhancer.buffers(), None))
    return None if like is None else like.device


def _hop(enhancer: Enhancer) -> int:
    """Return a hop of about 4 to 10 ms that divides the chunk of the enhancer, or is a multiple of it."""
    least, most = (round(seconds * enhancer.sample_rate) for seconds in _HOP_SECONDS)
    chunk = enhancer.chunk_length
    if chunk is None:
        return most
    if chunk < least:
        return chunk * -(-least // chunk)
    return next((hop for hop in range(most, least - 1, -1) if chunk % hop == 0), chunk)
