"""The interface of all enhancers: waveform in, waveform out, equal length, and streaming that equals `forward`."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

# Renamed to itself: the models import it from here.
from rased.conditions import Condition as Condition
from rased.conditions import Given, as_tensors
from rased.construction import Remembered
from rased.errors import RasedError
from rased.layers.prediction import Prediction
from rased.signal.domains import Domain, Spectrum, Waveform
from rased.signal.state import State, joined, parted
from rased.signal.stft import STFT

Generators = Sequence[torch.Generator] | None
"""One CPU generator per row, or None. A model that samples draws on the CPU and moves the numbers to its device."""


def generators(keys: Iterable[str]) -> list[torch.Generator]:
    """Return one generator for each key; equal keys give equal numbers on every machine."""
    # Seven bytes always fit the signed 64-bit seed of torch.
    seeds = (int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") for key in keys)
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class Enhancer(Remembered, nn.Module):
    """Base class of enhancers.

    Attributes:
        sample_rate: sample rate of input and output in Hz.
        channels: number of microphones that `predict` takes; it returns one waveform for any number.
        latency: samples by which the concatenated output of `step` lags its input; None for a model
            that needs the whole utterance.
        chunk_length: hop in samples; `step` takes any multiple of it. None if latency is None.
        conditions: names of the tensors that `predict` needs in addition to the waveform.
        samples: `predict` draws random numbers, all of them from the given `generator`.
        domains: where a loss may compare; the domains that `ideal` supports.
        paper: authors, title, venue, DOI or arXiv; "" for none.
        published_parameters: number of parameters that others give for these sizes; None if nobody does.
        published_in: where this number is from; counted in that code, if it is code.
        card: zoo card of the weights; None for a new model.
        version: version of the computation. Increase it when the same settings and weights give another output, so
            that old and new results can be distinguished.
    """

    version: ClassVar[int] = 1
    sample_rate: int = 16_000
    channels: int = 1
    latency: int | None = None
    chunk_length: int | None = None
    conditions: tuple[str, ...] = ()
    samples: bool = False
    domains: tuple[Domain, ...] = ("waveform",)
    paper: str = ""
    published_parameters: int | None = None
    published_in: str = ""
    card: dict[str, Any] | None = None

    @property
    def causal(self) -> bool:
        """Return whether the model can stream."""
        return self.latency is not None

    @property
    def algorithmic_latency(self) -> int | None:
        """Return the input samples needed before the first of them is output: window and look-ahead.

        It is `latency + chunk_length`: an output sample depends on at most `algorithmic_latency - 1` later input
        samples. None for a model that needs the whole utterance.
        """
        if self.latency is None or self.chunk_length is None:
            return None
        return self.latency + self.chunk_length

    @property
    def buffering(self) -> int | None:
        """Return the samples that are collected while the previous chunk is processed: `chunk_length`, the hop."""
        return self.chunk_length

    @property
    def total_latency(self) -> int | None:
        """Return the total delay in samples, as usual in the field: window, look-ahead and hop.

        It is `algorithmic_latency + buffering`, the "frame size T + stride Ts + look-ahead" of the DNS Challenge
        (ICASSP 2021), whose limit is 40 ms. For windows of 512 every 256 samples at 16 kHz it is 48 ms.
        """
        if self.algorithmic_latency is None or self.buffering is None:
            return None
        return self.algorithmic_latency + self.buffering

    @property
    def transform(self) -> STFT | None:
        """Return the transform of the spectra in `Prediction`; None for a model without one."""
        return None

    @property
    def mirrors(self) -> bool:
        """Return whether the ends of a file are mirrored; then appended silence changes the output before it."""
        return False

    @property
    def needs_statistics(self) -> bool:
        """Return whether `fit_statistics` must be called before training."""
        return False

    def fit_statistics(
        self, batches: Iterable[tuple[Float[Tensor, "batch *channel time"], Waveform]]
    ) -> None:
        """Compute statistics of (noisy, target) batches before training; most models need none."""

    def ideal(
        self, domain: Domain, *, noisy: Float[Tensor, "batch *channel time"], target: Waveform
    ) -> Tensor:
        """Return the perfect prediction for a target: the waveform, the spectrum, or the network's output.

        Raises:
            RasedError: the domain is not one of `domains`.
        """
        if domain == "waveform":
            return target
        if domain == "spectrum" and self.transform is not None:
            return self.transform.analysis(target)
        raise RasedError(
            f"{type(self).__name__} has no {domain} to compare; it has: {', '.join(self.domains)}."
        )

    def predict(
        self,
        noisy: Float[Tensor, "batch *channel time"],
        *,
        condition: Condition | None = None,
        generator: Generators = None,
    ) -> Prediction:
        """Enhance a batch of any length, and return everything that a loss may need.

        Args:
            noisy: (batch, time) for one channel, (batch, channel, time) for a model of several.
            condition: the tensors named in `conditions`, as returned by `given`.
            generator: one per row if the model `samples`, so that a row gets the same numbers in any batch.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict(noisy) -> Prediction")

    def options(
        self,
        rows: int,
        *,
        condition: Given | None = None,
        generator: Generators = None,
    ) -> dict[str, Any]:
        """Return the keyword arguments of `predict` for a batch: those that this model declares, checked.

        Without a generator, a model that samples gets one for each row, all equal, so that the output for a
        row does not change from call to call.

        Raises:
            RasedError: a condition does not fit (see `given`), or the number of generators is not `rows`.
        """
        given = self.given(condition, rows)
        options: dict[str, Any] = {"condition": given} if self.conditions else {}
        if self.samples:
            drawn = generators([""] * rows) if generator is None else generator
            if len(drawn) != rows:
                raise RasedError(
                    f"there are {len(drawn)} generators for a batch of {rows}: give one per row."
                )
            options["generator"] = drawn
        return options

    def given(self, condition: Given | None, rows: int = 1) -> dict[str, Tensor]:
        """Return the conditions of a batch, in the form that `predict` and `initial_state` take.

        Args:
            condition: tensors or arrays of (rows, ...), or files of one row, by name; audio files are resampled to
                `sample_rate`, other files are .npy. A single row is used for all rows.
            rows: rows of the batch.

        Raises:
            RasedError: a condition is missing, unknown or not readable, or has another number of rows.
        """
        return as_tensors(
            condition,
            names=self.conditions,
            owner=type(self).__name__,
            rows=rows,
            sample_rate=self.sample_rate,
        )

    def forward(
        self,
        noisy: Shaped[Tensor, "*given time"],
        *,
        condition: Given | None = None,
        generator: Generators = None,
    ) -> Float[Tensor, "*batch time"]:
        """Enhance a waveform: float32 in [-1, 1] at `sample_rate`; returns (batch, time) or (time).

        Args:
            noisy: (batch, time) or (time); for a model of several channels (batch, channel, time) or
                (channel, time).
            condition: see `given`.
            generator: see `predict`.

        Raises:
            RasedError: wrong shape or type, or a condition that does not fit.
        """
        self._check(noisy)
        alone = noisy.ndim == (1 if self.channels == 1 else 2)  # one waveform, without a batch axis
        batch = noisy[None] if alone else noisy
        options = self.options(len(batch), condition=condition, generator=generator)
        if "condition" in options:  # files were read to the CPU
            options["condition"] = {
                name: tensor.to(noisy.device) for name, tensor in options["condition"].items()
            }
        estimate = self.predict(batch, **options).estimate
        return estimate[0] if alone else estimate

    def _check(self, noisy: Any) -> None:
        if not isinstance(noisy, Tensor) or not noisy.is_floating_point():
            kind = noisy.dtype if isinstance(noisy, Tensor) else type(noisy).__name__
            raise RasedError(
                f"an enhancer takes a tensor of floating-point samples with full scale 1, not {kind}: use "
                "torch.as_tensor(array).float(), and divide 16-bit samples by 32768."
            )
        shape = tuple(noisy.shape)
        if self.channels == 1:
            if len(shape) not in (1, 2) or not shape[-1]:
                raise RasedError(
                    "an enhancer takes (time) or (batch, time) with at least one sample, not the shape "
                    f"{shape}; to enhance channels separately, pass them as a batch: (channel, time)."
                )
        elif len(shape) not in (2, 3) or not shape[-1] or shape[-2] != self.channels:
            raise RasedError(
                f"{type(self).__name__} takes (channel, time) or (batch, channel, time) of {self.channels} channels, "
                f"with at least one sample, not the shape {shape}."
            )

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the state before the first chunk of a stream: silence, and what depends on the condition.

        A model without memory returns {"nothing": zeros (batch, 1)}, and `step` returns it unchanged.

        Raises:
            RasedError: the model is not causal.
        """
        raise RasedError(
            f"{type(self).__name__} is not causal and cannot stream: enhance whole files with it."
        )

    def step(
        self, chunk: Float[Tensor, "batch *channel chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Enhance the next samples of a stream: any multiple of chunk_length.

        The concatenated outputs equal those of `forward`, `latency` samples later (within 1e-4), for any chunk
        sizes. The given state is not modified.

        Raises:
            RasedError: the model is not causal.
        """
        raise RasedError(
            f"{type(self).__name__} is not causal and cannot stream: enhance whole files with it."
        )


