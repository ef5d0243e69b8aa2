"""The contract of every enhancer: waveform in, waveform out, equal length, and a stream that equals the file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Complex, Float, Shaped
from torch import Tensor, nn

from rased.construction import Remembered
from rased.errors import RasedError
from rased.signal.stft import STFT

State = Any
"""A nested tuple of tensors: what a causal model remembers between chunks."""


@dataclass
class Prediction:
    """What a model says of a batch; losses read the part that they are about.

    Attributes:
        estimate: the enhanced waveform, in the level of the input.
        spectrum: the enhanced spectrum, where the model has one.
        noisy_spectrum: the spectrum of the input, where the model has one.
        mask: the gain applied to noisy_spectrum (real or complex), where there is one.
        output: what the network itself put out, in the domain of its training target (a mapping's
            log-power, say).
    """

    estimate: Float[Tensor, "batch time"]
    spectrum: Complex[Tensor, "batch freq frames"] | None = None
    noisy_spectrum: Complex[Tensor, "batch freq frames"] | None = None
    mask: Tensor | None = None
    output: Tensor | None = None


class Enhancer(Remembered, nn.Module):
    """Base of every enhancer.

    Attributes:
        sample_rate: Hz of input and output.
        latency: samples by which the concatenated output of `step` lags its input; None for a model
            that needs the whole utterance.
        chunk_length: `step` takes and gives any multiple of so many samples: the hop; None where latency is None.
        card: the zoo card that the weights came with; None for a fresh model.
        version: of what the class computes; raise it when equal settings and weights give another output, so that
            results of before and after are told apart.
    """

    version: ClassVar[int] = 1
    sample_rate: int = 16_000
    latency: int | None = None
    chunk_length: int | None = None
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

    def predict(self, noisy: Float[Tensor, "batch time"]) -> Prediction:
        """Enhance a batch and keep what a loss may want; any length from one sample."""
        raise NotImplementedError(f"{type(self).__name__} must define predict(noisy) -> Prediction")

    def forward(self, noisy: Shaped[Tensor, "*batch time"]) -> Float[Tensor, "*batch time"]:
        """Enhance: float32 in [-1, 1] at `sample_rate`, of shape (batch, time) or (time); same shape out.

        Raises:
            RasedError: another shape, or samples of another type.
        """
        if not isinstance(noisy, Tensor) or not noisy.is_floating_point():
            kind = noisy.dtype if isinstance(noisy, Tensor) else type(noisy).__name__
            raise RasedError(
                f"an enhancer takes a tensor of floating-point samples of full scale 1, not {kind}: "
                "torch.as_tensor(array).float(), 16-bit samples divided by 32768."
            )
        if noisy.ndim not in (1, 2) or not noisy.shape[-1]:
            raise RasedError(
                f"an enhancer takes (time) or (batch, time), at least one sample, not the shape "
                f"{tuple(noisy.shape)}; channels are a batch: give (channel, time)."
            )
        if noisy.ndim == 1:
            return self.predict(noisy[None]).estimate[0]
        return self.predict(noisy).estimate

    def initial_state(self, batch: int = 1) -> State:
        """State before the first chunk of a stream: silence.

        Raises:
            RasedError: the model is not causal.
        """
        raise RasedError(
            f"{type(self).__name__} is not causal and cannot stream: enhance whole files with it."
        )

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Enhance the next samples of a stream: any multiple of chunk_length.

        The concatenated outputs are those of `forward`, `latency` samples later (within 1e-4), however the stream
        is cut.

        Raises:
            RasedError: the model is not causal.
        """
        raise RasedError(
            f"{type(self).__name__} is not causal and cannot stream: enhance whole files with it."
        )


@dataclass
class SpectralPrediction:
    """What the spectral part of a model says; the fields are those of `Prediction`."""

    spectrum: Complex[Tensor, "batch freq frames"]
    mask: Tensor | None = None
    output: Tensor | None = None


class SpectralEnhancer(Enhancer):
    """An enhancer that works on the STFT: subclasses define `process` and, where causal, `initial_process_state`.

    One code path serves files and streams: a file is one long chunk of frames from the initial
    state.
    """

    def __init__(self, *, stft: STFT, sample_rate: int = 16_000, causal: bool = True) -> None:
        super().__init__()
        self.stft = stft
        self.sample_rate = sample_rate
        causal = causal and stft.pad_mode == "constant"  # a stream cannot know what to reflect
        self.latency = stft.latency if causal else None
        self.chunk_length = stft.hop_length if causal else None

    def process(
        self, spectrum: Complex[Tensor, "batch freq frames"], state: State
    ) -> tuple[SpectralPrediction, State]:
        """Enhance any number of frames from `state`; return the state behind them (ignored where not causal)."""
        raise NotImplementedError(f"{type(self).__name__} must define process(spectrum, state)")

    def initial_process_state(self, batch: int) -> State:
        """State of `process` before the first frame; None where `process` needs none."""
        return None

    def predict(self, noisy: Float[Tensor, "batch time"]) -> Prediction:
        """Analysis, `process`, synthesis."""
        noisy_spectrum = self.stft.analysis(noisy)
        spectral, _ = self.process(noisy_spectrum, self.initial_process_state(noisy.shape[0]))
        estimate = self.stft.synthesis(spectral.spectrum, noisy.shape[-1])
        return Prediction(
            estimate, spectral.spectrum, noisy_spectrum, spectral.mask, spectral.output
        )

    def initial_state(self, batch: int = 1) -> State:
        """Empty buffers and the initial state of `process`."""
        if not self.causal:
            return super().initial_state(batch)
        like = next(self.parameters(), next(self.buffers(), None))
        analysis, synthesis = self.stft.initial_state(batch, like)
        return analysis, self.initial_process_state(batch), synthesis

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """A frame for each hop: analysis, `process`, synthesis; see `Enhancer.step`."""
        if not self.causal:
            return super().step(chunk, state)
        analysis, inner, synthesis = state
        spectrum, analysis = self.stft.analysis_step(chunk, analysis)
        spectral, inner = self.process(spectrum, inner)
        frame, synthesis = self.stft.synthesis_step(spectral.spectrum, synthesis)
        return frame, (analysis, inner, synthesis)
