"""What others take for the mixtures that `rased bench loader` makes, from the same files: audio seconds per CPU second.

    pip install numpy scipy soundfile torch lhotse audiomentations urllib3      # in an environment of its own
    OMP_NUM_THREADS=1 python experiments/0002-data-engine/peers.py FOLDER --items 300

FOLDER holds speech/, noise/ and rir/ with FLAC files of 16 kHz, the recordings longer than 4 s. Each way gives a
crop of 4 s in a room, with noise at -5 to 15 dB, and its early reverberation (audiomentations gives no target); one
thread, one process.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import soundfile

RATE, SECONDS = 16_000, 4.0
FRAMES = round(RATE * SECONDS)
EARLY = RATE // 20
SNR_DB = (-5.0, 15.0)

Way = Callable[[int], Any]


class Files:
    """The files of a folder, and what is drawn of them."""

    def __init__(self, folder: Path) -> None:
        self.speech, self.noise, self.rir = (
            sorted((folder / role).glob("*.flac")) for role in ("speech", "noise", "rir")
        )
        self.frames = {path: soundfile.info(path).frames for path in (*self.speech, *self.noise)}
        self.random = np.random.default_rng(1)

    def any(self, paths: list[Path]) -> Path:
        """One of them."""
        return paths[int(self.random.integers(len(paths)))]

    def start(self, path: Path) -> int:
        """First sample of a crop."""
        return int(self.random.integers(self.frames[path] - FRAMES + 1))

    def segment(self, path: Path) -> np.ndarray:
        """A crop, of which no more is decoded."""
        return soundfile.read(path, FRAMES, self.start(path), dtype="float32")[0]

    def whole(self, path: Path) -> np.ndarray:
        """A crop of all of a file."""
        start = self.start(path)
        return soundfile.read(path, dtype="float32")[0][start : start + FRAMES]

    def mix(self, clean: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In a room, with noise; and the early part of it."""
        rir = soundfile.read(self.any(self.rir), dtype="float32")[0]
        reverberant = scipy.signal.fftconvolve(clean, rir)[:FRAMES]
        early = scipy.signal.fftconvolve(clean, rir[:EARLY])[:FRAMES]
        snr = 10 ** (self.random.uniform(*SNR_DB) / 10)
        gain = np.sqrt(np.mean(reverberant**2) / np.mean(noise**2) / snr)
        return reverberant + np.float32(gain) * noise, early


def ways(files: Files, folder: Path) -> dict[str, Way]:
    """Functions of the number of a mixture."""

    def speech(number: int) -> Path:
        return files.speech[number % len(files.speech)]

    return {
        "decode_only": lambda n: (files.segment(speech(n)), files.segment(files.any(files.noise))),
        "scipy, whole files": lambda n: files.mix(
            files.whole(speech(n)), files.whole(files.any(files.noise))
        ),
        "scipy, segments": lambda n: files.mix(
            files.segment(speech(n)), files.segment(files.any(files.noise))
        ),
        "audiomentations": audiomentations(files, folder, speech),
        "lhotse": lhotse(files, speech),
    }


def audiomentations(files: Files, folder: Path, speech: Callable[[int], Path]) -> Way:
    """Its transforms, which give no target."""
    from audiomentations import AddBackgroundNoise, ApplyImpulseResponse, Compose

    low, high = SNR_DB
    augment = Compose(
        [
            ApplyImpulseResponse(str(folder / "rir"), p=1.0, leave_length_unchanged=True),
            AddBackgroundNoise(str(folder / "noise"), min_snr_db=low, max_snr_db=high, p=1.0),
        ]
    )
    return lambda number: augment(files.segment(speech(number)), RATE)


def lhotse(files: Files, speech: Callable[[int], Path]) -> Way:
    """Its cuts."""
    from lhotse import MonoCut, Recording

    rooms = [Recording.from_file(path) for path in files.rir]
    recordings = {path: Recording.from_file(path) for path in (*files.speech, *files.noise)}

    def crop(path: Path) -> MonoCut:
        start = files.start(path) / RATE
        return MonoCut(path.stem, start, SECONDS, channel=0, recording=recordings[path])

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        clean, noise = crop(speech(number)), crop(files.any(files.noise))
        room = rooms[int(files.random.integers(len(rooms)))]
        reverberant = clean.reverb_rir(room).truncate(duration=SECONDS)
        noisy = reverberant.mix(noise, snr=float(files.random.uniform(*SNR_DB)))
        return noisy.load_audio(), clean.reverb_rir(room, early_only=True).load_audio()

    return make


def main() -> None:
    """Print the figure of each way as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=300)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    figures = {}
    for name, make in ways(Files(arguments.folder), arguments.folder).items():
        make(0)
        start = time.process_time()
        for number in range(arguments.items):
            make(number)
        figures[name] = round(SECONDS * arguments.items / (time.process_time() - start))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
