"""Synthesise recordings of one noise type, sirens: python make_noise.py OUT [COUNT]; the same files every time."""

import sys
from pathlib import Path

import numpy as np
import soundfile

RATE, SECONDS = 16_000, 6
COUNTS = {"train": 40, "valid": 8, "test": 24}


def siren(generator: np.random.Generator) -> np.ndarray:
    """A harmonic tone whose pitch rises and falls, with an echo and a little wind."""
    time = np.arange(RATE * SECONDS) / RATE
    low, high = generator.uniform(350, 700), generator.uniform(900, 1700)
    rate, start = generator.uniform(0.15, 3.0), generator.uniform(0, 2 * np.pi)
    sweep = np.sin(2 * np.pi * rate * time + start)
    if generator.random() < 0.4:  # two tones in turn instead of a sweep
        sweep = np.tanh(6 * sweep)
    pitch = low * (high / low) ** (0.5 + 0.5 * sweep)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    slope = generator.uniform(0.8, 2.0)
    sound = sum(
        np.sin(number * phase + generator.uniform(0, 2 * np.pi)) / number**slope
        for number in range(1, 9)
        if number * high < 0.45 * RATE
    )
    delay = int(generator.uniform(0.05, 0.25) * RATE)
    sound[delay:] += generator.uniform(0.1, 0.5) * sound[:-delay]
    swell = 1 + generator.uniform(0, 0.6) * np.sin(2 * np.pi * generator.uniform(0.05, 0.3) * time)
    sound = sound * swell + 0.02 * generator.standard_normal(len(time))
    return 0.3 * sound / np.abs(sound).max()


def main(out: Path, train: int = COUNTS["train"]) -> None:
    """Write OUT/noise/SPLIT/siren/NUMBER.wav; `train` of them are for training."""
    for number, (split, count) in enumerate({**COUNTS, "train": train}.items()):
        folder = out / "noise" / split / "siren"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            sound = siren(np.random.default_rng([number, index]))
            soundfile.write(folder / f"{index:03d}.wav", sound, RATE, subtype="PCM_16")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
