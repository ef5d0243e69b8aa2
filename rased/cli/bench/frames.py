"""Measure `rased data frames` and reading its file: audio seconds per CPU second, one process, one thread."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rased.cli.options import add_value

if TYPE_CHECKING:
    from rased.data.frames.file import FrameFile
    from rased.data.frames.sources import FrameSource

EXAMPLES = """\
examples:
  rased bench frames                              the bundled speech
  rased bench frames --speech shards/speech --json

Audio seconds per CPU second, median of the rounds:
  log_power        from speech shards to the finished file
  mixtures         from mixing to the finished file of (noisy, target) pairs, bundled corpus
  read_windows     random batches of 512 frames, with 7 frames of context, noisy and target
  read_utterances  complete pairs, one after the other
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench frames`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--speech",
        default="bundle",
        metavar="DIR",
        help="speech shards (default: the bundled ones)",
    )
    add_value(parser, "--mixtures", "N", 200, "number of 4 s mixtures")
    add_value(parser, "--rounds", "N", 3, "rounds of each measurement")


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Return audio seconds per CPU second of each job."""
    import torch

    import rased.data.frames.datamodule  # noqa: F401 (keeps the import out of the measured time)
    from rased.data.frames.file import FrameFile, Framing
    from rased.data.frames.sources import MixtureRecipe, Mixtures, Recordings
    from rased.data.frames.writer import write_frames
    from rased.layers.frontend import Features
    from rased.signal.stft import STFT

    recipe = MixtureRecipe()
    sources: dict[str, FrameSource] = {
        "log_power": Recordings([arguments.speech]),
        "mixtures": Mixtures(recipe.plan(), recipe.mixing, arguments.mixtures),
    }
    times: dict[str, list[float]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory(prefix="rased-bench-") as folder:
                for job, source in sources.items():
                    out = Path(folder) / f"{job}.h5"
                    framing = Framing(Features(), STFT(), source.sample_rate)
                    speed = _speed(lambda: write_frames(source, framing, out).seconds)  # noqa: B023
                    times.setdefault(job, []).append(speed)
                for job, read in {"read_windows": _windows, "read_utterances": _utterances}.items():
                    file = FrameFile(out)
                    times.setdefault(job, []).append(_speed(lambda: read(file)))  # noqa: B023
    finally:
        torch.set_num_threads(threads)
    return {job: statistics.median(speeds) for job, speeds in times.items()}


def _speed(work: Callable[[], float]) -> float:
    """Run a job that returns its seconds of audio; return audio seconds per CPU second."""
    begun = time.process_time()
    seconds = work()
    return seconds / (time.process_time() - begun)


def _windows(file: "FrameFile") -> float:
    from rased.data.frames.datamodule import FramePlan
    from rased.data.mixtures.order import batches

    plan = FramePlan(
        file, split="train", past=3, future=3, noise_frames=6, seed=0, pool_frames=16_384
    )
    for _ in plan.batches(batches(0, plan.count, batch_size=512), epoch=0):
        pass
    return _seconds(file)


def _utterances(file: "FrameFile") -> float:
    for number in range(len(file)):
        for stream in file.streams:
            file.utterance(stream, number)
    return _seconds(file)


def _seconds(file: "FrameFile") -> float:
    return file.count * file.framing.stft.hop_length / file.framing.sample_rate
