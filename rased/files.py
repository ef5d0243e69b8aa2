"""Enhance arrays, files and folders of any rate, number of channels, length and format, with constant memory."""

from collections.abc import Iterable, Iterator
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
from rased.rates import Band, Block, Progress, RateStream
from rased.rewriting import Report, rewrite
from rased.shelves import DEFAULT_MODEL
from rased.streaming import open_rates
from rased.zoo import load


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

    def opened(info: audio.AudioInfo) -> RateStream:
        return _opened(limited(resolve(model), limit_db), info, condition, band)

    return rewrite(source, target, opened, progress)


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
    yield from _opened(enhancer, info, condition, band).through(blocks, progress)


def _opened(
    enhancer: Enhancer, info: audio.AudioInfo, condition: Given | None, band: Band
) -> RateStream:
    """Return a stream for audio of this rate and number of channels; messages name it."""
    return open_rates(
        enhancer,
        info.sample_rate,
        info.channels,
        condition=condition,
        band=band,
        where=f" for '{audio.printable(info.path)}'; nothing was written",
    )
