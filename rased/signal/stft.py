"""The short-time Fourier transform: exact inverse, any hop, and frame by frame for streams."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError
from rased.signal import dft
from rased.signal.domains import Spectrum, Waveform
from rased.signal.state import State

Window = Literal["sqrt_hann", "hann", "hamming", "sine", "vorbis", "rectangular"]
PadMode = Literal["constant", "reflect", "centred"]
_THIN = 0.01
"""Smallest ratio of smallest to largest sum of windows that allows accurate reconstruction."""


@dataclass(frozen=True)
class STFT:
    """An STFT and its inverse. Frames end with whole hops, so that a stream and a file are cut into the same frames.

    Frame k covers the samples [(k + 1) * hop_length - win_length, (k + 1) * hop_length): it is
    complete as soon as chunk k of `hop_length` samples has arrived. At 50 % overlap this is the
    usual centred transform. The output of a frame-by-frame enhancer lags its input by `latency =
    win_length - hop_length` samples. The synthesis multiplies each frame by its own window, adds the frames, and
    divides by the sum of the products of both windows. This is the exact inverse for any two windows and any hop.

    Attributes:
        n_fft: length of the transform in samples (frames are zero-padded from win_length); freq =
            n_fft // 2 + 1.
        hop_length: samples between frames; any number below win_length.
        win_length: samples in a window.
        window: analysis window. "sine" is sin(pi (n + 0.5) / win_length), "vorbis"
            sin(pi / 2 sin^2(pi (n + 0.5) / win_length)), "rectangular" no window.
        pad_mode: padding before the first and after the last sample of a file (a stream is always padded with
            silence). "constant" is silence; "reflect" mirrors the ends. "centred" gives the frames and phases of
            torch.stft(center=True), for weights that were trained with it: mirrored ends, 1 + time //
            hop_length frames. If hop_length does not divide the length, "centred" covers the last samples only
            partly, and they are reconstructed less accurately.
        synthesis_window: synthesis window; None: the analysis window. "rectangular" only divides the
            added frames by the sum of the analysis windows.
        periodic: periodic windows, as usual for transforms, or symmetric ones, as in scipy.signal.windows;
            no difference for "sine", "vorbis" and "rectangular".

    Raises:
        RasedError: the lengths do not fit together, or the windows do not cover all samples.
    """

    n_fft: int = 512
    hop_length: int = 256
    win_length: int = 512
    window: Window = "sqrt_hann"
    pad_mode: PadMode = "constant"
    synthesis_window: Window | None = None
    periodic: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.hop_length < self.win_length <= self.n_fft:
            raise RasedError(
                f"STFT lengths do not fit: n_fft {self.n_fft}, win_length {self.win_length}, hop_length "
                f"{self.hop_length}; required: 0 < hop_length < win_length <= n_fft."
            )
        sums = self._window_sums(torch.zeros((), device="cpu"))
        if float(sums.min()) < _THIN * float(sums.max()):
            raise RasedError(
                f"STFT windows of {self.win_length} samples ({self.window}, synthesis "
                f"{self.synthesis_window or self.window}) every {self.hop_length} samples do not cover all samples: "
                f"choose a hop_length of at most {self.win_length // 2}."
            )

    @property
    def freq(self) -> int:
        """Return the number of frequency bins."""
        return self.n_fft // 2 + 1

    @property
    def latency(self) -> int:
        """Return the samples by which a frame-by-frame output lags its input."""
        return self.win_length - self.hop_length

    @property
    def delay(self) -> int:
        """Return the samples by which a stream is delayed to get the frames of a file; above 0 only for "centred"."""
        if self.pad_mode != "centred":
            return 0
        # A stream gets hop_length samples at a time; its frames must end where those of the file do.
        return (self._before - self._left - self.win_length) % self.hop_length

    def frames(self, time: int) -> int:
        """Return the number of frames for `time` samples: `ceil((time + latency) / hop_length)`.

        These are all frames that contain a sample. With pad_mode "centred" it is `1 + time // hop_length`, as
        in torch.stft (for an even n_fft).
        """
        if self.pad_mode == "centred":
            return 1 + (time - self.n_fft % 2) // self.hop_length
        return -(-(time + self.latency) // self.hop_length)

    def analysis(self, waveform: Waveform) -> Spectrum:
        """Return the spectrum of a whole waveform of any length, frames = self.frames(time).

        A waveform that is too short to be mirrored is padded with zeros.
        """
        time = waveform.shape[-1]
        reach = (self.frames(time) - 1) * self.hop_length + self._span
        left, right = self._before, max(0, reach - self._before - time)
        # At most time - 1 samples can be mirrored.
        if self.pad_mode != "constant" and max(left, right) < time:
            padded = functional.pad(waveform[:, None], (left, right), mode="reflect")[:, 0]
        else:
            padded = functional.pad(waveform, (left, right))
        return self._transform(padded[:, :reach].unfold(-1, self._span, self.hop_length))

    def synthesis(self, spectrum: Spectrum, length: int) -> Float[Tensor, "batch {length}"]:
        """Return a waveform of `length` samples; the exact inverse of `analysis`."""
        heard = slice(self._before, self._before + length)
        if self.pad_mode != "centred":
            return self._overlap_add(self._inverse(spectrum))[:, heard]
        frames = self._raw_inverse(spectrum) * self._weights(spectrum)
        added = functional.pad(self._overlap_add(frames), (0, self._span))[:, heard]
        # Samples at the ends are in fewer windows, so the constant sums of `_window_sums` do not hold there.
        share = self._window(spectrum) * self._weights(spectrum)
        sums = self._overlap_add(share.expand(1, frames.shape[1], -1))
        return added / functional.pad(sums, (0, self._span), value=1.0)[:, heard].clamp_min(1e-11)

    def initial_state(self, batch: int, like: Tensor | None = None) -> State:
        """Return the silent buffers of `analysis_step` and `synthesis_step` at the start, on the device of `like`."""
        device = None if like is None else like.device
        return {
            "analysis": torch.zeros(batch, self.latency + self.delay, device=device),
            "synthesis": torch.zeros(batch, self.latency, device=device),
        }

    def analysis_step(
        self, chunk: Float[Tensor, "batch chunk"], buffer: Float[Tensor, "batch heard"]
    ) -> tuple[Spectrum, Float[Tensor, "batch heard"]]:
        """Return one frame for each hop_length samples of the chunk, and the samples that later frames need."""
        heard = torch.cat([buffer, chunk], dim=-1)
        ready = heard[:, : heard.shape[-1] - self.delay]
        one = ready.shape[-1] == self.win_length
        frames = ready[:, None] if one else ready.unfold(-1, self.win_length, self.hop_length)
        # A "centred" frame has zeros around a shorter window.
        if self._span > self.win_length:
            frames = functional.pad(frames, (self._left, self._span - self.win_length - self._left))
        return self._transform(frames), heard[:, chunk.shape[-1] :]

    def synthesis_step(
        self, spectrum: Spectrum, buffer: Float[Tensor, "batch latency"]
    ) -> tuple[Float[Tensor, "batch chunk"], Float[Tensor, "batch latency"]]:
        """Return the hop_length samples that each frame completes, and the sums that later frames still add to."""
        complete = spectrum.shape[-1] * self.hop_length
        heard = slice(self._left, self._left + complete + self.latency)
        added = self._overlap_add(self._inverse(spectrum))[:, heard]
        added = added + functional.pad(buffer, (0, complete))
        return added[:, :complete], added[:, complete:]

    @property
    def _span(self) -> int:
        """Return the samples in a frame: those of the window, or for "centred" those of the transform."""
        return self.n_fft if self.pad_mode == "centred" else self.win_length

    @property
    def _left(self) -> int:
        """Return the number of zeros before the window in a frame."""
        return (self._span - self.win_length) // 2

    @property
    def _before(self) -> int:
        """Return the number of padding samples before the first sample."""
        return self.n_fft // 2 if self.pad_mode == "centred" else self.latency

    def _window(self, like: Tensor) -> Float[Tensor, " span"]:
        return self._named(self.window, like)

    def _weights(self, like: Tensor) -> Float[Tensor, " span"]:
        return self._named(self.synthesis_window or self.window, like)

    def _named(self, name: Window, like: Tensor) -> Float[Tensor, " span"]:
        """Return a window in the middle of its frame."""
        window = _window(name, self.win_length, self.periodic, like.device)
        return functional.pad(window, (self._left, self._span - self.win_length - self._left))

    def _window_sums(self, like: Tensor) -> Float[Tensor, " hop"]:
        """Return the sum of the products of both windows over all overlapping frames, for each position in a hop."""
        product = self._window(like) * self._weights(like)
        whole = functional.pad(product, (0, -len(product) % self.hop_length))
        return rearrange(whole, "(overlap hop) -> overlap hop", hop=self.hop_length).sum(0)

    def _transform(self, frames: Float[Tensor, "batch frames span"]) -> Spectrum:
        windowed = frames.float() * self._window(frames)
        if torch.compiler.is_exporting():
            padded = functional.pad(windowed, (0, self.n_fft - windowed.shape[-1]))
            spectrum = torch.complex(*dft.real_dft(padded))
        else:
            spectrum = torch.fft.rfft(windowed, n=self.n_fft)
        return rearrange(spectrum, "batch frames freq -> batch freq frames")

    def _raw_inverse(self, spectrum: Spectrum) -> Float[Tensor, "batch frames span"]:
        bins = rearrange(spectrum, "batch freq frames -> batch frames freq")
        if torch.compiler.is_exporting():
            frames = dft.inverse_real_dft(bins.real, bins.imag, self.n_fft)
        else:
            frames = torch.fft.irfft(bins, n=self.n_fft)
        return frames[..., : self._span]

    def _inverse(self, spectrum: Spectrum) -> Float[Tensor, "batch frames span"]:
        """Return frames that only have to be added to give the waveform."""
        # Dividing by the sums here, instead of after overlap-add, makes every frame independent: a stream
        # needs no more.
        sums = self._window_sums(spectrum).repeat(-(-self._span // self.hop_length))
        return self._raw_inverse(spectrum) * (self._weights(spectrum) / sums[: self._span])

    def _overlap_add(self, frames: Float[Tensor, "batch frames span"]) -> Waveform:
        if frames.shape[1] == 1:
            return frames[:, 0]
        # One call adds all frames, with a gradient; a loop over frames would be slow.
        added = functional.fold(
            rearrange(frames, "batch frames span -> batch span frames"),
            output_size=(1, (frames.shape[1] - 1) * self.hop_length + self._span),
            kernel_size=(1, self._span),
            stride=(1, self.hop_length),
        )
        return added[:, 0, 0]


def _window(
    name: Window, length: int, periodic: bool, device: torch.device
) -> Float[Tensor, " length"]:
    if name in ("sqrt_hann", "hann"):
        window = torch.hann_window(length, periodic=periodic, dtype=torch.float32, device=device)
        return window.sqrt() if name == "sqrt_hann" else window
    if name == "hamming":  # the formula of torch.hamming_window, which ONNX lacks
        place = torch.arange(length, dtype=torch.float32, device=device)
        return 0.54 - 0.46 * (place * (2 * math.pi / (length if periodic else length - 1))).cos()
    if name == "rectangular":
        return torch.ones(length, device=device)
    sine = (math.pi * (torch.arange(length, device=device) + 0.5) / length).sin()
    return sine if name == "sine" else (math.pi / 2 * sine.square()).sin()
