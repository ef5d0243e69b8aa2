"""What a model is given besides the waveform: files, arrays and tensors in, checked tensors out.

A model names its conditions (`Enhancer.conditions`): an enrolment of the speaker, an embedding, a class. All that
takes them (a call of an enhancer, `rased.enhance`, a stream, an evaluation, the command line) reads them here.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rased import audio
from rased.errors import RasedError

Condition = Mapping[str, Tensor]
"""The conditions of a batch by name, each (batch, ...)."""
Given = Mapping[str, Tensor | np.ndarray | str | Path]
"""Conditions as a caller gives them: tensors and arrays of (batch, ...), or the names of files of one row."""

ARRAY = ".npy"
"""Ending of a file that holds an array, such as an embedding; every other file is audio."""


def as_tensors(
    given: Given | None, *, names: Sequence[str], owner: str, rows: int, sample_rate: int
) -> dict[str, Tensor]:
    """Read and check the conditions of a batch.

    One row serves all rows of a batch.

    Args:
        given: by name.
        names: those that the model declares.
        owner: what the model is called in a message.
        rows: of the batch.
        sample_rate: Hz of the model: audio files come at this rate, as the mean of their channels.

    Returns:
        A tensor of (rows, ...) for each of `names`.

    Raises:
        RasedError: a condition is missing or unknown, a file cannot be read, or the rows do not fit.
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
        path: an audio file, or a .npy file with the array of one row, of shape (...) or (1, ...).
        name: of the condition, for messages.
        sample_rate: Hz that audio is brought to.

    Returns:
        One row: (1, time) of audio, (1, ...) of an array.

    Raises:
        RasedError: it cannot be read, or holds something else.
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
    """The conditions of several rows as those of one batch; None where their shapes differ."""
    first = conditions[0]
    if any(each[name].shape != first[name].shape for each in conditions for name in first):
        return None
    return {name: torch.cat([each[name] for each in conditions]) for name in first}


def parse(words: Iterable[str]) -> dict[str, Path]:
    """Take NAME=FILE words of a command line apart.

    Raises:
        RasedError: a word of another form, or a name that is given twice.

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
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise RasedError(f"{what} does not exist: there is no file of that name.") from None
    except OSError as error:
        raise RasedError(f"{what} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError, MemoryError):
        found = None
    if not isinstance(found, np.ndarray):
        raise RasedError(
            f"{what} does not hold an array: write it with numpy.save('NAME{ARRAY}', array)."
        )
    tensor = _numbers(found, what)
    return tensor if tensor.ndim > 1 and len(tensor) == 1 else tensor[None]


def _numbers(array: np.ndarray, what: str) -> Tensor:
    """An array as a tensor: real numbers as float32, whole ones as int64, truth values as they are."""
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
    kind = kinds.get(array.dtype.kind)
    if kind is None or not array.size:
        raise RasedError(
            f"{what} holds {array.dtype} of shape {array.shape}; it must be an array of numbers, with one at least."
        )
    if not np.isfinite(array).all():
        raise RasedError(f"{what} holds NaN or infinite numbers; repair it first.")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind).copy())


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
