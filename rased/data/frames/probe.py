"""Check in a separate process whether a file of frames can be read: HDF5's library hangs or crashes on some files.

The process has limited processor time and memory. It reads everything except the frames
themselves, and checks position, size and shape of each of their chunks. A file that passes can be opened safely.
"""

import os
import subprocess
import sys
from pathlib import Path

import h5py

from rased import machine
from rased.errors import RasedError, cut

CHUNK = 128
"""Frames that are compressed and read together, with one checksum."""
_SECONDS = 5
"""Processor seconds, plus one for each `_BYTES` of the file."""
_BYTES = 50_000_000
_MEMORY = 4 << 30
_WIDEST = 1 << 16
"""Maximum number of values in a frame."""
_ROWS = 1 << 16
_known: set[tuple[int, int, int, int]] = set()


def check(path: Path) -> None:
    """Reject a file that h5py cannot read; a file that this process has read before is not checked again.

    Raises:
        OSError: the file does not exist.
        RasedError: it is damaged; the message says how.
    """
    key = _key(path)
    if key in _known:
        return
    if not path.is_file():
        raise RasedError("it is not a file")
    words = [sys.executable, "-m", __name__, str(path)]
    # Threads would need address space, which is limited.
    alone = {**os.environ, **machine.ONE_THREAD}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=alone)
    if done.returncode:
        said = done.stdout.strip().splitlines()
        raise RasedError(cut(said[-1]) if said else "HDF5's library hangs or crashes on it")
    _known.add(key)


def trust(path: Path) -> None:
    """Mark a file that this process wrote itself as checked."""
    _known.add(_key(path))


def _key(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _look(path: Path) -> None:
    """Read what `FrameFile` reads, and check the position of the frames.

    Raises:
        Exception: any exception of h5py for a damaged file.
    """
    size = path.stat().st_size
    with h5py.File(path, "r", locking=False) as file:
        # Reading is the check.
        for value in file.attrs.values():
            assert isinstance(value, object)
        for name in ("utterances", "skipped"):
            table = file[name]
            row = max(table.dtype.itemsize, 8)
            # A damaged header may announce any number of rows, which h5py would allocate.
            if table.ndim != 1 or len(table) * row > size:
                raise ValueError(f"'{name}' announces {table.shape} rows in {size} bytes")
            for start in range(0, len(table), _ROWS):
                table[start : start + _ROWS]
        for stream in file["frames"]:
            _look_at_frames(file["frames"][stream], size, f"frames/{stream}")
            statistics = file["statistics"][stream]
            int(statistics.attrs["count"])
            for moment in ("mean", "variance"):
                if statistics[moment].shape != file["frames"][stream].shape[1:]:
                    raise ValueError(
                        f"'statistics/{stream}/{moment}' has another size than a frame"
                    )
                statistics[moment][:]


def _look_at_frames(frames: h5py.Dataset, size: int, name: str) -> None:
    """Reject chunks whose shape or position is wrong."""
    if frames.ndim != 2 or frames.dtype.kind != "f" or frames.dtype.itemsize > 4:
        raise ValueError(f"'{name}' is not a table of numbers")
    if not 0 < frames.shape[1] <= _WIDEST or frames.chunks != (CHUNK, frames.shape[1]):
        raise ValueError(f"'{name}' has chunks of a wrong shape")
    raw = CHUNK * frames.shape[1] * frames.dtype.itemsize
    wanted = -(-frames.shape[0] // CHUNK)
    if wanted > size:
        raise ValueError(f"'{name}' announces {frames.shape[0]} frames in {size} bytes")
    seen = 0

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        nonlocal seen
        seen += 1
        # gzip adds a little to data that it cannot compress.
        if chunk.size > raw + 1024 or chunk.byte_offset + chunk.size > size:
            raise ValueError(f"'{name}' has a chunk of an impossible size, {chunk.size} bytes")

    frames.id.chunk_iter(note)
    if seen != wanted:
        raise ValueError(f"'{name}' has {seen} of {wanted} chunks")


def main(path: Path) -> int:
    """Check a file within the limits; print why it cannot be read."""
    seconds = _SECONDS + path.stat().st_size // _BYTES
    machine.bound(seconds=seconds, memory=_MEMORY)
    machine.no_core_dumps()
    try:
        _look(path)
    except BaseException as error:
        print(str(error).strip("'\"").partition("\n")[0] or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
