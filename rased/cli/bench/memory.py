"""Measure the peak resident memory of long jobs, imports included, and how it grows with the input."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rased.cli.options import add_value
from rased.errors import ProblemsFound

EXAMPLES = """\
examples:
  rased bench memory                              all jobs on 2 generated hours
  rased bench memory --job pack --hours 10        one job, on more audio
  rased bench memory --hours 0.5 --json           less audio, output as JSON

enhance: one file of that length through a checkpoint. long: one WAV file of that length into FLAC shards.
pack: a folder of 10-second WAV files into FLAC shards. frames: log-power of these shards into one file.
load: an epoch of mixtures of the shards, read by one process. verify, info: check and list the shards. Each job
runs in a separate process, on an eighth of the input and on all of it. The slope is the difference of the two
peaks divided by the difference of the two inputs.
"""

JOBS = ("enhance", "long", "pack", "frames", "load", "verify", "info")
_OF_SHARDS = {"frames", "load", "verify", "info"}
SHARE = 8
"""Share of the input at the lower end of the slope."""
SECONDS = 10.0
"""Seconds of a file in a generated corpus; the job `long` uses one long file."""

Figures = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench memory`."""
    parser.epilog = EXAMPLES
    add_value(parser, "--hours", "H", 2.0, "hours of generated audio")
    parser.add_argument(
        "--job", action="append", choices=JOBS, help="job to measure (default: all); repeatable"
    )
    add_value(parser, "--sample-rate", "HZ", 16_000, "sample rate of the audio in Hz")
    add_value(parser, "--channels", "N", 1, "channels of the file to enhance")
    parser.add_argument(
        "--model",
        help="name or folder of the checkpoint for `enhance` (default: the first of the zoo)",
    )


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return peak and slope of each job."""
    jobs = [job for job in JOBS if job in (arguments.job or JOBS)]
    # Two sizes: their difference cancels imports and everything else that does not grow.
    part, whole = (
        _measured(jobs, hours, arguments) for hours in (arguments.hours / SHARE, arguments.hours)
    )
    figures: dict[str, dict[str, Any]] = {}
    for job in jobs:
        gigabytes = (whole[job]["input_mb"] - part[job]["input_mb"]) / 1000
        slope = (whole[job]["peak_mb"] - part[job]["peak_mb"]) / gigabytes
        figures[job] = {"hours": arguments.hours, **whole[job], "slope_mb_per_gb": slope}
    return figures


def _measured(jobs: list[str], hours: float, arguments: argparse.Namespace) -> dict[str, Figures]:
    figures = {}
    with tempfile.TemporaryDirectory(prefix="rased-bench-") as name:
        folder = Path(name)
        if "enhance" in jobs:
            figures["enhance"] = _enhance(folder, 3600 * hours, arguments)
        if "long" in jobs:
            figures["long"] = _pack(folder / "long", folder / "of_long", 1, 3600 * hours, arguments)
        if "pack" in jobs or _OF_SHARDS & set(jobs):
            shards, count = folder / "shards", round(3600 * hours / SECONDS)
            figures["pack"] = _pack(folder / "corpus", shards, count, SECONDS, arguments)
        if "frames" in jobs:
            words = ["data", "frames", str(shards), "--out", str(folder / "frames.h5")]
            figures["frames"] = _run(_VERB, *words, of=shards)
        if "load" in jobs:
            figures["load"] = _run(_LOAD, str(shards), of=shards)
        for verb in ("verify", "info"):
            if verb in jobs:
                figures[verb] = _run(_VERB, "data", verb, str(shards), "--json", of=shards)
    return figures


def _enhance(folder: Path, seconds: float, arguments: argparse.Namespace) -> Figures:
    from rased.zoo.registry import find, list_checkpoints

    model = str(find(arguments.model or next(iter(list_checkpoints()), "")))
    source = folder / "in.wav"
    _generate_file(source, seconds, arguments.sample_rate, arguments.channels)
    return _run(_ENHANCE, str(source), str(folder / "out.wav"), model, of=source)


def _pack(
    corpus: Path, shards: Path, count: int, seconds: float, arguments: argparse.Namespace
) -> Figures:
    """Pack a generated corpus; the corpus is deleted afterwards."""
    corpus.mkdir()
    for number in range(count):
        _generate_file(corpus / f"{number:06d}.wav", seconds, arguments.sample_rate, 1, seed=number)
    words = ["data", "pack", str(corpus), "--out", str(shards), "--role", "speech"]
    rate = ["--sample-rate", str(arguments.sample_rate)]
    figures = _run(_VERB, *words, *rate, "--jobs", "2", of=corpus)
    shutil.rmtree(corpus)
    return figures


def _run(child: str, *words: str, of: Path) -> Figures:
    """Run a process and return the figures that it prints in its last line, with the size of its input."""
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + child, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProblemsFound(f"the measured process failed: {done.stderr.strip()[-500:]}")
    files = of.iterdir() if of.is_dir() else [of]
    size = sum(path.stat().st_size for path in files) / 1e6
    return {"input_mb": size, **json.loads(done.stdout.splitlines()[-1])}


_HEAD = """
import importlib, json, sys
from rased.machine import peak_memory as peak
"""
_ENHANCE = """
for package in ("pytorch_lightning", "webdataset", "wandb", "torchmetrics"):
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        pass
import rased
before = peak()
report = rased.enhance(sys.argv[1], sys.argv[2], model=sys.argv[3])
print(json.dumps({"peak_mb": peak(), "imported_mb": before,
                  "real_time_factor": report.real_time_factor}))
"""
_LOAD = """
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.plan import Plan, Scene
names = {"speech": sys.argv[1], "noise": "bundle", "rir": "bundle"}
corpora = {role: Corpus([name], role=role, split="train") for role, name in names.items()}
before = peak()
plan = Plan(**corpora, scene=Scene(), seed=0)
for batch in Loader(plan, batch_size=16, num_workers=0, rank=0, world_size=1):
    pass
print(json.dumps({"peak_mb": peak(), "imported_mb": before}))
"""
_VERB = """
from rased.cli import main
code = main(sys.argv[1:])
print(json.dumps({"peak_mb": peak()}))
sys.exit(code)
"""


def _generate_file(
    path: Path, seconds: float, sample_rate: int, channels: int, seed: int = 0
) -> None:
    """Write coloured noise that swells and fades, in blocks."""
    import numpy as np

    from rased import audio

    generator = np.random.default_rng(seed)
    frames = round(seconds * sample_rate)
    with audio.AudioWriter(
        path, sample_rate=sample_rate, channels=channels, frames=frames
    ) as writer:
        for start in range(0, frames, 10 * sample_rate):
            length = min(10 * sample_rate, frames - start)
            level = 0.05 * (1.1 + np.sin(np.arange(length) / sample_rate))
            noise = generator.standard_normal((channels, length), dtype=np.float32)
            writer.write((level * noise).astype(np.float32))
