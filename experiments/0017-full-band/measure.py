"""Measure enhancers on a frozen set of 48 kHz: above 8 kHz the log-spectral distance, below it the usual scores.

    python experiments/0017-full-band/measure.py local/wide/set full-band-48k ul-unas-fine-16k

For a model of 16 kHz, `rased.enhance` keeps the band above under one gain. The distance is that of powers in dB, root
mean square over bins from 8.5 to 16 kHz, mean over the frames of 43 ms, each floored at -110 dB of full scale.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch

import rased
from rased.metrics import metric
from rased.signal.resampling import resample

FLOOR_DB = -110.0
BELOW = ("pesq-wb", "estoi", "si-sdr", "dnsmos-ovrl")


def distance(estimate: np.ndarray, target: np.ndarray, rate: int) -> float:
    """Return the log-spectral distance above 8.5 kHz in dB."""
    window = torch.hann_window(2048)
    bins = slice(round(8_500 * 2048 / rate), round(16_000 * 2048 / rate))
    levels = []
    for signal in (estimate, target):
        spectrum = torch.stft(
            torch.from_numpy(signal), 2048, 512, window=window, return_complex=True
        )
        power = (spectrum.abs() / window.sum()).square()[bins]
        levels.append(10 * (power + 10 ** (FLOOR_DB / 10)).log10())
    return float((levels[0] - levels[1]).square().mean(0).sqrt().mean())


def low(signal: np.ndarray, rate: int) -> torch.Tensor:
    """Return what is below 8 kHz, at 16 kHz."""
    return resample(torch.from_numpy(signal)[None], rate, 16_000)[0]


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("testset", type=Path)
    parser.add_argument("systems", nargs="+")
    told = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| system | LSD above 8 kHz (dB) | {' | '.join(BELOW)} |")
    print(f"|---|{'--:|' * (1 + len(BELOW))}")
    for system in ("noisy", *told.systems):
        rows = []
        model = None if system == "noisy" else rased.load(system)
        for path in sorted((told.testset / "noisy").iterdir()):
            target, rate = soundfile.read(told.testset / "target" / path.name, dtype="float32")
            estimate, _ = soundfile.read(path, dtype="float32")
            if model is not None:
                estimate = rased.enhance(estimate, rate, model=model)
            pair = low(estimate, rate), low(target, rate)
            scores = [
                metric(name)(estimate=pair[0], target=pair[1], sample_rate=16_000).value
                for name in BELOW
            ]
            rows.append([distance(estimate, target, rate), *scores])
        means = [
            statistics.fmean(one for one in column if one is not None)
            for column in zip(*rows, strict=True)
        ]
        print(f"| {system} | {' | '.join(f'{mean:.2f}' for mean in means)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
