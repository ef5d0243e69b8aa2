"""Measure this machine: memory of long files, speed of the zoo's models."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  rased bench memory                         peak memory of enhancing a generated 2-hour file
  rased bench memory --hours 0.5 --json      a shorter one, for a program to read
  rased bench inference                      real-time factor of every checkpoint, on one thread
  rased bench inference --model NAME --json

A real-time factor is seconds of work for a second of audio: below 1 is faster than real time.
"""

SHARE = 8
"""The slope of memory is taken between this part of the file and the whole."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the sub-verbs of `rased bench`."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(dest="sub_verb", required=True, metavar="VERB")

    memory = verbs.add_parser("memory", help="peak memory of long files", epilog=EXAMPLES)
    memory.add_argument("--hours", type=float, default=2.0, help="length of the generated file")
    memory.add_argument("--sample-rate", type=int, default=16_000, help="of that file, in Hz")
    memory.add_argument("--channels", type=int, default=1, help="of that file")
    _shared(memory)

    inference = verbs.add_parser("inference", help="speed of the checkpoints", epilog=EXAMPLES)
    inference.add_argument("--seconds", type=float, default=10.0, help="length of the audio")
    _shared(inference)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", help="name or folder of a checkpoint (default: all; for memory the first)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Dispatch, and print what was found."""
    verbs = {"memory": _memory, "inference": _inference}
    figures = verbs[arguments.sub_verb](arguments)
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return 0
    for job, values in figures.items():
        words = "  ".join(f"{key} {_short(value)}" for key, value in values.items())
        print(f"{job}: {words}")
    return 0


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _memory(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
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


def _inference(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Real-time factor on one thread: whole files, and chunk by chunk where the model is causal."""
    import torch

    from rased.zoo import list_checkpoints, load
    from rased.zoo.loading import streamed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, Any]] = {}
    try:
        for name in [arguments.model] if arguments.model else list_checkpoints():
            enhancer = load(name)
            generator = torch.Generator().manual_seed(0)
            samples = round(arguments.seconds * enhancer.sample_rate)
            noisy = 0.1 * torch.randn(1, samples, generator=generator)
            values: dict[str, Any] = {
                "file": _factor(lambda: enhancer(noisy), arguments.seconds)  # noqa: B023
            }
            if enhancer.chunk_length is not None:
                stream = _factor(lambda: streamed(enhancer, noisy), arguments.seconds)  # noqa: B023
                chunk = enhancer.chunk_length / enhancer.sample_rate
                values |= {"stream": stream, "chunk_ms": 1000 * chunk}
            figures[Path(name).name] = values
    finally:
        torch.set_num_threads(threads)
    return figures


def _factor(work: Any, seconds: float) -> float:
    """Median of three, after one to warm up."""
    import torch

    times = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) / seconds
