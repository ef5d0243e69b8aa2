"""Measure how much processes and batches speed up an evaluation."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rased.cli.options import add_value
from rased.errors import ProblemsFound
from rased.machine import children_seconds

if TYPE_CHECKING:
    from rased.evaluation.scoring.jobs import JobBatch, Waveform
    from rased.evaluation.scoring.systems import System
    from rased.evaluation.testset import EvaluationSet
    from rased.models.base import Enhancer

EXAMPLES = """\
examples:
  rased bench evaluate                       the bundled test set, with log-mmse
  rased bench evaluate --system gru-mask-16k om-lsa --metrics default
  rased bench evaluate --on testsets/mine --rounds 3 --json

Processes: a complete `rased evaluate` with --jobs 1 and --jobs 2. one_s and two_s are wall-clock seconds (minimum
of the rounds), faster is their ratio. one_cpu_s and two_cpu_s are processor seconds of all processes; quiet is
2 one_cpu_s / two_cpu_s, the speed-up to expect on two idle cores.
Each system: processor seconds to enhance the test set one utterance at a time (alone_s) and in the batches of
an evaluation (batched_s), their ratio, and the largest difference between the two outputs. Where batches do
not pay, an evaluation uses none, and both are the same.
"""

_RASED = "import sys; from rased.cli import main; sys.exit(main(sys.argv[1:]))"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench evaluate`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--system",
        nargs="+",
        default=["log-mmse"],
        help="as in `rased evaluate` (default: %(default)s)",
    )
    parser.add_argument(
        "--on", default="bundle", metavar="TESTSET", help="folder of a test set, or `bundle`"
    )
    parser.add_argument("--metrics", nargs="+", default=["quick"], help="as in `rased evaluate`")
    add_value(parser, "--rounds", "N", 1, "repetitions of each measurement")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the processes for all systems, then the batches of each system."""
    from rased.evaluation.scoring.systems import resolve
    from rased.evaluation.scoring.workers import one_thread
    from rased.evaluation.testset import BUNDLE, read_testset

    testset = read_testset(BUNDLE if arguments.on == "bundle" else arguments.on)
    systems = [resolve(word, testset) for word in arguments.system]
    rounds = range(arguments.rounds)
    figures: dict[str, Any] = {"processes": _processes(arguments, rounds)}
    with one_thread():
        for system in systems:
            enhancer = system.load()
            if enhancer is not None:
                figures[system.name] = _batches(system, enhancer, testset, rounds)
    return figures


def _processes(arguments: argparse.Namespace, rounds: range) -> dict[str, float]:
    found = [(_evaluation(arguments, 1), _evaluation(arguments, 2)) for _ in rounds]
    # In each pair: one process, then two; of each, seconds of the clock, then of the processor.
    one, one_cpu, two, two_cpu = (
        min(pair[jobs][kind] for pair in found) for jobs in (0, 1) for kind in (0, 1)
    )
    return {
        "one_s": one,
        "two_s": two,
        "faster": one / two,
        "one_cpu_s": one_cpu,
        "two_cpu_s": two_cpu,
        "quiet": 2 * one_cpu / two_cpu,
    }


def _evaluation(arguments: argparse.Namespace, jobs: int) -> tuple[float, float]:
    """Return wall-clock and processor seconds of one `rased evaluate`."""
    # Processor seconds of children are added when they end, so the difference is this evaluation's.
    before, started = children_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rased-bench-") as out:
        words = ["evaluate", *arguments.system, "--on", arguments.on, "--out", out]
        words += ["--metrics", *arguments.metrics, "--jobs", str(jobs)]
        done = subprocess.run(
            [sys.executable, "-c", _RASED, *words], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ProblemsFound(f"the measured evaluation failed: {done.stderr.strip()[-500:]}")
    seconds = time.perf_counter() - started
    return seconds, children_seconds() - before


def _batches(
    system: "System", enhancer: "Enhancer", testset: "EvaluationSet", rounds: range
) -> dict[str, float]:
    """Return the minimum of the rounds; the batches are those of an evaluation of this system alone."""
    import torch

    from rased import audio
    from rased.evaluation.scoring.batches import company, plan
    from rased.evaluation.scoring.cost import measure
    from rased.evaluation.scoring.jobs import Job, together
    from rased.evaluation.testset import read_audio

    heard = {
        item.id: read_audio(item.noisy, sample_rate=enhancer.sample_rate) for item in testset.items
    }
    jobs = [
        Job(system, item, audio.inspect(item.noisy).seconds or 0.0, (), None, False)
        for item in testset.items
    ]
    gain = measure(enhancer, testset)["batch_gain"]
    batches = plan(jobs, {system.name: company(causal=enhancer.causal, gain=gain)})

    def enhanced(batches: "Sequence[JobBatch]") -> "tuple[float, dict[str, Waveform]]":
        found: dict[str, Waveform] = {}
        started = time.thread_time()
        for batch in batches:
            names = [job.item.id for job in batch]
            estimates = together(enhancer, [heard[name] for name in names], names)
            found.update(zip(names, estimates, strict=True))
        return time.thread_time() - started, found

    def least(batches: "Sequence[JobBatch]") -> "tuple[float, dict[str, Waveform]]":
        return min((enhanced(batches) for _ in rounds), key=lambda pair: pair[0])

    with torch.inference_mode():
        alone, wanted = least([(job,) for job in jobs])
        batched, estimates = least(batches)
    return {
        "alone_s": alone,
        "batched_s": batched,
        "faster": alone / batched,
        "batches": len(batches),
        "difference": float(max(abs(estimates[name] - wanted[name]).max() for name in heard)),
    }
