"""Read files of tensors without running code: checkpoints (.ckpt) and safetensors.

A checkpoint is a zip file with a pickle. The pickle is inspected before torch reads it: only tensors and plain
values are allowed, and nothing in it may be larger than the file.
"""

import json
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rased.errors import RasedError, cut, shown

_HEADER = 16 << 20
"""Maximum bytes of the header of a safetensors file, and of the pickle of a checkpoint."""
_RANK = 8
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
_OBJECTS = {
    "collections OrderedDict",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Bool")),
    *(f"torch {kind}Storage" for kind in ("Byte", "Char", "Short", "Int", "Long")),
    *(f"torch {kind}Storage" for kind in ("ComplexFloat", "ComplexDouble")),
    *(f"torch {kind}" for kind in ("float16", "bfloat16", "float32", "float64", "int64")),
}
"""All names that a checkpoint may import: tensors and their containers."""


def read_checkpoint(path: str | Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint that torch wrote: a mapping of plain values and tensors, on the CPU.

    Args:
        path: the file.
        mmap: leave the tensors on disk until they are used.

    Raises:
        RasedError: the file does not exist, is truncated, empty or of another kind, or holds other objects.
    """
    path = Path(path)
    try:
        _check_objects(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except RasedError:
        raise
    except FileNotFoundError:
        raise RasedError(f"the checkpoint '{path}' does not exist.") from None
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, OSError) and error.strerror and path.is_dir():
            raise RasedError(f"'{path}' is a folder; a checkpoint is a file.") from None
        raise _unreadable(path, error) from None
    except Exception as error:  # torch raises various exceptions for files that it did not write
        raise _unreadable(path, error) from None
    if not isinstance(content, dict):
        raise RasedError(
            f"'{path}' is not a checkpoint: it contains {shown(type(content).__name__)}."
        )
    return content


def _unreadable(path: Path, error: Exception) -> RasedError:
    others = [name for name in ("best.ckpt", "last.ckpt") if name != path.name]
    beside = next((path.with_name(name) for name in others if path.with_name(name).is_file()), None)
    size = path.stat().st_size if path.is_file() else -1
    reason = "is empty" if size == 0 else "is truncated or is not a checkpoint"
    if isinstance(error, PermissionError):
        reason = f"cannot be read ({error.strerror})"
    hint = f"; '{beside}' is in the same folder" if beside else ""
    return RasedError(f"'{path}' {reason}: copy it again from its source{hint}.")


def _check_objects(path: Path) -> None:
    """Reject a checkpoint that imports anything but tensors, or that unpacks to more than its size."""
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise zipfile.BadZipFile("compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:  # a zip bomb
            raise zipfile.BadZipFile("members that overlap")
        lists = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        if len(lists) != 1 or lists[0].file_size > _HEADER:
            raise zipfile.BadZipFile("no list of objects")
        for name in _named(archive.read(lists[0])):
            if name not in _OBJECTS:
                raise RasedError(
                    f"'{path}' is rejected: it refers to '{cut(name.replace(' ', '.'))}', but a checkpoint may hold "
                    "only tensors and plain values."
                )


def _named(objects: bytes) -> Iterator[str]:
    """Yield what a pickle would import, as "module name" (torch writes plain names only)."""
    for code, argument, _ in pickletools.genops(objects):  # reads the opcodes, executes nothing
        if code.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield "an object by a name that it makes up"


@dataclass(frozen=True)
class Header:
    """Header of a safetensors file.

    Attributes:
        tensors: shape of each tensor, by name.
        metadata: strings that the file holds in addition to tensors.
    """

    tensors: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    @property
    def numbers(self) -> int:
        """Return how many numbers all tensors hold."""
        return sum(_product(shape) for shape in self.tensors.values())


def read_header(content: bytes, path: Path) -> Header:
    """Parse and check the header of a safetensors file.

    Raises:
        RasedError: not a valid header, or it does not match the length of the file.
    """
    # The format: 8 bytes with the length of the header, the header as JSON, then the tensors.
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_HEADER, len(content) - 8):
        raise RasedError(f"'{path}' is not a safetensors file, or it is truncated.")
    try:
        header = json.loads(content[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(word, str) for pair in metadata.items() for word in pair):
            raise TypeError("metadata")
        tensors = {name: _shape(entry) for name, entry in header.items()}
        said = sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values())
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        raise RasedError(f"'{path}' is not a safetensors file: its header is damaged.") from None
    if said != len(content) - 8 - length:
        raise RasedError(f"'{path}' is truncated, or its header is damaged.")
    return Header(tensors, metadata)


def read_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        RasedError: not a valid safetensors file.
    """
    import safetensors.torch

    read_header(content, path)
    try:
        return safetensors.torch.load(content)
    except Exception as error:  # safetensors raises various exceptions for damaged files
        raise RasedError(f"'{path}' is not a safetensors file: {cut(str(error))}") from None


def _shape(entry: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, after checking it against the number of bytes in its entry."""
    shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
    plain = all(type(number) is int and number >= 0 for number in (*shape, start, stop))
    if not plain or len(shape) > _RANK or stop - start != _product(shape) * _BYTES[entry["dtype"]]:
        raise ValueError("shape")
    return shape


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