class Several(Enhancer):
    """Base class of an enhancer that is made of others; subclasses define `parts`."""

    @property
    def parts(self) -> Sequence[Enhancer]:
        """Return the enhancers."""
        raise NotImplementedError(f"{type(self).__name__} must define parts")

    @property
    def mirrors(self) -> bool:
        """Return whether an enhancer mirrors the ends."""
        return any(one.mirrors for one in self.parts)

    @property
    def needs_statistics(self) -> bool:
        """Return whether an enhancer does."""
        return any(one.needs_statistics for one in self.parts)

    def fit_statistics(
        self, batches: Iterable[tuple[Float[Tensor, "batch *channel time"], Waveform]]
    ) -> None:
        """Compute the statistics of every enhancer that needs them, for all from the noisy input."""
        pairs = list(batches)
        for one in self.parts:
            if one.needs_statistics:
                one.fit_statistics(
                    (noisy[:, 0] if noisy.ndim > 2 and one.channels == 1 else noisy, target)
                    for noisy, target in pairs
                )


class SpectralEnhancer(Enhancer):
    """An enhancer that works on the STFT; subclasses define `process` and, if causal, `initial_process_state`.

    Files and streams use the same code: a file is one long chunk of frames from the initial
    state. If the transform mirrors the ends of a file, a stream has silence there instead, so the
    frames that extend beyond the ends differ.

    Args:
        stft: the transform.
        sample_rate: Hz.
        causal: the model can stream.
        lookahead: frames by which the output of `process` lags its input; each adds a hop to the latency. A file
            is followed by silence.
    """

    domains: tuple[Domain, ...] = ("waveform", "spectrum")

    def __init__(
        self, *, stft: STFT, sample_rate: int = 16_000, causal: bool = True, lookahead: int = 0
    ) -> None:
        super().__init__()
        self.stft = stft
        self.sample_rate = sample_rate
        self.lookahead = lookahead
        latency = stft.latency + stft.delay + lookahead * stft.hop_length
        self.latency = latency if causal else None
        self.chunk_length = stft.hop_length if causal else None

    @property
    def transform(self) -> STFT:
        """Return the transform around `process`."""
        return self.stft

    @property
    def mirrors(self) -> bool:
        """Return whether the transform mirrors the ends."""
        return self.stft.pad_mode != "constant"

    @property
    def is_all_spectral(self) -> bool:
        """Return whether analysis, `process` and synthesis are all of it: nothing else changes the waveform."""
        return True

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Enhance any number of frames, continuing from `state`; return `Prediction.of_spectrum` and the new state."""
        raise NotImplementedError(f"{type(self).__name__} must define process(spectrum, state)")

    def initial_process_state(self, batch: int) -> State:
        """Return the state of `process` before the first frame; empty without memory."""
        return {}

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Apply the analysis, `process` and the synthesis."""
        noisy_spectrum = self.stft.analysis(noisy)
        prediction = self.predict_spectrum(noisy_spectrum)
        assert prediction.spectrum is not None
        estimate = self.stft.synthesis(prediction.spectrum, noisy.shape[-1])
        return replace(prediction, estimate=estimate, noisy_spectrum=noisy_spectrum)

    def predict_spectrum(self, spectrum: Spectrum, known: State | None = None) -> Prediction:
        """Run `process` on the frames of a whole file, and remove the delay of its output.

        Args:
            spectrum: all frames.
            known: further parts of the initial state of `process`.
        """
        # Frames of silence after the end, so that the last real ones leave the delay.
        padded = functional.pad(spectrum, (0, self.lookahead)) if self.lookahead else spectrum
        state = {**self.initial_process_state(len(spectrum)), **(known or {})}
        prediction, _ = self.process(padded, state)
        return prediction.from_frame(self.lookahead)

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return silent buffers of the transform, and the initial state of `process`."""
        if not self.causal:
            return super().initial_state(batch)
        # A model without parameters follows its buffers, if any.
        like = next(self.parameters(), next(self.buffers(), None))
        process = self.initial_process_state(batch)
        return {**self.stft.initial_state(batch, like), **joined({"process": process})}

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Process one frame per hop: analysis, `process`, synthesis; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        spectrum, analysis = self.stft.analysis_step(chunk, state["analysis"])
        prediction, process = self.process(spectrum, parted(state)["process"])
        assert prediction.spectrum is not None
        ready, synthesis = self.stft.synthesis_step(prediction.spectrum, state["synthesis"])
        after = {"analysis": analysis, "synthesis": synthesis, **joined({"process": process})}
        return ready, after
