"""The contract of every enhancer: waveform in, waveform out, equal length, and a stream that equals the file."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from rased.conditions import Condition as Condition
from rased.conditions import Given, as_tensors
from rased.construction import Remembered
from rased.errors import RasedError
from rased.layers.prediction import Prediction
from rased.signal.domains import Domain, Spectrum, Waveform
from rased.signal.state import State, joined, parted
from rased.signal.stft import STFT

Generators = Sequence[torch.Generator]
"""One for each row of a batch, on the CPU: a model that samples draws there and moves the numbers to its device."""


def generators(keys: Iterable[str]) -> list[torch.Generator]:
    """Make one generator for each key; equal keys give equal numbers, on every machine."""
    seeds = (int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") for key in keys)
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class Enhancer(Remembered, nn.Module):
    """Base of every enhancer.

    Attributes:
        sample_rate: Hz of input and output.
        channels: microphones that `predict` takes; it gives one waveform, whatever their number.
        latency: samples by which the concatenated output of `step` lags its input; None for a model
            that needs the whole utterance.
        chunk_length: `step` takes and gives any multiple of so many samples: the hop; None where latency is None.
        conditions: names of the tensors that `predict` needs besides the waveform.
        samples: whether `predict` draws random numbers, all of them from the `generator` that it is given.
        domains: where a loss may compare: what `ideal` can give.
        paper: authors, title, venue, DOI or arXiv; "" for none.
        published_parameters: what the paper counts at these sizes; None where it does not say.
        card: the zoo card that the weights came with; None for a fresh model.
        version: of what the class computes; raise it when equal settings and weights give another output, so that
            results of before and after are told apart.
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
    card: dict[str, Any] | None = None

    @property
    def causal(self) -> bool:
        """Whether the model can stream."""
        return self.latency is not None

    @property
    def algorithmic_latency(self) -> int | None:
        """Samples of input that must be there before the first sample of them comes out: window and look-ahead.

        `latency + chunk_length`: a sample of the output depends on at most `algorithmic_latency - 1` later samples
        of the input. None for a model that needs the whole utterance.
        """
        if self.latency is None or self.chunk_length is None:
            return None
        return self.latency + self.chunk_length

    @property
    def buffering(self) -> int | None:
        """Samples that are collected while the chunk before them is worked on: `chunk_length`, the hop."""
        return self.chunk_length

    @property
    def total_latency(self) -> int | None:
        """Samples of delay as the field counts them: window, look-ahead and hop.

        "Frame size T + stride Ts + look-ahead" of the DNS Challenge (ICASSP 2021), whose limit is 40 ms:
        `algorithmic_latency + buffering`, 48 ms for windows of 512 every 256 samples at 16 kHz.
        """
        if self.algorithmic_latency is None or self.buffering is None:
            return None
        return self.algorithmic_latency + self.buffering

    @property
    def transform(self) -> STFT | None:
        """The transform whose spectra `Prediction` holds; None for a model without one."""
        return None

    @property
    def mirrors(self) -> bool:
        """Whether the ends of a file are mirrored: silence appended to it then changes what comes before."""
        return False

    @property
    def needs_statistics(self) -> bool:
        """Whether `fit_statistics` must be called before training."""
        return False

    def fit_statistics(
        self, batches: Iterable[tuple[Float[Tensor, "batch *channel time"], Waveform]]
    ) -> None:
        """Take what a model needs to know of (noisy, target) batches before it trains; most need nothing."""

    def ideal(
        self, domain: Domain, *, noisy: Float[Tensor, "batch *channel time"], target: Waveform
    ) -> Tensor:
        """What a perfect prediction would be: the estimate, the spectrum or the output for this target.

        Raises:
            RasedError: the domain is none of `domains`.
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
        generator: Generators | None = None,
    ) -> Prediction:
        """Enhance a batch and keep what a loss may want; any length from one sample.

        Args:
            noisy: (batch, time) for one channel, (batch, channel, time) for a model of several.
            condition: the tensors that `conditions` names, as `given` makes them.
            generator: one for each row where the model `samples`: a row gets the same numbers in any batch.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict(noisy) -> Prediction")

    def options(
        self,
        rows: int,
        *,
        condition: Given | None = None,
        generator: Generators | None = None,
    ) -> dict[str, Any]:
        """Keyword arguments of `predict` for a batch of so many rows: those that this model declares, checked.

        A model that samples and is given no generator gets one for each row, all alike: what it says of a
        row does not change from call to call.

        Raises:
            RasedError: a condition does not fit (see `given`), or there are more or fewer generators than rows.
        """
        given = self.given(condition, rows)
        options: dict[str, Any] = {"condition": given} if self.conditions else {}
        if self.samples:
            drawn = generators([""] * rows) if generator is None else generator
            if len(drawn) != rows:
                raise RasedError(f"{len(drawn)} generators for a batch of {rows}: give one a row.")
            options["generator"] = drawn
        return options

    def given(self, condition: Given | None, rows: int = 1) -> dict[str, Tensor]:
        """What the conditions of a batch hold, as `predict` and `initial_state` take them.

        Args:
            condition: by name tensors or arrays of (rows, ...), or files of one row: audio, which is brought to
                `sample_rate`, or .npy. One row serves all rows.
            rows: of the batch.

        Raises:
            RasedError: one is missing, unknown, not readable, or has other rows.
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
        generator: Generators | None = None,
    ) -> Float[Tensor, "*batch time"]:
        """Enhance: float32 in [-1, 1] at `sample_rate`; (batch, time) or (time) out.

        Args:
            noisy: (batch, time) or (time); for a model of several channels (batch, channel, time) or
                (channel, time).
            condition: see `given`.
            generator: see `predict`.

        Raises:
            RasedError: another shape, samples of another type, or a condition that does not fit.
        """
        self._check(noisy)
        alone = noisy.ndim == (1 if self.channels == 1 else 2)
        batch = noisy[None] if alone else noisy
        options = self.options(len(batch), condition=condition, generator=generator)
        if "condition" in options:  # files are read on the CPU
            options["condition"] = {
                name: tensor.to(noisy.device) for name, tensor in options["condition"].items()
            }
        estimate = self.predict(batch, **options).estimate
        return estimate[0] if alone else estimate

    def _check(self, noisy: Any) -> None:
        if not isinstance(noisy, Tensor) or not noisy.is_floating_point():
            kind = noisy.dtype if isinstance(noisy, Tensor) else type(noisy).__name__
            raise RasedError(
                f"an enhancer takes a tensor of floating-point samples of full scale 1, not {kind}: "
                "torch.as_tensor(array).float(), 16-bit samples divided by 32768."
            )
        shape = tuple(noisy.shape)
        if self.channels == 1:
            if len(shape) not in (1, 2) or not shape[-1]:
                raise RasedError(
                    "an enhancer takes (time) or (batch, time), at least one sample, not the shape "
                    f"{shape}; channels are a batch: give (channel, time)."
                )
        elif len(shape) not in (2, 3) or not shape[-1] or shape[-2] != self.channels:
            raise RasedError(
                f"{type(self).__name__} takes (channel, time) or (batch, channel, time) of {self.channels} channels, "
                f"at least one sample, not the shape {shape}."
            )

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """State before the first chunk of a stream: silence, and what the condition says of it.

        A model that remembers nothing from chunk to chunk holds {"nothing": zeros (batch, 1)}, and returns it as it is.

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

        The concatenated outputs are those of `forward`, `latency` samples later (within 1e-4), however the stream
        is cut. The state that is given stays as it is.

        Raises:
            RasedError: the model is not causal.
        """
        raise RasedError(
            f"{type(self).__name__} is not causal and cannot stream: enhance whole files with it."
        )


class SpectralEnhancer(Enhancer):
    """An enhancer that works on the STFT: subclasses define `process` and, where causal, `initial_process_state`.

    One code path serves files and streams: a file is one long chunk of frames from the initial
    state. Where the transform mirrors the ends of a file, a stream hears silence there instead: they differ in the
    frames that reach beyond the ends.

    Args:
        stft: the transform.
        sample_rate: Hz.
        causal: whether the model can stream.
        lookahead: frames by which the output of `process` lags its input; each adds a hop to the latency. Silence
            follows the end of a file.
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
        """The transform around `process`."""
        return self.stft

    @property
    def mirrors(self) -> bool:
        """As the transform says."""
        return self.stft.pad_mode != "constant"

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Enhance any number of frames from `state`: `Prediction.of_spectrum`, and the state after them."""
        raise NotImplementedError(f"{type(self).__name__} must define process(spectrum, state)")

    def initial_process_state(self, batch: int) -> State:
        """State of `process` before the first frame; empty where `process` remembers nothing."""
        return {}

    def predict(
        self,
        noisy: Waveform,
        *,
        condition: Condition | None = None,
        generator: Generators | None = None,
    ) -> Prediction:
        """Analysis, `process`, synthesis."""
        noisy_spectrum = self.stft.analysis(noisy)
        prediction = self.predict_spectrum(noisy_spectrum)
        assert prediction.spectrum is not None
        estimate = self.stft.synthesis(prediction.spectrum, noisy.shape[-1])
        return replace(prediction, estimate=estimate, noisy_spectrum=noisy_spectrum)

    def predict_spectrum(self, spectrum: Spectrum) -> Prediction:
        """What `process` says of the frames of a whole file, on time."""
        padded = functional.pad(spectrum, (0, self.lookahead)) if self.lookahead else spectrum
        prediction, _ = self.process(padded, self.initial_process_state(len(spectrum)))
        return prediction.from_frame(self.lookahead)

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Empty buffers of the transform, and the initial state of `process`."""
        if not self.causal:
            return super().initial_state(batch)
        like = next(self.parameters(), next(self.buffers(), None))
        process = self.initial_process_state(batch)
        return {**self.stft.initial_state(batch, like), **joined({"process": process})}

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """A frame for each hop: analysis, `process`, synthesis; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        spectrum, analysis = self.stft.analysis_step(chunk, state["analysis"])
        prediction, process = self.process(spectrum, parted(state)["process"])
        assert prediction.spectrum is not None
        ready, synthesis = self.stft.synthesis_step(prediction.spectrum, state["synthesis"])
        after = {"analysis": analysis, "synthesis": synthesis, **joined({"process": process})}
        return ready, after
