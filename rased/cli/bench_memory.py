"""Peak resident memory of long jobs, everything imported, and how it grows with the input."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  rased bench memory                         enhance a generated 2-hour file
  rased bench memory --hours 0.5 --json      a shorter one, for a program to read
"""

SHARE = 8
"""The slope of memory is taken between this part of the file and the whole."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what `rased bench memory` understands."""
    parser.epilog = EXAMPLES
    parser.add_argument("--hours", type=float, default=2.0, help="length of the generated file")
    parser.add_argument("--sample-rate", type=int, default=16_000, help="of that file, in Hz")
    parser.add_argument("--channels", type=int, default=1, help="of that file")
    parser.add_argument("--model", help="name or folder of a checkpoint (default: the first)")


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Peak resident memory of a process that enhances a long file, everything imported."""
    from rased.zoo.registry import find, list_checkpoints

    model = str(find(arguments.model or next(iter(list_checkpoints()), "")))
    with tempfile.TemporaryDirectory(prefix="rased-bench-") as folder:
        whole = _measured(model, Path(folder), arguments.hours, arguments)
        part = _measured(model, Path(folder), arguments.hours / SHARE, arguments)
    gigabytes = (whole["input_mb"] - part["input_mb"]) / 1000
    slope = (whole["peak_mb"] - part["peak_mb"]) / gigabytes
    return {"enhance": {"model": Path(model).name, **whole, "slope_mb_per_gb": slope}}


def _measured(
    model: str, folder: Path, hours: float, arguments: argparse.Namespace
) -> dict[str, float]:
    source, target = folder / "in.wav", folder / "out.wav"
    _generate(source, 3600 * hours, arguments.sample_rate, arguments.channels)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(source), str(target), model],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the measured process failed: {done.stderr.strip()[-500:]}")
    figures = json.loads(done.stdout)
    return {"hours": hours, "input_mb": source.stat().st_size / 1e6, **figures}


_CHILD = """
import importlib, json, resource, sys
for package in ("pytorch_lightning", "webdataset", "wandb", "torchmetrics"):
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        pass
import rased
unit = 1e-6 if sys.platform == "darwin" else 1024e-6
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = rased.enhance(sys.argv[1], sys.argv[2], model=sys.argv[3])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"peak_mb": peak * unit, "imported_mb": before * unit,
                  "real_time_factor": report.real_time_factor}))
"""


def _generate(path: Path, seconds: float, sample_rate: int, channels: int) -> None:
    """Coloured noise that swells and fades, written in blocks."""
    import numpy as np

    from rased import audio

    generator = np.random.default_rng(0)
    frames = round(seconds * sample_rate)
    with audio.AudioWriter(
        path, sample_rate=sample_rate, channels=channels, frames=frames
    ) as writer:
        for start in range(0, frames, 10 * sample_rate):
            length = min(10 * sample_rate, frames - start)
            level = 0.05 * (1.1 + np.sin(np.arange(length) / sample_rate))
            noise = generator.standard_normal((channels, length), dtype=np.float32)
            writer.write((level * noise).astype(np.float32))
