"""Audio for metrics: excerpts of the bundled test set, and voiced syllables with formants, generated."""

import numpy as np
import pytest
import soundfile
import torch

from tests import EXCERPTS

SAID = "he might even have been made amiable himself"


def _speech(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time) + 10 * np.sin(2 * np.pi * 2.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    syllable = np.clip(np.sin(2 * np.pi * 2.2 * time) + 0.3, 0, None)
    formants = np.repeat(rng.uniform([300, 900, 2300], [800, 2000, 3200], (64, 3)), 3600, axis=0)
    formants = formants[: len(time)]
    voiced = sum(
        np.cos(k * phase)
        * np.exp(-0.5 * (((k * pitch)[:, None] - formants) / 180) ** 2).sum(-1)
        / (1 + 0.02 * k)
        for k in range(1, 40)
    )
    breath = 0.05 * rng.standard_normal(len(time)) * np.clip(np.sin(2 * np.pi * 4.4 * time), 0, 1)
    waveform = syllable * voiced + breath
    return (0.3 * waveform / np.abs(waveform).max()).astype(np.float32)


@pytest.fixture(scope="session")
def target() -> torch.Tensor:
    """Three seconds of something like speech."""
    return torch.from_numpy(_speech(3.0, seed=1))


@pytest.fixture(scope="session")
def noisy(target: torch.Tensor) -> torch.Tensor:
    """The same at about 10 dB SNR, in white noise."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(target.shape, generator=generator)
    return target + noise * target.square().mean().sqrt() * 10 ** (-10 / 20)


def _excerpt(part: str, name: str) -> torch.Tensor:
    path = EXCERPTS / part / f"{name}.flac"
    return torch.from_numpy(soundfile.read(path, dtype="float32")[0])


@pytest.fixture(scope="session")
def spoken() -> torch.Tensor:
    """Three seconds of a reader: SAID."""
    return _excerpt("target", "m0002")


@pytest.fixture(scope="session")
def in_babble() -> torch.Tensor:
    """The same at 5 dB in babble."""
    return _excerpt("noisy", "m0002")


@pytest.fixture(scope="session")
def early() -> torch.Tensor:
    """A reader in a room, as far as the first 50 ms."""
    return _excerpt("target", "m0000")


@pytest.fixture(scope="session")
def in_room() -> torch.Tensor:
    """The same with the rest of the room (T60 0.5 s), without noise."""
    return _excerpt("noisy", "m0000")
