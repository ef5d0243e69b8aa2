"""Speech-like audio for metrics: voiced syllables with formants and pauses, generated."""

import numpy as np
import pytest
import torch


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
