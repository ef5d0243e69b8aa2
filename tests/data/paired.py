"""Recorded pairs for tests: folders of noisy and clean files, whose noisy files are the clean ones and noise."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def voice(random: np.random.Generator, seconds: float, rate: int = RATE) -> np.ndarray:
    """A voice-like sound with pauses, as 16-bit samples."""
    time = np.arange(int(seconds * rate)) / rate
    pitch = random.uniform(100, 250)
    tones = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8))
    breath = random.standard_normal(len(time))
    heard = 0.1 * (tones + breath) * np.maximum(0, np.sin(5 * time + random.uniform(0, 3)))
    return np.rint(heard * 2**15 / 2).astype(np.int16)


def write_pair(root: Path, name: str, clean: np.ndarray, noisy: np.ndarray, rate: int = RATE):
    """Write clean/NAME.wav and noisy/NAME.wav."""
    for part, samples in (("clean", clean), ("noisy", noisy)):
        file = root / part / f"{name}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, samples, rate, subtype="PCM_16")


def write_pairs(
    root: Path, count: int = 7, valid: int = 3
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write pairs of several speakers and lengths; return (clean, noisy) as 16-bit samples by key."""
    random = np.random.default_rng(5)
    written = {}
    for number in range(count + valid):
        split, speaker = ("train", number % 3) if number < count else ("valid", 9)
        clean = voice(random, 0.3 + 1.3 * (number % count) / count)
        noise = np.rint(800 * random.standard_normal(len(clean)) * random.uniform(0.1, 1))
        noisy = (clean + noise).clip(-32768, 32767).astype(np.int16)
        write_pair(root, f"{split}/speaker{speaker}/u{number}", clean, noisy)
        written[f"{split}-speaker{speaker}-u{number}"] = (clean, noisy)
    return written
