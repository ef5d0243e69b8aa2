"""Enhance arrays, files and folders of any rate, number of channels, length and format, with constant memory."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from rased import audio
from rased.audio import CHANNELS, RATES
from rased.conditions import Given
from rased.errors import RasedError, shown
from rased.models.base import Enhancer
from rased.models.limited import limited
from rased.rates import Band, Block, RateStream
from rased.streaming import output_channels
from rased.zoo import load

Progress = Callable[[float], None]
"""Called with the seconds of audio that were read since the last call."""

DEFAULT_MODEL = "gtcrn-tuned-16k"
"""Checkpoint that is used by default: the best of the zoo for general use."""


@dataclass(frozen=True)
class Report:
    """Result of enhancing a file.

    Attributes:
        input: the input file.
        output: the output file.
        seconds: length of the audio.
        elapsed: processing time in seconds.
        notes: remarks on the output for the user, one sentence each.
    """

    input: Path
    output: Path
    seconds: float
    elapsed: float
    notes: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Return processing seconds per second of audio; below 1 is faster than real time."""
        return self.elapsed / self.seconds


@overload
def enhance(
    input: str | Path,
    output: str | Path | None = None,
    *,
    model: str | Path | Enhancer = DEFAULT_MODEL,
    condition: Given | None = None,
    limit_db: float | None = None,
    band: Band = "full",
    progress: Progress | None = None,
) -> Report: ...


@overload
def enhance(
    input: np.ndarray,
    sample_rate: int,
    *,
    model: str | Path | Enhancer = DEFAULT_MODEL,
    condition: Given | None = None,
    limit_db: float | None = None,
    band: Band = "full",
) -> np.ndarray: ...


@overload
def enhance(
    input: torch.Tensor,
    sample_rate: int,
    *,
    model: str | Path | Enhancer = DEFAULT_MODEL,
    condition: Given | None = None,
    limit_db: float | None = None,
    band: Band = "full",
) -> torch.Tensor: ...


def enhance(
    input: Any,
    output: Any = None,
    sample_rate: int | None = None,
    *,
    model: str | Path | Enhancer = DEFAULT_MODEL,
    condition: Given | None = None,
    limit_db: float | None = None,
    band: Band = "full",
    progress: Progress | None = None,
) -> Any:
    """Enhance a file or an array: `enhance("in.wav")`, `enhance("in.wav", "out.wav")`, `enhance(array, 48000)`.

    The output has the rate, length, channels and level of the input. Channels are enhanced one by one; a model of
    several channels takes them together and returns one. The band above half the model's sample rate is kept under a
    gain that follows the model. The suffix of an output file determines its format, the input its bit depth (at least
    16). Memory does not grow with the length of a file.

    Args:
        input: an audio file, or a floating-point NumPy array or PyTorch tensor of shape (time) or
            (channel, time) with full scale 1.
        output: the file to write (None: "in.enhanced.wav" in the folder of the input). It appears when it is
            complete, and replaces an existing file. For an array: its sample rate in Hz.
        sample_rate: sample rate of an array in Hz.
        model: name, folder or card URL of a checkpoint, a classical method ("log-mmse"), the folder
            of a run, or an enhancer.
        condition: additional inputs of the model (`Enhancer.conditions`), by name: an audio file, a .npy file, or a
            tensor or array with one row for each output channel, or one row for all.
        limit_db: largest attenuation in dB, such as 12; None: no limit.
        band: "full" keeps the band above half the model's sample rate; "model" removes it.
        progress: called with the seconds of audio that were just read.

    Returns:
        A `Report` for a file; for an array, an array of the same kind, type and shape.

    Raises:
        RasedError: bad input, output or model; an existing output is unchanged.
    """
    if isinstance(input, np.ndarray | torch.Tensor):
        rate = output if sample_rate is None else sample_rate  # enhance(array, 48000)
        return _enhance_array(input, rate, model, condition, limit_db, band)
    if isinstance(input, str | Path):
        if sample_rate is not None or isinstance(output, int):
            raise RasedError("a file has its own sample rate: remove the argument `sample_rate`.")
        return _enhance_file(Path(input), output, model, condition, limit_db, band, progress)
    raise RasedError(
        f"cannot enhance {shown(input)}; give the name of a file, a NumPy array or a PyTorch tensor."
    )


def _enhance_file(
    source: Path,
    output: str | Path | None,
    model: str | Path | Enhancer,
    condition: Given | None,
    limit_db: float | None,
    band: Band,
    progress: Progress | None,
) -> Report:
    target = audio.enhanced_name(source) if output is None else Path(output)
    started = time.perf_counter()
    with audio.open_audio(source) as recording:
        info = recording.info
        # The output would replace the input.
        if target.exists() and target.samefile(source):
            raise RasedError(
                f"the output '{audio.printable(target)}' is the input; choose another output."
            )
        # Before the model is loaded: a wrong suffix is reported at once.
        video = target.suffix.lower() in audio.VIDEO and audio.has_picture(source)
        coding = None if video else audio.output_coding(target, info)
        enhancer = limited(resolve(model), limit_db)
        with _writer(target, info, output_channels(enhancer, info.channels), coding) as writer:
            frames = 0
            for block in enhanced_blocks(
                enhancer, recording.blocks(), info, progress, condition=condition, band=band
            ):
                writer.write(block)
                frames += block.shape[1]
    notes = [info.note] if info.note else []
    notes += [note for note in (_band(enhancer, info, band), _clipping(writer, info)) if note]
    seconds = frames / info.sample_rate
    return Report(source, target, seconds, time.perf_counter() - started, tuple(notes))


