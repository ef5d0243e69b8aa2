"""What trainings leave behind, in files that are small enough to be carried."""

import tarfile
from collections.abc import Iterable
from pathlib import Path

import torch

CHUNK = 15 << 20


def pack(files: Iterable[tuple[Path, str]], out: Path, name: str) -> list[Path]:
    """Write files under other names to OUT/NAME.tar.gz.0, .1, ..., of CHUNK bytes at most; return the pieces."""
    out.mkdir(parents=True, exist_ok=True)
    packed = out / f"{name}.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
        for path, where in files:
            tar.add(path, where)
    data, pieces = packed.read_bytes(), []
    packed.unlink()
    for number, start in enumerate(range(0, len(data), CHUNK)):
        pieces.append(out / f"{packed.name}.{number}")
        pieces[-1].write_bytes(data[start : start + CHUNK])
    return pieces


def slim(path: Path) -> None:
    """Leave the weights in training out of a checkpoint: their average is what is used."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    weights = checkpoint["state_dict"]
    for key in [key for key in weights if key.startswith("enhancer.")]:
        del weights[key]
    torch.save(checkpoint, path)
