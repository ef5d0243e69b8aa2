"""The short-time Fourier transform pair of the project: one frozen value, exact inverse, frame by frame."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError
from rased.signal.domains import Spectrum, Waveform
from rased.signal.state import State

Window = Literal["sqrt_hann", "hann", "hamming", "sine", "vorbis", "rectangular"]
PadMode = Literal["constant", "reflect", "centred"]
_THIN = 0.01
"""Smallest share of the largest sum of windows with which samples still come back well."""


@dataclass(frozen=True)
class STFT:
    """Analysis and synthesis with windows that end with the newest sample, so that a stream is cut exactly like a file.

    Frame k covers the samples [(k + 1) * hop_length - win_length, (k + 1) * hop_length): it is
    complete as soon as chunk k of `hop_length` samples has arrived. At 50 % overlap this is the
    usual centred transform. The output of a frame-by-frame enhancer lags its input by `latency =
    win_length - hop_length` samples. The synthesis weights each frame with its own window, adds the frames and
    divides by the sum of the products of both windows: the exact inverse for any two windows and any hop.

    Attributes:
        n_fft: length of the transform in samples (frames are zero-padded from win_length); freq =
            n_fft // 2 + 1.
        hop_length: samples between frames; any number below win_length.
        win_length: samples in a window.
        window: the window of the analysis. "sine" is sin(pi (n + 0.5) / win_length), "vorbis"
            sin(pi / 2 sin^2(pi (n + 0.5) / win_length)), "rectangular" is none.
        pad_mode: what is before the first and after the last sample of a file; a stream has silence there in
            any mode. "constant" is silence; "reflect" mirrors the ends. "centred" has the frames and phases of
            torch.stft(center=True), for weights trained with it: mirrored ends, 1 + time // hop_length frames. Where
            hop_length does not divide the length, those cover the last samples thinly, and these come back less
            exactly.
        synthesis_window: the window of the synthesis; None for that of the analysis. "rectangular" divides the
            added frames by the sum of the analysis windows.
        periodic: whether windows are periodic, as transforms have them, or symmetric, as scipy.signal.windows has
            them; "sine", "vorbis" and "rectangular" are both.

    Raises:
        RasedError: lengths that do not fit together, or windows that leave samples out.
    """

    n_fft: int = 512
    hop_length: int = 256
    win_length: int = 512
    window: Window = "sqrt_hann"
    pad_mode: PadMode = "constant"
    synthesis_window: Window | None = None
    periodic: bool = True

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        if not 0 < self.hop_length < self.win_length <= self.n_fft:
            raise RasedError(
                f"STFT lengths do not fit: n_fft {self.n_fft}, win_length {self.win_length}, hop_length "
                f"{self.hop_length}; needed: 0 < hop_length < win_length <= n_fft."
            )
        sums = self._window_sums(torch.zeros((), device="cpu"))
        if float(sums.min()) < _THIN * float(sums.max()):
            raise RasedError(
                f"STFT windows of {self.win_length} samples ({self.window}, synthesis "
                f"{self.synthesis_window or self.window}) every {self.hop_length} samples leave samples out: "
                f"choose a hop_length of at most {self.win_length // 2}."
            )

    @property
    def freq(self) -> int:
        """Number of frequency bins."""
        return self.n_fft // 2 + 1

    @property
    def latency(self) -> int:
        """Samples by which a frame-by-frame output lags its input, where frames end with whole hops."""
        return self.win_length - self.hop_length

    @property
    def delay(self) -> int:
        """Samples that a stream waits, so that its frames are those of a file: pad_mode "centred" may need some."""
        if self.pad_mode != "centred":
            return 0
        return (self._before - self._left - self.win_length) % self.hop_length

    def frames(self, time: int) -> int:
        """Number of frames for `time` samples: `ceil((time + latency) / hop_length)`.

        As many as touch a sample. With pad_mode "centred" `1 + time // hop_length`, as torch.stft counts (for an
        even n_fft).
        """
        if self.pad_mode == "centred":
            return 1 + (time - self.n_fft % 2) // self.hop_length
        return -(-(time + self.latency) // self.hop_length)

    def analysis(self, waveform: Waveform) -> Spectrum:
        """Spectrum of a whole waveform, frames = self.frames(time); any length from one sample.

        A waveform too short to be mirrored has zeros around it.
        """
        time = waveform.shape[-1]
        reach = (self.frames(time) - 1) * self.hop_length + self._span
        left, right = self._before, max(0, reach - self._before - time)
        if self.pad_mode != "constant" and max(left, right) < time:
            padded = functional.pad(waveform[:, None], (left, right), mode="reflect")[:, 0]
        else:
            padded = functional.pad(waveform, (left, right))
        return self._transform(padded[:, :reach].unfold(-1, self._span, self.hop_length))

    def synthesis(self, spectrum: Spectrum, length: int) -> Float[Tensor, "batch {length}"]:
        """Waveform of `length` samples; the exact inverse of `analysis`."""
        heard = slice(self._before, self._before + length)
        if self.pad_mode != "centred":
            return self._overlap_add(self._inverse(spectrum))[:, heard]
        frames = self._raw_inverse(spectrum) * self._weights(spectrum)
        added = functional.pad(self._overlap_add(frames), (0, self._span))[:, heard]
        share = self._window(spectrum) * self._weights(spectrum)  # the ends lie in fewer windows
        sums = self._overlap_add(share.expand(1, frames.shape[1], -1))
        return added / functional.pad(sums, (0, self._span), value=1.0)[:, heard].clamp_min(1e-11)

    def initial_state(self, batch: int, like: Tensor | None = None) -> State:
        """Silence before the stream on the device of `like`: the buffers of `analysis_step` and `synthesis_step`."""
        device = None if like is None else like.device
        return {
            "analysis": torch.zeros(batch, self.latency + self.delay, device=device),
            "synthesis": torch.zeros(batch, self.latency, device=device),
        }

    def analysis_step(
        self, chunk: Float[Tensor, "batch chunk"], buffer: Float[Tensor, "batch heard"]
    ) -> tuple[Spectrum, Float[Tensor, "batch heard"]]:
        """A frame from each hop_length samples of the chunk, and the samples that the next frame needs."""
        heard = torch.cat([buffer, chunk], dim=-1)
        ready = heard[:, : heard.shape[-1] - self.delay]
        frames = ready.unfold(-1, self.win_length, self.hop_length)
        if self._span > self.win_length:
            frames = functional.pad(frames, (self._left, self._span - self.win_length - self._left))
        return self._transform(frames), heard[:, chunk.shape[-1] :]

    def synthesis_step(
        self, spectrum: Spectrum, buffer: Float[Tensor, "batch latency"]
    ) -> tuple[Float[Tensor, "batch chunk"], Float[Tensor, "batch latency"]]:
        """The hop_length samples that each frame completes, and what later frames still add to."""
        complete = spectrum.shape[-1] * self.hop_length
        heard = slice(self._left, self._left + complete + self.latency)
        added = self._overlap_add(self._inverse(spectrum))[:, heard]
        added = added + functional.pad(buffer, (0, complete))
        return added[:, :complete], added[:, complete:]

    @property
    def _span(self) -> int:
        """Samples in a frame: those of the window, or (centred) of the transform around it."""
        return self.n_fft if self.pad_mode == "centred" else self.win_length

    @property
    def _left(self) -> int:
        """Zeros before the window in a frame."""
        return (self._span - self.win_length) // 2

    @property
    def _before(self) -> int:
        """Samples of padding before the first."""
        return self.n_fft // 2 if self.pad_mode == "centred" else self.latency

    def _window(self, like: Tensor) -> Float[Tensor, " span"]:
        return self._named(self.window, like)

    def _weights(self, like: Tensor) -> Float[Tensor, " span"]:
        return self._named(self.synthesis_window or self.window, like)

    def _named(self, name: Window, like: Tensor) -> Float[Tensor, " span"]:
        """A window, in the middle of its span."""
        window = _window(name, self.win_length, self.periodic, like.device)
        return functional.pad(window, (self._left, self._span - self.win_length - self._left))

    def _window_sums(self, like: Tensor) -> Float[Tensor, " hop"]:
        """Sum of the products of both windows over all frames that cover a sample, for each place in a hop."""
        product = self._window(like) * self._weights(like)
        whole = functional.pad(product, (0, -len(product) % self.hop_length))
        return rearrange(whole, "(overlap hop) -> overlap hop", hop=self.hop_length).sum(0)

    def _transform(self, frames: Float[Tensor, "batch frames span"]) -> Spectrum:
        windowed = frames.float() * self._window(frames)
        if self._needs_matrices:
            parts = windowed @ _dft_matrix(self.n_fft, windowed)[: windowed.shape[-1]]
            spectrum = torch.complex(*parts.chunk(2, dim=-1))
        else:
            spectrum = torch.fft.rfft(windowed, n=self.n_fft)
        return rearrange(spectrum, "batch frames freq -> batch freq frames")

    def _raw_inverse(self, spectrum: Spectrum) -> Float[Tensor, "batch frames span"]:
        bins = rearrange(spectrum, "batch freq frames -> batch frames freq")
        if self._needs_matrices:
            twice = torch.full((self.freq,), 2.0 / self.n_fft)  # the bins that have a mirror image
            twice[:: self.n_fft // 2 if self.n_fft % 2 == 0 else self.freq] /= 2.0
            parts = torch.cat([bins.real * twice, bins.imag * twice], dim=-1)
            frames = parts @ _dft_matrix(self.n_fft, parts).T
        else:
            frames = torch.fft.irfft(bins, n=self.n_fft)
        return frames[..., : self._span]

    @property
    def _needs_matrices(self) -> bool:
        """Whether to transform by products: ONNX has no exact DFT of lengths that are no power of two."""
        return torch.compiler.is_exporting() and bool(self.n_fft & (self.n_fft - 1))

    def _inverse(self, spectrum: Spectrum) -> Float[Tensor, "batch frames span"]:
        """Frames that give the waveform when they are added."""
        sums = self._window_sums(spectrum).repeat(-(-self._span // self.hop_length))
        return self._raw_inverse(spectrum) * (self._weights(spectrum) / sums[: self._span])

    def _overlap_add(self, frames: Float[Tensor, "batch frames span"]) -> Waveform:
        added = functional.fold(
            rearrange(frames, "batch frames span -> batch span frames"),
            output_size=(1, (frames.shape[1] - 1) * self.hop_length + self._span),
            kernel_size=(1, self._span),
            stride=(1, self.hop_length),
        )
        return added[:, 0, 0]


def _dft_matrix(n_fft: int, like: Tensor) -> Float[Tensor, "n_fft parts"]:
    """Cosines, then negative sines: times them, samples are real parts, then imaginary parts of all bins."""
    turns = np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1)) % n_fft * (2 * np.pi / n_fft)
    matrix = np.concatenate([np.cos(turns), -np.sin(turns)], axis=1).astype(np.float32)
    return torch.from_numpy(matrix).to(like.device)


def _window(
    name: Window, length: int, periodic: bool, device: torch.device
) -> Float[Tensor, " length"]:
    if name in ("sqrt_hann", "hann"):
        window = torch.hann_window(length, periodic=periodic, dtype=torch.float32, device=device)
        return window.sqrt() if name == "sqrt_hann" else window
    if name == "hamming":  # as torch.hamming_window, which ONNX does not have
        place = torch.arange(length, dtype=torch.float32, device=device)
        return 0.54 - 0.46 * (place * (2 * math.pi / (length if periodic else length - 1))).cos()
    if name == "rectangular":
        return torch.ones(length, device=device)
    sine = (math.pi * (torch.arange(length, device=device) + 0.5) / length).sin()
    return sine if name == "sine" else (math.pi / 2 * sine.square()).sin()
