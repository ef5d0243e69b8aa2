"""Enhance a frozen set in several ways that need no training; each becomes a folder that `rased evaluate` takes.

python experiments/0018-two-views/views.py local/valid-set --out local/views
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import soundfile
import torch
from torch import Tensor

import rased
from rased.models.primed import Primed
from rased.signal.stft import STFT


def sharpened(stft: STFT, noisy: Tensor, estimate: Tensor, exponent: float) -> Tensor:
    """Return the estimate with its ratio to the input, bin by bin, to a power."""
    before, after = stft.analysis(noisy), stft.analysis(estimate)
    ratio = (after.abs() / (before.abs() + 1e-8)).clamp(1e-4, 1.0)
    return stft.synthesis(after * ratio ** (exponent - 1), noisy.shape[-1])


def ways() -> Iterator[tuple[str, object]]:
    """Yield the name of each way, and a function of the noisy waveform."""
    names = ("ul-unas-fine-16k", "gtcrn-tuned-16k", "dereverb-offline-16k", "wpe")
    plain, other, dereverb, wpe = map(rased.load, names)
    primed = Primed(plain).eval()

    def average(noisy: Tensor) -> Tensor:
        return 0.5 * (primed(noisy) + primed(wpe(noisy)))

    yield "plain", plain
    yield "primed", primed
    yield "wpe-primed", lambda noisy: primed(wpe(noisy))
    yield "average", average
    yield "average-sharpened", lambda noisy: sharpened(plain.stft, noisy, average(noisy), 1.2)
    yield "average-of-networks", lambda noisy: 0.6 * plain(noisy) + 0.4 * other(noisy)
    yield "dereverb-first", lambda noisy: plain(dereverb(noisy))


def main() -> int:
    """Write the folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("testset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    with torch.inference_mode():
        for name, enhance in ways():
            (told.out / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((told.testset / "noisy").iterdir()):
                noisy, rate = soundfile.read(path, dtype="float32")
                estimate = enhance(torch.from_numpy(noisy)[None])[0].numpy()
                out = told.out / name / f"{path.stem}.wav"
                soundfile.write(out, estimate, rate, subtype="FLOAT")
    return 0


if __name__ == "__main__":
    sys.exit(main())
