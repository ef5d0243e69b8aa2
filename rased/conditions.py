"""Read and check the additional inputs of a model: files, arrays and tensors in, tensors out.

A model declares its conditions (`Enhancer.conditions`), such as an enrolment of the speaker, an embedding, or a
class. All callers use this module: `forward`, `rased.enhance`, streams, evaluations, the command line.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rased import audio
from rased.errors import RasedError

Condition = Mapping[str, Tensor]
"""Conditions of a batch by name, each of shape (batch, ...)."""
Given = Mapping[str, Tensor | np.ndarray | str | Path]
"""Conditions as given by a caller: tensors and arrays of (batch, ...), or names of files with one row."""

ARRAY = ".npy"
"""Suffix of a file that holds an array, such as an embedding; any other file is audio."""


def as_tensors(
    given: Given | None, *, names: Sequence[str], owner: str, rows: int, sample_rate: int
) -> dict[str, Tensor]:
    """Read and check the conditions of a batch.

    A single row is used for all rows of the batch.

    Args:
        given: conditions by name.
        names: conditions that the model declares.
        owner: name of the model in error messages.
        rows: rows of the batch.
        sample_rate: sample rate of the model in Hz; audio files are resampled to it, and their channels averaged.

    Returns:
        A tensor of (rows, ...) for each of `names`.

    Raises:
        RasedError: a condition is missing or unknown, a file cannot be read, or the number of rows does not fit.
    """
    found = dict(given or {})
    for name in found:
        if name not in names:
            known = f"it takes {', '.join(names)}" if names else "it takes none"
            raise RasedError(f"{owner} has no condition '{name}'; {known}.")
    tensors = {}
    for name in names:
        if name not in found:
            raise RasedError(
                f"{owner} needs the condition '{name}': give condition={{'{name}': FILE or tensor}}, or on the "
                f"command line --condition {name}=FILE."
            )
        value = found[name]
        if isinstance(value, str | Path):
            value = read(value, name=name, sample_rate=sample_rate)
        elif not isinstance(value, Tensor):
            value = _numbers(np.asarray(value), f"the condition '{name}'")
        tensors[name] = _of_rows(value, rows, name)
    return tensors


def read(path: str | Path, *, name: str, sample_rate: int) -> Tensor:
    """Read the file of a condition.

    Args:
        path: an audio file, or a .npy file with an array of one row, of shape (...) or (1, ...).
        name: name of the condition, for error messages.
        sample_rate: sample rate in Hz to which audio is resampled.

    Returns:
        One row: (1, time) for audio, (1, ...) for an array.

    Raises:
        RasedError: the file cannot be read, or its content is not suitable.
    """
    path = Path(path)
    if path.suffix.lower() == ARRAY:
        return _array(path, name)
    try:
        samples, _ = audio.read(path, sample_rate=sample_rate)
    except audio.BadAudioError as error:
        said = str(error).rstrip(".")
        raise RasedError(
            f"the condition '{name}': {said} (an embedding is given as a {ARRAY} file)."
        ) from None
    return torch.from_numpy(samples.mean(axis=0, keepdims=True))


def stacked(conditions: Sequence[Condition]) -> dict[str, Tensor] | None:
    """Stack the conditions of several rows into one batch; return None if their shapes differ."""
    first = conditions[0]
    if any(each[name].shape != first[name].shape for each in conditions for name in first):
        return None
    return {name: torch.cat([each[name] for each in conditions]) for name in first}


def parse(words: Iterable[str]) -> dict[str, Path]:
    """Parse NAME=FILE arguments of a command line.

    Raises:
        RasedError: an argument of another form, or a name that is given twice.

    >>> parse(["enrolment=anna.wav"])["enrolment"].name
    'anna.wav'
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise RasedError(
                f"--condition takes NAME=FILE, such as enrolment=anna.wav, not '{word}'."
            )
        if name in found:
            raise RasedError(
                f"--condition gives '{name}' twice ({found[name]} and {file}): give one file."
            )
        found[name] = Path(file)
    return found


def _array(path: Path, name: str) -> Tensor:
    what = f"the condition '{name}': '{audio.printable(path)}'"
    try:
        # Mapped, so that a header cannot make it allocate more than the file holds.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise RasedError(f"{what} does not exist.") from None
    except OSError as error:
        raise RasedError(f"{what} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError, MemoryError):
        found = None
    if not isinstance(found, np.ndarray):
        raise RasedError(
            f"{what} does not contain an array: write it with numpy.save('NAME{ARRAY}', array)."
        )
    tensor = _numbers(found, what)
    return tensor if tensor.ndim > 1 and len(tensor) == 1 else tensor[None]  # (1, ...) or (...)


def _numbers(array: np.ndarray, what: str) -> Tensor:
    """Convert an array to a tensor: real numbers to float32, integers to int64; booleans are kept."""
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
    kind = kinds.get(array.dtype.kind)
    if kind is None or not array.size:
        raise RasedError(
            f"{what} contains {array.dtype} of shape {array.shape}; it must be a non-empty array of numbers."
        )
    if not np.isfinite(array).all():
        raise RasedError(f"{what} contains NaN or infinite numbers; repair it first.")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind).copy())  # into memory


def _of_rows(tensor: Tensor, rows: int, name: str) -> Tensor:
    if tensor.ndim and len(tensor) == 1:
        return tensor.expand(rows, *tensor.shape[1:])
    if not tensor.ndim or len(tensor) != rows:
        wanted = "1" if rows == 1 else f"{rows}, or 1 for all of them"
        raise RasedError(
            f"the condition '{name}' has the shape {tuple(tensor.shape)} for a batch of {rows}: its first axis must "
            f"have {wanted}."
        )
    return tensor
