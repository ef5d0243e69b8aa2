"""The short-time Fourier transform pair of the project: one frozen value, exact inverse, frame by frame."""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError

Window = Literal["sqrt_hann", "hann", "hamming"]
PadMode = Literal["constant", "reflect"]


@dataclass(frozen=True)
class STFT:
    """Analysis and synthesis with windows that end with the newest sample, so that a stream is cut exactly like a file.

    Frame k covers the samples [(k + 1) * hop_length - win_length, (k + 1) * hop_length): it is
    complete as soon as chunk k of `hop_length` samples has arrived. At 50 % overlap this is the
    usual centred transform. The output of a frame-by-frame enhancer lags its input by `latency =
    win_length - hop_length` samples.

    Attributes:
        n_fft: length of the transform in samples (frames are zero-padded from win_length); freq =
        n_fft // 2 + 1.
        hop_length: samples between frames; divides win_length.
        win_length: samples in a window.
        window: the same periodic window for analysis and synthesis.
        pad_mode: what stands before the first and behind the last sample; "constant" (zeros) is
            what a stream sees, "reflect" is for weights trained with a reflecting transform.

    Raises:
        RasedError: lengths that do not fit together.
    """

    n_fft: int = 512
    hop_length: int = 256
    win_length: int = 512
    window: Window = "sqrt_hann"
    pad_mode: PadMode = "constant"

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        if (
            not 0 < self.hop_length < self.win_length <= self.n_fft
            or self.win_length % self.hop_length
        ):
            raise RasedError(
                f"STFT lengths do not fit: n_fft {self.n_fft}, win_length {self.win_length}, hop_length "
                f"{self.hop_length}; needed: hop_length divides win_length and hop_length < win_length <= n_fft."
            )

    @property
    def freq(self) -> int:
        """Number of frequency bins."""
        return self.n_fft // 2 + 1

    @property
    def latency(self) -> int:
        """Samples by which a frame-by-frame output lags its input."""
        return self.win_length - self.hop_length

    def frames(self, time: int) -> int:
        """Number of frames for `time` samples: `ceil((time + latency) / hop_length)`.

        As many as touch a sample. With pad_mode "reflect" `1 + time // hop_length`, the usual count
        of a centred transform.
        """
        if self.pad_mode == "reflect":
            return 1 + time // self.hop_length
        return -(-(time + self.latency) // self.hop_length)

    def analysis(
        self, waveform: Float[Tensor, "batch time"]
    ) -> Complex[Tensor, "batch freq frames"]:
        """Spectrum of a whole waveform, frames = self.frames(time); any length from one sample."""
        time = waveform.shape[-1]
        right = self.frames(time) * self.hop_length - time
        if self.pad_mode == "reflect" and max(self.latency, right) < time:
            padded = functional.pad(waveform[:, None], (self.latency, right), mode="reflect")[:, 0]
        else:
            padded = functional.pad(waveform, (self.latency, right))
        return self._transform(padded.unfold(-1, self.win_length, self.hop_length))

    def synthesis(
        self, spectrum: Complex[Tensor, "batch freq frames"], length: int
    ) -> Float[Tensor, "batch {length}"]:
        """Waveform of `length` samples; the exact inverse of `analysis`."""
        frames = self._inverse(spectrum)
        waveform = self._overlap_add(frames)[:, self.latency : self.latency + length]
        if self.pad_mode == "reflect":  # the last samples lie in fewer windows than the others
            share = self._window(frames) * self._synthesis_window(frames)
            shares = self._overlap_add(share.expand(1, frames.shape[1], -1))
            waveform = waveform / shares[:, self.latency : self.latency + length]
        return waveform

    def initial_state(self, batch: int, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Silence before the stream on the device of `like`: analysis and synthesis buffer, each (batch, latency)."""
        zeros = torch.zeros(batch, self.latency, device=None if like is None else like.device)
        return zeros, zeros.clone()

    def analysis_step(
        self, chunk: Float[Tensor, "batch hop"], buffer: Float[Tensor, "batch latency"]
    ) -> tuple[Complex[Tensor, "batch freq 1"], Float[Tensor, "batch latency"]]:
        """One frame from one chunk of hop_length samples, and the samples that the next frame needs."""
        window = torch.cat([buffer, chunk], dim=-1)
        return self._transform(window[:, None]), window[:, self.hop_length :]

    def synthesis_step(
        self, spectrum: Complex[Tensor, "batch freq 1"], buffer: Float[Tensor, "batch latency"]
    ) -> tuple[Float[Tensor, "batch hop"], Float[Tensor, "batch latency"]]:
        """The hop_length samples that this frame completes, and what later frames still add to."""
        added = self._inverse(spectrum)[:, 0] + functional.pad(buffer, (0, self.hop_length))
        return added[:, : self.hop_length], added[:, self.hop_length :]

    def _window(self, like: Tensor) -> Float[Tensor, " win"]:
        kind = torch.hamming_window if self.window == "hamming" else torch.hann_window
        window = kind(self.win_length, periodic=True, dtype=torch.float32, device=like.device)
        return window.sqrt() if self.window == "sqrt_hann" else window

    def _transform(
        self, frames: Float[Tensor, "batch frames win"]
    ) -> Complex[Tensor, "batch freq frames"]:
        windowed = frames.float() * self._window(frames)
        return rearrange(
            torch.fft.rfft(windowed, n=self.n_fft), "batch frames freq -> batch freq frames"
        )

    def _inverse(
        self, spectrum: Complex[Tensor, "batch freq frames"]
    ) -> Float[Tensor, "batch frames win"]:
        frames = torch.fft.irfft(
            rearrange(spectrum, "batch freq frames -> batch frames freq"), n=self.n_fft
        )
        return frames[..., : self.win_length] * self._synthesis_window(frames)

    def _synthesis_window(self, like: Tensor) -> Float[Tensor, " win"]:
        window = self._window(like)
        energy = rearrange(window.square(), "(overlap hop) -> overlap hop", hop=self.hop_length)
        return window / energy.sum(0).repeat(self.win_length // self.hop_length)

    def _overlap_add(
        self, frames: Float[Tensor, "batch frames win"]
    ) -> Float[Tensor, "batch time"]:
        added = functional.fold(
            rearrange(frames, "batch frames win -> batch win frames"),
            output_size=(1, (frames.shape[1] - 1) * self.hop_length + self.win_length),
            kernel_size=(1, self.win_length),
            stride=(1, self.hop_length),
        )
        return added[:, 0, 0]
