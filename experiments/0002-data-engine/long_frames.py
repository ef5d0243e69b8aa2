"""Peak memory of writing frames while the corpus goes on: python long_frames.py OUT.h5 [HOURS]."""

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from rased.data.frames.file import Framing
from rased.data.frames.sources import FrameSource, Group, Item, Position
from rased.data.frames.writer import write_frames
from rased.layers.frontend import Features
from rased.signal.stft import STFT

RATE, SECONDS = 16_000, 10


class Noise(FrameSource):
    """Recordings of noise, four that come again and again."""

    streams = ("clean",)
    sample_rate = RATE

    def __init__(self, count: int) -> None:
        self.count = count
        random = np.random.default_rng(0)
        shape = (4, SECONDS * RATE)
        self.audio = 0.05 * random.standard_normal(shape, dtype=np.float32)

    def describe(self) -> dict[str, int]:
        """How many."""
        return {"count": self.count}

    def progress(self, position: Position) -> tuple[int, int]:
        """Recordings."""
        return position[1], self.count

    def groups(self, position: Position) -> Iterator[Group]:
        """One recording each."""
        for number in range(position[1], self.count):
            audio = self.audio[number % 4]
            item = Item(
                key=f"{number:06d}",
                label="noise",
                split="train",
                sha256="0" * 64,
                length=len(audio),
                audio={"clean": lambda start, count, audio=audio: audio[start : start + count]},
            )
            yield Group([item], [], (0, number + 1))


def main(out: Path, hours: float) -> None:
    """Print hours written, peak memory and CPU seconds whenever the hours have doubled."""
    torch.set_num_threads(1)
    due = 1.25

    def progress(done: int, total: int) -> None:
        nonlocal due
        if done * SECONDS / 3600 >= due:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 * 1.048576
            print(f"{due:6.2f} h  {peak:.1f} MB  {time.process_time():.1f} s", flush=True)
            due *= 2

    source = Noise(round(3600 * hours / SECONDS))
    write_frames(source, Framing(Features(), STFT(), RATE), out, progress=progress)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 21.0)