def _writer(
    target: Path, info: audio.AudioInfo, channels: int, coding: tuple[str, str] | None
) -> audio.AudioWriter | audio.VideoWriter:
    """Return a writer of container and coding; without them, of a video with the picture of the input."""
    rate = info.sample_rate
    if coding is None:
        return audio.VideoWriter(target, info.path, sample_rate=rate, channels=channels)
    return audio.AudioWriter(
        target,
        sample_rate=rate,
        channels=channels,
        container=coding[0],
        coding=coding[1],
        frames=info.frames,
    )


def _band(enhancer: Enhancer, info: audio.AudioInfo, band: Band) -> str:
    """Return a note on the frequencies above those of the model."""
    if info.sample_rate <= enhancer.sample_rate:
        return ""
    top = enhancer.sample_rate // 2
    what = f"the model works at {enhancer.sample_rate} Hz: "
    if band == "full":
        return f"{what}above {top} Hz, this {info.sample_rate} Hz file follows the gain of the model's highest band"
    return f"{what}the output of this {info.sample_rate} Hz file has no content above {top} Hz"


def _clipping(writer: audio.AudioWriter | audio.VideoWriter, info: audio.AudioInfo) -> str:
    """Return a note on the share of clipped samples, and how to avoid clipping."""
    if not writer.clipped:
        return ""
    floating = info.subtype in ("FLOAT", "DOUBLE")
    repair = (
        "write a .wav file, which can hold them" if floating else "lower the level of the input"
    )
    return f"{_percent(writer.clipped)} of its samples exceed full scale and were clipped: {repair}"


def _percent(share: float) -> str:
    """Format a small share with two digits.

    >>> _percent(0.374), _percent(0.00012), _percent(1.0)
    ('37 %', '0.012 %', '100 %')
    """
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _enhance_array(
    signal: np.ndarray | torch.Tensor,
    sample_rate: Any,
    model: str | Path | Enhancer,
    condition: Given | None,
    limit_db: float | None,
    band: Band,
) -> np.ndarray | torch.Tensor:
    tensor = torch.as_tensor(signal)
    shape = tuple(tensor.shape)
    _refuse_array(tensor, sample_rate)
    # (time) becomes (1, time)
    channels = tensor.detach().reshape(-1, shape[-1]).to("cpu", torch.float32).numpy()
    info = audio.AudioInfo(
        Path("array"), int(sample_rate), channels.shape[0], shape[-1], "", "FLOAT"
    )
    enhancer = limited(resolve(model), limit_db)
    parts = enhanced_blocks(enhancer, [channels], info, condition=condition, band=band)
    estimate = torch.from_numpy(np.concatenate(list(parts), axis=1))
    shape = shape if enhancer.channels == 1 else shape[-1:]
    result = estimate.reshape(shape).to(tensor.device, tensor.dtype)
    return result.numpy() if isinstance(signal, np.ndarray) else result


def _refuse_array(tensor: torch.Tensor, sample_rate: Any) -> None:
    """Check type, shape and sample rate of an array."""
    shape = tuple(tensor.shape)
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | np.integer):
        raise RasedError(
            f"the sample rate of the array is {shown(sample_rate)}; give it in Hz: enhance(array, 48000)."
        )
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise RasedError(
            f"the sample rate is {sample_rate} Hz; allowed are {RATES[0]} to {RATES[1]} Hz."
        )
    if not tensor.is_floating_point():
        raise RasedError(
            f"the array holds {tensor.dtype}; give floating-point samples of full scale 1 (divide 16-bit samples by "
            "32768)."
        )
    if (
        tensor.ndim not in (1, 2)
        or not tensor.numel()
        or (len(tensor.shape[:-1]) and shape[0] > CHANNELS)
    ):
        raise RasedError(
            f"the array has the shape {shape}; it must be (time) or (channel, time), with at least one sample and at "
            f"most {CHANNELS} channels: transpose one of shape (time, channel)."
        )
    if not bool(torch.isfinite(tensor).all()):
        raise RasedError("the array contains NaN or infinite samples; repair it first.")


def resolve(model: str | Path | Enhancer) -> Enhancer:
    """Return an enhancer unchanged, or load one by name with `rased.load`."""
    return model if isinstance(model, Enhancer) else load(model)


def enhanced_blocks(
    enhancer: Enhancer,
    blocks: Iterable[Block],
    info: audio.AudioInfo,
    progress: Progress | None = None,
    *,
    condition: Given | None = None,
    band: Band = "full",
) -> Iterator[Block]:
    """Resample, enhance, resample back; the output has as many samples as the input, without delay.

    Args:
        enhancer: any enhancer.
        blocks: the input, block by block.
        info: its sample rate, channels and name.
        progress: called with the seconds of each block.
        condition: see `rased.enhance`.
        band: see `rased.enhance`.

    Raises:
        RasedError: the model returned values that are not finite, or does not accept these channels or this condition.
    """
    stream = RateStream(
        enhancer,
        info.sample_rate,
        info.channels,
        condition=condition,
        band=band,
        where=f" for '{audio.printable(info.path)}'; nothing was written",
    )
    for block in blocks:
        out = stream.push(block)
        if out.shape[1]:
            yield out
        if progress is not None:
            progress(block.shape[1] / info.sample_rate)
    yield stream.finish()
